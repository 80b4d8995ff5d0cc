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

# The matrix library's threads spin for each other: where every core is busy, a least-squares fit
# takes twenty times as long. Set before numpy is imported; commands that tests start inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
ON_REQUEST = ("crash", "fuzz", "thorough")
COLLECTED = "blathy-collected"
SHARE_A_TOWN = ("tests/town/test_town_running.py", "tests/town/test_portal_of_a_town.py")

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` a file's tests run in one worker, so that what they share is made
    once; the files that share a running town count as one.

    The option `loadgroup` would do so by marks, but pytest-xdist 3.8 writes them where pytest 9.2
    does not look.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesOfATown(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "a running town" if file in SHARE_A_TOWN else file

    return FilesOfATown(config, log)


class RequirementRecorder:
    """Writes build/requirements.json: ID -> the tests that prove it and whether they passed.

    Runs of parts add up: an outcome stays until its test runs again, or is found to be gone or to
    carry the mark no more when its file is collected.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.proofs: dict[str, dict[str, str]] = defaultdict(dict)
        self.files: set[str] = set()
        self.marked: set[tuple[str, str]] = set()
        """(ID, test) of all tests in `files`, whether they were selected or not."""
        self.ran = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.nodeid.endswith(".py") and report.passed:
            self.files.add(report.nodeid)
        for node in report.result:
            if isinstance(node, pytest.Item):
                marks = node.iter_markers("requirement")
                self.marked |= {(name, node.nodeid) for mark in marks for name in mark.args}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a worker of pytest-xdist has collected: here nothing is."""
        found = getattr(node, "workeroutput", {}).get(COLLECTED, {"files": [], "marked": []})
        self.files.update(found["files"])
        self.marked.update((name, test) for name, test in found["marked"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran = True
        for name, value in report.user_properties:
            if name != "requirement":
                continue
            if report.when == "call" or report.outcome != "passed":
                self.proofs[str(value)][report.nodeid] = report.outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            collected = {"files": sorted(self.files), "marked": sorted(map(list, self.marked))}
            session.config.workeroutput[COLLECTED] = collected  # type: ignore[attr-defined]
        elif self.ran:
            self.write(self.root / "build" / "requirements.json")

    def write(self, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        before: dict[str, dict[str, str]] = {}
        if target.exists():
            try:
                before = json.loads(target.read_text())
            except ValueError:
                pass  # a run that was killed while it wrote; this one starts the table anew
        for name, tests in self.proofs.items():
            before.setdefault(name, {}).update(tests)
        standing = {
            name: {test: outcome for test, outcome in tests.items() if self.stands(name, test)}
            for name, tests in before.items()
        }
        fresh = target.with_suffix(f".{os.getpid()}.tmp")
        proved = {name: tests for name, tests in standing.items() if tests}
        fresh.write_text(json.dumps(proved, indent=1, sort_keys=True))
        fresh.replace(target)  # several runs may end at the same time

    def stands(self, name: str, test: str) -> bool:
        """Whether the test is still there and still marked with this ID, as far as can be told."""
        file = test.partition("::")[0]
        if file in self.files:
            return (name, test) in self.marked
        return (self.root / file).exists()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RequirementRecorder(), "requirement-recorder")


@pytest.fixture(autouse=True)
def _requirement_properties(request: pytest.FixtureRequest, record_property: Any) -> None:
    for mark in request.node.iter_markers("requirement"):
        for name in mark.args:
            record_property("requirement", name)
