"""What each task of the world needs: what guessing, counting words, and an oracle that knows the grammar score."""

from collections import Counter, defaultdict
from random import Random

import numpy as np

from utils.classification import counted_accuracy
from utils.world import World, chats, lexicon, tasks
from utils.world.phrases import Sentence, fill, finish
from utils.world.tasks import Labeled

Scores = tuple[float, float, float]  # majority or chance, bag of words (or word overlap), oracle


def floors(world: World) -> dict[str, Scores]:
    """Accuracy on test items of every labeled task: guessing, counting words, and an oracle."""
    return {
        "sentiment": sentiment(world),
        "roles": roles(world),
        "topics": topics(world),
        "tags of ambiguous words": tags(world),
        "questions": questions(world),
        "next utterance": next_utterance(world),
    }


def sentiment(world: World) -> Scores:
    """Counting words against the label read off the verdict."""
    train, test = tasks.sentiment(world, 4000, "train"), tasks.sentiment(world, 1000, "test")
    oracle = np.mean([opinion(item.words) == item.label for item in test])
    return majority([item.label for item in test]), counted_accuracy(train, [test])[0], float(oracle)


def opinion(words: tuple[str, ...]) -> int:
    """1 for a positive review: the polar word of its last sentence, turned around by `not`."""
    end = " ".join(words).rstrip(" .").split(" . ")[-1].split()
    positive = (
        " ".join([*lexicon.POSITIVE.values(), *lexicon.POSITIVE_VERBS.values()]).replace("/", " ").split()
    )
    return int(any(word in positive for word in end) != ("not" in end))


def roles(world: World) -> Scores:
    """Counting the words of both sentences against comparing who stands first."""
    pairs = tasks.roles(world, 5000)
    joined = [Labeled((*p.premise, "|", *p.hypothesis), p.label) for p in pairs]
    oracle = np.mean([(p.premise[1] != p.hypothesis[1]) == p.label for p in pairs])
    counted = counted_accuracy(joined[:4000], [joined[4000:]])[0]
    return majority([p.label for p in pairs]), counted, float(oracle)


def topics(world: World) -> Scores:
    """Counting words is what this task asks for; the oracle takes the topic whose verbs and adjectives occur."""
    items, names = tasks.topics(world, 5000)
    own: dict[str, set[str]] = {}
    for name, topic in world.topics.items():
        verbs = {
            form for table in (topic.transitive, topic.intransitive) for item in table.items for form in item
        }
        nouns = {
            f
            for t in (topic.clear_persons, topic.animals, topic.things, topic.places)
            for n in t.items
            for f in n
        }
        own[name] = (verbs | nouns | set(topic.adjectives.items)) - {""}
    guesses = [max(names, key=lambda name: sum(w in own[name] for w in item.words)) for item in items[4000:]]
    oracle = np.mean([names.index(g) == item.label for g, item in zip(guesses, items[4000:], strict=True)])
    counted = counted_accuracy(items[:4000], [items[4000:]])[0]
    return majority([item.label for item in items[4000:]]), counted, float(oracle)


def tags(world: World) -> Scores:
    """The most frequent tag, the most frequent tag of each word, and the tag after each two words of context."""
    train, test = tasks.tagging(world, 40_000, "train"), tasks.tagging(world, 4_000, "test")
    by_word, by_context = (defaultdict(Counter) for _ in range(2))
    for word, context, tag in _tagged(train):
        by_word[word][tag] += 1
        by_context[context][tag] += 1
    ambiguous = {w for w, c in by_word.items() if len(c) > 1 and c.most_common()[1][1] >= 3}
    asked = [item for item in _tagged(test) if item[0] in ambiguous]
    counted = np.mean([by_word[w].most_common(1)[0][0] == tag for w, _, tag in asked])
    seen = [(by_context[c] or by_word[w]).most_common(1)[0][0] == tag for w, c, tag in asked]
    return majority([tag for _, _, tag in asked]), float(counted), float(np.mean(seen))


