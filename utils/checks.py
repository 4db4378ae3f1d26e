"""The assignments: a student's own world and random numbers, and the checks of their answers.

    mine = checks.Assignment("01_pretraining", student, code)
    mine.world, mine.rng("sample")     # nobody else's
    mine.check("q1")                   # one sentence for each public check that fails

A check is a function of the student's answers and of their `Assignment`; its docstring begins with
`points: 2` or `points: 2, hidden`. It sees answers only as plain data (`utils.plain`), so it can't tell whether they
come from the notebook around it or, when a class is graded, from a process locked up elsewhere.
"""

import base64
import hashlib
import hmac
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils import plain
from utils.errors import CourseError
from utils.world import World

ASSIGNMENTS = Path(__file__).resolve().parent.parent / "assignments"
OPEN = "open"  # the student id of everybody who has no code
LETTERS = 8  # of a code; two more guard against typing mistakes


def _letters(key: str, text: str, count: int) -> str:
    digest = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b32encode(digest).decode()[:count]


def _number(key: str, *parts: str) -> int:
    return int.from_bytes(
        hmac.new(key.encode(), "\n".join(parts).encode(), hashlib.sha256).digest()[:6], "big"
    )


def _guard(student: str, letters: str) -> str:
    return _letters("guard", f"{student}\n{letters}", 2)


def code_of(student: str, secret: str) -> str:
    """The code of a student in the class with this secret: ten letters and digits."""
    letters = _letters(secret, f"code\n{student}", LETTERS)
    return letters + _guard(student, letters)


def mistyped(student: str, code: str) -> bool:
    """Whether this code can belong to this student in no class at all."""
    return len(code) != LETTERS + 2 or _guard(student, code[:LETTERS]) != code[LETTERS:]


class AnswerError(CourseError):
    """An answer that can't be checked: `kind` says why in a few words, without the inputs that led to it."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


class Source(Protocol):
    """Where answers come from: a notebook's names, or a process that holds them."""

    def look(self, name: str) -> Any:
        """The value with this name, `Function` when it is one. Raises AnswerError."""

    def call(self, name: str, args: tuple, kwargs: dict) -> Any:
        """What the student's function returns. Raises AnswerError."""


@dataclass(frozen=True)
class Function:
    """A student's function, as checks see it: plain data in, plain data out."""

    source: Source
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.source.call(self.name, args, kwargs)


class Answers:
    """All that a check sees of a student: `answer.name` is a value or a `Function`."""

    def __init__(self, source: Source):
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return self._source.look(name)


class Names:
    """Answers from the names of the notebook, copied as plain data on their way in and out."""

    def __init__(self, names: dict[str, Any]):
        self.names = names

    def look(self, name: str) -> Any:
        """The value with this name, or the `Function`. Raises AnswerError."""
        if name not in self.names:
            raise AnswerError(f"`{name}` is not defined: run its cell.", "an answer is missing")
        value = self.names[name]
        if callable(value):
            return Function(self, name)
        return self._copied(value, f"`{name}` is")

    def call(self, name: str, args: tuple, kwargs: dict) -> Any:
        """What the function returns. Raises AnswerError when it raises, or returns no plain data."""
        args, kwargs = plain.loads(plain.dumps((args, kwargs)))
        try:
            result = self.names[name](*args, **kwargs)
        except Exception as error:
            text = f"`{name}` raised {type(error).__name__}: {error}"
            raise AnswerError(text, f"your function raised {type(error).__name__}") from error
        return self._copied(result, f"`{name}` returned")

    @staticmethod
    def _copied(value: Any, where: str) -> Any:
        if value is Ellipsis:
            raise AnswerError(f"{where} still `...`: write your answer there.", "an answer is missing")
        try:
            return plain.loads(plain.dumps(value))
        except plain.NotPlain as error:
            text = f"{where} {error}: expected numbers, text, lists, dicts, arrays or tensors."
            raise AnswerError(text, "an answer is no plain data") from error


@dataclass(frozen=True)
class Check:
    """One check: its function, its points, whether students see it, and what it is about."""

    function: Callable[[Answers, "Assignment"], None]
    points: float
    hidden: bool
    about: str

    @property
    def name(self) -> str:
        """The name of its function, without `test_`."""
        return self.function.__name__.removeprefix("test_")


@dataclass(frozen=True)
class Failure:
    """Why a check failed: `message` for who may see everything, `kind` for a student whose check is hidden."""

    message: str
    kind: str


