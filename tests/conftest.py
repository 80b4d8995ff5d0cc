"""Fixtures for every room, and the record of which data-sheet promise is proved by which test."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
ON_REQUEST = ("crash", "fuzz", "thorough")

# A busy machine must not fail a property that holds: time is judged by pytest-timeout alone.
# The same examples at every run, so that a change is judged by what it changed; BLATHY_EXPLORE=1
# draws new ones, as `make fuzz` does.
settings.register_profile(
    "unhurried",
    deadline=None,
    derandomize="BLATHY_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def own_state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands keep between runs (invocation counters) is kept apart from the user's own."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings and telegrams of real devices, kept beside the repository and never in it."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the recordings of real devices are not here: expected in ../shared/data")
    return path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they were asked for with `-m fuzz`, `-m crash` or
    `-m thorough`."""
    asked = config.getoption("-m") or ""
    wanted = [
        i for i in items if not any(i.get_closest_marker(m) and m not in asked for m in ON_REQUEST)
    ]
    dropped = [item for item in items if item not in set(wanted)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = wanted


class RequirementRecorder:
    """Writes build/requirements.json: ID -> the tests that prove it and whether they passed."""

    def __init__(self) -> None:
        self.proofs: dict[str, dict[str, str]] = defaultdict(dict)
        self.ran: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran.add(report.nodeid)
        for name, value in report.user_properties:
            if name != "requirement":
                continue
            if report.when == "call" or report.outcome != "passed":
                self.proofs[str(value)][report.nodeid] = report.outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput") or not self.ran:
            return
        target = ROOT / "build" / "requirements.json"
        target.parent.mkdir(exist_ok=True)
        before: dict[str, dict[str, str]] = {}
        if target.exists():
            try:
                before = json.loads(target.read_text())
            except ValueError:
                pass  # a run that was killed while it wrote; this one starts the table anew
        for name, tests in self.proofs.items():
            before.setdefault(name, {}).update(tests)
        # A test that ran and no longer carries a mark proves that promise no more.
        before = {
            name: kept
            for name, tests in before.items()
            if (
                kept := {
                    test: outcome
                    for test, outcome in tests.items()
                    if test not in self.ran or test in self.proofs.get(name, {})
                }
            )
        }
        fresh = target.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps(before, indent=1, sort_keys=True))
        fresh.replace(target)  # several runs may end at the same time


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RequirementRecorder(), "requirement-recorder")


@pytest.fixture(autouse=True)
def _requirement_properties(request: pytest.FixtureRequest, record_property: Any) -> None:
    for mark in request.node.iter_markers("requirement"):
        for name in mark.args:
            record_property("requirement", name)
