"""An association with a meter: opened by URL, its invocation counter found, its objects learned.

What a meter type and its firmware decide (object list, scalers) is read once and cached; which
firmware a meter runs is asked for once a connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from blathy.client.address import MeterAddress, parse_address
from blathy.client.cache import PROCESS_CACHE, ObjectCache, TypeKey, TypeKnowledge
from blathy.client.conversation import Conversation, is_ciphered
from blathy.client.counters import KeyStore
from blathy.client.items import Item, attribute_number, described, parts_of
from blathy.client.lease import Lease, counters_of
from blathy.client.link import link_over, open_line
from blathy.client.rights import nearest
from blathy.client.values import ObjectRefused
from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.classes import class_name
from blathy.cosem.names import obis_name
from blathy.cosem.objectlist import (
    NEWEST_ASSOCIATION,
    ObjectEntry,
    parse_object_list,
    parse_short_names,
)
from blathy.cosem.service import AttributeRef, DataAccessResult
from blathy.obis import Obis
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut, Untrusted
from blathy.transport.line import LentLine, Line
from blathy.wire import apdu
from blathy.wire.apdu import Conformance
from blathy.wire.association_events import EventReport, Notification
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import (
    COUNTER_LAST,
    CounterStore,
    KeySet,
    key_fingerprint,
)
from blathy.wire.short_names import ASSOCIATION_SN_BASE, attribute_name

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


class Session:
    """An association with one logical device, the octets of its attributes, and its objects."""

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
        self._lease: Lease | None = None
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

    @property
    def counter_store(self) -> CounterStore | None:
        """Where the invocation counters come from."""
        return self._counters

    def use_counters(self, counters: CounterStore) -> None:
        """Take the invocation counters from this store; before the meter is opened."""
        self._counters = counters

    # --- opening and closing

    async def open(self) -> None:
        """Connect and associate; every failure is one of the five outcomes."""
        address = self.address
        if self._counters is not None and (is_ciphered(address) or address.keys.signing):
            self._lease = await Lease.take(self._counters, address)
        try:
            await self._open()
        except BaseException:
            self._give_lease_back()
            raise

    async def _open(self) -> None:
        lease = self._lease
        if self._may_ask and lease is not None:
            async with lease.turn:
                await self._follow_public_counter()
        line = self._line or await open_line(self.address)
        try:
            link = link_over(line, self.address)
            await link.open()
            talk = Conversation(link, self.address, self._counters, self._entropy, lease)
            talk.on_push = self._on_push
            if not talk.association.associated:
                await talk.open()
        except (Untrusted, Refused, TimedOut) as error:
            if not line.called:
                await line.close()
            try:
                if self._may_ask:
                    await self._explain_by_counter(error)
            finally:
                await line.close()
            raise
        except BaseException:
            await line.close()
            raise
        self._talk = talk
        self._checked.clear()
        self._firmware_known = False

    def rest(self) -> None:
        """Between requests that are far apart: until the next one another process that uses the
        same keys and counter file may speak with the meter. The association stays."""
        if self._lease is not None:
            self._lease.rest()

    def _give_lease_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.give_back()

    @property
    def _may_ask(self) -> bool:
        """Whether the public client can be asked first: by a connection of its own, or by a call,
        which carries one association after the other."""
        return self._line is None or self._line.called

    @property
    def _counted(self) -> bool:
        """Whether the association takes invocation counters that the meter may be asked for."""
        return is_ciphered(self.address) and self.address.ask_counter

    async def _shown_counter(self) -> int:
        """The highest invocation counter that the meter shows its public client; 0: none."""
        public = replace(
            self.address.public(), timeout_s=min(self.address.timeout_s, PUBLIC_TIMEOUT_S)
        )
        line = LentLine(self._line) if self._line else await open_line(self.address)
        try:
            async with Session(public, line=line, cache=ObjectCache()) as asked:
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
            try:
                await talk.close()
            finally:
                self._give_lease_back()

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
            raise ObjectRefused(described(ref), result)
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
        obis, attribute = parts_of(item)
        if isinstance(attribute, int) and obis == CLOCK.obis:
            return replace(await self._clock_ref(), attribute=attribute)
        if isinstance(attribute, int) and obis == LOGICAL_DEVICE_NAME.obis:
            return replace(LOGICAL_DEVICE_NAME, attribute=attribute)
        entry = await self.find(obis)
        return AttributeRef(entry.class_id, entry.obis, attribute_number(entry, attribute))

    async def _clock_ref(self) -> AttributeRef:
        """The meter's clock: 0-0:1.0.0 unless its object list says otherwise."""
        if not self.knowledge.objects and self.address.client == PUBLIC_CLIENT:
            return CLOCK  # the public client often may read it and no list
        try:
            entry = await self.find(CLOCK.obis, CLOCK.class_id)
        except ObjectRefused:
            return CLOCK
        return replace(CLOCK, obis=entry.obis)

    def _garbled(self, ref: AttributeRef, error: Exception) -> MeterError:
        return Garbled(
            f"{self.address.place}: {described(ref)} can't be understood: {error}",
            "see the octets with --raw and `blathy explain`",
        )


def _counter_of(result: apdu.GetResult) -> int:
    """The number in an answer; 0 where there is none."""
    if isinstance(result, int):
        return 0
    try:
        value = axdr.decode(result).value
    except AxdrError:
        return 0
    return value if isinstance(value, int) and 0 < value < COUNTER_LAST else 0


@lru_cache(maxsize=64)
def _parse_objects(raw: bytes) -> tuple[ObjectEntry, ...]:
    """The list says itself, in the entry of its own association, how its rights are written."""
    data = axdr.decode(raw)
    entries = parse_object_list(data)
    own = next((entry for entry in entries if entry.class_id == 15), None)
    if own is None or own.version == NEWEST_ASSOCIATION:
        return entries
    return parse_object_list(data, own.version)
