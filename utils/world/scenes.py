"""Scenes: one to three grammatical sentences about one topic, with attractors between subject and verb."""

from typing import TYPE_CHECKING, NamedTuple

from utils.world import lexicon
from utils.world.dice import Dice, Table, words_table
from utils.world.phrases import Phrase, Sentence, finish, join, word

if TYPE_CHECKING:
    from utils.world import World


class Noun(NamedTuple):
    """A noun of a topic with both number forms."""

    singular: str
    plural: str


class Verb(NamedTuple):
    """A verb in its base form, third person and, for verbs between persons, participle."""

    base: str
    third: str
    participle: str = ""


def noun(text: str) -> Noun:
    """The noun with its plural."""
    return Noun(text, lexicon.plural(text))


def _forms(item: Noun | Verb) -> list[str]:
    return [form for form in item if form]


class Topic:
    """The tables of one topic.

    Word frequencies fall off like Zipf's law, in an order that depends on the world's seed.
    """

    def __init__(self, name: str, words: dict[str, str], ambiguous: frozenset[str], shuffled):
        self.name = name

        def nouns(items: list[str]) -> Table:
            return Table([noun(text) for text in items], zipf(len(items)), _forms)

        def verbs(items: list[str]) -> Table:
            return Table([Verb(v, lexicon.third_person(v)) for v in items], zipf(len(items)), _forms)

        persons = shuffled(words["persons"].split())
        self.persons = nouns(persons)
        self.clear_persons = nouns([text for text in persons if text not in ambiguous])
        self.animals, self.things, self.places = (
            nouns(shuffled(words[kind].split())) for kind in ("animals", "things", "places")
        )
        frames = {
            verb: objects.split("+")
            for verb, objects in (entry.split(":") for entry in words["transitive"].split())
        }
        self.transitive = verbs(shuffled(list(frames)))
        self.objects = {verb: nouns(objects) for verb, objects in frames.items()}
        # The same frames seen from the object, for "the field that the farmer plows".
        patients = sorted({o for objects in frames.values() for o in objects})
        self.patients = nouns(shuffled(patients))
        self.takers = {o: verbs([v for v, objects in frames.items() if o in objects]) for o in patients}
        self.intransitive = verbs(shuffled(words["intransitive"].split()))
        adjectives = shuffled(words["adjectives"].split())
        self.adjectives = words_table(adjectives, zipf(len(adjectives)))


def zipf(n: int, offset: float = 2.0) -> list[float]:
    """Weights 1 / (rank + offset): frequent words, and a long tail."""
    return [1 / (rank + offset) for rank in range(n)]


NUMBER = Table(["sg", "pl"])
DETERMINERS = {
    "sg": Table(
        ["the", "a", "this", "every"], [6, 2, 1, 1], lambda item: ("a", "an") if item == "a" else (item,)
    ),
    "pl": words_table(["the", "some", "these", "many"], [6, 2, 1, 1]),
}
YES_NO = {p: Table([True, False], [p, 1 - p]) for p in (0.15, 0.2)}
SUBJECT = Table(["person", "animal", "thing"], [55, 15, 30])
MODIFIERS = {
    "person": Table(["none", "pp", "subject rc", "object rc"], [50, 28, 12, 10]),
    "animal": Table(["none", "pp", "subject rc"], [55, 33, 12]),
    "thing": Table(["none", "pp", "object rc"], [48, 30, 22]),
}
PREDICATES = {
    "person": Table(
        ["transitive", "intransitive", "copula", "social", "passive", "reports", "coordination"],
        [40, 15, 14, 9, 6, 8, 8],
    ),
    "animal": Table(["intransitive", "copula"], [65, 35]),
    "thing": Table(["copula"]),
}
RELATIVE = Table(["transitive", "intransitive", "social"], [50, 25, 25])
COORDINATED = Table(["transitive", "intransitive"], [60, 40])
TENSE = Table(["present", "past"], [75, 25])
TAIL = Table(["none", "adverb", "place"], [65, 20, 15])
PP_OBJECT = Table(["place", "thing", "person"], [50, 35, 15])
LENGTH = Table([1, 2, 3], [40, 35, 25])
NOUN_PREPOSITIONS = words_table(lexicon.NOUN_PREPOSITIONS.split())
PLACE_PREPOSITIONS = words_table(lexicon.PLACE_PREPOSITIONS.split())
ADVERBS = words_table(lexicon.ADVERBS.split(), zipf(len(lexicon.ADVERBS.split())))
SOCIAL = Table([Verb(*entry.split()) for entry in lexicon.SOCIAL.split(",")], None, _forms)
REPORTING = Table([Verb(v, lexicon.third_person(v)) for v in lexicon.REPORTING.split()], None, _forms)


