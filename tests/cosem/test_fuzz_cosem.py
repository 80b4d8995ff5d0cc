"""Mutated buffers: no hang, no foreign exception, memory bounded by the octets that are there."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterator
from random import Random

import pytest

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, DataType
from blathy.cosem.captured_items import parse_items
from blathy.cosem.classes import CLASSES, interface_class
from blathy.cosem.columns import OutColumn, decode_profile, encode_compact_profile, encode_profile
from blathy.cosem.compact_data import decode_buffer, encode_buffer, parse_template
from blathy.cosem.cosem_time import CosemDateTime, date_of, date_time_of, time_of
from blathy.cosem.objectlist import (
    ScalerUnit,
    ShortName,
    build_short_names,
    parse_object_list,
    parse_short_names,
    select_objects,
)
from blathy.cosem.recorded_rows import RecordedRows
from blathy.cosem.selective import CLOCK, CaptureObject, parse_capture_objects, parse_selection
from blathy.cosem.status import status_value
from blathy.cosem.time_columns import encode_times
from blathy.obis import Obis
from blathy.quantity import Unit

ZONE = Zone("Europe/Budapest")
CAPTURES = (CLOCK, *(CaptureObject(3, Obis(1, 0, i, 8, 0)) for i in (1, 2, 3)))


def _profile(rows: int, *, nulls: bool) -> list[OutColumn]:
    import numpy as np

    moments = 1_774_692_000 + 900 * np.arange(rows)
    mask = np.arange(rows) % 3 == 1
    return [
        OutColumn(DataType.OCTET_STRING, encode_times(moments, ZONE), mask if nulls else None),
        OutColumn(DataType.UNSIGNED, np.arange(rows) % 5, mask if nulls else None),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, np.arange(rows) * 7),
        OutColumn(DataType.LONG, np.arange(rows) - 3, ~mask if nulls else None),
    ]


SEEDS = (
    ScalerUnit(-1, Unit.V).encode(),
    build_short_names([ShortName(0xFA00, 12, 4, Obis(0, 0, 40, 0, 0))]),
    axdr.encode(
        axdr.array(
            axdr.structure(
                axdr.u16(3),
                axdr.octets(Obis(1, 0, 1, 8, 0)),
                axdr.i8(2),
                axdr.u16(0),
                axdr.structure(axdr.enum(0), axdr.null(), axdr.null()),
                axdr.array(),
            )
        )
    ),
    axdr.encode(axdr.date_time(bytes.fromhex("07ea0b15060c000000ffc400"))),
    axdr.encode(axdr.date(bytes.fromhex("07ea0b1506"))),
    b"\x02\x02\x06\x12" + bytes.fromhex("00000539000a"),
    encode_profile(_profile(4, nulls=False)),
    encode_profile(_profile(6, nulls=True)),
    encode_compact_profile(_profile(4, nulls=False)),
    axdr.encode(
        axdr.array(
            axdr.structure(
                axdr.u16(8),
                axdr.u8(0),
                axdr.octets(bytes(6)),
                axdr.structure(
                    axdr.array(axdr.structure(axdr.i8(2), axdr.enum(1), axdr.array(axdr.i8(1)))),
                    axdr.array(axdr.structure(axdr.i8(1), axdr.enum(1))),
                ),
            )
        )
    ),
    axdr.encode(axdr.array(CLOCK.data(), CAPTURES[1].data())),
    bytes.fromhex(
        "02040204120008090600000100 00FF0F02120000090C07E50101FF00000000FFC400"
        "090C07E50102FF00000000FFC4000100".replace(" ", "")
    ),
    bytes.fromhex("130202 1211 06 000A01 000B02".replace(" ", "")),
    bytes.fromhex("1301000302021209 0C 0001 01AA 0002 00 0003 01BB".replace(" ", "")),
    axdr.encode(
        axdr.structure(axdr.bits("10101"), axdr.utf8("é"), axdr.float64(1.5), axdr.i64(-1))
    ),
)
EDGES = (0, 1, 2, 4, 9, 0x13, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF)


def mutated(random: Random) -> Iterator[bytes]:
    """Truncated, flipped, stretched and spliced seeds for ever."""
    while True:
        raw = bytearray(random.choice(SEEDS))
        for _ in range(random.randrange(1, 5)):
            place = random.randrange(len(raw) + 1)
            kind = random.randrange(6)
            if kind == 0:
                del raw[place:]
            elif kind == 1 and place < len(raw):
                raw[place] = random.choice(EDGES)
            elif kind == 2 and place < len(raw):
                raw[place] ^= 1 << random.randrange(8)
            elif kind == 3:
                raw[place:place] = bytes(random.choice(EDGES) for _ in range(random.randrange(4)))
            elif kind == 4:
                raw[place : place + random.randrange(8)] = b""
            else:
                raw[place:] = random.choice(SEEDS)[random.randrange(4) :]
        yield bytes(raw[:4096])


def _decode_all(raw: bytes) -> None:
    data, end = axdr.decode_prefix(raw)
    assert axdr.skip(raw) == end
    axdr.encode(data)


def _decode_profile(raw: bytes) -> None:
    profile = decode_profile(raw, CAPTURES)
    profile.times(ZONE, 900)


def _selections(raw: bytes) -> None:
    parse_selection(1 + (len(raw) & 1), raw)


def _compact_data(raw: bytes) -> None:
    """Template and buffer cut out of the same octets, as a meter might send them."""
    template, buffer = raw[: len(raw) // 3], raw[len(raw) // 3 :]
    parse_template(template)
    encode_buffer(decode_buffer(template, buffer))


def _rows(raw: bytes) -> None:
    rows = RecordedRows(raw, CAPTURES, 900)
    rows.times()
    assert len(decode_profile(rows.encode(range(len(rows))), CAPTURES)) == len(rows)


def _dates(raw: bytes) -> None:
    data = axdr.decode_prefix(raw)[0]
    for read in (date_time_of, date_of, time_of):
        with contextlib.suppress(AxdrError):
            assert str(read(data))


def _by_class(raw: bytes) -> None:
    """Every attribute of a class judges any value, and says something of it."""
    data = axdr.decode_prefix(raw)[0]
    for attribute in interface_class(CLASS_IDS[len(raw) % len(CLASS_IDS)]).attributes:
        attribute.type.accepts(data)
        attribute.type.plain(data)


CLASS_IDS = sorted(CLASSES)
PARSERS: dict[str, Callable[[bytes], object]] = {
    "axdr": _decode_all,
    "profile": _decode_profile,
    "capture objects": parse_capture_objects,
    "object list": parse_object_list,
    "short names": parse_short_names,
    "objects selected": lambda raw: select_objects((), 1 + len(raw) % 4, raw),
    "scaler and unit": lambda raw: ScalerUnit.of(raw).quantity(axdr.u32(1337)),
    "items pushed or captured": lambda raw: parse_items(axdr.decode_prefix(raw)[0]),
    "type description": axdr.decode_description,
    "compact data": _compact_data,
    "recorded rows": _rows,
    "dates and times": _dates,
    "attributes by class": _by_class,
    "status word": lambda raw: status_value(axdr.decode_prefix(raw)[0]),
    "selection": _selections,
    "date-time": lambda raw: CosemDateTime.of(raw[:12]).utc(ZONE),
}


FULL = {"axdr", "profile", "object list"}
"""What comes over the wire unparsed: 100 000 in the default suite, the others a tenth."""


def _run(name: str, count: int) -> None:
    parse = PARSERS[name]
    slowest = 0.0
    accepted = 0
    for raw, _ in zip(mutated(Random(name)), range(count), strict=False):
        begin = time.perf_counter()
        try:
            parse(raw)
            accepted += 1
        except AxdrError:
            pass
        slowest = max(slowest, time.perf_counter() - begin)
    assert accepted, "the mutations never leave a buffer intact: they test nothing"
    assert slowest < 2.0


@pytest.mark.parametrize("name", list(PARSERS))
def test_mutated_buffers(name: str) -> None:
    _run(name, 100_000 if name in FULL else 10_000)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", list(PARSERS))
def test_a_million_mutated_buffers(name: str) -> None:
    _run(name, 1_000_000)


def test_memory_is_bounded_by_the_octets_that_are_there() -> None:
    lies = (
        b"\x01\x84\xff\xff\xff\xff" + b"\x02\x04" * 100,
        b"\x09\x84\xff\xff\xff\xff" + bytes(200),
        b"\x13\x01\xff\xff" * 30 + b"\x11\x84\xff\xff\xff\xff" + bytes(200),
        b"\x13\x02\x02\x01\xff\xff\x00\x11\x81\xc8" + bytes(200),
        b"\x13\x01\xff\xff\x01\xff\xff\x01\xff\xff\x11\x81\xc8" + bytes(200),
    )
    for lie in lies:
        for parse in (_decode_all, _decode_profile):
            tracemalloc.start()
            with pytest.raises(AxdrError):
                parse(lie)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 2_000_000
