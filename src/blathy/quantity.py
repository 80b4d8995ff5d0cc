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
    METRE_PER_SECOND = 12
    CUBIC_METRE = 13
    CUBIC_METRE_CORRECTED = 14
    CUBIC_METRE_PER_HOUR = 15
    CUBIC_METRE_PER_HOUR_CORRECTED = 16
    CUBIC_METRE_PER_DAY = 17
    CUBIC_METRE_PER_DAY_CORRECTED = 18
    LITRE = 19
    KILOGRAM = 20
    NEWTON = 21
    NEWTON_METRE = 22
    PASCAL = 23
    BAR = 24
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
    VOLT_PER_METRE = 36
    FARAD = 37
    OHM = 38
    OHM_SQUARE_METRE_PER_METRE = 39
    WEBER = 40
    TESLA = 41
    AMPERE_PER_METRE = 42
    HENRY = 43
    HZ = 44
    PULSES_PER_WH = 45
    PULSES_PER_VARH = 46
    PULSES_PER_VAH = 47
    A2H = 48
    V2H = 49
    KILOGRAM_PER_SECOND = 50
    SIEMENS = 51
    KELVIN = 52
    PULSES_PER_V2H = 53
    PULSES_PER_A2H = 54
    PULSES_PER_CUBIC_METRE = 55
    PERCENT = 56
    AH = 57
    WH_PER_CUBIC_METRE = 60
    JOULE_PER_CUBIC_METRE = 61
    MOLE_PERCENT = 62
    GRAM_PER_CUBIC_METRE = 63
    PASCAL_SECOND = 64
    JOULE_PER_KILOGRAM = 65
    GRAM_PER_SQUARE_CENTIMETRE = 66
    ATMOSPHERE = 67
    DBM = 70
    DB_MICROVOLT = 71
    DB = 72
    INCH = 128
    FOOT = 129
    POUND = 130
    FAHRENHEIT = 131
    RANKINE = 132
    SQUARE_INCH = 133
    SQUARE_FOOT = 134
    ACRE = 135
    CUBIC_INCH = 136
    CUBIC_FOOT = 137
    ACRE_FOOT = 138
    GALLON_IMPERIAL = 139
    GALLON_US = 140
    POUND_FORCE = 141
    PSI = 142
    POUND_PER_CUBIC_FOOT = 143
    POUND_PER_FOOT_SECOND = 144
    SQUARE_FOOT_PER_SECOND = 145
    BTU = 146
    THERM_EU = 147
    THERM_US = 148
    BTU_PER_POUND = 149
    BTU_PER_CUBIC_FOOT = 150
    PULSES_PER_CUBIC_FOOT = 151
    FOOT_PER_SECOND = 152
    CUBIC_FOOT_PER_SECOND = 153
    CUBIC_FOOT_PER_MINUTE = 154
    CUBIC_FOOT_PER_HOUR = 155
    CUBIC_FOOT_PER_DAY = 156
    ACRE_FOOT_PER_SECOND = 157
    ACRE_FOOT_PER_MINUTE = 158
    ACRE_FOOT_PER_HOUR = 159
    ACRE_FOOT_PER_DAY = 160
    PULSES_PER_GALLON_IMPERIAL = 161
    GALLON_IMPERIAL_PER_SECOND = 162
    GALLON_IMPERIAL_PER_MINUTE = 163
    GALLON_IMPERIAL_PER_HOUR = 164
    GALLON_IMPERIAL_PER_DAY = 165
    PULSES_PER_GALLON_US = 166
    GALLON_US_PER_SECOND = 167
    GALLON_US_PER_MINUTE = 168
    GALLON_US_PER_HOUR = 169
    GALLON_US_PER_DAY = 170
    BTU_PER_SECOND = 171
    BTU_PER_MINUTE = 172
    BTU_PER_HOUR = 173
    BTU_PER_DAY = 174
    EXTENDED = 253
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
    Unit.METRE_PER_SECOND: "m/s",
    Unit.CUBIC_METRE: "m³",
    Unit.CUBIC_METRE_CORRECTED: "m³",
    Unit.CUBIC_METRE_PER_HOUR: "m³/h",
    Unit.CUBIC_METRE_PER_HOUR_CORRECTED: "m³/h",
    Unit.CUBIC_METRE_PER_DAY: "m³/d",
    Unit.CUBIC_METRE_PER_DAY_CORRECTED: "m³/d",
    Unit.LITRE: "l",
    Unit.KILOGRAM: "kg",
    Unit.NEWTON: "N",
    Unit.NEWTON_METRE: "Nm",
    Unit.PASCAL: "Pa",
    Unit.BAR: "bar",
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
    Unit.VOLT_PER_METRE: "V/m",
    Unit.FARAD: "F",
    Unit.OHM: "Ω",
    Unit.OHM_SQUARE_METRE_PER_METRE: "Ωm²/m",
    Unit.WEBER: "Wb",
    Unit.TESLA: "T",
    Unit.AMPERE_PER_METRE: "A/m",
    Unit.HENRY: "H",
    Unit.HZ: "Hz",
    Unit.PULSES_PER_WH: "imp/Wh",
    Unit.PULSES_PER_VARH: "imp/varh",
    Unit.PULSES_PER_VAH: "imp/VAh",
    Unit.A2H: "A²h",
    Unit.V2H: "V²h",
    Unit.KILOGRAM_PER_SECOND: "kg/s",
    Unit.SIEMENS: "S",
    Unit.KELVIN: "K",
    Unit.PULSES_PER_V2H: "imp/V²h",
    Unit.PULSES_PER_A2H: "imp/A²h",
    Unit.PULSES_PER_CUBIC_METRE: "imp/m³",
    Unit.PERCENT: "%",
    Unit.AH: "Ah",
    Unit.WH_PER_CUBIC_METRE: "Wh/m³",
    Unit.JOULE_PER_CUBIC_METRE: "J/m³",
    Unit.MOLE_PERCENT: "mol%",
    Unit.GRAM_PER_CUBIC_METRE: "g/m³",
    Unit.PASCAL_SECOND: "Pa s",
    Unit.JOULE_PER_KILOGRAM: "J/kg",
    Unit.GRAM_PER_SQUARE_CENTIMETRE: "g/cm²",
    Unit.ATMOSPHERE: "atm",
    Unit.DBM: "dBm",
    Unit.DB_MICROVOLT: "dBµV",
    Unit.DB: "dB",
    Unit.INCH: "in",
    Unit.FOOT: "ft",
    Unit.POUND: "lb",
    Unit.FAHRENHEIT: "°F",
    Unit.RANKINE: "°R",
    Unit.SQUARE_INCH: "in²",
    Unit.SQUARE_FOOT: "ft²",
    Unit.ACRE: "acre",
    Unit.CUBIC_INCH: "in³",
    Unit.CUBIC_FOOT: "ft³",
    Unit.ACRE_FOOT: "acre ft",
    Unit.GALLON_IMPERIAL: "gal(imp)",
    Unit.GALLON_US: "gal(US)",
    Unit.POUND_FORCE: "lbf",
    Unit.PSI: "psi",
    Unit.POUND_PER_CUBIC_FOOT: "lb/ft³",
    Unit.POUND_PER_FOOT_SECOND: "lb/(ft s)",
    Unit.SQUARE_FOOT_PER_SECOND: "ft²/s",
    Unit.BTU: "Btu",
    Unit.THERM_EU: "thm(EU)",
    Unit.THERM_US: "thm(US)",
    Unit.BTU_PER_POUND: "Btu/lb",
    Unit.BTU_PER_CUBIC_FOOT: "Btu/ft³",
    Unit.PULSES_PER_CUBIC_FOOT: "imp/ft³",
    Unit.FOOT_PER_SECOND: "ft/s",
    Unit.CUBIC_FOOT_PER_SECOND: "ft³/s",
    Unit.CUBIC_FOOT_PER_MINUTE: "ft³/min",
    Unit.CUBIC_FOOT_PER_HOUR: "ft³/h",
    Unit.CUBIC_FOOT_PER_DAY: "ft³/d",
    Unit.ACRE_FOOT_PER_SECOND: "acre ft/s",
    Unit.ACRE_FOOT_PER_MINUTE: "acre ft/min",
    Unit.ACRE_FOOT_PER_HOUR: "acre ft/h",
    Unit.ACRE_FOOT_PER_DAY: "acre ft/d",
    Unit.PULSES_PER_GALLON_IMPERIAL: "imp/gal(imp)",
    Unit.GALLON_IMPERIAL_PER_SECOND: "gal(imp)/s",
    Unit.GALLON_IMPERIAL_PER_MINUTE: "gal(imp)/min",
    Unit.GALLON_IMPERIAL_PER_HOUR: "gal(imp)/h",
    Unit.GALLON_IMPERIAL_PER_DAY: "gal(imp)/d",
    Unit.PULSES_PER_GALLON_US: "imp/gal(US)",
    Unit.GALLON_US_PER_SECOND: "gal(US)/s",
    Unit.GALLON_US_PER_MINUTE: "gal(US)/min",
    Unit.GALLON_US_PER_HOUR: "gal(US)/h",
    Unit.GALLON_US_PER_DAY: "gal(US)/d",
    Unit.BTU_PER_SECOND: "Btu/s",
    Unit.BTU_PER_MINUTE: "Btu/min",
    Unit.BTU_PER_HOUR: "Btu/h",
    Unit.BTU_PER_DAY: "Btu/d",
    Unit.EXTENDED: "",
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
    UNBALANCE_U = 128  # negative over positive sequence, written as 128.7.20


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
    Measure.UNBALANCE_U: (Unit.PERCENT, -3),
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
