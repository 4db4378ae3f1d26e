"""Runs side by side, on two cores and on a Dask cluster with a worker that dies: the rows of the serial run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.environment import recording_environment
from utils import evidence, settings, spread
from utils.errors import CourseError

ROOT = settings.root()
SEEDS = 10
LAB = """
import os, signal, sys, time
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from utils.evidence import Lab

folder = Path(sys.argv[1])
threadpool_limits(3)
data = np.random.default_rng(0).normal(size=(400, 800))
weights = {"scale": 2.0, "lock": None}
lab = Lab("small", folder)


@lru_cache(maxsize=2)
def sample(seed):
    return data[np.random.permutation(len(data))[:100]]


class Model:
    def __call__(self, values):
        return values @ data.T * weights["scale"]


def rate():
    # chosen in runs of its own, which only the recording itself can add
    found = lab.sweep("search", lambda rate: {"loss": rate - 2}, [{"rate": r} for r in (1, 2, 4)])
    return found.recorded["loss"].max()


def run(part, seed):
    with (folder / "began").open("a") as file:
        file.write(f"{os.getpid()} {part} {seed}\\n")
    time.sleep(0.1)
    if seed == 5 and (folder / "die").exists():
        (folder / "die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 7 and (folder / "fail").exists():
        raise ValueError("seed 7 is unlucky")
    pools = {pool["num_threads"] for pool in threadpool_info()}
    noise = np.random.rand() * (part == "first" or rate())
    return {"mean": float(Model()(sample(seed)).mean()), "noise": noise, "threads": max(pools)}


for part in ("first", "second"):
    grid = [{"part": part, "seed": s} for s in range(SEEDS)]
    weights["scale"] += lab.sweep(part, run, grid).recorded["mean"].mean()  # the second rests on the first
""".replace("SEEDS", str(SEEDS))


def begin(folder: Path, **spreading: str) -> subprocess.Popen[str]:
    """Begin to record the small lab into `folder` as `make evidence` does."""
    (folder / "lab.py").write_text(LAB)
    env = recording_environment() | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"} | spreading
    command = [sys.executable, str(folder / "lab.py"), str(folder)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> str:
    """What a recording that ended well wrote to standard error."""
    errors = process.communicate(timeout=400)[1]
    assert process.returncode == 0, errors
    return errors


def sentence(process: subprocess.Popen[str]) -> str:
    """The last line of a recording that failed."""
    errors = process.communicate(timeout=400)[1]
    assert process.returncode == 1, errors
    return errors.strip().splitlines()[-1]


def rows(folder: Path) -> bytes:
    return (folder / "runs" / "small.csv").read_bytes()


def began(folder: Path) -> list[tuple[str, ...]]:
    """(process, part, seed) of each run that was begun."""
    return [tuple(line.split()) for line in (folder / "began").read_text().splitlines()]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("serial")
    ended(begin(folder))
    assert len({process for process, *_ in began(folder)}) == 1
    assert b"threads,3.0" in rows(folder)
    return rows(folder)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask scheduler, which knows nothing of the course and has no worker yet."""
    place = tmp_path_factory.mktemp("dask") / "scheduler.json"
    command = [
        sys.executable,
        "-m",
        "dask",
        "scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    process = subprocess.Popen(
        [*command, "--scheduler-file", str(place)], cwd=place.parent, stderr=subprocess.DEVNULL
    )
    wait(place.exists)
    yield json.loads(place.read_text())["address"]
    process.terminate()
    process.wait(20)


def wait(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable]:
    """Start workers by `tools.worker`, as `make worker` does, or by Dask's own command; end them with the test."""
    started: list[subprocess.Popen] = []

    def start(scheduler: str, *command: str, **environment: str) -> subprocess.Popen:
        command = command or ("-m", "tools.worker", scheduler)
        log = (tmp_path / f"worker-{len(started)}.log").open("w")
        env = os.environ | environment
        where = ROOT if "tools.worker" in command else tmp_path
        process = subprocess.Popen(
            [sys.executable, *command], cwd=where, env=env, stderr=log, start_new_session=True
        )
        started.append(process)
        wait(lambda: "Registered to" in Path(log.name).read_text())
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)  # the nanny and its worker
        process.wait(20)


def by_hand(scheduler: str, *more: str) -> tuple[str, ...]:
    """Dask's own command for a worker that nobody restarts."""
    return ("-m", "dask", "worker", scheduler, "--no-nanny", "--no-dashboard", *more)


def test_two_processes_give_the_rows_of_one(tmp_path: Path, serial: bytes) -> None:
    (tmp_path / "fail").touch()
    assert sentence(begin(tmp_path, COURSE_JOBS="2")) == "ValueError: seed 7 is unlucky"
    kept = len(evidence.read_runs(tmp_path / "runs" / "small.csv")) / 3
    assert 5 <= kept < SEEDS, "a run that fails costs only what is in flight"
    (tmp_path / "fail").unlink()
    (tmp_path / "runs" / "small.csv").unlink()
    (tmp_path / "die").touch()  # what the system does when memory runs out
    ended(begin(tmp_path, COURSE_JOBS="2"))
    assert not (tmp_path / "die").exists()
    assert rows(tmp_path) == serial
    second = [process for process, part, _ in began(tmp_path) if part == "second"]
    assert len(set(second)) == 3, "two, and the recording itself, which did the first for what it asks for"


