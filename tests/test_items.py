"""The published test items of lab 2: readers accept the published form and refuse another one."""

import os
import zipfile
from pathlib import Path

import pytest

from utils import downloads, items
from utils.errors import CourseError
from utils.settings import root

HEADER = "pattern\tconstr_id\tform\tclass\ttype\tn_attr\tlen_prefix\tsent\n"
RIGHT = "NV\t3\twalks\tcorrect\tgenerated\t1\t2\tThe dog runs home . <eos>\n"
WRONG = "NV\t3\twalk\twrong\tgenerated\t1\t2\tThe dog runs home . <eos>\n"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of COURSE_DATA to put files into by name."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))

    def put(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return put


def test_gulordava_takes_the_tested_form(data):
    data(items.GULORDAVA, HEADER + RIGHT + WRONG)
    (item,) = items.gulordava()
    assert item.words == ("The", "dog", "walks", "home", ".")
    assert (item.position, item.wrong, item.attractors, item.nonce, item.plural) == (
        2,
        "walk",
        1,
        True,
        False,
    )


@pytest.mark.parametrize("rows", [WRONG + RIGHT, RIGHT.replace("\t2\t", "\tx\t") + WRONG])
def test_gulordava_refuses_other_rows(data, rows):
    data(items.GULORDAVA, HEADER + rows)
    with pytest.raises(CourseError, match="line 2: expected a `correct` row"):
        items.gulordava()


def test_gulordava_refuses_a_sentence_without_its_verb(data):
    data(items.GULORDAVA, HEADER + (RIGHT + WRONG).replace("runs home . <eos>", ""))
    with pytest.raises(CourseError, match="line 2: the sentence ends before its verb, word 2"):
        items.gulordava()


def test_linzen(data):
    data(f"{items.LINZEN}.text", "the keys are here <eos>\nit has come <eos>\n")
    data(f"{items.LINZEN}.gold", "2\tare\tis\t0\n1\thas\thave\t2\n")
    assert [(item.plural, item.attractors) for item in items.linzen()] == [(True, 0), (False, 2)]
    data(f"{items.LINZEN}.gold", "2\tare\tis\t0\n2\thas\thave\t2\n")
    with pytest.raises(CourseError, match="line 2: expected the verb's place"):
        items.linzen()
    data(f"{items.LINZEN}.gold", "2\tare\tis\t0\n")
    with pytest.raises(CourseError, match="has 2 lines and .* 1"):
        items.linzen()


def test_blimp(data, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    with zipfile.ZipFile(tmp_path / "BLiMP.zip", "w") as archive:
        archive.writestr("data/one.jsonl", '{"sentence_good": "a b.", "sentence_bad": "b a."}\n')
        archive.writestr("data/two.jsonl", '{"sentence_good": "a b."}\n')
    assert items.blimp("one") == [("a b.", "b a.")]
    with pytest.raises(CourseError, match=r"two.jsonl, line 1: expected JSON"):
        items.blimp("two")


def test_entities(data):
    data(items.ENTITIES, "Hi\tO\n\t\nIn\tO\nNew\tB-location\nYork\tI-location\n")
    assert items.entities() == [(["In", "New", "York"], [None, "location", "location"])]
    data(items.ENTITIES, "Hi O\n")
    with pytest.raises(CourseError, match="line 1: expected a word, a tab"):
        items.entities()


@pytest.mark.parametrize(
    "rows", [RIGHT, RIGHT + WRONG.replace("walk\t", "\t"), RIGHT.replace("\t1\t", "\t?\t") + WRONG]
)
def test_gulordava_refuses_half_an_item(data, rows):
    data(items.GULORDAVA, HEADER + rows)
    with pytest.raises(CourseError, match="line 2: expected a `correct` row and a `wrong` one"):
        items.gulordava()


@pytest.mark.parametrize("answer", ["2 are is 0", "9\tare\tis\t0", "x\tare\tis\t0", "2\tare\tis\tnone"])
def test_linzen_refuses_other_answers(data, answer):
    data(f"{items.LINZEN}.text", "the keys are here <eos>\n")
    data(f"{items.LINZEN}.gold", answer + "\n")
    with pytest.raises(CourseError, match="line 1: expected the verb's place"):
        items.linzen()


def test_marvin(tmp_path):
    path = tmp_path / "simple.json"
    path.write_text('{"sing": [["a b", "b a"]], "past": [["no a", "the a", "most a"]]}', "utf-8")
    assert items.marvin(path) == {
        "sing": [("a b", "b a")],
        "past": [("no a", "the a"), ("no a", "most a")],
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.pickle", "x", "is a pickle, which can run any program when it is opened: give a JSON file"),
        ("a.json", '{"sing": [["a b",', r"line 1, column \d+: this is not JSON"),
        ("a.json", "[1]", "expected a JSON object of condition -> sentences"),
        ("a.json", '{"sing": 3}', "expected a JSON object of condition -> sentences"),
        ("a.json", '{"sing": [["a", "b"], ["a"]]}', r"condition 'sing', entry 1: .* found \"?\['a'\]"),
        ("a.json", '{"sing": [["a", 3]]}', "condition 'sing', entry 0: expected a good sentence"),
        ("a.json", "", "is empty, and text was expected"),
    ],
)
def test_marvin_refuses_other_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(CourseError, match=message):
        items.marvin(tmp_path / name)


@pytest.fixture
def real(monkeypatch):
    folder = Path(os.environ.get("COURSE_DATA") or root().parent / "shared" / "data")
    if not (folder / "lm_syneval").is_dir():
        pytest.skip("needs the published items: lm_syneval, colorlessgreen, blimp and wnut17 in COURSE_DATA")
    monkeypatch.setenv("COURSE_DATA", str(folder))
    return folder


def test_published_files(real):
    found = items.gulordava()
    assert (len(found), sum(item.nonce for item in found)) == (410, 369)
    assert len(items.linzen()) == 7489
    assert len(items.blimp("wh_island")) == 1000
    assert len(items.entities()) > 1000
    for path in sorted((real / "lm_syneval").glob("*.json")):
        for condition, pairs in items.marvin(path).items():
            assert pairs and all(good != bad for good, bad in pairs), (path.name, condition)
    assert items.marvin(real / "lm_syneval" / "simple_agrmt.json")["sing_MS_MV"][0] == (
        "the author laughs",
        "the author laugh",
    )
