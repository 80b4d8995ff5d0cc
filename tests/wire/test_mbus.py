"""M-Bus: recorded telegrams of real meters, our slave against our master and against pyMeterBus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.mbus import (
    ACK,
    Frame,
    FrameReader,
    Header,
    MbusMaster,
    MbusSlave,
    Medium,
    NoAnswer,
    Reading,
    decode_records,
    decode_telegram,
    manufacturer_code,
    manufacturer_letters,
    record_bytes,
)

WATER = Header(12_345_678, "BLT", 1, Medium.WATER)
HOUR = Instant(3600 * NANOSECONDS_PER_S)


def telegrams(shared_data: Path, kind: str) -> list[dict[str, Any]]:
    entries = json.loads((shared_data / "telegrams.json").read_text())
    entries = entries if isinstance(entries, list) else entries["telegrams"]
    return [entry for entry in entries if entry["kind"] == kind]


def frame_of(data: bytes) -> Frame:
    (frame,) = FrameReader().receive(data)
    assert isinstance(frame, Frame)
    return frame


UNITS = {"m^3": "m³", "m^3/h": "m³/h", "\u00c2\u00b0C": "°C"}


def test_recorded_telegrams_decode_as_libmbus_and_pymeterbus_agree(shared_data: Path) -> None:
    compared = 0
    for entry in telegrams(shared_data, "mbus-wired"):
        telegram = decode_telegram(frame_of(bytes.fromhex(entry["data"])))
        assert telegram.header is not None
        assert telegram.header.manufacturer == entry["expected"]["slave"]["Manufacturer"]
        wanted = entry["expected"]["records"]
        assert len(telegram.records) == len(wanted), entry["name"]
        for record, want in zip(telegram.records, wanted, strict=True):
            assert record.storage == int(want.get("StorageNumber", 0)), entry["name"]
            assert record.tariff == int(want.get("Tariff", 0)), entry["name"]
            unit = UNITS.get(want["Unit"], want["Unit"])
            if isinstance(record.value, int) and unit == record.vif.unit != "":
                got = record.value * 10.0**record.vif.scaler
                assert got == pytest.approx(float(want["Value"]), rel=1e-6, abs=1e-6), entry["name"]
                compared += 1
    assert compared > 100


def test_a_telegram_that_breaks_the_standard_is_an_error_of_the_sender(shared_data: Path) -> None:
    for entry in telegrams(shared_data, "mbus-wired-negative"):
        with pytest.raises(RemoteProtocolError, match=r"DIFE|VIFE|ends inside"):
            decode_telegram(frame_of(bytes.fromhex(entry["data"])))


def water_slave(telegram_list: list[bytes], address: int = 5) -> MbusSlave:
    return MbusSlave(address, WATER, lambda: telegram_list)


def talk(master: MbusMaster, slaves: list[MbusSlave], cut: int = 0) -> list[Reading | NoAnswer]:
    """Let them talk until the master has an event; `cut` bytes at a time on the line (0: all)."""
    now, events = 0, []
    for _ in range(10_000):
        out = master.to_send()
        if not out:
            if events:
                return events
            due = master.deadline()
            assert due is not None
            now = int(due)
            events += master.tick(Instant(now))
            continue
        pieces = [out[i : i + cut] for i in range(0, len(out), cut)] if cut else [out]
        for piece in pieces:
            for slave in slaves:
                for answer in slave.receive(piece, Instant(now)):
                    size = cut or len(answer)
                    for i in range(0, len(answer), size):
                        events += master.receive(answer[i : i + size], Instant(now))
    raise AssertionError("they never came to an end")


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_master_reads_a_slave_whose_reading_takes_three_telegrams(cut: int) -> None:
    parts = [record_bytes(0x04, [0x13], 1000 + n) for n in range(3)]
    master = MbusMaster()
    master.read(5, Instant(0))
    (reading,) = talk(master, [water_slave(parts), water_slave([], address=6)], cut)
    assert isinstance(reading, Reading)
    assert reading.header is not None
    assert reading.header.identification == 12_345_678
    assert [r.value for r in reading.records] == [1000, 1001, 1002]
    assert reading.records[0].vif.quantity == "Volume"
    assert reading.records[0].vif.scaler == -3


def test_master_selects_one_of_two_slaves_by_secondary_address() -> None:
    other = MbusSlave(5, Header(99, "KAM", 1, Medium.HEAT_OUTLET), lambda: [b"\x04\x06\x01\0\0\0"])
    master = MbusMaster()
    master.read_selected(WATER.secondary_address(), Instant(0))
    (reading,) = talk(master, [other, water_slave([record_bytes(0x0C, [0x13], 42)])])
    assert isinstance(reading, Reading)
    assert reading.records[0].value == 42


def test_a_silent_slave_is_asked_three_times_and_reported() -> None:
    master = MbusMaster()
    master.read(9, Instant(0))
    sent = 0
    now = 0
    events: list[Reading | NoAnswer] = []
    while not events:
        sent += bool(master.to_send())
        due = master.deadline()
        assert due is not None
        now = int(due)
        events = master.tick(Instant(now))
    assert events == [NoAnswer(9)]
    assert sent == 3


def test_the_same_frame_count_bit_repeats_the_answer() -> None:
    value = iter(range(10))
    slave = MbusSlave(5, WATER, lambda: [record_bytes(0x04, [0x13], next(value))])
    slave.receive(Frame(0x40, 5).encode(), Instant(0))
    first = slave.receive(Frame(0x7B, 5).encode(), Instant(1))
    assert slave.receive(Frame(0x7B, 5).encode(), Instant(2)) == first
    assert slave.receive(Frame(0x5B, 5).encode(), Instant(3)) != first


def test_a_broadcast_is_obeyed_in_silence() -> None:
    assert water_slave([]).receive(Frame(0x40, 255).encode(), Instant(0)) == []
    assert water_slave([]).receive(Frame(0x40, 254).encode(), Instant(0)) == [ACK]


def test_a_broken_frame_does_not_swallow_the_next_one() -> None:
    slave = water_slave([])
    assert slave.receive(bytes.fromhex("6820206808"), Instant(0)) == []
    assert slave.receive(Frame(0x40, 5).encode(), HOUR) == [ACK]


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_in_any_pieces_give_the_same_frames(data: bytes, cut: int) -> None:
    good = Frame(8, 1, 0x72, WATER.encode()).encode()
    stream = data + b"\0" * 256 + good  # zeros end any frame that the noise began
    whole = FrameReader().receive(stream)
    reader = FrameReader()
    pieces = [f for i in range(0, len(stream), cut) for f in reader.receive(stream[i : i + cut])]
    assert pieces == whole
    assert frame_of(good) in whole


@given(st.binary(max_size=120))
def test_any_record_bytes_end_in_records_or_the_one_error(data: bytes) -> None:
    try:
        records, _ = decode_records(data)
    except RemoteProtocolError:
        return
    assert len(records) <= len(data)


@given(st.integers(-(10**7) + 1, 10**8 - 1))
def test_bcd_round_trip(number: int) -> None:
    (record,), _ = decode_records(record_bytes(0x0C, [0x13], number))
    assert record.value == number


def test_a_number_too_large_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="does not fit"):
        record_bytes(0x02, [0x13], 40_000)


def test_manufacturer_letters_round_trip() -> None:
    assert manufacturer_code("KAM") == 0x2C2D
    assert manufacturer_letters(0x2C2D) == "KAM"


PEER = """
import json, sys, meterbus
telegram = meterbus.load(bytes.fromhex(sys.argv[1]))
print(telegram.to_JSON())
"""


@pytest.mark.interop
def test_pymeterbus_reads_our_slave() -> None:
    records = b"".join(
        (
            record_bytes(0x0C, [0x78], 12_345_678),
            record_bytes(0x04, [0x13], 123_456),
            record_bytes(0x04, [0x06], 789, dife=[0x10]),
            record_bytes(0x02, [0xFD, 0x48], 2305),
        )
    )
    slave = water_slave([records])
    slave.receive(Frame(0x40, 5).encode(), Instant(0))
    (answer,) = slave.receive(Frame(0x7B, 5).encode(), Instant(1))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEER, answer.hex()],
        capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    body = json.loads(done.stdout)["body"]
    assert body["header"]["identification"] == "0x12, 0x34, 0x56, 0x78"
    values = [float(r["value"]) for r in body["records"]]
    assert values == pytest.approx([12_345_678, 123.456, 789_000, 230.5])