def _tagged(sentences: list[Sentence]) -> list[tuple[str, tuple[str, ...], str]]:
    """Each word with its context (itself and a neighbor on each side) and its tag."""
    found = []
    for s in sentences:
        edges = ("", *s.words, "")
        found += [(edges[i + 1], edges[i : i + 3], tag) for i, tag in enumerate(s.pos)]
    return found


def questions(world: World) -> Scores:
    """A random word of the right kind; the one in the sentence most like the question; the fact of that person."""
    kinds = {
        w: kind for kind in ("TOWNS", "JOBS", "DECADES", "HOBBIES") for w in getattr(lexicon, kind).split()
    }
    chance, overlap, oracle = [], [], []
    for article in tasks.qa(world, 200, "test")["data"]:
        paragraph = article["paragraphs"][0]
        sentences = [s.split() for s in paragraph["context"].split(" . ")]
        for question in paragraph["qas"]:
            asked, answer = question["question"].split(), question["answers"][0]["text"]
            options = [(s, w) for s in sentences for w in s if kinds.get(w) == kinds[answer]]
            chance.append(np.mean([w == answer for _, w in options]))
            overlap.append(max(options, key=lambda option: len(set(option[0]) & set(asked)))[1] == answer)
            oracle.append(looked_up(sentences, asked, kinds) == answer)
    return float(np.mean(chance)), float(np.mean(overlap)), float(np.mean(oracle))


def looked_up(sentences: list[list[str]], asked: list[str], kinds: dict[str, str]) -> str:
    """The answer to a question, from the sentences between the full name it gives and the next full name."""
    names = {w for text in (lexicon.FEMALE, lexicon.MALE, lexicon.SURNAMES) for w in text.split()}
    full = [word for word in asked if word in names]
    relation = next(
        r
        for r, forms in tasks.QUESTIONS.items()
        if any(f.format(who=" ".join(full)).split() == asked for f in forms)
    )
    kind = {"job": "JOBS", "year": "DECADES", "hobby": "HOBBIES"}.get(relation, "TOWNS")
    told = False
    for sentence in sentences:
        if sum(word in names for word in sentence) == 2:
            told = set(full) <= set(sentence)
        lives = bool({"lives", "home"} & set(sentence))
        found = [word for word in sentence if kinds.get(word) == kind]
        if told and found and (kind != "TOWNS" or lives == (relation == "lives in")):
            return found[0]
    return ""


def next_utterance(world: World) -> Scores:
    """One of twenty; the one with most words of persona and last turn; one that answers from the persona."""
    overlap, oracle = [], []
    random = Random(0)
    for entry in tasks.dialogue(world, 150):
        persona = {word for sentence in entry["personality"] for word in sentence.split()}
        for utterance in entry["utterances"]:
            last, gold = utterance["history"][-1], utterance["candidates"][-1]
            shown = random.sample(utterance["candidates"], 20)
            overlap.append(
                max(shown, key=lambda c: len(set(c.split()) & (persona | set(last.split())))) == gold
            )
            fitting = [c for c in shown if c in replies(last, persona)]
            oracle.append((gold in fitting) / max(1, len(fitting)))
    return 1 / 20, float(np.mean(overlap)), float(np.mean(oracle))


def replies(last: str, persona: set[str]) -> set[str]:
    """Every reply that the grammar allows after a turn, given the words of the persona."""
    for trait in chats.TRAITS.values():
        if any(last.endswith(_text(question)) for question in trait.questions.items):
            known = [value for value in trait.values.items if value in persona]
            templates = [(a, v) for a in trait.answers.items for v in known] or [
                (u, "") for u in chats.UNKNOWN.items
            ]
            return {_text(template, value) for template, value in templates}
    return {_text(reply) for reply in chats.REPLIES.items}


def _text(template: str, value: str = "") -> str:
    return " ".join(finish(fill(template, value=value)).words)


def majority(labels: list) -> float:
    """The share of the most frequent label."""
    return Counter(labels).most_common(1)[0][1] / len(labels)
