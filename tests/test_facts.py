"""Cloze recall of the world's facts, retrieval, changed facts, and what goes unreported."""

from random import Random

import numpy as np
import pytest

from utils import checkpoints, facts
from utils.errors import CourseError
from utils.world import World
from utils.world import facts as base

WORLD = World(0)


def test_what_was_told():
    documents = WORLD.corpus(60_000)
    found = facts.told(documents)
    known = set(facts.facts_of(WORLD.people))
    assert found and set(found) <= known
    fact, count = found.most_common(1)[0]
    stating = [
        s
        for d in documents
        if d.kind == "entry" and getattr(d.about, "name", "") == fact.who
        for s in d.sentences
        if fact.value in s.words and f"fact: {fact.relation}" in s.slots
    ]
    assert len(stating) == count
    rates = facts.expected(WORLD, len(documents))
    assert sum(found.values()) == pytest.approx(5 * sum(rates.values()), rel=0.1)
    assert rates[WORLD.people_table.items[0].name] > 3 * rates[WORLD.people_table.items[-1].name]


def test_clozes_do_not_give_the_article_away():
    starts = facts.clozes("ada stoneman", "job")
    assert [start for start, _ in starts] == ["ada stoneman works as", "by trade , ada stoneman is"]
    assert "an architect" in starts[0][1] and "a nurse" in starts[0][1]
    (start, years), *none = facts.clozes("ada stoneman", "year")
    assert start == "ada stoneman was born around" and years == tuple(base.values("year")) and not none
    with pytest.raises(CourseError, match="'height' is not a relation of people: choose one of born in"):
        facts.clozes("ada", "height")


def test_recall_of_the_course_model():
    model, tokenizer = checkpoints.load_causal()
    known = facts.facts_of(WORLD.people_table.items[:3])
    found = facts.recall(model, tokenizer, known)
    assert found.shape == (15, 40)
    assert found.sum(1) == pytest.approx(np.ones(15))
    assert found[2, 24:].sum() == 0  # there are 24 jobs
    hits = facts.right(found, known)
    assert hits.shape == (15,) and hits.mean() > 0.3
    read = facts.recall(model, tokenizer, known[:1], ["a text before ."])
    assert read.sum() == pytest.approx(1)
    for given in (([], None), (known, ["one"])):
        with pytest.raises(CourseError, match="facts cannot be recalled with"):
            facts.recall(model, tokenizer, *given)


def test_bm25_by_hand():
    texts = ["a b", "a a c", "d"]
    searched = facts.Retriever(texts)
    assert searched.search(["c", "d", "b a", "unknown"]) == [[1], [2], [0], [0]]
    assert searched.search(["a"], 3) == [[1, 0, 2]]
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    weight = idf * 2 * 2.5 / (2 + 1.5 * (0.25 + 0.75 * 3 / 2))
    column = searched._vectorizer.vocabulary_["a"]
    assert searched._weights[1, column] == pytest.approx(weight)
    assert facts.Retriever(texts, k1=None).search(["a"], 2) == [[1, 0]]
    for texts in ([], [" "], "text"):
        with pytest.raises(CourseError, match="There is nothing to search in"):
            facts.Retriever(texts)
    for query in (("a", 1), (["a"], 4), (["a"], 0)):
        with pytest.raises(CourseError, match="best of 3 texts were asked for"):
            searched.search(*query)
    assert searched.search([]) == []


def test_a_changed_fact_is_found_and_read():
    people = facts.moved(WORLD.people[:20], "job")
    assert all(a.facts["job"] != b.facts["job"] for a, b in zip(people, WORLD.people, strict=False))
    assert all(a.facts["year"] == b.facts["year"] for a, b in zip(people, WORLD.people, strict=False))
    documents = facts.entries(WORLD, people, 6)
    assert len(documents) == 120
    known = [f for f in facts.facts_of(people, ["job"]) if f in facts.told(documents)]
    searched = facts.Retriever([d.text for d in documents])
    best = [[searched.texts[i] for i in row] for row in searched.search(facts.questions(known), 6)]
    answers = [
        next(filter(None, facts.read(row, [fact] * 6)), "") for row, fact in zip(best, known, strict=True)
    ]
    assert np.mean([a == f.value for a, f in zip(answers, known, strict=True)]) > 0.9


def test_the_obvious_goes_unreported():
    documents = [d for d, _ in zip(WORLD.documents("r", "entry"), range(2000), strict=False)]
    value = base.values("hobby")[0]

    def count(some):
        return sum(n for fact, n in facts.told(some).items() if fact.value == value)

    before = count(documents)
    after = list(facts.reported(documents, "hobby", {value: 0.2}))
    assert before > 20 and 0.05 < count(after) / before < 0.4
    assert len(documents) - len(after) == before - count(after)
    assert list(facts.reported(documents, "hobby", {})) == documents
    for chances in ({value: 1.2}, {"flying": 0.5}):
        with pytest.raises(CourseError, match="cannot be reported with the chance"):
            facts.reported(documents, "hobby", chances)
    rates = facts.rates(facts.facts_of(WORLD.people), "hobby")
    assert sum(rates.values()) == pytest.approx(1) and len(rates) == 14


def test_sown_entries_are_all_there():
    people = base.people(Random(1), 3, {p.name for p in WORLD.people})
    documents = facts.sown(WORLD, people, [0, 2, 5], 40)
    names = [getattr(d.about, "name", None) for d in documents]
    assert len(documents) == 47 and [names.count(p.name) for p in people] == [0, 2, 5]
    assert documents == facts.sown(WORLD, people, [0, 2, 5], 40)
    assert names[:40] != sorted(names[:40], key=str)
    for counts in ([1, 2], [1, 2, -1]):
        with pytest.raises(CourseError, match="give each a count of entries, 0 or more"):
            facts.sown(WORLD, people, counts, 1)
