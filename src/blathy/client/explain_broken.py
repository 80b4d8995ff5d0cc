"""APDUs that break off or are damaged: their fields as far as they can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from blathy.client.explain_values import (
    Node,
    attribute_text,
    method_text,
    octets_node,
    octets_text,
)
from blathy.cosem.axdr import AxdrError, decode_length
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.wire import apdu
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader

_ACTIONS: Final = frozenset({apdu.Tag.ACTION_REQUEST})
_WITH_CHOICE: Final = frozenset({0xC0, 0xC1, 0xC3, 0xC4, 0xC5, 0xC7})
_WITH_LONG_INVOKE: Final = frozenset({0x0F, 0x10, 0xD9, 0xDA})
_CHOICES: Final[dict[int, tuple[str, ...]]] = {
    0xC0: ("normal", "next", "with list"),
    0xC1: ("normal", "first block", "block", "with list", "with list and first block"),
    0xC3: ("normal", "next", "with list", "first block", "with list and first block", "block"),
    0xC4: ("normal", "block", "with list"),
    0xC5: ("normal", "block", "last block", "last block with list", "with list"),
    0xC7: ("normal", "block", "with list", "next"),
}
_ACSE_FIELDS: Final = {
    0x80: "protocol version or reason", 0xA1: "application context", 0xA2: "result or called title",
    0xA3: "diagnostic", 0xA4: "meter system title", 0xA5: "responding AE qualifier",
    0xA6: "client system title", 0xA7: "calling AE qualifier", 0xA8: "calling AP invocation id",
    0xA9: "user", 0x88: "responder requirements", 0x89: "authentication",
    0x8A: "sender requirements", 0x8B: "authentication", 0xAC: "authentication value (hidden)",
    0xAA: "challenge", 0xBE: "user information",
}  # fmt: skip


class _WatchedReader(Reader):
    """Writes down every field that is read, with the place where it begins."""

    __slots__ = ("_depth", "fields", "node")

    def __init__(self, data: bytes, position: int, node: Node) -> None:
        super().__init__(data, position)
        self.node = node
        self.fields = 0
        self._depth = 0

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is read inside is one field."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _note(self, text: str) -> None:
        if not self._depth:
            self.fields += 1
            self.node.add(text)

    def u8(self) -> int:
        found = super().u8()
        self._note(self._octet_text(found))
        return found

    def _octet_text(self, octet: int) -> str:
        tag = self.data[0]
        if tag in _WITH_CHOICE and self.fields == 0:
            names = _CHOICES[tag]
            return f"choice: {octet} {names[octet - 1] if 0 < octet <= len(names) else 'unknown'}"
        if tag in _WITH_CHOICE and self.fields == 1:
            return f"invoke id and priority: {octet:02X}"
        return f"octet {self.position - 1}: {octet:02x}"

    def u16(self) -> int:
        found = super().u16()
        self._note(f"octet {self.position - 2}: number {found}")
        return found

    def u32(self) -> int:
        found = super().u32()
        long = self.fields == 0 and self.data[0] in _WITH_LONG_INVOKE
        self._note(
            f"long invoke id and priority: {found:08X}"
            if long
            else f"octet {self.position - 4}: number {found}"
        )
        return found

    def take(self, count: int) -> bytes:
        found = super().take(count)
        self._note(octets_text(found))
        return found

    def rest(self) -> bytes:
        at = self.position
        found = super().rest()
        self._note(f"octet {at} and following: {octets_text(found)}")
        return found

    def length(self) -> int:
        at = self.position
        with self._whole():
            found = super().length()
        self._note(f"octet {at}: length or count {found}")
        return found

    def octets(self) -> bytes:
        at = self.position
        try:
            with self._whole():
                found = super().octets()
        except RemoteProtocolError:
            self._cut_octets(at)
            raise
        self._note(f"octet {at}: string of {len(found)}: {octets_text(found)}")
        return found

    def _cut_octets(self, at: int) -> None:
        try:
            count, start = decode_length(self.data, at)
        except AxdrError:
            return
        here = self.data[start:]
        self._note(f"octet {at}: string of {count}, of which {len(here)} are here")
        self.node.add(octets_text(here))

    def data_value(self) -> bytes:
        at = self.position
        try:
            with self._whole():
                found = super().data_value()
        except RemoteProtocolError:
            octets_node(self.node, f"octet {at}", self.data[at:])
            raise
        octets_node(self.node, f"octet {at}", found)
        return found

    def descriptor(self) -> tuple[int, Obis, int]:
        with self._whole():
            found = super().descriptor()
        if self.data[0] in _ACTIONS:
            self._note(f"method: {method_text(MethodRef(*found))}")
        else:
            self._note(f"attribute: {attribute_text(AttributeRef(*found))}")
        return found


def broken_apdu(node: Node, octets: bytes, error: RemoteProtocolError) -> None:
    """What can be read of an APDU that is malformed, and one sentence on where it breaks."""
    tag = octets[0]
    try:
        name = apdu.Tag(tag).name.lower().replace("_", "-")
    except ValueError:
        node.add(f"no APDU: {error}").add(octets_text(octets))
        return
    here = node.add(f"{name}, not complete or damaged", octets)
    reader = _WatchedReader(octets, 1, here)
    try:
        if 0x60 <= tag <= 0x63:
            _acse(here, octets)
        else:
            apdu.read(reader)
    except RemoteProtocolError:
        pass
    here.add(f"it breaks off: {error}")
    if not here.children[:-1]:
        here.add(octets_text(octets))


def _acse(here: Node, octets: bytes) -> None:
    """The BER fields of an association APDU, whatever its length says."""
    reader = Reader(octets, 1)
    first = reader.u8()
    if first > 0x80:
        reader.take(first & 0x7F)
    while reader.position < reader.end:
        at = reader.position
        tag = reader.u8()
        name = _ACSE_FIELDS.get(tag, f"field {tag:02X}")
        try:
            content = reader.octets()
        except RemoteProtocolError:
            here.add(f"{name}: {_field_text(tag, octets[at + 2 :])} …")
            raise
        here.add(f"{name}: {_field_text(tag, content)}")


def _field_text(tag: int, content: bytes) -> str:
    return f"{len(content)} octets" if tag == 0xAC else octets_text(content)
