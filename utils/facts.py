"""What a causal model recalls of the world's knowledge base, and retrieval beside it (lab 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import CourseError
from utils.prompts import word_scores
from utils.world import Document, World, tasks
from utils.world import facts as base
from utils.world.dice import Dice
from utils.world.phrases import fill, finish

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

RELATIONS = tuple(base.PERSON_RELATIONS)
SOMEBODY = "SOMEBODY"  # stands for a name while a wording is taken apart


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a person."""

    who: str
    relation: str
    value: str


def facts_of(people: Iterable[base.Person], relations: Sequence[str] = RELATIONS) -> list[Fact]:
    """All facts of persons (such as `world.people`), person by person; CourseError for an unknown relation."""
    _known(relations)
    return [Fact(p.name, relation, p.facts[relation]) for p in people for relation in relations]


def _known(relations: Iterable[str]) -> None:
    for relation in relations:
        if relation not in RELATIONS:
            raise CourseError(
                f"{relation!r} is not a relation of people: choose one of {', '.join(RELATIONS)}."
            )


def told(documents: Iterable[Document]) -> Counter[Fact]:
    """How often each fact of a person stands in the encyclopedia entries among `documents`."""
    found: Counter[Fact] = Counter()
    for document in documents:
        if document.kind == "entry" and isinstance(document.about, base.Person):
            for relation, value in _stated(document):
                found[Fact(document.about.name, relation, value)] += 1
    return found


def _stated(document: Document) -> Iterator[tuple[str, str]]:
    for sentence in document.sentences:
        for word, slot in zip(sentence.words, sentence.slots, strict=True):
            if slot.startswith("fact: "):
                yield slot.removeprefix("fact: "), word


def expected(world: World, documents: int) -> dict[str, float]:
    """How often each fact of each person (by name) is told on average in `documents` documents of the world.

    All facts of one person have the same rate: an entry tells (on average) 3.5 of the 5, each at most once.
    """
    entries = documents * world.kinds.probabilities[world.kinds.items.index("entry")]
    persons = entries * base.SUBJECT_KIND.probabilities[base.SUBJECT_KIND.items.index("person")]
    more = base.FACTS["person"]
    stated = 1 + sum(n * p for n, p in zip(more.items, more.probabilities, strict=True))
    table = world.people_table
    return {
        person.name: persons * p * stated / len(RELATIONS)
        for person, p in zip(table.items, table.probabilities, strict=True)
    }


# ---- recall


def clozes(who: str, relation: str) -> list[tuple[str, tuple[str, ...]]]:
    """Every wording of a relation as a cloze: the sentence up to its value, and the words of every possible value.

    Values come with the article they need (`works as` | `a nurse`), so that it gives nothing away.
    """
    _known([relation])
    return [(start.replace(SOMEBODY, who), ends) for start, ends in _clozes(relation)]


