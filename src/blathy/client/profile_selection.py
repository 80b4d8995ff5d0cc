"""Which rows and columns of a profile are asked for, and what is cut off here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blathy.client.items import Moment, parse_obis, utc_s_of
from blathy.client.values import ProfileReading
from blathy.clock import Zone
from blathy.cosem.columns import Profile
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import CaptureObject, RangeDescriptor, parse_capture_objects
from blathy.obis import Obis
from blathy.transport.errors import Refused


def chosen_columns(
    code: Obis, columns: Sequence[CaptureObject | Obis | str], captures: Sequence[CaptureObject]
) -> tuple[CaptureObject, ...]:
    """Columns named by code, among those that the profile captures."""
    found = []
    for column in columns:
        if isinstance(column, CaptureObject):
            found.append(column)
            continue
        named = column if isinstance(column, Obis) else parse_obis(column)
        one = next((capture for capture in captures if capture.obis == named), None)
        if one is None:
            able = ", ".join(str(capture.obis) for capture in captures)
            raise Refused(f"profile {code} has no column {named}", f"it has {able}")
        found.append(one)
    return tuple(found)


@lru_cache(maxsize=256)
def range_octets(
    first_s: int, last_s: int, zone: Zone, columns: tuple[CaptureObject, ...], clock: CaptureObject
) -> bytes:
    """A range_descriptor: a head-end asks thousands of meters for the same day."""
    first, last = CosemDateTime.from_utc(first_s, zone), CosemDateTime.from_utc(last_s, zone)
    return RangeDescriptor.between(first, last, columns, clock).encode()


@lru_cache(maxsize=1024)
def captures_of(raw: bytes) -> tuple[CaptureObject, ...]:
    """The capture objects in these octets, which meters of a type all send."""
    return parse_capture_objects(raw)


def rows_between(
    reading: ProfileReading, since: Moment | None, until: Moment | None
) -> ProfileReading:
    """Rows outside of the bounds left out."""
    if since is None and until is None:
        return reading
    times = reading.times
    keep = times.valid.copy()
    if since is not None:
        keep &= times.utc_s >= utc_s_of(since)
    if until is not None:
        keep &= times.utc_s <= utc_s_of(until)
    return rows_kept(reading, keep)


def rows_kept(reading: ProfileReading, keep: slice | NDArray[np.bool_]) -> ProfileReading:
    """Some rows only."""
    columns = tuple(
        replace(
            column,
            values=column.values[keep],
            null=None if column.null is None else column.null[keep],
            missing=None if column.missing is None else column.missing[keep],
        )
        for column in reading.columns
    )
    rows = len(columns[0].values) if columns else 0
    return replace(reading, profile=Profile(columns, rows, reading.profile.layout))


def columns_only(reading: ProfileReading, chosen: Sequence[CaptureObject]) -> ProfileReading:
    """Some columns only, in the meter's order."""
    keep = [n for n, column in enumerate(reading.columns) if column.capture in chosen]
    profile = reading.profile
    columns = tuple(reading.columns[n] for n in keep)
    return replace(
        reading,
        profile=Profile(columns, len(profile), profile.layout),
        units=tuple(reading.units[n] for n in keep),
    )
