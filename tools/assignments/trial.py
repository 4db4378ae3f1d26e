"""Try an assignment: its solution, its mutants, and answers copied from another student, against all checks."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any

from tools.assignments.source import ROOT, Mutant, Source
from utils import checks, plain

SECRET = "the class of those who write assignments"
Failed = dict[str, str]  # name of a check that failed -> why


def student(source: Source, name: str) -> checks.Graded:
    """A student of the class that tries assignments."""
    return checks.Graded(source.name, name, checks.code_of(name, SECRET), SECRET)


def run(cells: Iterable[tuple[str | None, str]], names: dict[str, Any], mine: checks.Assignment) -> None:
    """Run a notebook's cells as this student."""
    for _, code in cells:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "cell", "exec"), names)
        if "student" in names and "mine" not in names:
            names.update(student=mine.student, code=mine.code)


def failed(source: Source, question: str, names: dict[str, Any], mine: checks.Graded) -> Failed:
    """The checks of a question that fail on these names."""
    answer = checks.Answers(checks.Names(names))
    outcomes = {check.name: checks.run(check, answer, mine) for check in source.questions[question].checks}
    return {name: failure.message for name, failure in outcomes.items() if failure}


def in_children(works: list[Callable[[], Failed]]) -> list[Failed]:
    """Do each work in a copy of this process, which leaves this one as it is, two at a time."""
    return [result for start in range(0, len(works), 2) for result in _at_once(works[start : start + 2])]


def _at_once(works: list[Callable[[], Failed]]) -> list[Failed]:
    started = []
    for work in works:
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            try:
                with os.fdopen(writable, "w") as pipe:
                    json.dump(work(), pipe)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)  # no exit handlers: they are the parent's
        os.close(writable)
        started.append((child, readable))
    results = []
    for child, readable in started:
        with os.fdopen(readable) as pipe:
            results.append(json.load(pipe))
        os.waitpid(child, 0)
    return results


@dataclass(frozen=True)
class Trial:
    """A run of the solution, in which each question is also answered by its mutants.

    Attributes:
        solution: question -> its checks that fail.
        mutants: for each of `source.mutants` the checks of its question that fail.
        copied: question -> its checks that fail on values copied from another student.
        seconds: of the solution's cells, and of the checks of each question.
    """

    solution: dict[str, Failed]
    mutants: list[Failed]
    copied: dict[str, Failed]
    seconds: dict[str, float]


def tried(name: str) -> Trial:
    """The trial of an assignment in a process of its own, on one thread.

    A copy of a process that has computed on several threads can stand still for ever: its threads are not copied.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    program = [sys.executable, "-m", "tools.assignments.trial", name]
    done = subprocess.run(program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Trial(**json.loads(done.stdout))


def _try(source: Source) -> Trial:
    ada, eve = student(source, "ada"), student(source, "eve")
    mutants: dict[int, Failed] = {}
    solution: dict[str, Failed] = {}
    seconds = dict.fromkeys(("cells", *source.questions), 0.0)
    names: dict[str, Any] = {"__name__": "__main__"}
    for question, group in groupby(source.program(), lambda cell: cell[0]):
        cells = list(group)
        wrong = {
            number: [cell for cell in source.program(mutant) if cell[0] == question]
            for number, mutant in enumerate(source.mutants)
            if mutant.question == question
        }
        for place, cell in enumerate(cells):  # the cells before a mistake run once, for all of its mutants
            begins = [
                n for n, others in wrong.items() if others[:place] == cells[:place] and others[place] != cell
            ]
            works = [
                partial(_mutated, source, source.mutants[n], wrong[n][place:], names, ada) for n in begins
            ]
            mutants |= zip(begins, in_children(works), strict=True)
            start = time.perf_counter()
            run([cell], names, ada)
            seconds["cells"] += time.perf_counter() - start
    for question in source.questions:
        start = time.perf_counter()
        solution[question] = failed(source, question, names, ada)
        seconds[question] = time.perf_counter() - start
    others: dict[str, Any] = {"__name__": "__main__"}
    run(source.program(), others, eve)
    values = {
        name: value for name, value in others.items() if name not in ("student", "code") and _plain(value)
    }
    copied = {question: failed(source, question, names | values, ada) for question in source.questions}
    return Trial(solution, [mutants[number] for number in sorted(mutants)], copied, seconds)


def _mutated(
    source: Source,
    mutant: Mutant,
    cells: list[tuple[str | None, str]],
    names: dict[str, Any],
    mine: checks.Graded,
) -> Failed:
    for cell in cells:
        try:
            run([cell], names, mine)
        except Exception as error:  # as a student's does; then its names are missing
            print(f"{mutant.question}, {mutant.mistake}: {type(error).__name__}: {error}", file=sys.stderr)
    return failed(source, mutant.question, names, mine)


def _plain(value: Any) -> bool:
    try:
        plain.dumps(value)
    except plain.NotPlain:
        return False
    return True


def report(source: Source, trial: Trial, questions: Iterable[str]) -> bool:
    """Print what a source's trial found about some questions; whether all is as it should be."""
    good = True

    def line(fine: bool, text: str, said: Failed) -> None:
        nonlocal good
        good &= fine
        print(f"{'ok   ' if fine else 'WRONG'} {text}")
        for name, message in said.items():
            print(f"        {name}: {message}")

    for question in questions:
        asked = source.questions[question]
        if asked.manual:
            line(True, f"{question}: read by a person, {asked.points:g} points", {})
            continue
        said = trial.solution[question]
        line(not said, f"{question}: solution, checks took {trial.seconds[question]:.1f} s", said)
        print(f"      {question}: copied answers fail {', '.join(trial.copied[question]) or 'nothing'}")
        mutants = [(n, m) for n, m in enumerate(source.mutants) if m.question == question]
        line(len(mutants) >= 3, f"{question}: {len(mutants)} mutants, at least 3", {})
        for number, mutant in mutants:
            said = trial.mutants[number]
            fine = set(said) == set(mutant.fails)
            line(fine, f"{question}: {mutant.mistake} (should fail {', '.join(mutant.fails)})", said)
    print(f"The solution's cells took {trial.seconds['cells']:.1f} s, imports included.")
    return good


if __name__ == "__main__":
    print(json.dumps(asdict(_try(Source(sys.argv[1])))))
