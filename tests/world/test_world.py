"""Size, speed, determinism, and the gold annotation of the course world."""

import hashlib
import time
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.world import KINDS, World, lexicon
from utils.world.phrases import Sentence, fill, finish

COURSE_WORLD = "263eb1e7b774c4a71e806bc173780680a82f6bc2a81758176d3acc9c09b0ace4"


@pytest.fixture(scope="module")
def corpus(world: World):
    return world.corpus(500_000)


def digest(world: World, words: int) -> str:
    return hashlib.sha256("\n".join(d.text for d in world.corpus(words)).encode()).hexdigest()


def test_two_million_tokens_in_a_minute(world: World) -> None:
    started = time.process_time()
    documents = world.corpus(2_000_000)
    assert time.process_time() - started < 60
    assert sum(len(d.words) + 1 for d in documents) >= 2_000_000


def test_a_seed_fixes_every_byte_and_another_seed_changes_them() -> None:
    assert digest(World(3), 20_000) == digest(World(3), 20_000) != digest(World(4), 20_000)


def test_the_course_world_is_the_one_that_the_checkpoints_know() -> None:
    """Editing the lexicon or a template changes this digest: then `make checkpoints` and `make evidence` are due."""
    assert digest(World(0), 50_000) == COURSE_WORLD


def test_vocabulary_and_ambiguity(corpus) -> None:
    tags: dict[str, Counter[str]] = defaultdict(Counter)
    for document in corpus:
        for sentence in document.sentences:
            for text, tag in zip(sentence.words, sentence.pos, strict=True):
                tags[text][tag] += 1
    assert len(tags) >= 1500
    ambiguous = [text for text, counts in tags.items() if len(counts) > 1 and min(counts.values()) >= 5]
    assert len(ambiguous) >= 80


def test_kinds_and_topics_have_different_distributions(corpus) -> None:
    """Every pair of kinds, and every pair of topics, differs by at least 0.2 in total variation over words."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for document in corpus:
        groups[document.kind].update(document.words)
        if document.kind == "scene":
            groups["scene of " + document.about].update(document.words)
    assert len(groups) == len(KINDS) + len(lexicon.TOPICS) >= 8
    shares = {name: {w: n / counts.total() for w, n in counts.items()} for name, counts in groups.items()}
    names = [n for n in shares if n != "scene"]
    for i, a in enumerate(names):
        for b in names[:i]:
            distance = (
                sum(
                    abs(shares[a].get(w, 0) - shares[b].get(w, 0))
                    for w in shares[a].keys() | shares[b].keys()
                )
                / 2
            )
            assert distance > 0.2, (a, b)


def check_tree(sentence: Sentence) -> None:
    n = len(sentence.words)
    assert len(sentence.pos) == len(sentence.heads) == len(sentence.slots) == len(sentence.numbers) == n
    assert sentence.heads.count(-1) == 1
    for node in range(n):
        seen = set()
        while node >= 0:
            assert node not in seen, "a cycle"
            seen.add(node)
            node = sentence.heads[node]
    depths = sentence.depths()
    assert min(depths) == 0 and all(
        depths[i] == depths[h] + 1 for i, h in enumerate(sentence.heads) if h >= 0
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(sorted(KINDS)))
def test_every_sentence_is_a_tree_and_its_verbs_agree(world: World, seed: int, kind: str) -> None:
    other = {"is": "sg", "was": "sg", "are": "pl", "were": "pl"}
    for document, _ in zip(world.documents(seed, kind), range(5), strict=False):
        for sentence in document.sentences:
            check_tree(sentence)
            for agreement in sentence.agreements:
                verb, controller = agreement.verb, agreement.controller
                assert sentence.pos[verb] in ("VERB", "AUX")
                if kind != "scene":
                    continue
                assert sentence.pos[controller] == "NOUN"
                assert sentence.numbers[verb] == sentence.numbers[controller]
                assert (
                    sentence.words[verb] not in other
                    or other[sentence.words[verb]] == sentence.numbers[controller]
                )
                between = range(min(verb, controller) + 1, max(verb, controller))
                nouns = [i for i in between if sentence.pos[i] == "NOUN"]
                assert agreement.nouns == len(nouns)
                assert agreement.attractors == sum(
                    sentence.numbers[i] != sentence.numbers[controller] for i in nouns
                )


def test_crossing_dependencies_do_not_occur_in_scenes(world: World) -> None:
    """The grammar is projective: no two edges of a scene cross."""
    for document, _ in zip(world.documents("projective", "scene"), range(300), strict=False):
        for sentence in document.sentences:
            edges = [(min(i, h), max(i, h)) for i, h in enumerate(sentence.heads) if h >= 0]
            assert not any(a < c < b < d for a, b in edges for c, d in edges)


def test_a_finite_verb_agrees_in_almost_every_sentence(corpus) -> None:
    scenes = [s for d in corpus[:5000] if d.kind == "scene" for s in d.sentences]
    assert all(s.agreements for s in scenes)
    assert Counter(a.attractors for s in scenes for a in s.agreements)[1] > 100


def test_bits_by_kind_are_what_the_choices_cost(world: World) -> None:
    """With the kind given, its own cost is not counted."""
    free = next(world.documents("same"))
    cost = world.kinds.bits[world.kinds.items.index(free.kind)]
    assert free.bits > cost > 0


def test_templates_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(ValueError, match="one head marked with a star"):
        fill("the_DET end_NOUN")
    with pytest.raises(ValueError, match="unbalanced brackets"):
        fill("[the_DET end_NOUN*")
    sentence = finish(
        fill("[a_DET {adjective:ADJ} {noun:NOUN}*]< sings_VERB>* ._PUNCT", adjective="old", noun="owl")
    )
    assert sentence.words == ("an", "old", "owl", "sings", ".")
    assert sentence.heads == (2, 2, 3, -1, 3)
    assert sentence.agreements == ((3, 2, 0, 0),)


@pytest.mark.parametrize("kind", ["transitive", "intransitive", "adjectives"])
def test_words_that_must_name_their_topic_do(kind: str) -> None:
    words = [entry.split(":")[0] for topic in lexicon.TOPICS.values() for entry in topic[kind].split()]
    assert len(words) == len(set(words))
