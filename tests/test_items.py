"""The published test items of lab 2: readers accept the published form and refuse another one."""

import zipfile

import pytest

from utils import items
from utils.errors import CourseError

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
    data(items.GULORDAVA, HEADER + RIGHT.replace("runs home . <eos>", "") + WRONG)
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
    monkeypatch.setattr(items, "cache_dir", lambda: tmp_path / "cache")
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
