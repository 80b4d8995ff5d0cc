"""Profiles decoded by two independent libraries, each in its own process, beside ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import DataType
from blathy.cosem.columns import OutColumn, decode_profile, encode_profile
from blathy.cosem.selective import CLOCK, CaptureObject
from blathy.cosem.time_columns import encode_times
from blathy.obis import Obis

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "peers" / "profile_decoder.py"
PEERS = ("gurux", "dlms_cosem")
CAPTURES = (CLOCK, *(CaptureObject(3, Obis(1, 0, i, 8, 0)) for i in (1, 2, 3, 4, 5, 6)))


def decoded_by(peer: str, raw: bytes, directory: Path) -> list[list[Any]]:
    file = directory / "profile.bin"
    file.write_bytes(raw)
    command = [sys.executable, str(SCRIPT), peer, "rows", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def shown(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [[v.hex() if isinstance(v, bytes) else v for v in row] for row in rows]


def generated() -> bytes:
    random = np.random.default_rng(3)
    count = 400
    stamps = encode_times(1_774_692_000 + 900 * np.arange(count), Zone("Europe/Budapest"))
    return encode_profile(
        [
            OutColumn(DataType.OCTET_STRING, stamps),
            OutColumn(DataType.UNSIGNED, random.integers(0, 256, count)),
            OutColumn(DataType.DOUBLE_LONG_UNSIGNED, random.integers(0, 2**32, count)),
            OutColumn(DataType.DOUBLE_LONG, random.integers(-(2**31), 2**31, count)),
            OutColumn(DataType.LONG, random.integers(-(2**15), 2**15, count)),
            OutColumn(DataType.LONG64, random.integers(-(2**63), 2**63 - 1, count)),
            OutColumn(DataType.LONG_UNSIGNED, random.integers(0, 2**16, count)),
        ]
    )


@pytest.mark.interop
@pytest.mark.parametrize("peer", PEERS)
def test_peers_read_what_we_write_and_read(peer: str, tmp_path: Path) -> None:
    raw = generated()
    ours = list(decode_profile(raw, CAPTURES).rows())
    assert decoded_by(peer, raw, tmp_path) == shown(ours)


@pytest.mark.interop
@pytest.mark.parametrize("peer", PEERS)
def test_peers_see_null_data_where_we_do(peer: str, tmp_path: Path) -> None:
    rows = [
        axdr.structure(axdr.octets(bytes(12)), axdr.u32(1), axdr.u8(7)),
        axdr.structure(axdr.null(), axdr.u32(2), axdr.null()),
        axdr.structure(axdr.null(), axdr.null(), axdr.u8(9)),
    ]
    raw = axdr.encode(axdr.array_of(rows))
    profile = decode_profile(raw, CAPTURES[:3], fill_nulls=False)
    assert decoded_by(peer, raw, tmp_path) == shown(list(profile.rows()))
