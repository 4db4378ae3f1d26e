"""python -m tools.assignments try | build | codes | grade: what `make` calls; each takes `--help`."""

import argparse
import os
import sys
from pathlib import Path

from tools.assignments.classes import codes, read_class
from tools.assignments.source import Source, all_names
from utils.errors import CourseError


def _try(given: argparse.Namespace) -> None:
    from tools.assignments.trial import report, tried

    source = Source(given.name)
    sys.exit(not report(source, tried(given.name), given.questions or source.questions))


def _build(given: argparse.Namespace) -> None:
    from tools.assignments.build import build

    secret = read_class(given.class_).secret if given.class_ else ""
    for name in given.names or all_names():
        build(name, secret)
        print(f"{name}: assignments/{name}/{name}.ipynb, _build/assignments/{name}/", flush=True)


def _path(text: str) -> Path | None:
    """A path as the caller typed it; make passes on what was not given as an empty text."""
    return Path(text).expanduser() if text else None


def _needed(path: Path | None, example: str) -> None:
    if path is None:
        raise CourseError(f"Give {example} with this command.")


def _codes(given: argparse.Namespace) -> None:
    _needed(given.class_, "CLASS=class.yml")
    target = codes(given.class_, given.students)
    print(f"The codes are in {target}: send every student their own line. Keep {given.class_} to yourself.")


def _grade(given: argparse.Namespace) -> None:
    from tools.assignments.grade import grade_class

    _needed(given.submissions, "SUBMISSIONS=folder")
    _needed(given.class_, "CLASS=class.yml")
    target = grade_class(given.submissions, given.class_, given.assignment, given.workers)
    print(f"Done. Open {target / 'class.html'}; the points are in {target / 'results.csv'}.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.assignments")
    acts = parser.add_subparsers(dest="act", required=True)
    trying = acts.add_parser("try", help="solution, mutants and copied answers against all checks")
    trying.add_argument("name")
    trying.add_argument("questions", nargs="*")
    trying.set_defaults(run=_try)
    building = acts.add_parser("build", help="make student notebooks, solutions and autograders")
    building.add_argument("names", nargs="*")
    building.add_argument("--class", dest="class_", type=_path, metavar="class.yml")
    building.set_defaults(run=_build)
    coding = acts.add_parser("codes", help="write student,code for a class")
    coding.add_argument("--class", dest="class_", type=_path, metavar="class.yml")
    coding.add_argument("--students", type=_path, metavar="students.csv")
    coding.set_defaults(run=_codes)
    grading = acts.add_parser("grade", help="grade a folder of notebooks")
    grading.add_argument("--class", dest="class_", type=_path, metavar="class.yml")
    grading.add_argument("--submissions", type=_path, metavar="FOLDER")
    grading.add_argument("--assignment", default="", metavar="NAME", help="what most of the notebooks say")
    grading.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many at a time")
    grading.set_defaults(run=_grade)
    given = parser.parse_args()
    try:
        given.run(given)
    except CourseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
