"""SQuAD (lab 4b): its JSON, windows over long contexts, answers from logits, and the official scores.

Rajpurkar et al. (2016) for v1.1, Rajpurkar, Jia & Liang (2018) for v2.0, which adds questions without an answer.
Windows and the choice of an answer follow BERT's `run_squad.py` (Devlin et al. 2019). A tokenizer is any fast BERT
tokenizer of transformers; all positions are counted from 0, in characters of a context or in tokens of a window.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from utils import settings
from utils.downloads import fetch, read_json
from utils.errors import CourseError, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPLITS = ("train", "dev")
_SOURCES = {"1.1": "squad", "2.0": "squad-v2"}


# ---- the data


@dataclass(frozen=True, slots=True)
class Answer:
    """A text of a context, and its first character there."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The character behind the last."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Example:
    """A question about a context, and the answers that people gave; none where v2.0 calls the question impossible."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    title: str

    @property
    def target(self) -> Answer | None:
        """The answer to learn: the span that most people gave, the first of them where they are equally many."""
        return Counter(self.answers).most_common(1)[0][0] if self.answers else None


def load(split: str, version: str = "1.1", repair: bool = False) -> list[Example]:
    """The questions of SQuAD: v1.1 has 87,599 "train" and 10,570 "dev", v2.0 has 130,319 and 11,873.

    COURSE_DATA may hold the published file (`train-v1.1.json`) or a sample of it (`train-sample-v1.1.json`), also in a
    folder `squad`; a printed line says where a sample is used. `repair` as in `parse`. Raises CourseError for an
    unknown split or version, and what `read` and `fetch` raise.
    """
    if split not in SPLITS:
        raise CourseError(f"{split!r} is not a split of SQuAD: choose one of {', '.join(SPLITS)}.")
    if version not in _SOURCES:
        raise CourseError(f"{version!r} is not a version of SQuAD: choose one of {', '.join(_SOURCES)}.")
    own = settings.data_dir()
    for folder in (own / "squad", own) if own else ():
        for name in (f"{split}-v{version}.json", f"{split}-sample-v{version}.json"):
            path = folder / name
            if path.is_file() and (folder != own or "sample" in name):
                examples = read(path, repair)
                print(f"SQuAD v{version} {split}: {len(examples):,} questions of {name} in COURSE_DATA")
                return examples
    return read(fetch(f"{_SOURCES[version]}-{split}"), repair)


def read(path: Path, repair: bool = False) -> list[Example]:
    """The questions of a file in SQuAD's format, v1.1 or v2.0, in its order; see `parse`."""
    document = read_json(path)
    return parse(document, str(path), repair)


def parse(document: Any, source: str = "the document", repair: bool = False) -> list[Example]:
    """The questions of a document in SQuAD's format, such as the course world's `tasks.qa`.

    No question is ever left out. Raises CourseError, with `source` and the place in it, where the document is not of
    the format, holds no question, holds an id twice, or has an empty context, question or answer; where a question has
    no answer and is not marked `is_impossible`, or has both; and for an answer whose text does not stand at its
    `answer_start`. With `repair` such an answer moves to the nearest place where its text stands, and a printed line
    says how many moved; CourseError where it stands nowhere. An `answer_start` that points at another place of the same
    text cannot be seen.
    """
    parser = _Parser(source, repair)
    for article, place in parser.rows(document, "data", "the document"):
        title = article.get("title", "")
        if not isinstance(title, str):
            raise parser.wrong(place, f'"title" must be a text, and is {shown(title)}')
        for paragraph, inner in parser.rows(article, "paragraphs", place):
            context = parser.text(paragraph, "context", inner)
            for question, where in parser.rows(paragraph, "qas", inner):
                parser.question(question, where, context, title)
    if not parser.found:
        raise CourseError(f"{source} holds no question: get the file again.")
    if parser.moved:
        print(
            f"{source}: {parser.moved} of {parser.answers} answers moved to the nearest place where their text stands"
        )
    return parser.found


