"""A class: its name, its secret, and who is in it. `class.yml` stays with the teacher, never in the repository."""

import csv
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from utils.checks import OPEN, code_of
from utils.downloads import read_text
from utils.errors import CourseError, shown

HEADINGS = ("student", "id", "student id", "student_id", "sis login id")  # of a list's first line


@dataclass(frozen=True)
class Class:
    """A class.

    Attributes:
        name: as it stands on the reports.
        secret: gives every student a code, and hidden checks their inputs.
        students: their ids, in order.
    """

    name: str
    secret: str
    students: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Its name as a name of a folder."""
        return re.sub(r"\W+", "-", self.name).strip("-").lower() or "class"


def read_class(path: Path) -> Class:
    """Read class.yml.

    Raises:
        CourseError: there is none, or a key is missing or wrong.
    """
    if not path.is_file():
        raise CourseError(
            f"There is no {path}: make one with `make codes CLASS={path} STUDENTS=students.csv`."
        )
    text = read_text(path)
    try:
        given = yaml.load(text, _Words)
    except (yaml.YAMLError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise CourseError(f"{path} can't be read as YAML ({what[:300]}): repair it there.") from None
    wanted = {"name": str, "secret": str, "students": list}
    for key, kind in wanted.items():
        if not isinstance(given, dict) or not isinstance(given.get(key), kind) or not given[key]:
            raise CourseError(
                f"{path}, key `{key}`: expected a {kind.__name__} that is not empty: repair it."
            )
    return Class(given["name"], given["secret"], _checked(given["students"], path))


class _Words(yaml.BaseLoader):
    """YAML in which 0123, yes and 12:30 are the words that they look like, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError(f"a key stands twice in line {node.start_mark.line + 1} or below")
        return found


def _checked(students: list, path: Path) -> tuple[str, ...]:
    """The ids of students. Raises CourseError for one that is none."""
    ids = [student.strip() if isinstance(student, str) else "" for student in students]
    count = Counter(ids)
    for student in ids:
        if not student or student == OPEN or count[student] > 1 or re.search(r"[;\t\n]", student):
            raise CourseError(
                f"{path}: the student id {shown(student)} is empty, stands there twice, holds a semicolon, a tab or a "
                f"line end, or is {OPEN!r}: repair the list."
            )
    return tuple(ids)


def listed(path: Path) -> list[str]:
    """The student ids of a list: the first column, or the one with a heading such as `student` or `id`.

    Raises:
        CourseError: no such file, an id twice, or the id `open`.
    """
    if not path.is_file():
        raise CourseError(
            f"There is no {path}: expected a text or CSV file with one student id in each line."
        )
    lines = re.split(r"[\r\n]", read_text(path))
    try:
        rows = [[cell.strip() for cell in row] for line in lines for row in csv.reader([line], strict=True)]
        rows = [row for row in rows if any(row)]
    except csv.Error as error:
        raise CourseError(f"{path} can't be read as CSV ({error}): repair the list.") from None
    heading = [cell.lower() for cell in rows[0]] if rows else []
    column = next((heading.index(name) for name in HEADINGS if name in heading), None)
    ids = [row[0] for row in rows] if column is None else [row[column : column + 1] for row in rows[1:]]
    if not ids:
        raise CourseError(f"{path} names no student: expected one student id in each line.")
    return list(_checked(["".join(each) for each in ids], path))


def codes(path: Path, students: Path | None) -> Path:
    """Write `codes.csv` beside class.yml; make class.yml with a new secret where there is none, add new students.

    Raises:
        CourseError: there is no class.yml and no list of students, or one of them is wrong.
    """
    if not path.is_file() and students is None:
        raise CourseError(
            f"There is no {path}: give a list of students, STUDENTS=students.csv, and it will be made."
        )
    if path.is_file():
        known = read_class(path)
    else:
        known = Class(path.resolve().parent.name, secrets.token_urlsafe(32), ())
    if students is not None:
        known = Class(known.name, known.secret, (*dict.fromkeys((*known.students, *listed(students))),))
        text = yaml.safe_dump(
            {"name": known.name, "secret": known.secret, "students": list(known.students)},
            sort_keys=False,
            allow_unicode=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "# Keep this file to yourself: the secret gives every code and the inputs of the hidden checks.\n"
            + text,
            "utf-8",
        )
        path.chmod(0o600)
    target = path.with_name("codes.csv")
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "code"])
        writer.writerows([student, code_of(student, known.secret)] for student in known.students)
    return target
