"""Frozen networks as readers of words, and linear probes on what they read (labs 2 and 3).

A probe asks whether a property can be read off frozen states by a simple classifier. `word_states` extracts the states
of all layers once; `linear_probes` then fits the probes of all tasks on one layer together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from utils.errors import CourseError
from utils.settings import device
from utils.training import marks, pad

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SKIP = -1  # the label of a word that a task does not ask about


@dataclass(frozen=True)
class Encoder:
    """A frozen network: how it cuts words into ids, and its hidden states.

    `layers` does not count layer 0, the embeddings; `width` is that of the widest layer, narrower ones are filled up
    with zeros; `longest` is the most ids that fit, marks at the ends included.
    """

    name: str
    layers: int
    width: int
    longest: int
    padding: int
    marks: tuple[list[int], list[int]]  # ids before and after a sentence
    pieces: Callable[[Sequence[str]], list[list[int]]]
    hidden: Callable[[Tensor], Tensor]  # ids [rows, n] -> states [layers + 1, rows, n, width]


def transformer(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """A Transformer of any kind (GPT-2, ModernBERT, BERT) as a reader of words."""
    first, last = marks(tokenizer)
    model = model.base_model.to(device()).eval()

    def pieces(words: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(words), add_special_tokens=False)["input_ids"]

    def hidden(ids: Tensor) -> Tensor:
        real = (ids != tokenizer.pad_token_id).long()
        return torch.stack(model(ids, attention_mask=real, output_hidden_states=True).hidden_states)

    return Encoder(
        name=name,
        layers=model.config.num_hidden_layers,
        width=model.config.hidden_size,
        longest=model.config.max_position_embeddings,
        padding=tokenizer.pad_token_id,
        marks=([first], [last]),
        pieces=pieces,
        hidden=hidden,
    )


def recurrent(name: str, model: Module, vocabulary: Sequence[str]) -> Encoder:
    """A fastai AWD-LSTM language model as a reader of words.

    Each sentence is read on its own, after fastai's start mark.
    """
    from torch.nn.functional import pad as widen

    from utils.lstm import PADDING, START

    index = {word: i for i, word in enumerate(vocabulary)}
    core = model[0].to(device()).eval()
    width = max(core.encoder.embedding_dim, *(rnn.module.hidden_size for rnn in core.rnns))

    def pieces(words: Sequence[str]) -> list[list[int]]:
        unknown = next((word for word in words if word not in index), None)
        if unknown is not None:
            raise CourseError(
                f"The encoder {name} does not know the word {unknown!r}: it reads the world's words only."
            )
        return [[index[word]] for word in words]

    def hidden(ids: Tensor) -> Tensor:
        states = [core.encoder(ids)]
        for rnn in core.rnns:
            states.append(rnn(states[-1])[0])
        return torch.stack([widen(layer, (0, width - layer.shape[-1])) for layer in states])

    return Encoder(
        name=name, layers=len(core.rnns), width=width, longest=10_000, padding=PADDING,
        marks=([index[START]], []), pieces=pieces, hidden=hidden,
    )  # fmt: skip


@torch.no_grad()
def word_states(encoder: Encoder, sentences: Sequence[Sequence[str]], rows: int = 64) -> np.ndarray:
    """The state of every word of every sentence: float32 [layers + 1, words of all sentences, width].

    A word's state is the mean over its sub-words. Sentences go in by length, and one does not change another's states.
    Raises CourseError for an empty sentence, for one longer than the model, and for a word that the tokenizer turns
    into nothing, so that states and words would no longer stand side by side.
    """
    cut = [_cut(encoder, number, words) for number, words in enumerate(sentences)]
    if not cut:
        raise CourseError("There is no sentence to read: give at least one, as a list of its words.")
    ends = np.cumsum([len(starts) - 1 for _, starts in cut])
    found = np.empty((encoder.layers + 1, ends[-1], encoder.width), dtype=np.float32)
    order = sorted(range(len(cut)), key=lambda i: len(cut[i][0]))
    for at in range(0, len(order), rows):
        some = order[at : at + rows]
        batch = pad([cut[i][0] for i in some], max(len(cut[i][0]) for i in some), encoder.padding)
        states = encoder.hidden(batch.to(device())).float().cpu().numpy()
        for row, i in enumerate(some):
            starts = cut[i][1]
            sums = np.add.reduceat(states[:, row, : starts[-1]], starts[:-1], axis=1)
            found[:, ends[i] - len(starts) + 1 : ends[i]] = sums / np.diff(starts)[None, :, None]
    return found


def _cut(encoder: Encoder, number: int, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """The ids of a sentence, and where each word's ids start (with the end of the last one)."""
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise CourseError(
            f"Sentence {number} is {str(words)[:40]!r}, and a list of its words was expected: split it into words."
        )
    if not len(words):
        raise CourseError(f"Sentence {number} has no words: leave empty sentences out.")
    pieces = encoder.pieces(words)
    starts = np.cumsum([len(encoder.marks[0]), *map(len, pieces)]).tolist()
    for word, piece in zip(words, pieces, strict=True):
        if not piece:
            raise CourseError(
                f"Sentence {number}: the tokenizer of {encoder.name} leaves nothing of the word {word!r}, so that its "
                "tokens do not align with the words: remove or replace it."
            )
    ids = [*encoder.marks[0], *(i for piece in pieces for i in piece), *encoder.marks[1]]
    if len(ids) > encoder.longest:
        raise CourseError(
            f"Sentence {number} has {len(ids)} tokens, and {encoder.name} reads at most {encoder.longest}: cut it or "
            "leave it out."
        )
    return ids, starts


