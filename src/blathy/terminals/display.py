"""The LCD's logic: which reading of which list is shown now, in which format, with which symbols.

Deterministic: time (seconds of any clock that only goes forward) is passed in, readings are asked
for by code. Lists: `automatic` scrolls by itself, `manual` follows the reading button, `utility`
the sealed one, `battery` is for reading without supply. Some time after the last press it goes
back to the automatic list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blathy.models.model import Display, DisplayList
from blathy.quantity import SYMBOL, Unit

AUTOMATIC: Final = "automatic"
MANUAL: Final = "manual"
UTILITY: Final = "utility"
BATTERY: Final = "battery"
BATTERY_READING_S: Final = 60
"""How long a press wakes the display without supply."""
SHORT: Final = "short"
LONG: Final = "long"
ENERGY_UNITS: Final = frozenset({Unit.WH, Unit.VARH, Unit.VAH})
POWER_UNITS: Final = frozenset({Unit.W, Unit.VAR, Unit.VA})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a code stands for: an integer at a scaler with its unit, or a text."""

    code: str
    mantissa: int | None = None
    scaler: int = 0
    unit: Unit = Unit.COUNT
    text: str = ""
    hidden: bool = False
    """Left out of the automatic list (no errors to show)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The digits of the LCD."""

    mode: str
    index: int
    length: int
    code: str
    value: str
    unit: str
    decimals: int


Readings = Callable[[str], Reading]
BLANK: Final = Frame("off", 0, 0, "", "", "", 0)


def format_number(
    mantissa: int, scaler: int, before: int, after: int, *, leading_zeros: bool
) -> str:
    """The value cut (never rounded up) to `after` decimals, wrapped at `before` digits."""
    shift = scaler + after
    magnitude = abs(mantissa)
    scaled = magnitude * 10**shift if shift >= 0 else magnitude // 10**-shift
    scaled %= 10 ** (before + after)
    digits = f"{scaled:0{before + after}d}"
    whole, part = (digits[:before], digits[before:]) if after else (digits, "")
    if not leading_zeros:
        whole = whole.lstrip("0") or "0"
    sign = "-" if mantissa < 0 and scaled else ""
    return sign + whole + ("." + part if after else "")


def format_reading(display: Display, reading: Reading) -> tuple[str, str, int]:
    """Value, unit and decimals as this display shows the reading."""
    if reading.mantissa is None:
        return reading.text, "", 0
    unit = SYMBOL.get(reading.unit, "")
    if reading.unit in ENERGY_UNITS:
        before, after = display.formats[0]
        scaler, unit = reading.scaler - 3, "k" + unit
    elif reading.unit in POWER_UNITS:
        before, after = display.power_format
        scaler, unit = reading.scaler - 3, "k" + unit
    else:
        after = max(0, -reading.scaler)
        before, scaler = display.value_digits - after, reading.scaler
        text = format_number(reading.mantissa, scaler, before, after, leading_zeros=False)
        return text, unit, after
    text = format_number(
        reading.mantissa, scaler, before, after, leading_zeros=display.leading_zeros
    )
    return text, unit, after


def short_code(code: str) -> str:
    """`1-0:1.8.0` as the code field shows it: `1.8.0`."""
    return code.partition(":")[2] or code


