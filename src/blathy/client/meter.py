"""A meter as a program sees it: connect by URL, read values with units, profiles as columns.

    async with Meter.connect("dlms://10.0.0.7:4059?client=1&auth=hls5", keys=keys,
                             counters=FileCounterStore("counters")) as meter:
        energy = await meter.read("1-0:1.8.0")
        profile = await meter.profile("1-0:99.1.0", since=yesterday, until=today)

What a meter type decides (object list, scalers) is read once and cached; what each meter may be
set to (the columns and the period of its profiles) is asked for once a connection.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from blathy.client.address import MeterAddress, parse_address
from blathy.client.cache import PROCESS_CACHE, ObjectCache, TypeKnowledge
from blathy.client.conversation import Conversation, counters_of
from blathy.client.counters import KeyStore
from blathy.client.link import link_over, open_line
from blathy.client.values import ObjectRefused, ProfileReading, Reading, Value, typed_value
from blathy.clock import UtcS, Zone, utc_of
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.classes import class_name, interface_class
from blathy.cosem.columns import Profile, decode_profile
from blathy.cosem.cosem_time import CosemDateTime, date_time_of
from blathy.cosem.objectlist import (
    NEWEST_ASSOCIATION,
    ObjectEntry,
    ScalerUnit,
    parse_object_list,
    parse_short_names,
)
from blathy.cosem.selective import (
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    parse_capture_objects,
)
from blathy.cosem.service import AttributeRef, DataAccessResult, MethodRef
from blathy.obis import Obis
from blathy.transport.errors import Garbled, MeterError, Refused, Untrusted
from blathy.transport.line import Line
from blathy.wire import apdu
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import Conformance
from blathy.wire.association_events import EventReport, Notification
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import (
    COUNTER_LAST,
    CounterStore,
    KeySet,
    Protection,
    key_fingerprint,
)
from blathy.wire.short_names import ASSOCIATION_SN_BASE, attribute_name, method_name

ASSOCIATION_LN: Final = Obis(0, 0, 40, 0, 0)
CLOCK: Final = AttributeRef(8, Obis(0, 0, 1, 0, 0), 2)
LOGICAL_DEVICE_NAME: Final = AttributeRef(1, Obis(0, 0, 42, 0, 0), 2)
INVOCATION_COUNTERS: Final = tuple(
    AttributeRef(1, Obis(0, 0, 43, 1, number), 2) for number in range(6)
)
"""Where meters show what they have received: makers count keys or clients in value group E."""
PUBLIC_CLIENT: Final = 16
PUBLIC_TIMEOUT_S: Final = 5.0
LIST_MAX: Final = 32  # attributes in one GET with-list
_ITEM_OCTETS: Final = 12
_HEADER_OCTETS: Final = 64
UTC: Final = Zone("UTC")

SCALED: Final[dict[int, dict[int, int]]] = {3: {2: 3}, 4: {2: 3}, 5: {2: 4, 3: 4}}
"""Class -> attribute with a value -> the attribute that holds its scaler_unit."""

Moment = datetime | UtcS | int
Item = str | Obis | AttributeRef | tuple[str, int]
"""What can be read: an OBIS code, one with an attribute number, or a whole reference."""


class Meter:
    """A connection to one logical device. Use it as an asynchronous context."""

    def __init__(
        self,
        address: MeterAddress,
        *,
        counters: CounterStore | None = None,
        cache: ObjectCache = PROCESS_CACHE,
        type_key: str = "",
        zone: Zone | None = None,
        line: Line | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        on_push: Callable[[Notification | EventReport], None] | None = None,
    ) -> None:
        self.address = address
        self.zone = zone
        self._counters = counters
        self._type_key = type_key or address.place
        self._cache = cache
        self._line = line
        self._entropy = entropy
        self._on_push = on_push
        self._talk: Conversation | None = None
        self._checked: set[Obis] = set()  # profiles whose columns this connection has asked for

    @classmethod
    def connect(
        cls,
        url: str | MeterAddress,
        *,
        keys: KeySet | KeyStore | None = None,
        password: bytes | str = b"",
        counters: CounterStore | None = None,
        cache: ObjectCache = PROCESS_CACHE,
        type_key: str = "",
        zone: Zone | None = None,
        line: Line | None = None,
        secrets: Mapping[str, str] | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        on_push: Callable[[Notification | EventReport], None] | None = None,
    ) -> Self:
        """A meter that opens with `async with`.

        `type_key` names meter type and firmware where they are known, so that meters of one type
        share what is read once. `zone` is the meter's, for clocks without deviation. `line` is used
        instead of a new connection. `on_push` is called with what the meter tells of its own accord
        as soon as it arrives, also while a request is outstanding; else `next_push` hands it out.
        """
        address = parse_address(url, secrets) if isinstance(url, str) else url
        if isinstance(keys, KeySet):
            address = replace(address, keys=keys)
        elif keys is not None:
            stored = keys.keys(address.place)
            address = replace(
                address,
                keys=stored if stored.unicast else address.keys,
                password=address.password or keys.password(address.place),
            )
        if password:
            secret = password.encode() if isinstance(password, str) else password
            address = replace(address, password=secret)
        return cls(
            address, counters=counters, cache=cache, type_key=type_key, zone=zone, line=line,
            entropy=entropy, on_push=on_push,
        )  # fmt: skip

    def use_counters(self, counters: CounterStore) -> None:
        """Take the invocation counters from this store; before the meter is opened."""
        self._counters = counters

    # --- opening and closing

    async def open(self) -> None:
        """Connect and associate; every failure is one of the five outcomes."""
        if self._line is None:
            await self._follow_public_counter()
        line = self._line or await open_line(self.address)
        try:
            link = link_over(line, self.address)
            await link.open()
            talk = Conversation(link, self.address, self._counters, self._entropy)
            talk.on_push = self._on_push
            if not talk.association.associated:
                await talk.open()
        except BaseException:
            await line.close()
            raise
        self._talk = talk
        self._checked.clear()

    async def _follow_public_counter(self) -> None:
        """Before the first contact with a key: go on above the counter that the meter shows its
        public client. Upwards only and by a bounded jump, since nothing proves that report."""
        address = self.address
        ciphered = address.protection != Protection.NONE or address.mechanism is Mechanism.HLS_GMAC
        if not (ciphered and address.keys.unicast and address.ask_counter and self._counters):
            return
        counters, key_id = counters_of(self._counters), key_fingerprint(address.keys.unicast)
        if not counters.untouched(address.title, key_id):
            return
        line = await open_line(address)
        public = replace(address.public(), timeout_s=min(address.timeout_s, PUBLIC_TIMEOUT_S))
        try:
            async with Meter(public, line=line, cache=ObjectCache()) as asked:
                found = await asked.read_octets(INVOCATION_COUNTERS)
        except MeterError:
            return  # no public client, or none that may: the association itself will tell
        highest = max((_counter_of(each) for each in found), default=0)
        if not highest:
            return
        try:
            counters.follow_report(address.title, key_id, highest + 1)
        except LocalProtocolError as error:
            raise Untrusted(
                f"{address.place}: {error}", f"set ic={highest + 1} if you trust this meter"
            ) from error

    async def close(self) -> None:
        """Release and disconnect; never raises."""
        if self._talk is not None:
            talk, self._talk = self._talk, None
            await talk.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def conversation(self) -> Conversation:
        """The open conversation; Refused when there is none."""
        if self._talk is None:
            raise Refused(f"{self.address.place} is not connected", "open it first")
        return self._talk

    @property
    def system_title(self) -> bytes:
        """The meter's system title, empty where it told none."""
        return self.conversation.association.server_title

    @property
    def knowledge(self) -> TypeKnowledge:
        """What is known of the meter's type."""
        address = self.address
        return self._cache.of(self._type_key, address.client, short_names=address.short_names)

    def agreed(self, bit: Conformance) -> bool:
        """Whether this association has negotiated a service."""
        return bool(self.conversation.association.conformance & int(bit))

    # --- attributes as octets

    async def get(self, ref: AttributeRef) -> bytes:
        """An attribute as its A-XDR octets; ObjectRefused where the meter has none for us."""
        (result,) = await self._get_all((ref,))
        if isinstance(result, int):
            raise ObjectRefused(_what(ref), result)
        return result

    async def get_data(self, ref: AttributeRef) -> Data:
        """An attribute as a typed value."""
        raw = await self.get(ref)
        try:
            return axdr.decode(raw)
        except AxdrError as error:
            raise self._garbled(ref, error) from error

    async def read_octets(self, refs: Sequence[AttributeRef]) -> list[bytes | int]:
        """Attributes as octets, or the data-access-result of each refusal; in order."""
        return await self._get_all(refs) if refs else []

    async def _get_all(self, refs: Sequence[AttributeRef]) -> list[apdu.GetResult]:
        """Results in order: with-list where the meter has agreed to it, else one by one."""
        talk = self.conversation
        if self.address.short_names:
            return await self._read_short_names(refs)
        if len(refs) == 1:
            return list(await talk.get(*refs))
        if not self.agreed(Conformance.MULTIPLE_REFERENCES):
            return [(await talk.get(ref))[0] for ref in refs]
        room = talk.server_pdu_size - _HEADER_OCTETS
        size = max(1, min(LIST_MAX, room // _ITEM_OCTETS))
        results: list[apdu.GetResult] = []
        for start in range(0, len(refs), size):
            part = refs[start : start + size]
            try:
                results += await talk.get(*part)
            except Refused:
                if len(part) == 1:
                    raise
                results += [(await talk.get(ref))[0] for ref in part]
        return results

    async def _read_short_names(self, refs: Sequence[AttributeRef]) -> list[apdu.GetResult]:
        names = await self._short_names()
        results: list[apdu.GetResult] = []
        for ref in refs:
            entry = names.get((ref.class_id, ref.obis))
            if entry is None:
                results.append(int(DataAccessResult.OBJECT_UNDEFINED))
                continue
            name = attribute_name(entry, ref.attribute)
            access: apdu.VariableAccess = apdu.VariableName(name)
            if ref.selector is not None:
                access = apdu.ParameterizedAccess(name, ref.selector, ref.parameters)
            results += await self.conversation.read(access)
        return results

    async def _short_names(self) -> dict[tuple[int, Obis], int]:
        knowledge = self.knowledge
        if not knowledge.short_names:
            (raw,) = await self.conversation.read(
                apdu.VariableName(attribute_name(ASSOCIATION_SN_BASE, 2))
            )
            if isinstance(raw, int):
                raise ObjectRefused("the object list", raw)
            try:
                found = parse_short_names(raw)
            except AxdrError as error:
                raise Garbled(f"{self.address.place}: the object list: {error}") from error
            knowledge.short_names = {(n.class_id, n.obis): n for n in found}
            knowledge.learn_objects(
                tuple(ObjectEntry(n.class_id, n.version, n.obis) for n in found)
            )
        return {key: name.base_name for key, name in knowledge.short_names.items()}

    # --- values

    async def objects(self, *, fresh: bool = False) -> tuple[ObjectEntry, ...]:
        """The object list of this association with its rights."""
        knowledge = self.knowledge
        if self.address.short_names:
            await self._short_names()
        elif fresh:
            await self._learn_objects()
        elif not knowledge.objects:
            async with knowledge.turn(self.address.timeout_s):
                if not knowledge.objects:
                    await self._learn_objects()
        return knowledge.objects

    async def _learn_objects(self) -> None:
        raw = await self.get(AttributeRef(15, ASSOCIATION_LN, 2))
        try:
            self.knowledge.learn_objects(_parse_objects(raw))
        except AxdrError as error:
            raise Garbled(f"{self.address.place}: the object list: {error}") from error

    async def find(self, obis: Obis, class_id: int | None = None) -> ObjectEntry:
        """The object of a code; Refused where the meter has none for us."""
        if not self.knowledge.objects:
            await self.objects()
        entries = self.knowledge.classes.get(obis, ()) or self._in_other_channel(obis)
        for entry in entries:
            if class_id in (None, entry.class_id):
                return entry
        raise ObjectRefused(str(obis), int(DataAccessResult.OBJECT_UNDEFINED))

    def _in_other_channel(self, obis: Obis) -> tuple[ObjectEntry, ...]:
        """Some makers (Kamstrup) count channels from 1: 1-0:1.8.0 means their 1-1:1.8.0."""
        if obis.b != 0 or obis.a not in {0, 1}:
            return ()
        other = Obis.of(bytes((obis.a, 1)) + obis[2:])
        return self.knowledge.classes.get(other, ())

    async def reference(self, item: Item) -> AttributeRef:
        """What an item means: without an attribute number its value (attribute 2)."""
        if isinstance(item, AttributeRef):
            return item
        attribute = 2
        if isinstance(item, tuple):
            text, attribute = item
            obis = parse_obis(text)
        else:
            obis = item if isinstance(item, Obis) else parse_obis(item)
        if obis == CLOCK.obis:
            return replace(await self._clock_ref(), attribute=attribute)
        if obis == LOGICAL_DEVICE_NAME.obis:
            return replace(LOGICAL_DEVICE_NAME, attribute=attribute)
        entry = await self.find(obis)
        return AttributeRef(entry.class_id, entry.obis, attribute)

    async def read(self, item: Item) -> Value:
        """One value, with its unit where it has one."""
        (reading,) = await self.read_many([item])
        return reading.get()

    async def read_many(self, items: Iterable[Item]) -> list[Reading]:
        """Values in the order asked; one that is refused carries its error and stops nothing."""
        wanted: list[AttributeRef | Reading] = []
        for item in items:
            try:
                wanted.append(await self.reference(item))
            except ObjectRefused as error:
                obis = item if isinstance(item, Obis) else _obis_of(item)
                wanted.append(Reading(AttributeRef(0, obis, 2), error=error))
        refs = [ref for ref in wanted if isinstance(ref, AttributeRef)]
        units = self.knowledge.units
        unknown = [ref for ref in refs if _scaler_ref(ref) and _unit_key(ref) not in units]
        scalers = [scaler for ref in unknown if (scaler := _scaler_ref(ref)) is not None]
        asked = [*refs, *scalers]
        results = await self._get_all(asked) if asked else []
        for ref, result in zip(unknown, results[len(refs) :], strict=True):
            units[_unit_key(ref)] = _unit_of(result)
        found = iter(results[: len(refs)])
        return [
            item if isinstance(item, Reading) else self._reading(item, next(found))
            for item in wanted
        ]

    def _reading(self, ref: AttributeRef, result: apdu.GetResult) -> Reading:
        if isinstance(result, int):
            return Reading(ref, error=ObjectRefused(_what(ref), result))
        unit = self.knowledge.units.get(_unit_key(ref))
        try:
            return Reading(ref, typed_value(ref, result, unit), raw=result)
        except ValueError as error:
            raise self._garbled(ref, error) from error

    def _garbled(self, ref: AttributeRef, error: Exception) -> MeterError:
        return Garbled(
            f"{self.address.place}: {_what(ref)} can't be understood: {error}",
            "see the octets with --raw and `blathy explain`",
        )

    async def set(self, item: Item, value: Data | bytes | int | str | bool) -> None:
        """Write an attribute. A plain Python value takes the type that the attribute has now."""
        ref = await self.reference(item)
        octets = await self._encoded(ref, value)
        if self.address.short_names:
            base = (await self._short_names()).get((ref.class_id, ref.obis))
            if base is None:
                raise ObjectRefused(_what(ref), int(DataAccessResult.OBJECT_UNDEFINED))
            name = apdu.VariableName(attribute_name(base, ref.attribute))
            (result,) = await self.conversation.write((name, octets))
        else:
            (result,) = await self.conversation.set((ref, octets))
        if result != 0:
            raise ObjectRefused(f"writing {_what(ref)}", result)

    async def _encoded(self, ref: AttributeRef, value: Data | bytes | int | str | bool) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            if isinstance(value, Data):
                return axdr.encode(value)
            present = await self.get_data(ref)
            plain = value.encode() if present.type is DataType.OCTET_STRING else value  # type: ignore[union-attr]
            return axdr.encode(Data(present.type, plain))
        except (AxdrError, AttributeError, TypeError) as error:
            raise Refused(f"{value!r} does not fit {_what(ref)}", "give a value of its type") from (
                error
            )

    async def action(
        self, obis: Obis | str, method: int | str, parameters: Data | None = None
    ) -> Data | None:
        """Run a method, named by number or as the standard does; what it returned."""
        code = parse_obis(obis) if isinstance(obis, str) else obis
        entry = await self.find(code)
        number = _method_number(entry, method)
        ref = MethodRef(entry.class_id, entry.obis, number)
        data = axdr.encode(parameters if parameters is not None else axdr.i8(0))
        if self.address.short_names:
            return await self._action_by_short_name(entry, number, data)
        result, returned = await self.conversation.action(ref, data)
        if result != 0:
            raise ObjectRefused(f"method {method} of {code}", result)
        if isinstance(returned, int):
            raise ObjectRefused(f"the return value of method {method} of {code}", returned)
        return axdr.decode(returned) if returned else None

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
        return axdr.decode(result) if result else None

    # --- clock

    async def _clock_ref(self) -> AttributeRef:
        """The meter's clock: 0-0:1.0.0 unless its object list says otherwise."""
        if not self.knowledge.objects and self.address.client == PUBLIC_CLIENT:
            return CLOCK  # the public client often may read it and no list
        try:
            entry = await self.find(CLOCK.obis, CLOCK.class_id)
        except ObjectRefused:
            return CLOCK
        return replace(CLOCK, obis=entry.obis)

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
        utc_s = _utc_s(moment) if moment is not None else int(time.time() + 0.5)
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
        return self.knowledge.captures[await self._profile_code(code)]

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
        knowledge = self.knowledge
        if code in self._checked and code in knowledge.captures:
            return
        refs = (AttributeRef(7, code, 3), AttributeRef(7, code, 4))
        captures, period = await self._get_all(refs)
        if isinstance(captures, int):
            raise ObjectRefused(_what(refs[0]), captures)
        try:
            knowledge.captures[code] = _captures_of(captures)
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
        refs = [AttributeRef(c.class_id, c.obis, c.attribute) for c in captures]
        unknown = [r for r in refs if _scaler_ref(r) and _unit_key(r) not in units]
        if unknown:
            scalers = [s for r in unknown if (s := _scaler_ref(r)) is not None]
            for ref, result in zip(unknown, await self._get_all(scalers), strict=True):
                units[_unit_key(ref)] = _unit_of(result)
        return tuple(units.get(_unit_key(ref)) for ref in refs)

    async def profile(
        self,
        obis: Obis | str,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        entries: tuple[int, int] | None = None,
        columns: Sequence[CaptureObject] = (),
    ) -> ProfileReading:
        """A profile: its rows with `since <= time <= until`, or its entries counted from 1.

        `columns` selects some capture objects. A meter without selective access sends everything;
        rows outside are then cut off here.
        """
        code = parse_obis(obis) if isinstance(obis, str) else obis
        code = await self._profile_code(code)
        captures = self.knowledge.captures[code]
        if not captures:
            raise Refused(f"profile {code} captures nothing", "set its capture objects first")
        ref = AttributeRef(7, code, 2)
        selective = self.agreed(
            Conformance.PARAMETERIZED_ACCESS
            if self.address.short_names
            else Conformance.SELECTIVE_ACCESS
        )
        bounds = None
        if selective and entries is not None:
            selection = EntryDescriptor(entries[0], entries[1])
            ref = replace(ref, selector=2, parameters=selection.encode())
        elif selective and (since is not None or until is not None or columns):
            ref = replace(ref, selector=1, parameters=self._range(since, until, columns, captures))
            captures = tuple(columns) or captures
        if not selective and (since is not None or until is not None):
            bounds = (since, until)
        raw = await self.get(ref)
        try:
            table = decode_profile(raw, captures)
        except AxdrError as error:
            # The capture objects may have changed since they were learned: ask once more.
            self.knowledge.captures.pop(code, None)
            await self._learn_profile(code)
            fresh = self.knowledge.captures[code]
            if columns or fresh == captures:
                raise self._garbled(ref, error) from error
            captures = fresh
            try:
                table = decode_profile(raw, captures)
            except AxdrError as still:
                raise self._garbled(ref, still) from still
        units = await self._column_units(captures)
        reading = ProfileReading(code, table, units, self.knowledge.periods_s[code], self.zone)
        return reading if bounds is None else _cut(reading, *bounds)

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
        first_s = 0 if since is None else _utc_s(since)
        last_s = 4_102_444_799 if until is None else _utc_s(until)
        return _range_octets(first_s, last_s, self.zone or UTC, tuple(columns), clock)

    # --- pushes

    async def next_push(self, timeout_s: float = 60.0) -> Notification | EventReport:
        """The next notification that the meter sends on this connection."""
        return await self.conversation.next_push(timeout_s)


def parse_obis(text: str) -> Obis:
    """An OBIS code from text; Refused with the form it should have."""
    try:
        return Obis.parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error


def _obis_of(item: Item) -> Obis:
    if isinstance(item, AttributeRef):
        return item.obis
    return parse_obis(item[0] if isinstance(item, tuple) else str(item))


def _what(ref: AttributeRef) -> str:
    try:
        name = interface_class(ref.class_id).attribute(ref.attribute).name
    except KeyError:
        name = f"attribute {ref.attribute}"
    return f"{ref.obis} {name} ({class_name(ref.class_id)})"


def _counter_of(result: apdu.GetResult) -> int:
    """The number in an answer; 0 where there is none."""
    if isinstance(result, int):
        return 0
    try:
        value = axdr.decode(result).value
    except AxdrError:
        return 0
    return value if isinstance(value, int) and 0 < value < COUNTER_LAST else 0


def _scaler_ref(ref: AttributeRef) -> AttributeRef | None:
    scaler = SCALED.get(ref.class_id, {}).get(ref.attribute)
    return AttributeRef(ref.class_id, ref.obis, scaler) if scaler is not None else None


def _unit_key(ref: AttributeRef) -> tuple[int, Obis, int]:
    return ref.class_id, ref.obis, ref.attribute


def _unit_of(result: apdu.GetResult) -> ScalerUnit | None:
    if isinstance(result, int):
        return None
    try:
        return ScalerUnit.of(result)
    except AxdrError:
        return None


@lru_cache(maxsize=64)
def _parse_objects(raw: bytes) -> tuple[ObjectEntry, ...]:
    """The list says itself, in the entry of its own association, how its rights are written."""
    data = axdr.decode(raw)
    entries = parse_object_list(data)
    own = next((entry for entry in entries if entry.class_id == 15), None)
    if own is None or own.version == NEWEST_ASSOCIATION:
        return entries
    return parse_object_list(data, own.version)


def _method_number(entry: ObjectEntry, method: int | str) -> int:
    if isinstance(method, int):
        return method
    try:
        return interface_class(entry.class_id, entry.version).method(method).index
    except KeyError:
        raise Refused(f"{class_name(entry.class_id)} has no method {method!r}") from None


@lru_cache(maxsize=256)
def _range_octets(
    first_s: int, last_s: int, zone: Zone, columns: tuple[CaptureObject, ...], clock: CaptureObject
) -> bytes:
    """A range_descriptor: a head-end asks thousands of meters for the same day."""
    first, last = CosemDateTime.from_utc(first_s, zone), CosemDateTime.from_utc(last_s, zone)
    return RangeDescriptor.between(first, last, columns, clock).encode()


@lru_cache(maxsize=1024)
def _captures_of(raw: bytes) -> tuple[CaptureObject, ...]:
    """The capture objects in these octets, which meters of a type all send."""
    return parse_capture_objects(raw)


def _utc_s(moment: Moment) -> int:
    if isinstance(moment, datetime):
        try:
            return utc_of(moment)
        except ValueError as error:
            raise Refused(str(error)) from error
    return int(moment)


def _cut(reading: ProfileReading, since: Moment | None, until: Moment | None) -> ProfileReading:
    """Rows outside of the bounds left out, for meters without selective access."""
    times = reading.times
    keep = times.valid.copy()
    if since is not None:
        keep &= times.utc_s >= _utc_s(since)
    if until is not None:
        keep &= times.utc_s <= _utc_s(until)
    columns = tuple(
        replace(
            column,
            values=column.values[keep],
            null=None if column.null is None else column.null[keep],
            missing=None if column.missing is None else column.missing[keep],
        )
        for column in reading.columns
    )
    table = Profile(columns, int(keep.sum()), reading.profile.layout)
    return replace(reading, profile=table)
