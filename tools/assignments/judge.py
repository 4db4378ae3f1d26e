"""Grade one submission: run it in a room, ask it for its answers, and check them out here."""

import builtins
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tools.assignments.classes import Class
from tools.assignments.room import Room, RoomClosed
from tools.assignments.source import Question, Source
from tools.assignments.submission import Submission
from utils import checks, plain
from utils.errors import CourseError

CELL = 20  # seconds of processor time for one cell
CALL = 8  # seconds of processor time for one call of a student's function
CHECK = 20  # seconds of processor time for one check, apart from the student's
SUBMISSION = 180  # seconds on the clock for all of it
STARTS = 5  # how often a notebook is run, each time without the cells and functions that ended its process
KINDS = {  # what a student may learn about a failed hidden check: nothing that the notebook can put words into
    "an answer is missing",
    "an answer is no plain data",
    *(f"your function raised {name}" for name in dir(builtins) if name.endswith("Error")),
}


class CheckTookTooLong(BaseException):
    """A check used up its processor time; passes through `checks.run`."""


@dataclass
class Checked:
    """What one check said. `message` is for the teacher, `said` for the student."""

    name: str
    hidden: bool
    about: str
    points: float
    of: float
    message: str = ""
    said: str = ""


@dataclass
class Answered:
    """One question: points, `None` while a person has not read it, and what its checks said."""

    name: str
    of: float
    points: float | None
    checks: list[Checked] = field(default_factory=list)
    text: str = ""
    comment: str = ""


@dataclass
class Graded:
    """One submission, graded: `problem` says why nothing could be graded, `events` what happened to its cells."""

    student: str
    problem: str = ""
    events: list[str] = field(default_factory=list)
    questions: list[Answered] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0

    @classmethod
    def from_json(cls, text: str) -> "Graded":
        """What `json.dumps(asdict(graded))` wrote."""
        given = json.loads(text)
        questions = [
            Answered(**{**answered, "checks": [Checked(**checked) for checked in answered["checks"]]})
            for answered in given.pop("questions")
        ]
        return cls(questions=questions, **given)


class Candidate:
    """A student's process as a source of answers; it is started again, without the fatal cell, when it ends.

    Args:
        assignment: name.
        cells: the notebook's code cells.
        closed: whether in a closed room.
    """

    def __init__(self, assignment: str, cells: list[str], closed: bool):
        self.assignment, self.cells, self.closed = assignment, cells, closed
        self.deadline = time.monotonic() + SUBMISSION
        self.events: list[str] = []
        self.memory = 0
        self._fatal: set[int | str] = set()  # numbers of cells and names of functions that ended the process
        self._starts = 0
        self._room: Room | None = None

    def __enter__(self) -> "Candidate":
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._room:
            self.memory = max(self.memory, self._room.most)
            self._room.close()
            self._room = None

    def start(self) -> None:
        """Run all cells in a new room, until it works, or often enough."""
        while self._starts < STARTS and time.monotonic() < self.deadline:
            self._starts += 1
            self._leave()
            self._room = Room(self.assignment, self.deadline, self.closed)
            if all(self._survived(number, code) for number, code in enumerate(self.cells, 1)):
                return
        self._leave()
        self.events.append(
            "The notebook was given up, so what it had not answered until then counts as missing."
        )

    def _survived(self, number: int, code: str) -> bool:
        """Run one cell and note what happened; whether the process is still there."""
        if number in self._fatal:
            return True
        first = next((line for line in code.splitlines() if line.strip()), "")[:60]
        event = ""
        try:
            reply = self._room.ask(CELL, do="run", code=code)
            if reply.get("late"):
                event = f"ran for more than {CELL} seconds and was stopped"
            elif reply.get("raised"):
                event = f"raised {reply['raised']}"
        except RoomClosed as closed:
            self._fatal.add(number)
            event = f"{closed}; the notebook was run again without it"
        event = f"Code cell {number} (`{first}`) {event}." if event else ""
        if event and event not in self.events:
            self.events.append(event)
        return number not in self._fatal

    def _ask(self, name: str, **step: Any) -> dict:
        """Ask, and turn everything that can go wrong into an AnswerError."""
        if self._room is None:
            raise checks.AnswerError(f"`{name}` could not be asked for any more.", "the notebook was stopped")
        if name in self._fatal:
            raise checks.AnswerError(f"`{name}` ended its process before.", "your function ended its process")
        try:
            reply = self._room.ask(CALL, name=name, **step)
        except RoomClosed as closed:
            self._fatal.add(name)
            self.start()
            raise checks.AnswerError(f"`{name}` {closed}.", f"your function {closed}") from closed
        if reply.get("late"):
            raise checks.AnswerError(
                f"`{name}` ran for more than {CALL} seconds.", "your function took too long"
            )
        if "refused" in reply:
            kind = str(reply.get("kind"))
            raise checks.AnswerError(
                str(reply["refused"])[:1000], kind if kind in KINDS else "your code failed"
            )
        return reply

    def _value(self, name: str, reply: dict) -> Any:
        try:
            return plain.loads(reply["value"])
        except (plain.NotPlain, KeyError):
            raise checks.AnswerError(f"`{name}` is no plain data.", "an answer is no plain data") from None

    def look(self, name: str) -> Any:
        """The value with this name, or the function. Raises AnswerError."""
        reply = self._ask(name, do="look")
        return checks.Function(self, name) if reply.get("function") else self._value(name, reply)

    def call(self, name: str, args: tuple, kwargs: dict) -> Any:
        """What the student's function returns. Raises AnswerError."""
        return self._value(name, self._ask(name, do="call", given=plain.dumps((args, kwargs))))


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise CheckTookTooLong after so many seconds of this process's time: an answer can make a check slow."""

    def late(*_: Any) -> None:
        raise CheckTookTooLong

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def identified(submission: Submission, source: Source, class_: Class) -> str:
    """Why this submission belongs to nobody, in one sentence; empty when it belongs to its student."""
    if submission.problem:
        return submission.problem
    student, code = submission.student, submission.code.upper()
    if submission.assignment and submission.assignment != source.name:
        return f"It is an answer to {submission.assignment}, not to {source.name}."
    if student in ("", checks.OPEN):
        return "It names no student: write your id and your code into the cell `student = ...` and hand it in again."
    if code != checks.code_of(student, class_.secret):
        return f"The code {code!r} is not that of the student {student!r}: compare both with what your teacher sent."
    if student not in class_.students:
        return f"The student {student!r} is not in the class list."
    return ""


