"""Every test and every notebook kernel runs in the environment in which the notebooks were built."""

import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.built_book import ROOT, build
from tools.environment import enter_notebook_environment

enter_notebook_environment()


@pytest.fixture(autouse=True)
def own_precision() -> Iterator[None]:
    """Each test starts accelerate anew, which otherwise keeps the precision that the first one asked for."""
    yield
    if accelerate := sys.modules.get("accelerate.state"):
        accelerate.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def own_limits() -> Iterator[None]:
    """No test may leave a limit on this process, under which later ones would fail."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
    before = [resource.getrlimit(limit) for limit in limits]
    yield
    assert [resource.getrlimit(limit) for limit in limits] == before


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the pages of the book; fails with what the build said when it is not clean.

    All workers of a test run share it: the first one builds, others wait.
    """
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    said = shared / "book.txt"
    with (shared / "book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            done = build(ROOT, shared / "book")
            ended = f"jupyter-book ended with {done.returncode}.\n{done.stderr[-4000:]}"
            said.write_text(ended if done.returncode else "", "utf-8")
    assert not said.read_text("utf-8"), said.read_text("utf-8")
    return shared / "book" / "_build" / "html"
