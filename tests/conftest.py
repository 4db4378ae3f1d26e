"""Every test and every notebook kernel runs in the environment in which the notebooks were built."""

import resource
import sys
from collections.abc import Iterator

import pytest

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
