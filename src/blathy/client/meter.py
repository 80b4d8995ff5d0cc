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

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from blathy.client.address import MeterAddress, parse_address
from blathy.client.cache import PROCESS_CACHE, ObjectCache, TypeKey, TypeKnowledge
from blathy.client.conversation import Conversation, counters_of
from blathy.client.counters import KeyStore
from blathy.client.link import link_over, open_line
from blathy.client.rights import clients_that_may, nearest
from blathy.client.typed_values import ANY_TYPE, attribute_type, data_of, mantissa_of, method_row
from blathy.client.values import ObjectRefused, ProfileReading, Reading, Value, typed_value
from blathy.clock import UtcS, Zone, utc_of
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.classes import Method, class_name, interface_class
from blathy.cosem.columns import Profile, decode_profile
from blathy.cosem.cosem_time import CosemDateTime, date_time_of
from blathy.cosem.names import obis_name
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
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut, Untrusted
from blathy.transport.line import Line
from blathy.wire import apdu
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import AccessResponse, AccessSpecification, Conformance
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
FIRMWARE: Final = (
    AttributeRef(1, Obis(1, 0, 0, 2, 0), 2), AttributeRef(1, Obis(1, 1, 0, 2, 0), 2),
)  # fmt: skip
"""The active firmware identification; Kamstrup counts channels from 1."""
CLOCK: Final = AttributeRef(8, Obis(0, 0, 1, 0, 0), 2)
LOGICAL_DEVICE_NAME: Final = AttributeRef(1, Obis(0, 0, 42, 0, 0), 2)
INVOCATION_COUNTERS: Final = tuple(
    AttributeRef(1, Obis(0, 0, 43, 1, number), 2) for number in range(6)
)
"""Where meters show what they have received: makers count keys or clients in value group E."""
PUBLIC_CLIENT: Final = 16
MANAGEMENT_CLIENT: Final = 1
PUBLIC_TIMEOUT_S: Final = 5.0
LIST_MAX: Final = 32  # attributes in one GET with-list
_ITEM_OCTETS: Final = 12
_HEADER_OCTETS: Final = 64
UTC: Final = Zone("UTC")

SCALED: Final[dict[int, dict[int, int]]] = {3: {2: 3}, 4: {2: 3}, 5: {2: 4, 3: 4}}
"""Class -> attribute with a value -> the attribute that holds its scaler_unit."""

