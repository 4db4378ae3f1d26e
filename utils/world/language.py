"""A second language: the words of the first in new forms, with the same grammar and the same word order."""

from collections.abc import Iterable
from functools import cache
from random import Random

from utils.errors import CourseError
from utils.world import World, lexicon

ONSETS = "b d f g h j k l m n p r s t v w y z br dr fl gr kl pl sk st tr".split()
VOWELS = "a e i o u ai eo ou".split()
CODAS = ["", "", *"k l m n p r s t sh nd rk".split()]
SUFFIXES = {
    "s": "ax el ik oz um".split(),
    "ed": "af ev ig om ut".split(),
    "ing": "ash eth ilk onk urz".split(),
}
LETTERS_PER_SYLLABLE = 3


class Language:
    """A language whose words are those of another one, one to one; a share of them has the same form in both.

    A word in a new form is a pronounceable invention of about its length that is no word of the first language.
    Inflected words (plurals, verbs in -s, -ed and -ing) get the new stem and a suffix that stands for theirs, so
    that both languages have sub-words to find; a word and its inflections are shared or new together. Strings
    without a letter (punctuation, numbers) stay as they are and do not count in the share.

    With the same words and seed, a larger share keeps every word that a smaller one keeps, and words that are
    new in two languages have the same new form in both.

    Args:
        words: the words of the first language, repeated or not, or a world: then all words of a million of its text.
        shared: the share of word types, 0 to 1, that keep their form; it is met to within one word family.
        seed: fixes which words are kept, and the invented forms.

    Raises CourseError for a share outside 0 to 1, and when there are no words.
    """

    def __init__(self, words: World | Iterable[str], shared: float, seed: int):
        if not 0 <= shared <= 1:
            raise CourseError(f"A language cannot share {shared} of its words: choose a share from 0 to 1.")
        types = _words_of(words.seed) if isinstance(words, World) else frozenset(words)
        if not types:
            raise CourseError("A language needs words: pass the words of a text, or a world.")
        random = Random(f"language {seed}")
        families = _families(types)
        suffixes = {suffix: random.choice(choices) for suffix, choices in SUFFIXES.items()} | {"": ""}
        self.forms: dict[str, str] = {word: word for word in sorted(types) if not _has_letter(word)}
        taken = set(types)
        for stem, family in families.items():
            while True:
                invented = _invent(random, stem)
                forms = {word: invented + suffixes[suffix] for suffix, word in family.items()}
                if taken.isdisjoint(forms.values()):
                    break
            taken.update(forms.values())
            self.forms |= forms
        self.shared: set[str] = set()
        wanted = shared * sum(map(len, families.values()))
        for family in random.sample(list(families.values()), len(families)):
            if len(self.shared) + len(family) / 2 > wanted:
                break
            self.shared.update(family.values())
        self.forms |= {word: word for word in self.shared}
        self._inverse = {form: word for word, form in self.forms.items()}

    def translate(self, words: Iterable[str]) -> tuple[str, ...]:
        """Words of the first language in this one; CourseError for a word that the language was made without."""
        return _look_up(self.forms, words)

    def inverse(self, words: Iterable[str]) -> tuple[str, ...]:
        """Words of this language in the first one; CourseError for a word that is not of this language."""
        return _look_up(self._inverse, words)


@cache
def _words_of(seed: int) -> frozenset[str]:
    return frozenset(word for document in World(seed).corpus(1_000_000) for word in document.words)


def _has_letter(word: str) -> bool:
    return any(map(str.isalpha, word))


def _families(types: frozenset[str]) -> dict[str, dict[str, str]]:
    """Word families: stem -> suffix ("" for the stem) -> word. Most words are a family of their own."""
    words = sorted(filter(_has_letter, types), key=lambda word: (len(word), word))
    families: dict[str, dict[str, str]] = {}
    found: set[str] = set()
    for stem in words:
        if stem in found:
            continue
        families[stem] = {"": stem}
        if len(stem) < 3:
            continue
        past = stem + "d" if stem.endswith("e") else stem + "ed"
        for suffix, word in (
            ("s", lexicon.plural(stem)),
            ("s", lexicon.third_person(stem)),
            ("ed", past),
            ("ing", stem.removesuffix("e") + "ing"),
        ):
            if word in types and word not in found and suffix not in families[stem]:
                families[stem][suffix] = word
                found.add(word)
    return families


def _invent(random: Random, word: str) -> str:
    """A pronounceable string with about as many letters as a word."""
    syllables = max(1, round(len(word) / LETTERS_PER_SYLLABLE))
    parts = [random.choice(ONSETS) + random.choice(VOWELS) for _ in range(syllables)]
    return "".join(parts) + random.choice(CODAS)


def _look_up(forms: dict[str, str], words: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple([forms[word] for word in words])
    except KeyError as error:
        raise CourseError(
            f"{error.args[0]!r} is not a word of the language: make the language from all texts that it should hold."
        ) from None
