"""Worlds that several tests share."""

import pytest

from utils.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return World(0)
