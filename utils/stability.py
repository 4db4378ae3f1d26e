"""Many runs of one setting: where they differ, how often they fail, what restarts are worth (labs 3 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from utils.classification import Classifier, fine_tune, texts_and_labels
from utils.errors import CourseError
from utils.intervals import Interval, wilson

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from utils.world.tasks import Labeled


def tuned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[Labeled],
    updates: int,
    rate: float,
    weights: int,
    order: int,
    **options: Any,
) -> Classifier:
    """A classifier tuned on a copy of `model`: seed `weights` draws its new weights, seed `order` that of the texts.

    `options` go to `classification.fine_tune`. The caller's random numbers are left as they are. Dodge et al. (2020)
    cross both seeds. Raises CourseError as `fine_tune` does.
    """
    texts, labels = texts_and_labels(train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights)
        classifier = Classifier(deepcopy(model), tokenizer, 1 + max(labels, default=0))
        fine_tune(classifier, texts, labels, updates, rate, order, **options)
    return classifier


def majority(items: Sequence[Labeled]) -> float:
    """The accuracy of always giving the commonest label of `items`; CourseError for no item."""
    if not items:
        raise CourseError("There is no item whose label could be the commonest: give at least one.")
    return float(np.bincount([item.label for item in items]).max() / len(items))


def failure_rate(scores: Sequence[float], chance: float) -> Interval:
    """The share of runs that end at or below `chance`, with its Wilson interval over runs.

    Mosbach et al. (2021) call a run failed that does no better than the commonest label (see `majority`). Raises
    CourseError for no run and for a score that is not a finite number.
    """
    values = np.asarray(scores, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise CourseError(
            f"A failure rate needs the finite scores of at least one run, and was given {list(scores)[:3]}."
        )
    return wilson(int((values <= chance).sum()), len(values))


class Shares(NamedTuple):
    """Variance components of a crossed design, in squared units of the score; they may come out below zero."""

    rows: float
    columns: float
    rest: float


def variance_components(scores: np.ndarray) -> Shares:
    """What each of two crossed seeds contributes to the variance of scores [seeds of one kind, seeds of the other].

    The unbiased estimates of the two-way analysis of variance with random effects and one run in each cell; `rest` is
    interaction and chance together. Raises CourseError below two seeds of either kind or for a missing score.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise CourseError(
            f"Crossed seeds need a full table of at least 2 x 2 finite scores, and were given one of {list(x.shape)}."
        )
    n, m = x.shape
    rows, columns = x.mean(1), x.mean(0)
    rest = ((x - rows[:, None] - columns + x.mean()) ** 2).sum() / ((n - 1) * (m - 1))
    return Shares(float(rows.var(ddof=1) - rest / m), float(columns.var(ddof=1) - rest / n), float(rest))


def best_of(validation: Sequence[float], test: Sequence[float], restarts: int) -> float:
    """The expected test score of the best on validation of `restarts` runs, drawn with replacement from those given.

    Exact, from the order of the validation scores (Dodge et al. 2019); runs that tie there share their chances. Raises
    CourseError when the lists differ in length or are empty, and below one restart.
    """
    first, second = np.asarray(validation, dtype=float), np.asarray(test, dtype=float)
    if len(first) != len(second) or not len(first) or restarts < 1:
        raise CourseError(
            f"The best of {restarts} restarts needs one validation and one test score for each run, and was given "
            f"{len(first)} and {len(second)}."
        )
    values, which, counts = np.unique(first, return_inverse=True, return_counts=True)
    below = np.concatenate([[0], counts.cumsum()]) / len(first)
    chances = np.diff(below**restarts)
    means = np.bincount(which, weights=second) / counts
    return float((chances * means).sum())
