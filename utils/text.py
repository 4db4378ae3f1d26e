"""Real text for language models in the `full` profile: WikiText (Merity et al. 2017)."""

import re
from pathlib import Path

from utils.downloads import fetch_folder, read_text
from utils.errors import CourseError

WIKITEXTS = ("wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw")
SPLITS = ("train", "valid", "test")
_TITLE = re.compile(r"= [^=].* =")


def wikitext(split: str, which: str = "wikitext-2") -> list[str]:
    """Return the articles of a split ("train", "valid" or "test"), one text each.

    A line `= Title =` between two blank lines begins an article. Titles and section headings (`= = Section = =`)
    stay in the text as lines of their own, blank lines go, and no other character changes but spaces at the ends
    of lines. WikiText-2 has 213,886 (valid) and 241,211 (test) words; with one end mark for each line of the file,
    blank ones too, 217,646 and 245,569 tokens.

    The files are `wiki.SPLIT.tokens` (or `.raw`) of the published archive, or `SPLIT.txt` of a folder that
    COURSE_DATA holds under the name `which`. The text is read at once: WikiText-103 needs some GB of memory.

    Raises CourseError for an unknown name or split, for a split that the folder lacks, for text that is empty or not
    UTF-8, and what `fetch_folder` raises.
    """
    for value, known, what in ((which, WIKITEXTS, "a WikiText"), (split, SPLITS, "a split of WikiText")):
        if value not in known:
            raise CourseError(f"{value!r} is not {what}: choose one of {', '.join(known)}.")
    return articles(read_text(_file(fetch_folder(which), split)))


def articles(text: str) -> list[str]:
    """Cut the text of a WikiText file into articles; text before the first title is an article, too."""
    lines = ["", *(line.strip() for line in text.split("\n")), ""]
    found: list[list[str]] = []
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if not found and line or not before and not after and _TITLE.fullmatch(line):
            found.append([])
        if line:
            found[-1].append(line)
    return ["\n".join(article) for article in found]


def _file(folder: Path, split: str) -> Path:
    names = {f"wiki.{split}.tokens", f"wiki.{split}.raw", f"{split}.txt"}
    found = sorted(path for path in folder.rglob("*") if path.name in names)
    if len(found) != 1:
        there = ", ".join(sorted(path.name for path in found or folder.rglob("*") if path.is_file()))
        raise CourseError(
            f"{folder} must hold the {split} split in one file, {' or '.join(sorted(names))}, and holds "
            f"{there or 'nothing'}: add that file, or ask for a split that is there."
        )
    return found[0]
