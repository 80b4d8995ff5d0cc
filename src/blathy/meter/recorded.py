"""A recorded meter that lives: `cosem.service.ObjectModel` over what `blathy clone` has read.

Values stand as they were read, but for the clock, which goes on from where it was, and for energy
and power registers where a load is given. What a client may set, it sets; methods work where the
class alone says what they do (`METHODS`), the others are refused with other-reason. Rights are
those that the meter's own object list told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import CosemDateTime, CosemTimeError, date_time_of
from blathy.cosem.objectlist import (
    AccessRight,
    AttributeAccess,
    ObjectEntry,
    ScalerUnit,
    build_object_list,
    select_objects,
)
from blathy.cosem.recorded_rows import RecordedRows, shifted, wall_clock_s
from blathy.cosem.selective import (
    EntryDescriptor,
    RangeDescriptor,
    parse_capture_objects,
    parse_selection,
    selected_columns,
)
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    Requester,
)
from blathy.models.recorded import RecordedMeter, RecordedObject
from blathy.obis import Obis
from blathy.quantity import Unit
from blathy.registers.block import INSTANT_INDEX, PHASES, Block

DATA, REGISTER, PROFILE, CLOCK, ASSOCIATION, BREAKER = 1, 3, 7, 8, 15, 70
PUBLIC_CLIENT: Final = 16
CURRENT_ASSOCIATION: Final = Obis(0, 0, 40, 0, 0)
LOGICAL_DEVICE_NAME: Final = Obis(0, 0, 42, 0, 0)
_PROTECTION: Final = (
    (AccessRight.REQUEST_AUTHENTICATED, "authenticated"),
    (AccessRight.REQUEST_ENCRYPTED, "encrypted"),
    (AccessRight.REQUEST_SIGNED, "signed"),
    # An answer is protected as its request was: what must not be said in clear is not asked so.
    (AccessRight.RESPONSE_AUTHENTICATED, "authenticated"),
    (AccessRight.RESPONSE_ENCRYPTED, "encrypted"),
    (AccessRight.RESPONSE_SIGNED, "signed"),
)
_QUARTER_S: Final = 900

Key = tuple[int, Obis, int]
"""Class, logical name, attribute."""
Keep = Callable[[Mapping[Key, bytes]], None]
"""Makes what clients have set durable; raise OSError where that fails."""


def _forget(values: Mapping[Key, bytes]) -> None:
    """Nothing is kept beyond the process."""
    del values


@dataclass(frozen=True, slots=True)
class _Advancing:
    """A register that a load moves: what of a block, and how much one unit of it is."""

    key: Key
    measure: int  # index in ENERGY_MEASURES, or -1 for an instantaneous column
    phase: int
    instant: int
    unit_u: int  # micro-units (energy) or milli-units (instantaneous) in one step of the register


class RecordedObjects:
    """The objects of a recorded meter at a moving time.

    `now` gives UTC seconds; `received_counter` the highest invocation counter received. `kept`
    are values set in an earlier run.
    """

    def __init__(
        self,
        recorded: RecordedMeter,
        now: Callable[[], float],
        *,
        kept: Mapping[Key, bytes] | None = None,
        keep: Keep = _forget,
        received_counter: Callable[[], int] = lambda: 0,
    ) -> None:
        self.recorded = recorded
        self._now = now
        self._keep = keep
        self._received_counter = received_counter
        self._objects = {(item.class_id, item.obis): item for item in recorded.objects}
        self._names = {item.obis for item in recorded.objects}
        self._set: dict[Key, bytes] = dict(kept or {})
        self._live: dict[Key, bytes] = {}
        self._micro: dict[Key, int] = {}
        self._rows: dict[Obis, RecordedRows] = {}
        self._public = frozenset(
            key for key in self._objects
            if key[0] == CLOCK or key[1] == LOGICAL_DEVICE_NAME or _is_counter(key[1])
        )  # fmt: skip
        self._advancing = self._registers_of_load()
        for item in recorded.objects:
            if item.class_id == PROFILE:
                self._learn_rows(item)

    def _learn_rows(self, item: RecordedObject) -> None:
        try:
            captures = parse_capture_objects(item.value(3) or b"")
            period = axdr.decode(item.value(4) or axdr.encode_null()).value
            period_s = period if isinstance(period, int) else 0
            self._rows[item.obis] = RecordedRows(item.value(2) or b"", captures, period_s)
        except AxdrError:
            return  # the buffer is then given as it stands, whole

    # --- who may what

    def _sees(self, item: RecordedObject, who: Requester) -> bool:
        if who.client_sap == self.recorded.client:
            return True
        return (item.class_id, item.obis) in self._public

    def _item(self, class_id: int, obis: Obis, who: Requester) -> RecordedObject:
        item = self._objects.get((class_id, obis))
        if item is not None and self._sees(item, who):
            return item
        if item is None and obis in self._names:
            raise AccessError(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
        raise AccessError(DataAccessResult.OBJECT_UNDEFINED)

    @staticmethod
    def _check(right: AccessRight, wanted: AccessRight, who: Requester) -> None:
        needs = [name for bit, name in _PROTECTION if right & bit]
        if not right & wanted or any(name not in who.protected for name in needs):
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)

    # --- reading

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if (ref.class_id, ref.obis) == (ASSOCIATION, CURRENT_ASSOCIATION):
            if who.client_sap != self.recorded.client:
                return self._public_association(ref)
            if ref.attribute == 2:
                return self._object_list(ref, who)
        item = self._item(ref.class_id, ref.obis, who)
        if ref.attribute == 0:
            return self._whole(item)
        row = next((a for a in item.attributes if a.index == ref.attribute), None)
        if row is None:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        self._check(row.right, AccessRight.READ, who)
        if ref.selector is not None:
            return self._selected(item, ref)
        if item.class_id == PROFILE and ref.attribute == 7 and item.obis in self._rows:
            return axdr.encode_u32(len(self._rows[item.obis]))
        return self._value(item, ref.attribute)

    def _value(self, item: RecordedObject, index: int) -> bytes:
        key = (item.class_id, item.obis, index)
        if item.class_id == CLOCK and index == 2:
            found = self._clock(item)
            if found is not None:
                return found
        if item.class_id == PROFILE and index == 2 and item.obis in self._rows:
            rows = self._rows[item.obis]
            return rows.encode(range(len(rows)))
        if item.class_id == DATA and index == 2 and _is_counter(item.obis):
            return self._counter(item)
        for values in (self._live, self._set):
            if key in values:
                return values[key]
        row = next((a for a in item.attributes if a.index == index), None)
        if row is None or (row.value is None and row.refused is None):
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        if row.value is None:
            assert row.refused is not None
            known = row.refused in frozenset(DataAccessResult)
            raise AccessError(
                DataAccessResult(row.refused) if known else DataAccessResult.OTHER_REASON
            )
        return row.value

    def _whole(self, item: RecordedObject) -> bytes:
        parts = []
        for row in item.attributes:
            readable = bool(row.right & AccessRight.READ) and row.value is not None
            parts.append(self._value(item, row.index) if readable else axdr.encode_null())
        return axdr.encode_structure(*parts)

    def _counter(self, item: RecordedObject) -> bytes:
        """The counter of this process: the recorded one belongs to other keys."""
        raw = item.value(2)
        number = self._received_counter()
        wide = raw is not None and raw[:1] == bytes((DataType.LONG64_UNSIGNED,))
        return axdr.encode_u64(number) if wide else axdr.encode_u32(number)

    def _clock(self, item: RecordedObject) -> bytes | None:
        """The clock gone on since it was read or set; None where it had no time."""
        raw = item.value(2)
        if raw is None:
            return None
        key = (item.class_id, item.obis, 2)
        try:
            shown = date_time_of(axdr.decode(raw))
            gone_s = int(self._now()) - self.recorded.read_at_utc_s
            shown = shifted(shown, gone_s)
            if key in self._set:
                stored = axdr.decode(self._set[key]).value
                shown = shifted(shown, _signed(stored[:8]))
                shown = replace(shown, deviation_min=CosemDateTime.of(stored[8:]).deviation_min)
        except (AxdrError, ValueError):
            return None
        wrap = axdr.date_time if raw[0] == DataType.DATE_TIME else axdr.octets
        return axdr.encode(wrap(shown.raw()))

    # --- object lists

    def _object_list(self, ref: AttributeRef, who: Requester) -> bytes:
        item = self._objects.get((ASSOCIATION, CURRENT_ASSOCIATION))
        version = self.recorded.association_version
        if ref.selector is None:
            raw = None if item is None else item.value(2)
            return raw or build_object_list(self._entries(who), version)
        try:
            return select_objects(self._entries(who), ref.selector, ref.parameters, version)
        except AxdrError as error:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error

    def _entries(self, who: Requester) -> tuple[ObjectEntry, ...]:
        return tuple(item.entry for item in self.recorded.objects if self._sees(item, who))

    def _public_association(self, ref: AttributeRef) -> bytes:
        """The public client sees clock, name and invocation counters, read only."""
        if ref.attribute == 1:
            return axdr.encode_octets(ref.obis)
        if ref.attribute != 2 or ref.selector is not None:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        version = self.recorded.association_version
        own = ObjectEntry(
            ASSOCIATION, version, CURRENT_ASSOCIATION,
            tuple(AttributeAccess(n, AccessRight.READ) for n in (1, 2)),
        )  # fmt: skip
        shown = [_read_only(self._objects[key].entry) for key in sorted(self._public)]
        return build_object_list((own, *shown), version)

    # --- profiles

    def _selected(self, item: RecordedObject, ref: AttributeRef) -> bytes:
        rows = self._rows.get(item.obis) if item.class_id == PROFILE else None
        if rows is None or ref.attribute != 2 or ref.selector is None:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        try:
            captures = parse_capture_objects(item.value(3) or b"")
            selection = parse_selection(ref.selector, ref.parameters)
            columns = selected_columns(captures, selection)
            if isinstance(selection, EntryDescriptor):
                return rows.encode(selection.rows(len(rows)), columns)
            first, last = _bounds(selection)
        except AxdrError as error:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error
        times = rows.times()
        wanted = [n for n, at in enumerate(times) if at is not None and first <= at <= last]
        return rows.encode(wanted, columns)

    # --- writing

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        item = self._item(ref.class_id, ref.obis, who)
        row = next((a for a in item.attributes if a.index == ref.attribute), None)
        if row is None or who.client_sap != self.recorded.client:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        self._check(row.right, AccessRight.WRITE, who)
        data = _decoded(value)
        if item.class_id == CLOCK and ref.attribute == 2:
            self._set_clock(item, data)
            return
        if row.value is not None and not _same_kind(axdr.decode(row.value), data):
            raise AccessError(DataAccessResult.TYPE_UNMATCHED)
        self._write((item.class_id, item.obis, ref.attribute), axdr.encode(data))

    def _write(self, key: Key, value: bytes) -> None:
        changed = {**self._set, key: value}
        try:
            self._keep(changed)
        except OSError as error:
            raise AccessError(DataAccessResult.HARDWARE_FAULT, str(error)) from error
        self._set = changed
        self._live.pop(key, None)
        self._micro.pop(key, None)

    def _set_clock(self, item: RecordedObject, data: Data) -> None:
        """What is kept is how far the clock has been moved: it goes on after a restart."""
        try:
            wanted = date_time_of(data)
            raw = item.value(2)
            free = shifted(
                date_time_of(axdr.decode(raw or b"")),
                int(self._now()) - self.recorded.read_at_utc_s,
            )
            moved_s = wall_clock_s(wanted) - wall_clock_s(free)
        except AxdrError as error:
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
        self._move_clock(item, moved_s, wanted)

    def _move_clock(self, item: RecordedObject, moved_s: int, shown: CosemDateTime) -> None:
        stored = moved_s.to_bytes(8, "big", signed=True) + shown.raw()
        self._write((item.class_id, item.obis, 2), axdr.encode_octets(stored))

    # --- methods

    def invoke(self, ref: MethodRef, parameters: bytes, who: Requester) -> bytes:
        try:
            item = self._item(ref.class_id, ref.obis, who)
            if who.client_sap != self.recorded.client:
                raise AccessError(ActionResult.READ_WRITE_DENIED)
            right = item.entry.method_right(ref.method)
            self._check(right, AccessRight.READ, who)
        except AccessError as error:
            raise AccessError(ActionResult(int(error.result))) from error
        method = METHODS.get((item.class_id, ref.method))
        if method is None:
            raise AccessError(ActionResult.OTHER_REASON, "a recorded meter can't do this")
        try:
            method(self, item, _decoded(parameters) if parameters else axdr.null())
        except AccessError as error:
            raise AccessError(ActionResult(int(error.result)), str(error)) from error
        return b""

    def reset_value(self, item: RecordedObject, _parameters: Data) -> None:
        """Register, method 1: the value becomes its own zero."""
        data = axdr.decode(self._value(item, 2))
        if data.type not in axdr.NUMERIC_FORMATS:
            raise AccessError(ActionResult.TYPE_UNMATCHED)
        self._write((item.class_id, item.obis, 2), axdr.encode(Data(data.type, 0)))

    def empty_rows(self, item: RecordedObject, _parameters: Data) -> None:
        """Profile, method 1."""
        self._profile(item).clear()

    def capture(self, item: RecordedObject, _parameters: Data) -> None:
        """Profile, method 2: a row of what the captured attributes hold now."""
        rows = self._profile(item)
        row = []
        for each in parse_capture_objects(item.value(3) or b""):
            source = self._objects.get((each.class_id, each.obis))
            try:
                row.append(
                    axdr.null() if source is None
                    else axdr.decode(self._value(source, each.attribute))
                )  # fmt: skip
            except AccessError:
                row.append(axdr.null())
        entries = axdr.decode(item.value(8) or axdr.encode_u32(0)).value
        rows.append(row, entries if isinstance(entries, int) and entries else 1 << 16)

    def _profile(self, item: RecordedObject) -> RecordedRows:
        rows = self._rows.get(item.obis)
        if rows is None:
            raise AccessError(ActionResult.OBJECT_UNAVAILABLE)
        return rows

    def adjust_clock(self, item: RecordedObject, step_s: int) -> None:
        """Clock: to the nearest multiple of `step_s`."""
        shown = self._shown(item)
        seconds = wall_clock_s(shown)
        nearest = (seconds + step_s // 2) // step_s * step_s
        self._set_clock(item, axdr.octets(shifted(shown, nearest - seconds).raw()))

    def shift_clock(self, item: RecordedObject, parameters: Data) -> None:
        """Clock, method 6: by -900 to 900 s."""
        if parameters.type not in axdr.INTEGER_TYPES or abs(parameters.value) > _QUARTER_S:
            raise AccessError(ActionResult.TYPE_UNMATCHED)
        shown = shifted(self._shown(item), int(parameters.value))
        self._set_clock(item, axdr.octets(shown.raw()))

    def _shown(self, item: RecordedObject) -> CosemDateTime:
        try:
            return date_time_of(axdr.decode(self._value(item, 2)))
        except CosemTimeError as error:
            raise AccessError(ActionResult.OBJECT_UNAVAILABLE, str(error)) from error

    def switch(self, item: RecordedObject, *, closed: bool) -> None:
        """Disconnect control, methods 1 and 2: output and control state follow at once."""
        self._write((item.class_id, item.obis, 2), axdr.encode_boolean(closed))
        self._write((item.class_id, item.obis, 3), axdr.encode_enum(1 if closed else 0))

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        """A recording is served by logical names, however it was read."""
        del who
        return {}

    # --- a load behind it

    def _registers_of_load(self) -> tuple[_Advancing, ...]:
        found = []
        for item in self.recorded.objects:
            if item.class_id != REGISTER or item.obis.a != 1 or item.obis.f != 255:
                continue
            place = _LOAD_CODES.get((item.obis.c, item.obis.d))
            try:
                unit = ScalerUnit.of(item.value(3) or b"")
                value = axdr.decode(item.value(2) or b"")
            except AxdrError:
                continue
            if place is None or value.type not in axdr.INTEGER_TYPES:
                continue
            measure, phase, column, wanted = place
            if unit.unit != wanted or item.obis.e > (1 if item.obis.d == 8 else 0):
                continue
            exponent = (6 if measure >= 0 else 3) + unit.scaler
            if exponent < 0:
                continue  # finer than what a load gives: such a register would stand still anyway
            instant = INSTANT_INDEX[column, PHASES[phase]] if column else -1
            key = (item.class_id, item.obis, 2)
            found.append(_Advancing(key, measure, phase, instant, 10**exponent))
        return tuple(found)

    def advance(self, block: Block) -> None:
        """Let a load pass: energy registers count it, power, voltage and current follow it."""
        if not len(block):
            return
        for each in self._advancing:
            item = self._objects[each.key[0], each.key[1]]
            data = axdr.decode(self._value(item, 2))
            if each.measure >= 0:
                added = int(block.energy_u[:, each.phase, each.measure].sum())
                total = self._micro.get(each.key, 0) + added
                steps, self._micro[each.key] = divmod(total, each.unit_u)
                value = int(data.value) + steps
            else:
                value = round(int(block.instant[-1, each.instant]) / each.unit_u)
            lowest, highest = _RANGES[data.type]
            value = (value - lowest) % (highest - lowest + 1) + lowest
            self._live[each.key] = axdr.encode(Data(data.type, value))

    def settle(self) -> None:
        """Keep what the load has counted: called when the meter is switched off."""
        if not self._live:
            return
        changed = {**self._set, **self._live}
        self._keep(changed)
        self._set = changed


Method = Callable[[RecordedObjects, RecordedObject, Data], None]

METHODS: Final[dict[tuple[int, int], Method]] = {
    (REGISTER, 1): RecordedObjects.reset_value,
    (PROFILE, 1): RecordedObjects.empty_rows,
    (PROFILE, 2): RecordedObjects.capture,
    (CLOCK, 1): lambda objects, item, _: objects.adjust_clock(item, _QUARTER_S),
    (CLOCK, 3): lambda objects, item, _: objects.adjust_clock(item, 60),
    (CLOCK, 6): RecordedObjects.shift_clock,
    (BREAKER, 1): lambda objects, item, _: objects.switch(item, closed=False),
    (BREAKER, 2): lambda objects, item, _: objects.switch(item, closed=True),
}
"""Class and method -> what it does; the class alone says so in IEC 62056-6-2."""


def _load_codes() -> dict[tuple[int, int], tuple[int, int, str, Unit]]:
    """Value groups C and D -> (energy measure or -1, phase, instantaneous column, unit)."""
    codes: dict[tuple[int, int], tuple[int, int, str, Unit]] = {}
    for phase in range(4):
        first = 20 * phase
        for c, measure in ((1, 0), (2, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6), (10, 7)):
            unit = Unit.WH if measure < 2 else Unit.VARH if measure < 6 else Unit.VAH
            codes[first + c, 8] = (measure, phase, "", unit)
        codes[first + 12, 7] = (-1, phase, "u_mv", Unit.V)
        codes[first + 11, 7] = (-1, phase, "i_ma", Unit.A)
        codes[first + 16, 7] = (-1, phase, "p_mw", Unit.W)
        codes[first + 1, 7] = (-1, phase, "p_mw", Unit.W)
    codes[14, 7] = (-1, 0, "f_mhz", Unit.HZ)
    return codes


_LOAD_CODES: Final = _load_codes()
_SIGNED: Final = {
    DataType.INTEGER: 8, DataType.LONG: 16, DataType.DOUBLE_LONG: 32, DataType.LONG64: 64,
}  # fmt: skip
_UNSIGNED: Final = {
    DataType.UNSIGNED: 8, DataType.LONG_UNSIGNED: 16, DataType.DOUBLE_LONG_UNSIGNED: 32,
    DataType.LONG64_UNSIGNED: 64, DataType.ENUM: 8,
}  # fmt: skip
_RANGES: Final = {
    **{kind: (-(1 << bits - 1), (1 << bits - 1) - 1) for kind, bits in _SIGNED.items()},
    **{kind: (0, (1 << bits) - 1) for kind, bits in _UNSIGNED.items()},
}


def _is_counter(obis: Obis) -> bool:
    """0-b:43.1.e: an invocation counter."""
    return (obis.a, obis.c, obis.d) == (0, 43, 1)


def _read_only(entry: ObjectEntry) -> ObjectEntry:
    rows = tuple(
        AttributeAccess(row.index, row.right & AccessRight.READ, ()) for row in entry.attributes
    )
    return replace(entry, attributes=rows, methods=())


def _bounds(selection: RangeDescriptor) -> tuple[int, int]:
    """Both bounds as the rows count: UTC where there is a deviation, else the wall clock."""
    found = []
    for bound in (selection.first, selection.last):
        stamp = date_time_of(bound)
        found.append(stamp.utc() if stamp.deviation_min is not None else wall_clock_s(stamp))
    return found[0], found[1]


def _decoded(raw: bytes) -> Data:
    try:
        return axdr.decode(raw)
    except AxdrError as error:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error


def _same_kind(present: Data, wanted: Data) -> bool:
    """Whether a value may take the place of another: one type, structures of one length."""
    if present.type is not wanted.type:
        return False
    return present.type is not DataType.STRUCTURE or len(present.value) == len(wanted.value)


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def derived_secret(title: bytes, seed: int, what: str, octets: int) -> bytes:
    """A key of the simulation: the meter's own keys are in no recording."""
    text = f"recorded/{seed}/{title.hex()}/{what}"
    return hashlib.sha256(text.encode()).digest()[:octets]


__all__ = ["METHODS", "RecordedObjects", "derived_secret"]
