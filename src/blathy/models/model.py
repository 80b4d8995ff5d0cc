"""The type that every meter is a table of: frozen, validated when it is built.

The engine never asks which model it is. A model lists what a meter has; COSEM objects, readout,
display and the other protocols are views of the same rows, so a value cannot differ between two
ports. A cell that no public document gives is marked `assumed`; the generated page of the model
lists these apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag
from typing import Final

from blathy.obis import Obis
from blathy.quantity import Kind, Measure, Phase, Source, Unit, base_of

SHEET: Final = "data sheet"
"""Provenance of what the maker's data sheet says itself."""


class ModelError(ValueError):
    """A table contradicts itself; the sentence names the model and the cell."""


class DataType(IntEnum):
    """The COSEM type a value is sent as; the number is its A-XDR tag (IEC 62056-5-3)."""

    BOOLEAN = 3
    BITS = 4
    I32 = 5
    U32 = 6
    OCTETS = 9
    TEXT = 10
    I8 = 15
    I16 = 16
    U8 = 17
    U16 = 18
    I64 = 20
    U64 = 21
    ENUM = 22


INTEGER_RANGE: Final[Mapping[DataType, tuple[int, int]]] = {
    DataType.I8: (-(1 << 7), (1 << 7) - 1),
    DataType.I16: (-(1 << 15), (1 << 15) - 1),
    DataType.I32: (-(1 << 31), (1 << 31) - 1),
    DataType.I64: (-(1 << 63), (1 << 63) - 1),
    DataType.U8: (0, (1 << 8) - 1),
    DataType.U16: (0, (1 << 16) - 1),
    DataType.U32: (0, (1 << 32) - 1),
    DataType.U64: (0, (1 << 64) - 1),
    DataType.ENUM: (0, 255),
}


class Group(Enum):
    """What an object is for: access rights are granted by level and group."""

    IDENTITY = "identity"
    ASSOCIATION = "association"
    TIME = "time"
    COUNTER = "invocation counters"
    REGISTER = "registers"
    PROFILE = "profiles"
    LOG = "logs"
    PARAMETER = "parameters"
    TARIFF = "tariffs"
    BILLING = "billing reset"
    CONTROL = "supply and load control"
    PAYMENT = "prepayment"
    COMMUNICATION = "communication"
    SECURITY = "security"
    FIRMWARE = "firmware"
    TERMINAL = "display and buttons"
    MBUS = "M-Bus devices"


class Right(IntFlag):
    """What a level may do with the objects of a group."""

    NONE = 0
    GET = 1
    SET = 2
    ACTION = 4


R: Final = Right.GET
RW: Final = Right.GET | Right.SET
RX: Final = Right.GET | Right.ACTION
RWX: Final = Right.GET | Right.SET | Right.ACTION


class Level(Enum):
    """Who speaks through an association."""

    PUBLIC = "public"
    READER = "reader"
    CONSUMER = "consumer"
    INSTALLER = "installer"
    MANAGEMENT = "management"
    BROADCAST = "broadcast"
    MANUFACTURER = "manufacturer"


class Mechanism(IntEnum):
    """Authentication mechanism id (DLMS UA 1000-2)."""

    NONE = 0
    LLS = 1
    HLS = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


