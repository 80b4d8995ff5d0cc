"""Rows as COSEM objects: classes 1, 3, 4 and 5, and the counters that are derived from the books.

A register is cut towards zero to its scaler and wraps at the width of its type, as a counting
mechanism does; an instantaneous value that does not fit is sent as null-data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from blathy.cosem import axdr
from blathy.cosem.axdr import NUMERIC_FORMATS
from blathy.cosem.axdr import DataType as Wire
from blathy.cosem.cosem_time import UNSET, CosemDateTime
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.measuring import STAGES, staged_limit
from blathy.meter.objects import (
    Attribute,
    CosemObject,
    Getter,
    Setter,
    require,
    scaler_unit,
    setting,
)
from blathy.meter.plan import STORED_AS
from blathy.models.model import INTEGER_RANGE, DataType, Group, Parameter, Row
from blathy.quantity import Kind, Measure, Phase, Source, base_of
from blathy.registers.block import INSTANT_INDEX
from blathy.registers.cells import Cells

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NULL: Final = b"\x00"
UNSET_TIME: Final = axdr.encode_octets(UNSET.raw())
COUNTING: Final = frozenset({Kind.ENERGY, Kind.COUNTER, Kind.CUMULATIVE_MAX})
"""Kinds that wrap at the width of their type."""

Value = Callable[["Meter"], int | None]


def number_encoder(data_type: DataType, *, wraps: bool) -> Callable[[int], bytes]:
    """Encodes integers as that type with its tag; see the module for what does not fit."""
    low, high = INTEGER_RANGE[data_type]
    pack = struct.Struct(">B" + NUMERIC_FORMATS[Wire(data_type)]).pack
    span = high - low + 1

    def encode(value: int) -> bytes:
        if low <= value <= high:
            return pack(data_type, value)
        return pack(data_type, (value - low) % span + low) if wraps else NULL

    return encode


def rescaler(source: Source, scaler: int) -> Callable[[int], int]:
    """From the base of the books to the scaler of a row, cut towards zero."""
    factor, divisor = _ratio(source, scaler)
    if divisor == 1:
        return int if factor == 1 else lambda value: value * factor
    return lambda value: value // divisor if value >= 0 else -(-value // divisor)


def rescaled(values: Cells, source: Source, scaler: int) -> Cells:
    """`rescaler` for many values."""
    return scaled(values, *_ratio(source, scaler))


def scaled(values: Cells, factor: int, divisor: int) -> Cells:
    """Times a factor, or over a divisor and cut towards zero."""
    if divisor == 1:
        return values if factor == 1 else values * factor
    # The remainder of C has the sign of the value.
    cut: Cells = (values - np.fmod(values, divisor)) // divisor
    return cut


def _ratio(source: Source, scaler: int) -> tuple[int, int]:
    """Factor and divisor, one of them 1, from the base of the books to a scaler."""
    shift = 0 if source.kind is Kind.COUNTER else base_of(source)[1] - scaler
    return 10 ** max(shift, 0), 10 ** max(-shift, 0)


# --- counters that the books do not keep by that name -----------------------------------------


def _last_event(meter: Meter) -> int:
    newest = max(
        (entries[-1] for entries in meter.books.logs.values() if entries),
        key=lambda entry: entry.at_utc_s,
        default=None,
    )
    return 0 if newest is None else meter.tree.code_of(newest.name, newest.phase)


def _error_register(meter: Meter) -> int:
    errors = meter.model.errors
    bits = sum(1 << errors[name] for name in meter.faults if name in errors)
    if not meter.books.clock.valid and "clock_invalid" in errors:
        bits |= 1 << errors["clock_invalid"]
    return bits


def _alarm_register(number: int) -> Value:
    return lambda meter: meter.alarm_bits(number)


def _profile_status(name: str) -> Value:
    def status(meter: Meter) -> int | None:
        view = meter.books.profiles.get(name)
        if view is None or not len(view):
            return int(meter.books.status)
        return int(view.ring.rows(view.ring.end - 1)[0, 1])

    return status


def _asymmetry(column: str) -> Value:
    """Largest deviation of a phase from the mean of the phases, in tenths of a percent."""

    def asymmetry(meter: Meter) -> int | None:
        instant = meter.books.instant[-1]
        values = [
            int(instant[INSTANT_INDEX[column, phase]]) for phase in (Phase.L1, Phase.L2, Phase.L3)
        ]
        total = sum(values)
        if total <= 0:
            return 0
        return max(abs(3 * value - total) for value in values) * 1000 // total

    return asymmetry


def _excess(pick: str, index: int = 0) -> Value:
    def excess(meter: Meter) -> int | None:
        demand = next((d for d in meter.books.demands if d.plan.measure is Measure.A_IMPORT), None)
        if demand is None:
            return 0
        found = demand.excess
        if pick == "count":
            return found.count
        if pick == "sum":
            return found.sum_mw // 1000
        return found.largest[index][0] // 1000 if index < len(found.largest) else 0

    return excess


def _harmonic(name: str) -> Value:
    """`harmonic_u_l1_5`: order 5 of the voltage of L1, in hundredths of a percent of order 1."""
    _, letter, phase, order = name.split("_")
    place = ("ui".index(letter), int(phase[1:]) - 1, int(order))

    def harmonic(meter: Meter) -> int | None:
        return None if meter.harmonics is None else int(meter.harmonics[place])

    return harmonic


def _secondary(name: str) -> Value:
    """What stands on the secondary side of the transformers, in thousandths of the unit of the
    primary quantity: the primary value over the ratios that are set."""
    measure_name, _, phase_name = name.partition("_l")
    kind_name, _, measure_key = measure_name.partition("_")
    measure = Measure[measure_key.upper()]
    phase = Phase(int(phase_name)) if phase_name else Phase.TOTAL
    source = Source({"energy": Kind.ENERGY, "instant": Kind.INSTANT}[kind_name], measure, phase)
    shift = int(10 ** (-3 - base_of(source)[1]))

    def secondary(meter: Meter) -> int | None:
        try:
            primary = meter.books.value(source)
        except LookupError:
            return None
        ratios = meter.constants().ratios
        current, voltage = round(ratios.current), round(ratios.voltage)
        divisor = {Measure.U: voltage, Measure.I: current, Measure.I_N: current}.get(
            measure, current * voltage
        )
        whole = abs(primary) // (divisor * shift)
        return whole if primary >= 0 else -whole

    return secondary


DERIVED: Final[dict[str, Value]] = {
    "last_event": _last_event,
    "error_register": _error_register,
    **{f"alarm_register_{n}": _alarm_register(n) for n in range(1, 7)},
    **{
        f"profile_status_{key}": _profile_status(key)
        for key in ("load", "daily", "analysis", "hourly", "rms", "fast", "voltage")
    },
    "asymmetry_i": _asymmetry("i_ma"),
    "excess_count": _excess("count"),
    "excess_sum": _excess("sum"),
    "excess_largest": _excess("largest"),
    **{f"excess_{n}": _excess("largest", n - 1) for n in range(1, 11)},
}


def counter_value(name: str) -> Value:
    """How a named counter is found: derived, analysed by metrology, or kept by the books."""
    if name in DERIVED:
        return DERIVED[name]
    if name.startswith("harmonic_"):
        return _harmonic(name)
    if name.startswith("secondary_"):
        return _secondary(name.removeprefix("secondary_"))
    source, unit = kept_as(name)

    def kept(meter: Meter) -> int | None:
        try:
            return meter.books.value(source) // unit
        except LookupError:
            return None

    return kept


def is_kept(name: str) -> bool:
    """Whether the books keep a named counter, and nothing derives it from something else."""
    return name not in DERIVED and not name.startswith(("harmonic_", "secondary_"))


def kept_as(name: str) -> tuple[Source, int]:
    """Where the books keep a named counter, and what one unit of it is in theirs."""
    stored, unit = STORED_AS.get(name, (name, 1))
    return Source(Kind.COUNTER, name=stored), unit


def raw_value(source: Source) -> Value:
    """The source's value in the base of the books; None where there is none now."""
    if source.kind is Kind.COUNTER:
        return counter_value(source.name)

    def value(meter: Meter) -> int | None:
        try:
            return meter.books.value(source)
        except LookupError:
            return None

    return value


