"""Compact data and protected data, as a program uses them.

values = await read_compact(meter, "0-0:66.0.1")
sealed = ProtectedAccess(meter, "0-0:43.2.0")
energy, = await sealed.get("1-0:1.8.0")
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from blathy.client.items import Item, parse_obis
from blathy.client.lease import Lease, counters_of
from blathy.client.meter import Meter
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.captured_items import CapturedItem, parse_items
from blathy.cosem.compact_data import TemplateCache
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.transport.errors import Garbled, Refused, Untrusted
from blathy.wire.apdu import AgreedKey, IdentifiedKey, KeyInfo, WrappedKey
from blathy.wire.data_protection import (
    BOTH,
    SIGNATURE,
    ProtectionElement,
    elements_data,
    empty_key,
    parse_elements,
    protect_data,
    unprotect_data,
)
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import CounterStore, KeyChoice, SecurityContext

COMPACT_DATA: Final = 62
DATA_PROTECTION: Final = 30
_KEYS: Final[dict[KeyChoice, KeyInfo]] = {
    KeyChoice.IDENTIFIED: IdentifiedKey(0),
    KeyChoice.BROADCAST: IdentifiedKey(1),
    KeyChoice.WRAPPED: WrappedKey(0, b""),
    KeyChoice.ONE_PASS: AgreedKey(b"\x01", b""),
    KeyChoice.STATIC: AgreedKey(b"\x02", b""),
}


@dataclass(frozen=True, slots=True)
class CompactValue:
    """One value of a compact buffer and what it was captured from."""

    capture: CaptureObject
    value: Data


async def read_compact(
    meter: Meter, code: str, templates: TemplateCache | None = None
) -> tuple[CompactValue, ...]:
    """What a compact data object holds; empty before its first capture. `templates` learns the
    description, so that a buffer of this meter that comes alone can be decoded as well."""
    obis = parse_obis(code)
    items, held, described = [
        await meter.get_data(AttributeRef(COMPACT_DATA, obis, number)) for number in (3, 2, 5)
    ]
    known = TemplateCache() if templates is None else templates
    sender = meter.address.place
    try:
        listed, buffer, template = parse_items(items), bytes(held.value), bytes(described.value)
        if not buffer:
            return ()
        known.learn(sender, buffer[0], template)
        values = known.decode(sender, buffer)
    except (AxdrError, TypeError, ValueError, AttributeError) as error:
        raise Garbled(f"{sender}: {obis}: {error}", "capture again and read it again") from error
    if len(values) != len(listed):
        raise Garbled(f"{sender}: {obis} holds other values than it lists", "read it again")
    return tuple(
        CompactValue(item.capture, value) for item, value in zip(listed, values, strict=True)
    )


class ProtectedAccess:
    """Reads, writes and calls through a data protection object (class 30) of a connected meter.

    `layers`: kinds of protection from the innermost to the outermost (0 authentication, 1
    encryption, 2 both, 3 signature). `counters` None: those of the connection.
    """

    def __init__(
        self,
        meter: Meter,
        code: str = "0-0:43.2.0",
        *,
        layers: Sequence[int] = (BOTH,),
        key: KeyChoice = KeyChoice.IDENTIFIED,
        counters: CounterStore | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._meter = meter
        self._obis = parse_obis(code)
        self._layers = tuple(layers)
        self._key = _KEYS[key]
        self._counters = counters
        self._entropy = entropy

    async def get(self, *items: Item) -> tuple[Data, ...]:
        """Attributes, protected by the meter itself for our system title."""
        listed = [await self._meter.reference(item) for item in items]
        context = self._context()
        wanted = [
            ProtectionElement(kind, recipient=context.title, key_info=self._key_of(kind))
            for kind in self._layers
        ]
        request = axdr.structure(_object_list(listed), elements_data(wanted))
        async with self._turn():
            return self._values(await self._call(1, request), context, len(items))

    async def set(self, *writes: tuple[Item, Data]) -> None:
        """Write attributes; the values are protected for the meter itself."""
        listed = [await self._meter.reference(item) for item, _ in writes]
        plain = axdr.encode(axdr.structure(*(value for _, value in writes)))
        async with self._turn():
            used, octets = self._protected(plain, self._context())
            await self._call(2, axdr.structure(_object_list(listed), used, octets))

    async def get_buffer(self, *items: Item) -> tuple[Data, ...]:
        """Attributes through protection_buffer, for clients of it that can only GET and SET: sets
        which, and how protected, then reads the buffer and what it was protected with."""
        listed = [await self._meter.reference(item) for item in items]
        context = self._context()
        wanted = [
            ProtectionElement(kind, recipient=context.title, key_info=self._key_of(kind))
            for kind in self._layers
        ]
        code = str(self._obis)
        async with self._turn():
            await self._meter.set((code, 3), _object_list(listed))
            await self._meter.set((code, 4), elements_data(wanted))
            octets = await self._attribute(2)
            answer = axdr.structure(await self._attribute(4), octets)
            return self._values(answer, context, len(items))

    async def set_buffer(self, *writes: tuple[Item, Data]) -> None:
        """Write attributes by writing protection_buffer."""
        listed = [await self._meter.reference(item) for item, _ in writes]
        plain = axdr.encode(axdr.structure(*(value for _, value in writes)))
        code = str(self._obis)
        async with self._turn():
            used, octets = self._protected(plain, self._context())
            await self._meter.set((code, 3), _object_list(listed))
            await self._meter.set((code, 5), used)
            await self._meter.set((code, 2), octets)

    async def _attribute(self, number: int) -> Data:
        return await self._meter.get_data(AttributeRef(DATA_PROTECTION, self._obis, number))

    def _values(self, answer: Data, context: SecurityContext, count: int) -> tuple[Data, ...]:
        plain = self._opened(answer, context)
        if plain.type is not axdr.DataType.STRUCTURE or len(plain.value) != count:
            raise self._garbled("another number of values than asked for")
        return tuple(plain.value)

    async def action(self, ref: MethodRef, parameters: Data) -> Data:
        """Call a method; parameters and what it returns are protected."""
        context = self._context()
        method = axdr.structure(axdr.u16(ref.class_id), axdr.octets(ref.obis), axdr.i8(ref.method))
        async with self._turn():
            used, octets = self._protected(axdr.encode(parameters), context)
            return self._opened(await self._call(3, axdr.structure(method, used, octets)), context)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The meter takes the counters of protected data in rising order, as we do its own."""
        store = self._counters or self._meter.counter_store
        if store is None:
            yield  # `_context` refuses it
            return
        lease = await Lease.take(store, self._meter.address)
        try:
            async with lease.protecting:
                yield
        finally:
            lease.give_back()

    def _key_of(self, kind: int) -> KeyInfo:
        return IdentifiedKey(0) if kind == SIGNATURE else empty_key(self._key)

    def _context(self) -> SecurityContext:
        address = self._meter.address
        own = self._meter.conversation.association.security
        peer = self._meter.system_title or address.meter_title
        if own is not None and self._counters is None:
            counters = own.counters
        elif self._counters is not None:
            counters = counters_of(self._counters)
        else:
            raise Refused("protected data need invocation counters", "give counters=")
        if not address.keys.unicast or len(peer) != 8:
            raise Refused("protected data need keys and the meter's title", "give ek=, ak=")
        return SecurityContext(
            address.title, address.keys, counters, self._entropy, peer_title=peer
        )

    def _protected(self, plain: bytes, context: SecurityContext) -> tuple[Data, Data]:
        wanted = [ProtectionElement(kind, key_info=self._key_of(kind)) for kind in self._layers]
        try:
            used, octets = protect_data(context, plain, wanted)
        except LocalProtocolError as error:
            raise Refused(str(error), "give ek=, ak= and, for suites 1 and 2, the keys") from error
        return elements_data(used), axdr.octets(octets)

    async def _call(self, method: int, parameters: Data) -> Data:
        found = await self._meter.action(str(self._obis), method, parameters)
        return found if isinstance(found, Data) else axdr.null()

    def _opened(self, answer: Data, context: SecurityContext) -> Data:
        try:
            parameters, octets = answer.value
            elements = parse_elements(parameters)
            if tuple(e.kind for e in elements) != self._layers:
                raise self._garbled("other protection than asked for")
            return axdr.decode(unprotect_data(context, bytes(octets.value), elements))
        except (AxdrError, TypeError, ValueError, AttributeError) as error:
            raise self._garbled(str(error)) from error
        except (LocalProtocolError, RemoteProtocolError) as error:
            place = self._meter.address.place
            raise Untrusted(f"{place}: {error}", "check ek=, ak= and the meter") from error

    def _garbled(self, reason: str) -> Garbled:
        return Garbled(f"{self._meter.address.place}: {reason}", "see it with `blathy record`")


def _object_list(refs: Sequence[AttributeRef]) -> Data:
    items = (CapturedItem(CaptureObject(r.class_id, Obis.of(r.obis), r.attribute)) for r in refs)
    return axdr.array(*(item.data(5) for item in items))