class Ciphering(Enum):
    """Whether an association speaks the ciphered application context."""

    NEVER = "never"
    ALLOWED = "allowed"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured or counted value: an object of class 1, 3, 4 or 5 bound to a source.

    `unit` is needed only where the source itself is a plain counter (a pulse input, an hour
    counter).
    """

    obis: Obis
    class_id: int
    source: Source
    data_type: DataType = DataType.U32
    scaler: int = 0
    unit: Unit | None = None
    title: str = ""
    assumed: bool = False
    provenance: str = SHEET
    group: Group = Group.REGISTER

    def __post_init__(self) -> None:
        if self.class_id not in {1, 3, 4, 5}:
            msg = f"{self.obis}: a row is of class 1, 3, 4 or 5, not {self.class_id}"
            raise ModelError(msg)
        if self.class_id in {3, 4, 5} and self.source.kind is not Kind.TEXT:
            base, _ = base_of(self.source)
            if self.source.kind is not Kind.COUNTER and self.unit not in {None, base}:
                msg = f"{self.obis}: unit {self.unit!r} is not that of its source ({base.name})"
                raise ModelError(msg)

    @property
    def shown_unit(self) -> Unit:
        """The unit that the object states."""
        if self.unit is not None:
            return self.unit
        return Unit.COUNT if self.source.kind is Kind.TEXT else base_of(self.source)[0]

    @property
    def tariff(self) -> int:
        """The rate; an angle uses the same field for the pair it is between."""
        return 0 if self.source.measure is Measure.ANGLE else self.source.tariff


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that somebody sets: an object of class 1 or 3 with its default."""

    obis: Obis
    name: str
    default: int | bytes | str | bool
    data_type: DataType = DataType.U32
    class_id: int = 1
    scaler: int = 0
    unit: Unit = Unit.COUNT
    title: str = ""
    group: Group = Group.PARAMETER
    writable: bool = True
    audited: bool = True
    assumed: bool = True
    provenance: str = ""
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Facility:
    """An object with a behaviour of its own (clock, calendar, image transfer, set-up ...)."""

    class_id: int
    obis: Obis
    group: Group
    title: str
    version: int = 0
    role: str = ""
    """Which part of the meter it is, where one class serves several (`tariff scripts`)."""
    values: Mapping[int, object] = field(default_factory=dict)
    """Attribute -> its default, where it differs from that of the class."""
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many records of a ring fit into its memory. Exactly one of the laws is used.

    - `entries`: a fixed number of records;
    - `days`: that many days at the period in force, but never more than `entries_max` records;
    - `area_bytes`: records of `overhead_bytes` + `channel_bytes` per channel in a plain pool,
      or, with `page_bytes`, whole records per page, `spare_pages` always erased.
    """

    entries: int = 0
    days: int = 0
    entries_max: int = 0
    area_bytes: int = 0
    overhead_bytes: int = 0
    channel_bytes: int = 0
    page_bytes: int = 0
    page_header_bytes: int = 0
    spare_pages: int = 0
    table: Mapping[int, int] = field(default_factory=dict)
    """Channels -> records, where the maker publishes no simple law."""
    law: str = ""

    def records(self, channels: int, period_s: int) -> int:
        """Records that fit with this many channels at this period."""
        if self.table:
            return self._from_table(channels)
        if self.days:
            wanted = self.days * 86_400 // period_s
            return min(wanted, self.entries_max) if self.entries_max else wanted
        if self.area_bytes:
            record = self.overhead_bytes + self.channel_bytes * channels
            if self.page_bytes:
                per_page = (self.page_bytes - self.page_header_bytes) // record
                return (self.area_bytes // self.page_bytes - self.spare_pages) * per_page
            return self.area_bytes // record
        return self.entries

    def whole_days(self, channels: int, period_s: int) -> int:
        """Depth in whole days, as a data sheet states it."""
        return self.records(channels, period_s) * period_s // 86_400

    def _from_table(self, channels: int) -> int:
        """Interpolated in 1/channels between the published numbers, whole blocks only."""
        if channels in self.table:
            return self.table[channels]
        below = max((n for n in self.table if n < channels), default=min(self.table))
        above = min((n for n in self.table if n > channels), default=max(self.table))
        if below == above or channels < min(self.table) or channels > max(self.table):
            nearest = below if channels > max(self.table) else above
            return self.table[nearest] * nearest // channels
        low, high = self.table[below], self.table[above]
        part = (high - low) * (channels - below) * above
        return low + part // ((above - below) * channels)


@dataclass(frozen=True, slots=True)
class Column:
    """One captured attribute of a profile."""

    obis: Obis
    attribute: int = 2
    source: Source | None = None
    """What is stored, where it is not the attribute's own value (a mean, a delta)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A load profile: what it captures, how often, how deep.

    `columns` leaves out clock and status, which every record carries. `status` is the OBIS code
    of the status column; None where records have none.
    """

    key: str
    obis: Obis
    title: str
    columns: tuple[Column, ...]
    period_s: int
    periods_s: tuple[int, ...]
    capacity: Capacity
    status: Obis | None
    status_type: DataType = DataType.U8
    layouts: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    """Other column sets that can be ordered, by name."""
    columns_max: int = 8
    variants: Mapping[str, Capacity] = field(default_factory=dict)
    """Other memory layouts that a firmware, a country or an order code gives it, by name."""
    delta: bool = False
    assumed: bool = False

    def records(self, period_s: int | None = None, channels: int | None = None) -> int:
        return self.capacity.records(
            len(self.columns) if channels is None else channels, period_s or self.period_s
        )


class BillingStop(Enum):
    """What ends a billing period by itself."""

    MONTHLY = "monthly"
    WEEKLY = "weekly"
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Billing:
    """A billing profile: the registers kept at every end of its period."""

    key: str
    obis: Obis
    title: str
    columns: tuple[Column, ...]
    entries: int
    stop: BillingStop = BillingStop.MONTHLY
    resets_demand: bool = True
    assumed: bool = False


Codes = int | tuple[int, int, int]
"""An event's code, or one per phase."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """A ring of events: which events go in and under which code of the maker."""

    key: str
    obis: Obis
    title: str
    entries: int
    codes: Mapping[str, Codes]
    code_obis: Obis = field(default_factory=lambda: Obis.parse("0-0:96.11.0"))
    code_type: DataType = DataType.U16
    figures: tuple[Obis, Obis] | None = None
    """Under which codes an entry also says the phase (0: all) and the figure of the event, the
    voltage in tenths of a volt; None: an entry is its time and code."""
    assumed: bool = False

    def code_of(self, name: str, phase: Phase) -> int | None:
        """The maker's code; None where this log does not hold the event."""
        codes = self.codes.get(name)
        if codes is None or isinstance(codes, int):
            return codes
        return codes[phase - 1] if phase is not Phase.TOTAL else codes[0]


