"""Tasks as text for a causal model: prompts, demonstrations, label words, calibration, instructions (lab 5).

A prompt is a text that ends where an answer should stand, and an answer is one of a few words, chosen by its
probability. Nothing of the model changes (Brown et al. 2020), unless it is tuned on tasks written in this way
(Wei et al. 2022; Min et al., "MetaICL", 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from utils.errors import CourseError
from utils.training import encode, pad
from utils.world import World, tasks
from utils.world.tasks import Labeled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Labels = Literal["gold", "random", "flipped"]
FILLERS = ("", "it .", "the thing .", "this is this .")  # texts that say nothing about any label
ROWS = 64  # texts that a model reads at a time


# ---- prompts


@dataclass(frozen=True)
class Template:
    """How a labeled text becomes a prompt: `pattern` holds {text} and ends before the label word.

    `words` is the verbalizer, one label word per class.

    Raises CourseError for a pattern without {text}, and for fewer than two or repeated label words.
    """

    pattern: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pattern.count("{text}") != 1:
            raise CourseError(
                f"The pattern {self.pattern!r} says {self.pattern.count('{text}')} times where the text goes: "
                "write {text} into it once."
            )
        if len(self.words) < 2 or len(set(self.words)) < len(self.words):
            raise CourseError(
                f"The label words {self.words} do not tell classes apart: give each class its own word."
            )

    def ask(self, text: str) -> str:
        """The text in the pattern, up to where the label word should stand."""
        return " ".join(self.pattern.replace("{text}", text).split())

    def show(self, item: Labeled) -> str:
        """A demonstration: a labeled text in the pattern with its label word, and a full stop."""
        if not 0 <= item.label < len(self.words):
            raise CourseError(
                f"A text has the label {item.label}, and the template has words for 0 to {len(self.words) - 1}: "
                "give one label word per class."
            )
        return f"{self.ask(' '.join(item.words))} {self.words[item.label]} ."


def write(template: Template, text: str, demonstrations: Sequence[Labeled] = ()) -> str:
    """A prompt for `text` after `demonstrations`, in the order given; zero-shot without them."""
    return " ".join([*map(template.show, demonstrations), template.ask(text)])


def relabeled(items: Sequence[Labeled], labels: Labels, classes: int, seed: int = 0) -> list[Labeled]:
    """The items with their labels: true ("gold"), drawn uniformly ("random"), or always the next class ("flipped").

    Random labels are what Min et al. (2022) put into demonstrations. Raises CourseError for another kind.
    """
    if labels not in get_args(Labels):
        raise CourseError(f"{labels!r} is not a kind of label: choose one of {', '.join(get_args(Labels))}.")
    random = Random(f"labels {seed}")
    change: dict[str, Callable[[int], int]] = {
        "gold": lambda label: label,
        "random": lambda label: random.randrange(classes),
        "flipped": lambda label: (label + 1) % classes,
    }
    return [Labeled(item.words, change[labels](item.label)) for item in items]


@torch.no_grad()
def word_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], words: Sequence[str]
) -> np.ndarray:
    """log p (nats) of each of `words` right after each prompt, float64 [prompts, words]; all sub-words count.

    Raises CourseError without prompts or words, and for a prompt that the model has no room for.
    """
    if isinstance(prompts, str) or not len(prompts) or not len(words):
        raise CourseError("word_scores needs a list of prompts and a list of words: write [prompt], [word].")
    answers = [ids[1:-1] for ids in encode(tokenizer, words)]
    contexts: dict[tuple[int, ...], int] = {}
    asked: list[tuple[int, int, int, int]] = []  # prompt, word, context, token
    for i, ids in enumerate(encode(tokenizer, prompts)):
        for j, answer in enumerate(answers):
            for k, token in enumerate(answer):
                context = (*ids[:-1], *answer[:k])
                asked.append((i, j, contexts.setdefault(context, len(contexts)), token))
    texts = list(contexts)
    longest, room = max(map(len, texts)), model.config.max_position_embeddings
    if longest > room:
        raise CourseError(
            f"A prompt of {longest} tokens does not fit a model of {room} positions: use fewer demonstrations."
        )
    order = sorted(range(len(texts)), key=lambda c: len(texts[c]))
    wanted: list[list[tuple[int, int, int]]] = [[] for _ in texts]
    for i, j, c, token in asked:
        wanted[c].append((i, j, token))
    scores = np.zeros((len(prompts), len(words)))
    for start in range(0, len(order), ROWS):
        some = order[start : start + ROWS]
        ends = torch.tensor([len(texts[c]) - 1 for c in some])
        batch = pad([texts[c] for c in some], int(ends.max()) + 1, tokenizer.pad_token_id).to(model.device)
        states = model.base_model(input_ids=batch).last_hidden_state[torch.arange(len(some)), ends]
        logp = model.get_output_embeddings()(states).double().log_softmax(-1).cpu().numpy()
        for row, c in zip(logp, some, strict=True):
            for i, j, token in wanted[c]:
                scores[i, j] += row[token]
    return scores


def _calibrated(scores: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Scores [prompts, words] after division by what the words get without content (Zhao et al. 2021).

    `free` [inputs, words] are the scores of content-free inputs in the same prompt: their probabilities, each row made
    to sum to one over the words, are averaged. Returns log-probabilities whose rows sum to one over the words.
    """
    return _normal(_normal(scores) - np.log(np.exp(_normal(free)).mean(0)))


