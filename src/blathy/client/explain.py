"""Any frame or conversation as a tree with names and units: what `blathy explain` prints.

Framing is recognised (HDLC, wrapper, bare APDU, DLMS in M-Bus frames), segments and general blocks
are joined, ciphered APDUs are opened with the keys given. Titles are learned from AARQ and AARE as
the conversation goes; what can't be understood is shown as octets, never an exception.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from blathy.client.capture import Chunk
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.classes import class_name, interface_class
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.names import obis_name
from blathy.cosem.service import ActionResult, AttributeRef, DataAccessResult, MethodRef
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Unit
from blathy.wire import acse, apdu, hdlc, wrapper
from blathy.wire.acse import Context, Mechanism, ProviderDiagnostic, UserDiagnostic
from blathy.wire.apdu import Conformance
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.octets import Reader
from blathy.wire.security import (
    InvocationCounters,
    KeySet,
    SecurityContext,
    VolatileCounterStore,
)

ELEMENTS_SHOWN: Final = 40  # of an array; the rest is counted
_NEVER: Final = Instant(0)
_FROM_SERVER: Final = frozenset({
    0x08, 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x28, 0x2C, 0x2D, 0x2E, 0x38, 0x61, 0x63,
    0xC2, 0xC4, 0xC5, 0xC7, 0xCA, 0xCC, 0xCD, 0xCF, 0xD2, 0xD4, 0xD5, 0xD7, 0xD8, 0xDA,
})  # fmt: skip


@dataclass(slots=True)
class Node:
    """One line of the tree."""

    text: str
    children: list[Node] = field(default_factory=list)

    def add(self, text: str) -> Node:
        """A child with this text."""
        node = Node(text)
        self.children.append(node)
        return node

    def lines(self, indent: str = "") -> list[str]:
        """The tree as indented text."""
        found = [indent + self.text]
        for child in self.children:
            found += child.lines(indent + "  ")
        return found


def _no_entropy(_count: int) -> bytes:
    raise LocalProtocolError("nothing is encrypted here")


class Explainer:
    """Explains chunk after chunk; keeps what later ones need."""

    def __init__(
        self, keys: KeySet | None = None, client_title: bytes = b"", server_title: bytes = b""
    ) -> None:
        self._keys = keys
        self._titles = {False: client_title, True: server_title}
        self._asked: list[AttributeRef] = []
        self._streams: dict[str, tuple[str, Any]] = {}
        self._segments: dict[bytes, bytearray] = {}
        self._blocks = bytearray()
        self._mbus = bytearray()

    def explain(self, chunk: Chunk) -> list[Node]:
        """The frames that this chunk completes."""
        known = None if chunk.datagram else self._streams.get(chunk.sender)
        framing = known[0] if known else self._framing(chunk.data)
        sender = f"{chunk.sender}: " if chunk.sender else ""
        if framing == "hdlc":
            decoder = known[1] if known else hdlc.FrameDecoder()
            self._streams[chunk.sender] = (framing, decoder)
            frames = decoder.receive(chunk.data, _NEVER)
            if not frames and not known:
                return [self._bare(sender, chunk.data)]
            return [self._hdlc(sender, frame) for frame in frames]
        if framing == "wrapper":
            stream = known[1] if known else wrapper.WrapperStream()
            self._streams[chunk.sender] = (framing, stream)
            try:
                packets = stream.receive(chunk.data, _NEVER)
            except RemoteProtocolError as error:
                self._streams.pop(chunk.sender)
                return [Node(f"{sender}{error}: {_octets(chunk.data)}")]
            return [self._wrapper(sender, packet) for packet in packets]
        if framing == "mbus":
            return self._mbus_frames(sender, chunk.data)
        return [self._bare(sender, chunk.data)]

    def _bare(self, sender: str, data: bytes) -> Node:
        frame = hdlc.parse_frame(data)
        if frame is not None:
            return self._hdlc(sender, frame)
        node = Node(f"{sender}APDU, {len(data)} octets")
        try:
            data = hdlc.strip_llc(data, b"\xe6\x00" if data[1:2] == b"\xe6" else b"\xe7\x00")
        except ValueError:
            pass
        self._apdu(node, data)
        return node

    @staticmethod
    def _framing(data: bytes) -> str:
        if b"\x7e\xa0" in data[:64] or b"\x7e\xa8" in data[:64] or data[:1] == b"\x7e":
            return "hdlc"
        if len(data) >= 8 and data[:2] == b"\0\x01" and data[8:9] not in {b"", b"\0"}:
            return "wrapper"
        if len(data) >= 6 and data[0] == data[3] == 0x68 and data[1] == data[2]:
            return "mbus"
        return "apdu"

    # --- framing

    def _wrapper(self, sender: str, packet: wrapper.WrapperPacket) -> Node:
        node = Node(
            f"{sender}wrapper {packet.source} → {packet.destination}, {len(packet.apdu)} octets"
        )
        self._apdu(node, packet.apdu)
        return node

    def _hdlc(self, sender: str, frame: hdlc.Frame) -> Node:
        kind = frame.kind
        node = Node(
            f"{sender}HDLC {kind.value} {_hdlc_address(frame.source)} → "
            f"{_hdlc_address(frame.destination)}{_hdlc_numbers(frame)}"
            f"{', segmented' if frame.segmented else ''}"
        )
        if kind in {hdlc.FrameType.SNRM, hdlc.FrameType.UA} and frame.information:
            offer = hdlc.HdlcParameters.decode(frame.information)
            for item in dataclasses.fields(offer):
                node.add(f"{item.name.replace('_', ' ')}: {getattr(offer, item.name)}")
        elif kind is hdlc.FrameType.FRMR and frame.information:
            node.add(f"rejected: {_octets(frame.information)}")
        elif kind in {hdlc.FrameType.I, hdlc.FrameType.UI} and frame.information:
            self._segment(node, frame)
        return node

    def _segment(self, node: Node, frame: hdlc.Frame) -> None:
        store = self._segments.setdefault(frame.source, bytearray())
        store += frame.information
        if frame.segmented:
            node.add(f"{len(frame.information)} octets of an APDU, {len(store)} so far")
            return
        data = bytes(store)
        store.clear()
        for quality in (b"\xe6\x00", b"\xe7\x00"):
            try:
                body = hdlc.strip_llc(data, quality)
            except ValueError:
                continue
            self._apdu(node, body)
            return
        node.add(f"no LLC header: {_octets(data)}")

    def _mbus_frames(self, sender: str, data: bytes) -> list[Node]:
        nodes, position = [], 0
        while position + 6 <= len(data) and data[position] == 0x68:
            size = data[position + 1]
            body = data[position + 4 : position + 4 + size]
            if len(body) < 5:
                break
            last, number = body[2] & 0x10, body[2] & 15
            node = Node(f"{sender}M-Bus long frame, segment {number}{', last' if last else ''}")
            self._mbus += body[5:]
            if last:
                self._apdu(node, bytes(self._mbus))
                self._mbus.clear()
            nodes.append(node)
            position += size + 6
        if position < len(data):
            nodes.append(Node(f"{sender}left over: {_octets(data[position:])}"))
        return nodes

    # --- APDUs

    def _apdu(self, node: Node, octets: bytes, depth: int = 0) -> None:
        if not octets or depth > 4:
            node.add(f"octets: {_octets(octets)}")
            return
        try:
            if 0x60 <= octets[0] <= 0x63:
                self._association(node, acse.decode(octets), depth)
            elif octets[0] in apdu.CIPHERED_TAGS:
                self._ciphered(node, octets, depth)
            else:
                self._service(node, apdu.decode(octets), depth)
        except RemoteProtocolError as error:
            broken = node.add(f"APDU of tag {octets[0]:02X} that breaks off: {error}")
            broken.add(_octets(octets))

    def _association(self, node: Node, message: Any, depth: int) -> None:
        here = node.add(type(message).__name__.upper())
        if isinstance(message, acse.Aarq):
            here.add(f"application context: {_named(Context, message.context)}")
            if message.mechanism is not None:
                here.add(f"authentication: {_named(Mechanism, message.mechanism)}")
            if message.calling_ap_title:
                self._titles[False] = message.calling_ap_title
                here.add(f"client system title: {_title(message.calling_ap_title)}")
            if message.authentication_value is not None:
                secret = message.mechanism == Mechanism.LLS
                text = "(password, hidden)" if secret else _octets(message.authentication_value)
                here.add(f"authentication value: {text}")
            if message.calling_ae_invocation_id is not None:
                here.add(f"user: {message.calling_ae_invocation_id}")
        elif isinstance(message, acse.Aare):
            result = _named(acse.AssociationResult, message.result)
            kind = UserDiagnostic if message.source == 1 else ProviderDiagnostic
            here.add(f"application context: {_named(Context, message.context)}")
            here.add(f"result: {result}, {_named(kind, message.diagnostic)}")
            if message.responding_ap_title:
                self._titles[True] = message.responding_ap_title
                here.add(f"meter system title: {_title(message.responding_ap_title)}")
            if message.authentication_value is not None:
                here.add(f"challenge: {_octets(message.authentication_value)}")
        elif message.reason is not None:
            here.add(f"reason: {message.reason}")
        if message.user_information:
            self._apdu(here, message.user_information, depth + 1)

    def _ciphered(self, node: Node, octets: bytes, depth: int) -> None:
        tag = octets[0]
        name = _ciphered_name(tag)
        here = node.add(f"{name}, {len(octets)} octets")
        self._security_header(here, octets)
        if self._keys is None:
            here.add("encrypted; give --ek (and --ak) to open it")
            return
        plain, verified = self._open(octets)
        if plain is None:
            here.add("can't be opened with these keys and titles")
            return
        if not verified:
            here.add("NOT AUTHENTICATED: the tag was not or could not be checked")
        self._apdu(here, plain, depth + 1)

    def _security_header(self, here: Node, octets: bytes) -> None:
        try:
            reader = Reader(octets, 1)
            if octets[0] in {0xDB, 0xDC}:
                here.add(f"system title: {_title(reader.octets())}")
            elif octets[0] in {0xDD, 0xDF}:
                return
            reader.length()
            control, counter = reader.u8(), reader.u32()
        except RemoteProtocolError:
            return
        kinds = {0: "none", 0x10: "authenticated", 0x20: "encrypted", 0x30: "both"}
        key = ", broadcast key" if control & 0x40 else ""
        here.add(
            f"suite {control & 15}, {kinds[control & 0x30]}{key}, invocation counter {counter}"
        )

    def _open(self, octets: bytes) -> tuple[bytes | None, bool]:
        assert self._keys is not None
        tag = octets[0]
        titles = list(dict.fromkeys((self._titles[tag in _FROM_SERVER], *self._titles.values())))
        if tag in {0xDB, 0xDC, 0xDD, 0xDF}:
            titles = [b""]
        for verify in (True, False):
            if verify and not self._keys.authentication:
                continue
            for title in titles:
                plain = self._open_with(octets, title, verify=verify)
                if plain is not None and (verify or self._plausible(plain)):
                    return plain, verify
        return None, False

    def _open_with(self, octets: bytes, title: bytes, *, verify: bool) -> bytes | None:
        assert self._keys is not None
        counters = InvocationCounters(VolatileCounterStore())
        context = SecurityContext(
            b"explain!", self._keys, counters, _no_entropy, peer_title=title, verify_tags=verify
        )
        try:
            return context.unprotect(octets).plain
        except (RemoteProtocolError, LocalProtocolError, ValueError):
            return None

    @staticmethod
    def _plausible(plain: bytes) -> bool:
        try:
            if 0x60 <= plain[0] <= 0x63:
                acse.decode(plain)
            else:
                apdu.decode(plain)
        except (RemoteProtocolError, IndexError):
            return False
        return True

    def _service(self, node: Node, message: Any, depth: int) -> None:
        name = type(message).__name__
        if isinstance(message, apdu.GeneralBlockTransfer):
            self._general_block(node, message, depth)
            return
        here = node.add(_words(name))
        requested = [
            item
            for item in dataclasses.fields(message)
            if isinstance(getattr(message, item.name), AttributeRef)
        ]
        if requested and "Request" in name:
            self._asked = [getattr(message, requested[0].name)]
        elif isinstance(message, apdu.GetRequestList):
            self._asked = list(message.attributes)
        for item in dataclasses.fields(message):
            self._field(here, item.name, getattr(message, item.name), depth, message)

    def _general_block(self, node: Node, block: Any, depth: int) -> None:
        here = node.add("General block transfer")
        for item in dataclasses.fields(block):
            value = getattr(block, item.name)
            here.add(
                f"{_words(item.name)}: {_octets(value) if isinstance(value, bytes) else value}"
            )
        data = next(
            getattr(block, item.name)
            for item in dataclasses.fields(block)
            if isinstance(getattr(block, item.name), bytes)
        )
        self._blocks += data
        last = any(
            getattr(block, item.name) is True
            for item in dataclasses.fields(block)
            if "last" in item.name
        )
        if last and self._blocks:
            whole = bytes(self._blocks)
            self._blocks.clear()
            self._apdu(here, whole, depth + 1)

    def _field(self, here: Node, name: str, value: Any, depth: int, message: Any) -> None:
        label = _words(name).lower()
        if isinstance(value, AttributeRef):
            _attribute(here, label, value)
        elif isinstance(value, MethodRef):
            here.add(f"{label}: {_method(value)}")
        elif name == "conformance":
            names = [bit.name for bit in Conformance if value & bit and bit.name]
            listed = ", ".join(n.lower().replace("_", " ") for n in names)
            here.add(f"conformance {value:06X}: {listed}")
        elif isinstance(value, bytes):
            self._octet_field(here, label, value, message)
        elif isinstance(value, tuple):
            branch = here.add(f"{label}: {len(value)}")
            for index, element in enumerate(value[:ELEMENTS_SHOWN]):
                self._field(branch, str(index + 1), element, depth, message)
        elif isinstance(value, bool) or value is None:
            here.add(f"{label}: {value}")
        elif isinstance(value, int) and "result" in name:
            kind = ActionResult if "Action" in type(message).__name__ else DataAccessResult
            here.add(f"{label}: {_named(kind, value)}")
        elif (isinstance(value, int) and "iip" in name) or name == "invoke":
            here.add(f"{label}: {value:02X}")
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            branch = here.add(f"{label}: {_words(type(value).__name__)}")
            for item in dataclasses.fields(value):
                self._field(branch, item.name, getattr(value, item.name), depth, message)
        else:
            here.add(f"{label}: {value}")

    def _octet_field(self, here: Node, label: str, value: bytes, message: Any) -> None:
        if not value:
            return
        if "key" in label:
            here.add(f"{label}: (hidden)")
            return
        if label in {"raw", "data"} or "block" in type(message).__name__.lower():
            here.add(f"{label}: {_octets(value)}")
            return
        if label == "time" and len(value) == 12:
            here.add(f"time: {_date_time(value)}")
            return
        try:
            data = axdr.decode(value)
        except ValueError:
            here.add(f"{label}: {_octets(value)}")
            return
        asked = self._asked[0] if len(self._asked) == 1 else None
        scaler_unit = asked is not None and asked.class_id in {3, 4} and asked.attribute == 3
        data_tree(here, label, data, scaler_unit=scaler_unit)


# --- values -------------------------------------------------------------------------------------


def data_tree(here: Node, label: str, data: Data, *, scaler_unit: bool = False) -> None:
    """A value with its type, its elements below it."""
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        elements = data.value
        if scaler_unit and len(elements) == 2:
            unit = _unit(elements[1].value)
            here.add(f"{label}: scaler 10^{elements[0].value}, unit {unit}")
            return
        branch = here.add(f"{label}: {data.type.text} of {len(elements)}")
        for index, element in enumerate(elements[:ELEMENTS_SHOWN]):
            data_tree(branch, str(index + 1), element)
        if len(elements) > ELEMENTS_SHOWN:
            branch.add(f"… {len(elements) - ELEMENTS_SHOWN} more")
        return
    if data.type is DataType.COMPACT_ARRAY:
        branch = here.add(f"{label}: compact-array of {len(data.value.elements)}")
        for index, element in enumerate(data.value.elements[:ELEMENTS_SHOWN]):
            data_tree(branch, str(index + 1), element)
        return
    here.add(f"{label}: {data.type.text} {value_text(data)}".rstrip())


def value_text(data: Data) -> str:
    """A simple value for people: octet-strings as time, OBIS code, text or hex, whatever fits."""
    value = data.value
    if value is None:
        return ""
    if isinstance(value, bytes):
        if len(value) == 12 and data.type in {DataType.OCTET_STRING, DataType.DATE_TIME}:
            return f"{value.hex(' ')} ({_date_time(value)})"
        if len(value) == 6 and data.type is DataType.OCTET_STRING:
            obis = Obis.of(value)
            return f"{obis} ({obis_name(obis)})"
        if value and all(32 <= octet < 127 for octet in value):
            return f"{value.hex(' ')} ({value.decode('ascii')!r})"
        return _octets(value)
    return repr(value) if isinstance(value, str) else str(value)


def _date_time(raw: bytes) -> str:
    try:
        return str(CosemDateTime.of(raw))
    except ValueError:
        return "no date-time"


def _unit(code: Any) -> str:
    try:
        unit = Unit(code)
    except ValueError:
        return f"{code}"
    return SYMBOL[unit] or unit.name.lower()


def _attribute(here: Node, label: str, ref: AttributeRef) -> None:
    try:
        name = interface_class(ref.class_id).attribute(ref.attribute).name
    except KeyError:
        name = f"attribute {ref.attribute}"
    node = here.add(
        f"{label}: {ref.obis} {name} ({obis_name(ref.obis)}; {class_name(ref.class_id)} "
        f"{ref.class_id}.{ref.attribute})"
    )
    if ref.selector is not None:
        kinds = {1: "by range", 2: "by entry"}
        kind = kinds.get(ref.selector, str(ref.selector)) if ref.class_id == 7 else ref.selector
        try:
            data_tree(node, f"selection {kind}", axdr.decode(ref.parameters))
        except ValueError:
            node.add(f"selection {kind}: {_octets(ref.parameters)}")


def _method(ref: MethodRef) -> str:
    try:
        name = interface_class(ref.class_id).method(ref.method).name
    except KeyError:
        name = f"method {ref.method}"
    return (
        f"{ref.obis} {name}() ({obis_name(ref.obis)}; {class_name(ref.class_id)} "
        f"{ref.class_id}.{ref.method})"
    )


def _named(kind: type[Enum], number: int) -> str:
    try:
        return f"{number} {kind(number).name.lower().replace('_', ' ')}"
    except ValueError:
        return str(number)


def _words(name: str) -> str:
    text = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip().replace("_", " ")
    return text[:1].upper() + text[1:]


def _title(octets: bytes) -> str:
    letters = octets[:3]
    flag = letters.decode("ascii") if letters.isalpha() and letters.isascii() else ""
    return f"{octets.hex()}{f' ({flag})' if flag else ''}"


def _octets(data: bytes) -> str:
    if len(data) <= 64:
        return data.hex(" ")
    return f"{data[:64].hex(' ')} … {len(data)} octets"


def _ciphered_name(tag: int) -> str:
    names = {
        0xDB: "General glo ciphering", 0xDC: "General ded ciphering",
        0xDD: "General ciphering", 0xDF: "General signing",
    }  # fmt: skip
    if tag in names:
        return names[tag]
    for table, kind in ((apdu.PLAIN_OF_GLO, "glo"), (apdu.PLAIN_OF_DED, "ded")):
        if tag in table:
            plain = apdu.Tag(table[tag]).name.lower().replace("_", "-")
            return f"{kind}-{plain}"
    return f"ciphered APDU {tag:02X}"


def _hdlc_address(octets: bytes) -> str:
    try:
        return str(hdlc.ServerAddress.decode(octets))
    except LocalProtocolError:
        return octets.hex()


def _hdlc_numbers(frame: hdlc.Frame) -> str:
    texts = []
    if frame.kind is hdlc.FrameType.I:
        texts.append(f"N(S)={frame.send_number}")
    if frame.kind in {hdlc.FrameType.I, hdlc.FrameType.RR, hdlc.FrameType.RNR}:
        texts.append(f"N(R)={frame.receive_number}")
    texts.append("P/F" if frame.poll else "no P/F")
    return " " + " ".join(texts)


def explain_all(
    chunks: list[Chunk],
    keys: KeySet | None = None,
    client_title: bytes = b"",
    server_title: bytes = b"",
) -> list[Node]:
    """Every frame of a conversation."""
    explainer = Explainer(keys, client_title, server_title)
    nodes: list[Node] = []
    for chunk in chunks:
        nodes += explainer.explain(chunk)
    return nodes