Moment = datetime | UtcS | int
Item = str | Obis | AttributeRef | tuple[str | Obis, int | str]
"""What can be read: `1-0:1.8.0`, `1-0:1.8.0/3`, `1-0:1.8.0/scaler_unit`, the same as a tuple, or a
whole reference. Attributes have numbers or the names of the standard; without one it is 2."""


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
        self._place = f"{address.place} {address.client}"
        self._cache = cache if address.use_cache else ObjectCache()
        self._line = line
        self._entropy = entropy
        self._on_push = on_push
        self._talk: Conversation | None = None
        self._checked: set[Obis] = set()  # profiles whose columns this connection has asked for
        self._firmware_known = False  # whether this connection has asked which firmware it is

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

        `type_key` names the meter type where it is known, so that meters of one type and firmware
        share what is read once. `zone` is the meter's, for clocks without deviation. `line` is used
        instead of a new connection. `on_push` is called with what the meter tells of its own accord
        as soon as it arrives, also while a request is outstanding; else `next_push` hands it out.
        """
        address = parse_address(url, secrets) if isinstance(url, str) else url
        if isinstance(keys, KeySet):
            address = address.with_keys(keys)
        elif keys is not None:
            stored = keys.keys(address.place)
            if stored.unicast:
                address = address.with_keys(stored)
            known = address.password or keys.password(address.place)
            address = replace(address, password=known)
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
        except (Untrusted, Refused, TimedOut) as error:
            await line.close()
            if self._line is None:
                await self._explain_by_counter(error)
            raise
        except BaseException:
            await line.close()
            raise
        self._talk = talk
        self._checked.clear()
        self._firmware_known = False

    @property
    def _counted(self) -> bool:
        """Whether the association takes invocation counters that the meter may be asked for."""
        address = self.address
        ciphered = address.protection != Protection.NONE or address.mechanism is Mechanism.HLS_GMAC
        return ciphered and bool(address.keys.unicast) and address.ask_counter

    async def _shown_counter(self) -> int:
        """The highest invocation counter that the meter shows its public client; 0: none."""
        public = replace(
            self.address.public(), timeout_s=min(self.address.timeout_s, PUBLIC_TIMEOUT_S)
        )
        line = await open_line(self.address)
        try:
            async with Meter(public, line=line, cache=ObjectCache()) as asked:
                found = await asked.read_octets(INVOCATION_COUNTERS)
        except MeterError:
            return 0  # no public client, or none that may: the association itself will tell
        return max((_counter_of(each) for each in found), default=0)

    async def _explain_by_counter(self, error: MeterError) -> None:
        """Many meters are silent, or plead something else, when an invocation counter is too low:
        ask the public client, and say so where that is it."""
        if not self._counted or self._counters is None:
            return
        address, counters = self.address, counters_of(self._counters)
        shown = ours = 0
        with suppress(MeterError, LocalProtocolError):
            shown = await self._shown_counter()
            ours = counters.next(address.title, key_fingerprint(address.keys.unicast))
        if shown and shown >= ours:
            raise Untrusted(
                f"{error.message}; our invocation counter stands at {ours} and the meter has "
                f"seen {shown}",
                f"set ic={shown + 1} if you trust this meter",
            ) from error

    async def _follow_public_counter(self) -> None:
        """Before the first contact with a key: go on above the counter that the meter shows its
        public client. Upwards only and by a bounded jump, since nothing proves that report."""
        address = self.address
        if not self._counted or self._counters is None:
            return
        counters, key_id = counters_of(self._counters), key_fingerprint(address.keys.unicast)
        if not counters.untouched(address.title, key_id):
            return
        highest = await self._shown_counter()
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
            self._cache.keep(self._knowledge_key)
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
        """What is known of the meter's type and firmware."""
        return self._cache.of(self._knowledge_key)

    @property
    def _knowledge_key(self) -> TypeKey:
        address = self.address
        firmware = self._cache.firmware_at(self._place) or ""
        return self._type_key, address.client, address.short_names, firmware

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
        if self.address.short_names:
            await self._short_names()
            return self.knowledge.objects
        await self._learn_firmware()
        knowledge = self.knowledge
        if fresh:
            await self._learn_objects()
        elif not knowledge.objects:
            async with knowledge.turn(self.address.timeout_s):
                if not knowledge.objects:
                    await self._learn_objects()
        return knowledge.objects

    async def _learn_firmware(self) -> None:
        """Ask once a connection which firmware the meter runs: what is known belongs to it."""
        if not self._firmware_known:
            self._note_firmware(FIRMWARE, await self._get_all(FIRMWARE))

    async def _greet(self) -> None:
        """At the first contact, ask for the firmware first; later it goes with other questions."""
        if self._cache.firmware_at(self._place) is None:
            await self._learn_firmware()

    def _firmware_refs(self) -> tuple[AttributeRef, ...]:
        """What to ask beside the first question of a connection to a meter that has told before."""
        known = self._cache.firmware_at(self._place)
        if self._firmware_known or not known:
            return ()
        return tuple(ref for ref in FIRMWARE if known.startswith(f"{ref.obis}="))

    def _note_firmware(
        self, refs: Sequence[AttributeRef], results: Sequence[apdu.GetResult]
    ) -> bool:
        """Take what the meter says it runs; whether it is what was known."""
        self._firmware_known = True
        told = (
            f"{r.obis}={v.hex()}"
            for r, v in zip(refs, results, strict=True)
            if v.__class__ is bytes
        )
        found, key = next(told, ""), self._knowledge_key
        before = self._cache.firmware_at(self._place)
        if found != before:
            self._cache.note_firmware(self._place, found)
            if before is None:
                self._cache.move(key, self._knowledge_key)
        return found == before

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
        raise self._undefined(obis, class_id)

    def _undefined(self, obis: Obis, class_id: int | None) -> ObjectRefused:
        """Names what is near, for most of the time a group is mistyped."""
        client, known = self.address.client, self.knowledge.classes
        entries = known.get(obis, ())
        if entries:
            has = ", ".join(class_name(entry.class_id) for entry in entries)
            text = f"{obis} is {has} and no {class_name(class_id or 0)}"
            return ObjectRefused(text, int(DataAccessResult.OBJECT_CLASS_INCONSISTENT))
        near = ", ".join(f"{code} ({obis_name(code)})" for code in nearest(obis, known))
        remedy = "see what there is with `blathy objects`"
        if near:
            remedy = f"near it are {near}"
        elif client == PUBLIC_CLIENT:
            remedy = "the public client sees little; use another client= with its auth="
        return ObjectRefused(
            str(obis), int(DataAccessResult.OBJECT_UNDEFINED),
            f"client {client} sees no such object", remedy,
        )  # fmt: skip

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
        obis, attribute = _parts(item)
        if isinstance(attribute, int) and obis == CLOCK.obis:
            return replace(await self._clock_ref(), attribute=attribute)
        if isinstance(attribute, int) and obis == LOGICAL_DEVICE_NAME.obis:
            return replace(LOGICAL_DEVICE_NAME, attribute=attribute)
        entry = await self.find(obis)
        return AttributeRef(entry.class_id, entry.obis, _attribute_number(entry, attribute))

    async def read(self, item: Item) -> Value:
        """One value, with its unit where it has one."""
        (reading,) = await self.read_many([item])
        if reading.error is not None:
            raise await self._who_may(reading.error, reading.ref)
        return reading.value

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
            raise Refused(f"{_what(ref)} does not take this: {error}") from error

    async def _unit_of(self, ref: AttributeRef) -> ScalerUnit | None:
        if _scaler_ref(ref) is None:
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
        rows = {row.index: row.name for row in _class_methods(entry)}
        if not entry.methods:  # a list by short names has no rights
            return rows
        numbers = [row.index for row in entry.methods if row.right]
        return {number: rows.get(number, f"method {number}") for number in numbers}

    async def call(self, obis: Obis | str, method: int | str, value: Any = None) -> Any:
        """Run a method with a plain parameter, typed as in `data_for`; what it returned, plain."""
        code = parse_obis(obis) if isinstance(obis, str) else obis
        entry = await self.find(code)
        ref = MethodRef(entry.class_id, entry.obis, _method_number(entry, method))
        row = method_row(ref, entry.version)
        try:
            parameters = None
            if value is not None:
                parameters = data_of(row.parameter if row is not None else ANY_TYPE, value)
        except ValueError as error:
            raise Refused(f"method {method} of {code} does not take this: {error}") from error
        try:
            returned = await self.action(entry.obis, ref.method, parameters)
        except ObjectRefused as error:
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
                obis, _ = _parts(item)
                wanted.append(Reading(AttributeRef(0, obis, 2), error=error))
        refs = [ref for ref in wanted if isinstance(ref, AttributeRef)]
        units = self.knowledge.units
        unknown = [ref for ref in refs if _scaler_ref(ref) and _unit_key(ref) not in units]
        scalers = [scaler for ref in unknown if (scaler := _scaler_ref(ref)) is not None]
        asked = [*refs, *scalers]
        firmware = self._firmware_refs() if asked else ()
        results = await self._get_all([*asked, *firmware]) if asked else []
        if firmware and not self._note_firmware(firmware, results[len(asked) :]):
            return await self.read_many(items)  # what was known belongs to another firmware
        for ref, result in zip(unknown, results[len(refs) : len(asked)], strict=True):
            units[_unit_key(ref)] = _unit_of(result)
            self.knowledge.learned = True
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
            value = typed_value(ref, result, unit)
            return Reading(ref, value, raw=result, version=self._version(ref))
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

    async def set_many(self, writes: Sequence[tuple[Item, Data]]) -> list[ObjectRefused | None]:
        """Write several attributes in one request where the meter agrees to that, else one by one;
        None for each that was taken, the refusal of each that was not."""
        refs = [await self.reference(item) for item, _ in writes]
        found: list[ObjectRefused | None] = []
        if self.agreed(Conformance.MULTIPLE_REFERENCES) and not self.address.short_names:
            octets = [axdr.encode(data) for _, data in writes]
            results = await self.conversation.set(*zip(refs, octets, strict=True)) if refs else ()
            for ref, result in zip(refs, results, strict=True):
                found.append(ObjectRefused(f"writing {_what(ref)}", result) if result else None)
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
        await self._greet()
        refs = (AttributeRef(7, code, 3), AttributeRef(7, code, 4))
        firmware = self._firmware_refs()
        captures, period, *rest = await self._get_all([*refs, *firmware])
        if firmware and not self._note_firmware(firmware, rest):
            knowledge = self.knowledge
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
            self.knowledge.learned = True
        return tuple(units.get(_unit_key(ref)) for ref in refs)

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
        chosen = _chosen_columns(code, columns, captures)
        ref, sent = AttributeRef(7, code, 2), captures
        selective = self.agreed(
            Conformance.PARAMETERIZED_ACCESS
            if self.address.short_names
            else Conformance.SELECTIVE_ACCESS
        )
        if selective and entries is not None:
            selection = EntryDescriptor(entries[0], entries[1])
            ref = replace(ref, selector=2, parameters=selection.encode())
        elif selective and (since is not None or until is not None or chosen):
            ref = replace(ref, selector=1, parameters=self._range(since, until, chosen, captures))
            sent = chosen or captures
        reading = await self._profile_rows(ref, sent)
        if not selective and entries is not None:
            reading = _kept(reading, slice(entries[0] - 1, entries[1]))
        elif not selective or entries is not None:
            reading = _between(reading, since, until)
        return _only(reading, chosen) if chosen else reading

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