def checks_in(code: str, place: str) -> list[Check]:
    """The checks among the functions `test_...` of some Python text, in their order.

    Raises:
        CourseError: a check's docstring does not begin with its points.
    """
    names: dict[str, Any] = {}
    exec(compile(code, place, "exec"), names)
    found = []
    for name, function in names.items():
        if not name.startswith("test_"):
            continue
        first, _, about = (function.__doc__ or "").strip().partition("\n")
        given = re.fullmatch(r"points: (\d+(?:\.\d+)?)(, hidden)?", first)
        if not given:
            raise CourseError(
                f'{place}, {name}: the docstring has to begin with "points: 2" or "points: 2, hidden".'
            )
        found.append(Check(function, float(given[1]), bool(given[2]), " ".join(about.split())))
    return found


def run(check: Check, answer: Answers, mine: "Assignment") -> Failure | None:
    """Run one check; `None` when it passes."""
    try:
        check.function(answer, mine)
    except AssertionError as error:
        return Failure(str(error) or f"The check `{check.name}` fails.", "a wrong result")
    except AnswerError as error:
        return Failure(str(error), error.kind)
    except CourseError:
        raise
    except Exception as error:
        text = f"The check `{check.name}` can't use your answer: {type(error).__name__}: {error}"
        return Failure(text, "a result of another kind than asked for")
    return None


class Assignment:
    """One student's assignment.

    Args:
        name: the assignment's folder, such as `01_pretraining`.
        student: the student's id, `open` for everybody who has no code.
        code: the ten letters that the teacher sent, empty for `open`.

    Raises:
        CourseError: no assignment has this name, or the code does not belong to this student.
    """

    def __init__(self, name: str, student: str = OPEN, code: str = ""):
        if not (ASSIGNMENTS / name).is_dir():
            raise CourseError(f"There is no assignment {name!r}: expected a folder of {ASSIGNMENTS}.")
        self.name = name
        self.student = student.strip()
        self.code = code.strip().upper()
        if self.student == OPEN and self.code:
            raise CourseError("You gave a code, so give your student id too: replace `open` in `student`.")
        if self.student != OPEN and mistyped(self.student, self.code):
            raise CourseError(
                f"The code {code!r} does not belong to the student id {student!r}: compare both with what your "
                "teacher sent, letter by letter."
            )
        self.seed = _number(self.code, "world", name)

    @cached_property
    def world(self) -> World:
        """The student's own world."""
        return World(self.seed)

    def rng(self, name: str) -> np.random.Generator:
        """The student's own random numbers for one purpose: the same at every call with the same name."""
        return np.random.default_rng(_number(self.code, "rng", self.name, name))

    def check(self, question: str, names: dict[str, Any] | None = None) -> None:
        """Run the public checks of a question on the names of the notebook and print what they say.

        Raises:
            CourseError: this assignment has no such question with checks.
        """
        names = sys._getframe(1).f_globals if names is None else names
        path = ASSIGNMENTS / self.name / "checks" / f"{question}.py"
        if not path.is_file():
            raise CourseError(f"Assignment {self.name} has no checks for {question!r}.")
        found = checks_in(path.read_text("utf-8"), str(path))
        failures = [(check, run(check, Answers(Names(names)), self)) for check in found]
        failed = [failure for _, failure in failures if failure]
        points = sum(check.points for check, failure in failures if not failure)
        print(
            f"{question}: {len(found) - len(failed)} of {len(found)} public checks pass ({points:g} points)."
        )
        for failure in failed:
            print(f"- {failure.message}")


class Graded(Assignment):
    """The same assignment in the hands of a grader: with random numbers that only the class secret gives."""

    def __init__(self, name: str, student: str, code: str, secret: str):
        super().__init__(name, student, code)
        self._secret = secret

    def fresh(self, name: str) -> np.random.Generator:
        """Random numbers of a hidden check, which nobody can know who has not the secret."""
        return np.random.default_rng(_number(self._secret, "fresh", self.name, self.student, name))


def in_otter(names: dict[str, Any]) -> tuple[Answers, Graded]:
    """The two arguments of a check, from the names of a notebook that otter-grader runs.

    The class secret stands in the autograder's file `secret.txt`; without one everybody's code is taken as it is.

    Raises:
        CourseError: the code is not that of the student.
    """
    file = Path("secret.txt")
    secret = file.read_text("utf-8").strip() if file.is_file() else ""
    mine = Graded(names["mine"].name, names["student"], names["code"], secret)
    if secret and mine.code != code_of(mine.student, secret):
        raise CourseError(f"The code {mine.code!r} is not that of the student {mine.student!r}.")
    return Answers(Names(names)), mine
