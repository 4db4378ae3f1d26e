"""Words with labels: readers of tagged sentences, and the training and reading of an encoder by pieces (lab 4d).

How labels come onto pieces, what a model sees, and how names are found and scored is written out in the lab.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from utils import treebank
from utils.downloads import fetch, read_text
from utils.errors import CourseError
from utils.settings import device
from utils.training import pad, rate_at

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import BertModel

    from utils.world import World

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out
WNUT = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
POOL = 16  # batches that are cut from sentences of similar length together
PERSON, PLACE = (
    "name, first name, last name",
    "town, who, fact: lives in, fact: born in, fact: region, fact: river",
)
SLOTS = {  # of the course world
    **dict.fromkeys(PERSON.split(", "), "person"),
    **dict.fromkeys(PLACE.split(", "), "place"),
    "brand": "product",
}


@dataclass(frozen=True, slots=True)
class Tagged:
    """A sentence: one label for each word."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.tags) or not self.words:
            raise CourseError(
                f"A sentence of {len(self.words)} words has {len(self.tags)} labels: give each word one label."
            )


def parts_of_speech(sentences: Sequence[treebank.Sentence]) -> list[Tagged]:
    """Sentences of a treebank with their universal tags."""
    return [Tagged(sentence.words, sentence.pos) for sentence in sentences]


def wnut(split: str) -> list[Tagged]:
    """Tweets and comments of a split ("train", "dev", "test") of WNUT-17 with the labels of their names.

    3,394, 1,009 and 1,287 sentences (Derczynski et al. 2017), from COURSE_DATA or downloaded. Raises CourseError for
    an unknown split, and what `read_names` and `fetch` raise.
    """
    if split not in WNUT:
        raise CourseError(f"{split!r} is not a split of WNUT-17: choose one of {', '.join(WNUT)}.")
    return list(read_names(fetch(f"wnut17/{WNUT[split]}")))


def read_names(path: Path) -> tuple[Tagged, ...]:
    """The sentences of a file with one `word TAB label` a line, and a line without a word between sentences.

    Raises CourseError, with the line's number, for another form and for labels but O, B-kind and I-kind.
    """
    found, words, tags = [], [], []
    for number, line in enumerate([*read_text(path).split("\n"), ""], 1):
        word, tab, tag = line.rstrip("\n").partition("\t")
        if not line.strip():
            if words:
                found.append(Tagged(tuple(words), tuple(tags)))
            words, tags = [], []
        elif not tab or not word.strip() or not re.fullmatch(r"O|[BI]-\S+", tag):
            raise CourseError(
                f"{path}, line {number}: expected a word, a tab, and O, B-kind or I-kind, and found {line[:40]!r}."
            )
        else:
            words.append(word)
            tags.append(tag)
    return tuple(found)


def world_names(world: World, count: int, seed: int | str) -> list[Tagged]:
    """`count` sentences of the course world that name a person, a place or a product, by the generator's own slots."""
    from utils.world import tasks

    found: list[Tagged] = []
    for sentence in tasks.tagging(world, 12 * count, f"names {seed}"):
        slots = [
            slot if pos == "PROPN" else None for slot, pos in zip(sentence.slots, sentence.pos, strict=True)
        ]
        if any(slots) and set(slots) <= {None, *SLOTS}:  # in chats some values are names of other kinds
            tags = [
                "O" if slot is None else f"{'I' if slot == 'last name' else 'B'}-{SLOTS[slot]}"
                for slot in slots
            ]
            found.append(Tagged(sentence.words, tuple(tags)))
    if len(found) < count:
        raise CourseError(f"The world gave {len(found)} sentences with names of {count}: ask for fewer.")
    return found[:count]


def batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every sentence once, in batches of `size` and of similar length, so that little is padded."""
    order, found = rng.permutation(len(lengths)), []
    for start in range(0, len(order), POOL * size):
        pool = sorted(order[start : start + POOL * size], key=lambda i: lengths[i])
        found += [np.array(pool[i : i + size]) for i in range(0, len(pool), size)]
    return [found[i] for i in rng.permutation(len(found))]


def stacked(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Rows of different length as one tensor, filled up on the right."""
    return pad(rows, max(map(len, rows)), padding).to(device())


def tune(
    model: Module,
    ids: Sequence[list[int]],
    labels: Sequence[Sequence[int]],
    rate: float,
    epochs: int,
    seed: int,
    size: int = 16,
) -> None:
    """Train all weights of `model(ids, mask) -> scores` in place, on one label (or IGNORED) for each piece.

    AdamW with weight decay 0.01, a linear rise of the rate over a tenth of the steps and a linear fall, gradients cut
    at norm 1, no dropout.
    """
    rng, lengths = np.random.default_rng([seed, 1]), [len(row) for row in ids]
    plan = [batch for _ in range(epochs) for batch in batches(lengths, size, rng)]
    optimizer = torch.optim.AdamW(model.to(device()).parameters(), lr=rate, weight_decay=0.01, fused=True)
    for step, batch in enumerate(plan):
        optimizer.param_groups[0]["lr"] = rate_at(step, len(plan), rate, max(1, len(plan) // 10))
        rows = stacked([ids[i] for i in batch])
        scores = model(rows, (rows != 0).long())
        loss = cross_entropy(scores.flatten(0, 1), stacked([labels[i] for i in batch], IGNORED).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def scored(model: Module, ids: Sequence[list[int]], size: int = 64) -> list[np.ndarray]:
    """The scores of `model(ids, mask)` for each sentence: [pieces, labels]."""
    found: list[np.ndarray] = [np.empty(0)] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), size):
        some = order[start : start + size]
        rows = stacked([ids[i] for i in some])
        for i, scores in zip(some, model.to(device())(rows, (rows != 0).long()).float().cpu(), strict=True):
            found[i] = scores[: len(ids[i])].numpy()
    return found


def states(encoder: BertModel, ids: Sequence[list[int]], places: Sequence[list[int]]) -> Tensor:
    """All hidden states at chosen places of each sentence: float16 [places of all sentences, layers + 1, width]."""

    def model(rows: Tensor, mask: Tensor) -> Tensor:
        hidden = encoder.to(device())(rows, attention_mask=mask, output_hidden_states=True).hidden_states
        return torch.stack(hidden, 2)

    found = []
    for start in range(0, len(ids), 256):  # all pieces of a few sentences at a time
        rows = zip(scored(_Called(model), ids[start : start + 256]), places[start : start + 256], strict=True)
        found += [torch.from_numpy(row[place]).half() for row, place in rows]
    return torch.cat(found)


class _Called(torch.nn.Module):
    """A function in the place of a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.forward = function