def row_value(row: Row) -> Value:
    """The row's value at its own scaler."""
    raw = raw_value(row.source)
    scale = rescaler(row.source, row.scaler)

    def value(meter: Meter) -> int | None:
        found = raw(meter)
        return None if found is None else scale(found)

    return value


# --- objects ----------------------------------------------------------------------------------


def _number(source: Source, row: Row) -> Getter:
    raw = raw_value(source)
    scale = rescaler(source, row.scaler)
    encode = number_encoder(row.data_type, wraps=row.source.kind in COUNTING)

    def get(meter: Meter) -> bytes:
        found = raw(meter)
        return NULL if found is None else encode(scale(found))

    return get


def text_getter(name: str, data_type: DataType) -> Getter:
    """A text of the meter (serial number, firmware ...) as octets, visible string or number."""

    def get(meter: Meter) -> bytes:
        value = meter.text(name)
        if data_type is DataType.TEXT:
            return axdr.encode(axdr.visible(value.decode("ascii", "replace")))
        if data_type is DataType.U32:
            return axdr.encode_u32(int(value) & 0xFFFF_FFFF)
        return axdr.encode_octets(value)

    return get


def _moment(meter: Meter, source: Source) -> bytes:
    try:
        utc_s = meter.books.time_of(source)
    except LookupError:
        utc_s = None
    if utc_s is None:
        return UNSET_TIME
    return axdr.encode_octets(CosemDateTime.from_utc(utc_s, meter.zone).raw())


