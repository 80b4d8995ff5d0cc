"""Ingest: validate, commit, then acknowledge. Nothing is lost, nothing is doubled.

A reading is (channel, slot, value, status). The same reading twice is one reading. The same slot
with another value is not overwritten: it becomes a revision beside the first and an event. Today's
readings are rows; a day that is over is sealed into one meter-channel-day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from blathy.clock import Zone
from blathy.headend.database import insert_ignore, upsert
from blathy.headend.inventory.registry import Channel
from blathy.headend.readings.calendar import DAY_S, slot_end, slots_in_day
from blathy.headend.readings.packing import DayRecord, ValueSource, pack, unpack
from blathy.headend.schema import reading_day, reading_revision, reading_slot

Int64s = NDArray[np.int64]
Octets = NDArray[np.uint8]
RAW: Final = 1
FUTURE_TOLERANCE_S: Final = 60
# Built once: a statement costs more to build than to run, and every channel asks for these.
_OF_CHANNEL: Final = sa.bindparam("channel", type_=sa.Integer)
_FROM: Final = sa.bindparam("start", type_=sa.BigInteger)
_BEFORE: Final = sa.bindparam("end", type_=sa.BigInteger)
_HOT: Final = (
    (reading_slot.c.channel_id == _OF_CHANNEL)
    & (reading_slot.c.slot_utc >= _FROM)
    & (reading_slot.c.slot_utc < _BEFORE)
)
_HOT_ROWS: Final = sa.select(
    reading_slot.c.slot_utc, reading_slot.c.value, reading_slot.c.status
).where(_HOT)
_HOT_SEALED: Final = sa.delete(reading_slot).where(_HOT)
_DAYS: Final = sa.select(
    reading_day.c.day, reading_day.c.slots, reading_day.c.first, reading_day.c.payload,
    reading_day.c.status, reading_day.c.sources,
).where(
    reading_day.c.channel_id == _OF_CHANNEL,
    reading_day.c.version == sa.bindparam("version", type_=sa.Integer),
    reading_day.c.day >= _FROM,
    reading_day.c.day < _BEFORE,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Readings of one channel, `slot_utc` being the start of each slot."""

    channel: Channel
    zone: Zone
    slot_utc: Int64s
    values: Int64s
    status: Octets
    provenance: str = "profile"
    asked: tuple[int, int] | None = None
    """[from, to) that the meter was asked for and answered in full: slots of it that it does not
    hold are marked absent, so that nobody asks for them again and again."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The same slot came with another value than the one kept."""

    channel_id: int
    slot_utc: int
    kept: int
    value: int
    status: int


@dataclass(slots=True)
class Receipt:
    """What became of a batch: the acknowledgement, given after the commit."""

    new: int = 0
    known: int = 0
    misaligned: int = 0
    future: int = 0
    absent: int = 0
    conflicts: list[Conflict] = field(default_factory=list)

    def add(self, other: Receipt) -> None:
        self.new += other.new
        self.known += other.known
        self.misaligned += other.misaligned
        self.future += other.future
        self.absent += other.absent
        self.conflicts += other.conflicts


def ingest(connection: Connection, batches: Sequence[Batch], now: int) -> Receipt:
    """Take the batches in within the caller's transaction."""
    total = Receipt()
    for batch in batches:
        receipt = Receipt()
        _ingest_channel(connection, batch, now, receipt)
        _keep_revisions(connection, receipt.conflicts, now)
        total.add(receipt)
    return total


def _ingest_channel(connection: Connection, batch: Batch, now: int, receipt: Receipt) -> None:
    slots, values, status = _valid(batch, now, receipt)
    zone, channel = batch.zone, batch.channel
    today = zone.day_of(now)
    today_start = zone.day_start(today)
    fresh = slots >= today_start
    if fresh.any():
        _ingest_today(connection, channel, slots[fresh], values[fresh], status[fresh], now, receipt)
    old_from, old_to = _old_span(batch, slots[~fresh], today_start)
    if old_from < old_to:
        past = ~fresh
        _ingest_days(
            connection, batch, (slots[past], values[past], status[past]), (old_from, old_to),
            now, receipt,
        )  # fmt: skip


def _old_span(batch: Batch, slots: Int64s, today_start: int) -> tuple[int, int]:
    """The part before today that the batch touches, asked or answered."""
    edges = []
    if len(slots):
        edges += [int(slots.min()), int(slots.max()) + 1]
    if batch.asked is not None and batch.asked[0] < today_start:
        edges += [batch.asked[0], min(batch.asked[1], today_start)]
    return (min(edges), max(edges)) if edges else (0, 0)


