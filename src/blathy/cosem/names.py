"""English names of OBIS codes (IEC 62056-6-1), for the command line, `explain` and the portal.

Electricity codes are composed from their value groups; abstract objects come from a table. Channel
B = 1 of electricity is named like B = 0, because Kamstrup writes 1 throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from blathy.obis import CURRENT, Obis

MEDIA: Final[dict[int, str]] = {
    0: "abstract",
    1: "electricity",
    4: "heat cost allocator",
    5: "cooling",
    6: "heat",
    7: "gas",
    8: "cold water",
    9: "hot water",
    15: "other medium",
}

# (name of the energy, name of the power) by group C of the three-phase total.
_POWERS: Final[dict[int, str]] = {
    1: "active {} import",
    2: "active {} export",
    3: "reactive {} import",
    4: "reactive {} export",
    5: "reactive {} quadrant I",
    6: "reactive {} quadrant II",
    7: "reactive {} quadrant III",
    8: "reactive {} quadrant IV",
    9: "apparent {} import",
    10: "apparent {} export",
    15: "active {} absolute (import + export)",
    16: "active {} net (import - export)",
    17: "active {} quadrant I",
    18: "active {} quadrant II",
    19: "active {} quadrant III",
    20: "active {} quadrant IV",
}
_SIGNALS: Final[dict[int, str]] = {
    11: "current",
    12: "voltage",
    13: "power factor",
    14: "frequency",
}
_SINGLE: Final[dict[int, str]] = {
    82: "pulses",
    84: "power factor export",
    85: "power factor export L1",
    86: "power factor export L2",
    87: "power factor export L3",
    88: "ampere-squared hours",
    89: "volt-squared hours",
    90: "current sum of phases",
    91: "current neutral",
    92: "voltage neutral",
    124: "voltage L1-L2",
    125: "voltage L2-L3",
    126: "voltage L3-L1",
}
_ENERGY_D: Final = frozenset({8, 9, 10, 17, 18, 19, 20, 29, 30, 58})
_PROCESSING: Final[dict[int, str]] = {
    0: "billing period average of {}",
    1: "cumulative minimum of {}",
    2: "cumulative maximum of {}",
    3: "minimum of {}",
    4: "current average of {}",
    5: "last average of {}",
    6: "maximum of {}",
    7: "{}",
    8: "{}",
    9: "{}, this billing period",
    10: "{}, above threshold",
    11: "cumulative minimum 2 of {}",
    12: "cumulative maximum 2 of {}",
    13: "minimum 2 of {}",
    14: "current average 2 of {}",
    15: "last average 2 of {}",
    16: "maximum 2 of {}",
    17: "{}, time integral 7",
    18: "{}, time integral 8",
    19: "{}, time integral 9",
    20: "{}, time integral 10",
    21: "cumulative minimum 3 of {}",
    22: "cumulative maximum 3 of {}",
    23: "minimum 3 of {}",
    24: "current average 3 of {}",
    25: "last average 3 of {}",
    26: "maximum 3 of {}",
    27: "current average 5 of {}",
    28: "current average 6 of {}",
    29: "{}, this recording interval",
    30: "{}, time integral 6",
    31: "under limit threshold of {}",
    32: "under limit counter of {}",
    33: "under limit duration of {}",
    34: "under limit magnitude of {}",
    35: "over limit threshold of {}",
    36: "over limit counter of {}",
    37: "over limit duration of {}",
    38: "over limit magnitude of {}",
    39: "missing threshold of {}",
    40: "missing counter of {}",
    41: "missing duration of {}",
    42: "missing magnitude of {}",
    43: "time threshold for under limit of {}",
    44: "time threshold for over limit of {}",
    45: "time threshold for missing {}",
    46: "contracted value of {}",
    49: "average over recording interval 1 of {}",
    50: "average over recording interval 2 of {}",
    51: "minimum over recording interval 1 of {}",
    52: "minimum over recording interval 2 of {}",
    53: "maximum over recording interval 1 of {}",
    54: "maximum over recording interval 2 of {}",
    55: "test average of {}",
    56: "current average 4 of {}",
    58: "{}, test",
}
_DISTORTIONS: Final[dict[int, str]] = {
    124: "total harmonic distortion",
    125: "total demand distortion",
    126: "all harmonics",
    127: "all harmonics to nominal",
}
_ANGLES: Final[dict[int, str]] = {0: "U1", 1: "U2", 2: "U3", 4: "I1", 5: "I2", 6: "I3", 7: "I0"}
_LOSSES: Final[dict[int, str]] = {
    3: "on-load losses, active",
    6: "no-load losses, active",
    12: "on-load losses, reactive",
    15: "no-load losses, reactive",
    19: "volt-squared hours",
    20: "ampere-squared hours",
}

Rows = tuple[tuple[str, str], ...]
# Patterns of C.D.E: a number, `lo-hi`, or `*`. {e} is group E, {n} its place in the range from 0.
_ELECTRICITY: Final[Rows] = (
    ("0.0.0-9", "identification {n1}"),
    ("0.1.0", "billing period counter"),
    ("0.1.1", "number of available billing periods"),
    ("0.1.2", "time of the last billing reset"),
    ("0.2.0", "firmware identification"),
    ("0.2.1", "parameter identification"),
    ("0.2.2", "tariff program identification"),
    ("0.2.8", "firmware signature"),
    ("0.3.0", "active meter constant (LED)"),
    ("0.3.1", "reactive meter constant (LED)"),
    ("0.3.2", "apparent meter constant (LED)"),
    ("0.3.3", "active meter constant (output)"),
    ("0.3.4", "reactive meter constant (output)"),
    ("0.3.5", "apparent meter constant (output)"),
    ("0.4.2", "current transformer ratio"),
    ("0.4.3", "voltage transformer ratio"),
    ("0.6.0", "nominal voltage"),
    ("0.6.1", "basic current"),
    ("0.6.2", "nominal frequency"),
    ("0.6.3", "maximum current"),
    ("0.8.0", "demand period"),
    ("0.8.4", "recording interval 1"),
    ("0.8.5", "recording interval 2"),
    ("0.9.1", "local time"),
    ("0.9.2", "local date"),
    ("0.11.*", "measurement algorithm {e}"),
    ("94.31.*", "country specific {e}"),
    ("97.97.*", "error register"),
    ("98.1.*", "billing values"),
    ("98.2.*", "billing values, scheme 2"),
    ("99.1.0", "load profile 1"),
    ("99.1.*", "load profile 1.{e}"),
    ("99.2.0", "load profile 2"),
    ("99.2.*", "load profile 2.{e}"),
    ("99.3.*", "load profile during test"),
    ("99.97.*", "power failure log"),
    ("99.98.*", "event log {e}"),
)
_ABSTRACT: Final[Rows] = (
    ("0.1.0", "billing period counter"),
    ("0.1.2", "time of the last billing reset"),
    ("0.2.0", "firmware identification"),
    ("0.2.8", "firmware signature"),
    ("0.9.1", "local time"),
    ("0.9.2", "local date"),
    ("1.0.*", "clock"),
    ("1.1.*", "UNIX clock"),
    ("1.2.*", "high-resolution clock"),
    ("2.0.*", "modem configuration"),
    ("2.1.*", "auto connect"),
    ("2.2.*", "auto answer"),
    ("10.0.0", "global reset script table"),
    ("10.0.1", "end of billing script table"),
    ("10.0.100", "tariff script table"),
    ("10.0.101", "test mode script table"),
    ("10.0.102", "normal mode script table"),
    ("10.0.103", "output script table"),
    ("10.0.104", "optical test output script table"),
    ("10.0.105", "power quality script table"),
    ("10.0.106", "disconnect script table"),
    ("10.0.107", "image activation script table"),
    ("10.0.108", "push script table"),
    ("10.0.109", "load profile control script table"),
    ("10.0.110", "M-Bus profile script table"),
    ("10.0.111", "function control script table"),
    ("10.0.125", "broadcast script table"),
    ("10.0.*", "script table {e}"),
    ("11.0.*", "special days table"),
    ("12.0.*", "schedule"),
    ("13.0.*", "activity calendar"),
    ("14.0.*", "register activation {e}"),
    ("15.0.0", "end of billing schedule"),
    ("15.0.1", "disconnect schedule"),
    ("15.0.2", "image activation schedule"),
    ("15.0.3", "output schedule"),
    ("15.0.4", "push schedule"),
    ("15.0.*", "single action schedule {e}"),
    ("16.0.*", "register monitor {e}"),
    ("16.1.*", "alarm monitor {e}"),
    ("16.2.*", "parameter monitor {e}"),
    ("17.0.*", "limiter {e}"),
    ("18.0.*", "array manager {e}"),
    ("19.0-9.*", "account"),
    ("19.10-19.0", "credit {d10}"),
    ("19.10-19.*", "credit {d10}, number {e}"),
    ("19.20-29.0", "charge {d10}"),
    ("19.20-29.*", "charge {d10}, number {e}"),
    ("19.40-49.*", "token gateway"),
    ("19.50-59.1", "maximum credit limit"),
    ("19.50-59.2", "maximum vend limit"),
    ("19.60-69.*", "STS attributes"),
    ("20.0.0", "optical port setup"),
    ("20.0.1", "electrical port setup"),
    ("21.0.*", "readout list {e}"),
    ("22.0.*", "HDLC setup"),
    ("23.*.*", "twisted pair setup"),
    ("24.0.*", "M-Bus slave port setup"),
    ("24.1.*", "M-Bus client"),
    ("24.2.*", "M-Bus value {e}"),
    ("24.3.*", "M-Bus profile {e}"),
    ("24.4.*", "M-Bus disconnect control"),
    ("24.5.*", "M-Bus control log"),
    ("24.6.*", "M-Bus master port setup"),
    ("24.8.*", "DLMS server M-Bus port setup"),
    ("24.9.*", "M-Bus diagnostic {e}"),
    ("25.0.*", "TCP-UDP setup"),
    ("25.1.*", "IPv4 setup"),
    ("25.2.*", "MAC address"),
    ("25.3.*", "PPP setup"),
    ("25.4.*", "GPRS modem setup"),
    ("25.5.*", "SMTP setup"),
    ("25.6.*", "GSM diagnostic"),
    ("25.7.*", "IPv6 setup"),
    ("25.9.*", "push setup"),
    ("25.10.*", "NTP setup"),
    ("25.11.*", "LTE monitoring"),
    ("31.0.*", "wireless mode Q channel"),
    ("40.0.0", "current association"),
    ("40.0.*", "association {e}"),
    ("41.0.0", "SAP assignment"),
    ("42.0.0", "logical device name"),
    ("43.0.*", "security setup {e}"),
    ("43.1.*", "invocation counter {e}"),
    ("43.2.*", "data protection {e}"),
    ("44.0.*", "image transfer"),
    ("44.1.*", "function control"),
    ("44.2.*", "communication port protection"),
    ("65.*.*", "utility table"),
    ("66.0.*", "compact data {e}"),
    ("94.31.*", "country specific {e}"),
    ("96.1.10", "metering point identification"),
    ("96.1.0-9", "device identification {n1}"),
    ("96.2.0", "number of configuration changes"),
    ("96.2.1", "time of the last configuration change"),
    ("96.3.0", "state of input and output control signals"),
    ("96.3.1", "state of input control signals"),
    ("96.3.2", "state of output control signals"),
    ("96.3.10", "disconnect control"),
    ("96.3.20-29", "arbitrator {n1}"),
    ("96.4.*", "state of internal control signals"),
    ("96.5.*", "internal operating status"),
    ("96.6.0", "battery use time"),
    ("96.6.1", "battery charge"),
    ("96.6.3", "battery voltage"),
    ("96.6.6", "battery time remaining"),
    ("96.7.0", "power failures in all phases"),
    ("96.7.1-3", "power failures in L{n1}"),
    ("96.7.5", "long power failures in all phases"),
    ("96.7.6-8", "long power failures in L{n1}"),
    ("96.7.9", "long power failures in any phase"),
    ("96.7.10", "time of power failure in all phases"),
    ("96.7.11-13", "time of power failure in L{n1}"),
    ("96.7.15", "duration of power failure in all phases"),
    ("96.7.16-18", "duration of power failure in L{n1}"),
    ("96.7.20", "threshold for long power failures"),
    ("96.7.21", "power failures in any phase"),
    ("96.8.0", "operating time"),
    ("96.8.1-63", "operating time, tariff {e}"),
    ("96.9.0", "ambient temperature"),
    ("96.10.0", "status register"),
    ("96.10.1-10", "profile status {n1}"),
    ("96.11.*", "event code, log {e}"),
    ("96.12.*", "communication parameter {e}"),
    ("96.13.0", "consumer message"),
    ("96.13.1", "consumer message code"),
    ("96.13.*", "consumer message {e}"),
    ("96.14.*", "active tariff"),
    ("96.15.*", "event counter, log {e}"),
    ("96.16.*", "event parameter, log {e}"),
    ("96.20.0", "meter cover openings"),
    ("96.20.1", "time of the last meter cover opening"),
    ("96.20.2", "duration of the last meter cover opening"),
    ("96.20.5", "terminal cover openings"),
    ("96.20.6", "time of the last terminal cover opening"),
    ("96.20.7", "duration of the last terminal cover opening"),
    ("96.20.10", "tilt events"),
    ("96.20.15", "strong magnetic field events"),
    ("96.20.16", "time of the last strong magnetic field"),
    ("96.20.17", "duration of the last strong magnetic field"),
    ("96.20.20", "supply control switch tamper events"),
    ("96.*.*", "service entry {d}.{e}"),
    ("97.97.*", "error register"),
    ("97.98.0-9", "alarm register {n1}"),
    ("97.98.10-19", "alarm filter {n1}"),
    ("97.98.20-29", "alarm descriptor {n1}"),
    ("98.1.*", "billing values"),
    ("98.2.*", "billing values, scheme 2"),
    ("99.1.*", "load profile 1"),
    ("99.2.*", "load profile 2"),
    ("99.3.*", "load profile during test"),
    ("99.12.*", "connection profile"),
    ("99.13.*", "GSM diagnostic profile"),
    ("99.14.*", "charge collection history"),
    ("99.15.*", "token credit history"),
    ("99.16.*", "parameter monitor log"),
    ("99.17.*", "token transfer log"),
    ("99.18.*", "LTE monitoring profile"),
    ("99.97.*", "power failure log"),
    ("99.98.0", "standard event log"),
    ("99.98.1", "fraud detection log"),
    ("99.98.2", "disconnector control log"),
    ("99.98.*", "event log {e}"),
)
_OTHER_MEDIA: Final[dict[int, Rows]] = {
    5: (("1.*.*", "energy"), ("2.*.*", "volume"), ("8.*.*", "power"), ("9.*.*", "flow rate")),
    6: (("1.*.*", "energy"), ("2.*.*", "volume"), ("8.*.*", "power"), ("9.*.*", "flow rate")),
    7: (("3.*.*", "volume"),),
    8: (("1.*.*", "volume"), ("2.*.*", "flow rate")),
    9: (("1.*.*", "volume"), ("2.*.*", "flow rate")),
}

Range = tuple[int, int]


def _range(text: str) -> Range:
    if text == "*":
        return 0, 255
    low, dash, high = text.partition("-")
    return int(low), int(high if dash else low)


def _compiled(rows: Rows) -> tuple[tuple[tuple[Range, Range, Range], str], ...]:
    compiled = []
    for pattern, name in rows:
        c, d, e = map(_range, pattern.split("."))
        compiled.append(((c, d, e), name))
    return tuple(compiled)


_TABLES: Final = {
    0: _compiled(_ABSTRACT),
    1: _compiled(_ELECTRICITY),
    **{medium: _compiled(rows) for medium, rows in _OTHER_MEDIA.items()},
}


def _looked_up(obis: Obis) -> str | None:
    """From the table of the medium: the first row that covers the code.

    Service entries (C = 96) of electricity mean what they mean for abstract objects.
    """
    a, _, c, d, e, _ = obis
    for (c_range, d_range, e_range), name in _TABLES.get(0 if a == 1 and c == 96 else a, ()):
        inside = c_range[0] <= c <= c_range[1] and d_range[0] <= d <= d_range[1]
        if inside and e_range[0] <= e <= e_range[1]:
            first = e - e_range[0]
            return name.format(e=e, d=d, n=first, n1=first + 1, d10=d % 10 + 1)
    return None


def _electric_quantity(c: int, energy: bool) -> str | None:
    """What group C measures, with its phase."""
    phase, base = "", c
    if 21 <= c <= 80:
        phase, base = f" L{(c - 1) // 20}", (c - 1) % 20 + 1
    if base in _POWERS and c <= 80:
        return _POWERS[base].format("energy" if energy else "power") + phase
    if base in _SIGNALS and c <= 80:
        return _SIGNALS[base] + phase
    return _SINGLE.get(c)


def _electric(obis: Obis) -> str | None:
    """Composed from C, D and E for A = 1."""
    _, _, c, d, e, _ = obis
    if c == 81:
        return _angle(e) if d == 7 else None
    if c == 83:
        return _LOSSES.get(e)
    quantity = _electric_quantity(c, d in _ENERGY_D)
    if quantity is None or d not in _PROCESSING:
        return None
    return _PROCESSING[d].format(quantity) + _detail(c, d, e)


def _angle(e: int) -> str | None:
    reference, subject = _ANGLES.get(e // 10), _ANGLES.get(e % 10)
    if reference is None or subject is None:
        return None
    return f"phase angle {subject} to {reference}"


def _detail(c: int, d: int, e: int) -> str:
    """What group E adds: a tariff, a harmonic, a distortion."""
    if e in {0, 255}:
        return ""
    signal = c in {11, 12, 91, 92, 124, 125, 126} or (21 <= c <= 80 and (c - 1) % 20 in {10, 11})
    if e in _DISTORTIONS:
        return f", {_DISTORTIONS[e]}"
    if signal and d in {7, 24, 56}:
        return f", harmonic {e}"
    return f", tariff {e}" if e <= 63 else f", {e}"


def _history(f: int) -> str:
    """What group F adds."""
    if f == CURRENT:
        return ""
    if f <= 99:
        return f", billing period {f}"
    if f == 101:
        return ", last billing period"
    if 102 <= f <= 125:
        return f", {f - 100} billing periods ago"
    return ", last billing periods" if f == 126 else f", F {f}"


def _channel(obis: Obis) -> str:
    """What group B adds, where it is not the ordinary 0 (or 1 in electricity)."""
    usual = obis.b == 0 or (obis.a == 1 and obis.b == 1)
    return "" if usual else f", channel {obis.b}"


@lru_cache(maxsize=4096)
def known_name(obis: Obis) -> str | None:
    """The English name, or None where the code says nothing that is standardised."""
    sources: tuple[Callable[[Obis], str | None], ...] = (_looked_up,)
    if obis.a == 1:
        sources = (_electric, _looked_up)
    for source in sources:
        if name := source(obis):
            medium = "" if obis.a <= 1 else f"{MEDIA[obis.a]} "
            return medium + name + _channel(obis) + _history(obis.f)
    return None


def obis_name(obis: Obis | str) -> str:
    """A name for people: what is known of the code, at least its medium and its groups.

    `obis_name("1-0:1.8.1")` is `active energy import, tariff 1`.
    """
    code = Obis.parse(obis) if isinstance(obis, str) else obis
    if name := known_name(code):
        return name
    medium = MEDIA.get(code.a, f"medium {code.a}")
    kind = "manufacturer specific" if _is_manufacturer_specific(code) else "object"
    return f"{medium} {kind} {code.c}.{code.d}.{code.e}{_channel(code)}{_history(code.f)}"


def _is_manufacturer_specific(obis: Obis) -> bool:
    _, b, c, d, e, _ = obis
    makers = 128 <= b <= 199 or 128 <= c <= 199 or c == 240 or 128 <= d <= 254 or 128 <= e <= 254
    return makers or (c == 96 and 50 <= d <= 99)