@dataclass(frozen=True, slots=True)
class Association:
    """A client's way in: its address, how it proves itself, what it may do."""

    client_sap: int
    level: Level
    obis: Obis
    mechanisms: tuple[Mechanism, ...]
    """The first is in force unless another one of them is ordered."""
    ciphering: Ciphering = Ciphering.NEVER
    pre_established: bool = False
    needs_open_seal: bool = False
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Tariffs:
    """What the tariff clock can hold."""

    rates: int
    seasons: int = 4
    day_profiles: int = 8
    switchings: int = 16
    special_days: int = 100
    passive_calendar: bool = True
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand integration: block, or sliding over `sub_periods`."""

    period_s: int
    periods_s: tuple[int, ...]
    measures: tuple[Measure, ...]
    sub_periods: int = 1
    lockout_s: int = 900
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class ClockSpec:
    """The clock: its quartz, its reserve, how far a synchronisation is a shift and not a set."""

    obis: Obis
    drift_ppm: int
    reserve_s: int
    shift_limit_s: int
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class DisplayList:
    """A list of readings: `name` is automatic, manual, utility or battery."""

    name: str
    items: tuple[str, ...]
    """OBIS codes of rows, or `clock`, `date`, `test` (all segments), `errors`."""
    items_max: int = 16


@dataclass(frozen=True, slots=True)
class Display:
    """The LCD: its fields, formats, lists and times."""

    value_digits: int
    code_digits: int
    formats: tuple[tuple[int, int], ...]
    """(digits before, digits after the point) of energies in k units; the first is the default."""
    lists: tuple[DisplayList, ...]
    scroll_s: int
    back_to_automatic_s: int
    annunciators: tuple[str, ...]
    power_format: tuple[int, int] = (2, 3)
    leading_zeros: bool = True
    shows_legal_always: bool = False
    long_press_ms: int = 2000
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Led:
    """A light: `follows` is energy (pulses), supply, breaker, link, relay or alarm."""

    key: str
    label: str
    colour: str
    follows: str
    idle_lit: bool = False
    """Lit while powered and without load; pulsing above the starting current."""
    imp_per_kwh: int = 0
    pulse_ms: int = 0


@dataclass(frozen=True, slots=True)
class Terminal:
    """One connection on the terminal block: pulse, alarm, tariff, ntc, ma, volt, relay, s0 ..."""

    key: str
    kind: str
    label: str
    roles: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A way to speak to the meter."""

    key: str
    kind: str
    protocols: tuple[str, ...]
    baud: int = 0
    baud_max: int = 0
    note: str = ""
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class PulseOutput:
    """An output that pulses from the same accumulator as the register."""

    key: str
    measures: tuple[Measure, ...]
    imp_per_kwh: int
    pulse_ms: int
    pulses_max_hz: int = 16


