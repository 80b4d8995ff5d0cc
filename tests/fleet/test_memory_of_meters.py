"""Ten thousand meters in one process: what each of them takes besides the rows it has recorded."""

from __future__ import annotations

import gc
import secrets
import tracemalloc

import pytest

from blathy.meter.meter import Meter, new_meter
from blathy.models import MODELS
from tests.meter.simple_load import ConstantLoad

START_S = 1_767_225_600
METERS = 40
FRESH_MAX = 12_000
"""Octets of a meter that was just made, with what a client would be served from."""
STEPPED_MAX = 24_000
"""Octets after its first hour: registers, demands and the first rows are its own then."""


def _taken(key: str, minutes: int) -> float:
    """Octets that each of some further meters of a model takes."""
    model = MODELS[key]

    def made(serial: int) -> tuple[Meter, object]:
        meter = new_meter(model, serial, "memory", start_utc_s=START_S, entropy=secrets.token_bytes)
        if minutes:
            meter.advance(ConstantLoad(500, len(model.phases)), START_S + 60 * minutes)
        return meter, meter.logical_device()

    standing = [made(n) for n in range(2)]  # tables that are shared, and caches
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        meters = [made(10 + n) for n in range(METERS)]
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(meters) + len(standing) == METERS + 2
    return (after - before) / METERS


@pytest.mark.parametrize("key", ["omnipower", "mt372", "k162m"])
def test_a_new_meter_takes_little(key: str) -> None:
    assert _taken(key, 0) < FRESH_MAX


def test_a_meter_that_has_measured_takes_little_more() -> None:
    assert _taken("omnipower", 60) < STEPPED_MAX