def _normal(logp: np.ndarray) -> np.ndarray:
    return logp - np.logaddexp.reduce(logp, axis=1, keepdims=True)


def classify(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    template: Template,
    texts: Sequence[str],
    demonstrations: Sequence[Labeled] = (),
    calibrate: bool = False,
) -> np.ndarray:
    """Log-probability of every class of every text, float64 [texts, classes], by prompting; rows sum to one.

    All texts get the same demonstrations in the same order. With `calibrate` the content-free `FILLERS` are put in
    place of the text (Zhao et al. 2021).
    """
    scores = word_scores(
        model, tokenizer, [write(template, t, demonstrations) for t in texts], template.words
    )
    if not calibrate:
        return _normal(scores)
    prompts = [write(template, filler, demonstrations) for filler in FILLERS]
    return _calibrated(scores, word_scores(model, tokenizer, prompts, template.words))


# ---- tasks with instructions


@dataclass(frozen=True, slots=True)
class Example:
    """A task as text: what is asked, the right answer, and the answers to choose from."""

    task: str
    prompt: str
    answer: str
    options: tuple[str, ...]


# Wordings of each task; the last one of each list is never used in training.
WORDINGS = {
    "sentiment": [
        "{text} is this review good or bad ?",
        "{text} good or bad ?",
        "{text} what does this review say : good or bad ?",
    ],
    "topic": [
        "{text} what is this text about ?",
        "{text} which topic does this have ?",
        "{text} this text is about what ?",
    ],
    "roles": [
        "{text} do both say the same : yes or no ?",
        "{text} is the second right : yes or no ?",
        "{text} do both tell the same story : yes or no ?",
    ],
    "number": [
        "{text} is this about one or many ?",
        "{text} one or many ?",
        "{text} who does this : one or many ?",
    ],
}
Split = Literal["train", "test"]


def examples(world: World, task: str, count: int, split: Split, seed: int | str = 0) -> list[Example]:
    """`count` examples of a task of `WORDINGS`; `test` has other texts, and the wording that training never uses.

    Raises CourseError for an unknown task or split.
    """
    if task not in WORDINGS or split not in get_args(Split):
        raise CourseError(
            f"There is no task {task!r} with the split {split!r}: choose one of {', '.join(WORDINGS)}, "
            f"and one of {', '.join(get_args(Split))}."
        )
    items, words = _items(world, task, count, split, seed)
    random = Random(f"wordings {world.seed} {task} {split} {seed}")
    wordings = WORDINGS[task][-1:] if split == "test" else WORDINGS[task][:-1]
    return [
        Example(
            task, random.choice(wordings).replace("{text}", " ".join(i.words)), words[i.label], tuple(words)
        )
        for i in items
    ]


