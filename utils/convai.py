"""ConvAI2 (lab 4c): persona chats as JSON, a converter from ParlAI's text, and scores of what was said.

Zhang et al. (2018) collected the chats, Dinan et al. (2019) made a competition of them. The JSON is that of
TransferTransfo (Wolf et al. 2019): a chat has a persona, and each turn of its owner has the history before it, which
begins and ends with the partner, and candidates for the reply, of which the last one is what was said.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from utils import settings
from utils.downloads import fetch, read_json, read_text, write_text
from utils.errors import CourseError, shown

SPLITS = ("train", "valid")
FILE = "personachat_self_original"  # of the published JSON, without ending


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said so far, the partner first and last, and candidates for the reply, the true one last."""

    history: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def reply(self) -> str:
        """What was said."""
        return self.candidates[-1]


@dataclass(frozen=True, slots=True)
class Chat:
    """The persona of one of the two speakers, and that speaker's turns."""

    persona: tuple[str, ...]
    turns: tuple[Turn, ...]


# ---- JSON


def load(split: str) -> list[Chat]:
    """The chats of ConvAI2: 17,878 "train" and 1,000 "valid".

    COURSE_DATA may hold the published file or a sample of it (`personachat_self_original*.json`), also in a folder
    `convai2`; a printed line says where a sample is used. Raises CourseError for an unknown split, and what `read` and
    `fetch` raise.
    """
    if split not in SPLITS:
        raise CourseError(f"{split!r} is not a split of ConvAI2: choose one of {', '.join(SPLITS)}.")
    own = settings.data_dir()
    for folder in (own / "convai2", own) if own else ():
        for path in sorted(folder.glob(f"{FILE}*.json")):
            chats = read(path)[split]
            print(f"ConvAI2 {split}: {len(chats):,} chats of {path.name} in COURSE_DATA")
            return chats
    return read(fetch("convai2"))[split]


def read(path: Path) -> dict[str, list[Chat]]:
    """The chats of each split of a file in the JSON of TransferTransfo; see `parse`."""
    document = read_json(path)
    if not isinstance(document, dict) or set(document) != set(SPLITS):
        raise CourseError(f'{path} must be an object with the lists "train" and "valid": get the file again.')
    return {split: parse(document[split], f"{path}, {split}") for split in SPLITS}


def parse(rows: Any, source: str = "the document") -> list[Chat]:
    """The chats of a list in the JSON of TransferTransfo, such as the course world's `tasks.dialogue`.

    Equal texts become one object, since histories repeat each other. Raises CourseError, with `source` and the place in
    it, where the list is not of the format or has no chat; for an empty persona, text, history or list of candidates;
    for a history that does not end with the partner; and where a later history shows that the last candidate is not
    the reply that was given.
    """
    known: dict[str, str] = {}
    if not isinstance(rows, list) or not rows:
        raise CourseError(f"{source}: a list of chats was expected, with at least one: get the file again.")
    return [_chat(row, f"{source}[{i}]", known) for i, row in enumerate(rows)]


def _chat(row: Any, place: str, known: dict[str, str]) -> Chat:
    if not isinstance(row, dict):
        raise CourseError(f"{place}: an object was expected, and this is {shown(row)}.")
    persona = _texts(row, "personality", place, known)
    turns: list[Turn] = []
    utterances = row.get("utterances")
    if not isinstance(utterances, list) or not utterances:
        raise CourseError(f'{place}: "utterances" must be a list that is not empty.')
    for i, each in enumerate(utterances):
        where = f"{place}.utterances[{i}]"
        if not isinstance(each, dict):
            raise CourseError(f"{where}: an object was expected, and this is {shown(each)}.")
        turn = Turn(_texts(each, "history", where, known), _texts(each, "candidates", where, known))
        if len(turn.history) % 2 == 0:
            raise CourseError(
                f"{where}: the history has {len(turn.history)} turns, so it does not begin and end with the partner: "
                "give an odd number."
            )
        said = len(turns[-1].history) if turns else len(turn.history)
        if len(turn.history) > said and turn.history[:said] == turns[-1].history:
            given = turn.history[said]
            if given != turns[-1].reply:
                raise CourseError(
                    f"{place}.utterances[{i - 1}]: the reply was {given!r:.60}, and the candidates do not end with it: "
                    "put the true reply last."
                )
        turns.append(turn)
    return Chat(persona, tuple(turns))


def _texts(row: dict, key: str, place: str, known: dict[str, str]) -> tuple[str, ...]:
    texts = row.get(key)
    if not isinstance(texts, list) or not texts:
        raise CourseError(
            f'{place}: "{key}" must be a list of texts that is not empty, and is {shown(texts)}.'
        )
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise CourseError(f'{place}: a text of "{key}" is empty or no text: {shown(text)}.')
    return tuple(known.setdefault(text, text) for text in texts)


def write(chats: dict[str, list[Chat]], path: Path) -> None:
    """Write chats by split in the JSON of TransferTransfo; `read` takes it back."""
    document = {
        split: [
            {
                "personality": chat.persona,
                "utterances": [{"candidates": t.candidates, "history": t.history} for t in chat.turns],
            }
            for chat in some
        ]
        for split, some in chats.items()
    }
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n")


