"""Phrases with a dependency tree, and templates that build them.

Heads follow Surface-Syntactic Universal Dependencies: the finite verb heads its clause and a preposition heads its noun
phrase, so that agreement and depth can be read off directly. Tags are universal part-of-speech tags.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

WORD = -1  # in the place of a phrase's head: it is a word


class Token(NamedTuple):
    """One word: its text, universal tag, the slot of the grammar that it fills ("" for fixed words), and its number."""

    word: str
    pos: str
    slot: str = ""
    number: str = ""


class Phrase:
    """A piece of a sentence: a word, or phrases side by side, of which part `head` heads the others.

    `root` is the position of its root word among its `size` words, `agreements` are (verb, controller) positions.
    """

    __slots__ = ("parts", "head", "size", "root", "agreements")

    def __init__(self, parts: tuple, head: int, size: int, root: int, agreements: list[tuple[int, int]]):
        self.parts, self.head, self.size, self.root, self.agreements = parts, head, size, root, agreements

    def lay_out(self, above: int, tokens: list["Token"], heads: list[int]) -> None:
        """Append its words to `tokens` and their heads to `heads`; its root depends on the word at `above`."""
        if self.head == WORD:
            tokens += self.parts
            heads.append(above)
            return
        root = len(tokens) + self.root
        for i, part in enumerate(self.parts):
            part.lay_out(above if i == self.head else root, tokens, heads)


class Agreement(NamedTuple):
    """A finite verb that agrees in number: positions of verb and controller, and the nouns between the two.

    `attractors` counts those intervening nouns whose number differs from the controller's.
    """

    verb: int
    controller: int
    nouns: int
    attractors: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A finished sentence.

    All sequences but `agreements` have one entry per word; `heads` are 0-based, -1 at the root.
    """

    words: tuple[str, ...]
    pos: tuple[str, ...]
    heads: tuple[int, ...]
    slots: tuple[str, ...]
    numbers: tuple[str, ...]
    agreements: tuple[Agreement, ...] = field(default=())

    def depths(self) -> list[int]:
        """The number of edges from each word to the root."""
        depths = []
        for index in range(len(self.words)):
            depth, node = 0, index
            while self.heads[node] >= 0:
                node, depth = self.heads[node], depth + 1
            depths.append(depth)
        return depths


@cache
def word(text: str, pos: str, slot: str = "", number: str = "") -> Phrase:
    """A phrase of one word; the same words are the same phrase, which nobody changes."""
    return Phrase((Token(text, pos, slot, number),), WORD, 1, 0, [])


def join(head: int, *parts: Phrase) -> Phrase:
    """Put phrases side by side; the root of part `head` becomes the root, the other roots depend on it."""
    size = root = 0
    agreements: list[tuple[int, int]] = []
    for i, part in enumerate(parts):
        if i == head:
            root = size + part.root
        for verb, controller in part.agreements:
            agreements.append((verb + size, controller + size))
        size += part.size
    return Phrase(parts, head, size, root, agreements)


def takes_an(text: str) -> bool:
    """Whether the indefinite article before this word of the lexicon is `an`."""
    return text[0] in "aeiou" and text != "useless"


def finish(phrase: Phrase) -> Sentence:
    """Close a phrase into a sentence.

    `a` becomes `an` before a vowel, and the attractors of each agreement are counted.
    """
    tokens: list[Token] = []
    heads: list[int] = []
    phrase.lay_out(-1, tokens, heads)
    agreements = []
    for verb, controller in phrase.agreements:
        between = [t for t in tokens[min(verb, controller) + 1 : max(verb, controller)] if t.pos == "NOUN"]
        other = sum(t.number != tokens[controller].number for t in between)
        agreements.append(Agreement(verb, controller, len(between), other))
    words, pos, slots, numbers = zip(*tokens, strict=True)
    if "a" in words:
        words = tuple("an" if w == "a" and takes_an(words[i + 1]) else w for i, w in enumerate(words))
    return Sentence(words, pos, tuple(heads), slots, numbers, tuple(agreements))


# --- templates ----------------------------------------------------------------------------------------------
# "{who:PROPN}< plays_VERB>* [the_DET {instrument:NOUN}*] ._PUNCT": brackets make phrases, a star marks the head of its
# phrase (a lone word is its own head), `<` marks the controller and `>` the verb that agrees with it.
_PART = re.compile(r"\[|\]([<>*]*)|\{(\w+):([A-Z]+)\}([<>*]*)|(\S+)_([A-Z]+)([<>*]*)")


class _Slot(NamedTuple):
    name: str
    pos: str


class _Node(NamedTuple):
    parts: tuple
    head: int
    controller: int | None
    verb: int | None


@cache
def _parse(template: str) -> _Node:
    stack: list[list[tuple[object, str]]] = [[]]
    for match in _PART.finditer(template):
        text = match.group(0)
        if text == "[":
            stack.append([])
        elif text.startswith("]"):
            node = _close(stack.pop(), template)
            stack[-1].append((node, match.group(1)))
        elif match.group(2):
            stack[-1].append((_Slot(match.group(2), match.group(3)), match.group(4)))
        else:
            stack[-1].append((word(match.group(5), match.group(6)), match.group(7)))
    if len(stack) != 1:
        raise ValueError(f"unbalanced brackets in the template {template!r}")
    return _close(stack[0], template)


def _close(parts: list[tuple[object, str]], template: str) -> _Node:
    heads = [i for i, (_, marks) in enumerate(parts) if "*" in marks]
    if len(heads) != 1 and len(parts) > 1:
        raise ValueError(f"each phrase of the template {template!r} needs one head marked with a star")
    controllers = [i for i, (_, marks) in enumerate(parts) if "<" in marks]
    verbs = [i for i, (_, marks) in enumerate(parts) if ">" in marks]
    if len(controllers) != len(verbs) or len(verbs) > 1:
        raise ValueError(f"a controller needs one verb beside it in the template {template!r}")
    return _Node(
        tuple(part for part, _ in parts),
        heads[0] if heads else 0,
        *((controllers[0], verbs[0]) if verbs else (None, None)),
    )


def fill(template: str, **slots: str | Phrase) -> Phrase:
    """Build the phrase of a template; a slot takes a word (with the tag named in the template) or a whole phrase."""
    return _fill(_parse(template), slots)


def _fill(node: _Node, slots: dict[str, str | Phrase]) -> Phrase:
    parts = []
    for part in node.parts:
        if isinstance(part, _Node):
            part = _fill(part, slots)
        elif isinstance(part, _Slot):
            value = slots[part.name]
            part = value if isinstance(value, Phrase) else word(value, part.pos, part.name)
        parts.append(part)
    phrase = join(node.head, *parts)
    if node.verb is not None:
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + part.size)
        position = {i: starts[i] + parts[i].root for i in (node.verb, node.controller)}
        phrase.agreements.append((position[node.verb], position[node.controller]))
    return phrase
