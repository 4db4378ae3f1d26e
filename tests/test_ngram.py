"""The Kneser-Ney model against a textbook implementation, and on text of the course world."""

import math
import time
from collections import Counter, defaultdict

import pytest

from utils.errors import CourseError
from utils.ngram import END, START, KneserNey, discounts
from utils.world import World

TINY = [line.split() for line in (
    "the cat sat on the mat", "the dog sat on the cat", "a cat sat", "the dog ran", "the dog ran off",
    "a dog and a cat ran", "the cat and the dog sat on a mat", "", "on the mat the cat sat on the mat", "the the the",
)]  # fmt: skip
NEVER = "zebra"


class Textbook:
    """Chen and Goodman (1999), section 4.1.6, read off the page: lists of n-grams, counted anew for every answer."""

    def __init__(self, order, sequences):
        self.types = {token for sequence in sequences for token in sequence} | {END}
        lines = [[START, *sequence, END] for sequence in sequences]
        grams = {
            n: [tuple(s[i : i + n]) for s in lines for i in range(len(s) - n + 1)]
            for n in range(1, order + 2)
        }
        self.counts = {order: Counter(grams[order])}
        for n in range(1, order):
            lefts = defaultdict(set)
            for gram in grams[n + 1]:
                lefts[gram[1:]].add(gram[0])
            raw = Counter(gram for gram in grams[n] if gram[0] == START)
            self.counts[n] = Counter({gram: len(left) for gram, left in lefts.items()}) + raw
        for n in self.counts:
            del self.counts[n][(START,)]
        self.order = order

    def probability(self, context, token):
        return self._probability(tuple(context)[-(self.order - 1) :] if self.order > 1 else (), token)

    def _probability(self, context, token):
        counts = self.counts[len(context) + 1]
        discount = discounts(Counter(counts.values()))
        after = [count for gram, count in counts.items() if gram[:-1] == context]
        lower = self._probability(context[1:], token) if context else 1 / (len(self.types) + 1)
        if not after:
            return lower
        count = counts[(*context, token)]
        left = sum(discount[min(count, 3)] for count in after)
        return (count - discount[min(count, 3)] + left * lower) / sum(after)


STARTED = [[START, *text.split()] for text in ("", "the", "the cat sat")]
INSIDE = [
    "",
    "the",
    "on the",
    "cat sat on the",
    NEVER,
    f"the {NEVER}",
    f"{NEVER} the",
    "mat mat mat",
    "sat on a mat mat",
]
CONTEXTS = STARTED + [text.split() for text in INSIDE]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_agrees_with_the_textbook(order):
    model, textbook = KneserNey(order).fit(TINY), Textbook(order, TINY)
    for context in CONTEXTS:
        for token in [*sorted(textbook.types), NEVER]:
            expected = textbook.probability(context, token)
            assert model.probability(context, token) == pytest.approx(expected, abs=1e-12), (context, token)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one(order):
    model = KneserNey(order).fit(TINY)
    assert len(model.vocabulary) == len(set(model.vocabulary)) == 11
    for context in CONTEXTS:
        everything = [model.probability(context, token) for token in [*model.vocabulary, NEVER]]
        assert min(everything) > 0
        assert math.fsum(everything) == pytest.approx(1, abs=1e-9)


def test_order_1_is_the_discounted_unigram():
    model = KneserNey(1).fit([["a", "a", "a", "a"], ["b", "b"], ["c"]])  # and three end marks
    counts = {"a": 4, "b": 2, "c": 1, END: 3}
    taken = {"a": 5 / 3, "b": 1, "c": 1 / 3, END: 5 / 3}  # each count from 1 to 4 occurs once
    left = sum(taken.values()) / 10
    for token, count in counts.items():
        expected = (count - taken[token]) / 10 + left / 5
        assert model.probability(["a"], token) == pytest.approx(expected, abs=1e-12)
    assert model.probability([], NEVER) == pytest.approx(left / 5, abs=1e-12)


def test_the_lower_order_counts_contexts():
    """`francisco` is frequent but follows one word only: it is unlikely after a word that it never followed."""
    model = KneserNey(2).fit(
        [["san", "francisco"]] * 9 + [[word, "tea"] for word in ("red", "hot", "old", "bad")]
    )
    assert model.probability([NEVER], "tea") > 2 * model.probability([NEVER], "francisco")
    unigram = KneserNey(1).fit([["san", "francisco"]] * 9 + [["red", "tea"]] * 4)
    assert unigram.probability([NEVER], "tea") < unigram.probability([NEVER], "francisco")


