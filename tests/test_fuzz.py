"""Damaged files: every loader gives the right data or one sentence, and what once got through stays out.

`benchmarks/fuzz.py` tries many more inputs; here is a slice of them. The second half are single faults by hand.
"""

import csv
import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from tests.archives import make_zip
from tests.loaders import LOADERS, rfc4180
from utils.downloads import parse_json, read_json, read_text, unpack
from utils.errors import CourseError, shown
from utils.settings import root

SLICE = {
    "bert_checkpoint": 60,
    "pth": 60,
    "training_state": 30,
    "tokenizer": 60,
}  # slower ones; the others 120
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(lambda text: text.strip() and "\r" not in text)
WORD = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@pytest.mark.parametrize("name", LOADERS)
def test_a_slice(name):
    found = fuzz.measure(name, SLICE.get(name, 120))
    assert not found["wrong_ones"]
    assert found["right"] >= found["undamaged"] > 0 and found["refused"] > 0


def test_an_input_repeats():
    for name in ("squad", "conllu", "csv_table"):
        assert fuzz.drawn(name, 7) == fuzz.drawn(name, 7)


def test_a_loader_that_is_wrong_is_found(monkeypatch):
    """A reader that swallows a row, raises something else, or refuses what is whole does not get through."""
    from dataclasses import replace

    squad = LOADERS["squad"]

    def shorter(folder):
        return squad.load(folder)[1:]

    def bare(folder):
        raise KeyError("answers")

    def rude(folder):
        raise CourseError("no")

    for load in (shorter, bare, rude):
        monkeypatch.setitem(LOADERS, "squad", replace(squad, load=load))
        assert fuzz.measure("squad", 60)["wrong"] > 5


def test_the_recorded_result():
    result = json.loads((root() / "benchmarks" / "fuzz.json").read_text("utf-8"))
    assert result and list(result) == [name for name in LOADERS if name in result]
    for name, found in result.items():
        assert found["inputs"] >= 10_000 and found["wrong"] == 0, name
        assert found["right"] + found["refused"] == found["inputs"], name
        assert min(found["right"], found["refused"], found["undamaged"]) > 200, name


# ---- valid data of any shape comes back as it was


def read_back(data, name, read):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return read(path)


@FEW
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.booleans())
def test_squad_round_trip(rows, ascii_only):
    from utils import squad

    paragraphs = [
        {
            "context": before + answer,
            "qas": [
                {
                    "id": str(n),
                    "question": question,
                    "answers": [{"text": answer, "answer_start": len(before)}],
                }
            ],
        }
        for n, (before, answer, question) in enumerate(rows)
    ]
    data = json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}, ensure_ascii=ascii_only).encode()
    found = read_back(data, "a.json", squad.read)
    assert [(e.context, e.answers[0].text, e.answers[0].start, e.question) for e in found] == [
        (before + answer, answer, len(before), question) for before, answer, question in rows
    ]


TEXTS = st.lists(TEXT, min_size=1, max_size=3)


@FEW
@given(
    st.lists(
        st.tuples(TEXTS, st.lists(st.tuples(TEXT, TEXTS), min_size=1, max_size=3)), min_size=1, max_size=3
    )
)
def test_convai_round_trip(chats):
    from utils import convai

    made = []
    for persona, exchanges in chats:
        history, turns = [], []
        for said, candidates in exchanges:
            history.append(said)
            turns.append(convai.Turn(tuple(history), tuple(candidates)))
            history.append(candidates[-1])
        made.append(convai.Chat(tuple(persona), tuple(turns)))
    with tempfile.TemporaryDirectory() as folder:
        convai.write({"train": made, "valid": made[:1]}, Path(folder) / "a.json")
        assert convai.read(Path(folder) / "a.json") == {"train": made, "valid": made[:1]}


@FEW
@given(st.lists(st.tuples(TEXT, st.sampled_from(["good", "bad"])), min_size=1, max_size=5))
def test_table_round_trip(rows):
    from utils import ulmfit

    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    assert rfc4180(out.getvalue()) == [["text", "label"], *map(list, rows)]
    try:
        found = read_back(out.getvalue().encode(), "a.csv", ulmfit.table)
    except CourseError as error:
        assert "HTML" in str(error) or "is empty" in str(error)  # of <b> or <br> alone
        return
    assert found["label"].tolist() == [label for _, label in rows]
    assert found["text"].tolist() == [ulmfit.plain(text) for text, _ in rows]


@FEW
@given(
    st.lists(
        st.lists(st.tuples(WORD, st.sampled_from(["O", "B-a", "I-b.c"])), min_size=1, max_size=4), min_size=1
    )
)
def test_names_round_trip(sentences):
    from utils import tagging

    text = "\n\n".join("\n".join("\t".join(row) for row in rows) for rows in sentences) + "\n"
    found = read_back(text.encode(), "a.conll", tagging.read_names)
    assert [list(zip(each.words, each.tags, strict=True)) for each in found] == sentences


