"""What the record of the promises keeps: outcomes add up, and go with their tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.conftest import COLLECTED, RequirementRecorder

CONFTEST = """
from tests.conftest import _requirement_properties
"""
BOTH = """
import pytest

@pytest.mark.requirement("X-01")
@pytest.mark.parametrize("n", [1, 2])
def test_a(n): pass

@pytest.mark.requirement("X-01", "X-02")
def test_b(): pass
"""
ALL = {
    "X-01": {f"test_it.py::test_{which}": "passed" for which in ("a[1]", "a[2]", "b")},
    "X-02": {"test_it.py::test_b": "passed"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the same size in the same second
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = requirement\n")
    return tmp_path


def run(folder: Path, text: str, *selected: str, file: str = "test_it.py") -> Any:
    """Run the tests of a text; the record afterwards."""
    (folder / file).write_text(text)
    options = ("-q", "--rootdir", folder, "-c", folder / "pytest.ini", "--import-mode=importlib")
    off = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    where = [str(folder / one) for one in selected or ("",)]
    plugins = [RequirementRecorder(folder)]
    with mock.patch.dict(sys.modules):
        assert pytest.main([*map(str, (*options, *off)), *where], plugins=plugins) == 0
    return json.loads((folder / "build" / "requirements.json").read_text())


def test_a_test_that_is_gone_or_renamed_proves_nothing(folder: Path) -> None:
    assert run(folder, BOTH) == ALL
    renamed = run(folder, BOTH.replace("test_b", "test_c"))
    assert renamed["X-02"] == {"test_it.py::test_c": "passed"}
    fewer = run(folder, BOTH.replace("[1, 2]", "[2]"))
    assert fewer == {**ALL, "X-01": {k: v for k, v in ALL["X-01"].items() if "[1]" not in k}}
    assert run(folder, BOTH.replace(', "X-02"', "")) == {"X-01": ALL["X-01"]}


def test_a_file_that_is_gone_proves_nothing(folder: Path) -> None:
    assert run(folder, BOTH) == ALL
    other = {"test_other.py::test_c": "passed"}
    text = BOTH.replace("test_b", "test_c").replace("test_a", "helped")
    assert run(folder, text, "test_other.py", file="test_other.py")["X-02"] == ALL["X-02"] | other
    (folder / "test_it.py").unlink()
    assert run(folder, text, file="test_other.py") == {"X-01": other, "X-02": other}


def test_runs_of_parts_add_up(folder: Path) -> None:
    assert run(folder, BOTH) == ALL
    assert run(folder, BOTH, "test_it.py::test_b") == ALL
    assert run(folder, BOTH, "test_it.py::test_a[2]") == ALL


def test_what_workers_have_collected_counts(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(BOTH)
    target = tmp_path / "build" / "requirements.json"
    target.parent.mkdir()
    target.write_text(json.dumps(ALL))
    recorder = RequirementRecorder(tmp_path)
    found = {"files": ["test_it.py"], "marked": [["X-02", "test_it.py::test_b"]]}
    recorder.pytest_testnodedown(SimpleNamespace(workeroutput={COLLECTED: found}))
    recorder.pytest_testnodedown(SimpleNamespace())  # one that broke down
    recorder.write(target)
    assert json.loads(target.read_text()) == {"X-02": ALL["X-02"]}
