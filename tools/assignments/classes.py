"""A class: its name, its secret, and who is in it. `class.yml` stays with the teacher, never in the repository."""

import csv
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml

from utils.checks import OPEN, code_of
from utils.errors import CourseError

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
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
    wanted = {"name": str, "secret": str, "students": list}
    for key, kind in wanted.items():
        if not isinstance(given, dict) or not isinstance(given.get(key), kind) or not given[key]:
            raise CourseError(f"{path}, key `{key}`: expected a {kind.__name__} that is not empty.")
    return Class(given["name"], given["secret"], tuple(str(student).strip() for student in given["students"]))


def listed(path: Path) -> list[str]:
    """The student ids of a list: the first column, or the one with a heading such as `student` or `id`.

    Raises:
        CourseError: no such file, an id twice, or the id `open`.
    """
    if not path.is_file():
        raise CourseError(
            f"There is no {path}: expected a text or CSV file with one student id in each line."
        )
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(path.read_text("utf-8-sig").splitlines())
        if any(row)
    ]
    heading = [cell.lower() for cell in rows[0]] if rows else []
    column = next((heading.index(name) for name in HEADINGS if name in heading), None)
    ids = [row[0] for row in rows] if column is None else [row[column] for row in rows[1:]]
    for student in ids:
        if not student or student == OPEN or ids.count(student) > 1:
            raise CourseError(
                f"{path}: the student id {student!r} is empty, stands there twice, or is {OPEN!r}: repair the list."
            )
    return ids


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