def _items(
    world: World, task: str, count: int, split: Split, seed: int | str
) -> tuple[list[Labeled], list[str]]:
    own = f"{split} {seed}"  # streams of their own: equal texts in both splits are taken out below
    if task == "sentiment":
        return tasks.sentiment(world, count, split, seed), ["bad", "good"]
    found: dict[tuple[str, ...], Labeled] = {}
    size = count
    while True:
        if task == "topic":
            items, words = tasks.topics(world, size, own)
        elif task == "roles":
            pairs = tasks.roles(world, size, own)
            items, words = [Labeled((*p.premise, *p.hypothesis), p.label) for p in pairs], ["no", "yes"]
        else:
            items, words = _numbers(world, size, own), ["one", "many"]
        found = {
            i.words: i for i in items if (Random(" ".join(i.words)).random() < 0.25) == (split == "test")
        }
        if len(found) >= count:
            return list(found.values())[:count], words
        size *= 2


def _numbers(world: World, count: int, seed: str) -> list[Labeled]:
    """Sentences with an agreeing main verb, and whether their subject is one (0) or many (1)."""
    found: list[Labeled] = []
    for document in world.documents(f"numbers {seed}", "scene"):
        for s in document.sentences:
            main = [a for a in s.agreements if s.heads[a.verb] == -1]
            if main and s.numbers[main[0].verb] in ("sg", "pl"):
                found.append(Labeled(tuple(s.words), int(s.numbers[main[0].verb] == "pl")))
        if len(found) >= count:
            break
    return found[:count]


def answer_batches(
    tokenizer: PreTrainedTokenizerFast, given: Sequence[Example], rows: int = 16, seed: int = 0
) -> Iterator[Tensor]:
    """Endless batches [2, rows, width] for `training.pretrain`: ids, and where an answer (with `</s>`) stands.

    Raises CourseError without examples.
    """
    if not given:
        raise CourseError("There is nothing to tune on: give at least one example.")
    starts = encode(tokenizer, [e.prompt for e in given])
    ends = encode(tokenizer, [e.answer for e in given])
    ids = [start[:-1] + end[1:] for start, end in zip(starts, ends, strict=True)]
    asked = [[0] * (len(start) - 1) + [1] * (len(end) - 1) for start, end in zip(starts, ends, strict=True)]
    order, queue = np.random.default_rng(seed), []
    while True:
        while len(queue) < rows:
            queue += order.permutation(len(given)).tolist()
        some, queue = queue[:rows], queue[rows:]
        width = max(len(ids[i]) for i in some)
        yield torch.stack([
            pad([ids[i] for i in some], width, tokenizer.pad_token_id),
            pad([asked[i] for i in some], width, 0),
        ])  # fmt: skip


def answer_loss(model: Module, batch: Tensor, step: int) -> Tensor:
    """Mean nats of the answers' tokens, given all on their left (a loss for `training.pretrain`)."""
    ids, asked = batch
    states = model.base_model(input_ids=ids[:, :-1]).last_hidden_state
    chosen = asked[:, 1:].bool()
    return cross_entropy(model.get_output_embeddings()(states[chosen]).float(), ids[:, 1:][chosen])


def accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, given: Sequence[Example]) -> float:
    """Share of examples whose right answer is the most probable of its options."""
    groups: dict[tuple[str, ...], list[Example]] = {}
    for example in given:
        groups.setdefault(example.options, []).append(example)
    right = 0
    for options, some in groups.items():
        best = word_scores(model, tokenizer, [e.prompt for e in some], options).argmax(1)
        right += sum(options[b] == e.answer for b, e in zip(best, some, strict=True))
    return right / len(given)
