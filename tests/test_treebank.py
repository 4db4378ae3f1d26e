"""The reader of CoNLL-U: known files, the round trip of any tree, and one sentence for every broken row."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils import treebank
from utils.errors import CourseError
from utils.settings import root
from utils.treebank import TAGS, Sentence, read

TEXT = """\
# sent_id = one
# text = Let's see it.
1-2	Let's	_	_	_	_	_	_	_	_
1	Let	let	VERB	VB	Mood=Imp|VerbForm=Fin	0	root	0:root	_
2	's	we	PRON	PRP	Case=Acc|Number=Plur	3	nsubj	_	_
3	see	see	VERB	VB	VerbForm=Inf	1	xcomp	_	_
3.1	_	_	_	_	_	_	_	_	_
4	it	it	PRON	PRP	Number=Sing	3	obj	_	SpaceAfter=No
5	.	.	PUNCT	.	_	1	punct	_	_

1	_	_	SYM	_	_	0	root	_	_

"""
FEW = settings(max_examples=40, deadline=None)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "a.conllu"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_known_file(file):
    first, second = read(file(TEXT))
    assert first == Sentence(
        words=("Let", "'s", "see", "it", "."),
        lemmas=("let", "we", "see", "it", "."),
        pos=("VERB", "PRON", "VERB", "PRON", "PUNCT"),
        features=(
            {"Mood": "Imp", "VerbForm": "Fin"},
            {"Case": "Acc", "Number": "Plur"},
            {"VerbForm": "Inf"},
            {"Number": "Sing"},
            {},
        ),
        heads=(-1, 2, 0, 2, 0),
        relations=("root", "nsubj", "xcomp", "obj", "punct"),
        notes={"sent_id": "one", "text": "Let's see it."},
    )
    assert (second.words, second.heads, second.notes) == (("_",), (-1,), {})


def test_windows_line_ends_and_byte_order_mark(file):
    assert read(file(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())) == read(file(TEXT))


def test_comments_without_a_sentence_are_allowed(file):
    assert read(file("# a treebank\n\n" + TEXT + "# the end\n\n"))[0].words[0] == "Let"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "\tlet\t",
            "\t",
            "line 4: 10 columns between tabs were expected, and there are 9 that are not empty",
        ),
        ("\tlet\t", "\t\t", "line 4: 10 columns .* are 9 that are not empty: write _ where"),
        ("\tlet\t", "\tlet\tlet\t", "line 4: 10 columns .* are 11"),
        ("\tit\tit\t", "    it it ", "line 8: 10 columns"),
        ("2\t's", "4\t's", "line 5: the id '4' is out of order after word 1"),
        ("2\t's", "1\t's", "line 5: the id '1' is out of order after word 1"),
        ("2\t's", "02\t's", "line 5: the id '02' is out of order"),
        ("2\t's", "two\t's", "line 5: the id 'two' is out of order after word 1"),
        ("1-2\t", "2-3\t", "line 3: the id '2-3' is out of order after word 0"),
        ("1-2\t", "1-9\t", "line 3: the id '1-9' is out of order"),
        ("3.1\t", "3.2\t", "line 7: the id '3.2' is out of order after word 3"),
        (
            "\n\n1\t_",
            "\n1\t_",
            "line 10: the id '1' is out of order after word 5: number .* blank line between",
        ),
        ("\n\n1\t_", "\n# x\n1\t_", "line 10: a comment stands inside a sentence: put a blank line"),
        ("\tSYM\t", "\tSYMBOL\t", "line 11: 'SYMBOL' is not a universal tag: choose one of ADJ, ADP"),
        ("VerbForm=Inf", "Inf", "line 6: the features 'Inf' are not of the form Name=Value"),
        ("Number=Sing", "Number=Sing|Number=Plur", "line 8: the features 'Number=Sing.Number=Plur'"),
        ("\t3\tobj", "\tthree\tobj", "line 8: the head 'three' is not the number of a word .*1 to 5.* or 0"),
        ("\t3\tobj", "\t_\tobj", "line 8: the head '_' is not the number"),
        ("\t3\tobj", "\t-1\tobj", "line 8: the head '-1' is not the number"),
        ("\t3\tobj", "\t6\tobj", "line 8: the head '6' is not the number"),
        (
            "\t3\tobj",
            "\t0\tobj",
            "line 8: the relation 'obj' does not fit the head 0: 'root' is for head 0 only",
        ),
        ("\t3\tobj", "\t0\troot", "line 4: the sentence has 2 roots, and one word with head 0 was expected"),
        ("\t0\troot\t0:root", "\t3\tobj\t_", "line 4: the sentence has 0 roots"),
        ("\t1\txcomp", "\t2\txcomp", "line 5: word 2 is its own ancestor: its heads go round in a circle"),
        ("\t1\txcomp", "\t3\txcomp", "line 5: word 2 is its own ancestor"),
    ],
)
def test_broken_rows(file, old, new, message):
    assert old in TEXT
    with pytest.raises(CourseError, match=rf"a\.conllu, {message}") as error:
        read(file(TEXT.replace(old, new, 1)))
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty, and text was expected"),
        (b"\n\n", "is empty, and text was expected"),
        (b"# only a comment\n\n", "holds no sentence, only comments"),
        (TEXT.replace("see", "s\xe9e").encode("latin-1"), "is not UTF-8, its byte 32 is 0xe9"),
        (TEXT[:-1], "line 11: the last sentence does not end with a blank line and may be cut off"),
        (TEXT[:-2], "line 11: the last sentence does not end with a blank line"),
        (TEXT[: TEXT.index("4\tit")], "line 7: the last sentence does not end with a blank line"),
        (TEXT[: TEXT.index("SpaceAfter")], "line 8: the last sentence does not end with a blank line"),
    ],
)
def test_broken_files(file, text, message):
    with pytest.raises(CourseError, match=message):
        read(file(text))


def test_missing_file(tmp_path):
    with pytest.raises(CourseError, match="b.conllu cannot be read"):
        read(tmp_path / "b.conllu")


WORD = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
NAME = st.from_regex(r"[A-Z][a-z]{0,5}", fullmatch=True)
FEATURES = st.dictionaries(NAME, NAME, max_size=3)


@st.composite
def trees(draw):
    """A sentence with any tree: each word hangs from one that stands before it in a random order."""
    count = draw(st.integers(1, 8))
    order = draw(st.permutations(range(count)))
    heads = [-1] * count
    for k in range(1, count):
        heads[order[k]] = order[draw(st.integers(0, k - 1))]

    def many(strategy):
        return tuple(draw(strategy) for _ in range(count))

    relations = tuple("root" if head < 0 else draw(st.sampled_from(["nsubj", "nmod:poss"])) for head in heads)
    pos = many(st.sampled_from(sorted(TAGS)))
    note = {"text": draw(WORD)}
    return Sentence(many(WORD), many(WORD), pos, many(FEATURES), tuple(heads), relations, note)


def written(sentences):
    blocks = []
    for s in sentences:
        rows = [f"# {key} = {value}" for key, value in s.notes.items()]
        for i, word in enumerate(s.words):
            features = "|".join(f"{key}={value}" for key, value in s.features[i].items()) or "_"
            columns = (
                i + 1,
                word,
                s.lemmas[i],
                s.pos[i],
                "_",
                features,
                s.heads[i] + 1,
                s.relations[i],
                "_",
                "_",
            )
            rows.append("\t".join(map(str, columns)))
        blocks.append("\n".join(rows) + "\n\n")
    return "".join(blocks)


def read_back(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.conllu"
        path.write_bytes(text.encode())
        return read(path)


@FEW
@given(st.lists(trees(), min_size=1, max_size=3))
def test_round_trip(sentences):
    assert read_back(written(sentences)) == sentences


@FEW
@given(st.lists(trees(), min_size=1, max_size=2), st.data())
def test_a_changed_file_is_refused_or_is_a_treebank(sentences, data):
    """Whatever one changed character does, what comes out is a file of trees with nothing lost on the way."""
    text = written(sentences)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:place]
        + data.draw(st.sampled_from(["", "\t", "\n", "0", "7", "-", ".", "#", "x"]))
        + text[place + 1 :]
    )
    try:
        found = read_back(changed)
    except CourseError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return
    rows = [line for line in changed.split("\n") if line and not line.startswith("#")]
    assert "\n".join(rows).count("\t") == 9 * len(rows)
    assert sum(len(s.words) for s in found) == sum(row.split("\t")[0].isdecimal() for row in rows)
    for s in found:
        for i in range(len(s.words)):
            steps = 0
            while i >= 0:
                i, steps = s.heads[i], steps + 1
            assert steps <= len(s.words)


@FEW
@given(st.lists(trees(), min_size=1, max_size=2), st.floats(0, 1))
@example([Sentence(("a",), ("a",), ("X",), ({},), (-1,), ("root",), {})], 0.99)
def test_a_cut_file_is_refused_or_ends_with_a_whole_sentence(sentences, share):
    text = written(sentences)
    cut = text[: int(share * len(text))]
    try:
        found = read_back(cut)
    except CourseError:
        return
    assert cut.endswith("\n\n") and found == sentences[: len(found)]


def test_the_course_treebank():
    splits = [treebank.english(split) for split in treebank.SPLITS]
    everything = read(root() / "utils" / "english.conllu")
    assert sum(map(len, splits)) == len(everything) >= 200, "every sentence is in one split"
    assert all(len(split) >= 20 for split in splits)
    assert len({" ".join(s.words) for s in everything}) == len(everything)
    assert len({s.notes["sent_id"] for s in everything}) == len(everything)
    for s in everything:
        text, at = s.notes["text"], 0
        for word in s.words:
            at = text.index(word, at) + len(word)
        assert sorted("".join(s.words)) == sorted(text.replace(" ", "")), s.notes["sent_id"]


def test_unknown_split():
    for load in (treebank.english, treebank.ewt):
        with pytest.raises(
            CourseError, match="'test2' is not a split of the treebank: choose one of train, dev"
        ):
            load("test2")


def test_full_reads_course_data(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_PROFILE", "full")
    for folder, word in (("ud_english_ewt", "here"), ("", "there")):
        path = tmp_path / folder / f"en_ewt-ud-{'dev' if folder else 'test'}.conllu"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"1\t{word}\t{word}\tADV\t_\t_\t0\troot\t_\t_\n\n", "utf-8")
    assert treebank.english("dev")[0].words == ("here",)
    assert treebank.english("test")[0].words == ("there",)


def test_the_published_treebank(monkeypatch):
    folder = Path(os.environ.get("COURSE_DATA") or root().parent / "shared" / "data")
    if not (folder / "ud_english_ewt").is_dir():
        pytest.skip("needs UD English EWT as the folder ud_english_ewt of COURSE_DATA")
    monkeypatch.setenv("COURSE_DATA", str(folder))
    found = {split: treebank.ewt(split) for split in ("dev", "test")}
    assert {split: len(sentences) for split, sentences in found.items()} == {"dev": 2001, "test": 2077}
    assert sum(len(s.words) for s in found["test"]) == 25_094
    first = found["dev"][0]
    assert first.words == ("From", "the", "AP", "comes", "this", "story", ":")
    assert first.heads == (2, 2, 3, -1, 5, 3, 3)
    assert first.features[2] == {"Number": "Sing"}
