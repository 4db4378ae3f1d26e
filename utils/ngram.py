"""An n-gram language model with interpolated, modified Kneser-Ney smoothing: the strongest counter of words.

The estimates are those of Chen and Goodman (1999): each order has three discounts, for n-grams seen once, twice
and more often; an order below the highest counts in how many different contexts an n-gram was seen. As in common
toolkits, n-grams at the start of a sequence are counted as they are, for nothing can stand before them.
"""

import math
import random
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from utils.errors import CourseError

START, END = "<s>", "</s>"
_START, _END, _UNKNOWN, _FIRST = range(
    4
)  # numbers of the two marks, of unknown tokens, and of the first token
_SHIFT = 32
_FALLBACK = (0.0, 0.5, 1.0, 1.5)


class KneserNey:
    """An n-gram model over tokens of any hashable kind (words, sub-words, characters, numbers).

    A token's probability mixes all orders down to a uniform one over the vocabulary, which holds every type of
    the fitted text, the end mark and one unknown type. All unknown tokens share the unknown type's probability:
    the model does not pay for their spelling.

    Memory: about 150 bytes for each distinct n-gram of each order (a million words of the course world at order 5:
    0.85 million n-grams, 120 MB).
    """

    def __init__(self, order: int):
        if order < 1:
            raise CourseError(
                f"An n-gram model of order {order} does not exist: choose an order of at least 1."
            )
        self.order = order
        self._numbers: dict[Hashable, int] = {}
        # An n-gram is a node of a trie: (node of its first n - 1 tokens, last token) -> node, nodes numbered by order.
        self._nodes: list[dict[int, int]] = [{} for _ in range(order)]
        self._seen: list[array] = []  # node -> its share of its context, discounted
        self._rest: list[array] = []  # context -> the share that it leaves to the order below

    @property
    def vocabulary(self) -> list[Hashable]:
        """All types that the model knows, the end mark last; the unknown type has no name."""
        return [*self._numbers, END]

    @property
    def size(self) -> int:
        """The number of distinct n-grams, all orders together."""
        return sum(map(len, self._nodes))

    def fit(self, sequences: Iterable[Sequence[Hashable]]) -> "KneserNey":
        """Count the n-grams of sequences of tokens, each with a start and an end; returns the model.

        A second fit starts anew. Raises CourseError when there is no token at all, or a token is a mark.
        """
        numbers: dict[Hashable, int] = {}
        nodes: list[dict[int, int]] = [{} for _ in range(self.order)]
        counts = [array("q") for _ in range(self.order)]
        nodes[0][_START] = 0
        counts[0].append(0)
        beginning = [0, 0][: self.order]
        for sequence in sequences:
            _refuse_marks(sequence)
            tokens = [numbers.setdefault(token, len(numbers) + _FIRST) for token in sequence]
            contexts = beginning
            for token in (*tokens, _END):
                found, node = [0], 0
                for n, context in enumerate(contexts):
                    shorter, key = node, context << _SHIFT | token
                    node = nodes[n].get(key, -1)
                    if node < 0:
                        node = nodes[n][key] = len(nodes[n])
                        counts[n].append(0)
                        if n:
                            counts[n - 1][shorter] += 1
                    found.append(node)
                counts[n][node] += 1
                contexts = found[: self.order]
        if not numbers:
            raise CourseError("The n-gram model got no text: fit it on at least one sequence with a token.")
        self._numbers, self._nodes, self._seen, self._rest = numbers, nodes, [], []
        for n in range(self.order):
            self._estimate(n, counts[n], len(nodes[n - 1]) if n else 1)
        return self

    def _estimate(self, n: int, counts: array, contexts: int) -> None:
        """Turn the counts of the nodes of one order into shares of their contexts."""
        discount = discounts(Counter(counts))
        taken = [discount[min(count, 3)] for count in counts]
        total, rest = [0] * contexts, [0.0] * contexts
        for key, count, less in zip(self._nodes[n], counts, taken, strict=True):
            total[key >> _SHIFT] += count
            rest[key >> _SHIFT] += less
        shares = (
            (count - less) / total[key >> _SHIFT]
            for key, count, less in zip(self._nodes[n], counts, taken, strict=True)
        )
        self._seen.append(array("d", shares))
        self._rest.append(array("d", (r / t if t else 1.0 for r, t in zip(rest, total, strict=True))))

    def bits(self, sequence: Sequence[Hashable]) -> list[float]:
        """-log2 of the probability of each token and of the end mark: one number more than there are tokens."""
        contexts, result = self._after([START]), []
        _refuse_marks(sequence)
        for token in (*(self._numbers.get(token, _UNKNOWN) for token in sequence), _END):
            probability, contexts = self._step(contexts, token)
            result.append(-math.log2(probability))
        return result

    def probability(self, context: Sequence[Hashable], token: Hashable) -> float:
        """The probability of a token, or of `END`, after a context.

        A context that begins with `START` is the beginning of a sequence; any other is a piece of its inside.
        """
        _refuse_marks([token], {START})
        return self._step(self._after(context), self._number(token))[0]

    def sample(self, seed: int, prompt: Sequence[Hashable] = (), longest: int = 100) -> list[Hashable]:
        """Draw a sequence that begins with `prompt`, up to its end mark or to `longest` tokens."""
        draw = random.Random(seed)
        contexts, result = self._after([START, *prompt]), list(prompt)
        types = self.vocabulary
        while len(result) < longest:
            weights = [self._step(contexts, self._number(token))[0] for token in types]
            token = draw.choices(types, weights)[0]
            if token == END:
                break
            result.append(token)
            contexts = self._step(contexts, self._number(token))[1]
        return result

    def _number(self, token: Hashable) -> int:
        return _END if token == END else self._numbers.get(token, _UNKNOWN)

    def _after(self, context: Sequence[Hashable]) -> list[int]:
        """The nodes of the seen endings of a context, from the empty one to the longest."""
        if not self._seen:
            raise CourseError(
                "The n-gram model has not been fitted: call fit with sequences of tokens first."
            )
        _refuse_marks(context[1:])
        _refuse_marks(context[:1], {END})
        contexts = [0]
        for token in context[-self.order :]:
            if token == START:
                contexts = [0, 0][: self.order]
            else:
                contexts = self._step(contexts, self._number(token))[1]
        return contexts

    def _step(self, contexts: list[int], token: int) -> tuple[float, list[int]]:
        """The probability of a token after seen contexts, and the contexts after it."""
        probability, found = 1 / (len(self._numbers) + 2), [0]
        for n, context in enumerate(contexts):
            probability *= self._rest[n][context]
            node = self._nodes[n].get(context << _SHIFT | token)
            if node is not None:
                probability += self._seen[n][node]
                found.append(node)
        return probability, found[: self.order]


def discounts(counts: Counter[int]) -> tuple[float, float, float, float]:
    """What to take off a count of 0, 1, 2, and 3 or more, from how many n-grams have each count.

    These are the estimates of Chen and Goodman (1999, equation 26). In small or odd texts a discount may come out
    undefined, or outside (0, count]; the whole order then takes off 0.5, 1 and 1.5.
    """
    one, two, three, four = (counts[c] for c in (1, 2, 3, 4))
    if not (one and two and three):
        return _FALLBACK
    y = one / (one + 2 * two)
    result = (0.0, y, 2 - 3 * y * three / two, 3 - 4 * y * four / three)
    return result if all(0 < d <= c for c, d in enumerate(result[1:], 1)) else _FALLBACK


def _refuse_marks(tokens: Sequence[Hashable], marks: Iterable[str] = (START, END)) -> None:
    for mark in marks:
        if mark in tokens:
            raise CourseError(f"The token {mark!r} is a mark of the n-gram model: leave it out of the text.")