class _Parser:
    def __init__(self, source: str, repair: bool) -> None:
        self.source, self.repair = source, repair
        self.found: list[Example] = []
        self.ids: set[str] = set()
        self.answers = self.moved = 0

    def wrong(self, place: str, what: str) -> CourseError:
        return CourseError(f"{self.source}, {place}: {what}.")

    def rows(self, parent: Any, key: str, place: str) -> list[tuple[dict, str]]:
        """The objects of a list, each with its place, such as `data[0].paragraphs[2]`."""
        rows = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(rows, list):
            raise self.wrong(place, f'SQuAD\'s format has a list "{key}" here, and there is none')
        prefix = key if place == "the document" else f"{place}.{key}"
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise self.wrong(f"{prefix}[{i}]", f"an object was expected, and this is {shown(row)}")
        return [(row, f"{prefix}[{i}]") for i, row in enumerate(rows)]

    def text(self, parent: dict, key: str, place: str) -> str:
        value = parent.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(place, f'"{key}" must be a text that is not empty, and is {shown(value)}')
        return value

    def question(self, row: dict, place: str, context: str, title: str) -> None:
        name = self.text(row, "id", place)
        if name in self.ids:
            raise self.wrong(place, f"the id {shown(name)} was there before: each question needs its own")
        self.ids.add(name)
        question = self.text(row, "question", place)
        answers = tuple(self.answer(*each, context) for each in self.rows(row, "answers", place))
        impossible = row.get("is_impossible", False)
        if not isinstance(impossible, bool):
            raise self.wrong(place, f'"is_impossible" must be true or false, and is {shown(impossible)}')
        if impossible == bool(answers):
            what = "is marked impossible and has an answer" if impossible else "has no answer"
            raise self.wrong(
                place,
                f'the question {what}: "is_impossible" must be true where there is none, and only there',
            )
        self.found.append(Example(name, question, context, answers, title))

    def answer(self, row: dict, place: str, context: str) -> Answer:
        text, start = self.text(row, "text", place), row.get("answer_start")
        if isinstance(start, bool) or not isinstance(start, int) or start < 0:
            raise self.wrong(
                place, f'"answer_start" must be a number of characters from 0, and is {shown(start)}'
            )
        self.answers += 1
        if context.startswith(text, start):
            return Answer(text, start)
        places = [found.start() for found in re.finditer(f"(?={re.escape(text)})", context)]
        if not places:
            raise self.wrong(
                place,
                f"the answer {text!r:.60} does not stand in its context: correct the text of one of them",
            )
        nearest = min(places, key=lambda p: abs(p - start))
        if not self.repair:
            raise self.wrong(
                place,
                f"the answer {text!r:.60} does not stand at character {shown(start)} of its context, the nearest "
                f"one is at {nearest}: correct answer_start, or read with repair=True",
            )
        self.moved += 1
        return Answer(text, nearest)


# ---- windows


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What BERT reads at once: [CLS] question [SEP] a part of the context [SEP]."""

    example: int  # index of its question
    input_ids: np.ndarray  # int32 [tokens], without padding
    first: int  # position of its first context token
    offsets: (
        np.ndarray
    )  # int32 [context tokens, 2], first character in the context and the one behind the last
    max_context: np.ndarray  # bool [context tokens], False where another window shows more around the token
    start: int  # position of the first token of the answer to learn, 0 ([CLS]) where it is not wholly in here
    end: int  # position of its last token, 0 likewise

    @property
    def token_type_ids(self) -> np.ndarray:
        """0 up to the first [SEP], then 1; int32 [tokens]."""
        return (np.arange(len(self.input_ids)) >= self.first).astype(np.int32)


def windows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int = 384,
    stride: int | None = 128,
    max_question: int = 64,
) -> list[Window]:
    """Cut each context into windows of at most `max_length` tokens, special tokens included.

    A window begins `stride` context tokens behind the one before it (Google's `doc_stride`; what transformers calls
    stride is the overlap), or right behind its end where it is shorter than that: every context token is in a window,
    and every question has one. Questions are cut to `max_question` tokens, as BERT does. `stride=None` allows one
    window only. Raises CourseError for lengths that leave no room or no step, for a tokenizer that does not know
    offsets, for a context of which the tokenizer makes nothing or, with `stride=None`, that is longer than a window,
    and for an answer without a token.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise CourseError(
            f"{type(tokenizer).__name__} does not say where its tokens stand: use a fast tokenizer."
        )
    if (stride is not None and stride < 1) or max_question < 1 or max_length < max_question + 4:
        raise CourseError(
            f"Windows of {max_length} tokens at a stride of {stride}, with questions of up to {max_question} tokens, "
            "cannot be made: stride and max_question must be positive, and max_length at least max_question + 4."
        )
    plain: dict[str, Any] = {"add_special_tokens": False, "verbose": False}
    contexts = list(dict.fromkeys(example.context for example in examples))
    if not contexts:
        return []
    encoded = tokenizer(contexts, return_offsets_mapping=True, **plain)
    ids = dict(zip(contexts, encoded["input_ids"], strict=True))
    offsets = {
        context: np.array(pairs, dtype=np.int32).reshape(-1, 2)
        for context, pairs in zip(contexts, encoded["offset_mapping"], strict=True)
    }
    questions = tokenizer([example.question for example in examples], **plain)["input_ids"]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    found = []
    for number, (example, question) in enumerate(zip(examples, questions, strict=True)):
        head = [cls, *question[:max_question], sep]
        tokens, places = ids[example.context], offsets[example.context]
        if not tokens:
            raise CourseError(
                f"Question {example.id}: the tokenizer makes no token of its context {example.context!r:.40}."
            )
        answer = _tokens_of(example, places)
        spans = _spans(len(tokens), max_length - len(head) - 1, stride, example.id)
        for (begin, end), best in zip(spans, _max_context(spans, len(tokens)), strict=True):
            inside = answer is not None and begin <= answer[0] and answer[1] < end
            shift = len(head) - begin
            found.append(
                Window(
                    example=number,
                    input_ids=np.array([*head, *tokens[begin:end], sep], dtype=np.int32),
                    first=len(head),
                    offsets=places[begin:end],
                    max_context=best,
                    start=answer[0] + shift if answer and inside else 0,
                    end=answer[1] + shift if answer and inside else 0,
                )
            )
    return found


