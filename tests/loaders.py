"""The course's loaders of files for the tests of bad data: valid files, the loader, and a second reading of the files.

The second reading shares nothing with `utils`: it is what a plain program makes of the same bytes, and it refuses
(with any exception) what has no meaning or more than one. Where a format carries its own checksums, the truth is what
was written, whatever happened to the file since.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.archives import make_tar, make_zip
from tests.mutations import (
    Damage,
    Pairs,
    damage_bytes,
    damage_cells,
    damage_json,
    damage_safetensors,
    damage_tensors,
    damage_text,
    tree,
)

WORDS = "the a film was good bad actors café naïve 你好 <br /> it's 10 e.g. tea who sings old river x".split(
    " "
)
REFUSE = object()  # the truth of files that nobody may accept
Files = dict[str, bytes]


@dataclass(frozen=True)
class Loader:
    """How to test one loader.

    `make` draws valid files by name, and their truth where it is known; `load` calls the loader on their folder and
    gives what it read as plain data, and `read` is the second reading. `damages` are tried on one of the files each,
    `shuffle` on the folder. `agree` compares both readings.
    """

    make: Callable[[Random], tuple[Files, Any]]
    load: Callable[[Path], Any]
    read: Callable[[Path], Any] | None = None
    damages: tuple[Damage, ...] = (damage_bytes, damage_text)
    shuffle: Callable[[Random, Files], Files] | None = None
    agree: Callable[[Any, Any], bool] = lambda found, expected: found == expected


# ---- second readings


def text_of(path: Path) -> str:
    """The text of a UTF-8 file."""
    return path.read_bytes().decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")


def lines_of(path: Path) -> list[str]:
    """Its lines, those at the end that are empty left out."""
    return text_of(path).rstrip("\n").split("\n")


def one(node: Any, key: str, *otherwise: Any) -> Any:
    """The only value of a key; ValueError where an object names it twice."""
    if not isinstance(node, Pairs):
        raise ValueError("no object")
    values = [value for name, value in node if name == key]
    if len(values) > 1 or not (values or otherwise):
        raise ValueError(key)
    return values[0] if values else otherwise[0]


def plain_dict(node: Any) -> dict[str, Any]:
    """An object without a key twice."""
    return {key: one(node, key) for key, _ in node}


def rfc4180(text: str, comma: str = ",") -> list[list[str]]:
    """The records of CSV, quotes as in RFC 4180, lines without anything left out."""
    cell = re.compile(rf'"((?:[^"]|"")*)"|(?:[^{comma}\n"][^{comma}\n]*)?')
    records: list[list[str]] = [[]]
    at = 0
    while True:
        found = cell.match(text, at)
        records[-1].append(found[0] if found[1] is None else found[1].replace('""', '"'))
        at = found.end() + 1
        if at > len(text):
            return [record for record in records if record != [""]]
        if text[at - 1] == "\n":
            records.append([])
        elif text[at - 1] != comma:
            raise ValueError("quotes")


def numbers(tensors: dict[str, Any]) -> dict[str, Any]:
    """Shape and values of tensors by name, to be compared."""
    found = {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}
    return {name: (array.shape, array.tobytes()) for name, array in found.items()}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by the format's description; ValueError for anything that it does not allow."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = tree(data[8 : 8 + size].decode()), data[8 + size :]
    kinds = {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "U32": "<u4",
        "U8": "u1",
        "BOOL": "?",
    }
    found, covered = {}, []
    for name, entry in header:
        if name == "__metadata__":
            continue
        if name in found:
            raise ValueError(name)
        begin, end = one(entry, "data_offsets")
        array = np.frombuffer(body[begin:end], kinds[one(entry, "dtype")]).reshape(one(entry, "shape"))
        if one(entry, "dtype") == "BF16":
            array = (array.astype("<u4") << 16).view("<f4").reshape(array.shape)
        found[name], covered = array, [*covered, (begin, end)]
    ends = [0, *(end for _, end in sorted(covered))]
    if [begin for begin, _ in sorted(covered)] != ends[:-1] or ends[-1] != len(body):
        raise ValueError("overlap")
    return found


def fitting(tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """`numbers` of tensors that may become the weights of these shapes: all of them, floating, finite."""
    if tensors.keys() != shapes.keys():
        raise ValueError("names")
    for name, array in tensors.items():
        if array.shape != shapes[name] or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(name)
    return numbers({name: array.astype(np.float32) for name, array in tensors.items()})


# ---- valid data


def some(random: Random, least: int = 1, most: int = 6) -> str:
    """A few words."""
    return " ".join(random.choices(WORDS, k=random.randint(least, most)))


def dumped(random: Random, value: Any) -> bytes:
    """JSON in one of its usual layouts."""
    return json.dumps(
        value, ensure_ascii=random.random() < 0.5, indent=random.choice((None, None, 1))
    ).encode()


def given(loaded: Callable[[], Any]) -> Any:
    """What a loader gives that finds the files of COURSE_DATA; it may print which ones."""
    with redirect_stdout(io.StringIO()):
        return loaded()


def course_data(folder: Path) -> None:
    os.environ["COURSE_DATA"] = str(folder)


# ---- SQuAD


def make_squad(random: Random) -> tuple[Files, None]:
    data, number = [], 0
    for _ in range(random.randint(1, 2)):
        paragraphs = []
        for _ in range(random.randint(1, 2)):
            words = random.choices(WORDS, k=random.randint(3, 9))
            context, qas = " ".join(words), []
            for _ in range(random.randint(1, 2)):
                number += 1
                row: dict[str, Any] = {"id": f"q{number}", "question": some(random) + "?", "answers": []}
                if random.random() < 0.2:
                    row["is_impossible"] = True
                else:
                    for _ in range(random.randint(1, 2)):
                        i = random.randrange(len(words))
                        answer = " ".join(words[i : random.randint(i + 1, len(words))])
                        start = len(" ".join(words[:i])) + (i > 0)
                        row["answers"].append({"answer_start": start, "text": answer})
                qas.append(row)
            paragraphs.append({"context": context, "qas": qas})
        data.append({"title": some(random), "paragraphs": paragraphs})
    return {"squad.json": dumped(random, {"data": data, "version": "1.1"})}, None


def load_squad(folder: Path, repair: bool = False) -> list[tuple]:
    from utils import squad

    rows = given(lambda: squad.read(folder / "squad.json", repair))
    return [(e.id, e.question, e.context, tuple((a.text, a.start) for a in e.answers), e.title) for e in rows]


def read_squad(folder: Path, repair: bool = False) -> list[tuple]:
    found = []
    for article in one(tree(text_of(folder / "squad.json")), "data"):
        for paragraph in one(article, "paragraphs"):
            context = one(paragraph, "context")
            for row in one(paragraph, "qas"):
                answers = []
                for each in one(row, "answers"):
                    text, start = one(each, "text"), one(each, "answer_start")
                    places = [i for i in range(len(context)) if context[i : i + len(text)] == text]
                    if start not in places:
                        start = min(places if repair else [], key=lambda i, start=start: abs(i - start))
                    answers.append((text, start))
                assert one(row, "is_impossible", False) is not bool(answers)
                title = one(article, "title", "")
                found.append((one(row, "id"), one(row, "question"), context, tuple(answers), title))
    assert len({row[0] for row in found}) == len(found) and all(isinstance(row[4], str) for row in found)
    return found


# ---- ConvAI2


def make_convai_json(random: Random) -> tuple[Files, None]:
    def chat() -> dict[str, Any]:
        history, turns = [some(random)], []
        for _ in range(random.randint(1, 3)):
            turns.append(
                {"candidates": [some(random) for _ in range(random.randint(1, 3))], "history": list(history)}
            )
            history += [turns[-1]["candidates"][-1], some(random)]
        return {"personality": [some(random) for _ in range(random.randint(1, 3))], "utterances": turns}

    chats = {split: [chat() for _ in range(random.randint(1, 2))] for split in ("train", "valid")}
    return {"chats.json": dumped(random, chats)}, None


def load_convai_json(folder: Path) -> dict[str, list]:
    from utils import convai

    return {
        split: [(list(c.persona), [(list(t.history), list(t.candidates)) for t in c.turns]) for c in chats]
        for split, chats in convai.read(folder / "chats.json").items()
    }


def read_convai_json(folder: Path) -> dict[str, list]:
    def texts(row: Any, key: str) -> list[str]:
        found = one(row, key)
        assert found and all(isinstance(text, str) and text.strip() for text in found)
        return found

    document = tree(text_of(folder / "chats.json"))
    return {
        split: [
            (
                texts(chat, "personality"),
                [(texts(t, "history"), texts(t, "candidates")) for t in one(chat, "utterances")],
            )
            for chat in one(document, split)
        ]
        for split in ("train", "valid")
    }


def make_convai_text(random: Random) -> tuple[Files, None]:
    with_candidates, lines = random.random() < 0.7, []
    for _ in range(random.randint(2, 3)):
        number = random.randint(1, 2)
        lines += [f"{i} your persona: {some(random)}{random.choice('.!x')}" for i in range(1, number + 1)]
        for _ in range(random.randint(1, 2)):
            number += 1
            reply = f"{some(random)} {random.randrange(1000)}"
            others = "|".join([some(random), reply, some(random, 1, 1) + "?"])
            lines.append(f"{number} {some(random)}\t{reply}" + (f"\t\t{others}" if with_candidates else ""))
    return {"parlai.txt": "\n".join([*lines, ""]).encode()}, None


def load_convai_text(folder: Path) -> list[tuple]:
    from utils import convai

    chats = convai.from_parlai(folder / "parlai.txt", candidates=2)
    return [(list(c.persona), [(t.history[-1], t.candidates) for t in c.turns]) for c in chats]


def read_convai_text(folder: Path) -> list[tuple]:
    chats: list[tuple] = []
    for line in lines_of(folder / "parlai.txt"):
        number, rest = re.fullmatch(r"([0-9]+) (.*\S.*)", line, re.S).groups()
        if int(number) == 1:
            chats.append(([], []))
        persona, turns = chats[-1]
        assert int(number) == 1 + len(persona) + len(turns)
        cells = rest.split("\t")
        if len(cells) == 1:
            text = re.fullmatch(r"your persona: (.*)", rest, re.S)[1].strip()
            persona.append(text[:-1] + " " + text[-1] if text[-1] in ".!?" and text[-2:-1].strip() else text)
            assert not turns
        else:
            others = cells[3].split("|") if len(cells) > 3 and cells[3] else None
            assert len(cells) in (2, 4) and (
                not others or cells[1] in others and all(o.strip() for o in others)
            )
            turns.append((cells[0], cells[1], others and tuple(o for o in others if o != cells[1])))
    assert all(persona and turns for persona, turns in chats)
    return chats


def agree_convai_text(found: list[tuple], expected: list[tuple]) -> bool:
    """The same texts; where the file has no candidates, those that were drawn are replies of other chats."""
    right = len(found) == len(expected)
    for n, ((persona, turns), (own, theirs)) in enumerate(zip(found, expected, strict=right)):
        right = right and persona == own and len(turns) == len(theirs)
        elsewhere = {turn[1] for i, (_, each) in enumerate(expected) if i != n for turn in each}
        for (said, candidates), (last, reply, others) in zip(turns, theirs, strict=right):
            drawn = candidates[:-1]
            fits = set(drawn) <= elsewhere if not others else drawn == others
            right = right and said == last and candidates[-1] == reply and fits and reply not in drawn
    return right


# ---- IMDb


def make_imdb(random: Random) -> tuple[Files, None]:
    files = {}
    for kind, stars in (("neg", (1, 4)), ("pos", (7, 10))):
        for _ in range(random.randint(1, 3)):
            name = f"{random.randrange(99)}_{random.randint(*stars)}.txt"
            files[f"aclImdb/train/{kind}/{name}"] = some(random, 2, 9).encode()
    return files, None


def shuffle_imdb(random: Random, files: Files) -> Files:
    """Reviews that moved, got other names or other company."""
    found = dict(files)
    name = random.choice(sorted(found))
    folder, _, file = name.rpartition("/")
    number, _, rest = file.partition("_")
    new = random.choice(
        (
            f"{file}.gz", file.upper(), f"{number}_5.txt", f"{number}_07.txt", f"{number}.txt", f"-{file}",
            f"{number}_{number}_{rest}", f"{'9' * 200}_{rest}", f"\u0661_{rest}", f"sub/{file}", "review.md",
            f"../{random.choice(('pos', 'neg'))}/{file}", f".{file}", f"{file}/x", f"0{file}", f" {file}",
        )
    )  # fmt: skip
    target = os.path.normpath(f"{folder}/{new}")
    if not any(
        each.startswith(f"{target}/") or target.startswith(f"{each}/") for each in found if each != name
    ):
        found[target] = found.pop(name) if random.random() < 0.5 else found[name]
        if target.startswith(f"{name}/"):
            found.pop(name, None)
    return found


def load_imdb(folder: Path) -> list[tuple]:
    from utils import imdb

    return [(review.text, review.label, review.file) for review in imdb.reviews("train", folder)]


def read_imdb(folder: Path) -> list[tuple]:
    found = []
    for label, kind in enumerate(("neg", "pos")):
        rows = []
        for name in os.listdir(folder / "aclImdb" / "train" / kind):
            if not name.startswith("."):
                number, stars = re.fullmatch(r"(\d+)_(\d+)\.txt", name).groups()
                assert int(stars) in ((1, 2, 3, 4), (7, 8, 9, 10))[label]
                text = text_of(folder / "aclImdb" / "train" / kind / name)
                assert text.strip() and "\0" not in text
                rows.append((int(number), name, text))
        assert rows
        found += [(text, label, f"train/{kind}/{name}") for _, name, text in sorted(rows)]
    return found


# ---- a table of reviews


def make_table(random: Random) -> tuple[Files, None]:
    labels = random.choice((("0", "1"), ("positive", "negative"), ("0.5", "3"), ("True", "False")))
    rows = [["label", "text", "is_valid"]]
    for _ in range(random.randint(1, 4)):
        text = some(random, 1, 8) + random.choice(("", ", so", ' "so"', "\nnew", "\n\nfar"))
        rows.append([random.choice(labels), text, random.choice(("True", "False"))])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(
        rows
    )
    return {"table.csv": out.getvalue().encode()}, None


def load_table(folder: Path) -> list[tuple]:
    from utils import ulmfit

    rows = ulmfit.table(folder / "table.csv")
    return list(
        zip(
            rows["text"].tolist(),
            rows["label"].tolist() if "label" in rows else [""] * len(rows),
            strict=True,
        )
    )


def read_table(folder: Path) -> list[tuple]:
    head, *rows = rfc4180(text_of(folder / "table.csv").removesuffix("\r"))  # half of the last line's end
    assert len(set(head)) == len(head) and all(len(row) == len(head) for row in rows) and rows
    text, label = head.index("text"), head.index("label")
    return [(" ".join(re.sub(r"<br\s*/?>", " ", row[text]).split()), row[label]) for row in rows]


def agree_table(found: list[tuple], expected: list[tuple]) -> bool:
    """The same texts, and labels that are the words of the file, or the numbers or truth values that these write."""

    def same(value: Any, word: str) -> bool:
        if isinstance(value, bool):
            return word.strip().lower() == str(value).lower()
        return value == word if isinstance(value, str) else math.isfinite(value) and float(word) == value

    return len(found) == len(expected) and all(
        text == own and same(label, word) for (text, label), (own, word) in zip(found, expected, strict=True)
    )


# ---- trees and names


def make_conllu(random: Random) -> tuple[Files, None]:
    blocks = []
    for n in range(random.randint(1, 3)):
        count = random.randint(1, 5)
        order = random.sample(range(1, count + 1), count)
        heads = {order[0]: 0} | {order[k]: order[random.randrange(k)] for k in range(1, count)}
        rows = [f"# sent_id = {n}", "# text = x"]
        for i in range(1, count + 1):
            word, relation = random.choice(WORDS).replace(" ", "_"), "nsubj" if heads[i] else "root"
            if i < count and random.random() < 0.1:
                rows.append("\t".join((f"{i}-{i + 1}", word + word, *"_" * 8)))
            feats = random.choice(("_", "Number=Sing", "Number=Plur|Person=3"))
            rows.append(
                "\t".join(
                    (
                        str(i),
                        word,
                        word,
                        random.choice(("NOUN", "X")),
                        "_",
                        feats,
                        str(heads[i]),
                        relation,
                        "_",
                        "_",
                    )
                )
            )
        blocks.append("\n".join(rows) + "\n\n")
    return {"trees.conllu": "".join(blocks).encode()}, None


def load_conllu(folder: Path) -> list[tuple]:
    from utils import treebank

    found = treebank.read(folder / "trees.conllu")
    return [(s.words, s.lemmas, s.pos, s.features, s.heads, s.relations, s.notes) for s in found]


def read_conllu(folder: Path) -> list[tuple]:
    text, found, notes = text_of(folder / "trees.conllu"), [], {}
    assert text.endswith("\n\n") and "\0" not in text
    for block in re.split(r"\n\n+", text.strip("\n")):
        lines = block.split("\n")
        comments = [line[1:] for line in lines if line.startswith("#")]
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        notes |= {
            key.strip(): value.strip()
            for key, equals, value in (c.partition("=") for c in comments)
            if equals
        }
        if not rows:
            continue
        assert all(len(row) == 10 and all(row) for row in rows)
        words = [row for row in rows if re.fullmatch(r"[1-9]\d*", row[0], re.A)]
        assert [row[0] for row in words] == [str(i + 1) for i in range(len(words))]
        assert all(re.fullmatch(r"\d+[-.]\d+", row[0], re.A) for row in rows if row not in words)
        features = tuple(
            dict(f.split("=") for f in row[5].split("|")) if row[5] != "_" else {} for row in words
        )
        heads = tuple(int(row[6]) - 1 for row in words)
        for i in range(len(words)):
            for _ in words:
                i = heads[i] if i >= 0 else i
            assert i == -1
        assert heads.count(-1) == 1 and all(
            (row[7] == "root") == (head == -1) for row, head in zip(words, heads, strict=True)
        )
        columns = [tuple(row[i] for row in words) for i in (1, 2, 3, 7)]
        found.append((*columns[:3], features, heads, columns[3], notes))
        notes = {}
    assert found
    return found


def make_names(random: Random) -> tuple[Files, None]:
    lines = []
    for _ in range(random.randint(1, 3)):
        lines += [
            f"{random.choice(WORDS[:10])}\t{random.choice(('O', 'B-person', 'I-person', 'B-group'))}"
            for _ in range(3)
        ]
        lines.append(random.choice(("", "\t")))
    return {"wnut17/wnut17train.conll": "\n".join([*lines, ""]).encode()}, None


def load_names(folder: Path) -> list[tuple]:
    from utils import tagging

    return [(each.words, each.tags) for each in tagging.read_names(folder / "wnut17" / "wnut17train.conll")]


def read_names(folder: Path) -> list[tuple]:
    found: list[list[list[str]]] = [[]]
    for line in [*text_of(folder / "wnut17" / "wnut17train.conll").split("\n")]:
        if line.strip():
            word, tag = line.split("\t")
            assert word.strip() and re.fullmatch(r"O|[BI]-\S+", tag) and "\0" not in line
            found[-1].append([word, tag])
        else:
            found.append([])
    return [tuple(zip(*rows, strict=True)) for rows in found if rows]


def load_entities(folder: Path) -> list[tuple]:
    from utils import items

    course_data(folder)
    return [(tuple(words), tuple(types)) for words, types in given(items.entities)]


def read_entities(folder: Path) -> list[tuple]:
    rows = [(words, tuple(None if t == "O" else t[2:] for t in tags)) for words, tags in read_names(folder)]
    return [(words, types) for words, types in rows if any(types)]


# ---- items of lines


def make_sentences(random: Random) -> tuple[Files, None]:
    lines = [f"{random.randint(0, 1)} {some(random)}" for _ in range(random.randint(1, 4))]
    return {"sentence_classification/stsa.binary.dev": "\n".join([*lines, ""]).encode()}, None


def load_sentences(folder: Path) -> list[tuple]:
    from utils import sentences

    course_data(folder)
    return [(each.label, each.words) for each in given(lambda: sentences.sst2("dev"))]


def read_sentences(folder: Path) -> list[tuple]:
    lines = lines_of(folder / "sentence_classification" / "stsa.binary.dev")
    rows = [line.split() for line in lines]
    assert all(row[0] in ("0", "1") and len(row) > 1 and "\0" not in "".join(row) for row in rows)
    return [(int(row[0]), tuple(row[1:])) for row in rows]


TAB = "colorlessgreen/agreement/English/generated.tab"


def make_gulordava(random: Random) -> tuple[Files, None]:
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow("pattern constr_id form class type n_attr len_prefix sent".split())
    for n in range(random.randint(1, 3)):
        text = f"{some(random)} walks {some(random)} {random.choice(('', chr(34)))} . <eos>"
        kind, place, attractors = random.choice(("original", "generated")), text.split().index("walks"), n
        for form, which in (("walks", "correct"), ("walk", "wrong")):
            writer.writerow(["NV", n, form, which, kind, attractors, place, text])
    return {TAB: out.getvalue().encode()}, None


def load_gulordava(folder: Path) -> list[tuple]:
    from utils import items

    course_data(folder)
    return [(i.words, i.position, i.wrong, i.attractors, i.group, i.nonce) for i in given(items.gulordava)]


def read_gulordava(folder: Path) -> list[tuple]:
    text = text_of(folder / TAB).removesuffix("\r")  # half of the last line's end is missing, and no word
    head, *rows = [rfc4180(line, "\t")[0] for line in text.split("\n") if line]
    assert all(len(row) == len(head) for row in rows) and len(rows) % 2 == 0 and rows and "\0" not in text
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    found = []
    for right, wrong in zip(cells[::2], cells[1::2], strict=True):
        assert (right["class"], wrong["class"]) == ("correct", "wrong")
        assert {**right, "form": "", "class": ""} == {**wrong, "form": "", "class": ""}
        assert right["type"] in ("original", "generated")
        words = [*right["sent"].split()]
        words[int(right["len_prefix"])] = right["form"]
        words = tuple(word for word in words if word != "<eos>")
        group = f"{right['pattern']} {right['constr_id']}"
        found.append(
            (
                words,
                int(right["len_prefix"]),
                wrong["form"],
                int(right["n_attr"]),
                group,
                right["type"] == "generated",
            )
        )
        assert found[-1][0][found[-1][1]] == right["form"]
    return found


LINZEN = "colorlessgreen/linzen_testset/subj_agr_filtered"


def make_linzen(random: Random) -> tuple[Files, None]:
    texts, golds = [], []
    for _ in range(random.randint(1, 3)):
        before = some(random)
        texts.append(f"{before} walks {some(random)} <eos>")
        golds.append(f"{len(before.split())}\twalks\twalk\t{random.randrange(3)}")
    return {
        f"{LINZEN}.{end}": "\n".join([*rows, ""]).encode() for end, rows in (("text", texts), ("gold", golds))
    }, None


def load_linzen(folder: Path) -> list[tuple]:
    from utils import items

    course_data(folder)
    return [(i.words, i.position, i.wrong, i.attractors) for i in given(items.linzen)]


def read_linzen(folder: Path) -> list[tuple]:
    texts, golds = (lines_of(folder / f"{LINZEN}.{end}") for end in ("text", "gold"))
    found = []
    for text, gold in zip(texts, golds, strict=True):
        place, right, wrong, attractors = gold.split("\t")
        words = tuple(word for word in text.split() if word != "<eos>")
        assert words[int(place)].lower() == right.lower() and wrong.strip() and "\0" not in text + gold
        found.append((words, int(place), wrong, int(attractors)))
    return found


def make_blimp(random: Random) -> tuple[Files, None]:
    rows = [
        {"sentence_good": some(random), "sentence_bad": some(random), "UID": "x"}
        for _ in range(random.randint(1, 3))
    ]
    return {"blimp/x.jsonl": "\n".join([*map(json.dumps, rows), ""]).encode()}, None


def load_blimp(folder: Path) -> list[tuple]:
    from utils import items

    course_data(folder)
    return given(lambda: items.blimp("x"))


def read_blimp(folder: Path) -> list[tuple]:
    rows = [tree(line) for line in lines_of(folder / "blimp" / "x.jsonl")]
    found = [(one(row, "sentence_good"), one(row, "sentence_bad")) for row in rows]
    assert all(isinstance(text, str) and text.strip() for pair in found for text in pair)
    return found


def make_marvin(random: Random) -> tuple[Files, None]:
    entries = {
        f"sing_{n}": [[some(random), some(random)] for _ in range(random.randint(1, 3))] for n in range(2)
    }
    return {"marvin.json": dumped(random, entries)}, None


def load_marvin(folder: Path) -> dict[str, list]:
    from utils import items

    return items.marvin(folder / "marvin.json")


def read_marvin(folder: Path) -> dict[str, list]:
    found = plain_dict(tree(text_of(folder / "marvin.json")))
    assert all(isinstance(t, str) and t.strip() for rows in found.values() for row in rows for t in row)
    return {key: [(good, bad) for good, *others in rows for bad in others] for key, rows in found.items()}


def make_weat(random: Random) -> tuple[Files, None]:
    sets = {key: {"category": some(random), "examples": [some(random) for _ in range(3)]} for key in SETS}
    return {"weat.jsonl": dumped(random, sets)}, None


SETS = ("targ1", "targ2", "attr1", "attr2")


def load_weat(folder: Path) -> list[tuple]:
    from utils import bias

    found = bias.read_test(folder / "weat.jsonl")
    return list(zip(found.categories, (*found.targets, *found.attributes), strict=True))


def read_weat(folder: Path) -> list[tuple]:
    document = tree(text_of(folder / "weat.jsonl"))
    sets = [one(document, key) for key in SETS]
    found = [
        (one(each, "category", key), tuple(one(each, "examples")))
        for key, each in zip(SETS, sets, strict=True)
    ]
    assert all(isinstance(text, str) for category, texts in found for text in (category, *texts))
    return found


SIDES = [f"winobias/{side}_stereotyped_type1.txt.dev" for side in ("pro", "anti")]


def make_winobias(random: Random) -> tuple[Files, None]:
    sides: list[list[str]] = [[], []]
    for n in range(random.randint(1, 3)):
        rest, she = some(random, 1, 3).replace("<br />", "x"), random.randrange(2)
        for i, lines in enumerate(sides):
            lines.append(f"{n + 1} [The developer] {rest} because [{('he', 'she')[i ^ she]}] sings.")
    return {name: "\n".join([*lines, ""]).encode() for name, lines in zip(SIDES, sides, strict=True)}, None


def load_winobias(folder: Path) -> list[tuple]:
    from utils import bias

    return [(pair.pro, pair.anti) for pair in bias.winobias(*(folder / name for name in SIDES))]


def read_winobias(folder: Path) -> list[tuple]:
    sides: list[list[str]] = [[], []]
    for name, found in zip(SIDES, sides, strict=True):
        for number, line in enumerate(lines_of(folder / name), 1):
            count, text = re.fullmatch(r"\s*(\d+) (.*)", line, re.S).groups()
            assert count == str(number) and not re.search(
                r"[\[\]]", re.sub(r"\[[^\[\]]*[^\[\]\s][^\[\]]*\]", "", text)
            )
            found.append(
                re.sub(r" ([.,;])", r"\1", " ".join(text.replace("[", " ").replace("]", " ").split()))
            )
            assert "\0" not in text
    return list(zip(*sides, strict=True))


# ---- JSON of the course


def make_rows(random: Random) -> tuple[Files, None]:
    rows = []
    for n in range(random.randint(1, 3)):
        low, high = sorted(random.uniform(-1, 1) for _ in range(2))
        verdict = "supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"
        words = dict.fromkeys(
            "claim statement lab profile metric unit method published source cell".split(), "x"
        )
        number = {"estimate": (low + high) / 2, "ci95": [low, high], "seeds": random.randint(1, 9)}
        rows.append({"id": f"r{n}", **words, **number, "rule": "ci95[0] > 0", "verdict": verdict})
    return {"lab.json": dumped(random, rows)}, None


def load_rows(folder: Path) -> list:
    from utils import evidence

    return [(key, sorted(row.items())) for key, row in evidence.load("lab", folder).items()]


def read_rows(folder: Path) -> list:
    found = [plain_dict(row) for row in tree(text_of(folder / "lab.json"))]
    assert len({row["id"] for row in found}) == len(found)
    for row in found:
        counts = [row["estimate"], *row["ci95"]]
        assert all(type(n) in (int, float) and math.isfinite(n) for n in counts) and len(counts) == 3
        assert row["ci95"][0] <= row["ci95"][1] and type(row["seeds"]) is int and row["seeds"] > 0
    return [(row["id"], sorted(row.items())) for row in found]


HEAD = "experiment,setting,metric,value"


def make_runs(random: Random) -> tuple[Files, None]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["experiment", "setting", "metric", "value"])
    for seed in range(random.randint(1, 3)):
        setting = json.dumps({"labels": 32, "method": "a", "seed": seed}, separators=(",", ":"))
        for metric in ("accuracy", "loss"):
            writer.writerow(["sentiment", setting, metric, repr(random.random())])
    return {"lab.csv": out.getvalue().encode()}, None


def load_runs(folder: Path) -> tuple[dict, bool]:
    from utils import evidence

    said = io.StringIO()
    with redirect_stdout(said):
        runs = evidence.read_runs(folder / "lab.csv")
    return runs, "was cut off and is dropped" in said.getvalue()


def read_runs(folder: Path) -> tuple[list, bool]:
    head, *lines, torn = ("\n" + text_of(folder / "lab.csv")).split("\n")
    head, lines = (lines[0], lines[1:]) if lines else (HEAD, [])
    rows = []
    for line in lines:
        try:
            (row,) = rfc4180(line)
            experiment, setting, metric, value = row
            values = plain_dict(tree(setting))
            assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value, re.A) and math.isfinite(float(value))
            assert all(v is None or isinstance(v, str | int) or math.isfinite(v) for v in values.values())
            key = (
                experiment,
                json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
                metric,
            )
            assert key not in [known for known, _ in rows]
            rows.append((key, float(value)))
        except (ValueError, AssertionError):
            if (
                not torn or line.split(",")[:1] != lines[-1].split(",")[:1]
            ):  # it may go with the run that was cut off
                raise
    assert head == HEAD and (rows or HEAD.startswith(torn) or torn)
    return rows, bool(torn)


def agree_runs(found: tuple[dict, bool], expected: tuple[list, bool]) -> bool:
    """All runs; a last line without its end may take its own run with it, if that is said."""
    (runs, said), (rows, torn) = found, expected
    missing = [key for key, _ in rows if key not in runs]
    last = rows[-1][0][:2] if rows else ()
    announced = torn and said and all(key[:2] == last for key in missing)
    return all(runs[key] == value for key, value in rows if key in runs) and len(runs) == len(rows) - len(missing) and (
        not missing or announced
    ) and (said or not torn or not rows)  # fmt: skip


BEGUN = {"model": "openai-gpt", "rate": 6.25e-5, "epochs": 1, "random": False, "processes": 1}


def make_settings(random: Random) -> tuple[Files, None]:
    return {"settings.json": dumped(random, BEGUN)}, None


def load_settings(folder: Path) -> str:
    from utils import longrun

    longrun.compare(folder / "settings.json", BEGUN)
    return "the same"


def read_settings(folder: Path) -> str:
    found = plain_dict(tree(text_of(folder / "settings.json")))
    assert all(
        found[key] == value and isinstance(found[key], bool) == isinstance(value, bool)
        for key, value in BEGUN.items()
    )
    return "the same"


def make_result(random: Random) -> tuple[Files, None]:
    return {
        "result.json": dumped(
            random, {"perplexity": random.random(), "hits": 1.5, "turns": random.randrange(9)}
        )
    }, None


def load_result(folder: Path) -> dict:
    from utils import longrun

    return longrun.result(folder / "result.json")


def read_result(folder: Path) -> dict:
    found = plain_dict(tree(text_of(folder / "result.json")))
    assert all(type(value) in (int, float) and math.isfinite(value) for value in found.values())
    return found


# ---- BERT


CONFIG = {
    "vocab_size": 5,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 3,
}
CONFIG |= {"max_position_embeddings": 6, "type_vocab_size": 2, "hidden_dropout_prob": 0.1}
CONFIG |= {"attention_probs_dropout_prob": 0.1, "initializer_range": 0.02, "hidden_act": "gelu"}


def make_config(random: Random) -> tuple[Files, None]:
    return {"bert_config.json": dumped(random, CONFIG | {"num_hidden_layers": random.randint(1, 3)})}, None


def load_config(folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from utils.bert_tf import Config

    return asdict(Config.read(folder / "bert_config.json"))


def read_config(folder: Path) -> dict[str, Any]:
    found = {
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "type_vocab_size": 2,
    }
    found |= {
        "max_position_embeddings": 512,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
    }
    given = plain_dict(tree(text_of(folder / "bert_config.json")))
    assert given.pop("hidden_act", "gelu") == "gelu"
    found |= {key: value for key, value in given.items() if key in CONFIG}
    for key, value in found.items():
        if isinstance(CONFIG[key], int):
            assert type(value) is int and 0 < value < 10**9
        else:
            assert type(value) in (int, float) and 0 <= value < 1
    assert found["hidden_size"] % found["num_attention_heads"] == 0
    return found


SHAPES = {"bert/embeddings/word_embeddings": (5, 4), "bert/embeddings/LayerNorm/gamma": (4,)}
SHAPES |= {"bert/encoder/layer_0/output/dense/kernel": (4, 3), "bert/encoder/layer_0/output/dense/bias": (3,)}


def make_google(random: Random) -> tuple[Files, Any]:
    import tempfile

    from utils.bert_tf import write_checkpoint

    tensors = {name: drawn(random, shape) for name, shape in SHAPES.items()}
    if random.random() < 0.5:
        tensors = damage_tensors(random, tensors)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        write_checkpoint(tensors, Path(folder) / "bert_model.ckpt")
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    wanted = {name: array for name, array in tensors.items() if name in SHAPES}
    strangers = [
        name
        for name in tensors.keys() - SHAPES.keys()
        if name.startswith("bert/encoder/") and "Adam" not in name
    ]
    try:
        assert not any(name.endswith(("/kernel", "/bias")) for name in strangers)
        return files, fitting(wanted, SHAPES)
    except (AssertionError, ValueError):
        return files, REFUSE


def load_google(folder: Path) -> dict[str, Any]:
    from utils.bert_tf import load_checkpoint

    variables = bert_variables()
    load_checkpoint(variables, folder / "bert_model.ckpt")
    return numbers({name: variable.numpy() for name, variable in variables.items()})


@lru_cache(maxsize=1)
def bert_variables() -> dict[str, Any]:
    from utils.bert_tf import tf

    return {name: tf.Variable(np.zeros(shape, np.float32)) for name, shape in SHAPES.items()}


MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


def drawn(random: Random, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(random.randrange(2**32)).normal(size=shape).astype(np.float32)


PYTORCH = {
    "bert.embeddings.word_embeddings.weight": (5, 4), "bert.embeddings.LayerNorm.weight": (4,),
    "bert.encoder.layer.0.output.dense.weight": (3, 4), "bert.encoder.layer.0.output.dense.bias": (3,),
}  # fmt: skip


def make_safetensors(fit: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Random], tuple[Files, Any]]:
    def make(random: Random) -> tuple[Files, Any]:
        from safetensors.numpy import save

        kind = random.choice((np.float32, np.float32, np.float16))
        tensors = {name: drawn(random, shape).astype(kind) for name, shape in PYTORCH.items()}
        if random.random() < 0.4:
            tensors = damage_tensors(random, tensors)
        try:
            fit(tensors)
            truth = None
        except (AssertionError, ValueError):
            truth = REFUSE
        data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        return {"model.safetensors": data}, truth

    return make


def load_tf_safetensors(folder: Path) -> dict[str, Any]:
    from utils.bert_tf import load_safetensors

    variables = bert_variables()
    load_safetensors(variables, folder / "model.safetensors")
    return numbers({name: variable.numpy() for name, variable in variables.items()})


def fit_tf(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    own = dict(zip(PYTORCH, SHAPES, strict=True))
    fitted = {own[name]: array for name, array in tensors.items() if name in own}
    dense = "bert/encoder/layer_0/output/dense/kernel"
    if dense in fitted:
        fitted[dense] = fitted[dense].T
    strangers = [name for name in tensors.keys() - own.keys() if ".encoder." in name]
    assert not any(name.endswith((".bias", ".weight", "/kernel")) for name in strangers)
    return fitting(fitted, SHAPES)


def read_tf_safetensors(folder: Path) -> dict[str, Any]:
    return fit_tf(read_safetensors(folder / "model.safetensors"))


@lru_cache(maxsize=1)
def torch_model() -> Any:
    import torch

    class Weights(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, shape in PYTORCH.items():
                self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(torch.zeros(shape)))

    return Weights()


def load_torch_safetensors(folder: Path) -> dict[str, Any]:
    from utils import checkpoints

    model, path = torch_model(), folder / "model.safetensors"
    state = checkpoints.read_safetensors(path, "save it again")
    checkpoints.fill(
        model, {name.replace(".", "_"): t for name, t in state.items()}, str(path), "save it again"
    )
    return numbers({name: value.detach().numpy() for name, value in model.state_dict().items()})


def fit_torch(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    shapes = {name.replace(".", "_"): shape for name, shape in PYTORCH.items()}
    return fitting({name.replace(".", "_"): array for name, array in tensors.items()}, shapes)


def read_torch_safetensors(folder: Path) -> dict[str, Any]:
    return fit_torch(read_safetensors(folder / "model.safetensors"))


def make_pth(random: Random) -> tuple[Files, Any]:
    import torch

    tensors = {f"layer.{n}": drawn(random, (random.randint(1, 4), 3)) for n in range(random.randint(1, 3))}
    out = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, out)
    return {"weights.pth": out.getvalue()}, numbers(tensors)


def load_pth(folder: Path) -> dict[str, Any]:
    from utils import checkpoints

    return numbers(
        {k: v.numpy() for k, v in checkpoints.read_pth(folder / "weights.pth", "save it again").items()}
    )


def make_words(random: Random) -> tuple[Files, None]:
    words = [
        random.choice(WORDS) + str(n) for n in range(random.randint(1, 300 if random.random() < 0.1 else 6))
    ]
    return {"words.pkl": pickle.dumps(words, protocol=random.randint(2, 5))}, None


def load_words(folder: Path) -> list[str]:
    from utils import ulmfit

    return ulmfit.words(folder / "words.pkl")


def read_words(folder: Path) -> list[str]:
    """A pickle of nothing but text and lists, by its opcodes."""
    stack, marks, memo = [], [], {}
    for opcode, argument, _ in pickletools.genops((folder / "words.pkl").read_bytes()):
        name = opcode.name
        if "UNICODE" in name:
            stack.append(argument)
        elif name in (
            "EMPTY_LIST",
            "EMPTY_TUPLE",
            "EMPTY_DICT",
            "EMPTY_SET",
            "NONE",
            "NEWTRUE",
            "NEWFALSE",
        ) or isinstance(argument, float):
            stack.append([] if name == "EMPTY_LIST" else None)
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("APPENDS", "LIST", "POP_MARK"):
            at = marks.pop()
            stack, new = stack[:at], stack[at:]
            if name == "APPENDS":
                stack[-1].extend(new)
            elif name == "LIST":
                stack.append(new)
        elif name == "APPEND":
            new = stack.pop()
            stack[-1].append(new)
        elif name == "POP" and marks and marks[-1] == len(stack):  # it takes a mark that lies on top
            marks.pop()
        elif name in ("POP", "DUP"):
            stack = stack[:-1] if name == "POP" else [*stack, stack[-1]]
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(name)
    assert stack[-1] and all(isinstance(word, str) and word for word in stack[-1])
    return stack[-1]


def make_checkpoint(random: Random) -> tuple[Files, Any]:
    import hashlib

    from safetensors.numpy import save

    tensors = {f"layer.{n}": drawn(random, (2, 3)).astype(np.float16) for n in range(random.randint(1, 2))}
    data = save(tensors)
    recipe = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "steps": 3}
    return {"model/model.safetensors": data, "model/recipe.json": dumped(random, recipe)}, numbers(tensors)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    from utils import checkpoints

    return numbers({name: value.numpy() for name, value in checkpoints.load_state("model", folder).items()})


# ---- tokenizers


@lru_cache(maxsize=1)
def trained_tokenizer() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    tokenizer.train_from_iterator(
        [" ".join(WORDS)] * 3, trainers.BpeTrainer(vocab_size=60, special_tokens=special, show_progress=False)
    )
    return tokenizer.to_str()


def make_tokenizer(random: Random) -> tuple[Files, None]:
    return {"tokenizer.json": dumped(random, json.loads(trained_tokenizer()))}, None


def load_tokenizer(folder: Path) -> list:
    from utils import checkpoints

    tokenizer = checkpoints.load_tokenizer(folder)
    return _tokenizer_parts(json.loads(tokenizer.backend_tokenizer.to_str()))


def read_tokenizer(folder: Path) -> list:
    def strict(pairs: list) -> dict:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    document = json.loads(text_of(folder / "tokenizer.json"), object_pairs_hook=strict)
    vocabulary = document["model"]["vocab"]
    assert len(set(vocabulary.values())) == len(vocabulary)
    return _tokenizer_parts(document)


def _tokenizer_parts(document: dict) -> list:
    model = document["model"]
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    added = sorted((token["content"], token["id"], token["special"]) for token in document["added_tokens"])
    return [model["vocab"], merges, added]


def make_gpt_vocabulary(random: Random) -> tuple[Files, None]:
    letters = [c + end for c in "abcd" for end in ("", "</w>")]
    merges = random.sample([(a, b) for a in letters[::2] for b in letters], 5)
    vocabulary = {
        token: n for n, token in enumerate([*letters, *("".join(pair) for pair in merges), "<unk>"])
    }
    text = "\n".join(["#version: 0.2", *map(" ".join, merges), ""])
    return {"gpt2/vocab.json": dumped(random, vocabulary), "gpt2/merges.txt": text.encode()}, None


def load_gpt_vocabulary(folder: Path) -> tuple:
    from utils import dialogue

    course_data(folder)
    found = given(lambda: dialogue._vocabulary("gpt2"))
    return found["vocab"], found["merges"]


def read_gpt_vocabulary(folder: Path) -> tuple:
    vocabulary = plain_dict(tree(text_of(folder / "gpt2" / "vocab.json")))
    lines = [
        line
        for line in text_of(folder / "gpt2" / "merges.txt").split("\n")
        if line and not line.startswith("#version")
    ]
    merges = [tuple(line.split(" ")) for line in lines]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(set(merges)) == len(merges)
    assert not any(isinstance(n, bool) for n in vocabulary.values())
    assert all(len(pair) == 2 and {*pair, "".join(pair)} <= vocabulary.keys() for pair in merges)
    made = {"".join(pair) for pair in merges}
    assert sum(len(token.removesuffix("</w>")) != 1 and token not in made for token in vocabulary) <= 1
    return vocabulary, merges


# ---- a class


def make_class(random: Random) -> tuple[Files, None]:
    import yaml

    students = [
        random.choice(("anna", "0123", "x y", "é", "12")) + str(n) for n in range(random.randint(1, 4))
    ]
    text = yaml.safe_dump(
        {"name": some(random), "secret": "s3cret", "students": students}, allow_unicode=True, sort_keys=False
    )
    return {"class.yml": ("# Keep this file\n" + text).encode()}, None


def load_class(folder: Path) -> tuple:
    from tools.assignments import classes

    found = classes.read_class(folder / "class.yml")
    return found.name, found.secret, found.students


def read_class(folder: Path) -> tuple:
    import yaml

    root = yaml.compose(text_of(folder / "class.yml"), yaml.BaseLoader)
    found = {key.value: value for key, value in root.value}
    assert len(found) == len(root.value) and isinstance(found["students"], yaml.SequenceNode)
    assert all(
        isinstance(node, yaml.ScalarNode)
        for node in (found["name"], found["secret"], *found["students"].value)
    )
    students = tuple(node.value.strip() for node in found["students"].value)
    assert len(set(students)) == len(students) and all(students)
    return found["name"].value, found["secret"].value, students


def make_students(random: Random) -> tuple[Files, None]:
    ids = [f"{random.choice(('anna', '0123', 'é'))}{n}" for n in range(random.randint(1, 4))]
    if random.random() < 0.5:
        return {"students.csv": "\n".join([*ids, ""]).encode()}, None
    rows = [["name", "student"], *([f'"{some(random)}, {n}"', n] for n in ids)]
    return {"students.csv": "\n".join([*map(",".join, rows), ""]).encode()}, None


def load_students(folder: Path) -> list[str]:
    from tools.assignments import classes

    return classes.listed(folder / "students.csv")


def read_students(folder: Path) -> list[str]:
    text = text_of(folder / "students.csv").replace("\r", "\n")
    rows = [row for row in ([cell.strip() for cell in row] for row in rfc4180(text)) if any(row)]
    head = [cell.lower() for cell in rows[0]]
    names = [name for name in ("student", "id", "student id", "student_id", "sis login id") if name in head]
    column = head.index(names[0]) if names else 0
    ids = [row[column] for row in rows if any(row)][bool(names) :]
    assert (
        len(set(ids)) == len(ids)
        and all(ids)
        and "open" not in ids
        and not any(set(n) & set(";\t\n\0") for n in ids)
    )
    return ids


def make_notebook(random: Random) -> tuple[Files, None]:
    cells = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": 'student = "anna"\ncode = "ABC"'}]
    cells += [{"cell_type": "code", "source": [f"x = {n}\n", "y = 1"]} for n in range(random.randint(1, 3))]
    return {
        "a.ipynb": dumped(random, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    }, None


def load_notebook(folder: Path) -> list[str]:
    from tools.assignments import submission
    from utils.errors import CourseError

    found = submission.read(folder / "a.ipynb")
    if found.problem:
        raise CourseError(f"{folder / 'a.ipynb'}: {found.problem}")
    return found.cells


def read_notebook(folder: Path) -> list[str]:
    found = []
    for cell in one(tree(text_of(folder / "a.ipynb")), "cells"):
        source = one(cell, "source")
        assert isinstance(source, str) or isinstance(source, list) and not isinstance(source, Pairs)
        if one(cell, "cell_type") == "code":
            found.append("".join(source))
    return found


# ---- archives and text


def make_archive(name: str) -> Callable[[Random], tuple[Files, Any]]:
    def make(random: Random) -> tuple[Files, Any]:
        import tempfile

        members = {f"top/{n}.txt": some(random, 3, 30).encode() for n in range(random.randint(1, 3))}
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            path = Path(folder) / name
            data = (make_zip if name.endswith("zip") else make_tar)(path, members).read_bytes()
        return {name: data}, members

    return make


def load_archive(folder: Path) -> dict[str, bytes]:
    from utils import downloads

    (archive,) = folder.glob("a.*")
    out = downloads.unpack(archive, folder / "out")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def make_wikitext(random: Random) -> tuple[Files, None]:
    articles = [
        f" \n = {some(random, 1, 2)} = \n \n {some(random)} \n = = {some(random)} = = \n" for _ in range(2)
    ]
    return {"wikitext-2/wiki.valid.tokens": "".join(articles).encode()}, None


def load_wikitext(folder: Path) -> list[str]:
    from utils import text

    course_data(folder)
    return [line for article in given(lambda: text.wikitext("valid")) for line in article.split("\n")]


def read_wikitext(folder: Path) -> list[str]:
    whole = text_of(folder / "wikitext-2" / "wiki.valid.tokens")
    assert whole.strip() and "\0" not in whole
    return [line.strip() for line in whole.split("\n") if line.strip()]


JSON = (damage_json, damage_json, damage_bytes, damage_text)


def rows(separator: str) -> tuple[Damage, ...]:
    cells = damage_cells(separator)
    return cells, cells, damage_text, damage_bytes


LOADERS: dict[str, Loader] = {
    "squad": Loader(make_squad, load_squad, read_squad, JSON),
    "squad_repair": Loader(make_squad, lambda f: load_squad(f, True), lambda f: read_squad(f, True), JSON),
    "convai_json": Loader(make_convai_json, load_convai_json, read_convai_json, JSON),
    "convai_text": Loader(
        make_convai_text, load_convai_text, read_convai_text, rows("\t"), agree=agree_convai_text
    ),
    "imdb": Loader(make_imdb, load_imdb, read_imdb, shuffle=shuffle_imdb),
    "csv_table": Loader(make_table, load_table, read_table, rows(","), agree=agree_table),
    "conllu": Loader(make_conllu, load_conllu, read_conllu, rows("\t")),
    "wnut": Loader(make_names, load_names, read_names, rows("\t")),
    "wnut_entities": Loader(make_names, load_entities, read_entities, rows("\t")),
    "bert_config": Loader(make_config, load_config, read_config, JSON),
    "bert_checkpoint": Loader(make_google, load_google, damages=(damage_bytes,)),
    "bert_safetensors": Loader(
        make_safetensors(fit_tf), load_tf_safetensors, read_tf_safetensors, (damage_safetensors, damage_bytes)
    ),
    "safetensors": Loader(
        make_safetensors(fit_torch),
        load_torch_safetensors,
        read_torch_safetensors,
        (damage_safetensors, damage_bytes),
    ),
    "checkpoint": Loader(make_checkpoint, load_checkpoint, damages=JSON),
    "pth": Loader(make_pth, load_pth, damages=(damage_bytes,)),
    "words_pkl": Loader(make_words, load_words, read_words, (damage_bytes,)),
    "evidence_rows": Loader(make_rows, load_rows, read_rows, JSON),
    "evidence_runs": Loader(make_runs, load_runs, read_runs, rows(","), agree=agree_runs),
    "tokenizer": Loader(make_tokenizer, load_tokenizer, read_tokenizer, JSON),
    "gpt_vocabulary": Loader(
        make_gpt_vocabulary, load_gpt_vocabulary, read_gpt_vocabulary, (*JSON, damage_cells(" "))
    ),
    "training_settings": Loader(make_settings, load_settings, read_settings, JSON),
    "training_result": Loader(make_result, load_result, read_result, JSON),
    "sst2": Loader(make_sentences, load_sentences, read_sentences, rows(" ")),
    "gulordava": Loader(make_gulordava, load_gulordava, read_gulordava, rows("\t")),
    "linzen": Loader(make_linzen, load_linzen, read_linzen, rows("\t")),
    "blimp": Loader(make_blimp, load_blimp, read_blimp, JSON),
    "marvin": Loader(make_marvin, load_marvin, read_marvin, JSON),
    "weat": Loader(make_weat, load_weat, read_weat, JSON),
    "winobias": Loader(make_winobias, load_winobias, read_winobias, rows(" ")),
    "wikitext": Loader(make_wikitext, load_wikitext, read_wikitext),
    "zip": Loader(make_archive("a.zip"), load_archive, damages=(damage_bytes,)),
    "tar_gz": Loader(make_archive("a.tar.gz"), load_archive, damages=(damage_bytes,)),
    "class_yml": Loader(make_class, load_class, read_class, rows(" ")),
    "students_csv": Loader(make_students, load_students, read_students, rows(",")),
    "notebook": Loader(make_notebook, load_notebook, read_notebook, JSON),
}
