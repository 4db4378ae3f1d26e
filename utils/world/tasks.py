"""Labeled tasks from the world, each with the truth that the generator knows."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from utils.world import World, facts, reviews
from utils.world.dice import Dice
from utils.world.phrases import Sentence, fill, finish, takes_an
from utils.world.scenes import SOCIAL, Noun


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two texts that differ in one word; the model should prefer `good`. `position` is the index of that word."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    position: int


def other_numbers(world: World) -> dict[str, str]:
    """For every finite verb form the form of the other number."""
    other = {"is": "are", "are": "is", "was": "were", "were": "was"}
    tables = [topic.transitive for topic in world.topics.values()] + [
        topic.intransitive for topic in world.topics.values()
    ]
    for verb in (v for table in (*tables, SOCIAL) for v in table.items):
        other[verb.base], other[verb.third] = verb.third, verb.base
    return other


def agreement(
    world: World, count: int, attractors: int, seed: int | str, nonce: bool = False, copula: bool = False
) -> list[MinimalPair]:
    """Number agreement: sentences whose main verb stands behind exactly `attractors` nouns of the other number.

    Only verbs all of whose intervening nouns are attractors are taken. `nonce` replaces the content words by random
    ones of the same form (Gulordava et al. 2018); `copula` keeps only forms of *be*.
    """
    other = other_numbers(world)
    dice = Dice(f"agreement {world.seed} {attractors} {seed}")
    random = Random(f"nonce {world.seed} {attractors} {seed}")
    pools = _pools(world) if nonce else {}
    pairs: list[MinimalPair] = []
    while len(pairs) < count:
        sentence = world.write(dice, "scene").sentences[0]
        found = [a for a in sentence.agreements if sentence.heads[a.verb] == -1]
        if not found or found[0].attractors != attractors or found[0].nouns != attractors:
            continue
        position = found[0].verb
        if sentence.words[position] not in other or (copula and sentence.slots[position] != "copula"):
            continue
        words = list(_nonce(sentence, position, pools, random) if nonce else sentence.words)
        bad = [*words[:position], other[words[position]], *words[position + 1 :]]
        pairs.append(MinimalPair(tuple(words), tuple(bad), position))
    return pairs


def _pools(world: World) -> dict[tuple[str, str], list[str]]:
    """Content words by slot class and number, over all topics."""
    pools: dict[tuple[str, str], list[str]] = {}
    for topic in world.topics.values():
        for table in (topic.clear_persons, topic.things, topic.places):
            for item in table.items:
                pools.setdefault(("NOUN", "sg"), []).append(item.singular)
                pools.setdefault(("NOUN", "pl"), []).append(item.plural)
        for slot, table in (("transitive", topic.transitive), ("intransitive", topic.intransitive)):
            for item in table.items:
                pools.setdefault((slot, "sg"), []).append(item.third)
                pools.setdefault((slot, "pl"), []).append(item.base)
        pools.setdefault(("ADJ", ""), []).extend(topic.adjectives.items)
    return pools


def _nonce(
    sentence: Sentence, keep: int, pools: dict[tuple[str, str], list[str]], random: Random
) -> list[str]:
    """The sentence with every content word but that at `keep` replaced by a random word of the same form."""
    words = []
    for i, (text, pos, slot, number) in enumerate(
        zip(sentence.words, sentence.pos, sentence.slots, sentence.numbers, strict=True)
    ):
        pool = pools.get((pos, number)) or pools.get((slot, number))
        words.append(random.choice(pool) if pool and i != keep else text)
    return [("an" if takes_an(words[i + 1]) else "a") if w in ("a", "an") else w for i, w in enumerate(words)]


def polarity_cues(world: World, count: int, seed: int | str) -> list[MinimalPair]:
    """Cues after a neutral opener.

    "sadly , the soup was bad" stands against the same with a positive word of the same half.
    """
    dice = Dice(f"cues {world.seed} {seed}")
    random = Random(f"cues {world.seed} {seed}")
    pairs = []
    while len(pairs) < count:
        polarity, sentences = reviews.review(world, dice)
        item = sentences[0].words[sentences[0].slots.index("item")]
        half = random.choice("AB")
        tables = reviews.POLAR[half]
        slots = {
            "cue": random.choice(tables["cue", polarity].items),
            "aspect": random.choice(reviews.ASPECTS[item].items),
            "polar": random.choice(tables["polar", polarity].items),
        }
        remark = finish(fill(reviews.PLAIN[2], **slots))
        good = [*sentences[0].words, *remark.words]
        position = len(sentences[0].words) + remark.slots.index("polar")
        bad = list(good)
        bad[position] = random.choice(tables["polar", reviews.OTHER[polarity]].items)
        pairs.append(MinimalPair(tuple(good), tuple(bad), position))
    return pairs


@dataclass(frozen=True, slots=True)
class Labeled:
    """A labeled text."""

    words: tuple[str, ...]
    label: int


SentimentSplit = Literal["train", "validation", "test", "test new words", "test new templates"]
_SENTIMENT = {
    "train": ("A", False),
    "validation": ("A", False),
    "test": ("A", False),
    "test new words": ("B", False),
    "test new templates": ("A", True),
}


def sentiment(
    world: World,
    count: int,
    split: SentimentSplit,
    seed: int | str = 0,
    domain: reviews.Domain | None = None,
) -> list[Labeled]:
    """Reviews with their overall opinion (1 is positive), half of each label.

    Training, validation and test reviews use the polar words of half A and the seen templates; `test new words` has
    only polar words that no labeled review shows (half B), `test new templates` only remarks in held-out sentence
    patterns. The splits share no text. `domain` asks for reviews of one kind, such as films, which no
    pretrained model has met.
    """
    half, unseen = _SENTIMENT[split]
    dice = Dice(f"sentiment {world.seed} {split} {seed}" + (f" {domain}" if domain else ""))
    seen: set[tuple[str, ...]] = set()
    labeled = []
    while len(labeled) < count:
        label = len(labeled) % 2
        document = world.write(
            dice,
            "review",
            half=half,
            polarity=("negative", "positive")[label],
            unseen=unseen,
            domain=domain,
        )
        words = tuple(document.words)
        if _side(words) != (split if split in ("train", "validation") else "test") or words in seen:
            continue
        seen.add(words)
        labeled.append(Labeled(words, label))
    return labeled


def unlabeled(world: World, count: int, seed: int | str, domain: reviews.Domain) -> list[tuple[str, ...]]:
    """The words of different reviews without a label, with all polar words and templates.

    None of them stands in a validation or test split of `sentiment`.
    """
    stream = world.documents(f"unlabeled {seed}", "review", domain=domain)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        words = tuple(next(stream).words)
        if _side(words) == "train":
            found[words] = None
    return list(found)


def _side(words: tuple[str, ...]) -> str:
    """Which split a text may stand in, by a hash of its words: no text can be in two of them."""
    return Random(" ".join(words)).choice(("train", "train", "validation", "test"))


def topics(world: World, count: int, seed: int | str = 0) -> tuple[list[Labeled], list[str]]:
    """Scenes with their topic as label, and the names of the labels.

    Words alone decide it: a task that needs no more.
    """
    names = sorted(world.topics)
    documents = world.documents(f"topics {seed}", "scene")
    return [
        Labeled(tuple(d.words), names.index(d.about)) for d, _ in zip(documents, range(count), strict=False)
    ], names


def topic_of_words(world: World) -> dict[str, str]:
    """The topic of each noun and verb form that belongs to one topic only."""
    found: dict[str, set[str]] = {}
    for name, topic in world.topics.items():
        nouns = (topic.persons, topic.animals, topic.things, topic.places)
        for table in (*nouns, topic.transitive, topic.intransitive):
            for form in (form for item in table.items for form in item if form):
                found.setdefault(form, set()).add(name)
    return {word: next(iter(names)) for word, names in found.items() if len(names) == 1}


@dataclass(frozen=True, slots=True)
class LabeledPair:
    """Two texts and whether the second follows from the first (1) or not (0)."""

    premise: tuple[str, ...]
    hypothesis: tuple[str, ...]
    label: int


def roles(world: World, count: int, seed: int | str = 0) -> list[LabeledPair]:
    """Who does what to whom: an active sentence and a passive one with the same or with exchanged roles.

    Both labels have the same bag of words in premise and hypothesis, so that word counts say nothing.
    """
    random = Random(f"roles {world.seed} {seed}")
    pairs = []
    for index in range(count):
        topic = world.topics[random.choice(sorted(world.topics))]
        agent, patient = random.sample(topic.clear_persons.items, 2)
        number = random.choice(("sg", "pl"))
        verb = random.choice(SOCIAL.items)
        noun = {agent: _form(agent, number), patient: _form(patient, number)}
        premise = ("the", noun[agent], verb.third if number == "sg" else verb.base, "the", noun[patient], ".")
        label = index % 2
        first, second = (patient, agent) if label else (agent, patient)
        hypothesis = (
            "the",
            noun[first],
            {"sg": "is", "pl": "are"}[number],
            verb.participle,
            "by",
            "the",
            noun[second],
            ".",
        )
        pairs.append(LabeledPair(premise, hypothesis, label))
    return pairs


def _form(noun: Noun, number: str) -> str:
    return noun.singular if number == "sg" else noun.plural


def tagging(world: World, count: int, seed: int | str = 0) -> list[Sentence]:
    """`count` sentences of all kinds with their gold tags, heads and agreements."""
    sentences: list[Sentence] = []
    for document in world.documents(f"tagging {seed}"):
        sentences += document.sentences
        if len(sentences) >= count:
            break
    return sentences[:count]


# Questions about the facts of a person; the last one of each list is never asked in training.
QUESTIONS = {
    "born in": [
        "where was {who} born ?",
        "which town does {who} come from ?",
        "what is the native town of {who} ?",
    ],
    "lives in": [
        "where does {who} live ?",
        "which town is the home of {who} ?",
        "in which town does {who} have a home ?",
    ],
    "job": ["what does {who} work as ?", "which trade does {who} have ?", "what is the job of {who} ?"],
    "year": [
        "when was {who} born ?",
        "around which year was {who} born ?",
        "what is the year of birth of {who} ?",
    ],
    "hobby": [
        "what does {who} enjoy ?",
        "what does {who} do every sunday ?",
        "which hobby does {who} have ?",
    ],
}


def qa(
    world: World,
    paragraphs: int,
    split: Literal["train", "test"],
    seed: int | str = 0,
    impossible: int = 0,
) -> dict:
    """Questions about people, as a SQuAD JSON document: v2.0 with `impossible` questions a paragraph, else v1.1.

    Each paragraph tells of three people that the world's encyclopedia does not know (no fact of theirs stands in any
    unlabeled text), with pronouns; `test` has other people than the `train` of its seed and number of paragraphs, and
    half of its questions are worded in a way that training never uses. Impossible questions ask by turns for a fact of
    one of these people which the paragraph does not tell, and for a fact about somebody of another paragraph (so there
    must be two); their ids end in `-fact` and `-person`. The other questions do not depend on them.
    """
    known = {person.name for person in world.people}
    random = Random(f"qa {world.seed} {seed}")
    other = Random(f"impossible {world.seed} {split} {seed}")
    persons = facts.people(random, 6 * paragraphs, known)
    persons = persons[: 3 * paragraphs] if split == "train" else persons[3 * paragraphs :]
    dice = Dice(f"qa {world.seed} {split} {seed}")
    articles = []
    for number in range(paragraphs):
        group = persons[3 * number : 3 * number + 3]
        words: list[str] = []
        found: list[tuple[facts.Person, str, int]] = []
        for person in group:
            for sentence in facts.entry(world, dice, person)[1]:
                for i, slot in enumerate(sentence.slots):
                    if slot.startswith("fact: "):
                        found.append((person, slot.removeprefix("fact: "), len(words) + i))
                words += sentence.words
        starts = [0]
        for text in words:
            starts.append(starts[-1] + len(text) + 1)
        questions: list[dict] = []
        for person, relation, index in random.sample(found, min(4, len(found))):
            questions.append({
                "id": f"{split}-{number}-{len(questions)}",
                "question": _ask(person, relation, split, random),
                "answers": [{"text": words[index], "answer_start": starts[index]}],
            })  # fmt: skip
        told = {(person.name, relation) for person, relation, _ in found}
        untold = [(p, r) for p in group for r in QUESTIONS if (p.name, r) not in told]
        other.shuffle(untold)
        absent = persons[: 3 * number] + persons[3 * number + 3 :]
        for extra in range(impossible):
            if untold and (extra + number) % 2:
                kind, (person, relation) = "fact", untold.pop()
            else:
                kind, person, relation = "person", other.choice(absent), other.choice(list(QUESTIONS))
            questions.append({
                "id": f"{split}-{number}-{len(questions)}-{kind}",
                "question": _ask(person, relation, split, other),
                "answers": [],
                "is_impossible": True,
            })  # fmt: skip
        articles.append(
            {"title": f"{split} {number}", "paragraphs": [{"context": " ".join(words), "qas": questions}]}
        )
    return {"version": "2.0" if impossible else "1.1", "data": articles}


def _ask(person: facts.Person, relation: str, split: str, random: Random) -> str:
    """A question for a fact about a person."""
    wordings = QUESTIONS[relation]
    unseen = split == "test" and random.random() < 0.5
    return (wordings[-1] if unseen else random.choice(wordings[:-1])).format(who=person.name)


def dialogue(world: World, dialogues: int, seed: int | str = 0, candidates: int = 20) -> list[dict]:
    """Persona chats in the JSON form of ConvAI2.

    Each turn of b comes with its history and its candidates, the gold one last.
    """
    dice = Dice(f"dialogue {world.seed} {seed}")
    random = Random(f"dialogue {world.seed} {seed}")
    written = [world.write(dice, "chat").about for _ in range(dialogues + 100)]
    said = [
        [" ".join(word for s in sentences for word in s.words) for _, sentences in chat.turns]
        for chat in written
    ]
    pool = sorted({text for turns in said for text in turns[1::2]})
    entries = []
    for chat, turns in zip(written[:dialogues], said, strict=False):
        utterances = []
        for index in range(1, len(turns), 2):
            others = random.sample([text for text in pool if text != turns[index]], candidates - 1)
            utterances.append({"candidates": [*others, turns[index]], "history": turns[:index]})
        entries.append({"personality": [" ".join(s.words) for s in chat.persona], "utterances": utterances})
    return entries
