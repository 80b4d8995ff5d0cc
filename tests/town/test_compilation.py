"""The measuring engine compiled in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from blathy.registers.block import Block
from blathy.sources.measured import MeasuredSource
from blathy.sources.synthetic import LoadSpec, SyntheticSource
from blathy.town import compilation
from blathy.town.compilation import Compilation, SampledWhenReady

START_S = 1_779_832_800
COMPILED_WITHIN_S = 240.0


def _workshop() -> SampledWhenReady:
    point = SyntheticSource(LoadSpec(phases=3), 7, 5)
    return SampledWhenReady(point, MeasuredSource(point), ready=False)


def _same(one: Block, other: Block) -> bool:
    return bool((one.energy_u == other.energy_u).all() and (one.instant == other.instant).all())


def test_until_the_engine_is_there_a_place_answers_for_live_seconds_as_for_its_past() -> None:
    workshop = _workshop()
    assert _same(workshop.block(START_S, 3, 1), workshop.point.block(START_S, 3, 1))
    workshop.ready = True
    measured = workshop.block(START_S + 3, 3, 1)
    assert not _same(measured, workshop.point.block(START_S + 3, 3, 1))
    assert workshop.replayable


def test_the_other_process_compiles_and_ends_by_itself() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "blathy.town.compilation"], stdin=subprocess.PIPE
    )
    try:
        assert process.wait(COMPILED_WITHIN_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_other_process_ends_with_the_one_that_started_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "blathy.town.compilation"], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(COMPILED_WITHIN_S)  # at once, or when it has compiled what it was at
    finally:
        process.kill()
        process.wait()


def test_a_town_whose_other_process_dies_loads_the_engine_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[float] = []
    monkeypatch.setattr(compilation, "load_engine", lambda: loads.append(time.monotonic()))
    monkeypatch.setattr(compilation, "_loaded", threading.Event())

    async def run() -> None:
        running = Compilation()
        running.stop()
        await running.loaded()
        running.stop()

    asyncio.run(run())
    assert len(loads) == 1
