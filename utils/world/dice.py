"""Every random choice of the world goes through a `Dice`, which adds up the bits that the choice is worth."""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any


class Table:
    """A finite distribution: items, their probabilities, and the bits (-log2 p) that each of them costs.

    `forms(item)` lists the words of which one must stand in a text that was made with this item (none for choices of
    structure); `score` uses it to pass over items that a text cannot hold.
    """

    __slots__ = ("items", "probabilities", "bits", "edges", "forms")

    def __init__(
        self,
        items: Sequence[Any],
        weights: Sequence[float] | None = None,
        forms: Callable[[Any], Sequence[str]] | None = None,
    ):
        weights = [1.0] * len(items) if weights is None else list(weights)
        total = math.fsum(weights)
        self.items = list(items)
        self.probabilities = [w / total for w in weights]
        self.bits = [-math.log2(p) for p in self.probabilities]
        self.edges = list(accumulate(self.probabilities))[:-1]
        self.forms = forms or (lambda item: ())


def words_table(words: Sequence[str], weights: Sequence[float] | None = None) -> Table:
    """A table whose items are words that enter the text as they are."""
    return Table(words, weights, lambda item: (item,))


class Dice:
    """A seeded source of choices. `bits` is the code length of everything chosen so far."""

    def __init__(self, seed: int | str):
        self._random = random.Random(seed).random
        self.bits = 0.0

    def pick(self, table: Table) -> Any:
        """Draw one item."""
        index = bisect_right(table.edges, self._random())
        self.bits += table.bits[index]
        return table.items[index]

    def say(self, word: str) -> None:
        """Called by writers that choose their words from left to right; a plain dice has nothing to compare."""

    def check(self, words: Sequence[str]) -> None:
        """Called with every finished sentence."""


class Mismatch(Exception):
    """A scripted choice led to words that the text does not have."""


class ScriptedDice:
    """Dice that follow a script of choices, then take the first item; they note every table they met.

    With a `text` (a sequence of words) words and sentences that do not continue it raise `Mismatch`, and items
    whose words do not occur in it are passed over.
    """

    def __init__(self, script: Sequence[int], text: Sequence[str] | None = None):
        self.script = script
        self.text = text
        self.words = None if text is None else frozenset(text)
        self.position = self.cursor = 0
        self.tables: list[Table] = []
        self.choices: list[int] = []

    def pick(self, table: Table) -> Any:
        depth = len(self.choices)
        start = self.script[depth] if depth < len(self.script) else 0
        index = next_possible(table, start, self.words)
        if index is None:
            raise Mismatch
        self.tables.append(table)
        self.choices.append(index)
        return table.items[index]

    def say(self, word: str) -> None:
        if self.text is not None:
            found = self.text[self.cursor] if self.cursor < len(self.text) else None
            if found != word and (word, found) != ("a", "an"):
                raise Mismatch
            self.cursor += 1

    def check(self, words: Sequence[str]) -> None:
        if self.text is None:
            return
        end = self.position + len(words)
        if tuple(self.text[self.position : end]) != tuple(words):
            raise Mismatch
        self.position = self.cursor = end


def next_possible(table: Table, start: int, words: frozenset[str] | None) -> int | None:
    """The first index from `start` on whose item can show in a text with these words; None when there is none."""
    for index in range(start, len(table.items)):
        forms = table.forms(table.items[index])
        if words is None or not forms or any(form in words for form in forms):
            return index
    return None


def derivations(
    program: Callable[[Any], Any], text: Sequence[str] | None = None
) -> Iterator[tuple[Any, list[tuple[Table, int]]]]:
    """Every way in which `program(dice)` can end, each with its list of (table, index) choices.

    Runs the program again and again, each time with the next script in depth-first order. With a `text` only the ways
    that produce exactly this text (through `dice.check`) are followed.
    """
    script: list[int] | None = []
    while script is not None:
        dice = ScriptedDice(script, text)
        try:
            result = program(dice)
            if text is None or dice.position == len(text):
                yield result, list(zip(dice.tables, dice.choices, strict=True))
        except Mismatch:
            pass
        script = _successor(dice)


def _successor(dice: ScriptedDice) -> list[int] | None:
    for depth in range(len(dice.choices) - 1, -1, -1):
        following = next_possible(dice.tables[depth], dice.choices[depth] + 1, dice.words)
        if following is not None:
            return [*dice.choices[:depth], following]
    return None


def score(program: Callable[[Any], Any], text: Sequence[str]) -> float:
    """-log2 of the probability that `program` produces `text`, summed over all its derivations; inf when it cannot.

    It reads nothing but the words, so it checks the bits that `Dice` counted while generating.
    """
    total = math.fsum(
        math.prod(table.probabilities[i] for table, i in choices) for _, choices in derivations(program, text)
    )
    return -math.log2(total) if total > 0 else math.inf