def _valid(batch: Batch, now: int, receipt: Receipt) -> tuple[Int64s, Int64s, Octets]:
    """Structure, interval grid, future (rules V1, V2, V4); sorted by slot."""
    slots, values, status = batch.slot_utc, batch.values, batch.status
    step = batch.channel.step_s
    if step >= DAY_S:
        zone = batch.zone
        aligned = np.array([zone.day_start(zone.day_of(int(s))) == s for s in slots], np.bool_)
        ends = np.array([slot_end(zone, int(s), step) for s in slots], np.int64)
    else:
        aligned = slots % step == 0
        ends = slots + step
    timely = ends <= now + FUTURE_TOLERANCE_S
    receipt.misaligned += int(np.count_nonzero(~aligned))
    receipt.future += int(np.count_nonzero(aligned & ~timely))
    keep = aligned & timely
    order = np.argsort(slots[keep], kind="stable")
    slots, values, status = slots[keep][order], values[keep][order], status[keep][order]
    if len(slots) < 2:
        return slots, values, status
    twice = np.concatenate(([False], slots[1:] == slots[:-1]))
    if twice.any():
        firsts = np.maximum.accumulate(np.where(twice, 0, np.arange(len(slots))))
        for n in np.flatnonzero(twice):
            kept, value = int(values[firsts[n]]), int(values[n])
            if kept == value:
                receipt.known += 1
            else:
                receipt.conflicts.append(
                    Conflict(batch.channel.id, int(slots[n]), kept, value, int(status[n]))
                )
        slots, values, status = slots[~twice], values[~twice], status[~twice]
    return slots, values, status


def _ingest_today(
    connection: Connection,
    channel: Channel,
    slots: Int64s,
    values: Int64s,
    status: Octets,
    now: int,
    receipt: Receipt,
) -> None:
    asked = {"channel": channel.id, "start": int(slots[0]), "end": int(slots[-1]) + 1}
    known = {slot: value for slot, value, _ in connection.execute(_HOT_ROWS, asked)}
    rows = []
    for slot, value, bits in zip(slots.tolist(), values.tolist(), status.tolist(), strict=True):
        if slot not in known:
            rows.append(
                {
                    "channel_id": channel.id,
                    "slot_utc": slot,
                    "value": value,
                    "status": bits,
                    "received_at": now,
                }
            )
        elif known[slot] == value:
            receipt.known += 1
        else:
            receipt.conflicts.append(Conflict(channel.id, slot, known[slot], value, bits))
    insert_ignore(connection, reading_slot, rows)
    receipt.new += len(rows)


def _keep_revisions(connection: Connection, conflicts: Sequence[Conflict], now: int) -> None:
    rows = [
        {
            "channel_id": conflict.channel_id,
            "slot_utc": conflict.slot_utc,
            "kept": conflict.kept,
            "value": conflict.value,
            "status": conflict.status,
            "received_at": now,
        }
        for conflict in conflicts
    ]
    insert_ignore(connection, reading_revision, rows)


def load_days(
    connection: Connection, channel_id: int, first_day: int, last_day: int, version: int = RAW
) -> dict[int, DayRecord]:
    """The sealed days of a channel, by ordinal, both ends included."""
    asked = {"channel": channel_id, "version": version, "start": first_day, "end": last_day + 1}
    rows = connection.execute(_DAYS, asked)
    return {r.day: unpack(r.slots, r.first, r.payload, r.status, r.sources) for r in rows}


