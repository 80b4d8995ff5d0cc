"""Load profiles: bytes to columns and back, beside gurux-dlms and dlms-cosem.

2 880 rows (a month of quarter hours) of clock as octet-string(12), u8, u32, u32: the answer that a
head-end decodes a million times a month.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import DataType
from blathy.cosem.columns import (
    OutColumn,
    decode_profile,
    encode_compact_profile,
    encode_profile,
    periodic,
    repeats,
)
from blathy.cosem.selective import CLOCK, CaptureObject
from blathy.cosem.time_columns import encode_times
from blathy.obis import Obis

ROWS = 2880
PERIOD_S = 900
START_S = 1_774_692_000
ZONE = Zone("Europe/Budapest")
CAPTURES = (
    CLOCK,
    CaptureObject(1, Obis.parse("0-0:96.10.1")),
    CaptureObject(3, Obis.parse("1-0:1.8.0")),
    CaptureObject(3, Obis.parse("1-0:2.8.0")),
)
PEERS = {"gurux": "gurux-dlms", "dlms_cosem": "dlms-cosem"}
PEER_SCRIPT = Path(__file__).resolve().parent / "peers" / "profile_decoder.py"
ROUNDS, CALLS = 7, 20


def table(*, compressed: bool = False) -> list[OutColumn]:
    """The month, with null-data where a value repeats if `compressed`."""
    random = np.random.default_rng(1889)
    moments = START_S + PERIOD_S * np.arange(ROWS)
    status = np.where(random.random(ROWS) < 0.02, 8, 0)
    energy = 4_000_000 + np.cumsum(random.integers(0, 900, ROWS))
    export = np.cumsum(random.integers(0, 2, ROWS))
    masks = (periodic(moments, PERIOD_S), repeats(status), repeats(export))
    times, statuses, exports = masks if compressed else (None, None, None)
    return [
        OutColumn(DataType.OCTET_STRING, encode_times(moments, ZONE), times),
        OutColumn(DataType.UNSIGNED, status, statuses),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, energy),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, export, exports),
    ]


def mixed_profile() -> bytes:
    """The same month where numbers take the smallest type that holds them, and nulls in between."""
    columns = table()
    stamps, status, energy, export = (np.asarray(column.values) for column in columns)
    rows = []
    for i in range(ROWS):
        small = int(energy[i] - energy[0])
        rows.append(
            axdr.structure(
                axdr.octets(stamps[i].tobytes()),
                axdr.u8(int(status[i])),
                axdr.u16(small) if small < 65_536 and i % 3 else axdr.u32(small),
                axdr.u32(int(export[i])) if i % 5 == 0 else axdr.null(),
            )
        )
    return axdr.encode(axdr.array_of(rows))


def rows_per_s(work: Callable[[], object]) -> float:
    """Rows a second of CPU: the median of some rounds after a warm-up."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(CALLS):
            work()
        rounds.append((time.process_time() - begin) / CALLS)
    return ROWS / statistics.median(rounds)


def peer_rows_per_s(peer: str, raw: bytes, *, times: bool) -> float:
    """The peer's figure, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "profile.bin"
        file.write_bytes(raw)
        what = "seconds-with-times" if times else "seconds"
        command = [sys.executable, str(PEER_SCRIPT), peer, what, str(file)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
    return ROWS / float(json.loads(done.stdout.splitlines()[-1]))


def _line(work: str, figure: float, goal: float | None, **peer: Any) -> dict[str, Any]:
    shown = {"peer": "", "peer_figure": None, **peer}
    return {"work": work, "figure": figure, "unit": "rows/s", "goal": goal, **shown}


def run() -> list[dict[str, Any]]:
    plain, nulls = encode_profile(table()), encode_profile(table(compressed=True))
    mixed, compact = mixed_profile(), encode_compact_profile(table())
    lines = []
    for times, goal in ((False, 10e6), (True, 5e6)):
        name = "profile to columns" + (" with datetime64" if times else "")

        def work(times: bool = times) -> object:
            profile = decode_profile(plain, CAPTURES)
            return profile.times().datetime64() if times else profile

        ours = rows_per_s(work)
        for peer, label in PEERS.items():
            theirs = peer_rows_per_s(peer, plain, times=times)
            lines.append(_line(name, ours, goal, peer=label, peer_figure=theirs))
    for name, raw in (("null-data", nulls), ("mixed layouts", mixed), ("compact-array", compact)):

        def decode(raw: bytes = raw) -> object:
            return decode_profile(raw, CAPTURES).times(period_s=PERIOD_S).datetime64()

        asked = None if name == "compact-array" else 1e6
        lines.append(_line(f"{name} to columns with datetime64", rows_per_s(decode), asked))
    columns = table()
    lines.append(_line("columns to profile", rows_per_s(lambda: encode_profile(columns)), None))
    moments = START_S + PERIOD_S * np.arange(ROWS)
    figure = rows_per_s(lambda: encode_times(moments, ZONE))
    lines.append(_line("UTC to date-time octets", figure, None))
    return lines
