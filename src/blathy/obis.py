"""OBIS codes: the six-byte names of everything a meter measures (IEC 62056-61, IEC 62056-6-1).

`A-B:C.D.E*F`. A is the medium (1 electricity), B the channel, C the quantity, D the processing,
E the tariff, F the billing period (255 = the present one).
"""

from __future__ import annotations

import re
from typing import Self

_FULL = re.compile(
    r"(?:(\d{1,3})-)?(?:(\d{1,3}):)?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[*&](\d{1,3}))?",
    re.ASCII,
)
_BLUE = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
CURRENT = 255  # value group F: the present value, no billing period


class Obis(bytes):
    """Six bytes that print as `1-0:1.8.0` (with `*F` when F is not 255). Equal to its own bytes."""

    __slots__ = ()

    def __new__(cls, a: int, b: int, c: int, d: int, e: int = 255, f: int = CURRENT) -> Self:
        """Raise ValueError where a group is outside 0…255."""
        groups = (a, b, c, d, e, f)
        if any(not 0 <= group <= 255 for group in groups):
            msg = f"every group of an OBIS code is 0 to 255, not {groups}"
            raise ValueError(msg)
        return super().__new__(cls, groups)

    @classmethod
    def of(cls, raw: bytes | bytearray | memoryview) -> Self:
        """The code in six bytes as they stand on the wire; raise ValueError for another length."""
        if len(raw) != 6:
            msg = f"an OBIS code has six bytes, not {len(raw)}"
            raise ValueError(msg)
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1-0:1.8.0`, `1-0:1.8.0*255`, `1-0:1.8.0.255`, `1.0.1.8.0.255`, `0100010800FF` or
        `1.8.0` (then A-B is 1-0)."""
        text = text.strip()
        if match := _DOTTED.fullmatch(text) or _BLUE.fullmatch(text):
            return cls(*(int(group) for group in match.groups()))
        if _HEX.fullmatch(text):
            return cls.of(bytes.fromhex(text))
        match = _FULL.fullmatch(text)
        if not match:
            msg = f"{text!r} is not an OBIS code; write it like 1-0:1.8.0 or 1.0.1.8.0.255"
            raise ValueError(msg)
        a, b, c, d, e, f = match.groups()
        return cls(
            int(a) if a is not None else 1,
            int(b) if b is not None else 0,
            int(c),
            int(d),
            int(e) if e is not None else 255,
            int(f) if f is not None else CURRENT,
        )

    @property
    def a(self) -> int:
        return self[0]

    @property
    def b(self) -> int:
        return self[1]

    @property
    def c(self) -> int:
        return self[2]

    @property
    def d(self) -> int:
        return self[3]

    @property
    def e(self) -> int:
        return self[4]

    @property
    def f(self) -> int:
        return self[5]

    def dotted(self) -> str:
        """The six groups as `1.0.1.8.0.255`."""
        return ".".join(map(str, self))

    def __str__(self) -> str:
        a, b, c, d, e, f = self
        return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == CURRENT else f"*{f}")

    def __repr__(self) -> str:
        return f"Obis({str(self)!r})"
