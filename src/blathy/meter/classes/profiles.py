"""Profiles, billing profiles and event logs as class 7: rings of the books, encoded as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from blathy.cosem import axdr
from blathy.cosem.axdr import NUMERIC_FORMATS, AxdrError, Data
from blathy.cosem.axdr import DataType as Wire
from blathy.cosem.columns import OutColumn, encode_profile
from blathy.cosem.cosem_time import UNSET
from blathy.cosem.selective import (
    NOTHING,
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    build_capture_objects,
    parse_capture_objects,
    parse_selection,
    selected_columns,
)
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.cosem.time_columns import encode_times
from blathy.meter.classes.values import scaled
from blathy.meter.objects import Attribute, CosemObject, Method, Setter, require
from blathy.meter.plan import COUNTERS, STORED_AS, stored_source
from blathy.models.model import (
    Billing,
    Column,
    EventLog,
    Group,
    Model,
    Profile,
    Row,
)
from blathy.obis import Obis
from blathy.quantity import Kind, Source, base_of
from blathy.registers.load_profile import FIRST_COLUMN, STAMP, STATUS, ProfileView, Status

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

Cells = npt.NDArray[np.int64]
FIFO: Final = 1
BY_VALUE: Final = 1
TENTH_OF_A_VOLT_MV: Final = 100
BY_ENTRY: Final = 2
EMPTY_ARRAY: Final = axdr.encode(axdr.array())
BUILT_IN: Final = frozenset({*STORED_AS, *(counter.name for counter in COUNTERS)})
"""Counters that the books keep under any plan of a meter."""
_UNSET_OCTETS: Final = np.frombuffer(UNSET.raw(), np.uint8)


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """How one stored integer becomes a cell: where it stands, its type, its scale."""

    capture: CaptureObject
    at: int
    """Index into a row of the ring; -1 where the books do not keep it (sent as null-data)."""
    type: Wire
    factor: int = 1
    divisor: int = 1
    kind: str = "number"
    """number, clock (the row's own time), moment (a stored time) or status."""


def _scale(source: Source, scaler: int) -> tuple[int, int]:
    if source.kind is Kind.COUNTER:
        return 1, STORED_AS.get(source.name, ("", 1))[1]
    if source.kind is Kind.STATUS:
        return 1, 1
    shift = base_of(source)[1] - scaler
    return (10**shift, 1) if shift >= 0 else (1, 10**-shift)


def clock_capture(model: Model) -> CaptureObject:
    return CaptureObject(8, model.clock.obis, 2, 0)


def profile_columns(
    model: Model, profile: Profile, kept: Sequence[Source]
) -> tuple[StoredColumn, ...]:
    """The columns of a load profile over a ring whose columns are `kept`."""
    rows = model.captured_rows()
    columns = [StoredColumn(clock_capture(model), STAMP, Wire.OCTET_STRING, kind="clock")]
    if profile.status is not None:
        capture = CaptureObject(1, profile.status, 2, 0)
        columns.append(StoredColumn(capture, STATUS, Wire(profile.status_type), kind="status"))
    for column in profile.columns:
        row = rows[column.obis]
        wanted = column.source or row.source
        factor, divisor = _scale(wanted, row.scaler)
        source = stored_source(wanted)
        capture = CaptureObject(row.class_id, column.obis, column.attribute, 0)
        at = FIRST_COLUMN + kept.index(source) if source in kept else -1
        columns.append(StoredColumn(capture, at, Wire(row.data_type), factor, divisor))
    return tuple(columns)


def billing_columns(
    model: Model, billing: Billing, kept: Sequence[Source]
) -> tuple[StoredColumn, ...]:
    """The columns of a billing profile; the times of maxima stand behind all values."""
    rows = model.captured_rows()
    maxima = [source for source in kept if source.kind is Kind.MAX_DEMAND]
    columns = [StoredColumn(clock_capture(model), STAMP, Wire.OCTET_STRING, kind="clock")]
    for column in billing.columns:
        row = rows[column.obis]
        wanted = column.source or row.source
        source = stored_source(wanted)
        capture = CaptureObject(row.class_id, column.obis, column.attribute, 0)
        if column.attribute == 5:
            at = FIRST_COLUMN + len(kept) + maxima.index(source) if source in maxima else -1
            columns.append(StoredColumn(capture, at, Wire.OCTET_STRING, kind="moment"))
            continue
        factor, divisor = _scale(wanted, row.scaler)
        at = FIRST_COLUMN + kept.index(source) if source in kept else -1
        columns.append(StoredColumn(capture, at, Wire(row.data_type), factor, divisor))
    return tuple(columns)


# --- encoding ---------------------------------------------------------------------------------


def _wrapped(values: Cells, kind: Wire) -> npt.NDArray[Any]:
    """Values in the type: registers wrap at its width, as NumPy's casts between integers do."""
    return values.astype(NUMERIC_FORMATS[kind])


def _scaled(values: Cells, column: StoredColumn) -> Cells:
    return scaled(values, column.factor, column.divisor)


_CLOCK_INVALID: Final = int(Status.CLOCK_INVALID)


def _clock_status(status: Cells) -> npt.NDArray[np.uint8]:
    """Clock status octet of a row's time: invalid where the status word says so."""
    octets: npt.NDArray[np.uint8] = ((status & _CLOCK_INVALID) != 0).astype(np.uint8)
    return octets


def out_column(meter: Meter, rows: Cells, column: StoredColumn) -> OutColumn:
    """One column of the answer."""
    if column.at < 0:
        shape: npt.NDArray[Any] = np.zeros(len(rows), np.int64)
        if column.type is Wire.OCTET_STRING:
            return OutColumn(column.type, np.tile(_UNSET_OCTETS, (len(rows), 1)))
        return OutColumn(column.type, shape, np.ones(len(rows), np.bool_))
    if column.kind == "clock":
        octets = encode_times(rows[:, STAMP], meter.zone, _clock_status(rows[:, STATUS]))
        return OutColumn(column.type, octets)
    values = rows[:, column.at]
    if column.kind == "moment":
        octets = encode_times(np.maximum(values, 0), meter.zone)
        octets[values <= 0] = _UNSET_OCTETS
        return OutColumn(column.type, octets)
    return OutColumn(column.type, _wrapped(_scaled(values, column), column.type))


def encode_rows(meter: Meter, rows: Cells, columns: Sequence[StoredColumn]) -> bytes:
    if not len(rows):
        return EMPTY_ARRAY
    return encode_profile([out_column(meter, rows, column) for column in columns])


# --- selection --------------------------------------------------------------------------------


def _position(view: ProfileView, moment: int, *, after: bool) -> int:
    """First sequence number whose time stamp is >= (or, `after`, >) the moment."""
    ring = view.ring
    low, high = ring.first, ring.end
    while low < high:
        middle = (low + high) // 2
        stamp = ring.cell(middle, STAMP)
        if stamp < moment or (after and stamp == moment):
            low = middle + 1
        else:
            high = middle
    return low


def rows_between(meter: Meter, view: ProfileView, first_utc_s: int, last_utc_s: int) -> Cells:
    """Rows of that stretch of time, by bisection while the ring is in order of time."""
    if view.newest_first or not meter.in_order(view):
        return view.between(first_utc_s, last_utc_s)
    low = _position(view, first_utc_s, after=False)
    high = _position(view, last_utc_s, after=True)
    return view.ring.rows(low, max(low, high))


def selection_of(selector: int, parameters: bytes) -> RangeDescriptor | EntryDescriptor:
    try:
        return parse_selection(selector, parameters)
    except AxdrError as error:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error


def _picked(
    columns: Sequence[StoredColumn], selection: RangeDescriptor | EntryDescriptor
) -> list[StoredColumn]:
    try:
        chosen = selected_columns([column.capture for column in columns], selection)
    except AxdrError as error:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error
    return [columns[index] for index in chosen]


def _bounds_utc(meter: Meter, selection: RangeDescriptor) -> tuple[int, int]:
    try:
        return selection.utc_bounds(meter.zone)
    except AxdrError as error:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error


def _ranged(
    meter: Meter,
    view: ProfileView,
    columns: Sequence[StoredColumn],
    selection: RangeDescriptor,
) -> Cells:
    if selection.restricting.is_clock:
        return rows_between(meter, view, *_bounds_utc(meter, selection))
    return _valued(view.rows(), columns, selection)


def _valued(rows: Cells, columns: Sequence[StoredColumn], selection: RangeDescriptor) -> Cells:
    """The rows in which a captured number lies between the bounds."""
    column = next((c for c in columns if c.capture == selection.restricting), None)
    if column is None or column.at < 0 or column.kind == "moment":
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "not a captured number")
    try:
        low, high = selection.bounds()
    except AxdrError as error:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error
    values = _scaled(rows[:, column.at], column)
    return rows[(values >= low) & (values <= high)]