def test_discounts():
    assert discounts(Counter({1: 100, 2: 40, 3: 20, 4: 10})) == pytest.approx((0, 5 / 9, 7 / 6, 17 / 9))
    for odd in ({1: 3}, {1: 0, 2: 4, 3: 5}, {1: 10, 2: 10, 3: 30, 4: 1}):
        assert discounts(Counter(odd)) == (0, 0.5, 1, 1.5)


def test_bits_are_those_of_the_probabilities():
    model, sequence = KneserNey(3).fit(TINY), ["the", "dog", NEVER, "sat", "on", "the", "mat"]
    bits = model.bits(sequence)
    assert len(bits) == len(sequence) + 1
    for i, token in enumerate([*sequence, END]):
        assert bits[i] == pytest.approx(
            -math.log2(model.probability([START, *sequence[:i]], token)), abs=1e-9
        )
    assert model.bits([]) == [pytest.approx(-math.log2(model.probability([START], END)))]


def test_tokens_may_be_characters_or_numbers():
    text = ["banana", "bandana", "ananas"]
    letters = KneserNey(3).fit(text)
    numbers = KneserNey(3).fit([[ord(letter) for letter in word] for word in text])
    assert letters.bits("banana") == numbers.bits([ord(letter) for letter in "banana"])


def test_samples_follow_their_seed_and_prompt():
    model = KneserNey(4).fit(TINY)
    assert model.sample(7) == model.sample(7)
    assert len({tuple(model.sample(seed)) for seed in range(10)}) > 3
    assert model.sample(1, ["the", "dog"])[:2] == ["the", "dog"]
    assert all(len(model.sample(seed, longest=3)) <= 3 for seed in range(10))
    first = Counter(tuple(model.sample(seed, longest=1)) for seed in range(2000))
    expected = model.probability([START], "the") / (1 - model.probability([START], NEVER))
    assert first["the",] / 2000 == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("sequences", [[], [[], []]])
def test_no_text(sequences):
    with pytest.raises(CourseError, match="got no text: fit it on at least one sequence with a token[.]$"):
        KneserNey(2).fit(sequences)


def test_mistakes_get_one_sentence():
    with pytest.raises(CourseError, match="order 0 does not exist"):
        KneserNey(0)
    with pytest.raises(CourseError, match="has not been fitted"):
        KneserNey(2).bits(["a"])
    model = KneserNey(2).fit([["a"]])
    for use in (
        lambda: model.fit([["a", END]]),
        lambda: model.bits([START, "a"]),
        lambda: model.probability(["a"], START),
        lambda: model.probability(["a", END], "a"),
    ):
        with pytest.raises(CourseError, match="is a mark of the n-gram model"):
            use()


@pytest.fixture(scope="module")
def texts():
    world = World(0)
    return [[d.words for d in world.corpus(n, seed)] for n, seed in ((200_000, "train"), (20_000, "test"))]


def test_beats_add_one_on_the_world(texts):
    train, test = texts
    total = {}
    for order in (2, 5):
        model = KneserNey(order).fit(train)
        total[order] = sum(sum(model.bits(document)) for document in test)
    pairs = Counter(pair for d in train for pair in zip([START, *d], [*d, END], strict=True))
    firsts = Counter()
    for (first, _), count in pairs.items():
        firsts[first] += count
    types = len({word for d in train for word in d}) + 2
    add_one = sum(
        -math.log2((pairs[pair] + 1) / (firsts[pair[0]] + types))
        for d in test
        for pair in zip([START, *d], [*d, END], strict=True)
    )
    assert total[5] < 0.8 * total[2]
    assert total[2] < 0.9 * add_one


def test_speed(texts):
    """A million tokens fit in 15 s, and 100,000 are scored in 3 s, of one core; here a fifth of each."""
    train, test = texts
    started = time.process_time()
    model = KneserNey(5).fit(train)
    assert time.process_time() - started < 3
    started = time.process_time()
    assert sum(len(model.bits(document)) for document in test) >= 20_000
    assert time.process_time() - started < 0.6
