"""Associations of words and pronouns (lab 5): WEAT and SEAT, WinoBias, a bias of known strength, projections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.downloads import read_json, read_text
from utils.errors import CourseError, shown
from utils.intervals import Interval
from utils.world import World
from utils.world.dice import Dice, words_table

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PRONOUNS = frozenset("he she him her his hers himself herself".split())
SETS = ("targ1", "targ2", "attr1", "attr2")


# ---- WEAT and SEAT


@dataclass(frozen=True)
class WordTest:
    """Two sets of targets and two of attributes, words (WEAT) or sentences (SEAT), each with a category."""

    name: str
    categories: tuple[str, str, str, str]
    targets: tuple[tuple[str, ...], tuple[str, ...]]
    attributes: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Association:
    """What a test finds: s(w, A, B) of each target, the effect size d (-2 to 2), and the one-sided p-value."""

    first: np.ndarray
    second: np.ndarray
    effect: float
    p: float


def read_test(path: Path) -> WordTest:
    """A word or sentence test in the JSON form of May et al. (2019): `weat6.jsonl`, `sent-weat6.jsonl`, ...

    Raises CourseError for a file that is not JSON, lacks one of the four sets, or has a set of fewer than two texts.
    """
    data = read_json(path)
    sets, categories = [], []
    for key in SETS:
        part = data.get(key) if isinstance(data, dict) else None
        texts = part.get("examples") if isinstance(part, dict) else None
        if (
            not isinstance(texts, list)
            or len(texts) < 2
            or not all(isinstance(t, str) and t.strip() for t in texts)
        ):
            raise CourseError(
                f"{path}, {key!r}: expected a category and at least two examples, and found {shown(part)}: "
                "get the file again."
            )
        sets.append(tuple(texts))
        categories.append(part.get("category", key))
        if not isinstance(categories[-1], str):
            raise CourseError(
                f"{path}, {key!r}: the category must be a text, and is {shown(categories[-1])}."
            )
    return WordTest(path.stem, tuple(categories), (sets[0], sets[1]), (sets[2], sets[3]))


def associations(words: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """s(w, A, B): mean cosine with the vectors A minus mean cosine with B, for each row of `words` [words, d].

    Raises CourseError for vectors of other widths, and for a zero vector, which has no direction.
    """
    if not words.ndim == a.ndim == b.ndim == 2 or not words.shape[1] == a.shape[1] == b.shape[1]:
        raise CourseError(
            f"Vectors of shapes {words.shape}, {a.shape} and {b.shape} cannot be compared: give rows of one width."
        )
    if not all(np.isfinite(v).all() and np.linalg.norm(v, axis=1).all() for v in (words, a, b)):
        raise CourseError(
            "A vector is zero or not finite and has no direction: look at the text it stands for."
        )
    words, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (words, a, b))
    return words @ a.mean(0) - words @ b.mean(0)


def effect_size(first: np.ndarray, second: np.ndarray) -> float:
    """WEAT's d: difference of the mean associations over the standard deviation (n - 1) of all of them.

    Caliskan et al. (2017). Raises CourseError when all associations are equal.
    """
    spread = np.std(np.concatenate([first, second]), ddof=1)
    if not spread > 0:
        raise CourseError(
            "All targets have the same association, so there is no effect size: give other words."
        )
    return float((first.mean() - second.mean()) / spread)


def association_test(
    encode: Callable[[Sequence[str]], np.ndarray], test: WordTest, resamples: int = 9999
) -> Association:
    """WEAT on words, SEAT on sentences: `encode(texts)` gives vectors [texts, d], such as `minilm.encode`.

    The permutation test takes all partitions of the targets into two sets of their sizes when there are at most
    `resamples`, else that many random ones, the same each time; p is the share (with the one seen) whose difference is
    at least as large.
    """
    vectors = [np.asarray(encode(list(texts)), dtype=float) for texts in (*test.targets, *test.attributes)]
    return compared(*(associations(x, *vectors[2:]) for x in vectors[:2]), resamples)


def compared(first: np.ndarray, second: np.ndarray, resamples: int = 9999) -> Association:
    """Effect size and permutation test (see `association_test`) of associations that are there already."""
    from scipy.stats import permutation_test

    found = permutation_test(
        (first, second),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        vectorized=True,
        alternative="greater",
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    return Association(first, second, effect_size(first, second), float(found.pvalue))


def effect_ci(found: Association) -> Interval:
    """The effect size with its 95 % interval, a percentile bootstrap over the targets of each set.

    It tells what other targets of the same kind might have given. With eight targets a set it is too narrow.
    """
    random = np.random.default_rng(0)
    drawn = [
        effect_size(*(random.choice(x, len(x)) for x in (found.first, found.second))) for _ in range(2000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    method = "percentile bootstrap over targets"
    return Interval(found.effect, float(low), float(high), method, len(found.first) + len(found.second))


# ---- sentences that differ in a pronoun


@dataclass(frozen=True)
class PronounPair:
    """A sentence with the pronoun that a stereotype (or the world) expects, and with the other one.

    `who` is the person the pronoun stands for. A pair is `minimal` when the sentences differ in pronouns only.
    """

    pro: str
    anti: str
    who: str

    @property
    def minimal(self) -> bool:
        """Whether the sentences differ, and in pronouns only."""
        pro, anti = (
            ["pronoun" if w in PRONOUNS else w for w in re.findall(r"\w+|\S", text.lower())]
            for text in (self.pro, self.anti)
        )
        return pro == anti and self.pro != self.anti


def winobias(pro: Path, anti: Path) -> list[PronounPair]:
    """Pairs of WinoBias (Zhao et al. 2018) from two files in its bracketed form, such as
    `pro_stereotyped_type1.txt.dev` and `anti_stereotyped_type1.txt.dev`.

    A line is a number and a sentence, with the person and the pronouns in brackets, which are taken out. A few of the
    published pairs differ in more than pronouns, or have the same one (see `PronounPair.minimal`).

    Raises CourseError for a line of another form, and for files whose lines do not belong together.
    """
    found = [_bracketed(path) for path in (pro, anti)]
    if len(found[0]) != len(found[1]):
        raise CourseError(
            f"{pro} has {len(found[0])} sentences and {anti} has {len(found[1])}: give two files of the same type."
        )
    same = sum(a[2][0] == b[2][0] for a, b in zip(*found, strict=True))
    if 2 * same > len(found[0]):
        raise CourseError(
            f"{pro} and {anti} have the same pronoun in {same} of {len(found[0])} lines: give the pro- and the "
            "anti-stereotyped file of the same type."
        )
    return [PronounPair(a, b, who) for (a, who, _), (b, _, _) in zip(*found, strict=True)]


def _bracketed(path: Path) -> list[tuple[str, str, list[str]]]:
    """Each line's sentence without brackets, the person, and the pronouns."""
    found = []
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), 1):
        start, _, text = line.strip().partition(" ")
        marked = [" ".join(m.split()) for m in re.findall(r"\[([^\[\]]*)\]", text)]
        pronouns = [m.lower() for m in marked if m.lower() in PRONOUNS]
        persons = [m for m in marked if m.lower() not in PRONOUNS]
        left = re.sub(r"\[[^\[\]]*\]", "", text)
        if start != str(number) or not pronouns or not all(persons or [""]) or "[" in left or "]" in left:
            raise CourseError(
                f"{path}, line {number}: expected the number {number} and a sentence with a person and a pronoun in "
                f"brackets, and found {line[:40]!r}: get the file again."
            )
        sentence = " ".join(re.sub(r"\[([^\[\]]*)\]", r" \1 ", text).split())
        sentence = re.sub(r" ([.,;])", r"\1", sentence)
        found.append((sentence, re.sub(r"^(the|a|an) ", "", persons[0].lower()), pronouns))
    return found


