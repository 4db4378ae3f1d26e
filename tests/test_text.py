"""WikiText: the published archive, a folder of samples, and what is wrong with either."""

import os
from pathlib import Path

import pytest

from tests.archives import make_zip
from utils import downloads, text
from utils.downloads import Source
from utils.errors import CourseError
from utils.settings import root
from utils.text import articles, wikitext

TEXT = (
    " \n = Lobster = \n \n A lobster is blue . \n It walks . \n \n = = Food = = \n \n = 2 x in this line = \n Fish . \n"
    "\n = E = mc² = \n \n = = = Deep = = = \n \n Physics @-@ like . \n"
)
ARTICLES = [
    "= Lobster =\nA lobster is blue .\nIt walks .\n= = Food = =\n= 2 x in this line =\nFish .",
    "= E = mc² =\n= = = Deep = = =\nPhysics @-@ like .",
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty COURSE_DATA; nothing can be downloaded."""
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("COURSE_DATA", str(folder))
    return folder


def test_articles() -> None:
    assert articles(TEXT) == ARTICLES
    assert articles("no title\n\nat all") == ["no title\nat all"]
    assert articles("before\n\n= A =\n\nin it") == ["before", "= A =\nin it"]
    assert articles("\n= A =\n\n= B =") == ["= A =", "= B ="]


def test_nothing_is_lost() -> None:
    assert " ".join(articles(TEXT)).split() == TEXT.split()


@pytest.mark.parametrize("which", text.WIKITEXTS)
def test_the_published_archive(data: Path, which: str) -> None:
    source, ending = downloads.SOURCES[which], "raw" if "raw" in which else "tokens"
    members = {f"{which}/wiki.{split}.{ending}": TEXT + split for split in text.SPLITS}
    make_zip(data / source.file, members)
    for split in text.SPLITS:
        assert wikitext(split, which) == [ARTICLES[0], ARTICLES[1] + "\n" + split]
    make_zip(data / source.file, {name: "other" for name in members})
    assert wikitext("train", which) == ["other"]


def test_a_download(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without COURSE_DATA the archive comes from the cache, checked by its hash."""
    monkeypatch.delenv("COURSE_DATA")
    file = data.parent / "cache" / "wikitext-2-v1.zip"
    file.parent.mkdir()
    make_zip(file, {"wikitext-2/wiki.test.tokens": TEXT})
    monkeypatch.setitem(
        downloads.SOURCES, "wikitext-2", Source(f"https://x.org/{file.name}", "", downloads.sha256(file))
    )
    assert wikitext("test") == ARTICLES


def test_a_folder_of_samples(data: Path) -> None:
    (data / "wikitext-2").mkdir()
    (data / "wikitext-2" / "README").write_text("samples")
    for split in ("valid", "test"):
        (data / "wikitext-2" / f"{split}.txt").write_text(TEXT, encoding="utf-8")
        assert wikitext(split) == ARTICLES
    message = (
        "must hold the train split in one file, train.txt or wiki.train.raw or wiki.train.tokens, and holds "
        "README, test.txt, valid.txt: add that file, or ask for a split that is there"
    )
    with pytest.raises(CourseError, match=message):
        wikitext("train")
    (data / "wikitext-2" / "wiki.test.tokens").write_text("another", encoding="utf-8")
    with pytest.raises(CourseError, match="in one file, .* and holds test.txt, wiki.test.tokens"):
        wikitext("test")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "test.txt is empty"),
        (b" \n \n", "test.txt is empty"),
        ("café".encode("latin1"), "test.txt is not UTF-8, its byte 3"),
    ],
)
def test_bad_text(data: Path, body: bytes, message: str) -> None:
    (data / "wikitext-2").mkdir()
    (data / "wikitext-2" / "test.txt").write_bytes(body)
    with pytest.raises(CourseError, match=message):
        wikitext("test")


def test_damaged_archive(data: Path) -> None:
    (data / "wikitext-2-v1.zip").write_bytes(b"<html>Access denied</html>")
    with pytest.raises(CourseError, match="wikitext-2-v1.zip is damaged"):
        wikitext("test")


def test_unknown_names() -> None:
    with pytest.raises(
        CourseError, match="'dev' is not a split of WikiText: choose one of train, valid, test"
    ):
        wikitext("dev")
    with pytest.raises(CourseError, match="'wikitext-3' is not a WikiText: choose one of wikitext-2, "):
        wikitext("test", "wikitext-3")


def test_the_real_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty articles each, and every word of them, wherever the real files are."""
    folder = Path(os.environ.get("COURSE_DATA") or root().parent / "shared" / "data")
    if not (folder / "wikitext-2").exists():
        pytest.skip("needs the real WikiText-2, as the folder wikitext-2 of COURSE_DATA")
    monkeypatch.setenv("COURSE_DATA", str(folder))
    for split, words in (("valid", 213_886), ("test", 241_211)):
        found = wikitext(split)
        assert len(found) == 60
        assert all(article.startswith("= ") and article.count("\n") >= 2 for article in found)
        assert sum(len(article.split()) for article in found) == words
