"""A meter as a program sees it: connect by URL, read values with units, profiles as columns.

    async with Meter.connect("dlms://10.0.0.7:4059?client=1&auth=hls5", keys=keys,
                             counters=FileCounterStore("counters")) as meter:
        energy = await meter.read("1-0:1.8.0")
        profile = await meter.profile("1-0:99.1.0", since=yesterday, until=today)

`get`, `set` and `action` are the services with COSEM data; `read`, `write` and `call` take and give
plain values, typed by the tables of the interface classes.

What a meter type and its firmware decide (object list, scalers) is read once and cached; what each
meter may be set to (the columns and the period of its profiles), and which firmware it runs, is
asked for once a connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from blathy.client.items import (
    Item,
    Moment,
    class_methods,
    described,
    method_number,
    parse_obis,
    parts_of,
    scaler_ref,
    scaler_unit_of,
    unit_key,
    utc_s_of,
)
from blathy.client.profile_selection import (
    captures_of,
    chosen_columns,
    columns_only,
    range_octets,
    rows_between,
    rows_kept,
)
from blathy.client.rights import clients_that_may
from blathy.client.session import MANAGEMENT_CLIENT, Session
from blathy.client.typed_values import ANY_TYPE, attribute_type, data_of, mantissa_of, method_row
from blathy.client.values import ObjectRefused, ProfileReading, Reading, Value, typed_value
from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.classes import class_name
from blathy.cosem.columns import decode_profile
from blathy.cosem.cosem_time import CosemDateTime, date_time_of
from blathy.cosem.objectlist import (
    ObjectEntry,
    ScalerUnit,
)
from blathy.cosem.selective import (
    CaptureObject,
    EntryDescriptor,
)
from blathy.cosem.service import ActionResult, AttributeRef, DataAccessResult, MethodRef
from blathy.obis import Obis
from blathy.quantity import Quantity
from blathy.transport.errors import Garbled, MeterError, Refused
from blathy.wire import apdu
from blathy.wire.apdu import AccessResponse, AccessSpecification, Conformance
from blathy.wire.association_events import EventReport, Notification
from blathy.wire.short_names import attribute_name, method_name

UTC: Final = Zone("UTC")


class Meter(Session):
    """A connection to one logical device. Use it as an asynchronous context."""

    # --- values

    async def read(self, item: Item) -> Value:
        """One value, with its unit where it has one."""
        (reading,) = await self.read_many([item])
        if reading.error is not None:
            raise await self._who_may(reading.error, reading.ref)
        return reading.value

    async def quantity(self, item: Item) -> Quantity:
        """One value that has a unit; Refused where it has none."""
        value = await self.read(item)
        if not isinstance(value, Quantity):
            raise Refused(f"{parts_of(item)[0]} is no value with a unit", "take it with read")
        return value

    async def write(self, item: Item, value: Any) -> None:
        """Write a plain value: see `data_for`."""
        ref = await self.reference(item)
        data = await self.data_for(ref, value)
        try:
            await self.set(ref, data)
        except ObjectRefused as error:
            raise await self._who_may(error, ref, write=True) from error

    async def data_for(self, item: Item, value: Any) -> Data:
        """A plain value as an attribute takes it: of the type that the class table and the present
        value say, a structure by names or as a list, an enumeration by name, a time as ISO 8601.

        The value of a register is a Quantity or has its unit, `"25.5 W"`: a bare number could mean
        either that or the meter's own integer, which is `"raw:255"`.
        """
        ref = await self.reference(item)
        version = self._version(ref)
        present = None
        with suppress(ObjectRefused):  # there are attributes that are written and never shown
            present = await self.get_data(ref)
        try:
            unit = await self._unit_of(ref)
            if unit is not None:
                value = mantissa_of(value, unit)
            return data_of(attribute_type(ref, version), value, present)
        except ValueError as error:
            raise Refused(f"{described(ref)} does not take this: {error}") from error

    async def _unit_of(self, ref: AttributeRef) -> ScalerUnit | None:
        if scaler_ref(ref) is None:
            return None
        (unit,) = await self._column_units((CaptureObject(ref.class_id, ref.obis, ref.attribute),))
        return unit

    def _version(self, ref: AttributeRef | MethodRef) -> int | None:
        """The version of an object's class, where the object list is known."""
        entries = self.knowledge.classes.get(ref.obis, ())
        return next((e.version for e in entries if e.class_id == ref.class_id), None)

    async def reading_of(self, ref: AttributeRef, raw: bytes) -> Reading:
        """What octets would be as the value of an attribute, with its unit."""
        await self._unit_of(ref)
        return self._reading(ref, raw)

    async def methods(self, obis: Obis | str) -> dict[int, str]:
        """Number and name of the methods that an object has for us."""
        entry = await self.find(parse_obis(obis) if isinstance(obis, str) else obis)
        rows = {row.index: row.name for row in class_methods(entry)}
        if not entry.methods:  # a list by short names has no rights
            return rows
        numbers = [row.index for row in entry.methods if row.right]
        return {number: rows.get(number, f"method {number}") for number in numbers}

    async def call(self, obis: Obis | str, method: int | str, value: Any = None) -> Any:
        """Run a method with a plain parameter, typed as in `data_for`; what it returned, plain."""
        code = parse_obis(obis) if isinstance(obis, str) else obis
        entry = await self.find(code)
        ref = MethodRef(entry.class_id, entry.obis, method_number(entry, method))
        row = method_row(ref, entry.version)
        try:
            parameters = None
            if value is not None:
                parameters = data_of(row.parameter if row is not None else ANY_TYPE, value)
        except ValueError as error:
            raise Refused(f"method {method} of {code} does not take this: {error}") from error
        try:
            returned = await self.action(entry.obis, method, parameters)
        except ObjectRefused as error:
            if value is None and error.result == ActionResult.TYPE_UNMATCHED:
                raise ObjectRefused.of(error, "this method wants a parameter") from error
            raise await self._who_may(error, ref, write=True) from error
        if returned is None:
            return None
        kind = row.returns if row is not None and row.returns is not None else ANY_TYPE
        return kind.plain(returned)

    async def _who_may(
        self, error: ObjectRefused, ref: AttributeRef | MethodRef, *, write: bool = False
    ) -> ObjectRefused:
        """A denial with the clients that may instead, where the meter shows their rights."""
        if error.result != DataAccessResult.READ_WRITE_DENIED or self.address.short_names:
            return error
        clients: list[int] = []
        with suppress(MeterError):
            clients = await clients_that_may(self, ref, write=write)
        own = self.address.client
        if clients:
            may = " and ".join(f"client={client}" for client in clients)
            return ObjectRefused.of(error, f"client {own} has no right to it, {may} may")
        rest = "nor has any other that the meter shows"
        if own != MANAGEMENT_CLIENT:
            rest = f"the management client most often has (client={MANAGEMENT_CLIENT})"
        return ObjectRefused.of(error, f"client {own} has no right to it, {rest}")

    async def read_many(self, items: Iterable[Item]) -> list[Reading]:
        """Values in the order asked; one that is refused carries its error and stops nothing."""
        items = list(items)
        await self._greet()
        wanted: list[AttributeRef | Reading] = []
        for item in items:
            try:
                wanted.append(await self.reference(item))
            except ObjectRefused as error:
                obis, _ = parts_of(item)
                wanted.append(Reading(AttributeRef(0, obis, 2), error=error))
        refs = [ref for ref in wanted if isinstance(ref, AttributeRef)]
        units = self.knowledge.units
        unknown = [ref for ref in refs if scaler_ref(ref) and unit_key(ref) not in units]
        scalers = [scaler for ref in unknown if (scaler := scaler_ref(ref)) is not None]
        asked = [*refs, *scalers]
        firmware = self._firmware_refs() if asked else ()
        results = await self._get_all([*asked, *firmware]) if asked else []
        if firmware and not self._note_firmware(firmware, results[len(asked) :]):
            return await self.read_many(items)  # what was known belongs to another firmware
        for ref, result in zip(unknown, results[len(refs) : len(asked)], strict=True):
            units[unit_key(ref)] = scaler_unit_of(result)
            self.knowledge.learned = True
        found = iter(results[: len(refs)])
        return [
            item if isinstance(item, Reading) else self._reading(item, next(found))
            for item in wanted
        ]

    def _reading(self, ref: AttributeRef, result: apdu.GetResult) -> Reading:
        if isinstance(result, int):
            return Reading(ref, error=ObjectRefused(described(ref), result))
        unit = self.knowledge.units.get(unit_key(ref))
        try:
            value = typed_value(ref, result, unit)
            return Reading(ref, value, raw=result, version=self._version(ref))
        except ValueError as error:
            raise self._garbled(ref, error) from error

    async def set(self, item: Item, value: Data | bytes | int | str | bool) -> None:
        """Write an attribute. A plain Python value takes the type that the attribute has now."""
        ref = await self.reference(item)
        octets = await self._encoded(ref, value)
        if self.address.short_names:
            base = (await self._short_names()).get((ref.class_id, ref.obis))
            if base is None:
                raise ObjectRefused(described(ref), int(DataAccessResult.OBJECT_UNDEFINED))
            name = apdu.VariableName(attribute_name(base, ref.attribute))
            (result,) = await self.conversation.write((name, octets))
        else:
            (result,) = await self.conversation.set((ref, octets))
        if result != 0:
            raise ObjectRefused(f"writing {described(ref)}", result)

    async def set_many(self, writes: Sequence[tuple[Item, Data]]) -> list[ObjectRefused | None]:
        """Write several attributes in one request where the meter agrees to that, else one by one;
        None for each that was taken, the refusal of each that was not."""
        refs = [await self.reference(item) for item, _ in writes]
        found: list[ObjectRefused | None] = []
        if self.agreed(Conformance.MULTIPLE_REFERENCES) and not self.address.short_names:
            octets = [axdr.encode(data) for _, data in writes]
            results = await self.conversation.set(*zip(refs, octets, strict=True)) if refs else ()
            for ref, result in zip(refs, results, strict=True):
                found.append(ObjectRefused(f"writing {described(ref)}", result) if result else None)
            return found
        for ref, (_, data) in zip(refs, writes, strict=True):
            try:
                await self.set(ref, data)
                found.append(None)
            except ObjectRefused as error:
                found.append(error)
        return found

    async def access(self, requests: Sequence[tuple[AccessSpecification, bytes]]) -> AccessResponse:
        """Reads, writes and calls in one ACCESS request: a specification each with its A-XDR octets
        (null-data for a read); Refused where the meter did not agree to the service."""
        return await self.conversation.access(requests)

    async def _encoded(self, ref: AttributeRef, value: Data | bytes | int | str | bool) -> bytes:
        if isinstance(value, bytes):
            return value
        present = None if isinstance(value, Data) else await self.get_data(ref)
        try:
            return axdr.encode(data_of(ANY_TYPE, value, present))
        except ValueError as error:
            what = f"{value!r} does not fit {described(ref)}"
            raise Refused(what, "give a value of its type") from error

    async def action(
        self, obis: Obis | str, method: int | str, parameters: Data | None = None
    ) -> Data | None:
        """Run a method, named by number or as the standard does; what it returned."""
        code = parse_obis(obis) if isinstance(obis, str) else obis
        entry = await self.find(code)
        number = method_number(entry, method)
        ref = MethodRef(entry.class_id, entry.obis, number)
        data = axdr.encode(parameters if parameters is not None else axdr.i8(0))
        if self.address.short_names:
            return await self._action_by_short_name(entry, number, data)
        result, returned = await self.conversation.action(ref, data)
        if result != 0:
            raise ObjectRefused(f"method {method} of {code}", result)
        if isinstance(returned, int):
            raise ObjectRefused(f"the return value of method {method} of {code}", returned)
        return self._returned(code, returned)

    async def _action_by_short_name(
        self, entry: ObjectEntry, number: int, data: bytes
    ) -> Data | None:
        base = (await self._short_names())[entry.class_id, entry.obis]
        name = method_name(base, entry.class_id, number, entry.version)
        if name is None:
            raise Refused(f"{class_name(entry.class_id)} has no known short name for its methods")
        access = apdu.ParameterizedAccess(name, 0, data)
        (result,) = await self.conversation.read(access)
        if isinstance(result, int):
            raise ObjectRefused(f"method {number} of {entry.obis}", result)
        return self._returned(entry.obis, result)

    def _returned(self, obis: Obis, raw: bytes | None) -> Data | None:
        """What a method returned."""
        try:
            return axdr.decode(raw) if raw else None
        except AxdrError as error:
            raise Garbled(
                f"{self.address.place}: a method of {obis} returns what has no meaning: {error}",
                "see it with `blathy record`",
            ) from error

    # --- clock

    async def clock(self) -> CosemDateTime:
        """The meter's clock as it shows it."""
        ref = await self._clock_ref()
        try:
            return date_time_of(await self.get_data(ref))
        except AxdrError as error:
            raise self._garbled(ref, error) from error

    async def clock_offset_s(self) -> int:
        """Seconds that the meter's clock is ahead of ours, half the way there and back counted."""
        before = time.time()
        shown = await self.clock()
        after = time.time()
        try:
            return round(shown.utc(self.zone) - (before + after) / 2)
        except AxdrError as error:
            raise Garbled(f"{self.address.place}: clock {shown}: {error}", "give zone=") from error

    async def set_clock(self, moment: Moment | None = None) -> None:
        """Set the clock to `moment`, else to ours, in the meter's own deviation from UTC."""
        utc_s = utc_s_of(moment) if moment is not None else int(time.time() + 0.5)
        zone = self.zone
        if zone is not None:
            stamp = CosemDateTime.from_utc(utc_s, zone)
        else:
            present = await self.clock()
            deviation = present.deviation_min or 0
            local = CosemDateTime.from_utc(utc_s - 60 * deviation, UTC)
            stamp = replace(local, deviation_min=present.deviation_min, status=present.status or 0)
        await self.set(await self._clock_ref(), axdr.octets(stamp.raw()))

    # --- profiles

    async def capture_objects(self, obis: Obis | str) -> tuple[CaptureObject, ...]:
        """The columns of a profile."""
        code = parse_obis(obis) if isinstance(obis, str) else obis
        code = await self._profile_code(code)
        return self.knowledge.captures[code]

    async def _profile_code(self, code: Obis) -> Obis:
        """The code under which the meter keeps the profile, its columns learned."""
        try:
            await self._learn_profile(code)
        except ObjectRefused as error:
            if error.result != DataAccessResult.OBJECT_UNDEFINED:
                raise
            entry = await self.find(code, 7)
            if entry.obis == code:
                raise
            code = entry.obis
            await self._learn_profile(code)
        return code

    async def _learn_profile(self, code: Obis) -> None:
        """Columns and period are asked for once a connection: meters of one type and firmware
        may be set to other columns or periods, and be set anew at any time."""
        if code in self._checked and code in self.knowledge.captures:
            return
        await self._greet()
        refs = (AttributeRef(7, code, 3), AttributeRef(7, code, 4))
        firmware = self._firmware_refs()
        captures, period, *rest = await self._get_all([*refs, *firmware])
        if firmware:
            self._note_firmware(firmware, rest)
        knowledge = self.knowledge
        if isinstance(captures, int):
            raise ObjectRefused(described(refs[0]), captures)
        try:
            knowledge.captures[code] = captures_of(captures)
            knowledge.periods_s[code] = (
                0 if isinstance(period, int) else int(axdr.decode(period).value or 0)
            )
        except (AxdrError, TypeError, ValueError) as error:
            knowledge.captures.pop(code, None)
            raise self._garbled(refs[0], error) from error
        self._checked.add(code)

    async def _column_units(
        self, captures: Sequence[CaptureObject]
    ) -> tuple[ScalerUnit | None, ...]:
        units = self.knowledge.units
        keys = [(c.class_id, c.obis, c.attribute) for c in captures]
        scalers = {
            key: ref for key in keys if key not in units if (ref := scaler_ref(AttributeRef(*key)))
        }
        if scalers:
            results = await self._get_all(list(scalers.values()))
            for key, result in zip(scalers, results, strict=True):
                units[key] = scaler_unit_of(result)
            self.knowledge.learned = True
        return tuple([units.get(key) for key in keys])

    async def profile(
        self,
        obis: Obis | str,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        entries: tuple[int, int] | None = None,
        columns: Sequence[CaptureObject | Obis | str] = (),
    ) -> ProfileReading:
        """A profile: its rows with `since <= time <= until`, or its entries counted from 1.

        `columns` selects some columns, by code or as capture objects. A meter without selective
        access sends everything; what is outside is then cut off here.
        """
        code = parse_obis(obis) if isinstance(obis, str) else obis
        code = await self._profile_code(code)
        captures = self.knowledge.captures[code]
        if not captures:
            raise Refused(f"profile {code} captures nothing", "set its capture objects first")
        chosen = chosen_columns(code, columns, captures)
        ref, sent = AttributeRef(7, code, 2), captures
        selective = self.agreed(
            Conformance.PARAMETERIZED_ACCESS
            if self.address.short_names
            else Conformance.SELECTIVE_ACCESS
        )
        if selective and entries is not None:
            ref = AttributeRef(7, code, 2, 2, EntryDescriptor(entries[0], entries[1]).encode())
        elif selective and (since is not None or until is not None or chosen):
            ref = AttributeRef(7, code, 2, 1, self._range(since, until, chosen, captures))
            sent = chosen or captures
        reading = await self._profile_rows(ref, sent)
        if not selective and entries is not None:
            reading = rows_kept(reading, slice(entries[0] - 1, entries[1]))
        elif not selective or entries is not None:
            reading = rows_between(reading, since, until)
        return columns_only(reading, chosen) if chosen else reading

    async def _profile_rows(
        self, ref: AttributeRef, captures: tuple[CaptureObject, ...]
    ) -> ProfileReading:
        """The buffer as columns. A meter may have been set to other columns since they were
        learned, or send all of them where only some are asked for."""
        code = ref.obis
        raw = await self.get(ref)
        try:
            table = decode_profile(raw, captures)
        except AxdrError as error:
            self.knowledge.captures.pop(code, None)
            await self._learn_profile(code)
            fresh = self.knowledge.captures[code]
            if fresh == captures:
                raise self._garbled(ref, error) from error
            captures = fresh
            try:
                table = decode_profile(raw, captures)
            except AxdrError as still:
                raise self._garbled(ref, still) from still
        units = await self._column_units(captures)
        return ProfileReading(code, table, units, self.knowledge.periods_s[code], self.zone)

    def _range(
        self,
        since: Moment | None,
        until: Moment | None,
        columns: Sequence[CaptureObject],
        captures: Sequence[CaptureObject],
    ) -> bytes:
        clock = next((c for c in captures if c.is_clock), None)
        if clock is None:
            raise Refused("this profile has no clock column", "select by entries instead")
        first_s = 0 if since is None else utc_s_of(since)
        last_s = 4_102_444_799 if until is None else utc_s_of(until)
        return range_octets(first_s, last_s, self.zone or UTC, tuple(columns), clock)

    # --- pushes

    async def next_push(self, timeout_s: float = 60.0) -> Notification | EventReport:
        """The next notification that the meter sends on this connection."""
        return await self.conversation.next_push(timeout_s)
