"""How the measured errors of a current transformer are written into a meter: a few points.

Twelve octets a point, three signed 32-bit numbers in network order: share of the rated current in
millionths, indicated over true current in millionths, lead of the indication in thousandths of a
minute of arc. Points rise with their share.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

POINT: Final = struct.Struct(">iii")
POINTS_MAX: Final = 16
MILLION: Final = 1_000_000
SERIAL_OCTETS_MAX: Final = 16

CurvePoint = tuple[float, float, float]
"""Share of the rated current, indicated over true, lead in minutes of arc."""


def curve_fault(points: Iterable[CurvePoint]) -> str:
    """What is wrong with a curve, in a few words; empty where nothing is."""
    table = list(points)
    shares = [share for share, _, _ in table]
    if not 1 <= len(table) <= POINTS_MAX:
        return f"a curve has 1 to {POINTS_MAX} points"
    if shares != sorted(set(shares)) or shares[0] <= 0 or shares[-1] > 20:
        return "the shares rise from above 0 to at most 20 times the rated current"
    if not all(0.5 <= ratio <= 2.0 and abs(lead) <= 900 for _, ratio, lead in table):
        return "a ratio lies between 0.5 and 2, a lead within 900 minutes of arc"
    return ""


def pack_curve(points: Iterable[CurvePoint]) -> bytes:
    """The octets of a curve; raise ValueError with what is wrong with it."""
    table = list(points)
    if fault := curve_fault(table):
        raise ValueError(fault)
    return b"".join(
        POINT.pack(round(share * MILLION), round(ratio * MILLION), round(lead * 1000))
        for share, ratio, lead in table
    )


def unpack_curve(octets: bytes) -> tuple[CurvePoint, ...]:
    """The points; () for octets that are no sound curve."""
    if len(octets) % POINT.size:
        return ()
    found = tuple(
        (share / MILLION, ratio / MILLION, lead / 1000)
        for share, ratio, lead in POINT.iter_unpack(octets)
    )
    return () if curve_fault(found) else found
