"""A meter that says nonsense in due form: every operation ends in a value or an outcome.

The protocol is right, the values are not: wrong types, cut octets, structures of another shape.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from blathy.client import (
    FileObjectCache,
    Meter,
    MeterError,
    ObjectCache,
    activate_security,
    change_password,
    disconnect,
    event_logs,
    push_setup,
    read_compact,
    read_events,
    security_policy,
    set_push,
    switch_state,
    transfer_image,
)
from blathy.cosem import axdr
from blathy.cosem.classes.enumerations import SecurityPolicy
from blathy.cosem.objectlist import build_object_list
from blathy.cosem.service import AttributeRef, MethodRef, Requester
from blathy.obis import Obis
from tests.client.small_meter import ENTRIES, SmallMeter, _entry, address, device, line
from tests.virtual_time import run_in_virtual_time

SHAPES = (
    b"", b"\x00", b"\x01\x00", b"\x02\x00", b"\x09\x0c", b"\x13\x02", b"\x06\x00\x00",
    axdr.encode(axdr.u32(7)), axdr.encode(axdr.boolean(True)),
    axdr.encode(axdr.octets(b"\xff" * 12)),
    axdr.encode(axdr.visible("text")), axdr.encode(axdr.bits("0101")), axdr.encode(axdr.enum(200)),
    axdr.encode(axdr.array(axdr.u8(1), axdr.octets(b"x"))), axdr.encode(axdr.i8(-1)),
    axdr.encode(axdr.structure(axdr.u16(1), axdr.octets(b"123456"), axdr.i8(2), axdr.u16(0))),
    axdr.encode(axdr.array(axdr.structure(axdr.octets(b"\x00" * 12), axdr.u32(1)))),
    axdr.encode(axdr.structure(axdr.i8(127), axdr.enum(255))), axdr.encode(axdr.float32(0.5)),
    axdr.encode(axdr.structure(axdr.enum(9), axdr.octets(b"\xff\xfe"), axdr.enum(0))),
)  # fmt: skip
LISTED = build_object_list((
    *ENTRIES, _entry(18, 0, Obis.parse("0-0:44.0.0"), 7, 4),
    _entry(40, 1, Obis.parse("0-0:25.9.0"), 10, 1),
    _entry(64, 1, Obis.parse("0-0:43.0.0"), 6, 8), _entry(62, 0, Obis.parse("0-0:66.0.1"), 6, 2),
    _entry(7, 1, Obis.parse("0-0:99.98.0"), 8, 2), _entry(15, 3, Obis.parse("0-0:40.0.2"), 11, 4),
))  # fmt: skip


class Junk(SmallMeter):
    """Says the truth now and then, and what it is drawn to otherwise."""

    def __init__(self, seed: int, truth: float) -> None:
        super().__init__(rows=4)
        self._random, self._truth = random.Random(seed), truth

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if self._random.random() < self._truth:
            if (ref.class_id, ref.attribute) == (15, 2):
                return LISTED
            return super().get(ref, who)
        return self._random.choice(SHAPES)

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        """Takes everything."""

    def invoke(self, ref: MethodRef, parameters: bytes, who: Requester) -> bytes:
        return self._random.choice(SHAPES)


async def _image(one: Meter) -> None:
    await transfer_image(one, bytes(40), "fw", patience_s=0.01)


async def _columns(one: Meter) -> None:
    found = await one.profile("1-0:99.1.0", since=0)
    for row in found:
        _ = row.time, [row[str(c.capture.obis)] for c in found.columns]
    found.headings()
    found.to_arrow()


OPERATIONS: tuple[Callable[[Meter], Awaitable[Any]], ...] = (
    lambda one: one.objects(fresh=True),
    lambda one: one.read("1-0:1.8.0"),
    lambda one: one.read_many(["1-0:32.7.0/scaler_unit", "0-0:96.3.10/3", "0-0:1.0.0"]),
    lambda one: one.write("0-0:96.1.0", "x"),
    lambda one: one.write("1-0:1.8.0", "5 Wh"),
    lambda one: one.call("0-0:96.3.10", 1),
    lambda one: one.methods("0-0:96.3.10"),
    lambda one: one.clock_offset_s(),
    lambda one: one.set_clock(),
    lambda one: one.capture_objects("1-0:99.1.0"),
    lambda one: one.set_many([("0-0:96.1.0", axdr.u8(1)), ("0-0:96.1.9", axdr.u8(1))]),
    _columns, _image, switch_state, disconnect, read_events, event_logs, push_setup,
    security_policy,
    lambda one: set_push(one, objects=["1-0:1.8.0"], destination="127.0.0.1:1"),
    lambda one: activate_security(one, SecurityPolicy.REQUEST_SIGNED),
    lambda one: change_password(one, "x"),
    lambda one: read_compact(one, "0-0:66.0.1"),
)  # fmt: skip


async def _told(seed: int, truth: float, cache: ObjectCache) -> int:
    """How many operations came to a value."""
    done = 0
    where = address("client=2&auth=lls&password=12345678&timeout=5")
    for operation in OPERATIONS:
        found = line(device(Junk(seed, truth)))
        one = Meter.connect(where, line=found, cache=cache, type_key=str(seed))
        try:
            async with one:
                await operation(one)
                done += 1
        except MeterError as error:
            assert "\n" not in str(error)  # noqa: PT017 - of every error that there may be
    return done


def _many(seeds: range) -> int:
    async def all_of_them() -> int:
        return sum([
            await _told(seed, truth, ObjectCache()) for seed in seeds for truth in (0.3, 0.7, 0.9)
        ])  # fmt: skip

    count: int = run_in_virtual_time(all_of_them)
    return count


def test_nonsense_ends_in_a_value_or_an_outcome() -> None:
    done = _many(range(12))
    assert 0 < done < 12 * 3 * len(OPERATIONS)


@pytest.mark.fuzz
def test_fuzz_nonsense() -> None:
    assert _many(range(1000, 3000))


def test_what_was_learned_of_nonsense_is_kept_without_harm(tmp_path: Any) -> None:
    async def test() -> None:
        for seed in range(4):
            await _told(seed, 0.9, FileObjectCache(tmp_path))
            await _told(seed, 0.9, FileObjectCache(tmp_path))

    run_in_virtual_time(test)
