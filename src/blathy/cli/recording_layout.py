"""What the columns of a recording are, as the command line says it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from blathy.cli.app import CommandError

_ALIASES: Final = {
    "u": "u1", "v": "u1", "i": "i1", "u12": "u1", "u32": "u3", "v1": "u1", "v2": "u2", "v3": "u3",
}  # fmt: skip


def parse_channels(text: str) -> tuple[str, ...]:
    """Channel names from the option: lower case, short names written out."""
    names = [part.strip().lower() for part in text.split(",")] if text else []
    return tuple(_ALIASES.get(name, name) for name in names)


def parse_scale(text: str) -> tuple[float, ...]:
    """Factors from the option, such as `0.01` or `1/41.4738,1/21.3872`."""
    if not text:
        return (1.0,)
    out = []
    for part in text.split(","):
        try:
            upper, _, lower = part.partition("/")
            value = float(Fraction(upper.strip())) / float(Fraction(lower.strip() or "1"))
        except (ValueError, ZeroDivisionError) as error:
            words = f"--scale {part.strip()!r} is no factor; write 0.05 or 1/20"
            raise CommandError(words) from error
        if value == 0 or not math.isfinite(value):
            raise CommandError(f"--scale {part.strip()!r}: a factor is a number other than 0")
        out.append(value)
    return tuple(out)