def _ingest_days(
    connection: Connection,
    batch: Batch,
    readings: tuple[Int64s, Int64s, Octets],
    span: tuple[int, int],
    now: int,
    receipt: Receipt,
) -> None:
    zone, channel = batch.zone, batch.channel
    slots, values, status = readings
    first, last = zone.day_of(span[0]).toordinal(), zone.day_of(span[1] - 1).toordinal()
    days = load_days(connection, channel.id, first, last)
    starts = np.array(
        [zone.day_start(date.fromordinal(n)) for n in range(first, last + 2)], np.int64
    )
    hot = _take_hot(connection, channel.id, int(starts[0]), int(starts[-1]))
    rows = []
    for index, ordinal in enumerate(range(first, last + 1)):
        start, end = int(starts[index]), int(starts[index + 1])
        slot_count = slots_in_day(zone, date.fromordinal(ordinal), channel.step_s)
        record = days.get(ordinal) or DayRecord.empty(slot_count)
        before = record.received, int(np.count_nonzero(record.sources))
        for slot, value, bits in hot:
            if start <= slot < end:
                _set_first(record, (slot - start) // channel.step_s, value, bits)
        low, high = np.searchsorted(slots, (start, end))
        part = slots[low:high], values[low:high], status[low:high]
        _merge(channel, record, start, part, receipt)
        if batch.asked is not None:
            receipt.absent += _mark_absent(record, start, channel.step_s, batch.asked)
        if ordinal not in days or before != (
            record.received, int(np.count_nonzero(record.sources)),
        ):  # fmt: skip
            rows.append(_day_row(channel, ordinal, start, record, batch.provenance, now))
    upsert(connection, reading_day, rows)


def _set_first(record: DayRecord, index: int, value: int, bits: int) -> None:
    if record.sources[index] in {ValueSource.MISSING, ValueSource.ABSENT}:
        record.values[index], record.status[index] = value, bits
        record.sources[index] = ValueSource.METER


def _merge(
    channel: Channel,
    record: DayRecord,
    start: int,
    part: tuple[Int64s, Int64s, Octets],
    receipt: Receipt,
) -> None:
    """Add what is new to the raw day; what contradicts it becomes a revision."""
    slots, values, status = part
    if len(slots) == 0:
        return
    index = (slots - start) // channel.step_s
    present = record.present[index]
    other = present & (record.values[index] != values)
    receipt.known += int(np.count_nonzero(present & ~other))
    for n in np.flatnonzero(other):
        kept = int(record.values[index[n]])
        receipt.conflicts.append(
            Conflict(channel.id, int(slots[n]), kept, int(values[n]), int(status[n]))
        )
    fresh = index[~present]
    record.values[fresh] = values[~present]
    record.status[fresh] = status[~present]
    record.sources[fresh] = ValueSource.METER
    receipt.new += len(fresh)


def _mark_absent(record: DayRecord, start: int, step_s: int, asked: tuple[int, int]) -> int:
    low = max(0, -(-(asked[0] - start) // step_s))
    high = min(len(record.sources), (asked[1] - start) // step_s)
    if step_s >= DAY_S:
        low, high = (0, 1) if asked[0] <= start < asked[1] else (0, 0)
    window = record.sources[low : max(low, high)]
    unknown = window == ValueSource.MISSING
    window[unknown] = ValueSource.ABSENT
    return int(np.count_nonzero(unknown))


def _take_hot(
    connection: Connection, channel_id: int, start: int, end: int
) -> list[tuple[int, int, int]]:
    """Remove and return the row-wise readings of days that are sealed now."""
    asked = {"channel": channel_id, "start": start, "end": end}
    rows = [(r.slot_utc, r.value, r.status) for r in connection.execute(_HOT_ROWS, asked)]
    if rows:
        connection.execute(_HOT_SEALED, asked)
    return rows


def _day_row(
    channel: Channel, ordinal: int, start: int, record: DayRecord, provenance: str, now: int
) -> dict[str, Any]:
    packed = pack(record)
    return {
        "channel_id": channel.id,
        "day": ordinal,
        "version": RAW,
        "start_utc": start,
        "slots": len(record.values),
        "received": record.received,
        "first": packed.first,
        "payload": packed.payload,
        "status": packed.status,
        "sources": packed.sources,
        "reason": "",
        "provenance": provenance,
        "received_at": now,
    }


def seal(connection: Connection, channel: Channel, zone: Zone, now: int) -> int:
    """Move the rows of days that are over into meter-channel-days; return how many days."""
    table = reading_slot
    today_start = zone.day_start(zone.day_of(now))
    oldest = connection.execute(
        sa.select(sa.func.min(table.c.slot_utc)).where(
            table.c.channel_id == channel.id, table.c.slot_utc < today_start
        )
    ).scalar()
    if oldest is None:
        return 0
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
    empty = Batch(channel, zone, *nothing, provenance="sealed")
    _ingest_days(connection, empty, nothing, (int(oldest), today_start), now, Receipt())
    return zone.day_of(now).toordinal() - zone.day_of(int(oldest)).toordinal()


def store_version(
    connection: Connection,
    channel: Channel,
    zone: Zone,
    day: date,
    record: DayRecord,
    reason: str,
    now: int,
) -> int:
    """Keep an estimated or edited day beside the raw one, as the next version; return its number.

    Only slots whose source is not MISSING replace what lies below.
    """
    table = reading_day
    ordinal = day.toordinal()
    newest = connection.execute(
        sa.select(sa.func.max(table.c.version)).where(
            table.c.channel_id == channel.id, table.c.day == ordinal
        )
    ).scalar()
    row = _day_row(channel, ordinal, zone.day_start(day), record, "validation", now)
    row["version"] = (newest or RAW) + 1
    row["reason"] = reason
    connection.execute(sa.insert(table), [row])
    return int(row["version"])