def _selected(
    meter: Meter,
    view: ProfileView,
    columns: Sequence[StoredColumn],
    selector: int,
    parameters: bytes,
) -> bytes:
    selection = selection_of(selector, parameters)
    chosen = _picked(columns, selection)
    if isinstance(selection, RangeDescriptor):
        rows = _ranged(meter, view, columns, selection)
    else:
        span = selection.rows(len(view))
        rows = view.rows(span.start, span.stop)
    if not chosen:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "no such column")
    return encode_rows(meter, rows, chosen)


# --- objects ----------------------------------------------------------------------------------


def _ring_object(
    obis: Obis,
    title: str,
    columns: tuple[StoredColumn, ...],
    period_s: int,
    view_of: Callable[[Meter], ProfileView],
    methods: tuple[Method | None, ...],
    set_columns: Setter | None = None,
    set_period: Setter | None = None,
) -> CosemObject:
    def buffer(meter: Meter) -> bytes:
        return encode_rows(meter, view_of(meter).rows(), columns)

    def select(meter: Meter, selector: int, parameters: bytes) -> bytes:
        return _selected(meter, view_of(meter), columns, selector, parameters)

    def used(meter: Meter) -> bytes:
        return axdr.encode_u32(len(view_of(meter)))

    def capacity(meter: Meter) -> bytes:
        return axdr.encode_u32(view_of(meter).capacity_entries)

    return CosemObject(
        7,
        1,
        obis,
        Group.PROFILE,
        title,
        (
            Attribute(buffer, select=select, selectors=(BY_VALUE, BY_ENTRY)),
            Attribute(build_capture_objects(column.capture for column in columns), set_columns),
            Attribute(axdr.encode_u32(period_s), set_period),
            Attribute(axdr.encode_enum(FIFO)),
            Attribute(axdr.encode(NOTHING.data())),
            Attribute(used),
            Attribute(capacity),
        ),
        methods,
    )


