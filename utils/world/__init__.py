"""The course world: English-like text with a known probability for every choice.

A `World` is fixed by its seed: how often each word is used, who lives where, which jobs go with which pronoun.
It writes documents of five kinds (scene, review, chat, entry, story); scenes come in twelve topics. Every random
choice goes through a `Dice`, so the exact code length of a text in bits is known: the floor for any language
model's loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from utils.world import chats, facts, lexicon, reviews, scenes, stories
from utils.world.dice import Dice, Table, words_table
from utils.world.phrases import Sentence

KINDS = {"scene": 66, "review": 38, "chat": 8, "entry": 16, "story": 12}
WRITERS = {
    "scene": scenes.scene,
    "review": reviews.review,
    "chat": chats.chat,
    "entry": facts.entry,
    "story": stories.story,
}
PEOPLE = 200


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the world: its kind, what it is about (topic, polarity, ...), its sentences, and its exact bits."""

    kind: str
    about: Any
    sentences: tuple[Sentence, ...]
    bits: float

    @property
    def words(self) -> list[str]:
        """All words, sentence after sentence."""
        return [word for sentence in self.sentences for word in sentence.words]

    @property
    def text(self) -> str:
        """The words with a space between them."""
        return " ".join(self.words)


class World:
    """All tables of one world."""

    def __init__(self, seed: int = 0):
        self.seed = seed
        random = Random(f"world {seed}")

        def shuffled(items: list[str]) -> list[str]:
            return random.sample(items, len(items))

        self.kinds = Table(list(KINDS), list(KINDS.values()))
        self.ambiguous = _in_two_topics()
        self.topics = {
            name: scenes.Topic(name, words, self.ambiguous, shuffled)
            for name, words in lexicon.TOPICS.items()
        }
        self.topic_names = Table(shuffled(list(self.topics)), scenes.zipf(len(self.topics), 8))
        self.brands = words_table(shuffled(lexicon.BRANDS.split()), scenes.zipf(len(lexicon.BRANDS.split())))
        self.people = facts.people(random, PEOPLE)
        self.people_table = Table(self.people, [w**0.7 for w in scenes.zipf(PEOPLE, 3)], lambda p: (p.last,))
        towns = facts.towns(random)
        self.towns = words_table([town.name for town in towns], scenes.zipf(len(towns), 8))
        self.towns_table = Table(towns, scenes.zipf(len(towns), 8), lambda t: (t.name,))
        self.jobs = words_table(shuffled(lexicon.JOBS.split()))
        # The planted association: every job has its own share of `she`, one of five doses.
        doses = [0.1, 0.3, 0.5, 0.7, 0.9] * len(self.jobs.items)
        self.job_she = {
            job: words_table(["she", "he"], [doses[i], 1 - doses[i]]) for i, job in enumerate(self.jobs.items)
        }
        names = [(n, "female") for n in lexicon.FEMALE.split()] + [(n, "male") for n in lexicon.MALE.split()]
        self.first_names = Table(names, None, lambda item: (item[0],))

    def write(self, dice: Dice, kind: str | None = None, **choices: Any) -> Document:
        """One document; the kind is drawn unless given, `choices` go to its writer (`polarity=`, `topic=`, ...).

        `bits` counts what was drawn: with a kind or a choice given, it is the code length given that choice.
        """
        before = dice.bits
        if kind is None:
            kind = dice.pick(self.kinds)
        about, sentences = WRITERS[kind](self, dice, **choices)
        return Document(kind, about, tuple(sentences), dice.bits - before)

    def documents(self, seed: int | str, kind: str | None = None, **choices: Any) -> Iterator[Document]:
        """An endless stream of documents, the same for the same seed."""
        dice = Dice(f"world {self.seed} documents {seed}")
        while True:
            yield self.write(dice, kind, **choices)

    def corpus(self, words: int, seed: int | str = "train") -> list[Document]:
        """Documents until `words` words are reached; one end-of-text mark a document counts as a word."""
        documents, count = [], 0
        for document in self.documents(seed):
            documents.append(document)
            count += len(document.words) + 1
            if count >= words:
                return documents
        raise AssertionError("a stream of documents has no end")


def _in_two_topics() -> frozenset[str]:
    seen: dict[str, set[str]] = {}
    for topic, words in lexicon.TOPICS.items():
        for kind in ("persons", "animals", "things", "places"):
            for text in words[kind].split():
                seen.setdefault(text, set()).add(topic)
    return frozenset(text for text, topics in seen.items() if len(topics) > 1)
