"""IMDb movie reviews (Maas et al. 2011): the reader of the published folders (labs 3 and 4a)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from utils.downloads import fetch_folder, read_text
from utils.errors import CourseError

SPLITS = ("train", "test", "unsup")
_NAME = re.compile(r"(\d+)_(\d+)\.txt")


@dataclass(frozen=True, slots=True)
class Review:
    """A review as published (with its HTML line breaks), its label, and where it stands, such as train/pos/0_9.txt."""

    text: str
    label: int | None  # 1 positive (7 to 10 stars), 0 negative (1 to 4 stars), None not told
    file: str


def reviews(split: str, folder: Path | str | None = None) -> list[Review]:
    """The reviews of a split, 25,000 "train", 25,000 "test", or 50,000 "unsup" without a label.

    Negative ones come first, each kind in the order of its numbers. COURSE_DATA may hold the published archive, or a
    folder `imdb` with the published folder `aclImdb` or a sample of it, which is taken as it is; `folder` names any
    other such folder (`aclImdb` or the one it stands in, or fastai's `imdb`, which has `unsup` beside `train`). Raises
    CourseError for an unknown split, a folder that is missing or has no review, a file whose name is not
    `<number>_<stars>.txt` or does not fit its folder, and what `fetch_folder` and `read_text` raise (a file that is
    empty or not UTF-8).
    """
    if split not in SPLITS:
        raise CourseError(f"{split!r} is not a split of IMDb: choose one of {', '.join(SPLITS)}.")
    root = _root(fetch_folder("imdb") if folder is None else Path(folder))
    if split == "unsup":
        beside = (root / "unsup").is_dir() and not (root / "train" / "unsup").is_dir()
        return _folder(root, "unsup" if beside else "train/unsup", None, range(11))
    return _folder(root, f"{split}/neg", 0, range(1, 5)) + _folder(root, f"{split}/pos", 1, range(7, 11))


def plain(text: str) -> str:
    """A review's text with its HTML line breaks as spaces."""
    return " ".join(re.sub(r"<br\s*/?>", " ", text).split())


def _root(folder: Path) -> Path:
    """The folder with `train` and `test`."""
    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder: name the one that holds train and test of IMDb.")
    return folder / "aclImdb" if (folder / "aclImdb").is_dir() else folder


def _folder(root: Path, name: str, label: int | None, stars: range) -> list[Review]:
    folder = root / name
    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder: IMDb reviews were expected in it, one .txt file each.")
    numbered = []
    for path in folder.glob("[!.]*"):
        found = _NAME.fullmatch(path.name)
        if not found or int(found[2]) not in stars:
            raise CourseError(
                f"{path} is not called <number>_<stars>.txt with {stars[0]} to {stars[-1]} stars: get the folder "
                "again, or take it out."
            )
        numbered.append((int(found[1]), path))
    if not numbered:
        raise CourseError(f"{folder} has no review: one .txt file each was expected.")
    return [Review(read_text(path), label, f"{name}/{path.name}") for _, path in sorted(numbered)]