class SceneWriter:
    """Writes the sentences of one scene. Every method draws from `dice`, word by word from left to right."""

    def __init__(self, topic: Topic, dice: Dice):
        self.topic, self.pick, self._say = topic, dice.pick, dice.say

    def say(self, text: str, pos: str, slot: str = "", number: str = "") -> Phrase:
        self._say(text)
        return word(text, pos, slot, number)

    def noun_phrase(self, nouns: Table, slot: str = "noun") -> tuple[Phrase, str, Noun]:
        """Determiner, perhaps an adjective, noun; returns the phrase, its number and the noun."""
        number = self.pick(NUMBER)
        parts = [self.say(self.pick(DETERMINERS[number]), "DET")]
        if self.pick(YES_NO[0.15]):
            parts.append(self.say(self.pick(self.topic.adjectives), "ADJ", "adjective"))
        item = self.pick(nouns)
        parts.append(self.say(item.singular if number == "sg" else item.plural, "NOUN", slot, number))
        return join(len(parts) - 1, *parts), number, item

    def modifier(self, depth: int) -> Phrase:
        """A prepositional phrase on a noun, perhaps with another one inside."""
        preposition = self.say(self.pick(NOUN_PREPOSITIONS), "ADP")
        nouns = {"place": self.topic.places, "thing": self.topic.things, "person": self.topic.clear_persons}[
            self.pick(PP_OBJECT)
        ]
        inner = self.noun_phrase(nouns)[0]
        if depth < 3 and self.pick(YES_NO[0.2]):
            inner = join(0, inner, self.modifier(depth + 1))
        return join(0, preposition, inner)

    def verb(self, verbs: Table, number: str, slot: str) -> tuple[Phrase, Verb]:
        item = self.pick(verbs)
        return self.say(item.third if number == "sg" else item.base, "VERB", slot, number), item

    def transitive(self, number: str) -> Phrase:
        verb, item = self.verb(self.topic.transitive, number, "transitive")
        target = self.noun_phrase(self.topic.objects[item.base])[0]
        if self.pick(YES_NO[0.15]):
            target = join(0, target, self.modifier(2))
        return join(0, verb, target)

    def intransitive(self, number: str) -> Phrase:
        return self.verb(self.topic.intransitive, number, "intransitive")[0]

    def social(self, number: str) -> Phrase:
        verb, _ = self.verb(SOCIAL, number, "social")
        return join(0, verb, self.noun_phrase(self.topic.clear_persons)[0])

    def be(self, number: str) -> Phrase:
        tense = self.pick(TENSE)
        form = {"present": {"sg": "is", "pl": "are"}, "past": {"sg": "was", "pl": "were"}}[tense][number]
        return self.say(form, "AUX", "copula", number)

    def copula(self, number: str) -> Phrase:
        verb = self.be(number)
        return join(0, verb, self.say(self.pick(self.topic.adjectives), "ADJ", "adjective"))

    def passive(self, number: str) -> Phrase:
        verb = self.be(number)
        participle = self.say(self.pick(SOCIAL).participle, "VERB", "participle")
        agent = join(0, self.say("by", "ADP"), self.noun_phrase(self.topic.clear_persons)[0])
        return join(0, verb, join(0, participle, agent))

    def reports(self, number: str) -> Phrase:
        """`says that`, and a clause of its own with a tail."""
        verb, _ = self.verb(REPORTING, number, "reports")
        that = self.say("that", "SCONJ")
        subject, inner_number, _ = self.noun_phrase(self.topic.persons, "subject")
        clause = clause_of(subject, getattr(self, self.pick(COORDINATED))(inner_number))
        return join(0, verb, join(0, that, self.tail(clause)))

    def coordination(self, number: str) -> Phrase:
        """Two verb phrases with one subject; the second verb agrees across the first one's object."""
        first = self.transitive(number)
        conjunction = self.say("and", "CCONJ")
        second = getattr(self, self.pick(COORDINATED))(number)
        start = first.size + 1
        phrase = join(0, first, join(1, conjunction, second))
        phrase.agreements.append(
            (start + second.root, phrase.root)
        )  # `clause_of` puts the subject in the first verb's place
        return phrase

    def subject(self) -> tuple[Phrase, str, str]:
        """A subject with its modifier: phrase, number, and class (person, animal or thing)."""
        kind = self.pick(SUBJECT)
        modifier = self.pick(MODIFIERS[kind])
        if kind == "person":
            nouns = self.topic.clear_persons if modifier == "object rc" else self.topic.persons
        elif kind == "animal":
            nouns = self.topic.animals
        else:
            nouns = self.topic.patients if modifier == "object rc" else self.topic.things
        phrase, number, item = self.noun_phrase(nouns, "subject")
        if modifier == "none":
            return phrase, number, kind
        if modifier == "pp":
            return join(0, phrase, self.modifier(1)), number, kind
        that = self.say("that", "SCONJ")
        if modifier == "subject rc":
            clause = getattr(self, "intransitive" if kind == "animal" else self.pick(RELATIVE))(number)
            start, controller = phrase.size + 1, phrase.root
            phrase = join(0, phrase, join(0, that, clause))
            phrase.agreements.append((start + clause.root, controller))
        else:
            inner, inner_number, _ = self.noun_phrase(self.topic.clear_persons)
            verbs, slot = (
                (SOCIAL, "social") if kind == "person" else (self.topic.takers[item.singular], "transitive")
            )
            clause = clause_of(inner, self.verb(verbs, inner_number, slot)[0])
            phrase = join(0, phrase, join(0, that, clause))
        return phrase, number, kind

    def tail(self, phrase: Phrase) -> Phrase:
        """An adverb or a place at the end of a clause, or nothing."""
        kind = self.pick(TAIL)
        if kind == "adverb":
            return join(0, phrase, self.say(self.pick(ADVERBS), "ADV", "adverb"))
        if kind == "place":
            preposition = self.say(self.pick(PLACE_PREPOSITIONS), "ADP")
            return join(0, phrase, join(0, preposition, self.noun_phrase(self.topic.places)[0]))
        return phrase

    def sentence(self) -> Sentence:
        """A whole sentence."""
        subject, number, kind = self.subject()
        form = self.pick(PREDICATES[kind])
        phrase = clause_of(subject, getattr(self, form)(number))
        if form != "reports":
            phrase = self.tail(phrase)
        return finish(join(0, phrase, self.say(".", "PUNCT")))


def clause_of(subject: Phrase, predicate: Phrase) -> Phrase:
    """Subject and predicate; every verb that the predicate coordinates agrees with the subject."""
    phrase = join(1, subject, predicate)
    phrase.agreements = [(v, subject.root if c == phrase.root else c) for v, c in phrase.agreements]
    phrase.agreements.append((phrase.root, subject.root))
    return phrase


def scene(world: "World", dice: Dice, topic: str | None = None) -> tuple[str, list[Sentence]]:
    """A scene: its topic (drawn unless given) and its sentences."""
    name = dice.pick(world.topic_names) if topic is None else topic
    writer = SceneWriter(world.topics[name], dice)
    sentences = []
    for _ in range(dice.pick(LENGTH)):
        sentences.append(writer.sentence())
        dice.check(sentences[-1].words)
    return name, sentences