def _spans(tokens: int, room: int, stride: int | None, name: str) -> list[tuple[int, int]]:
    """First context token of each window, and the one behind its last."""
    if stride is None and tokens > room:
        raise CourseError(
            f"Question {name}: its context has {tokens} tokens, and one window has room for {room}: give a stride, or "
            "a larger max_length."
        )
    spans = [(0, min(tokens, room))]
    while spans[-1][1] < tokens:
        begin = spans[-1][0] + min(stride or room, room)
        spans.append((begin, min(tokens, begin + room)))
    return spans


def _max_context(spans: Sequence[tuple[int, int]], tokens: int) -> list[np.ndarray]:
    """For each window, which of its tokens have more around them here than in any other window.

    More is the smaller of the numbers of tokens to the left and to the right, plus a hundredth of the window's length;
    where windows are equal the first one has it. So each token of the context belongs to one window.
    """
    at = np.arange(tokens)
    scores = np.full((len(spans), tokens), -np.inf)
    for i, (begin, end) in enumerate(spans):
        scores[i, begin:end] = np.minimum(at - begin, end - 1 - at)[begin:end] + 0.01 * (end - begin)
    owner = scores.argmax(0)
    return [owner[begin:end] == i for i, (begin, end) in enumerate(spans)]


def _tokens_of(example: Example, offsets: np.ndarray) -> tuple[int, int] | None:
    """The first and the last context token of the answer to learn."""
    answer = example.target
    if answer is None:
        return None
    first = int(np.searchsorted(offsets[:, 1], answer.start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], answer.end, side="left")) - 1
    if first > last:
        raise CourseError(
            f"Question {example.id}: the tokenizer makes no token of the answer {answer.text!r:.40}."
        )
    return first, last


