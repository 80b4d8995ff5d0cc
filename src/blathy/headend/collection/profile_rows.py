"""A load profile as the meter sends it, turned into the channels of the inventory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blathy.client.values import ProfileReading
from blathy.cosem.selective import CaptureObject
from blathy.headend.collection.conversation import ConversationError, Outcome, ProfileRows
from blathy.headend.inventory.registry import Channel
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Unit


def is_frame(capture: CaptureObject) -> bool:
    """Clock and status columns, which every record needs."""
    return capture.is_clock or _is_status(capture)


def _is_status(capture: CaptureObject) -> bool:
    return capture.class_id == 1 and (capture.obis.c, capture.obis.d) == (96, 10)


def column_of(captures: Sequence[CaptureObject], channel: Channel, profile: str) -> int:
    """The column that holds a channel; raise ConversationError where none does."""
    if 0 <= channel.column_index < len(captures):
        return channel.column_index
    wanted = Obis.parse(channel.obis)
    for n, capture in enumerate(captures):
        if capture.obis == wanted and capture.attribute == channel.attribute:
            return n
    raise ConversationError(
        Outcome.REFUSED,
        "not-captured",
        "The load profile {profile} does not capture {obis}.",
        "Check the channels in the inventory, or what the meter is set to capture.",
        profile=profile,
        obis=channel.obis,
    )


def rows_of(
    reading: ProfileReading, channels: Sequence[Channel], places: Sequence[int]
) -> ProfileRows:
    """Records in order of time, each channel from the column at its place, in its own unit."""
    times = reading.times
    order = np.argsort(times.utc_s, kind="stable")
    order = order[times.valid[order]]
    status = np.zeros(len(order), np.uint8)
    for column in reading.columns:
        if _is_status(column.capture) and column.values.dtype.kind in "iu":
            status = (column.values[order].astype(np.int64) & 0xFF).astype(np.uint8)
    values, present = {}, {}
    for channel, place in zip(channels, places, strict=True):
        column, unit = reading.columns[place], reading.units[place]
        if column.values.dtype.kind not in "iu":
            raise ConversationError(
                Outcome.GARBLED,
                "captured-as-text",
                "{obis} is captured as text, not as a number.",
                "Check the channels in the inventory.",
                obis=channel.obis,
            )
        if unit is not None and unit.unit not in {Unit.COUNT, Unit.OTHER}:
            told = SYMBOL.get(unit.unit, "")
            if told != channel.unit:
                raise ConversationError(
                    Outcome.REFUSED,
                    "other-unit",
                    "{obis} is in {told}, the inventory says {expected}.",
                    "Correct the channel's unit.",
                    obis=channel.obis,
                    told=told,
                    expected=channel.unit,
                )
        scaler = unit.scaler if unit is not None else channel.scaler
        values[channel.slug] = rescaled(column.values[order], scaler - channel.scaler)
        missing = column.missing
        there = np.ones(len(order), np.bool_) if missing is None else ~missing[order]
        present[channel.slug] = there
    return ProfileRows(times.utc_s[order].astype(np.int64), values, present, status)


def rescaled(values: NDArray[Any], shift: int) -> NDArray[np.int64]:
    """Whole numbers times 10^shift, cut towards zero."""
    whole: NDArray[np.int64] = values.astype(np.int64)
    if shift > 0:
        return whole * int(10**shift)
    if shift < 0:
        divisor = int(10**-shift)
        cut: NDArray[np.int64] = np.where(whole >= 0, whole // divisor, -(-whole // divisor))
        return cut
    return whole
