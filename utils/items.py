"""Published test items of the `full` profile: agreement, minimal pairs, and named entities (lab 2).

Each reader accepts the published file, from COURSE_DATA or downloaded, and refuses lines of another form.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from utils.downloads import cache_dir, fetch, read_text, unpack
from utils.errors import CourseError

GULORDAVA = "colorlessgreen/agreement/English/generated.tab"
LINZEN = "colorlessgreen/linzen_testset/subj_agr_filtered"
ENTITIES = "wnut17/wnut17train.conll"
BLIMP = "blimp"
END = "<eos>"


@dataclass(frozen=True)
class AgreementItem:
    """A sentence, the place of its verb, and the verb's form of the other number.

    `attractors` counts the nouns of the other number between subject and verb; `group` is common to variants of one
    sentence; `nonce` sentences have their content words replaced.
    """

    words: tuple[str, ...]
    position: int
    wrong: str
    attractors: int
    group: str
    nonce: bool

    @property
    def plural(self) -> bool:
        """Whether the right form is the plural one: of *walk* and *walks*, the shorter."""
        right = self.words[self.position].lower()
        if right in ("is", "are", "was", "were", "has", "have"):
            return right in ("are", "were", "have")
        return len(right) < len(self.wrong)


def gulordava() -> list[AgreementItem]:
    """The English items of Gulordava et al. (2018): 41 original sentences, and 369 nonce variants of them."""
    path = fetch(GULORDAVA)
    rows = list(csv.DictReader(read_text(path).splitlines(), delimiter="\t"))
    items = []
    for number, (right, wrong) in enumerate(zip(rows[::2], rows[1::2], strict=False)):
        words = (right.get("sent") or "").split()
        place = right.get("len_prefix") or ""
        if (right.get("class"), wrong.get("class")) != ("correct", "wrong") or not place.isdigit():
            raise CourseError(
                f"{path}, line {2 * number + 2}: expected a `correct` row and a `wrong` one, each with `sent` and "
                "`len_prefix`, as published: get the file again."
            )
        if int(place) >= len(words):
            raise CourseError(
                f"{path}, line {2 * number + 2}: the sentence ends before its verb, word {place}: get the file again."
            )
        words[int(place)] = right["form"]  # which the published sentence may have exchanged, too
        group, nonce = f"{right['pattern']} {right['constr_id']}", right["type"] == "generated"
        words = tuple(word for word in words if word != END)
        items.append(AgreementItem(words, int(place), wrong["form"], int(right["n_attr"]), group, nonce))
    return items


def linzen() -> list[AgreementItem]:
    """The Wikipedia sentences of Linzen et al. (2016) in the selection of Gulordava et al. (2018)."""
    texts, golds = fetch(f"{LINZEN}.text"), fetch(f"{LINZEN}.gold")
    sentences, answers = read_text(texts).splitlines(), read_text(golds).splitlines()
    if len(sentences) != len(answers):
        raise CourseError(
            f"{texts} has {len(sentences)} lines and {golds} {len(answers)}: get both files again."
        )
    items = []
    for number, (sentence, answer) in enumerate(zip(sentences, answers, strict=True), 1):
        words, fields = tuple(w for w in sentence.split() if w != END), answer.split("\t")
        if len(fields) != 4 or words[int(fields[0])].lower() != fields[1].lower():
            raise CourseError(
                f"{golds}, line {number}: expected the verb's place, its right and wrong form, and the number of "
                f"attractors, fitting the sentence, and found {answer[:40]!r}: get the file again."
            )
        items.append(AgreementItem(words, int(fields[0]), fields[2], int(fields[3]), str(number), False))
    return items


def blimp(paradigm: str) -> list[tuple[str, str]]:
    """Pairs (good, bad) of one paradigm of BLiMP (Warstadt et al. 2020), 1,000 sentences each."""
    folder = unpack(fetch(BLIMP), cache_dir() / "BLiMP")
    path = next(iter(sorted(folder.rglob(f"{paradigm}.jsonl"))), Path(f"{paradigm}.jsonl"))
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            entry = json.loads(line)
            pairs.append((entry["sentence_good"], entry["sentence_bad"]))
        except (ValueError, KeyError, TypeError):
            raise CourseError(
                f"{path}, line {number}: expected JSON with `sentence_good` and `sentence_bad`: get the file again."
            ) from None
    return pairs


def entities() -> list[tuple[list[str], list[str | None]]]:
    """Sentences of WNUT-17's training file that hold an entity (Derczynski et al. 2017): words, and type or None."""
    path = fetch(ENTITIES)
    sentences: list[tuple[list[str], list[str | None]]] = [([], [])]
    for number, line in enumerate(read_text(path).splitlines(), 1):
        word, tab, label = line.strip("\n").partition("\t")
        if not word.strip():
            sentences.append(([], []))
            continue
        if not tab or label != "O" and label[:2] not in ("B-", "I-"):
            raise CourseError(
                f"{path}, line {number}: expected a word, a tab, and O, B-type or I-type, and found {line[:40]!r}: get "
                "the file again."
            )
        sentences[-1][0].append(word)
        sentences[-1][1].append(None if label == "O" else label[2:])
    return [(words, types) for words, types in sentences if any(types)]