def _parts(item: Item) -> tuple[Obis, int | str]:
    """The code of an item and its attribute; Refused where it is written otherwise."""
    attribute: int | str = 2
    if isinstance(item, AttributeRef):
        return item.obis, item.attribute
    if isinstance(item, tuple):
        item, attribute = item
    elif not isinstance(item, Obis):
        item, slash, name = item.partition("/")
        attribute = name if slash else attribute
    obis = item if isinstance(item, Obis) else parse_obis(item)
    text = str(attribute)
    if text.isascii() and text.isdigit():
        attribute = int(text)
    if not text or (isinstance(attribute, int) and not 0 <= attribute < 128):
        raise Refused(
            f"{text!r} is no attribute of {obis}", "write its number or name, 1-0:1.8.0/scaler_unit"
        )
    return obis, attribute


def _attribute_number(entry: ObjectEntry, attribute: int | str) -> int:
    if isinstance(attribute, int):
        return attribute
    try:
        kind = interface_class(entry.class_id, entry.version)
    except KeyError:
        raise Refused(f"no table knows {class_name(entry.class_id)}", "write a number") from None
    try:
        return kind.attribute(attribute).index
    except KeyError:
        names = ", ".join(row.name for row in kind.attributes)
        raise Refused(
            f"{kind.name} {entry.obis} has no attribute {attribute!r}", f"it has {names}"
        ) from None


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


