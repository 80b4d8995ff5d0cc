"""Groups of rows and objects that several makers share. OBIS codes are derived from the source,
so a code cannot contradict what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from blathy.models.model import (
    RW,
    RWX,
    RX,
    Association,
    Capacity,
    Ciphering,
    Column,
    DataType,
    Facility,
    Group,
    Level,
    Mechanism,
    Parameter,
    Profile,
    R,
    Right,
    Row,
)
from blathy.obis import Obis
from blathy.quantity import Kind, Loss, Measure, Phase, Source, Unit

GROUP_D: Final = {
    Kind.ENERGY: 8,
    Kind.INSTANT: 7,
    Kind.MAX_DEMAND: 6,
    Kind.CUMULATIVE_MAX: 2,
    Kind.DEMAND: 4,
    Kind.LAST_DEMAND: 5,
    Kind.MEAN: 25,
    Kind.MINIMUM: 3,
    Kind.MAXIMUM: 26,
    Kind.DELTA: 29,
}
NAME: Final = {
    Measure.A_IMPORT: "active energy import A+",
    Measure.A_EXPORT: "active energy export A-",
    Measure.R_PLUS: "reactive energy R+",
    Measure.R_MINUS: "reactive energy R-",
    Measure.R1: "reactive energy R1",
    Measure.R2: "reactive energy R2",
    Measure.R3: "reactive energy R3",
    Measure.R4: "reactive energy R4",
    Measure.E_IMPORT: "apparent energy E+",
    Measure.E_EXPORT: "apparent energy E-",
    Measure.A_ABS: "absolute active energy |A|",
    Measure.A_NET: "net active energy",
    Measure.I: "current",
    Measure.U: "voltage",
    Measure.PF: "power factor",
    Measure.F: "frequency",
    Measure.ANGLE: "phase angle",
    Measure.I_N: "neutral current",
    Measure.THD_U: "voltage THD",
    Measure.THD_I: "current THD",
    Measure.LOSS: "losses",
}
POWER_NAME: Final = {
    Measure.A_IMPORT: "active power import P+",
    Measure.A_EXPORT: "active power export P-",
    Measure.R_PLUS: "reactive power Q+",
    Measure.R_MINUS: "reactive power Q-",
    Measure.R1: "reactive power Q1",
    Measure.R2: "reactive power Q2",
    Measure.R3: "reactive power Q3",
    Measure.R4: "reactive power Q4",
    Measure.E_IMPORT: "apparent power S+",
    Measure.E_EXPORT: "apparent power S-",
    Measure.A_ABS: "absolute active power",
    Measure.A_NET: "net active power",
}
KIND_NAME: Final = {
    Kind.MAX_DEMAND: "maximum demand, ",
    Kind.CUMULATIVE_MAX: "cumulative maximum demand, ",
    Kind.DEMAND: "present demand, ",
    Kind.LAST_DEMAND: "last demand, ",
    Kind.MEAN: "mean of the profile period, ",
    Kind.MINIMUM: "minimum of the profile period, ",
    Kind.MAXIMUM: "maximum of the profile period, ",
}
ONE_PHASE: Final = (Phase.L1,)
THREE_PHASES: Final = (Phase.L1, Phase.L2, Phase.L3)


def o(text: str) -> Obis:
    """A code of a table, checked when the table is read."""
    return Obis.parse(text)


def obis_of(source: Source, b: int = 0) -> Obis:
    """The code that IEC 62056-61 gives the source (A = 1)."""
    if source.loss is not None:
        return Obis(1, b, 83, 8, source.loss.value)
    assert source.measure is not None
    d = GROUP_D[source.kind]
    if source.measure is Measure.THD_U:
        return Obis(1, b, 12 + 20 * source.phase, d, 124)
    if source.measure is Measure.THD_I:
        return Obis(1, b, 11 + 20 * source.phase, d, 124)
    if source.measure is Measure.ANGLE:
        return Obis(1, b, 81, d, _angle_e(source))
    if source.measure is Measure.I_N:
        return Obis(1, b, 91, d, 0)
    return Obis(1, b, source.measure.value + 20 * source.phase, d, source.tariff)


def _angle_e(source: Source) -> int:
    """E = 10 x reference + subject: U2 and U3 against U1, or a phase's current against its
    voltage."""
    return source.tariff or {Phase.L1: 4, Phase.L2: 15, Phase.L3: 26}[source.phase]


def title_of(source: Source) -> str:
    measure = source.measure
    energy = source.kind in {Kind.ENERGY, Kind.DELTA}
    if source.loss is not None:
        return f"transformer losses {source.loss.name}"
    assert measure is not None
    name = NAME[measure] if energy else POWER_NAME.get(measure, NAME[measure])
    text = KIND_NAME.get(source.kind, "") + name
    if source.phase is not Phase.TOTAL:
        text += f" {source.phase.name}"
    if source.measure is Measure.ANGLE and source.tariff:
        text = f"voltage angle U{source.tariff // 10 + 1} to U1"
    elif source.tariff:
        text += f", rate {source.tariff}"
    return text


def row(
    source: Source,
    data_type: DataType,
    scaler: int,
    *,
    b: int = 0,
    class_id: int = 3,
    obis: Obis | None = None,
    assumed: bool = False,
    provenance: str = "",
) -> Row:
    """One row whose code and title follow from its source."""
    return Row(
        obis or obis_of(source, b),
        class_id,
        source,
        data_type,
        scaler,
        title=title_of(source),
        assumed=assumed,
        provenance=provenance or ("assumed" if assumed else "data sheet"),
    )


def energies(
    measures: Iterable[Measure],
    rates: int,
    data_type: DataType,
    scaler: int,
    *,
    b: int = 0,
    phases: Iterable[Phase] = (Phase.TOTAL,),
    assumed: bool = False,
    provenance: str = "",
) -> tuple[Row, ...]:
    """Energy registers: total and `rates` rates of each measure."""
    return tuple(
        row(
            Source(Kind.ENERGY, measure, phase, rate),
            data_type,
            scaler,
            b=b,
            assumed=assumed,
            provenance=provenance,
        )
        for measure in measures
        for phase in phases
        for rate in range(rates + 1)
    )


def powers(
    measures: Iterable[Measure],
    data_type: DataType,
    scaler: int,
    *,
    b: int = 0,
    phases: Iterable[Phase] = (Phase.TOTAL,),
    kind: Kind = Kind.INSTANT,
    assumed: bool = False,
    provenance: str = "",
) -> tuple[Row, ...]:
    """Powers, or demands by `kind`, of each measure and phase."""
    return tuple(
        row(
            Source(kind, measure, phase),
            data_type,
            scaler,
            b=b,
            assumed=assumed,
            provenance=provenance,
        )
        for measure in measures
        for phase in phases
    )


def demands(
    measures: Iterable[Measure],
    rates: int,
    data_type: DataType,
    scaler: int,
    *,
    b: int = 0,
    cumulative: bool = True,
    running: bool = True,
    assumed: bool = False,
) -> tuple[Row, ...]:
    """Maxima (class 4), their sums over the billing periods (3), present demand (5)."""
    rows: list[Row] = []
    for measure in measures:
        for rate in range(rates + 1):
            maximum = Source(Kind.MAX_DEMAND, measure, tariff=rate)
            rows.append(row(maximum, data_type, scaler, b=b, class_id=4, assumed=assumed))
            if cumulative:
                total = Source(Kind.CUMULATIVE_MAX, measure, tariff=rate)
                rows.append(row(total, data_type, scaler, b=b, assumed=assumed))
        if running:
            present = Source(Kind.DEMAND, measure)
            rows.append(row(present, data_type, scaler, b=b, class_id=5, assumed=assumed))
    return tuple(rows)


def per_phase(
    measure: Measure,
    phases: Iterable[Phase],
    data_type: DataType,
    scaler: int,
    *,
    b: int = 0,
    kind: Kind = Kind.INSTANT,
    assumed: bool = False,
    provenance: str = "",
) -> tuple[Row, ...]:
    """One row of a measure for each of the phases."""
    return tuple(
        row(
            Source(kind, measure, phase),
            data_type,
            scaler,
            b=b,
            assumed=assumed,
            provenance=provenance,
        )
        for phase in phases
    )


def losses(data_type: DataType, scaler: int, *, b: int = 0) -> tuple[Row, ...]:
    """Transformer losses and squared quantities: 83.8.E."""
    return tuple(
        row(Source(Kind.ENERGY, Measure.LOSS, loss=loss), data_type, scaler, b=b) for loss in Loss
    )


def counter(
    obis: str,
    name: str,
    title: str,
    data_type: DataType = DataType.U16,
    *,
    class_id: int = 1,
    unit: Unit | None = None,
    scaler: int = 0,
    group: Group = Group.REGISTER,
    assumed: bool = True,
) -> Row:
    """A counter of the books by its name."""
    source = Source(Kind.COUNTER, name=name)
    return Row(o(obis), class_id, source, data_type, scaler, unit, title, assumed, "", group)


def text(
    obis: str,
    name: str,
    title: str,
    data_type: DataType = DataType.OCTETS,
    *,
    group: Group = Group.IDENTITY,
    assumed: bool = True,
) -> Row:
    """A text of the meter by its name."""
    source = Source(Kind.TEXT, name=name)
    return Row(o(obis), 1, source, data_type, 0, None, title, assumed, "", group)


def columns(*codes: str, attribute: int = 2) -> tuple[Column, ...]:
    """Captured attributes by their codes."""
    return tuple(Column(o(code), attribute) for code in codes)


def timed(*codes: str) -> tuple[Column, ...]:
    """A maximum with its time: attributes 2 and 5 of each code."""
    return tuple(column for code in codes for column in (Column(o(code), 2), Column(o(code), 5)))


# --- who may do what ---------------------------------------------------------------------------

ACCESS_STANDARD: Final[Mapping[Level, Mapping[Group, Right]]] = {
    Level.PUBLIC: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: R,
        Group.TIME: R,
        Group.COUNTER: R,
    },
    Level.READER: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: R,
        Group.TIME: R,
        Group.COUNTER: R,
        Group.REGISTER: R,
        Group.PROFILE: R,
        Group.LOG: R,
        Group.PARAMETER: R,
        Group.TARIFF: R,
        Group.CONTROL: R,
        Group.PAYMENT: R,
        Group.TERMINAL: R,
        Group.MBUS: R,
        Group.COMMUNICATION: R,
        Group.FIRMWARE: R,
    },
    Level.CONSUMER: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: R,
        Group.TIME: R,
        Group.COUNTER: R,
        Group.REGISTER: R,
        Group.PROFILE: R,
        Group.TERMINAL: R,
        Group.PAYMENT: R,
    },
    Level.INSTALLER: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: R,
        Group.TIME: RWX,
        Group.COUNTER: R,
        Group.REGISTER: R,
        Group.PROFILE: R,
        Group.LOG: R,
        Group.PARAMETER: R,
        Group.TARIFF: R,
        Group.CONTROL: RX,
        Group.PAYMENT: R,
        Group.TERMINAL: RX,
        Group.MBUS: RX,
        Group.COMMUNICATION: RWX,
        Group.FIRMWARE: R,
    },
    Level.MANAGEMENT: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: RWX,
        Group.TIME: RWX,
        Group.COUNTER: R,
        Group.REGISTER: RX,
        Group.PROFILE: RWX,
        Group.LOG: RX,
        Group.PARAMETER: RW,
        Group.TARIFF: RWX,
        Group.BILLING: RX,
        Group.CONTROL: RWX,
        Group.PAYMENT: RWX,
        Group.TERMINAL: RX,
        Group.MBUS: RWX,
        Group.COMMUNICATION: RWX,
        Group.SECURITY: RWX,
        Group.FIRMWARE: RWX,
    },
    Level.BROADCAST: {
        Group.IDENTITY: R,
        Group.TIME: RWX,
        Group.FIRMWARE: RX,
        Group.COMMUNICATION: RX,
    },
    Level.MANUFACTURER: {
        Group.IDENTITY: R,
        Group.ASSOCIATION: R,
        Group.TIME: RWX,
        Group.COUNTER: R,
        Group.REGISTER: RX,
        Group.PROFILE: RX,
        Group.LOG: R,
        Group.PARAMETER: RW,
        Group.TARIFF: RW,
        Group.TERMINAL: RX,
        Group.COMMUNICATION: RWX,
        Group.FIRMWARE: RX,
    },
}
"""Rights by level. Energy registers have no method and no writable attribute at any level: legal
data cannot be changed."""


def associations(
    *,
    reader: int = 2,
    hls: bool = True,
    consumer: int | None = None,
    broadcast: bool = True,
) -> tuple[Association, ...]:
    """The usual clients: public 16, a reader, the installer 3 and management 1.

    With `hls` the privileged clients prove themselves by HLS with GMAC, else by password; the
    other way can be ordered.
    """
    strong = (Mechanism.HLS_GMAC, Mechanism.LLS) if hls else (Mechanism.LLS, Mechanism.HLS_GMAC)
    cipher = Ciphering.ALLOWED
    result = [
        Association(16, Level.PUBLIC, o("0-0:40.0.1"), (Mechanism.NONE,)),
        Association(reader, Level.READER, o("0-0:40.0.2"), strong, cipher),
        Association(1, Level.MANAGEMENT, o("0-0:40.0.3"), strong, cipher),
        Association(3, Level.INSTALLER, o("0-0:40.0.4"), strong, cipher),
    ]
    if consumer is not None:
        client = Association(consumer, Level.CONSUMER, o("0-0:40.0.5"), strong, cipher)
        result.append(client)
    if broadcast:
        result.append(
            Association(
                102,
                Level.BROADCAST,
                o("0-0:40.0.6"),
                (Mechanism.NONE,),
                Ciphering.REQUIRED,
                pre_established=True,
            )
        )
    result.append(
        Association(
            127,
            Level.MANUFACTURER,
            o("0-0:40.0.7"),
            (Mechanism.HLS_GMAC,),
            Ciphering.REQUIRED,
            needs_open_seal=True,
        )
    )
    return tuple(result)


# --- objects that every DLMS meter of the tables has ------------------------------------------

COMMON_FACILITIES: Final = (
    Facility(17, o("0-0:41.0.0"), Group.IDENTITY, "SAP assignment"),
    Facility(9, o("0-0:10.0.1"), Group.BILLING, "billing reset scripts", role="billing"),
    Facility(9, o("0-0:10.0.100"), Group.TARIFF, "tariff scripts", role="tariff"),
    Facility(9, o("0-0:10.0.106"), Group.CONTROL, "disconnect scripts", role="disconnect"),
    Facility(9, o("0-0:10.0.107"), Group.FIRMWARE, "image activation scripts", role="image"),
    Facility(9, o("0-0:10.0.108"), Group.COMMUNICATION, "push scripts", role="push"),
    Facility(11, o("0-0:11.0.0"), Group.TARIFF, "special days"),
    Facility(20, o("0-0:13.0.0"), Group.TARIFF, "activity calendar"),
    Facility(22, o("0-0:15.0.0"), Group.BILLING, "end of billing schedule", role="billing"),
    Facility(22, o("0-0:15.0.2"), Group.FIRMWARE, "image activation schedule", role="image"),
    Facility(22, o("0-0:15.0.4"), Group.COMMUNICATION, "push schedule", role="push"),
    Facility(18, o("0-0:44.0.0"), Group.FIRMWARE, "image transfer"),
    Facility(64, o("0-0:43.0.0"), Group.SECURITY, "security setup", version=1),
    Facility(40, o("0-0:25.9.0"), Group.COMMUNICATION, "push setup", version=1),
    Facility(41, o("0-0:25.0.0"), Group.COMMUNICATION, "TCP-UDP setup"),
    Facility(9, o("0-0:10.128.0"), Group.TERMINAL, "buttons", role="buttons", version=0),
)
OPTICAL_AND_HDLC: Final = (
    Facility(19, o("0-0:20.0.0"), Group.COMMUNICATION, "optical port", version=1),
    Facility(23, o("0-0:22.0.0"), Group.COMMUNICATION, "HDLC setup", version=1),
)
IPV4: Final = (
    Facility(42, o("0-0:25.1.0"), Group.COMMUNICATION, "IPv4 setup"),
    Facility(43, o("0-0:25.2.0"), Group.COMMUNICATION, "MAC address"),
    Facility(100, o("0-0:25.10.0"), Group.COMMUNICATION, "NTP setup"),
)
GSM_MODEM: Final = (
    Facility(27, o("0-0:2.0.0"), Group.COMMUNICATION, "modem configuration", version=1),
    Facility(29, o("0-0:2.1.0"), Group.COMMUNICATION, "call-back (auto connect)", version=2),
    Facility(28, o("0-0:2.2.0"), Group.COMMUNICATION, "auto answer", version=2),
    Facility(45, o("0-0:25.4.0"), Group.COMMUNICATION, "GPRS setup"),
    Facility(47, o("0-0:25.6.0"), Group.COMMUNICATION, "GSM diagnostics", version=1),
)
DISPLAY_MIRROR: Final = Facility(
    1, o("0-0:96.128.0"), Group.TERMINAL, "display as it looks now", role="display"
)
INVOCATION_COUNTER: Final = Facility(
    1, o("0-0:43.1.0"), Group.COUNTER, "invocation counter", role="invocation counter"
)


PREPAYMENT: Final = (
    Facility(111, o("0-0:19.0.0"), Group.PAYMENT, "account"),
    Facility(112, o("0-0:19.10.0"), Group.PAYMENT, "bought credit", role="bought credit"),
    Facility(112, o("0-0:19.10.1"), Group.PAYMENT, "emergency credit", role="emergency credit"),
)


def mbus_profiles(count: int) -> tuple[Profile, ...]:
    """Hourly values of the M-Bus channels: 70 days each."""
    return tuple(
        Profile(
            f"mbus_{n}",
            Obis(0, n, 24, 3, 0),
            f"hourly values of M-Bus channel {n}",
            (Column(Obis(0, n, 24, 2, 1)),),
            3600,
            (3600, 86_400),
            Capacity(entries=1680),
            None,
            assumed=True,
        )
        for n in range(1, count + 1)
    )


def mbus_clients(count: int) -> tuple[Facility, ...]:
    """M-Bus channels 1 to `count` (class 72), and the value that each has read (class 4)."""
    channels = range(1, count + 1)
    return (
        *(
            Facility(72, Obis(0, n, 24, 1, 0), Group.MBUS, f"M-Bus channel {n}", version=1)
            for n in channels
        ),
        *(
            Facility(4, Obis(0, n, 24, 2, 1), Group.MBUS, f"value of M-Bus channel {n}")
            for n in channels
        ),
    )


def parameter(
    obis: str,
    name: str,
    default: int,
    title: str,
    data_type: DataType = DataType.U32,
    *,
    unit: Unit = Unit.COUNT,
    scaler: int = 0,
    class_id: int = 1,
    group: Group = Group.PARAMETER,
    writable: bool = True,
    assumed: bool = True,
    highest: int | None = None,
) -> Parameter:
    """A settable value of a table."""
    return Parameter(
        o(obis),
        name,
        default,
        data_type,
        class_id,
        scaler,
        unit,
        title,
        group,
        writable,
        assumed=assumed,
        highest=highest,
    )


def alarm_filters(codes: Iterable[str]) -> tuple[Parameter, ...]:
    """Alarm filters, all off."""
    return tuple(
        parameter(code, f"alarm_filter_{n}", 0, f"alarm filter {n}")
        for n, code in enumerate(codes, 1)
    )


__all__ = ["RW", "RWX", "RX", "R"]
