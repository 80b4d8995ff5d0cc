"""Read a meter's whole object model: every object of the association, every readable attribute.

What a meter refuses is recorded as refused. Profile buffers are left empty unless some rows are
asked for; their newest rows are then kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from blathy.client.address import AUTHENTICATION, MeterAddress
from blathy.client.items import SCALED
from blathy.client.meter import Meter
from blathy.client.session import LOGICAL_DEVICE_NAME
from blathy.client.values import ObjectRefused, Value, typed_value
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.classes import interface_class
from blathy.cosem.objectlist import AccessRight, AttributeAccess, ObjectEntry, ScalerUnit
from blathy.cosem.recorded_rows import RecordedRows
from blathy.cosem.selective import CaptureObject, EntryDescriptor
from blathy.cosem.service import AttributeRef, DataAccessResult
from blathy.models.recorded import RecordedAttribute, RecordedMeter, RecordedObject
from blathy.transport.errors import Garbled, Refused
from blathy.wire.apdu import Conformance
from blathy.wire.security import Protection

PROFILE_CLASS: Final = 7
CLOCK_CLASS: Final = 8
ALL_ROWS: Final = -1
TEXT_MAX: Final = 200
_EMPTY_ARRAY: Final = axdr.encode(axdr.array())

Progress = Callable[[int, int], None]
"""Objects done, objects in all."""
Keep = Callable[[RecordedMeter], None]
"""Takes what has been read so far."""


async def clone(
    meter: Meter,
    *,
    rows: int = 0,
    progress: Progress | None = None,
    begun: RecordedMeter | None = None,
    keep: Keep | None = None,
) -> RecordedMeter:
    """The object model of an open meter, with the newest `rows` of every profile (ALL_ROWS: all).

    A lost connection ends it with the outcome as everywhere; a refused attribute does not. After
    every object `keep` is handed what is there so far, and `begun` takes such a part up again: its
    objects are not read a second time.
    """
    entries = await meter.objects(fresh=True)
    recorded: list[RecordedObject] = []
    known = {} if begun is None else {item.entry: item for item in begun.objects}
    read_at = int(time.time()) if begun is None else begun.read_at_utc_s
    for done, entry in enumerate(entries):
        item = known.get(entry)
        if item is None:
            item, read_by = await _object(meter, entry, rows)
            if entry.class_id == CLOCK_CLASS:
                read_at = read_by
        recorded.append(item)
        if progress is not None:
            progress(done + 1, len(entries))
        if keep is not None:
            keep(_meter(meter, read_at, recorded))
    return _meter(meter, read_at, recorded)


def _meter(meter: Meter, read_at: int, recorded: Sequence[RecordedObject]) -> RecordedMeter:
    address = meter.address
    return RecordedMeter(
        place=address.place,
        client=address.client,
        server=address.server,
        authentication=_authentication(address),
        ciphered=bool(address.keys.unicast) and address.protection != Protection.NONE,
        system_title=meter.system_title,
        read_at_utc_s=read_at,
        objects=tuple(recorded),
    )


def _authentication(address: MeterAddress) -> str:
    return next(name for name, value in AUTHENTICATION.items() if value is address.mechanism)


def _attributes_of(entry: ObjectEntry) -> tuple[AttributeAccess, ...]:
    """Those that the list grants; lists without rights (short names) leave the class to say."""
    if entry.attributes:
        return entry.attributes
    try:
        known = interface_class(entry.class_id, entry.version).attributes
    except KeyError:
        return tuple(AttributeAccess(number, AccessRight.READ) for number in (1, 2))
    selectors = (1, 2) if entry.class_id == PROFILE_CLASS else ()
    return tuple(
        AttributeAccess(row.index, AccessRight.READ, selectors if row.index == 2 else ())
        for row in known
    )


async def _object(meter: Meter, entry: ObjectEntry, rows: int) -> tuple[RecordedObject, int]:
    """The object, and our time when its answer came."""
    access = _attributes_of(entry)
    buffer = 2 if entry.class_id == PROFILE_CLASS else 0
    asked = [row for row in access if row.right & AccessRight.READ and row.index != buffer]
    refs = [AttributeRef(entry.class_id, entry.obis, row.index) for row in asked]
    readings = await _read(meter, refs)
    read_at = int(time.time())
    found = dict(zip((row.index for row in asked), readings, strict=True))
    if any(row.index == buffer and row.right & AccessRight.READ for row in access):
        found[buffer] = await _buffer(meter, entry, rows)
    attributes = tuple(_recorded(entry, row, found) for row in access)
    return RecordedObject(
        entry.class_id, entry.version, entry.obis, attributes, entry.methods
    ), read_at


async def _read(meter: Meter, refs: Sequence[AttributeRef]) -> Sequence[bytes | int]:
    """Octets or refusals; a meter that answers oddly to one attribute is asked for each alone."""
    try:
        return await meter.read_octets(refs)
    except (Refused, Garbled):
        await _still_there(meter)
        if len(refs) == 1:
            return [DataAccessResult.OTHER_REASON]
    return [found for ref in refs for found in await _read(meter, (ref,))]


async def _still_there(meter: Meter) -> None:
    """Raise where not the answer was odd but the connection has gone."""
    await meter.read_octets((LOGICAL_DEVICE_NAME,))


def _recorded(
    entry: ObjectEntry, row: AttributeAccess, found: dict[int, bytes | int]
) -> RecordedAttribute:
    plain = RecordedAttribute(row.index, row.right, row.selectors)
    result = found.get(row.index)
    if result is None:
        return plain
    if isinstance(result, int):
        return replace(plain, refused=result)
    return replace(plain, value=result, text=_text(entry, row.index, found))


def _text(entry: ObjectEntry, index: int, found: dict[int, bytes | int]) -> str:
    """What people read; the octets alone count."""
    raw = found[index]
    scaler = found.get(SCALED.get(entry.class_id, {}).get(index, 0))
    unit = None
    assert isinstance(raw, bytes)
    try:
        if isinstance(scaler, bytes):
            unit = ScalerUnit.of(scaler)
        value = typed_value(AttributeRef(entry.class_id, entry.obis, index), raw, unit)
    except ValueError:
        return "?"
    text = _shown(value)
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"


def _shown(value: Value) -> str:
    if isinstance(value, bytes):
        printable = value and all(32 <= octet < 127 for octet in value)
        return value.decode("ascii") if printable else value.hex(" ")
    if isinstance(value, tuple):
        return "(" + ", ".join(_shown(each) for each in value) + ")"
    return "–" if value is None else str(value)


async def _buffer(meter: Meter, entry: ObjectEntry, rows: int) -> bytes | int:
    """The newest rows of a profile, as the meter writes them."""
    if rows == 0:
        return _EMPTY_ARRAY
    ref = AttributeRef(PROFILE_CLASS, entry.obis, 2)
    bit = (
        Conformance.PARAMETERIZED_ACCESS
        if meter.address.short_names
        else Conformance.SELECTIVE_ACCESS
    )
    if rows != ALL_ROWS and meter.agreed(bit):
        in_use = await _entries_in_use(meter, entry)
        if in_use == 0:
            return _EMPTY_ARRAY
        if in_use > rows:
            chosen = EntryDescriptor(in_use - rows + 1, in_use)
            ref = replace(ref, selector=2, parameters=chosen.encode())
    try:
        raw = await meter.get(ref)
    except ObjectRefused as error:
        return error.result
    except (Refused, Garbled):
        await _still_there(meter)
        return _EMPTY_ARRAY  # an odd answer to this one buffer, e.g. a long one without blocks
    if rows == ALL_ROWS:
        return raw
    captures = await meter.capture_objects(entry.obis)
    period_s = meter.knowledge.periods_s[entry.obis]
    return _newest(raw, rows, captures, period_s)


async def _entries_in_use(meter: Meter, entry: ObjectEntry) -> int:
    try:
        data = await meter.get_data(AttributeRef(PROFILE_CLASS, entry.obis, 7))
    except ObjectRefused:
        return 0
    return int(data.value) if data.type in axdr.INTEGER_TYPES else 0


def _newest(raw: bytes, rows: int, captures: Sequence[CaptureObject], period_s: int) -> bytes:
    """The last rows where the meter, without selective access, has sent all of them."""
    try:
        kept = RecordedRows(raw, captures, period_s)
    except AxdrError:
        return raw
    if len(kept) <= rows:
        return raw
    return kept.encode(range(len(kept) - rows, len(kept)))


__all__ = ["ALL_ROWS", "clone"]