@FEW
@given(
    st.dictionaries(st.tuples(WORD, WORD, TEXT), st.floats(allow_nan=False, allow_infinity=False), min_size=1)
)
def test_runs_round_trip(values):
    from utils import evidence

    keys = {
        (name, evidence.canonical({"x": value}), metric): v for (name, metric, value), v in values.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for (name, setting, metric), value in keys.items():
            evidence.append_runs(Path(folder) / "a.csv", f"{name} {metric}", setting, {metric: value})
        found = evidence.read_runs(Path(folder) / "a.csv")
    assert found == {
        (f"{name} {metric}", setting, metric): value for (name, setting, metric), value in keys.items()
    }


# ---- faults that this found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [], "data": [1]}', "an object names 'data' twice"),
        ('{"a": NaN}', "NaN is not a number that can be kept"),
        ('{"a": 1e999}', "1e999 is not a number"),
        ('{"a": "\\ud800"}', "half a character"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 5000, "this is not JSON"),
        ('{"a": ', "line 1, column 7: this is not JSON .*half a download"),
    ],
)
def test_json_is_read_strictly(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text, "utf-8")
    with pytest.raises(CourseError, match=message):
        read_json(tmp_path / "a.json")


def test_whole_json_is_read():
    text = (
        '{"rare": "\\ud83d\\ude42", "numbers": [1, -0.5, 1e300, true, null], "deep": '
        + "[" * 50
        + "]" * 50
        + "}"
    )
    assert parse_json(text) == json.loads(text)


def test_a_null_byte_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\0bad")
    with pytest.raises(CourseError, match=r"a\.txt is no text or is damaged, its byte 4 is null"):
        read_text(tmp_path / "a.txt")


def test_values_in_messages_are_short():
    deep = []
    for _ in range(2000):
        deep = [deep]
    for value in (deep, "x" * 10_000, 10**4000, {"a": list(range(1000))}):
        assert len(shown(value)) <= 60 and "\n" not in shown(value)


def test_a_table_is_not_repaired(tmp_path):
    from utils import ulmfit

    for text, message in {
        "text,text,label\na,b,1\n": "two columns of one name",
        'text,label\n"good" film,1\n': "cannot be read as CSV",
        "text,label\ngood,1\nbad\n": "rows with fewer fields than its first line, row 2",
        "text,label\ngood,1\nbad,inf\n": "a label that is no number",
    }.items():
        (tmp_path / "a.csv").write_text(text, "utf-8")
        with pytest.raises(CourseError, match=message):
            ulmfit.table(tmp_path / "a.csv")


@pytest.mark.parametrize("line", ["x\tB-a\tb", "\tO", " \tO", "x\tB-", "x\tB-a b"])
def test_names_have_two_columns(tmp_path, line):
    from utils import tagging

    (tmp_path / "a.conll").write_text(f"y\tO\n{line}\n", "utf-8")
    with pytest.raises(CourseError, match="line 2: expected a word, a tab"):
        tagging.read_names(tmp_path / "a.conll")


def test_a_long_sentence_is_read_at_once(tmp_path):
    from utils import treebank

    count = 20_000  # each word hangs from the one before it
    rows = [f"{i}\tx\tx\tX\t_\t_\t{i - 1}\t{'dep' if i > 1 else 'root'}\t_\t_" for i in range(1, count + 1)]
    (tmp_path / "a.conllu").write_text("\n".join([*rows, "", ""]), "utf-8")
    (sentence,) = treebank.read(tmp_path / "a.conllu")
    assert sentence.heads == tuple(range(-1, count - 1))


def test_reviews_under_other_names_are_not_left_out(tmp_path):
    from utils import imdb

    for name in ("neg/0_1.txt", "pos/0_9.txt", "pos/1_9.TXT"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_text("a film", "utf-8")
    with pytest.raises(CourseError, match=r"1_9\.TXT is not called"):
        imdb.reviews("train", tmp_path)


def test_evidence_has_numbers_in_order(tmp_path):
    from utils import evidence

    seed = next(n for n in range(99) if fuzz.drawn("evidence_rows", n)[2])
    row = json.loads(fuzz.drawn("evidence_rows", seed)[0]["lab.json"])[0]
    for change, message in (
        ({"estimate": True}, "'estimate' is missing or not of type float"),
        ({"seeds": True}, "'seeds' is missing"),
        ({"seeds": 0}, "'seeds' must be positive"),
        ({"ci95": [0.2, 0.1]}, "the smaller one first"),
        ({"rule": "ci95[0] > " + "-" * 5000 + "1"}, "row 0 .*The rule"),
        ({"rule": "ci95[0] > 1" + "0" * 400}, "row 0 .*The rule"),
    ):
        (tmp_path / "lab.json").write_text(json.dumps([row | change]), "utf-8")
        with pytest.raises(CourseError, match=message):
            evidence.load("lab", tmp_path)


def test_runs_of_another_kind_are_not_taken_for_a_torn_line(tmp_path):
    from utils import evidence

    for text in ("x" * 200, evidence.HEADER + 'a,"{}",m,1_0\n', evidence.HEADER + 'a,"{}" ,m,1\n\r'):
        (tmp_path / "a.csv").write_text(text, "utf-8", newline="")
        with pytest.raises(CourseError, match=r"a\.csv, line [12]"):
            evidence.read_runs(tmp_path / "a.csv")


def test_a_flipped_bit_in_weights_is_noticed(tmp_path):
    """torch.load does not compare the checksums of its own files."""
    import torch

    from utils import checkpoints

    path = tmp_path / "a.pth"
    torch.save({"weight": torch.ones(64)}, path)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<f", 1.0) * 8)
    data[at + 1] ^= 64
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)["weight"].sum() != 64
    with pytest.raises(CourseError, match=r"a\.pth is damaged"):
        checkpoints.read_pth(path, "save it again")