def grade(submission: Submission, source: Source, class_: Class, closed: bool) -> Graded:
    """Grade one submission that is `identified`, whatever it does.

    Answers come into this process: give it a process with a limit on memory.
    """
    start = time.monotonic()
    graded = Graded(submission.student)
    mine = checks.Graded(source.name, submission.student, submission.code, class_.secret)
    checked: dict[str, list[Checked]] = {}
    with Candidate(source.name, submission.cells, closed) as candidate:
        for hidden in (
            False,
            True,
        ):  # last the hidden ones: no later message can carry their inputs to the student
            for question in source.questions.values():
                these = [check for check in question.checks if check.hidden == hidden]
                checked.setdefault(question.name, []).extend(
                    _checked(check, candidate, mine) for check in these
                )
    graded.questions = [
        _answered(question, checked[question.name], submission.written)
        for question in source.questions.values()
    ]
    graded.events, graded.memory = candidate.events, candidate.memory
    graded.seconds = round(time.monotonic() - start, 1)
    return graded


def _answered(question: Question, results: list[Checked], written: dict[str, str]) -> Answered:
    if question.manual:
        text = written.get(question.name, "")
        return Answered(question.name, question.points, None if text else 0.0, text=text)
    return Answered(question.name, question.points, sum(result.points for result in results), results)


def _checked(check: checks.Check, candidate: Candidate, mine: checks.Graded) -> Checked:
    if time.monotonic() > candidate.deadline:
        return Checked(
            check.name, check.hidden, check.about, 0.0, check.points, *[f"Over {SUBMISSION} seconds."] * 2
        )
    try:
        with _limited(CHECK):
            failure = checks.run(check, checks.Answers(candidate), mine)
    except CheckTookTooLong:
        candidate.start()  # it may have been interrupted in the middle of an answer
        failure = checks.Failure(
            f"The check ran for more than {CHECK} seconds.", "a result that takes too long to check"
        )
    except CourseError as error:
        failure = checks.Failure(f"The check itself failed: {error}", "a result that can't be checked")
    result = Checked(
        check.name, check.hidden, check.about, check.points if not failure else 0.0, check.points
    )
    if failure:
        result.message = failure.message
        result.said = f"Hidden check ({check.about}): {failure.kind}." if check.hidden else failure.message
    return result
