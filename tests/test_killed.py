"""Killed loops go on and end as if nothing had happened: a slice of `benchmarks.kills`, and what it recorded."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks import kills
from utils.settings import root

# kept short: steps of each loop here
STEPS = {
    "pretrain": 30, "convai_gpt": 37, "imdb_bert": 20, "fastai": 24, "span_tf": 20, "sweep": 8, "grade": 8,
    "make_checkpoints": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def context():
    return kills.fork()


def check(found: dict, count: int) -> None:
    assert found["kills"] == count and 0 < found["killed_while_writing"] < count
    assert found["arrays"] and found["largest_difference"] == 0
    assert found["steps_repeated"] <= count * (found["every"] + 1), "no more is lost than what was not kept"
    assert found["files_left_at_the_end"] == []
    # a part with a name of its own is removed only when it is old, so that those of several kills add up
    assert found["most_parts_left_by_a_kill"] <= found["killed_while_writing"] + 1


@pytest.mark.parametrize("name", kills.LOOPS)
def test_a_killed_loop_ends_as_an_undisturbed_one(context, tmp_path, name):
    check(kills.killed(context, name, tmp_path, 2, STEPS[name]), 2)


def test_the_recorded_result():
    result = json.loads((root() / "benchmarks" / "kills.json").read_text("utf-8"))
    assert set(result) == set(kills.LOOPS)
    for name, found in result.items():
        assert (found["steps"], found["every"]) == (kills.LOOPS[name].steps, kills.LOOPS[name].every)
        check(found, kills.KILLS)
        shares = [each["share"] for each in found["at"]]
        assert max(shares) - min(shares) > 0.5, "at all times of the work"


KILLED_GRADER = """
import sys, time
from concurrent.futures import process
from pathlib import Path
from tools.assignments import grade, judge
from tools.assignments.source import Source

def slow(*given):
    Path(sys.argv[2], "began").touch()
    time.sleep(600)

judge.grade = slow
grade.grade_class(Path(sys.argv[1]), Path(sys.argv[2]) / "class.yml", "02_analysis", 2)
"""


def test_the_processes_of_a_killed_grader_end(tmp_path):
    """SIGKILL for the first process alone: those that it started would wait for work for ever."""
    kills.hand_in_class(tmp_path, 2)
    grader = subprocess.Popen(
        [sys.executable, "-c", KILLED_GRADER, tmp_path / "submissions", tmp_path], cwd=root()
    )
    while not (tmp_path / "began").exists():
        assert grader.poll() is None
        time.sleep(0.05)
    family = psutil.Process(grader.pid).children(recursive=True)
    assert family
    os.kill(grader.pid, signal.SIGKILL)
    grader.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    for process in alive:
        process.kill()
    assert not alive