def test_weights_are_finite_and_no_integers():
    import torch

    from utils import checkpoints

    model = torch.nn.Linear(2, 1)
    for weight, message in (
        (torch.tensor([[1.0, np.nan]]), "not finite"),
        (torch.tensor([[1, 2]]), "integers"),
    ):
        with pytest.raises(CourseError, match=f"w is damaged, tensor weight holds .*{message}"):
            checkpoints.fill(model, {"weight": weight, "bias": torch.zeros(1)}, "w", "save it again")


def test_a_vocabulary_cannot_fill_the_memory(tmp_path):
    """The unpickler in C makes room for every number up to the one that a memo is given."""
    from utils import ulmfit

    path = tmp_path / "words.pkl"
    path.write_bytes(b"\x80\x02](X\x01\x00\x00\x00ar\xff\xff\xff\x7fe.")
    assert ulmfit.words(path) == ["a"]
    path.write_bytes(pickle.dumps(["a", ""]))
    with pytest.raises(CourseError, match="no list of words"):
        ulmfit.words(path)


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 12.0},
        {"num_hidden_layers": "2"},
        {"hidden_dropout_prob": 2},
    ]
    + [
        {"num_attention_heads": -2},
        {"vocab_size": True},
        {"intermediate_size": None},
        {"hidden_size": 10**6},
    ],
)
def test_a_config_is_checked_before_anything_is_built(tmp_path, change):
    from utils.bert_tf import Config

    sizes = {"vocab_size": 50, "hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1}
    (tmp_path / "bert_config.json").write_text(json.dumps(sizes | change), "utf-8")
    with pytest.raises(CourseError, match=r"bert_config\.json (is not the config of|gives|has|describes) "):
        Config.read(tmp_path / "bert_config.json")


def test_archives_hold_what_they_say(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a.txt": "1", "b.txt": "2"})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\5\6")
    data[at + 10] = 3
    path.write_bytes(data)
    with pytest.raises(CourseError, match="is damaged"):
        unpack(path, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.txt", "1")
        archive.writestr("a.txt", "2")
    with pytest.raises(CourseError, match=r"holds 'a\.txt' twice"):
        unpack(path, tmp_path / "out")
    path.write_bytes(
        make_zip(path, {"a.txt": "1"})
        .read_bytes()
        .replace(b"PK\1\2\x14\x03\x14\x00\x00", b"PK\1\2\x14\x03\x14\x00\x01")
    )
    with pytest.raises(CourseError, match="is damaged"):
        unpack(path, tmp_path / "out")


def test_a_class_is_read_as_it_is_written(tmp_path):
    from tools.assignments.classes import listed, read_class

    path = tmp_path / "class.yml"
    path.write_text("name: a\nsecret: b\nstudents:\n- 0123\n- 12:30\n- yes\n- 2024-13-45\n", "utf-8")
    assert read_class(path).students == ("0123", "12:30", "yes", "2024-13-45")
    for text, message in {
        "name: a\nsecret: b\nstudents: [x]\nstudents: [y]\n": "a key stands twice",
        "name: a\nsecret: b\nstudents: [x, x]\n": "'x' is empty, stands there twice",
        "name: a\nsecret: b\nstudents: [[x]]\n": "is empty",
        "name: [": "can't be read as YAML",
        "[" * 5000: "can't be read as YAML",
    }.items():
        path.write_text(text, "utf-8")
        with pytest.raises(CourseError, match=message) as error:
            read_class(path)
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
    students = tmp_path / "students.csv"
    for data, message in {
        b"name,student\nAnn\n": "'' is empty",
        b"id;name\n1;Ann\n": "holds a semicolon",
        "student\nJosé\n".encode("latin-1"): "is not UTF-8",
        b'student\n"Ann\n': "can't be read as CSV",
    }.items():
        students.write_bytes(data)
        with pytest.raises(CourseError, match=message):
            listed(students)


def test_a_damaged_result_of_a_training(tmp_path):
    from utils import longrun

    (tmp_path / "result.json").write_text('{"hits": 1.5, "f1"', "utf-8")
    with pytest.raises(CourseError, match=r"result\.json.*delete it, and the same command measures again"):
        longrun.result(tmp_path / "result.json")


def test_sst2_is_utf8(tmp_path, monkeypatch):
    from utils import sentences

    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    path = tmp_path / "sentence_classification" / "stsa.binary.dev"
    path.parent.mkdir()
    path.write_bytes("1 café\n1 caf".encode() + b"\xe9\n")
    with pytest.raises(CourseError, match="is not UTF-8"):
        sentences.sst2("dev")
