"""Grade a folder of notebooks: `make grade SUBMISSIONS=folder CLASS=class.yml`."""

import hashlib
import json
import multiprocessing
import os
import resource
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import psutil
from tqdm import tqdm

from tools.assignments import judge, reports
from tools.assignments.classes import Class, read_class
from tools.assignments.room import MEMORY, closed_room_refused
from tools.assignments.source import Source, all_names
from tools.assignments.submission import Submission, read
from utils.errors import CourseError

EXPECTED = 10  # seconds for a submission, where none has been graded yet


def found(folder: Path) -> list[Submission]:
    """The notebooks in a folder and the folders in it.

    Raises:
        CourseError: no such folder, or no notebook in it.
    """
    paths = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not paths:
        raise CourseError(
            f"There is no notebook (.ipynb) in {folder}: SUBMISSIONS is the folder with what students sent."
        )
    return [read(path) for path in paths]


def assignment_of(submissions: list[Submission]) -> str:
    """The assignment that most of the submissions answer.

    Raises:
        CourseError: none of them says so.
    """
    named = Counter(
        submission.assignment for submission in submissions if submission.assignment in all_names()
    )
    if not named:
        raise CourseError(
            "No notebook says which assignment it answers: give ASSIGNMENT=01_pretraining, for example."
        )
    return named.most_common(1)[0][0]


def fingerprint(submission: Submission, source: Source, class_: Class) -> str:
    """What a result depends on: with the same one a submission is not graded again."""
    parts = (submission.path.read_bytes(), source.path.read_bytes(), class_.secret.encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def grade_one(submission: Submission, assignment: str, class_: Class, closed: bool, target: Path) -> None:
    """Grade one submission in this process and write the result."""
    graded = judge.grade(submission, Source(assignment), class_, closed)
    half = target.with_suffix(".half")
    half.write_text(json.dumps(asdict(graded), indent=1), "utf-8")
    half.replace(target)


def _begin() -> None:
    """Begin a grading process: it ends when its parent is killed, for it would wait for work for ever.

    Answers come in here, so its memory is limited, to `MEMORY` beyond what it was born with.
    """

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    born = getattr(psutil.Process().memory_info(), "data", 0)  # told by Linux, where the limit holds
    resource.setrlimit(resource.RLIMIT_DATA, (born + MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _announce(todo: int, done: list[judge.Graded], cores: int) -> None:
    each = sum(graded.seconds for graded in done) / len(done) if done else EXPECTED
    likely, longest = (max(1, round(todo * seconds / cores / 60)) for seconds in (each, judge.SUBMISSION))
    print(
        f"Grading {todo} submissions on {cores} cores, {len(done)} are finished already: about {likely} min, at "
        f"most {longest} min. You may interrupt it; the same command goes on from there.",
        flush=True,
    )


def grade_class(folder: Path, class_path: Path, assignment: str, workers: int) -> Path:
    """Grade all submissions and write the reports into `grades/ASSIGNMENT` beside class.yml; where they stand.

    Raises:
        CourseError: nothing to grade, or a wrong class.yml.
    """
    class_ = read_class(class_path)
    submissions = found(folder)
    source = Source(assignment or assignment_of(submissions))
    target = class_path.resolve().parent / "grades" / source.name
    kept = target / "graded"
    kept.mkdir(parents=True, exist_ok=True)
    refused = closed_room_refused(source.name)
    if refused:
        print(
            f"Take care: this system gives no closed rooms ({refused}). Students' code runs with limits on time, "
            "memory and output and without network, but a determined student could get around that. Grade on a Linux "
            "machine of its own if you don't trust everybody in the class."
        )
    results: dict[Path, judge.Graded] = {}
    todo: dict[Path, tuple[Submission, Path]] = {}
    for submission in submissions:
        problem = judge.identified(submission, source, class_)
        at = kept / f"{fingerprint(submission, source, class_)}.json" if not problem else None
        if problem:
            results[submission.path] = judge.Graded(submission.student, problem)
        elif at.is_file():
            results[submission.path] = judge.Graded.from_json(at.read_text("utf-8"))
        else:
            todo[submission.path] = (submission, at)
    _announce(len(todo), [graded for graded in results.values() if not graded.problem], workers)
    results |= _grade_all(todo, source.name, class_, not refused, workers)
    reports.write(
        target, class_, source, {path.relative_to(folder): results[path] for path in sorted(results)}
    )
    return target


def _grade_all(
    todo: dict[Path, tuple[Submission, Path]], assignment: str, class_: Class, closed: bool, workers: int
) -> dict[Path, judge.Graded]:
    fork = multiprocessing.get_context("fork")
    results = {}
    with ProcessPoolExecutor(workers, mp_context=fork, initializer=_begin) as pool:
        futures = {
            pool.submit(grade_one, submission, assignment, class_, closed, at): path
            for path, (submission, at) in todo.items()
        }
        try:
            for future in tqdm(as_completed(futures), total=len(todo), unit="notebook"):
                path = futures[future]
                submission, at = todo[path]
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise CourseError(
                        "A grading process was stopped from outside: repeat the command, it goes on."
                    )
                results[path] = (
                    judge.Graded(
                        submission.student, f"The grading itself failed: {type(error).__name__}: {error}"
                    )
                    if error
                    else judge.Graded.from_json(at.read_text("utf-8"))
                )
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise CourseError("Interrupted: the same command goes on from here.") from None
    return results
