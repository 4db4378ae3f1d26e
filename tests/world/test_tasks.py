"""Every task has a floor, a ceiling, and splits that do not leak."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.world import World, lexicon, reviews, tasks
from utils.world.floors import floors, opinion


def test_floors_and_ceilings(world: World) -> None:
    """No task that is meant to need more is solved by counting words, and every task can be solved."""
    found = floors(world)
    for task, (chance, counted, oracle) in found.items():
        assert chance < oracle, task
        assert oracle > 0.9, task
        assert task == "topics" or counted < 0.9, task
    assert found["topics"][1] > 0.95
    assert 0.4 < found["roles"][1] < 0.6
    assert found["sentiment"][0] == found["roles"][0] == 0.5
    assert found["sentiment"][2] == found["roles"][2] == found["questions"][2] == 1.0


@pytest.mark.parametrize("split", ["test", "test new words", "test new templates"])
def test_sentiment_splits_do_not_leak(world: World, split: str) -> None:
    train, test = tasks.sentiment(world, 3000, "train"), tasks.sentiment(world, 1000, split)
    assert not {item.words for item in train} & {item.words for item in test}
    polar_b = set(
        " ".join(
            " ".join(lists["B"].replace("/", " ").split())
            for lists in (lexicon.POSITIVE, lexicon.NEGATIVE, lexicon.POSITIVE_VERBS, lexicon.NEGATIVE_VERBS)
        ).split()
    )
    seen = {word for item in train for word in item.words}
    assert not seen & polar_b
    if split == "test new words":
        assert all(set(item.words) & polar_b for item in test)
        unlabeled = {word for document in world.corpus(300_000) for word in document.words}
        assert len(polar_b & unlabeled) > 30
    if split == "test new templates":
        assert not any("felt" in item.words or "never" in item.words for item in train)
        assert sum("felt" in item.words or "had" in item.words for item in test) > 300


def test_films_are_new_to_what_models_read(world: World) -> None:
    read = {word for document in world.corpus(300_000) for word in document.words}
    seen = {word for item in tasks.sentiment(world, 500, "train", domain="film") for word in item.words}
    test = {
        word for item in tasks.sentiment(world, 500, "test new words", domain="film") for word in item.words
    }
    halves = {
        half: set((lexicon.POSITIVE_FILMS[half] + " " + lexicon.NEGATIVE_FILMS[half]).split())
        for half in "AB"
    }
    assert not (halves["A"] | halves["B"]) & read
    assert halves["A"] <= seen and not halves["B"] & seen
    assert halves["B"] <= test and not halves["A"] & test
    assert {"good", "superb"} <= seen and {"wonderful", "lousy"} <= test
    assert not seen & set(lexicon.PRODUCTS)


@pytest.mark.parametrize("split", ["validation", "test", "test new words", "test new templates"])
def test_unlabeled_films_stand_in_no_other_split(world: World, split: tasks.SentimentSplit) -> None:
    texts = tasks.unlabeled(world, 3000, 0, "film")
    assert len(set(texts)) == 3000 == len(tasks.unlabeled(world, 3000, 0, "film"))
    assert not set(texts) & {item.words for item in tasks.sentiment(world, 1000, split, domain="film")}
    assert texts != tasks.unlabeled(world, 3000, 1, "film")
    spoken = {word for words in texts for word in words}
    assert {"riveting", "gripping", "wooden", "dull"} <= spoken


@pytest.mark.parametrize("attractors", [0, 1, 2])
@pytest.mark.parametrize("nonce", [False, True])
def test_agreement_pairs_differ_in_the_number_of_one_verb(world: World, attractors: int, nonce: bool) -> None:
    other = tasks.other_numbers(world)
    for pair in tasks.agreement(world, 100, attractors, "test", nonce):
        differing = [i for i, (a, b) in enumerate(zip(pair.good, pair.bad, strict=True)) if a != b]
        assert differing == [pair.position]
        assert other[pair.good[pair.position]] == pair.bad[pair.position]


def test_polarity_cues_are_balanced_and_honest(world: World) -> None:
    negative = set(" ".join(lexicon.NEGATIVE.values()).split())
    cues = set(" ".join(lexicon.NEGATIVE_CUES.values()).split())
    for pair in tasks.polarity_cues(world, 200, "test"):
        assert any(w in cues for w in pair.good) == (pair.good[pair.position] in negative)
        assert (pair.bad[pair.position] in negative) != (pair.good[pair.position] in negative)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), split=st.sampled_from(["train", "test"]))
def test_every_answer_stands_where_squad_says(world: World, seed: int, split: str) -> None:
    known = {person.name for person in world.people}
    for article in json.loads(json.dumps(tasks.qa(world, 3, split, seed)))["data"]:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            assert not any(name in context for name in known)
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                end = answer["answer_start"] + len(answer["text"])
                assert context[answer["answer_start"] : end] == answer["text"]
                assert f" {context} "[answer["answer_start"]] == " " and f" {context} "[end + 1] == " "


def test_questions_of_the_test_set_are_partly_new(world: World) -> None:
    asked = {
        split: [q["question"] for a in tasks.qa(world, 100, split)["data"] for q in a["paragraphs"][0]["qas"]]
        for split in ("train", "test")
    }
    assert not any(q.startswith("in which town") for q in asked["train"])
    assert (
        0.3
        < np.mean([q.startswith(("in which town", "what is the", "which hobby")) for q in asked["test"]])
        < 0.7
    )


STATED = {
    "born in": r"was born in|comes from|native of",
    "lives in": "lives in|has a home in",
    "job": "works as|by trade",
    "year": "born around",
    "hobby": "enjoys|spends every sunday",
}


def told_facts(context: str) -> set[tuple[str, str]]:
    """Name and relation of each sentence; an entry begins with the full name."""
    firsts, lasts = f"{lexicon.FEMALE} {lexicon.MALE}".split(), lexicon.SURNAMES.split()
    name, found = "", set()
    for sentence in context.split(" . "):
        words = sentence.split()
        pairs = zip(words, words[1:], strict=False)
        name = next((f"{a} {b}" for a, b in pairs if a in firsts and b in lasts), name)
        found |= {(name, relation) for relation, pattern in STATED.items() if re.search(pattern, sentence)}
    return found


@pytest.mark.parametrize("split", ["train", "test"])
def test_impossible_questions(world: World, split: str) -> None:
    asked = {
        (wording.partition("{who}")[0], wording.partition("{who}")[2]): relation
        for relation, wordings in tasks.QUESTIONS.items()
        for wording in wordings
    }
    plain, more = tasks.qa(world, 40, split), tasks.qa(world, 40, split, impossible=4)
    assert (plain["version"], more["version"]) == ("1.1", "2.0")
    kinds = []
    for before, after in zip(plain["data"], more["data"], strict=True):
        (old,), (new,) = before["paragraphs"], after["paragraphs"]
        assert new["context"] == old["context"] and new["qas"][: len(old["qas"])] == old["qas"]
        told = told_facts(new["context"])
        for row in new["qas"]:
            text = row["question"]
            ((name, relation),) = [
                (text[len(a) : len(text) - len(b)], r)
                for (a, b), r in asked.items()
                if text[: len(a)] == a and text[-len(b) :] == b
            ]
            assert ((name, relation) in told) == bool(row["answers"]) != row.get("is_impossible", False)
            if not row["answers"]:
                kinds.append(row["id"].split("-")[-1])
                assert (name in new["context"]) == (kinds[-1] == "fact")
    assert len(kinds) == 160 and 70 < kinds.count("fact") <= 80


def test_dialogues_have_the_published_form(world: World) -> None:
    entries = json.loads(json.dumps(tasks.dialogue(world, 30)))
    for entry in entries:
        assert set(entry) == {"personality", "utterances"} and len(entry["personality"]) == 4
        for utterance in entry["utterances"]:
            assert len(utterance["candidates"]) == 20 and len(set(utterance["candidates"])) == 20
            assert len(utterance["history"]) % 2 == 1
    first, second = entries[0]["utterances"][:2]
    assert second["history"][: len(first["history"]) + 1] == [*first["history"], first["candidates"][-1]]


def test_reviews_quote_their_polarity_last(world: World) -> None:
    for document, _ in zip(world.documents("polarity", "review"), range(200), strict=False):
        assert opinion(tuple(document.words)) == (document.about == "positive")
    assert set(reviews.HELD_OUT) <= {*reviews.PLAIN, *reviews.NEGATIONS}


def test_topic_of_words_leaves_out_words_of_two_topics(world: World) -> None:
    found = tasks.topic_of_words(world)
    assert set(found.values()) == set(world.topics)
    assert not world.ambiguous & found.keys()
    assert "plant" not in found  # a verb of one topic and a noun of another
    for name, topic in world.topics.items():
        forms = {form for verb in topic.transitive.items for form in verb if form}
        assert {found[form] for form in forms & found.keys()} == {name}