@dataclass(frozen=True, slots=True)
class Breaker:
    """The supply breaker (or the outputs to a contactor)."""

    obis: Obis
    mode: int
    modes: tuple[int, ...]
    built_in: bool
    limiter_obis: Obis | None = None
    limit_w: int = 0
    limit_ma: int = 0
    reclose_s: int = 5
    button: bool = True
    prepayment: bool = False
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class LoadRelay:
    """A relay that switches loads, not the supply."""

    obis: Obis
    key: str
    label: str
    mode: int = 5
    rated_ma: int = 6000


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds at which events begin, in permille of the nominal voltage unless the unit says
    otherwise."""

    overvoltage_permille: int = 1150
    undervoltage_permille: int = 850
    voltage_delay_s: int = 60
    phase_lost_permille: int = 500
    sag_permille: int = 900
    swell_permille: int = 1100
    hysteresis_permille: int = 20
    long_outage_s: int = 180
    u_asymmetry_permille: int = 20
    i_asymmetry_permille: int = 300
    thd_u_permille: int = 80
    overcurrent_ma: int = 0
    power_limit_w: int = 0
    neutral_high_mv: int = 253_000
    neutral_low_mv: int = 190_000
    neutral_delay_s: int = 60
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Ratings:
    """What the name plate says of the measurement."""

    un_v: tuple[int, ...]
    i_ref_ma: tuple[int, ...]
    i_max_ma: int
    accuracy_active: tuple[str, ...]
    accuracy_reactive: tuple[str, ...] = ()
    i_min_ma: int = 0
    fn_hz: tuple[int, ...] = (50, 60)
    voltage_permille: tuple[int, int] = (800, 1150)
    imp_per_kwh: int = 1000
    starting_ma: int = 20
    starting_w_tenth: int = 0
    """Load indication threshold in tenths of a watt; 0 where only a current is given."""
    supply_indicator_v: int = 0
    transformers: bool = False
    """Connected through current (and voltage) transformers: primary values are computed."""
    current_full_scale_ma: int = 0
    starting_assumed: bool = True


@dataclass(frozen=True, slots=True)
class ReadoutItem:
    """One data set of the IEC 62056-21 readout: `code(value*unit)`."""

    code: str
    obis: Obis
    digits: tuple[int, int] = (7, 3)
    unit: str = "kWh"
    with_time: bool = False


@dataclass(frozen=True, slots=True)
class ModbusItem:
    """One value of the Modbus map."""

    register: int
    obis: Obis
    encoding: str
    """float32, u16, i16, u32, i32, i64, u64; big-endian, high word first."""
    scaler: int = 0
    table: str = "input"


@dataclass(frozen=True, slots=True)
class MbusRecord:
    """One M-Bus data record: DIF/VIF bytes before a little-endian value of `width` bytes."""

    header: bytes
    obis: Obis
    width: int
    scaler: int


@dataclass(frozen=True, slots=True)
class PushList:
    """A list sent by itself on the consumer port."""

    key: str
    version_text: str
    obis: tuple[Obis, ...]
    every_s: int
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """How the meter names itself. `{serial}` is the decimal serial number."""

    ldn: str
    identification: str
    serial_digits: int = 8
    type_text: str = ""
    device_type: int = 0
    """Byte behind the FLAG code in the system title."""
    firmware: str = "1.0.0"
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """A meter of a data sheet as one table."""

    key: str
    name: str
    maker: str
    flag: str
    title: str
    description: str
    sources: tuple[str, ...]
    identity: Identity
    phases: tuple[Phase, ...]
    connection: str
    ratings: Ratings
    plate: Mapping[str, str]
    """What the sheet says of plastic, screws and climate, as text."""
    rows: tuple[Row, ...]
    profiles: tuple[Profile, ...]
    billing: tuple[Billing, ...]
    logs: tuple[EventLog, ...]
    tariffs: Tariffs
    demand: Demand | None
    clock: ClockSpec
    display: Display | None
    leds: tuple[Led, ...]
    terminals: tuple[Terminal, ...]
    ports: tuple[Port, ...]
    associations: tuple[Association, ...]
    access: Mapping[Level, Mapping[Group, Right]]
    facilities: tuple[Facility, ...]
    parameters: tuple[Parameter, ...] = ()
    pulses: tuple[PulseOutput, ...] = ()
    breaker: Breaker | None = None
    relays: tuple[LoadRelay, ...] = ()
    limits: Limits = field(default_factory=Limits)
    readout: tuple[ReadoutItem, ...] = ()
    modbus: tuple[ModbusItem, ...] = ()
    mbus: tuple[MbusRecord, ...] = ()
    pushes: tuple[PushList, ...] = ()
    alarms: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Event -> (alarm register, bit)."""
    security_policy: int = 0
    """What every association but the public one asks of requests and responses when the meter is
    delivered (security_policy of the Security setup, version 1); it can only be strengthened."""
    iec62056_21: tuple[str, ...] = ()
    """Modes of IEC 62056-21 that can be ordered (A, C, none); the first is delivered. Empty: as
    the identification says."""
    event_code: Obis | None = None
    """The row whose value, the code of the event, goes to every open association that may read it
    as soon as an event is logged (EventNotification). None: only alarms do."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Self-test finding -> bit of the error register."""
    quirks: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    """What else is assumed, each with its reason."""

    def __post_init__(self) -> None:
        _validate(self)

    def row(self, obis: Obis | str) -> Row:
        """The row of a code; raise KeyError where the model has none."""
        wanted = Obis.parse(obis) if isinstance(obis, str) else obis
        for row in self.rows:
            if row.obis == wanted:
                return row
        msg = f"{self.name} has no register {wanted}"
        raise KeyError(msg)

    def pulse_inputs(self) -> int:
        """Pulse counters that the rows name (`pulses_1` ...)."""
        names = (row.source.name for row in self.rows)
        return max(
            (int(n.removeprefix("pulses_")) for n in names if n.startswith("pulses_")), default=0
        )

    def captured_rows(self) -> dict[Obis, Row]:
        """Everything that a profile can capture: the rows, and the values of M-Bus channels.

        The books count what an M-Bus channel has read like pulses, behind the real inputs.
        """
        found = {row.obis: row for row in self.rows}
        inputs = self.pulse_inputs()
        for facility in self.facilities:
            if facility.class_id == 4 and facility.group is Group.MBUS:
                counted = Source(Kind.COUNTER, name=f"pulses_{inputs + facility.obis.b}")
                found[facility.obis] = Row(
                    facility.obis, 4, counted, title=facility.title, group=Group.MBUS, assumed=True
                )
        return found

    def mbus_channels(self) -> int:
        """How many M-Bus channels it has."""
        return sum(f.class_id == 4 and f.group is Group.MBUS for f in self.facilities)

    def profile(self, key: str) -> Profile:
        for profile in self.profiles:
            if profile.key == key:
                return profile
        msg = (
            f"{self.name} has no profile {key!r}; it has {', '.join(p.key for p in self.profiles)}"
        )
        raise KeyError(msg)

    def association(self, client_sap: int) -> Association | None:
        return next((a for a in self.associations if a.client_sap == client_sap), None)

    def right(self, level: Level, group: Group) -> Right:
        return self.access.get(level, {}).get(group, Right.NONE)

    def assumed_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.assumed)