def row_object(row: Row, demand_period_s: int, sub_periods: int) -> CosemObject:
    """The object of a row."""
    if row.source.kind is Kind.TEXT:
        attributes: tuple[Attribute, ...] = (
            Attribute(text_getter(row.source.name, row.data_type)),
        )
    elif row.class_id == 1:
        attributes = (Attribute(_number(row.source, row), _clearing(row)),)
    elif row.class_id == 3:
        unit = Attribute(scaler_unit(row.scaler, row.shown_unit))
        attributes = (Attribute(_number(row.source, row)), unit)
    elif row.class_id == 4:
        attributes = _extended(row)
    else:
        attributes = _demand(row, demand_period_s, sub_periods)
    methods = {1: 0, 3: 1, 4: 1, 5: 2}[row.class_id]
    return CosemObject(
        row.class_id, 0, row.obis, row.group, row.title, attributes, (None,) * methods
    )


def _clearing(row: Row) -> Setter | None:
    """Alarm registers are cleared by writing what is to remain; nothing else is writable."""
    name = row.source.name
    if not name.startswith("alarm_register_"):
        return None
    number = int(name.removeprefix("alarm_register_"))
    wire = Wire(row.data_type)

    def write(meter: Meter, data: axdr.Data) -> None:
        meter.keep_alarm_bits(number, int(require(data, wire).value))

    return write


def _extended(row: Row) -> tuple[Attribute, ...]:
    source = row.source

    def captured(meter: Meter) -> bytes:
        if source.kind is Kind.COUNTER:
            return excess_moment(meter, source.name)
        return _moment(meter, source)

    return (
        Attribute(_number(source, row)),
        Attribute(scaler_unit(row.scaler, row.shown_unit)),
        Attribute(NULL),
        Attribute(captured),
    )


def excess_moment(meter: Meter, name: str) -> bytes:
    """When one of the largest excesses was reached."""
    number = name.removeprefix("excess_")
    index = 0 if number == "largest" else int(number) - 1
    for demand in meter.books.demands:
        if demand.plan.measure is Measure.A_IMPORT and index < len(demand.excess.largest):
            stamp = demand.excess.largest[index][1]
            return axdr.encode_octets(CosemDateTime.from_utc(stamp, meter.zone).raw())
    return UNSET_TIME


def _demand(row: Row, period_s: int, sub_periods: int) -> tuple[Attribute, ...]:
    present = row.source
    last = Source(Kind.LAST_DEMAND, present.measure, present.phase, present.tariff)
    return (
        Attribute(_number(present, row)),
        Attribute(_number(last, row)),
        Attribute(scaler_unit(row.scaler, row.shown_unit)),
        Attribute(NULL),
        Attribute(lambda meter: _moment(meter, last)),
        Attribute(lambda meter: _moment(meter, present)),
        Attribute(axdr.encode_u32(period_s)),
        Attribute(axdr.encode_u16(sub_periods)),
    )


def _of_stages(name: str, kept: Attribute) -> Attribute:
    """A number of the staged current limit; refused where the stages would not follow in order."""

    def write(meter: Meter, data: axdr.Data) -> None:
        if isinstance(data.value, int):
            try:
                staged_limit(meter, **{name: data.value})
            except ValueError as error:
                raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error
        assert kept.set is not None
        kept.set(meter, data)

    return Attribute(kept.get, write)


def parameter_object(parameter: Parameter) -> CosemObject:
    """A settable value; every change is an event and durable before it is confirmed."""
    wire = Wire(parameter.data_type)
    default = axdr.Data(wire, parameter.default)
    audited = parameter.audited

    def after(meter: Meter, _data: axdr.Data) -> None:
        meter.parameter_changed(parameter.name)
        if audited:
            meter.record("parameters_changed")

    highest = parameter.highest
    value = setting(
        parameter.obis, 2, default, wire, writable=parameter.writable, after=after,
        check=None if highest is None else lambda data: int(data.value) <= highest,
    )  # fmt: skip
    if parameter.name in STAGES:
        value = _of_stages(parameter.name, value)
    attributes: tuple[Attribute, ...] = (value,)
    if parameter.class_id == 3:
        attributes += (Attribute(scaler_unit(parameter.scaler, parameter.unit)),)
    methods = () if parameter.class_id == 1 else (None,)
    group = parameter.group if parameter.group is not Group.REGISTER else Group.PARAMETER
    return CosemObject(
        parameter.class_id, 0, parameter.obis, group, parameter.title, attributes, methods
    )
