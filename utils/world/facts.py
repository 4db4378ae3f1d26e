"""The knowledge base of a world and the encyclopedia that is written from it."""

from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

from utils.world import lexicon
from utils.world.dice import Dice, Table
from utils.world.phrases import Phrase, Sentence, fill, finish, join, word

if TYPE_CHECKING:
    from utils.world import World


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the knowledge base. `facts` maps a relation to its value."""

    first: str
    last: str
    gender: str
    facts: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


@dataclass(frozen=True, slots=True)
class Town:
    """A town of the knowledge base."""

    name: str
    facts: dict[str, str]


# relation: its values, and the sentences that state it (subject {who}, value {value})
PERSON_RELATIONS: dict[str, tuple[str, list[str]]] = {
    "born in": ("towns", [
        "{who:PRON}< was_AUX>* [born_VERB* [in_ADP* {value:PROPN}]] ._PUNCT",
        "[{who:PRON}< comes_VERB>* [from_ADP* {value:PROPN}]]* ._PUNCT",
        "[{who:PRON}< is_AUX>* [a_DET native_NOUN* [of_ADP* {value:PROPN}]]]* ._PUNCT",
    ]),
    "lives in": ("towns", [
        "[{who:PRON}< lives_VERB>* [in_ADP* {value:PROPN}]]* ._PUNCT",
        "[{who:PRON}< has_VERB>* [a_DET home_NOUN*] [in_ADP* {value:PROPN}]]* ._PUNCT",
    ]),
    "job": ("jobs", [
        "[{who:PRON}< works_VERB>* [as_ADP* [a_DET {value:NOUN}*]]]* ._PUNCT",
        "[[by_ADP* trade_NOUN] ,_PUNCT {who:PRON} is_AUX* [a_DET {value:NOUN}*]]* ._PUNCT",
    ]),
    "year": ("decades", [
        "{who:PRON}< was_AUX>* [born_VERB* [around_ADP* {value:NUM}]] ._PUNCT",
    ]),
    "hobby": ("hobbies", [
        "[{who:PRON}< enjoys_VERB>* {value:NOUN}]* ._PUNCT",
        "[{who:PRON}< spends_VERB>* [every_DET sunday_NOUN*] [with_ADP* {value:NOUN}]]* ._PUNCT",
    ]),
}  # fmt: skip
TOWN_RELATIONS: dict[str, tuple[str, list[str]]] = {
    "region": ("regions", [
        "[{who:PROPN}< lies_VERB>* [in_ADP* {value:PROPN}]]* ._PUNCT",
        "[{who:PROPN}< is_AUX>* [a_DET town_NOUN* [in_ADP* {value:PROPN}]]]* ._PUNCT",
    ]),
    "river": ("rivers", [
        "[[the_DET river_NOUN* {value:PROPN}]< runs_VERB>* [through_ADP* {who:PROPN}]]* ._PUNCT",
        "[{who:PROPN}< stands_VERB>* [on_ADP* [the_DET {value:PROPN}*]]]* ._PUNCT",
    ]),
    "known for": ("goods", [
        "[{who:PROPN}< is_AUX>* [known_ADJ* [for_ADP* [its_DET {value:NOUN}*]]]]* ._PUNCT",
        "[[the_DET {value:NOUN}* [of_ADP* {who:PROPN}]] is_AUX* famous_ADJ]* ._PUNCT",
    ]),
}  # fmt: skip
TEMPLATES = {r: Table(t) for r, (_, t) in (PERSON_RELATIONS | TOWN_RELATIONS).items()}
SUBJECT_KIND = Table(["person", "town"], [75, 25])
# How many facts an entry states after its first sentence, and which one comes next.
FACTS = {"person": Table([1, 2, 3, 4], [2, 3, 3, 2]), "town": Table([1, 2], [1, 1])}
PERSON_ORDER, TOWN_ORDER = tuple(PERSON_RELATIONS), tuple(TOWN_RELATIONS)
REFERENCE = Table(["pronoun", "name"], [70, 30])


def values(relation: str) -> list[str]:
    """All values that a relation can take."""
    kind, _ = (PERSON_RELATIONS | TOWN_RELATIONS)[relation]
    return getattr(lexicon, kind.upper()).split()


def people(random: Random, count: int, taken: set[str] = frozenset()) -> list[Person]:
    """`count` persons with distinct names that are not in `taken`; every fact is drawn uniformly and independently."""
    firsts = [(n, "female") for n in lexicon.FEMALE.split()] + [(n, "male") for n in lexicon.MALE.split()]
    names = [(first, last, gender) for first, gender in firsts for last in lexicon.SURNAMES.split()]
    names = [n for n in names if f"{n[0]} {n[1]}" not in taken]
    return [
        Person(first, last, gender, {relation: random.choice(values(relation)) for relation in PERSON_ORDER})
        for first, last, gender in random.sample(names, count)
    ]


def towns(random: Random) -> list[Town]:
    """All towns, in an order that decides how often each is mentioned."""
    names = lexicon.TOWNS.split()
    random.shuffle(names)
    return [
        Town(name, {relation: random.choice(values(relation)) for relation in TOWN_ORDER}) for name in names
    ]


def _name(person: Person) -> Phrase:
    return join(0, word(person.first, "PROPN", "first name"), word(person.last, "PROPN", "last name"))


def state(dice: Dice, relation: str, who: Phrase | str, value: str) -> Sentence:
    """One sentence that states a fact."""
    template = dice.pick(TEMPLATES[relation])
    tag = template.split("{value:")[1].split("}")[0]
    return finish(fill(template, who=who, value=word(value, tag, f"fact: {relation}")))


def _orders(relations: tuple[str, ...]) -> dict[tuple[str, ...], Table]:
    """For every set of facts already told, the table of those still to tell."""
    return {
        told: Table([r for r in relations if r not in told])
        for n in range(len(relations))
        for told in combinations(relations, n)
    }


NEXT = {"person": _orders(PERSON_ORDER), "town": _orders(TOWN_ORDER)}


def entry(
    world: "World", dice: Dice, subject: Person | Town | None = None
) -> tuple[Person | Town, list[Sentence]]:
    """An encyclopedia entry about a person or town of the knowledge base (drawn unless given)."""
    if subject is None:
        subject = dice.pick(world.people_table if dice.pick(SUBJECT_KIND) == "person" else world.towns_table)
    kind = "person" if isinstance(subject, Person) else "town"
    order = PERSON_ORDER if kind == "person" else TOWN_ORDER
    told: list[str] = []
    sentences: list[Sentence] = []
    for _ in range(1 + dice.pick(FACTS[kind])):
        relation = dice.pick(NEXT[kind][tuple(r for r in order if r in told)])
        if kind == "town":
            who: Phrase | str = subject.name
        elif not told or dice.pick(REFERENCE) == "name":
            who = _name(subject) if not told else word(subject.first, "PROPN", "first name")
        else:
            who = word("she" if subject.gender == "female" else "he", "PRON", "pronoun")
        told.append(relation)
        sentences.append(state(dice, relation, who, subject.facts[relation]))
        dice.check(sentences[-1].words)
    return subject, sentences