def _declared(model: Model) -> Iterator[tuple[Obis, str]]:
    for row in model.rows:
        yield row.obis, f"row {row.title}"
    for parameter in model.parameters:
        yield parameter.obis, f"parameter {parameter.name}"
    for profile in model.profiles:
        yield profile.obis, f"profile {profile.key}"
    for billing in model.billing:
        yield billing.obis, f"billing {billing.key}"
    for log in model.logs:
        yield log.obis, f"log {log.key}"
    for facility in model.facilities:
        yield facility.obis, f"facility {facility.title}"
    for relay in model.relays:
        yield relay.obis, f"relay {relay.key}"
    if model.breaker is not None:
        yield model.breaker.obis, "breaker"
        if model.breaker.limiter_obis is not None:
            yield model.breaker.limiter_obis, "limiter"


def _validate(model: Model) -> None:
    seen: dict[Obis, str] = {}
    for obis, what in _declared(model):
        if obis in seen:
            msg = f"{model.key}: {obis} is both {seen[obis]} and {what}"
            raise ModelError(msg)
        seen[obis] = what
    present = {Phase.TOTAL, *model.phases}
    for row in model.rows:
        if row.source.phase not in present:
            msg = f"{model.key}: {row.obis} needs {row.source.phase.name}, which is not there"
            raise ModelError(msg)
        if row.tariff > model.tariffs.rates:
            msg = f"{model.key}: {row.obis} is of rate {row.source.tariff}, above its rates"
            raise ModelError(msg)
    _validate_profiles(model)
    _validate_views(model)
    _validate_associations(model)