def _class_methods(entry: ObjectEntry) -> tuple[Method, ...]:
    try:
        return interface_class(entry.class_id, entry.version).methods
    except KeyError:
        return ()


def _method_number(entry: ObjectEntry, method: int | str) -> int:
    if isinstance(method, int):
        return method
    try:
        return interface_class(entry.class_id, entry.version).method(method).index
    except KeyError:
        able = "it has " + (", ".join(row.name for row in _class_methods(entry)) or "none")
        raise Refused(f"{class_name(entry.class_id)} has no method {method!r}", able) from None


def _chosen_columns(
    code: Obis, columns: Sequence[CaptureObject | Obis | str], captures: Sequence[CaptureObject]
) -> tuple[CaptureObject, ...]:
    """Columns named by code, among those that the profile captures."""
    found = []
    for column in columns:
        if isinstance(column, CaptureObject):
            found.append(column)
            continue
        named = column if isinstance(column, Obis) else parse_obis(column)
        one = next((capture for capture in captures if capture.obis == named), None)
        if one is None:
            able = ", ".join(str(capture.obis) for capture in captures)
            raise Refused(f"profile {code} has no column {named}", f"it has {able}")
        found.append(one)
    return tuple(found)


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


def _between(reading: ProfileReading, since: Moment | None, until: Moment | None) -> ProfileReading:
    """Rows outside of the bounds left out."""
    if since is None and until is None:
        return reading
    times = reading.times
    keep = times.valid.copy()
    if since is not None:
        keep &= times.utc_s >= _utc_s(since)
    if until is not None:
        keep &= times.utc_s <= _utc_s(until)
    return _kept(reading, keep)


def _kept(reading: ProfileReading, keep: slice | NDArray[np.bool_]) -> ProfileReading:
    """Some rows only."""
    columns = tuple(
        replace(
            column,
            values=column.values[keep],
            null=None if column.null is None else column.null[keep],
            missing=None if column.missing is None else column.missing[keep],
        )
        for column in reading.columns
    )
    rows = len(columns[0].values) if columns else 0
    return replace(reading, profile=Profile(columns, rows, reading.profile.layout))


def _only(reading: ProfileReading, chosen: Sequence[CaptureObject]) -> ProfileReading:
    """Some columns only, in the meter's order."""
    keep = [n for n, column in enumerate(reading.columns) if column.capture in chosen]
    profile = reading.profile
    columns = tuple(reading.columns[n] for n in keep)
    return replace(
        reading,
        profile=Profile(columns, len(profile), profile.layout),
        units=tuple(reading.units[n] for n in keep),
    )
