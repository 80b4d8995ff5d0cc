"""Data of real meters and of the standard's examples: decoded as expected, re-encoded the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from blathy.clock import Zone, iso_utc, utc_of
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import RangeDescriptor, parse_selection


@lru_cache(maxsize=1)
def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((path / "dlms-vectors.json").read_text())
    return entries


def _shown(data: Data) -> list[Any]:
    """The notation of the vectors: [type, value], octet-strings in hex."""
    if data.value is None:
        return [data.type.text]
    if data.type in (axdr.DataType.ARRAY, axdr.DataType.STRUCTURE):
        return [data.type.text, [_shown(each) for each in data.value]]
    value = data.value.hex() if isinstance(data.value, bytes) else data.value
    return [data.type.text, value]


def _holders(expected: Any) -> Iterator[dict[str, Any]]:
    """Every part of an expectation that holds decoded data."""
    if isinstance(expected, dict):
        if {"data", "parameters"} & expected.keys():
            yield expected
        for value in expected.values():
            yield from _holders(value)


def _data_bytes(entry: dict[str, Any], expected: list[Any]) -> bytes:
    """Where in the entry's plain octets the expected data stands."""
    raw = bytes.fromhex(entry["hex"])
    plain = entry["expected"].get("plaintext") if isinstance(entry["expected"], dict) else None
    for octets in (raw, bytes.fromhex(plain) if plain else b""):
        for offset in range(len(octets)):
            try:
                data, end = axdr.decode_prefix(octets, offset)
            except axdr.AxdrError:
                continue
            if _shown(data) == expected:
                return octets[offset:end]
    return b""


def test_data_of_every_unciphered_entry(shared_data: Path) -> None:
    """Every array, structure and value that an entry expects, found and written back."""
    checked = 0
    for entry in _entries(shared_data):
        for holder in _holders(entry["expected"]):
            for key in ("data", "parameters"):
                expected = holder.get(key)
                if not isinstance(expected, list):
                    continue
                raw = _data_bytes(entry, expected)
                if not raw and entry["kind"] in {"hdlc-stream", "mbus-stream"}:
                    continue  # in segments or ciphered: the wire room puts them together
                assert raw, entry["name"]
                assert axdr.encode(axdr.decode(raw)) == raw, entry["name"]
                assert axdr.skip(raw) == len(raw)
                checked += 1
    assert checked >= 20


def test_axdr_entries_consume_what_they_say(shared_data: Path) -> None:
    entries = [entry for entry in _entries(shared_data) if entry["kind"] == "axdr-data"]
    assert entries
    for entry in entries:
        raw = bytes.fromhex(entry["hex"])
        data, end = axdr.decode_prefix(raw)
        assert end == entry["expected"]["consumed"]
        assert _shown(data) == entry["expected"]["data"]
        assert axdr.encode(data) == raw[:end]


def _clocks(expected: Any) -> Iterator[dict[str, Any]]:
    if isinstance(expected, dict):
        if "raw" in expected and "deviation" in expected:
            yield expected
        for value in expected.values():
            yield from _clocks(value)
    elif isinstance(expected, list):
        for value in expected:
            yield from _clocks(value)


def test_date_times_of_every_entry(shared_data: Path) -> None:
    checked = 0
    for entry in _entries(shared_data):
        for clock in _clocks(entry["expected"]):
            raw = bytes.fromhex(clock["raw"])
            moment = CosemDateTime.of(raw)
            date, time = moment.date, moment.time
            fields = (date.year, date.month, date.day, date.weekday)
            assert fields == tuple(clock[key] for key in ("year", "month", "day", "weekday"))
            assert (time.hour, time.minute, time.second, time.hundredths) == tuple(
                clock[key] for key in ("hour", "minute", "second", "hundredths")
            )
            assert moment.deviation_min == clock["deviation"]
            assert moment.status == (None if clock["status"] == "ff" else int(clock["status"], 16))
            assert moment.raw() == raw
            if "iso8601" in clock:
                assert moment.utc() == utc_of(datetime.fromisoformat(clock["iso8601"]))
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize(
    "name", ["get-request-profile-by-range-1", "get-request-profile-by-range-2"]
)
def test_selective_access_of_recorded_requests(shared_data: Path, name: str) -> None:
    entry = next(each for each in _entries(shared_data) if each["name"] == name)
    raw = _data_bytes(entry, entry["expected"]["parameters"])
    selection = parse_selection(entry["expected"]["selector"], raw)
    assert isinstance(selection, RangeDescriptor)
    assert selection.restricting.is_clock
    assert selection.encode() == raw
    first, last = selection.utc_bounds(Zone("UTC"))
    assert iso_utc(first) < iso_utc(last)