def profile_object(
    model: Model, profile: Profile, period_s: int, kept: Sequence[Source]
) -> CosemObject:
    """A load profile."""
    key = profile.key

    def reset(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.clear_profile(key)
        return b""

    def set_columns(meter: Meter, data: Data) -> None:
        meter.configure_profile(key, columns=captured_columns(model, profile, data))

    def set_period(meter: Meter, data: Data) -> None:
        require(data, Wire.DOUBLE_LONG_UNSIGNED)
        if data.value not in profile.periods_s:
            raise AccessError(DataAccessResult.OTHER_REASON, "the meter has no such period")
        meter.configure_profile(key, period_s=int(data.value))

    return _ring_object(
        profile.obis,
        profile.title,
        profile_columns(model, profile, kept),
        period_s,
        lambda meter: meter.books.profiles[key],
        (reset, None),
        set_columns,
        set_period if len(profile.periods_s) > 1 else None,
    )


def captured_columns(model: Model, profile: Profile, data: Data) -> tuple[Column, ...]:
    """The columns that capture objects ask for; AccessError where the meter cannot record them.

    Clock and status stand in every record, so naming them changes nothing.
    """
    try:
        captures = parse_capture_objects(data)
    except AxdrError as error:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
    rows = model.captured_rows()
    columns: list[Column] = []
    for capture in captures:
        if capture.is_clock or capture.obis == profile.status:
            continue
        row = rows.get(capture.obis)
        if row is None or row.class_id != capture.class_id or not _recordable(row, capture):
            raise AccessError(
                DataAccessResult.OTHER_REASON, f"{capture.obis} cannot be recorded here"
            )
        columns.append(Column(capture.obis, 2))
    if not 1 <= len(columns) <= profile.columns_max or len(set(columns)) != len(columns):
        reason = f"this profile records 1 to {profile.columns_max} different values"
        raise AccessError(DataAccessResult.OTHER_REASON, reason)
    return tuple(columns)


def _recordable(row: Row, capture: CaptureObject) -> bool:
    """Whether the books can keep the value: the numbers that they hold themselves."""
    if capture.attribute != 2 or capture.data_index:
        return False
    if row.source.kind is Kind.COUNTER:
        return row.source.name in BUILT_IN or row.source.name.startswith("pulses_")
    return row.source.kind is not Kind.TEXT


def billing_object(model: Model, billing: Billing, kept: Sequence[Source]) -> CosemObject:
    """A billing profile; `capture` ends the period where the plan lets commands do so."""
    key = billing.key

    def capture(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.end_billing()
        return b""

    return _ring_object(
        billing.obis,
        billing.title,
        billing_columns(model, billing, kept),
        0,
        lambda meter: meter.books.billings[key],
        (None, capture if billing.resets_demand else None),
    )


def log_object(model: Model, log: EventLog) -> CosemObject:
    """An event log: clock and the maker's code; of a log with figures also phase and voltage."""
    captures: tuple[CaptureObject, ...]
    captures = (clock_capture(model), CaptureObject(1, log.code_obis, 2, 0))
    columns: tuple[StoredColumn, ...] = (
        StoredColumn(captures[0], STAMP, Wire.OCTET_STRING, kind="clock"),
        StoredColumn(captures[1], FIRST_COLUMN, Wire(log.code_type)),
    )
    if log.figures is not None:
        phase = CaptureObject(1, log.figures[0], 2, 0)
        figure = CaptureObject(3, log.figures[1], 2, 0)
        captures = (*captures, phase, figure)
        columns = (
            *columns,
            StoredColumn(phase, FIRST_COLUMN + 1, Wire.UNSIGNED),
            StoredColumn(figure, FIRST_COLUMN + 2, Wire.DOUBLE_LONG_UNSIGNED),
        )
    key = log.key

    def table(meter: Meter) -> Cells:
        entries = meter.books.logs[key]
        rows = np.zeros((len(entries), FIRST_COLUMN + 3), np.int64)
        for index, entry in enumerate(entries):
            rows[index, STAMP] = entry.at_utc_s
            rows[index, FIRST_COLUMN] = log.code_of(entry.name, entry.phase) or 0
            rows[index, FIRST_COLUMN + 1] = entry.phase
            rows[index, FIRST_COLUMN + 2] = max(entry.value, 0) // TENTH_OF_A_VOLT_MV
        return rows

    def buffer(meter: Meter) -> bytes:
        return encode_rows(meter, table(meter), columns)

    def select(meter: Meter, selector: int, parameters: bytes) -> bytes:
        selection = selection_of(selector, parameters)
        chosen = _picked(columns, selection)
        rows = table(meter)
        if isinstance(selection, EntryDescriptor):
            span = selection.rows(len(rows))
            rows = rows[span.start : span.stop]
        elif selection.restricting.is_clock:
            low, high = _bounds_utc(meter, selection)
            rows = rows[(rows[:, STAMP] >= low) & (rows[:, STAMP] <= high)]
        else:
            rows = _valued(rows, columns, selection)
        if not chosen:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "no such column")
        return encode_rows(meter, rows, chosen)

    def used(meter: Meter) -> bytes:
        return axdr.encode_u32(len(meter.books.logs[key]))

    def reset(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.clear_log(key)
        return b""

    return CosemObject(
        7,
        1,
        log.obis,
        Group.LOG,
        log.title,
        (
            Attribute(buffer, select=select, selectors=(BY_VALUE, BY_ENTRY)),
            Attribute(build_capture_objects(captures)),
            Attribute(axdr.encode_u32(0)),
            Attribute(axdr.encode_enum(FIFO)),
            Attribute(axdr.encode(NOTHING.data())),
            Attribute(used),
            Attribute(axdr.encode_u32(log.entries)),
        ),
        (reset, None),
    )