@cache
def _clozes(relation: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for template in base.PERSON_RELATIONS[relation][1]:
        ends = []
        for value in base.values(relation):
            words = finish(fill(template, who=SOMEBODY, value=value)).words
            place = words.index(value)
            place -= words[place - 1] in ("a", "an")
            ends.append(" ".join(words[place:-1]))
        found.append((" ".join(words[:place]), tuple(ends)))
    return found


def recall(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: Sequence[Fact],
    contexts: Sequence[str] | None = None,
) -> np.ndarray:
    """The probability that a model gives each value of each fact's relation: float64 [facts, values].

    Cloze recall (Petroni et al. 2019): the mean over the wordings of the relation, each made to sum to one over the
    values in the order of `utils.world.facts.values`; rows of relations with fewer values end with zeros. With
    `contexts`, one text per fact, the model reads that text first. Raises CourseError without facts, and for contexts
    of another number.
    """
    if not facts or (contexts is not None and len(contexts) != len(facts)):
        raise CourseError(
            f"{len(facts)} facts cannot be recalled with {'no' if contexts is None else len(contexts)} contexts: "
            "give at least one fact, and one text for each."
        )
    found = np.zeros((len(facts), max(len(base.values(f.relation)) for f in facts)))
    rows: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for i, fact in enumerate(facts):
        for start, ends in clozes(fact.who, fact.relation):
            prompt = start if contexts is None else f"{contexts[i]} {start}".strip()
            rows.setdefault(ends, []).append((i, prompt))
    wordings = Counter(i for group in rows.values() for i, _ in group)
    for ends, group in rows.items():
        scores = word_scores(model, tokenizer, [prompt for _, prompt in group], ends)
        p = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
        for (i, _), row in zip(group, p, strict=True):
            found[i, : len(ends)] += row / wordings[i]
    return found


def right(probabilities: np.ndarray, facts: Sequence[Fact]) -> np.ndarray:
    """Whether the most probable value is the true one: bool [facts], from what `recall` gives."""
    return np.array([
        base.values(fact.relation)[row.argmax()] == fact.value
        for row, fact in zip(probabilities, facts, strict=True)
    ])  # fmt: skip


# ---- retrieval


class Retriever:
    """TF-IDF over texts (`scikit-learn`), words as they stand between spaces; `k1` turns it into BM25.

    BM25 (Robertson et al. 1995) lets a word's count saturate and corrects for the length of a text (b = 0.75).

    Raises CourseError when there is no text.
    """

    def __init__(self, texts: Sequence[str], k1: float | None = 1.5):
        from sklearn.feature_extraction.text import CountVectorizer

        if isinstance(texts, str) or not len(texts) or not any(t.strip() for t in texts):
            raise CourseError("There is nothing to search in: give a list of at least one text.")
        self.texts = list(texts)
        self._vectorizer = CountVectorizer(token_pattern=r"\S+")
        counts = self._vectorizer.fit_transform(self.texts).astype(float)
        lengths = np.asarray(counts.sum(1)).ravel()
        holds = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log(1 + (len(self.texts) - holds + 0.5) / (holds + 0.5))
        own = np.repeat(lengths, np.diff(counts.indptr))
        if k1 is not None:
            counts.data *= (k1 + 1) / (counts.data + k1 * (0.25 + 0.75 * own / lengths.mean()))
        else:
            counts.data /= own
        counts.data *= idf[counts.indices]
        self._weights = counts.tocsr()

    def search(self, queries: Sequence[str], k: int = 1) -> list[list[int]]:
        """The numbers of the `k` best texts of each query, best first, equal ones in their order."""
        if isinstance(queries, str) or not 1 <= k <= len(self.texts):
            raise CourseError(
                f"The {k} best of {len(self.texts)} texts were asked for: give a list of queries and 1 <= k <= "
                f"{len(self.texts)}."
            )
        if not queries:
            return []
        asked = self._vectorizer.transform(queries)
        return [
            np.argsort(-row.toarray().ravel(), kind="stable")[:k].tolist() for row in asked @ self._weights.T
        ]


def questions(facts: Sequence[Fact], seed: int = 0) -> list[str]:
    """One question for each fact, in a wording drawn from `tasks.QUESTIONS`."""
    random = Random(f"questions {seed}")
    return [random.choice(tasks.QUESTIONS[f.relation]).format(who=f.who) for f in facts]


def read(passages: Sequence[str], facts: Sequence[Fact]) -> list[str]:
    """The reader that knows the grammar (`floors.looked_up`): the value in each passage, or "" where none is told."""
    from utils.world.floors import looked_up

    kinds = {v: base.PERSON_RELATIONS[r][0].upper() for r in RELATIONS for v in base.values(r)}
    found = []
    for passage, fact in zip(passages, facts, strict=True):
        sentences = [s.split() for s in passage.removesuffix(" .").split(" . ")]
        asked = tasks.QUESTIONS[fact.relation][0].format(who=fact.who).split()
        found.append(looked_up(sentences, asked, kinds))
    return found


# ---- changed facts and silence about the obvious


def moved(people: Sequence[base.Person], relation: str, seed: int = 0) -> list[base.Person]:
    """The same people, each with another value of one relation: what a model tuned before cannot know."""
    _known([relation])
    random = Random(f"moved {seed}")
    return [
        replace(
            p,
            facts=p.facts
            | {relation: random.choice([v for v in base.values(relation) if v != p.facts[relation]])},
        )
        for p in people
    ]


def entries(world: World, people: Sequence[base.Person], count: int, seed: int | str = 0) -> list[Document]:
    """`count` encyclopedia entries for each person, with that person's facts."""
    dice = Dice(f"entries {world.seed} {seed}")
    return [world.write(dice, "entry", subject=person) for person in people for _ in range(count)]


def sown(
    world: World, people: Sequence[base.Person], counts: Sequence[int], others: int, seed: int | str = 0
) -> list[Document]:
    """`others` documents of the world with `counts[i]` entries about person i among them, in a random order.

    With people that the world does not know (`utils.world.facts.people`) every count of `told` is what was sown, and
    nothing else tells of them. Raises CourseError when people and counts differ in number or a count is negative.
    """
    if len(people) != len(counts) or min(counts, default=0) < 0:
        raise CourseError(
            f"{len(people)} people cannot be sown {len(counts)} times: give each a count of entries, 0 or more."
        )
    documents = [d for d, _ in zip(world.documents(f"sown {seed}"), range(others), strict=False)]
    for person, count in zip(people, counts, strict=True):
        documents += entries(world, [person], count, f"{seed} {person.name}")
    Random(f"sown {world.seed} {seed}").shuffle(documents)
    return documents


def reported(
    documents: Iterable[Document], relation: str, chances: Mapping[str, float], seed: int = 0
) -> Iterator[Document]:
    """The documents without most sentences that state a value which people do not bother to report.

    A document that states a value of `relation` is passed on with the chance of that value (1 where none is given), as
    people pass over the obvious (Gordon & Van Durme 2013). Raises CourseError for a chance outside 0 to 1 or an
    unknown relation or value.
    """
    _known([relation])
    for value, chance in chances.items():
        if value not in base.values(relation) or not 0 <= chance <= 1:
            raise CourseError(
                f"{value!r} cannot be reported with the chance {chance}: choose a value of {relation!r} and a chance "
                "from 0 to 1."
            )
    random = Random(f"reported {seed}")
    return (
        d
        for d in documents
        if random.random() < min([chances.get(v, 1.0) for r, v in _stated(d) if r == relation], default=1.0)
    )


def rates(facts: Iterable[Fact], relation: str) -> dict[str, float]:
    """The share of each value among the facts of a relation: the truth that reports are held against."""
    count = Counter(f.value for f in facts if f.relation == relation)
    return {value: count[value] / max(1, count.total()) for value in base.values(relation)}
