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
from torch.nn.functional import one_hot

from utils.errors import CourseError
from utils.settings import device
from utils.training import pad

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
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
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
    order = sorted(range(len(cut)), key=lambda i: len(cut[i][0]))
    found: list[np.ndarray] = [np.empty(0)] * len(cut)
    for at in range(0, len(order), rows):
        some = order[at : at + rows]
        batch = pad([cut[i][0] for i in some], max(len(cut[i][0]) for i in some), encoder.padding)
        states = encoder.hidden(batch.to(device())).float().cpu()
        for row, i in enumerate(some):
            ids, starts = cut[i]
            sums = np.add.reduceat(states[:, row, : starts[-1]].numpy(), starts[:-1], axis=1)
            found[i] = sums / np.diff(starts)[None, :, None]
    return np.concatenate(found, axis=1).astype(np.float32)


def _cut(encoder: Encoder, number: int, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """The ids of a sentence, and where each word's ids start (with the end of the last one)."""
    if not len(words):
        raise CourseError(f"Sentence {number} has no words: leave empty sentences out.")
    if isinstance(words, str):
        raise CourseError(
            f"Sentence {number} is one text, and a list of its words was expected: {words[:40]!r}."
        )
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
        return states @ self.weight + self.bias

    def accuracy(self, states: np.ndarray, labels: np.ndarray) -> float:
        """Share of right classes, over the words that have a label."""
        asked = labels != SKIP
        return float(np.mean(self.scores(states[asked]).argmax(1) == labels[asked]))


def linear_probes(
    states: np.ndarray,
    tasks: Mapping[str, np.ndarray],
    validation: np.ndarray,
    steps: int = 200,
    decay: float = 1e-4,
) -> dict[str, LinearProbe]:
    """Multinomial logistic regression from states [n, width] to every task at once.

    `tasks` maps a name to labels, int [n], `SKIP` where a task does not ask. `validation`, bool [n], marks the words
    that are not fitted but decide, task by task, when to stop. In the basis of the states' principal components the
    curvature of the loss has the bound (variance / 2 + decay) (Böhning 1992), so one step size per component fits all
    tasks, and an accelerated gradient (Nesterov, with restarts) needs a hundred steps, not epochs of small batches.

    Raises CourseError when a task has not one label per state, or no labelled word on one of the two sides.
    """
    _check(states, tasks, validation)
    groups: dict[bytes, list[str]] = {}
    for name, labels in tasks.items():  # tasks that ask about the same words share their basis
        groups.setdefault(np.packbits(labels != SKIP).tobytes(), []).append(name)
    found: dict[str, LinearProbe] = {}
    for names in groups.values():
        asked = tasks[names[0]] != SKIP
        sides = [asked & ~validation, asked & validation]
        x, held = (torch.from_numpy(np.asarray(states[side], dtype=np.float32)) for side in sides)
        y, truth = ([torch.from_numpy(tasks[name][side]) for name in names] for side in sides)
        found |= dict(zip(names, _fit(x, y, held, truth, steps, decay), strict=True))
    return {name: found[name] for name in tasks}


def _fit(
    x: Tensor, y: list[Tensor], held: Tensor, truth: list[Tensor], steps: int, decay: float, every: int = 10
) -> list[LinearProbe]:
    """The probes of tasks that ask about the same words; `held` and `truth` decide when each of them stops."""
    center = x.mean(0)
    variance, basis = torch.linalg.eigh((x - center).T @ (x - center) / len(x))
    decay = decay * float(variance.sum()) / len(variance)
    whiten = basis * (variance.clip(min=0) / 2 + decay).rsqrt()  # in this basis the curvature is at most 1
    x, held = torch.cat([(x - center) @ whiten, torch.ones(len(x), 1)], 1), (held - center) @ whiten
    shrink = torch.cat([decay / (variance.clip(min=0) / 2 + decay), torch.zeros(1)])[:, None]
    sizes = [1 + int(max(labels.max(), answers.max())) for labels, answers in zip(y, truth, strict=True)]
    target = torch.cat([one_hot(labels, size) for labels, size in zip(y, sizes, strict=True)], 1).float()
    weight = torch.zeros(x.shape[1], sum(sizes))
    ahead, best, kept = weight.clone(), [-1.0] * len(y), [weight] * len(y)
    age = 0
    for step in range(1, steps + 1):
        shares = torch.cat([part.softmax(1) for part in (x @ ahead).split(sizes, 1)], 1)
        gradient = x.T @ (shares - target) / len(x) + shrink * ahead
        moved = ahead - gradient
        if float((gradient * (moved - weight)).sum()) > 0:  # uphill: start the momentum anew
            age = 0
        ahead = moved + age / (age + 3) * (moved - weight)
        weight, age = moved, age + 1
        if step % every == 0:
            parts = (held @ weight[:-1] + weight[-1]).split(sizes, 1)
            for k, part in enumerate(parts):
                right = float((part.argmax(1) == truth[k]).float().mean())
                if right > best[k]:
                    best[k], kept[k] = right, weight.split(sizes, 1)[k].clone()
    probes = []
    for part in kept:
        back = whiten @ part[:-1]
        probes.append(LinearProbe(back.numpy(), (part[-1] - center @ back).numpy()))
    return probes


def _check(states: np.ndarray, tasks: Mapping[str, np.ndarray], validation: np.ndarray) -> None:
    for name, labels in {**tasks, "validation": validation}.items():
        if len(labels) != len(states):
            raise CourseError(
                f"{name!r} has {len(labels)} labels and there are {len(states)} states: give one label per word "
                f"(SKIP = {SKIP} where there is nothing to ask)."
            )
    for name, labels in tasks.items():
        if not ((labels != SKIP) & ~validation).any() or not ((labels != SKIP) & validation).any():
            raise CourseError(
                f"The task {name!r} has no labelled word to fit on or none to validate on: give it more sentences."
            )
