"""Units, scalers, measures and the sign conventions: stated once, here.

Sign conventions (IEC 62053-23 geometry, seen from the grid into the installation):

- P > 0 is import (A+, the customer takes energy), P < 0 is export (A-).
- Q > 0 is inductive import (R+), Q < 0 is R-. Quadrant I: P >= 0, Q >= 0; II: P < 0, Q >= 0;
  III: P < 0, Q < 0; IV: P >= 0, Q < 0. R+ = R1 + R2 and R- = R3 + R4.
- E+ is the apparent energy while P >= 0, E- while P < 0. |A| = A+ + A-; net = A+ - A-.

Past metrology everything is an integer in the base of its measure (`base_of`): energies in uWh
(uvarh, uVAh), powers in mW (mvar, mVA), voltages in mV, currents in mA.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Unit(IntEnum):
    """Unit codes of a COSEM scaler_unit (DLMS UA 1000-1, class 3)."""

    YEAR = 1
    MONTH = 2
    WEEK = 3
    DAY = 4
    HOUR = 5
    MINUTE = 6
    SECOND = 7
    DEGREE = 8
    CELSIUS = 9
    CURRENCY = 10
    METRE = 11
    CUBIC_METRE = 13
    CUBIC_METRE_CORRECTED = 14
    LITRE = 19
    JOULE = 25
    JOULE_PER_HOUR = 26
    W = 27
    VA = 28
    VAR = 29
    WH = 30
    VAH = 31
    VARH = 32
    A = 33
    C = 34
    V = 35
    OHM = 38
    HZ = 44
    PULSES_PER_WH = 45
    A2H = 48
    V2H = 49
    PERCENT = 56
    AH = 57
    DBM = 70
    DB = 72
    OTHER = 254
    COUNT = 255


SYMBOL: Final[dict[Unit, str]] = {
    Unit.YEAR: "a",
    Unit.MONTH: "mo",
    Unit.WEEK: "wk",
    Unit.DAY: "d",
    Unit.HOUR: "h",
    Unit.MINUTE: "min",
    Unit.SECOND: "s",
    Unit.DEGREE: "°",
    Unit.CELSIUS: "°C",
    Unit.CURRENCY: "¤",
    Unit.METRE: "m",
    Unit.CUBIC_METRE: "m³",
    Unit.CUBIC_METRE_CORRECTED: "m³",
    Unit.LITRE: "l",
    Unit.JOULE: "J",
    Unit.JOULE_PER_HOUR: "J/h",
    Unit.W: "W",
    Unit.VA: "VA",
    Unit.VAR: "var",
    Unit.WH: "Wh",
    Unit.VAH: "VAh",
    Unit.VARH: "varh",
    Unit.A: "A",
    Unit.C: "C",
    Unit.V: "V",
    Unit.OHM: "Ω",
    Unit.HZ: "Hz",
    Unit.PULSES_PER_WH: "imp/Wh",
    Unit.A2H: "A²h",
    Unit.V2H: "V²h",
    Unit.PERCENT: "%",
    Unit.AH: "Ah",
    Unit.DBM: "dBm",
    Unit.DB: "dB",
    Unit.OTHER: "",
    Unit.COUNT: "",
}


class Measure(Enum):
    """What is measured. The value is OBIS group C of the total (IEC 62056-61, A = 1)."""

    A_IMPORT = 1
    A_EXPORT = 2
    R_PLUS = 3
    R_MINUS = 4
    R1 = 5
    R2 = 6
    R3 = 7
    R4 = 8
    E_IMPORT = 9
    E_EXPORT = 10
    I = 11  # noqa: E741 - the symbol of current
    U = 12
    PF = 13
    F = 14
    A_ABS = 15
    A_NET = 16
    ANGLE = 81
    LOSS = 83
    I_N = 91
    THD_U = 112  # written as 12.7.124 (32/52/72.7.124 per phase)
    THD_I = 111  # written as 11.7.124


class Phase(IntEnum):
    """The phase a value belongs to; OBIS adds 20 per phase to group C."""

    TOTAL = 0
    L1 = 1
    L2 = 2
    L3 = 3


class Loss(IntEnum):
    """Transformer-loss and squared-quantity registers; the value is OBIS group E of 1-b:83.8.E."""

    OLA = 3
    NLA = 6
    OLR = 12
    NLR = 15
    U2H = 19
    I2H = 20


class Kind(Enum):
    """How a measure is processed: OBIS group D, as far as the register engine supplies it."""

    ENERGY = 8  # time integral: a total since ever, per rate
    INSTANT = 7  # the last second's value
    MAX_DEMAND = 6  # largest demand of this billing period, with its time
    CUMULATIVE_MAX = 2  # sum of the maxima at every billing reset
    DEMAND = 4  # the running demand of this period
    LAST_DEMAND = 5  # the demand of the last complete period
    MEAN = 25  # mean over the load profile's period
    MINIMUM = 3  # smallest value of the profile's period
    MAXIMUM = 26  # largest value of the profile's period
    DELTA = 29  # energy of the load profile's period
    CLOCK = 1001  # the meter's clock
    STATUS = 1002  # profile status word of the period
    COUNTER = 1003  # a named counter or text of the books: Source.name says which
    TEXT = 1004


@dataclass(frozen=True, slots=True)
class Source:
    """Names one value the engine can supply: the cell type of every model table."""

    kind: Kind
    measure: Measure | None = None
    phase: Phase = Phase.TOTAL
    tariff: int = 0
    name: str = ""
    loss: Loss | None = None

    def __post_init__(self) -> None:
        named = self.kind in {Kind.COUNTER, Kind.TEXT}
        if named != bool(self.name):
            msg = f"a source of kind {self.kind.name} {'needs' if named else 'has no'} name"
            raise ValueError(msg)
        if self.tariff < 0 or self.tariff > 63:
            msg = f"a tariff is 0 (total) to 63, not {self.tariff}"
            raise ValueError(msg)


ENERGY_UNITS: Final[dict[Measure, Unit]] = {
    Measure.A_IMPORT: Unit.WH,
    Measure.A_EXPORT: Unit.WH,
    Measure.R_PLUS: Unit.VARH,
    Measure.R_MINUS: Unit.VARH,
    Measure.R1: Unit.VARH,
    Measure.R2: Unit.VARH,
    Measure.R3: Unit.VARH,
    Measure.R4: Unit.VARH,
    Measure.E_IMPORT: Unit.VAH,
    Measure.E_EXPORT: Unit.VAH,
    Measure.A_ABS: Unit.WH,
    Measure.A_NET: Unit.WH,
}
_POWER_OF: Final = {Unit.WH: Unit.W, Unit.VARH: Unit.VAR, Unit.VAH: Unit.VA}
_INSTANT_BASE: Final[dict[Measure, tuple[Unit, int]]] = {
    Measure.U: (Unit.V, -3),
    Measure.I: (Unit.A, -3),
    Measure.I_N: (Unit.A, -3),
    Measure.PF: (Unit.COUNT, -3),
    Measure.F: (Unit.HZ, -3),
    Measure.ANGLE: (Unit.DEGREE, -3),
    Measure.THD_U: (Unit.PERCENT, -3),
    Measure.THD_I: (Unit.PERCENT, -3),
}
_LOSS_BASE: Final[dict[Loss, tuple[Unit, int]]] = {
    Loss.OLA: (Unit.WH, -6),
    Loss.NLA: (Unit.WH, -6),
    Loss.OLR: (Unit.VARH, -6),
    Loss.NLR: (Unit.VARH, -6),
    Loss.U2H: (Unit.V2H, -6),
    Loss.I2H: (Unit.A2H, -6),
}


def base_of(source: Source) -> tuple[Unit, int]:
    """Unit and scaler of the integer in which the engine supplies `source` (uWh, mW, mV, mA, ...).

    Raise ValueError for clocks, texts and status words, which are no quantities.
    """
    if source.kind is Kind.COUNTER:
        return Unit.COUNT, 0
    if source.loss is not None:
        return _LOSS_BASE[source.loss]
    if source.measure is None:
        msg = f"a source of kind {source.kind.name} is no quantity"
        raise ValueError(msg)
    if source.measure in ENERGY_UNITS:
        unit = ENERGY_UNITS[source.measure]
        return (unit, -6) if source.kind in {Kind.ENERGY, Kind.DELTA} else (_POWER_OF[unit], -3)
    return _INSTANT_BASE[source.measure]


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact decimal with its unit: `mantissa` x 10^`scaler`."""

    mantissa: int
    scaler: int
    unit: Unit

    def __float__(self) -> float:
        return self.mantissa * 10.0**self.scaler

    def decimal_text(self) -> str:
        """The value in its unit with exactly the decimals the scaler gives, e.g. `1234.567`."""
        return decimal_text(self.mantissa, self.scaler)

    def __str__(self) -> str:
        """With a readable prefix: energies in k units from 1 000, thousands grouped by a space."""
        mantissa, scaler, symbol = self.mantissa, self.scaler, SYMBOL.get(self.unit, "")
        prefixed = self.unit in {Unit.W, Unit.VA, Unit.VAR, Unit.WH, Unit.VAH, Unit.VARH}
        if prefixed and abs(mantissa) * 10.0**scaler >= 1000:
            scaler, symbol = scaler - 3, "k" + symbol
        number = decimal_text(mantissa, scaler)
        whole, dot, part = number.partition(".")
        sign = "-" if whole.startswith("-") else ""
        grouped = f"{int(whole.lstrip('-')):,}".replace(",", " ")
        return f"{sign}{grouped}{dot}{part} {symbol}".rstrip()


def decimal_text(mantissa: int, scaler: int) -> str:
    """`mantissa` x 10^`scaler` in plain digits, exactly."""
    if scaler >= 0:
        return str(mantissa * 10**scaler)
    digits = f"{abs(mantissa):0{1 - scaler}d}"
    return f"{'-' if mantissa < 0 else ''}{digits[:scaler]}.{digits[scaler:]}"


def rescale(mantissa: int, from_scaler: int, to_scaler: int) -> int:
    """The integer at `to_scaler`, cut towards zero as a register shows it.

    No rounding up: a register never shows energy that has not been counted.
    """
    shift = from_scaler - to_scaler
    if shift >= 0:
        return mantissa * int(10**shift)
    divisor = int(10**-shift)
    return mantissa // divisor if mantissa >= 0 else -(-mantissa // divisor)