def test_a_cluster_of_which_a_worker_is_killed_gives_the_rows_of_one_process(
    tmp_path: Path, serial: bytes, scheduler: str, workers: Callable
) -> None:
    for _ in range(2):
        workers(scheduler, *by_hand(scheduler, "--nthreads", "1"), PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    (tmp_path / "die").touch()
    ended(begin(tmp_path, COURSE_SCHEDULER=scheduler))
    assert rows(tmp_path) == serial
    processes = [process for process, part, seed in began(tmp_path) if (part, seed) == ("first", "5")]
    assert len(set(processes)) == 2, "the run in flight began again, on the other worker"
    assert processes[-1] in {process for process, part, _ in began(tmp_path) if part == "second"}


def test_a_recording_goes_on_with_a_new_worker_after_the_last_one_died(
    tmp_path: Path, serial: bytes, scheduler: str, workers: Callable
) -> None:
    workers(scheduler)
    (tmp_path / "die").touch()
    recording = begin(tmp_path, COURSE_SCHEDULER=scheduler)
    wait(lambda: not (tmp_path / "die").exists())
    workers(scheduler)  # what was sent to the dead one is lost, and sent again
    ended(recording)
    assert rows(tmp_path) == serial


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(spread, "PATIENCE", 1)
    yield monkeypatch


def hang_up(scheduler: str) -> None:
    spread._connection(scheduler).close()
    spread._connection.cache_clear()


def test_nobody_answers(impatient: pytest.MonkeyPatch) -> None:
    for address in ("tcp://127.0.0.1:9", "carrier-pigeon://host"):
        impatient.setenv("COURSE_SCHEDULER", address)
        with pytest.raises(
            CourseError, match=f"'{address}' does not answer .*: start it with `dask scheduler`"
        ):
            list(spread.unordered(abs, {"a": 1}))


def test_nobody_works(impatient: pytest.MonkeyPatch, scheduler: str) -> None:
    impatient.setenv("COURSE_SCHEDULER", scheduler)
    with pytest.raises(CourseError, match=f"{scheduler} has no worker: start one .*SCHEDULER={scheduler}`"):
        list(spread.unordered(abs, {"a": 1}))
    hang_up(scheduler)


def test_workers_that_do_not_know_the_course(
    monkeypatch: pytest.MonkeyPatch, scheduler: str, workers: Callable
) -> None:
    workers(scheduler, *by_hand(scheduler, "--nthreads", "1"), PYTHONPATH="")
    monkeypatch.setenv("COURSE_SCHEDULER", scheduler)
    with pytest.raises(CourseError, match=f"can't import utils: start the workers of {scheduler} in a clone"):
        list(spread.unordered(abs, {"a": 1}))
    hang_up(scheduler)


def test_workers_that_are_not_made_for_it(tmp_path: Path) -> None:
    parcel, _ = spread._packed(abs)
    there = spread._facts([str(tmp_path)])
    assert spread._work(parcel, "a", there, "one", -1) == ("one", 1)
    for what in ("torch", "the course's utils", "COURSE_PROFILE", "hash('course')"):
        other = there | {"same": there["same"] | {what: "another"}}
        with pytest.raises(
            CourseError, match=f"has {re.escape(what)} .*, and the recording has another: start it"
        ):
            spread._work(parcel, "b", other, "one", -1)
    with pytest.raises(CourseError, match="has no .*elsewhere, which these runs share: set TMPDIR"):
        spread._work(parcel, "c", there | {"shared": [str(tmp_path / "elsewhere")]}, "one", -1)
    with (
        spread._at_work,
        pytest.raises(CourseError, match="several runs at a time.* start it with --nthreads 1"),
    ):
        spread._work(parcel, "a", there, "one", -1)


def test_what_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_JOBS", "2")
    lock = threading.Lock()
    with pytest.raises(CourseError, match="can't be sent to a worker .*without JOBS and SCHEDULER"):
        list(spread.unordered(lambda task: lock.locked(), {"a": 1}))


def test_files_of_the_session_are_noticed(tmp_path: Path) -> None:
    assert spread._packed(lambda task: tmp_path / "encoder.pth")[1] == [str(tmp_path)]


def test_jobs_and_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COURSE_JOBS", "COURSE_SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    assert (settings.jobs(), settings.scheduler()) == (1, "")
    for wrong in ("0", "two", "-1", "²"):
        monkeypatch.setenv("COURSE_JOBS", wrong)
        with pytest.raises(CourseError, match=f"COURSE_JOBS='{wrong}' is not a number"):
            settings.jobs()
    monkeypatch.setenv("COURSE_JOBS", "2")
    monkeypatch.setenv("COURSE_SCHEDULER", "tcp://host:8786")
    with pytest.raises(CourseError, match="set one of the two"):
        settings.scheduler()