def preferences(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PronounPair]
) -> np.ndarray:
    """Bits by which a causal model finds each `pro` sentence more probable than its `anti`: float64 [pairs].

    Raises CourseError without pairs.
    """
    from utils.training import token_bits

    if not pairs:
        raise CourseError("There are no pairs to compare: give at least one.")
    bits = [sum(row) for row in token_bits(model, tokenizer, [t for p in pairs for t in (p.anti, p.pro)])]
    return np.array(bits[::2]) - np.array(bits[1::2])


# ---- the planted association


def planted(seed: int, strength: float) -> World:
    """The world of a seed, in which every second job takes `she` with 0.5 + strength / 2, the others 0.5 - that / 2.

    Everything else is as in `World(seed)`, whose own jobs have five doses. Raises CourseError for a strength outside
    0 to 0.99.
    """
    if not 0 <= strength <= 0.99:
        raise CourseError(f"A strength of {strength} cannot be planted: choose one from 0 to 0.99.")
    world = World(seed)
    for i, job in enumerate(world.jobs.items):
        share = 0.5 + (strength if i % 2 else -strength) / 2
        world.job_she[job] = words_table(["she", "he"], [share, 1 - share])
    return world


def she_shares(world: World) -> np.ndarray:
    """The true share of `she` of each job, in the order of `world.jobs.items`."""
    return np.array([world.job_she[job].probabilities[0] for job in world.jobs.items])


def recovered(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, frames: int = 20, seed: int = 0
) -> np.ndarray:
    """The share of `she` (against `he`) that a causal model expects of each job, in the order of `world.jobs.items`.

    The mean over the same `frames` beginnings of stories for every job, with a pronoun next that stands for the job.
    """
    from utils.prompts import word_scores

    if frames < 1:
        raise CourseError(f"{frames} beginnings of stories cannot be asked: choose at least 1.")
    starts = _frames(world, frames, seed)
    prompts = [
        " ".join(job if w == own else w for w in start) for job in world.jobs.items for start, own in starts
    ]
    scores = word_scores(model, tokenizer, prompts, ("she", "he"))
    she = 1 / (1 + np.exp(scores[:, 1] - scores[:, 0]))
    return she.reshape(-1, frames).mean(1)


