"""English sentences with dependency trees (lab 2): the reader of CoNLL-U, the course's own treebank and UD English EWT.

CoNLL-U is the format of Universal Dependencies: one row of ten columns for each word, a blank line after each sentence
(https://universaldependencies.org/format.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from utils import settings
from utils.downloads import fetch, read_text
from utils.errors import CourseError, shown

SPLITS = ("train", "dev", "test")
TAGS = frozenset("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
COLUMNS = 10
Row = tuple[int, list[str]]  # number of the line in its file, columns


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its dependency tree; all fields but `notes` have one entry per word."""

    words: tuple[str, ...]
    lemmas: tuple[str, ...]
    pos: tuple[str, ...]  # universal tags, one of TAGS
    features: tuple[dict[str, str], ...]  # such as {"Number": "Sing"}
    heads: tuple[int, ...]  # index of the word's head, -1 for the root
    relations: tuple[str, ...]  # to the head, such as "nsubj" or "nmod:poss"
    notes: dict[str, str]  # the comments `# key = value` before the sentence


def english(split: str) -> list[Sentence]:
    """English sentences of a split ("train", "dev" or "test"): in `mini` the course's own, in `full` UD English EWT.

    Raises CourseError for an unknown split, and what `read` and `fetch` raise.
    """
    if settings.profile() == "full":
        return ewt(split)
    path = Path(__file__).with_name("english.conllu")
    _known(split)
    return [sentence for sentence in _read_once(path) if sentence.notes.get("split") == split]


def ewt(split: str) -> list[Sentence]:
    """A split of UD English EWT 2.16 (Silveira et al. 2014; 12,544, 2,001 and 2,077 sentences).

    COURSE_DATA may hold the file `en_ewt-ud-SPLIT.conllu`, also in a folder `ud_english_ewt`. Raises CourseError for an
    unknown split, and what `read` and `fetch` raise.
    """
    _known(split)
    own = settings.data_dir()
    path = own / "ud_english_ewt" / f"en_ewt-ud-{split}.conllu" if own else None
    return list(_read_once(path if path and path.exists() else fetch(f"ud-english-ewt-{split}")))


def read(path: Path) -> list[Sentence]:
    """The sentences of a CoNLL-U file.

    Rows of multiword tokens (`1-2`) and of empty nodes (`8.1`) are checked and left out: the words are the syntactic
    words, as the trees need them. Raises CourseError with the line's number for a row that is not of the format, for
    words whose numbers are not 1, 2, 3, ..., for heads that make no tree, and for a last sentence without its blank
    line, which may be half a sentence; and what `read_text` raises.
    """
    found = [_sentence(path, notes, rows) for notes, rows in _blocks(path, read_text(path))]
    if not found:
        raise CourseError(f"{path} holds no sentence, only comments: get the file again.")
    return found


@lru_cache(maxsize=4)
def _read_once(path: Path) -> tuple[Sentence, ...]:
    return tuple(read(path))


def _known(split: str) -> None:
    if split not in SPLITS:
        raise CourseError(f"{split!r} is not a split of the treebank: choose one of {', '.join(SPLITS)}.")


def _wrong(path: Path, line: int, what: str) -> CourseError:
    return CourseError(f"{path}, line {line}: {what}.")


def _blocks(path: Path, text: str) -> Iterator[tuple[dict[str, str], list[Row]]]:
    """The comments and the rows of each sentence."""
    lines = text.split("\n")
    if lines[-2:] != ["", ""]:
        raise _wrong(
            path,
            len(lines) - (not lines[-1]),
            "the last sentence does not end with a blank line and may be cut off: get the file again, or add the line "
            "if the sentence is whole",
        )
    notes: dict[str, str] = {}
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            if rows:
                raise _wrong(
                    path,
                    number,
                    "a comment stands inside a sentence: put a blank line before the next sentence",
                )
            key, equals, value = line[1:].partition("=")
            if equals:
                notes[key.strip()] = value.strip()
        elif line:
            columns = line.split("\t")
            if len(columns) != COLUMNS or not all(columns):
                filled = sum(map(bool, columns))
                raise _wrong(
                    path,
                    number,
                    f"{COLUMNS} columns between tabs were expected, and there are {filled} that are not empty: write _ "
                    "where there is nothing to say",
                )
            rows.append((number, columns))
        elif rows:
            yield notes, rows
            notes, rows = {}, []


def _sentence(path: Path, notes: dict[str, str], rows: list[Row]) -> Sentence:
    words = [row for row in rows if row[1][0].isdecimal()]
    _order(path, rows, len(words))
    for number, columns in words:
        if columns[3] not in TAGS:
            raise _wrong(
                path,
                number,
                f"{shown(columns[3])} is not a universal tag: choose one of {', '.join(sorted(TAGS))}",
            )
    return Sentence(
        words=tuple(columns[1] for _, columns in words),
        lemmas=tuple(columns[2] for _, columns in words),
        pos=tuple(columns[3] for _, columns in words),
        features=tuple(_features(path, *row) for row in words),
        heads=_heads(path, words),
        relations=tuple(columns[7] for _, columns in words),
        notes=notes,
    )


def _order(path: Path, rows: list[Row], count: int) -> None:
    """Check the first column: words 1, 2, 3, ..., multiword tokens `n-m` before word n, empty nodes `n.m` after it."""
    done, empty = 0, 0
    for number, (name, *_) in rows:
        if name.isdecimal():
            done, empty = done + 1, 0
            right = name == str(done)
        elif "-" in name:
            first, _, last = name.partition("-")
            right = first == str(done + 1) and last in map(str, range(done + 2, count + 1))
        else:
            empty += 1
            right = name == f"{done}.{empty}"
        if not right:
            raise _wrong(
                path,
                number,
                f"the id {shown(name)} is out of order after word {done - name.isdecimal()}: number the words of a "
                "sentence 1, 2, 3, ..., and put a blank line between sentences",
            )


def _features(path: Path, number: int, columns: list[str]) -> dict[str, str]:
    if columns[5] == "_":
        return {}
    pairs = [feature.split("=") for feature in columns[5].split("|")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs) or len({key for key, *_ in pairs}) < len(
        pairs
    ):
        raise _wrong(
            path, number, f"the features {shown(columns[5])} are not of the form Name=Value|Name=Value"
        )
    return dict(pairs)


def _heads(path: Path, words: list[Row]) -> tuple[int, ...]:
    """The index of each word's head, -1 for the root, of which there must be one, above all others."""
    known = {str(i) for i in range(len(words) + 1)}
    for number, columns in words:
        head = columns[6]
        if head not in known:
            raise _wrong(
                path,
                number,
                f"the head {shown(head)} is not the number of a word of the sentence (1 to {len(words)}) or 0",
            )
        if (head == "0") != (columns[7] == "root"):
            raise _wrong(
                path,
                number,
                f"the relation {shown(columns[7])} does not fit the head {head}: 'root' is for head 0 only",
            )
    heads = tuple(int(columns[6]) - 1 for _, columns in words)
    if heads.count(-1) != 1:
        raise _wrong(
            path,
            words[0][0],
            f"the sentence has {heads.count(-1)} roots, and one word with head 0 was expected",
        )
    rooted = {-1}
    for i, (number, columns) in enumerate(words):
        way: dict[int, None] = {}
        while i not in rooted:
            if i in way:
                raise _wrong(
                    path, number, f"word {columns[0]} is its own ancestor: its heads go round in a circle"
                )
            way[i] = None
            i = heads[i]
        rooted.update(way)
    return heads
