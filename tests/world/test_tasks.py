"""Every task has a floor, a ceiling, and splits that do not leak."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from utils.world import World, lexicon, reviews, tasks


def bag_of_words(train: list[tuple[str, int]], test: list[tuple[str, int]]) -> float:
    """Accuracy of logistic regression on word counts."""
    counts = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=2000, C=1.0).fit(
        counts.fit_transform(t for t, _ in train), [y for _, y in train]
    )
    return model.score(counts.transform(t for t, _ in test), [y for _, y in test])


def texts(items: list[tasks.Labeled]) -> list[tuple[str, int]]:
    return [(" ".join(item.words), item.label) for item in items]


def oracle_sentiment(words: tuple[str, ...]) -> int:
    """The label read off the verdict, as the grammar defines it: its polar word, turned around by `not`."""
    end = " ".join(words).rstrip(" .").split(" . ")[-1].split()
    positive = set(
        " ".join([*lexicon.POSITIVE.values(), *lexicon.POSITIVE_VERBS.values()]).replace("/", " ").split()
    )
    negative = set(
        " ".join([*lexicon.NEGATIVE.values(), *lexicon.NEGATIVE_VERBS.values()]).replace("/", " ").split()
    )
    says_positive = any(word in positive for word in end)
    assert says_positive != any(word in negative for word in end)
    return int(says_positive != ("not" in end))


def test_sentiment_needs_more_than_words(world: World) -> None:
    train, test = tasks.sentiment(world, 4000, "train"), tasks.sentiment(world, 2000, "test")
    assert Counter(item.label for item in test) == {0: 1000, 1: 1000}
    assert 0.70 < bag_of_words(texts(train), texts(test)) < 0.90
    assert all(oracle_sentiment(item.words) == item.label for item in test)


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
        unlabelled = {word for document in world.corpus(300_000) for word in document.words}
        assert len(polar_b & unlabelled) > 30
    if split == "test new templates":
        assert not any("felt" in item.words or "never" in item.words for item in train)
        assert sum("felt" in item.words or "had" in item.words for item in test) > 300


def test_roles_say_nothing_to_a_bag_of_words(world: World) -> None:
    pairs = [(" ".join((*p.premise, "|", *p.hypothesis)), p.label) for p in tasks.roles(world, 6000)]
    assert 0.4 < bag_of_words(pairs[:4000], pairs[4000:]) < 0.6


def test_topics_are_what_words_alone_decide(world: World) -> None:
    items, names = tasks.topics(world, 5000)
    assert len(names) == 12
    assert bag_of_words(texts(items[:4000]), texts(items[4000:])) > 0.95


def test_tags_of_ambiguous_words_need_context(world: World) -> None:
    """The most frequent tag of each word, on words with two tags: the floor that a tagger has to beat."""
    train, test = tasks.tagging(world, 20_000, "train"), tasks.tagging(world, 5_000, "test")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.pos, strict=True):
            counts[word][tag] += 1
    ambiguous = {w for w, c in counts.items() if len(c) > 1 and c.most_common()[1][1] >= 3}
    hits = [
        counts[word].most_common(1)[0][0] == tag
        for sentence in test
        for word, tag in zip(sentence.words, sentence.pos, strict=True)
        if word in ambiguous
    ]
    assert len(hits) > 500 and 0.5 < np.mean(hits) < 0.9


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


def test_answering_by_the_kind_of_word_alone_is_not_enough(world: World) -> None:
    """Floor of the questions: always the first word of the right kind in the paragraph."""
    kinds = {
        w: kind for kind in ("TOWNS", "JOBS", "DECADES", "HOBBIES") for w in getattr(lexicon, kind).split()
    }
    hits = []
    for article in tasks.qa(world, 200, "test")["data"]:
        paragraph = article["paragraphs"][0]
        for question in paragraph["qas"]:
            answer = question["answers"][0]["text"]
            first = next(w for w in paragraph["context"].split() if kinds.get(w) == kinds[answer])
            hits.append(first == answer)
    assert 0.1 < np.mean(hits) < 0.7


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
        assert oracle_sentiment(tuple(document.words)) == (document.about == "positive")
    assert set(reviews.HELD_OUT) <= {*reviews.PLAIN, *reviews.NEGATIONS}
