"""Published test items of the `full` profile: agreement, minimal pairs, and named entities (lab 2).

Each reader accepts the published file, from COURSE_DATA or downloaded, and refuses lines of another form.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from utils.downloads import fetch, fetch_folder, parse_json, read_json, read_text
from utils.errors import CourseError, shown

GULORDAVA = "colorlessgreen/agreement/English/generated.tab"
LINZEN = "colorlessgreen/linzen_testset/subj_agr_filtered"
ENTITIES = "wnut17/wnut17train.conll"
BLIMP = "blimp"
END = "<eos>"
OWN = ("form", "class", "freq", "correct_number")  # columns in which the two rows of an item may differ


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
    rows = _rows(path)
    items = []
    for number, (right, wrong) in enumerate(zip_longest(rows[::2], rows[1::2], fillvalue={})):
        words = right.get("sent", "").split()
        place, attractors = right.get("len_prefix", ""), right.get("n_attr", "")
        if (
            (right.get("class"), wrong.get("class")) != ("correct", "wrong")
            or not all(row.get("form") for row in (right, wrong))
            or not right.get("pattern")
            or not right.get("constr_id")
            or any(right[name] != wrong[name] for name in right if name not in OWN)
            or right.get("type") not in ("original", "generated")
            or not (place.isdecimal() and attractors.isdecimal() and len(attractors) < 4)
        ):
            raise CourseError(
                f"{path}, line {2 * number + 2}: expected a `correct` row and a `wrong` one of the same sentence, each "
                "with `form`, `sent`, `len_prefix` and `n_attr`, as published: get the file again."
            )
        if place not in map(str, range(len(words))) or END in (right["form"], *words[: int(place)]):
            raise CourseError(
                f"{path}, line {2 * number + 2}: the sentence ends before its verb, word {place:.9}: get the file "
                "again."
            )
        words[int(place)] = right["form"]  # which the published sentence may have exchanged, too
        group, nonce = f"{right['pattern']} {right['constr_id']}", right["type"] == "generated"
        words = tuple(word for word in words if word != END)
        items.append(AgreementItem(words, int(place), wrong["form"], int(attractors), group, nonce))
    return items


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table between tabs, each on one line, with the names of the first line."""
    rows: list[list[str]] = []
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), 1):
        try:
            cells = next(csv.reader([line], delimiter="\t", strict=True), [])
        except csv.Error:
            cells = []
        if len(cells) != len(rows[0] if rows else set(cells)) or not cells:
            raise CourseError(
                f"{path}, line {number}: expected one cell for each different name of the first line, and found "
                f"{line[:40]!r}: get the file again."
            )
        rows.append(cells)
    if len(rows) == 1:
        raise CourseError(f"{path} holds no item, only the names of columns: get the file again.")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def linzen() -> list[AgreementItem]:
    """The Wikipedia sentences of Linzen et al. (2016) in the selection of Gulordava et al. (2018)."""
    texts, golds = fetch(f"{LINZEN}.text"), fetch(f"{LINZEN}.gold")
    sentences, answers = (read_text(path).rstrip("\n").split("\n") for path in (texts, golds))
    if len(sentences) != len(answers):
        raise CourseError(
            f"{texts} has {len(sentences)} lines and {golds} {len(answers)}: get both files again."
        )
    items = []
    for number, (sentence, answer) in enumerate(zip(sentences, answers, strict=True), 1):
        words, fields = tuple(w for w in sentence.split() if w != END), answer.split("\t")
        place = int(fields[0]) if fields[0] in map(str, range(len(words))) else len(words)
        whole = len(fields) == 4 and fields[2].strip() and fields[3].isdecimal() and len(fields[3]) < 4
        if not whole or place == len(words) or words[place].lower() != fields[1].lower():
            raise CourseError(
                f"{golds}, line {number}: expected the verb's place, its right and wrong form, and the number of "
                f"attractors, fitting the sentence, and found {answer[:40]!r}: get the file again."
            )
        items.append(AgreementItem(words, place, fields[2], int(fields[3]), str(number), False))
    return items


def blimp(paradigm: str) -> list[tuple[str, str]]:
    """Pairs (good, bad) of one paradigm of BLiMP (Warstadt et al. 2020), 1,000 sentences each."""
    folder = fetch_folder(BLIMP)
    path = next(iter(sorted(folder.rglob(f"{paradigm}.jsonl"))), Path(f"{paradigm}.jsonl"))
    pairs = []
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), 1):
        try:
            entry = parse_json(line)
            pairs.append((entry["sentence_good"], entry["sentence_bad"]))
            if not all(isinstance(text, str) and text.strip() for text in pairs[-1]):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise CourseError(
                f"{path}, line {number}: expected JSON with `sentence_good` and `sentence_bad`: get the file again."
            ) from None
    return pairs


def marvin(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Pairs (good, bad) of one construction of Marvin & Linzen (2018), by condition, such as `sing_MS_MV`.

    The file holds what the published pickle of that name holds, as JSON: condition -> lists of a good sentence and one
    or two bad ones (https://github.com/BeckyMarvin/LM_syneval). A pickle can run any program, so none is opened.
    """
    if path.suffix == ".pickle":
        raise CourseError(
            f"{path} is a pickle, which can run any program when it is opened: give a JSON file."
        )
    conditions = read_json(path)
    if not isinstance(conditions, dict) or not all(
        isinstance(entries, list) for entries in conditions.values()
    ):
        raise CourseError(f"{path}: expected a JSON object of condition -> sentences: get the file again.")
    for condition, entries in conditions.items():
        for number, entry in enumerate(entries):
            if (
                not isinstance(entry, list)
                or len(entry) < 2
                or not all(isinstance(s, str) and s.strip() for s in entry)
            ):
                raise CourseError(
                    f"{path}, condition {shown(condition)}, entry {number}: expected a good sentence and at least one "
                    f"bad one, and found {shown(entry)}: get the file again."
                )
    return {
        condition: [(good, bad) for good, *others in entries for bad in others]
        for condition, entries in conditions.items()
    }


def entities() -> list[tuple[list[str], list[str | None]]]:
    """Sentences of WNUT-17's training file that hold an entity (Derczynski et al. 2017): words, and type or None."""
    from utils.tagging import read_names

    found = [
        (each.words, [None if tag == "O" else tag[2:] for tag in each.tags])
        for each in read_names(fetch(ENTITIES))
    ]
    return [(list(words), types) for words, types in found if any(types)]
