"""One town for all tests that look at a running one, and a browser for those that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.portal.conftest import browser
from tests.town.running_town import Nursery, RunningTown

__all__ = ["browser"]


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTown]:
    """Whoever takes something from it (supply, a key) leaves it readable: others come after."""
    running = RunningTown(tmp_path_factory.mktemp("town") / "data")
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="package")
def nursery() -> Iterator[Nursery]:
    """For the towns that are there for one test: a third of a start each."""
    one = Nursery()
    yield one
    one.close()