class DisplayDriver:
    """Which reading is shown. The state is small and is not kept over a power cut."""

    __slots__ = ("_display", "_index", "_lists", "_mode", "_pressed_s", "_since_s")

    def __init__(self, display: Display) -> None:
        self._display = display
        self._lists = {item.name: item for item in display.lists}
        self._mode = AUTOMATIC
        self._index = 0
        self._pressed_s = -1
        self._since_s = 0

    @property
    def mode(self) -> str:
        return self._mode

    def press(self, how: str, now_s: int, *, sealed: bool = False, powered: bool = True) -> None:
        """A press on the reading button, or on the sealed one.

        Short shows the next reading; long goes to the next list.
        """
        self.settle(now_s)
        wanted = self._wanted(how, sealed=sealed, powered=powered)
        if wanted == self._mode and how == SHORT:
            self._index = (self._index + 1) % max(1, len(self._items()))
        elif wanted != self._mode:
            self._mode, self._index = wanted, 0
        self._pressed_s = now_s

    def _wanted(self, how: str, *, sealed: bool, powered: bool) -> str:
        if not powered:
            return BATTERY if BATTERY in self._lists else "off"
        if sealed and UTILITY in self._lists:
            return UTILITY
        if how == LONG:
            order = [n for n in (AUTOMATIC, MANUAL, UTILITY) if n in self._lists]
            at = order.index(self._mode) if self._mode in order else 0
            return order[(at + 1) % len(order)]
        return self._mode if self._mode in {MANUAL, UTILITY} else MANUAL

    def settle(self, now_s: int) -> None:
        """Go back to the automatic list when nobody has pressed for its time."""
        limit_s = BATTERY_READING_S if self._mode == BATTERY else self._display.back_to_automatic_s
        if self._mode != AUTOMATIC and now_s - self._pressed_s >= limit_s:
            self._mode, self._index, self._since_s = AUTOMATIC, 0, now_s

    def _items(self) -> tuple[str, ...]:
        found: DisplayList | None = self._lists.get(self._mode)
        return found.items if found is not None else ()

    def frame(self, now_s: int, readings: Readings, *, powered: bool = True) -> Frame:
        """The digits at this moment; blank without supply unless the battery list was called."""
        self.settle(now_s)
        if not powered and self._mode != BATTERY:
            return BLANK
        items = self._items()
        if self._mode == AUTOMATIC:
            items = tuple(item for item in items if not readings(item).hidden)
            if not items:
                return BLANK
            index = max(0, now_s - self._since_s) // self._display.scroll_s % len(items)
        else:
            if not items:
                return BLANK
            index = self._index % len(items)
        reading = readings(items[index])
        if items[index] == "test":
            value, unit, decimals = "8" * self._display.value_digits, "", 0
            code = "8" * self._display.code_digits
        else:
            value, unit, decimals = format_reading(self._display, reading)
            code = short_code(reading.code)[: self._display.code_digits]
        return Frame(self._mode, index + 1, len(items), code, value, unit, decimals)


# --- symbols ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Symbol:
    """One annunciator of the LCD."""

    id: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What the symbols depend on. Powers are signed: import and inductive are positive."""

    powered: bool
    phases_present: frozenset[int]
    phases_loaded: frozenset[int]
    reversed_current: bool
    p_mw: int
    q_mvar: int
    rate: int
    breaker_closed: bool
    tampered: bool
    error: bool
    registered: bool
    communicating: bool
    prepayment: bool
    clock_valid: bool
    setting: bool


def symbols_of(display: Display, situation: Situation) -> tuple[Symbol, ...]:
    """Every symbol of this display, lit or not."""
    found: list[Symbol] = []
    for group in display.annunciators:
        if group == "quadrant":
            found += _quadrant(situation)
            continue
        for label in group.split(" "):
            lit = situation.powered and _lit(label, situation)
            found.append(Symbol(label.lower(), label, lit))
    return tuple(found)


def _quadrant(situation: Situation) -> list[Symbol]:
    """Arrows of the quadrant cross; dark without load."""
    loaded = situation.powered and bool(situation.phases_loaded)
    return [
        Symbol("p+", "+P", loaded and situation.p_mw > 0),
        Symbol("p-", "-P", loaded and situation.p_mw < 0),
        Symbol("q+", "+Q", loaded and situation.q_mvar > 0),
        Symbol("q-", "-Q", loaded and situation.q_mvar < 0),
    ]


def _lit(label: str, situation: Situation) -> bool:
    kind, number = label[0], label[1:]
    if len(label) == 2 and number.isdigit():
        return {
            "L": int(number) in situation.phases_present,
            "I": int(number) in situation.phases_loaded,
            "T": int(number) == situation.rate,
        }.get(kind, False)
    return {
        "reversed": situation.reversed_current,
        "breaker": situation.breaker_closed,
        "tamper": situation.tampered,
        "error": situation.error,
        "FF": situation.error,
        "radio": situation.registered,
        "registered": situation.registered,
        "signal": situation.registered,
        "DRO": situation.communicating,
        "port": situation.communicating,
        "module": situation.communicating,
        "prepayment": situation.prepayment,
        "CLOCK": situation.clock_valid,
        "SET": situation.setting,
        "RESET": False,
    }.get(label, False)
