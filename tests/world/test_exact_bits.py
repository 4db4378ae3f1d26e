"""The code length that the world counts is the true -log2 probability of its texts."""

import math
from collections import Counter, defaultdict
from fractions import Fraction

import pytest

from utils.world import WRITERS, World
from utils.world.dice import Dice, Table, derivations, score
from utils.world.phrases import finish, join
from utils.world.scenes import SceneWriter, Topic, noun


@pytest.mark.parametrize("kind", WRITERS)
def test_a_parser_that_sees_only_the_words_finds_the_same_bits(world: World, kind: str) -> None:
    """`score` sums over every derivation of a text: equal bits mean right sums and texts with one derivation only."""
    documents = world.documents("scored", kind)
    for document, _ in zip(documents, range(40), strict=False):
        found = score(lambda dice: WRITERS[kind](world, dice), document.words)
        assert found == pytest.approx(document.bits, rel=1e-9), document.text


def tiny_grammar() -> SceneWriter:
    """One topic with two words of every sort.

    The writer's nesting is cut off by having no prepositional phrases.
    """
    words = {
        "persons": "cook baker", "animals": "cat fly", "things": "pot pan", "places": "kitchen cellar",
        "transitive": "stir:pot+pan heat:pan", "intransitive": "feast fry", "adjectives": "raw burnt",
    }  # fmt: skip
    return Topic("tiny", words, frozenset(), lambda items: list(items))


def tiny_sentence(topic: Topic, dice: Dice) -> tuple[str, ...]:
    """Subject, transitive or intransitive verb, tail: a sub-grammar small enough to list."""
    writer = SceneWriter(topic, dice)
    subject, number, _ = writer.noun_phrase(topic.persons, "subject")
    form = dice.pick(TINY_PREDICATES)
    predicate = writer.intransitive(number) if form == "intransitive" else writer.copula(number)
    return finish(join(0, subject, predicate)).words


TINY_PREDICATES = Table(["intransitive", "copula"], [60, 40])


def test_a_million_tokens_agree_with_the_full_list_of_sentences() -> None:
    """Enumerate the sub-grammar with exact fractions, then code a million sampled tokens with that list."""
    topic = tiny_grammar()
    listed: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
    for words, choices in derivations(lambda dice: tiny_sentence(topic, dice)):
        assert words not in listed, f"two derivations give {' '.join(words)}"
        listed[words] = math.prod(
            (Fraction(table.probabilities[i]) for table, i in choices), start=Fraction(1)
        )
    assert abs(float(sum(listed.values())) - 1) < 1e-12
    assert len(listed) > 200

    dice, tokens, seen = Dice("a million"), 0, Counter()
    while tokens < 1_000_000:
        words = tiny_sentence(topic, dice)
        seen[words] += 1
        tokens += len(words)
    coded = math.fsum(-math.log2(listed[words]) * count for words, count in seen.items())
    assert dice.bits == pytest.approx(coded, rel=1e-9)
    entropy = math.fsum(-float(p) * math.log2(p) for p in listed.values())
    sentences = seen.total()
    spread = math.sqrt(
        math.fsum(float(p) * (math.log2(p) + entropy) ** 2 for p in listed.values()) / sentences
    )
    assert abs(dice.bits / sentences - entropy) < 5 * spread


def test_a_text_that_the_world_cannot_write_has_no_code_length(world: World) -> None:
    scene = next(world.documents(0, "scene"))
    broken = list(reversed(scene.words))
    assert score(lambda dice: WRITERS["scene"](world, dice), broken) == math.inf


def test_the_parser_notices_an_ambiguous_grammar() -> None:
    """Two ways to the same word: the path costs one bit more than the text."""

    def program(dice: Dice) -> None:
        dice.pick(Table([1, 2]))
        dice.check(["same"])

    assert score(program, ["same"]) == 0.0


def test_nouns_have_two_forms() -> None:
    assert noun("wolf") == ("wolf", "wolves")
    assert noun("pony") == ("pony", "ponies")
    assert noun("key") == ("key", "keys")