# ---- ParlAI's text


def from_parlai(path: Path, candidates: int = 20, seed: int = 0) -> list[Chat]:
    """The chats of a ParlAI file of ConvAI2, such as `valid_self_original.txt` or `valid_self_original_no_cands.txt`.

    Numbered lines, from 1 in each chat: `your persona: ...`, then the partner's turn, a tab and the reply, with
    candidates behind two more tabs and divided by `|` or without. Where a file has none, `candidates` - 1 replies of
    other chats are drawn for each turn, by `seed`. A persona's last mark gets a space before it, as all other texts
    have. Raises CourseError, with the line, for what is not of this form, for a persona of somebody else, and for
    candidates without the reply; and where too few other replies are there to draw from.
    """
    personas: list[list[str]] = []
    chats: list[list[tuple[str, list[str]]]] = []
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), 1):
        place = f"{path}, line {number}"
        count, space, rest = line.partition(" ")
        if not count.isdecimal() or not space or not rest.strip():
            raise CourseError(
                f"{place}: a number, a space and a text were expected, and this is {line!r:.40}."
            )
        if count == "1":
            personas.append([])
            chats.append([])
        if not chats or count != str(1 + len(personas[-1]) + len(chats[-1])):
            raise CourseError(
                f"{place}: the number {count:.20} does not follow the one before: get the file again."
            )
        if "\t" not in rest:
            personas[-1].append(_persona(rest, place, bool(chats[-1])))
        else:
            chats[-1].append(_exchange(rest, place))
    for persona, exchanges in zip(personas, chats, strict=True):
        if not persona or not exchanges:
            raise CourseError(f"{path}: a chat has no persona or no reply: get the file again.")
    return list(_chats(personas, chats, candidates, seed, path))


def _persona(rest: str, place: str, late: bool) -> str:
    who, colon, text = rest.partition(" persona: ")
    if not colon or late or not text.strip():
        raise CourseError(
            f"{place}: a persona, or a turn and its reply divided by a tab, were expected, and this is {rest!r:.40}."
        )
    if who != "your":
        raise CourseError(
            f"{place}: the speaker {shown(who)} is unknown, only 'your persona' is read: take a file `*_self_*`."
        )
    return re.sub(r"(?<=\S)([.!?])$", r" \1", text.strip())


def _exchange(rest: str, place: str) -> tuple[str, list[str]]:
    """The partner's turn, and the candidates with the reply last, or the reply alone."""
    turn, reply, *others = rest.split("\t")
    given = others[-1].split("|") if len(others) == 2 and others[-1] else []
    if not turn.strip() or not reply.strip() or len(others) not in (0, 2):
        raise CourseError(
            f"{place}: a turn and its reply, divided by a tab, were expected, got {rest!r:.40}."
        )
    if given and (reply not in given or not all(each.strip() for each in given)):
        raise CourseError(
            f"{place}: the reply {shown(reply)} is not among its candidates, or one of them is empty: get the file "
            "again."
        )
    return turn, [*(c for c in given if c != reply), reply]


def _chats(
    personas: list[list[str]],
    chats: list[list[tuple[str, list[str]]]],
    candidates: int,
    seed: int,
    path: Path,
) -> Iterator[Chat]:
    random = Random(f"candidates {seed}")
    pool = [(number, options[-1]) for number, chat in enumerate(chats) for _, options in chat]
    for number, (persona, chat) in enumerate(zip(personas, chats, strict=True)):
        history: list[str] = []
        turns = []
        for said, options in chat:
            history.append(said)
            others = options[:-1] or _drawn(pool, number, options[-1], candidates - 1, random, path)
            turns.append(Turn(tuple(history), (*others, options[-1])))
            history.append(options[-1])
        yield Chat(tuple(persona), tuple(turns))


def _drawn(
    pool: list[tuple[int, str]], number: int, reply: str, count: int, random: Random, path: Path
) -> list[str]:
    """Different replies of other chats, none of them equal to the true one."""
    found: dict[str, None] = {}
    for owner, text in random.sample(pool, min(len(pool), 4 * count + 40)):
        if len(found) < count and owner != number and text != reply:
            found[text] = None
    if len(found) < count:
        raise CourseError(
            f"{path} has too few other replies to draw {count} candidates from: ask for fewer candidates."
        )
    return list(found)


# ---- scores of texts


def normalize(text: str) -> str:
    """A reply as ParlAI compares it: lower case, without punctuation and articles (both become spaces)."""
    text = re.sub(r"[!\"#$%&()*+,-./:;<=>?@\[\]\\^`{|}~_']", " ", text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def word_f1(guess: str, reply: str) -> float:
    """ParlAI's F1 of the words of both, 0 to 1; 0 where they share none."""
    given, gold = Counter(normalize(guess).split()), Counter(normalize(reply).split())
    same = sum((given & gold).values())
    return 2 * same / (sum(given.values()) + sum(gold.values())) if same else 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words over all n-grams of the texts together (Li et al. 2016): low where they are alike."""
    grams = [gram for text in texts for gram in _grams(text.split(), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: str, n: int = 3) -> float:
    """The share of the n-grams of a text that stood in it before."""
    grams = list(_grams(text.split(), n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
