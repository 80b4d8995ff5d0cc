"""An output that nobody reads on (`| head`) ends every verb with 0 and without a word, and so does
Ctrl-C one that follows something."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import pytest

from blathy.cli import main, operate, up
from tests.cli.in_process import blathy
from tests.cli.made_recordings import three_phase, write_csv
from tests.cli.test_en50160_command import two_days, write
from tests.free_ports import free_port

ANSWERS: dict[str, Any] = {
    "/points/p1/keys": {
        "items": [{"purpose": "master", "changed_at": "", "fingerprint": "", "why_not": ""}],
        "pending": None,
    },
    "/clocks": {
        "items": [
            {"point": {"id": "p1", "name": "Flat 1"}, "offset_s": 1.0, "drift_s_per_day": 0.1,
             "checked_at": "", "proposed": "leave"}
        ],
    },
    "/events": {"items": [{"at": "", "pushed_at": "", "point": {"name": "Flat 1"}, "text": "x"}]},
}  # fmt: skip


class Centre:
    """A control centre that has one point."""

    def __init__(self, *_login: str) -> None:
        pass

    def get(self, path: str, **_query: str) -> Any:
        return ANSWERS[path]

    def stream(self, topics: str) -> Iterator[tuple[str, Any]]:
        yield topics, ANSWERS["/events"]["items"][0]
        signal.raise_signal(signal.SIGINT)

    def ordered(self, _path: str, _body: Any, *, yes: bool) -> Any:
        return {"result": {"read_back": {"limit_w": 5000, "asked": yes}}}


@pytest.fixture
def closed() -> Iterator[TextIO]:
    """The end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        yield pipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and a table of two days."""
    folder = tmp_path_factory.mktemp("made")
    write_csv(folder / "recording.csv", three_phase(0.5))
    write(folder / "days.csv", two_days())
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "alarms",
        "clock",
        "doctor --quiet",
        "en50160 days.csv",
        "explain C0018100010000600100FF0200",
        "keys p1",
        "measure recording.csv",
        "measure recording.csv --json",
        "model list",
        "model show esox",
        "order p1 limit power_w=5000 --yes",
        "requirements",
        "type-test omnipower --class A",
    ],
)
def test_a_verb_whose_output_nobody_reads_on_ends_quietly(
    line: str, closed: TextIO, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "ControlCentre", Centre)
    words = [made / word if word.endswith(".csv") else word for word in line.split()]
    done = blathy(*words, stdout=closed)
    assert (done.status, done.err) == (0, "")


def test_so_does_a_control_centre_that_runs(
    closed: TextIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "configure_log", lambda _path: None)  # the log of these tests
    site = tmp_path / "site.toml"
    site.write_text('name = "Mill Lane"\nstations = []\nfeeders = []\npoints = []\n')
    words = ("up", "--headless", "--config", site, "--data", tmp_path / "site")
    done = blathy(*words, "--port", free_port(), stdout=closed)
    assert (done.status, done.err) == (0, "")


def test_ctrl_c_ends_what_follows_the_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "ControlCentre", Centre)
    done = blathy("alarms", "--follow")
    assert (done.status, done.err) == (0, "")
    assert "Flat 1: x" in done.out


def test_a_full_disk_is_one_sentence_and_a_closed_output_is_none() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = blathy("model", "list", stdout=full)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert "the output can't be written: No space left on device; make room" in done.err
    with mock.patch.multiple(sys, stdout=None, argv=["blathy", "model", "list"]):
        main()