def _frames(world: World, count: int, seed: int) -> list[tuple[list[str], str]]:
    """Stories cut off before a pronoun that stands for a job, and the job."""
    found = []
    for document in world.documents(f"frames {seed}", "story"):
        opening, middle, _ = document.sentences
        if document.about["referent"] == "job" and "carried" in middle.words:
            start = [*opening.words, *middle.words[: middle.slots.index("pronoun")]]
            found.append((start, document.about["job"]))
        if len(found) == count:
            return found
    raise AssertionError("a stream of documents has no end")


def story_pairs(world: World, count: int, seed: int | str = 0) -> list[PronounPair]:
    """WinoBias in the world: stories whose pronoun stands for a job, and the same with the other pronoun.

    `pro` has the more frequent pronoun of that job; jobs without one are left out. The true difference is
    log2(share / (1 - share)) bits. Raises CourseError for a world whose jobs all take both alike.
    """
    if np.allclose(she_shares(world), 0.5):
        raise CourseError("No job of this world prefers a pronoun: plant a strength above 0.")
    found: list[PronounPair] = []
    dice = Dice(f"pronoun pairs {world.seed} {seed}")
    while len(found) < count:
        document = world.write(dice, "story")
        share = world.job_she[document.about["job"]].probabilities[0]
        if document.about["referent"] != "job" or share == 0.5:
            continue
        texts = []
        for pronoun in ("she", "he") if share > 0.5 else ("he", "she"):
            middle = document.sentences[1]
            words = [
                pronoun if s == "pronoun" else w for w, s in zip(middle.words, middle.slots, strict=True)
            ]
            texts.append(" ".join([*document.sentences[0].words, *words, *document.sentences[2].words]))
        found.append(PronounPair(texts[0], texts[1], document.about["job"]))
    return found


def named_pairs(world: World, count: int, seed: int | str = 0) -> list[PronounPair]:
    """Stories whose pronoun stands for a named person (the name decides it): what debiasing should not cost."""
    found: list[PronounPair] = []
    dice = Dice(f"named pairs {world.seed} {seed}")
    other = {"she": "he", "he": "she"}
    while len(found) < count:
        document = world.write(dice, "story")
        middle = document.sentences[1]
        if document.about["referent"] != "name" or "carried" not in middle.words:
            continue
        wrong = [other[w] if s == "pronoun" else w for w, s in zip(middle.words, middle.slots, strict=True)]
        start = document.sentences[0].words
        found.append(
            PronounPair(" ".join([*start, *middle.words]), " ".join([*start, *wrong]), document.about["name"])
        )
    return found


# ---- debiasing


def without(directions: np.ndarray) -> np.ndarray:
    """The projection [d, d] onto what is orthogonal to all rows of `directions` [n, d] (Bolukbasi et al. 2016: one).

    Raises CourseError when there is no direction.
    """
    if directions.ndim != 2 or not np.linalg.norm(directions) > 0:
        raise CourseError(
            f"Directions of shape {directions.shape} span nothing to take out: give rows that are not all zero."
        )
    _, sizes, rows = np.linalg.svd(np.asarray(directions, float), full_matrices=False)
    rows = rows[sizes > 1e-8 * sizes[0]]
    return np.eye(directions.shape[1]) - rows.T @ rows


def inlp(vectors: np.ndarray, labels: Sequence[int], rounds: int) -> np.ndarray:
    """Iterative nullspace projection (Ravfogel et al. 2020): the projection [d, d] after `rounds` linear classifiers.

    Each round fits logistic regression to what is left of `vectors` [n, d] and takes its directions out. Raises
    CourseError for no round, for labels of another number, and when all labels are the same.
    """
    from sklearn.linear_model import LogisticRegression

    if rounds < 1 or len(vectors) != len(labels) or len(set(labels)) < 2:
        raise CourseError(
            f"Nothing can be taken out in {rounds} rounds of {len(vectors)} vectors with {len(labels)} labels of "
            f"{len(set(labels))} classes: give a label per vector, two classes and one round at least."
        )
    projection, directions = np.eye(vectors.shape[1]), np.empty((0, vectors.shape[1]))
    for _ in range(rounds):
        probe = LogisticRegression(max_iter=1000).fit(vectors @ projection, labels)
        directions = np.vstack([directions, probe.coef_ @ projection])
        projection = without(directions)
    return projection


@contextmanager
def projected(model: Module, projection: np.ndarray) -> Iterator[None]:
    """Within the block the last hidden states of a transformers model go through `projection` [d, d]."""
    import torch

    matrix = torch.tensor(projection, dtype=torch.float32)
    width = model.config.hidden_size
    if matrix.shape != (width, width):
        raise CourseError(
            f"A projection of shape {tuple(matrix.shape)} does not fit states of width {width}: make one of these."
        )

    def change(_: Module, __: object, output: object) -> object:
        states = output.last_hidden_state
        output.last_hidden_state = states @ matrix.to(states)
        return output

    hook = model.base_model.register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()