def layer(states: np.ndarray, number: int) -> np.ndarray:
    """One layer of the states [layers + 1, words, width]; raises CourseError for a layer that does not exist."""
    if not 0 <= number < len(states):
        raise CourseError(
            f"There is no layer {number}: the layers are 0 (the embeddings) to {len(states) - 1}."
        )
    return states[number]


def sentence_ids(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    """The number of the sentence that each word belongs to: int [words]; sentences are what a split keeps whole."""
    return np.repeat(np.arange(len(sentences)), [len(words) for words in sentences])


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on states: class scores are `states @ weight + bias`."""

    weight: np.ndarray  # float32 [width, classes]
    bias: np.ndarray  # float32 [classes]

    def scores(self, states: np.ndarray) -> np.ndarray:
        """Class scores of states [n, width]: float32 [n, classes]."""
        if np.ndim(states) != 2 or np.shape(states)[1] != len(self.weight):
            raise CourseError(
                f"The probe reads states [words, {len(self.weight)}] and was given {list(np.shape(states))}: give it "
                "the states of one layer, of the width that it was fitted on."
            )
        return states @ self.weight + self.bias

    def accuracy(self, states: np.ndarray, labels: np.ndarray) -> float:
        """Share of right classes, over the words that have a label; a class that was never fitted counts as wrong."""
        labels = _labels("labels", labels, len(states))
        asked = labels != SKIP
        if not asked.any():
            raise CourseError(
                f"No word has a label (all are SKIP = {SKIP}): there is nothing to be right about."
            )
        return float(np.mean(self.scores(states[asked]).argmax(1) == labels[asked]))


DECAYS = 10.0 ** np.arange(1, -8.5, -0.5)  # weight decays, in units of the mean variance
STEPS, PATIENCE = 8, 3  # gradient steps at each strength; strengths without a better validation score


def linear_probes(
    states: np.ndarray, tasks: Mapping[str, np.ndarray], validation: np.ndarray
) -> dict[str, LinearProbe]:
    """Multinomial logistic regression from states [n, width] to every task at once.

    `tasks` maps a name to labels, int [n], `SKIP` where a task does not ask. `validation`, bool [n], marks the words
    that are not fitted but decide, task by task, how much weight decay it gets: the one with the highest accuracy less
    a tenth of the loss in nats, which tells apart what few words can't. The solver goes down from strong decay to weak,
    each time from where it is, as glmnet does (Friedman et al. 2010), and leaves a task that gets no better. In the
    basis of the states' principal components the curvature of the loss is at most variance / 2 + decay (Böhning 1992),
    so that one step size per component serves all classes of all tasks, and a few accelerated gradient steps (Nesterov
    1983) on all words do what epochs of small batches do. The same input gives the same probes.

    Raises CourseError when states are not [n, width] or not finite, when a task has not one whole number per state, and
    when it has no labeled word on one of the two sides.
    """
    states, tasks, validation = _checked(states, tasks, validation)
    groups: dict[bytes, list[str]] = {}
    for name, labels in tasks.items():  # tasks that ask about the same words share their basis
        groups.setdefault(np.packbits(labels != SKIP).tobytes(), []).append(name)
    found: dict[str, LinearProbe] = {}
    for names in groups.values():
        asked = tasks[names[0]] != SKIP
        sides = [asked & ~validation, asked & validation]
        x, held = (torch.from_numpy(states[side]) for side in sides)
        y, truth = ([torch.from_numpy(tasks[name][side]) for name in names] for side in sides)
        found |= dict(zip(names, _fit(x, y, held, truth), strict=True))
    return {name: found[name] for name in tasks}


@torch.no_grad()
def _fit(x: Tensor, y: list[Tensor], held: Tensor, truth: list[Tensor]) -> list[LinearProbe]:
    """The probes of tasks that ask about the same words; `held` and `truth` decide where each of them stops.

    Inside, words are columns: then the softmax runs along memory, and a step takes a third less time.
    """
    center = x.mean(0)
    x = x - center
    variance, basis = torch.linalg.eigh(x.T @ x / len(x))
    variance = variance.clip(min=1e-6 * float(variance[-1]))  # what float32 can tell from 0
    unit = float(variance.mean()) or 1.0
    x, held = x @ basis, (held - center) @ basis
    columns = x.T.contiguous()
    tasks = [_Task(labels, answers, len(variance)) for labels, answers in zip(y, truth, strict=True)]
    active = tasks
    for strength in DECAYS:
        decay = strength * unit
        step = 1 / (variance / 2 + decay)
        sizes = [len(task.target) for task in active]
        target = torch.cat([task.target for task in active])
        weight = torch.cat([task.weight for task in active])
        bias = torch.cat([task.bias for task in active])
        ahead, lead = weight, bias
        for age in range(STEPS):
            scores = torch.addmm(lead[:, None], ahead, columns)
            error = torch.cat([part.softmax(0) for part in scores.split(sizes)]).sub_(target)
            moved = ahead - step * torch.addmm(ahead, error, x, beta=decay, alpha=1 / len(x))
            shifted = lead - 2 * error.mean(1)
            momentum = age / (age + 3)
            ahead, weight = moved + momentum * (moved - weight), moved
            lead, bias = shifted + momentum * (shifted - bias), shifted
        scores = torch.addmm(bias, held, weight.T).split(sizes, 1)
        for task, *state in zip(active, weight.split(sizes), bias.split(sizes), scores, strict=True):
            task.judge(*state)
        active = [task for task in active if task.patience]
        if not active:
            break
    probes = []
    for task in tasks:
        weight, bias = task.best
        weight = basis @ weight.T
        probes.append(LinearProbe(weight.numpy(), (bias - center @ weight).numpy()))
    return probes


class _Task:
    """Where a task stands on the way from strong decay to weak, and the best that it has met."""

    def __init__(self, labels: Tensor, answers: Tensor, width: int) -> None:
        classes = 1 + int(max(labels.max(), answers.max()))
        self.target = one_hot(labels, classes).T.float().contiguous()
        self.known = torch.isin(answers, labels)  # a class that is not fitted says nothing about decay
        self.answers = answers[self.known]
        self.weight, self.bias = torch.zeros(classes, width), torch.zeros(classes)
        self.best, self.score, self.patience = (self.weight, self.bias), -float("inf"), PATIENCE

    def judge(self, weight: Tensor, bias: Tensor, scores: Tensor) -> None:
        """Take a step on the way, with the class scores of the validation words, [words, classes]."""
        self.weight, self.bias = weight, bias
        score = 0.0
        if len(self.answers):
            scores = scores[self.known]
            right = (scores.argmax(1) == self.answers).float().mean()
            score = float(right - cross_entropy(scores, self.answers) / 10)
        self.patience -= 1
        if score > self.score:
            self.best, self.score, self.patience = (weight, bias), score, PATIENCE


def _checked(
    states: np.ndarray, tasks: Mapping[str, np.ndarray], validation: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """The same as arrays of the right types, or CourseError."""
    states = np.asarray(states, dtype=np.float32)
    if states.ndim != 2:
        raise CourseError(
            f"Probes are fitted on the states of one layer, [words, width], and were given {list(states.shape)}: "
            "choose a layer with layer(states, number)."
        )
    if not np.isfinite(states).all():
        word = int(np.flatnonzero(~np.isfinite(states).all(1))[0])
        raise CourseError(
            f"The state of word {word} is not finite (NaN or infinite): look at the model's weights."
        )
    validation = np.asarray(validation)
    if validation.dtype != bool or validation.shape != (len(states),):
        raise CourseError(
            f"'validation' holds {validation.dtype} {list(validation.shape)}, and one True or False for each of the "
            f"{len(states)} states was expected."
        )
    checked = {name: _labels(repr(name), labels, len(states)) for name, labels in tasks.items()}
    for name, labels in checked.items():
        asked = labels != SKIP
        if not (asked & ~validation).any() or not (asked & validation).any():
            raise CourseError(
                f"The task {name!r} has no labeled word to fit on or none to validate on: give it more sentences."
            )
    return states, checked, validation


def _labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as int64 [count], or CourseError."""
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise CourseError(
            f"{name} has {len(labels)} labels and there are {count} states: give one label per word "
            f"(SKIP = {SKIP} where there is nothing to ask)."
        )
    if labels.dtype.kind not in "iu" or (count and labels.min() < SKIP):
        raise CourseError(
            f"{name} holds labels that are no whole numbers from 0 on (SKIP = {SKIP} where there is nothing to ask): "
            "number the classes."
        )
    return labels.astype(np.int64)