def batch(chosen: Sequence[Window], length: int | None = None, pad: int = 0) -> dict[str, np.ndarray]:
    """Windows as BERT's three inputs under TF Hub's names, int32 [windows, tokens] each.

    Padded with the id `pad` to `length`, or to the longest of them. Raises CourseError for a window longer than
    `length`.
    """
    longest = max((len(window.input_ids) for window in chosen), default=0)
    length = length or longest
    if longest > length:
        raise CourseError(f"A window of {longest} tokens does not fit into {length}: give a larger length.")
    found = {
        name: np.zeros((len(chosen), length), dtype=np.int32)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    found["input_word_ids"] += pad
    for row, window in enumerate(chosen):
        n = len(window.input_ids)
        found["input_word_ids"][row, :n] = window.input_ids
        found["input_mask"][row, :n] = 1
        found["input_type_ids"][row, :n] = window.token_type_ids
    return found


def labels(chosen: Sequence[Window]) -> np.ndarray:
    """Positions of first and last token of the answers to learn, int32 [windows, 2]."""
    return np.array([(window.start, window.end) for window in chosen], dtype=np.int32).reshape(-1, 2)


# ---- answers


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer: its characters in the context (0 to 0 for "no answer"), and its score."""

    text: str
    start: int
    end: int
    score: float  # logit of its first token plus that of its last
    probability: float  # among the candidates that are kept


@dataclass(frozen=True, slots=True)
class Prediction:
    """The candidates for a question, best first, and the score of "no answer"."""

    spans: tuple[Span, ...]
    null_score: float  # the lowest sum of both logits of [CLS] over the windows

    @property
    def best(self) -> Span:
        """The best candidate that is an answer."""
        return next(span for span in self.spans if span.text)

    @property
    def null_odds(self) -> float:
        """How far "no answer" is above the best answer."""
        return self.null_score - self.best.score

    def text(self, threshold: float = math.inf) -> str:
        """The best answer, or "" where `null_odds` is above the threshold (v2.0)."""
        return "" if self.null_odds > threshold else self.best.text


def predict(
    examples: Sequence[Example],
    made: Sequence[Window],
    start_logits: Sequence[np.ndarray],
    end_logits: Sequence[np.ndarray],
    n_best: int = 20,
    max_answer: int = 30,
    null: bool = False,
) -> list[Prediction]:
    """The answers to all examples, in their order, from the logits of all windows.

    `start_logits` and `end_logits` have a row per window and a number per token; what is behind a window's last token
    is ignored. Candidates of a window are the pairs among its `n_best` first tokens and its `n_best` last tokens that
    lie in the context, in order, at most `max_answer` tokens long, the first one with maximum context; the best
    `n_best` of all windows are kept, and with `null` "no answer" among or behind them. Equal scores stay in the order
    of windows and ranks. Where all such pairs are invalid every pair of the context is a candidate, so that every
    question has an answer. A text is cut out of its context by offsets, never put together from tokens.

    Raises CourseError for logits that do not fit the windows or are not finite, and for an example without a window.
    """
    if n_best < 1 or max_answer < 1:
        raise CourseError(f"n_best and max_answer must be positive, and are {n_best} and {max_answer}.")
    if not len(made) == len(start_logits) == len(end_logits):
        raise CourseError(
            f"{len(made)} windows, {len(start_logits)} rows of start logits and {len(end_logits)} of end logits were "
            "given: they must be equally many."
        )
    rows: list[list[int]] = [[] for _ in examples]
    logits = []
    for number, window in enumerate(made):
        pair = [
            np.asarray(some[number], dtype=np.float64)[: len(window.input_ids)]
            for some in (start_logits, end_logits)
        ]
        if any(len(one) < len(window.input_ids) or not np.isfinite(one).all() for one in pair):
            raise CourseError(
                f"Window {number} has {len(window.input_ids)} tokens, and its logits are fewer or not all finite."
            )
        logits.append(pair)
        rows[window.example].append(number)
    found = []
    for example, numbers in zip(examples, rows, strict=True):
        if not numbers:
            raise CourseError(
                f"Question {example.id} has no window: make windows of all questions and score all."
            )
        own = [(made[number], *logits[number]) for number in numbers]
        candidates = [c for one in own for c in _candidates(*one, n_best, max_answer)]
        if not candidates:
            candidates = [c for one in own for c in _candidates(*one, len(one[1]), max_answer)]
        null_score = min(float(start[0] + end[0]) for _, start, end in own)
        found.append(_prediction(example.context, candidates, null_score, n_best, null))
    return found


def _candidates(
    window: Window, start: np.ndarray, end: np.ndarray, n_best: int, max_answer: int
) -> list[tuple[float, int, int]]:
    """Score, first character and the one behind the last."""
    firsts = np.argsort(-start, kind="stable")[:n_best] - window.first
    lasts = np.argsort(-end, kind="stable")[:n_best] - window.first
    tokens = len(window.offsets)
    firsts = firsts[(firsts >= 0) & (firsts < tokens)]
    firsts = firsts[window.max_context[firsts]]
    lasts = lasts[(lasts >= 0) & (lasts < tokens)]
    length = lasts[None] - firsts[:, None] + 1
    i, j = np.nonzero((length > 0) & (length <= max_answer))
    scores = start[firsts[i] + window.first] + end[lasts[j] + window.first]
    begins, ends = window.offsets[firsts[i], 0], window.offsets[lasts[j], 1]
    return list(zip(scores.tolist(), begins.tolist(), ends.tolist(), strict=True))


def _prediction(
    context: str, candidates: list[tuple[float, int, int]], null_score: float, n_best: int, null: bool
) -> Prediction:
    if null:
        candidates = [*candidates, (null_score, 0, 0)]
    kept = sorted(candidates, key=lambda c: -c[0])[:n_best]
    if null and (null_score, 0, 0) not in kept:
        kept.append((null_score, 0, 0))
    if all(end == 0 for _, _, end in kept):
        kept.append(max((c for c in candidates if c[2]), key=lambda c: c[0]))
    weights = np.exp(np.array([score for score, _, _ in kept]) - max(score for score, _, _ in kept))
    spans = [
        Span(context[start:end], start, end, score, float(weight))
        for (score, start, end), weight in zip(kept, weights / weights.sum(), strict=True)
    ]
    return Prediction(tuple(spans), null_score)


# ---- scores


def normalize(text: str) -> str:
    """An answer as the official scorers compare it: lower case, without ASCII punctuation and articles, one space."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answer: str) -> float:
    """1 where both are the same after `normalize`, else 0."""
    return float(normalize(prediction) == normalize(answer))


def f1(prediction: str, answer: str) -> float:
    """The F1 score of the words of both after `normalize`, 0 to 1; 1 where neither has a word, as in v2.0."""
    given, gold = normalize(prediction).split(), normalize(answer).split()
    if not given or not gold:
        return float(given == gold)
    same = sum((Counter(given) & Counter(gold)).values())
    if not same:
        return 0.0
    precision, recall = same / len(given), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def question_scores(
    examples: Sequence[Example], predictions: Mapping[str, str], version: str = "1.1"
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, float64 [examples] each: the best over its answers.

    `predictions` has the answer to each id, "" for "no answer". The versions differ for answers that `normalize` to
    nothing: v1.1 gives them no F1, v2.0 takes them for "no answer". Raises CourseError for an example without a
    prediction (it would be missing in the denominator), for one without an answer in v1.1, and for an unknown version.
    """
    if version not in _SOURCES:
        raise CourseError(f"{version!r} is not a version of SQuAD: choose one of {', '.join(_SOURCES)}.")
    exact, overlap = np.zeros(len(examples)), np.zeros(len(examples))
    for i, example in enumerate(examples):
        if example.id not in predictions:
            missing = sum(e.id not in predictions for e in examples)
            raise CourseError(
                f"{missing} of {len(examples)} questions have no prediction, the first one is {example.id}: predict "
                'all of them, "" where there is no answer.'
            )
        text = predictions[example.id]
        answers = [answer.text for answer in example.answers]
        if version == "2.0":
            answers = [answer for answer in answers if normalize(answer)] or [""]
        elif not answers:
            raise CourseError(f"Question {example.id} has no answer: score with version='2.0'.")
        exact[i] = max(exact_match(text, answer) for answer in answers)
        overlap[i] = max(f1(text, answer) for answer in answers)
        if version == "1.1" and not normalize(text):
            overlap[i] = 0.0
    return exact, overlap


def evaluate(
    examples: Sequence[Example], predictions: Mapping[str, str], version: str = "1.1"
) -> dict[str, float]:
    """Exact match and F1 in percent, as the official scorers print them: "exact", "f1", "total".

    For v2.0 also of the questions with an answer ("HasAns_exact", ...) and without ("NoAns_exact", ...), where there
    are any. Raises CourseError where there is no example, and as `question_scores` does.
    """
    if not examples:
        raise CourseError("There is no question to score.")
    scores = question_scores(examples, predictions, version)
    answered = np.array([bool(example.answers) for example in examples])
    groups = {"": np.ones(len(examples), dtype=bool)}
    if version == "2.0":
        groups |= {"HasAns_": answered, "NoAns_": ~answered}
    found: dict[str, float] = {}
    for prefix, chosen in groups.items():
        if chosen.any():
            for name, values in zip(("exact", "f1"), scores, strict=True):
                found[prefix + name] = 100 * math.fsum(values[chosen]) / int(chosen.sum())
            found[prefix + "total"] = int(chosen.sum())
    return found


def best_threshold(
    examples: Sequence[Example],
    texts: Mapping[str, str],
    null_odds: Mapping[str, float],
    metric: Literal["exact", "f1"] = "f1",
) -> tuple[float, float]:
    """The threshold on `null_odds` with the best v2.0 score, and that score in percent.

    `texts` has the best answer to each id; a question counts as unanswered where its odds are above the threshold. The
    lowest of equally good thresholds is taken: minus infinity where it is best to answer nothing. The official scorer
    finds the same score where no text is of articles and punctuation alone; it says 0 there, and it also counts
    thresholds between questions of equal odds, which none can reach. Raises CourseError as `question_scores` does.
    """
    pick = ("exact", "f1").index(metric)
    gains = question_scores(examples, texts, "2.0")[pick]
    nothing = question_scores(examples, {example.id: "" for example in examples}, "2.0")[pick]
    odds = np.array([null_odds[example.id] for example in examples])
    order = np.argsort(odds, kind="stable")
    reached = nothing.sum() + np.cumsum((gains - nothing)[order])
    last = np.append(odds[order][1:] != odds[order][:-1], True)  # of equal odds
    thresholds = np.append(-math.inf, odds[order][last])
    totals = np.append(nothing.sum(), reached[last])
    best = int(totals.argmax())
    return float(thresholds[best]), float(100 * totals[best] / len(examples))
