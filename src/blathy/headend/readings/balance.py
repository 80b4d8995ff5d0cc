"""A feeder against its meters: what the sum meter counted, what they counted, what was lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from blathy.headend.inventory.registry import Channel, Point
from blathy.headend.readings.series import ProfileAnswer, read_profile


@dataclass(frozen=True, slots=True)
class BalanceSlot:
    """Net energies in Wh, import positive. None where a part is missing."""

    start: int
    end: int
    metered_wh: int | None
    feeder_wh: int | None
    complete: bool

    @property
    def loss_wh(self) -> int | None:
        if self.metered_wh is None or self.feeder_wh is None:
            return None
        return self.feeder_wh - self.metered_wh


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of a feeder."""

    resolution: str
    slots: list[BalanceSlot]


def _energy_channels(point: Point) -> list[tuple[Channel, int]]:
    """A+ counts forward, A- backward."""
    found = []
    for channel in point.meter.channels:
        if channel.unit != "Wh" or not channel.adds_up or not channel.obis.startswith("1-"):
            continue
        group_c = channel.obis.split(":", 1)[1].split(".", 1)[0]
        tariff = channel.obis.split("*", 1)[0].rsplit(".", 1)[-1]
        if group_c in {"1", "2"} and tariff in {"0", "255"}:
            found.append((channel, 1 if group_c == "1" else -1))
    return found


def feeder_balance(
    connection: Connection,
    points: Sequence[Point],
    from_utc: int,
    to_utc: int,
    resolution: str = "auto",
) -> Balance:
    """Balance of the points of one feeder; `feeder_wh` stays None without a sum meter."""
    feeder = [p for p in points if p.kind == "feeder"]
    members = [p for p in points if p.kind != "feeder" and p.medium == "electricity"]
    chosen = resolution

    def read(group: Sequence[Point]) -> list[tuple[ProfileAnswer, int]]:
        nonlocal chosen
        answers = []
        for point in group:
            for channel, sign in _energy_channels(point):
                answer = read_profile(connection, channel, point.zone, from_utc, to_utc, chosen)
                chosen = answer.resolution
                answers.append((answer, sign))
        return answers

    below, above = read(members), read(feeder)
    everything = [*below, *above]
    if not everything:
        return Balance("slot" if resolution == "auto" else resolution, [])
    grid = min((answer for answer, _ in everything), key=lambda answer: len(answer.buckets))
    slots = []
    for bucket in grid.buckets:
        metered, metered_full = _sum(below, bucket.start, bucket.end)
        counted, counted_full = _sum(above, bucket.start, bucket.end) if above else (None, True)
        slots.append(
            BalanceSlot(bucket.start, bucket.end, metered, counted, metered_full and counted_full)
        )
    return Balance(chosen, slots)


def _sum(
    answers: Sequence[tuple[ProfileAnswer, int]], start: int, end: int
) -> tuple[int | None, bool]:
    """Wh of all channels between two times; finer slots than the grid's are added up."""
    total, any_known, full = 0, False, True
    for answer, sign in answers:
        starts = [bucket.start for bucket in answer.buckets]
        inside = answer.buckets[bisect_left(starts, start) : bisect_left(starts, end)]
        full = full and bool(inside)
        for bucket in inside:
            if bucket.value is None:
                full = False
                continue
            any_known = True
            full = full and bucket.received == bucket.expected
            total += sign * _watt_hours(bucket.value, answer.channel.scaler)
    return (total if any_known else None), full


def _watt_hours(value: int, scaler: int) -> int:
    return value * int(10**scaler) if scaler >= 0 else round(value * 10.0**scaler)
