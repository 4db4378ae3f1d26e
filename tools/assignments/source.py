"""The one source of an assignment: assignments/NAME/NAME.py, percent cells with otter's raw cells between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import jupytext
import yaml
from nbformat import NotebookNode

from utils.checks import ASSIGNMENTS, Check, checks_in
from utils.errors import CourseError

ROOT = ASSIGNMENTS.parent
MARK = re.compile(r"# (BEGIN|END) (QUESTION|SOLUTION|TESTS)\b|# (ASSIGNMENT CONFIG)\b")


@dataclass(frozen=True)
class Part:
    """A cell, otter's marks too, and where it stands: which question, and which of `SOLUTION` and `TESTS`."""

    cell: NotebookNode
    question: str | None
    place: str | None


@dataclass
class Question:
    """One question: points, and whether a person reads the answer."""

    name: str
    points: float
    manual: bool
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that students give, and the checks of its question that must fail, no other.

    Attributes:
        question: its question.
        mistake: what the student misunderstood, in a few words.
        fails: names of the checks, without `test_`.
        replace: texts of the question's solution and what stands there instead; each must occur in it.
        code: or the whole solution anew.
    """

    question: str
    mistake: str
    fails: list[str]
    replace: dict[str, str] = field(default_factory=dict)
    code: str = ""


class Source:
    """An assignment's source, read.

    Attributes:
        files: what its notebook reads besides `utils`, from the root of the course.
        questions: name -> question, in their order.
        parts: all cells.

    Raises:
        CourseError: the file is missing, a question's settings are wrong, or points don't add up.
    """

    def __init__(self, name: str):
        self.name = name
        self.path = ASSIGNMENTS / name / f"{name}.py"
        if not self.path.is_file():
            raise CourseError(
                f"There is no assignments/{name}/{name}.py: expected one of {', '.join(all_names())}."
            )
        self.notebook = jupytext.reads(self.path.read_text("utf-8"), fmt="py:percent")
        self.files: list[str] = []
        self.questions: dict[str, Question] = {}
        self.parts = list(self._parts())
        for question in self.questions.values():
            question.checks = checks_in(
                self.text(question.name, "TESTS"), f"{self.path.name}, {question.name}"
            )
            total = sum(check.points for check in question.checks)
            if not question.manual and total != question.points:
                raise CourseError(
                    f"{self.path.name}, {question.name}: its checks give {total:g} points, its settings "
                    f"{question.points:g}: make them agree."
                )
            for check in question.checks:
                if "fresh" in check.function.__code__.co_names and not check.hidden:
                    raise CourseError(
                        f"{self.path.name}, {question.name}, test_{check.name}: only hidden checks have `mine.fresh`."
                    )
                if check.hidden and not check.about:
                    raise CourseError(
                        f"{self.path.name}, {question.name}, test_{check.name}: a hidden check says in the second "
                        "line of its docstring what it is about, for instance `random schedules`."
                    )

    def _parts(self) -> Iterator[Part]:
        question = place = None
        for number, cell in enumerate(self.notebook.cells, 1):
            mark = MARK.match(cell.source) if cell.cell_type == "raw" else None
            if cell.cell_type == "raw" and not mark:
                raise CourseError(
                    f"{self.path.name}, cell {number}: {cell.source[:60]!r} is no mark of otter's."
                )
            if mark and mark[3]:
                self.files = (yaml.safe_load(cell.source.partition("\n")[2]) or {}).get("files", [])
            if mark and mark[1] == "BEGIN":
                if mark[2] == "QUESTION":
                    question = self._question(cell.source, number)
                else:
                    place = mark[2]
            yield Part(cell, question, place)
            if mark and mark[1] == "END":
                if mark[2] == "QUESTION":
                    question = None
                else:
                    place = None

    def _question(self, text: str, number: int) -> str:
        settings = yaml.safe_load(text.partition("\n")[2]) or {}
        wrong = set(settings) - {"name", "points", "manual"}
        if wrong or not {"name", "points"} <= set(settings) or settings["name"] in self.questions:
            raise CourseError(
                f"{self.path.name}, cell {number}: a question has a new `name`, `points` and perhaps `manual: true`, "
                f"here stands {settings}."
            )
        name = settings["name"]
        self.questions[name] = Question(name, float(settings["points"]), settings.get("manual", False))
        return name

    def text(self, question: str, place: str, kind: str = "code") -> str:
        """The cells of one kind in a question's `SOLUTION` or `TESTS`."""
        cells = [part.cell for part in self.parts if (part.question, part.place) == (question, place)]
        return "\n\n\n".join(cell.source for cell in cells if cell.cell_type == kind)

    def program(self, mutant: Mutant | None = None) -> list[tuple[str | None, str]]:
        """(question, code) of every code cell that a student's notebook runs, with a mutant in place of its solution.

        Raises:
            CourseError: the mutant replaces a text that its solution lacks.
        """
        cells = [
            (part.question, part.place, part.cell.source)
            for part in self.parts
            if part.cell.cell_type == "code" and part.place != "TESTS"
        ]
        if mutant is None:
            return [(question, code) for question, _, code in cells]
        wrong = mutant.code or self.text(mutant.question, "SOLUTION")
        for old, new in mutant.replace.items():
            if old not in wrong:
                raise CourseError(
                    f"{self.path.name}, mutant of {mutant.question} ({mutant.mistake}): its solution has no {old!r}."
                )
            wrong = wrong.replace(old, new)
        program, placed = [], False
        for question, place, code in cells:
            if (question, place) != (mutant.question, "SOLUTION"):
                program.append((question, code))
            elif not placed:
                program.append((question, wrong))
                placed = True
        return program

    @cached_property
    def mutants(self) -> list[Mutant]:
        """The wrong answers of assignments/NAME/mutants.py. Raises CourseError for an unknown question or check."""
        path = self.path.parent / "mutants.py"
        names: dict = {}
        exec(compile(path.read_text("utf-8"), str(path), "exec"), names)
        for mutant in names["MUTANTS"]:
            known = [check.name for check in self.questions[mutant.question].checks]
            if not mutant.fails or not set(mutant.fails) <= set(known):
                raise CourseError(
                    f"{path.name}, {mutant.question} ({mutant.mistake}): `fails` names some of {', '.join(known)}."
                )
        return names["MUTANTS"]


def all_names() -> list[str]:
    """The names of all assignments."""
    return sorted(path.parent.name for path in ASSIGNMENTS.glob("*/*.py") if path.stem == path.parent.name)