def _validate_profiles(model: Model) -> None:
    rows = model.captured_rows()
    known = {model.clock.obis, *rows}
    for profile in model.profiles:
        for name, columns in {"": profile.columns, **profile.layouts}.items():
            _check_columns(model, f"profile {profile.key} {name}".rstrip(), columns, known, rows)
            if len(columns) > profile.columns_max:
                msg = f"{model.key}: profile {profile.key} has too many columns"
                raise ModelError(msg)
        if profile.period_s not in profile.periods_s:
            msg = f"{model.key}: profile {profile.key} cannot run at {profile.period_s} s"
            raise ModelError(msg)
        if profile.records() < 1:
            msg = f"{model.key}: profile {profile.key} holds no record"
            raise ModelError(msg)
    for billing in model.billing:
        _check_columns(model, f"billing {billing.key}", billing.columns, known, rows)


def _check_columns(
    model: Model,
    where: str,
    columns: tuple[Column, ...],
    known: set[Obis],
    rows: Mapping[Obis, Row],
) -> None:
    for column in columns:
        if column.obis not in known:
            msg = f"{model.key}: {where} captures {column.obis}, which no row defines"
            raise ModelError(msg)
        row = rows.get(column.obis)
        if column.source is None or row is None:
            continue
        if base_of(column.source)[0] is not base_of(row.source)[0]:
            msg = f"{model.key}: {where}: the unit of {column.obis} is not that of its source"
            raise ModelError(msg)


DISPLAY_WORDS: Final = frozenset({"clock", "date", "test", "errors"})


def _validate_views(model: Model) -> None:
    known = {row.obis for row in model.rows} | {p.obis for p in model.parameters}
    for display_list in model.display.lists if model.display else ():
        for item in display_list.items:
            if item not in DISPLAY_WORDS and Obis.parse(item) not in known:
                msg = f"{model.key}: display list {display_list.name} shows {item}, no row has it"
                raise ModelError(msg)
        if len(display_list.items) > display_list.items_max:
            msg = f"{model.key}: display list {display_list.name} is too long"
            raise ModelError(msg)
    views = (
        *((item.obis, "readout") for item in model.readout),
        *((item.obis, "Modbus map") for item in model.modbus),
        *((item.obis, "M-Bus records") for item in model.mbus),
    )
    if model.event_code is not None and model.event_code not in known:
        msg = f"{model.key}: {model.event_code} is to carry event codes, which no row defines"
        raise ModelError(msg)
    for obis, view in views:
        if obis not in known | {model.clock.obis}:
            msg = f"{model.key}: the {view} shows {obis}, which no row defines"
            raise ModelError(msg)


def _validate_associations(model: Model) -> None:
    saps = [association.client_sap for association in model.associations]
    if len(saps) != len(set(saps)):
        msg = f"{model.key}: two associations share a client address"
        raise ModelError(msg)
    for association in model.associations:
        if association.level not in model.access:
            msg = f"{model.key}: level {association.level.value} has no access rights"
            raise ModelError(msg)
