"""Any frame or conversation as a tree with names and units: what `blathy explain` prints.

Framing is recognised (HDLC, wrapper, M-Bus, IEC 62056-21 in front of mode E, bare APDUs), segments
and blocks are joined, ciphered APDUs are opened with the keys given. A conversation is read twice:
first for what its answers say of one another (units, columns of profiles, short names), then to be
shown. What can't be understood is shown as octets with a sentence on where it breaks; nothing that
is in the octets ever raises.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from blathy.client.chunk import Chunk
from blathy.client.explain_partners import KeyRing
from blathy.client.explain_services import Association
from blathy.client.explain_values import Knowledge, Node, octets_text
from blathy.client.framing import (
    HdlcPiece,
    LineReader,
    MbusPiece,
    Piece,
    TextPiece,
    WrapperPiece,
)
from blathy.wire import apdu, hdlc
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import KeySet

SEGMENTS_MAX: Final = 1 << 17  # octets of one APDU
_MBUS_LAST: Final = 0x10
_MBUS_DLMS: Final = range(0x20)  # CI: number of the segment and whether it is the last
_COMMANDS: Final = frozenset({hdlc.FrameType.SNRM, hdlc.FrameType.DISC})
_ANSWERS: Final = frozenset({hdlc.FrameType.UA, hdlc.FrameType.DM, hdlc.FrameType.FRMR})


class Explainer:
    """Explains chunk after chunk; keeps what later ones need."""

    def __init__(
        self,
        ring: KeyRing,
        client_title: bytes = b"",
        server_title: bytes = b"",
        known: dict[str, Knowledge] | None = None,
    ) -> None:
        self._ring = ring
        self._titles = (client_title, server_title)
        self.known = known if known is not None else {}
        self._lines: dict[tuple[str, str], LineReader] = {}
        self._last: dict[tuple[str, str], Chunk] = {}  # of each sender, without its octets
        self._associations: dict[tuple[str, frozenset[object]], Association] = {}
        self._segments: dict[tuple[str, str, bytes], bytearray] = {}
        self._sides: dict[tuple[str, str, bytes], str] = {}
        self._mbus: dict[tuple[str, str], bytearray] = {}

    def explain(self, chunk: Chunk) -> list[Node]:
        """The frames that this chunk completes."""
        if chunk.remark:
            return [Node(_sender(chunk) + chunk.remark)]
        if chunk.datagram:
            line = LineReader()
            return self._nodes(chunk, [*line.receive(chunk.data), *line.finish()])
        at = (chunk.conversation, chunk.sender)
        found = self._pause(at)
        self._last[at] = replace(chunk, data=b"", lost=0)
        known = self._lines.get(at)
        if chunk.lost:
            if known is not None:
                found += self._nodes(chunk, known.finish())
            for key in [key for key in self._segments if key[:2] == at]:
                del self._segments[key]
            found.append(
                Node(f"{_sender(chunk)}{chunk.lost} octets are missing here in the capture")
            )
            known = LineReader(framed=True)
        line = known if known is not None else LineReader()
        self._lines[at] = line
        return found + self._nodes(chunk, line.receive(chunk.data))

    def finish(self) -> list[Node]:
        """What is left unfinished at the end."""
        found: list[Node] = []
        for at, line in self._lines.items():
            found += self._nodes(self._last[at], line.finish())
        for (_, sender, _), store in self._segments.items():
            if store:
                found.append(self._rest(sender, store, "segments"))
        for (_, sender), store in self._mbus.items():
            if store:
                found.append(self._rest(sender, store, "M-Bus segments"))
        return found

    def _pause(self, at: tuple[str, str]) -> list[Node]:
        """What the other side of this conversation has said without a length of its own, now that
        this one speaks."""
        found: list[Node] = []
        for other, line in self._lines.items():
            if other != at and other[0] == at[0] and line.waiting:
                found += self._nodes(self._last[other], line.pause())
        return found

    @staticmethod
    def _rest(sender: str, store: bytearray, what: str) -> Node:
        who = f"{sender}: " if sender else ""
        node = Node(f"{who}{len(store)} octets of an APDU whose last {what} are missing")
        node.add(octets_text(bytes(store)))
        return node

    def _nodes(self, chunk: Chunk, pieces: Iterable[Piece]) -> list[Node]:
        return [node for piece in pieces for node in (self._node(chunk, piece),)]

    def _node(self, chunk: Chunk, piece: Piece) -> Node:
        who = _sender(chunk)
        if isinstance(piece, HdlcPiece):
            return self._hdlc(chunk, piece)
        if isinstance(piece, WrapperPiece):
            node = Node(
                f"{who}wrapper {piece.source} → {piece.destination}, {len(piece.apdu)} octets"
            )
            if piece.missing:
                node.add(f"it breaks off: {piece.missing} octets of the APDU are missing")
            association = self._association(chunk, (piece.source, piece.destination))
            association.explain(node, piece.apdu, _side(chunk))
            return node
        if isinstance(piece, MbusPiece):
            return self._mbus_frame(chunk, piece)
        if isinstance(piece, TextPiece):
            text = piece.octets.decode("ascii", "replace")
            return Node(f"{who}IEC 62056-21: {text!r}", [], piece.octets)
        if piece.noise:
            return Node(f"{who}octets in no frame: {octets_text(piece.octets)}", [], piece.octets)
        node = Node(f"{who}APDU, {len(piece.octets)} octets")
        self._association(chunk, ()).explain(node, piece.octets, _side(chunk))
        return node

    def _association(self, chunk: Chunk, ends: Iterable[object]) -> Association:
        """The association between these addresses of the conversation."""
        key = (chunk.conversation, frozenset(ends))
        found = self._associations.get(key)
        if found is None:
            known = self.known.setdefault(chunk.meter or chunk.conversation, Knowledge())
            found = self._associations[key] = Association(self._ring, known, *self._titles)
        return found

    # --- framing

    def _hdlc(self, chunk: Chunk, piece: HdlcPiece) -> Node:
        frame, who = piece.frame, _sender(chunk)
        if frame is None:
            node = Node(f"{who}HDLC frame that can't be read", [], piece.octets)
            _faults(node, piece.faults)
            node.add(octets_text(piece.octets))
            return node
        kind = frame.kind
        name = kind.value if kind is not hdlc.FrameType.UNKNOWN else f"control {frame.control:02x}"
        node = Node(
            f"{who}HDLC {name} {_hdlc_address(frame.source)} → {_hdlc_address(frame.destination)}"
            f"{_hdlc_numbers(frame)}{', segmented' if frame.segmented else ''}",
            [],
            piece.octets,
        )
        _faults(node, piece.faults)
        if kind in _COMMANDS | _ANSWERS and frame.information:
            _link_information(node, frame)
        elif kind in {hdlc.FrameType.I, hdlc.FrameType.UI} and frame.information:
            self._segment(chunk, node, frame, damaged=bool(piece.faults))
        elif frame.information:
            node.add(f"information: {octets_text(frame.information)}")
        return node

    def _segment(self, chunk: Chunk, node: Node, frame: hdlc.Frame, *, damaged: bool) -> None:
        association = self._association(chunk, (frame.source, frame.destination))
        store = self._segments.setdefault(
            (chunk.conversation, chunk.sender, frame.source), bytearray()
        )
        if damaged:  # shown, but not taken for a part of anything
            if not store:
                association.explain(node, frame.information, _side(chunk))
            else:
                node.add(f"octets: {octets_text(frame.information)}")
            return
        store += frame.information
        if len(store) > SEGMENTS_MAX:
            store.clear()
        if frame.segmented:
            node.add(f"{len(frame.information)} octets of an APDU, {len(store)} so far")
            return
        data = bytes(store)
        store.clear()
        if data[:1] != b"\xe6" and data[:1] != bytes((apdu.Tag.GENERAL_BLOCK_TRANSFER,)):
            node.add("no LLC header (E6 E6 00 or E6 E7 00)")
        sides = {b"\xe6\xe6\x00": "client", b"\xe6\xe7\x00": "meter"}
        end = (chunk.conversation, chunk.sender, frame.source)
        side = sides.get(data[:3]) or self._sides.get(end, "")  # later blocks may come without it
        self._sides[end] = side
        association.explain(node, data, side or _side(chunk))

    def _mbus_frame(self, chunk: Chunk, piece: MbusPiece) -> Node:
        who = _sender(chunk)
        if piece.ci is None:
            kind = "short frame" if len(piece.octets) > 1 else "acknowledgement"
            ends = f", control {piece.control:02x}, address {piece.address}"
            return Node(f"{who}M-Bus {kind}{ends if len(piece.octets) > 1 else ''}")
        node = Node(
            f"{who}M-Bus long frame, control {piece.control:02x}, address {piece.address}, "
            f"CI {piece.ci:02x}",
            [],
            piece.octets,
        )
        _faults(node, piece.faults)
        if piece.ci not in _MBUS_DLMS:
            node.add(f"no DLMS in it: {octets_text(piece.body)}")
            return node
        last = bool(piece.ci & _MBUS_LAST)
        node.text += f": segment {piece.ci & 15}{', last' if last else ''}"
        if len(piece.body) < 2:
            node.add("it breaks off before its transport addresses")
            return node
        node.add(f"from {piece.body[0]} to {piece.body[1]}, {len(piece.body) - 2} octets")
        store = self._mbus.setdefault((chunk.conversation, chunk.sender), bytearray())
        if not piece.ci & 15:
            store.clear()
        store += piece.body[2:]
        if last:
            whole = bytes(store)
            store.clear()
            self._association(chunk, ("mbus",)).explain(node, whole, "meter")
        elif len(store) > SEGMENTS_MAX:
            store.clear()
        return node


def _sender(chunk: Chunk) -> str:
    return f"{chunk.sender}: " if chunk.sender else ""


def _side(chunk: Chunk) -> str:
    """Whether the client or the meter has sent this; empty where nothing tells it."""
    if chunk.sender in {"client", "meter"}:
        return chunk.sender
    if chunk.meter:
        return "meter" if chunk.sender == chunk.meter else "client"
    return ""


def _faults(node: Node, faults: Iterable[str]) -> None:
    for fault in faults:
        node.add(fault)


def _link_information(node: Node, frame: hdlc.Frame) -> None:
    if frame.kind is hdlc.FrameType.FRMR:
        node.add(f"rejected: {_rejection(frame.information)}")
        return
    offer = hdlc.HdlcParameters.decode(frame.information)
    for item in dataclasses.fields(offer):
        node.add(f"{item.name.replace('_', ' ')}: {getattr(offer, item.name)}")


def _rejection(information: bytes) -> str:
    """The three octets of a FRMR in words."""
    if len(information) < 3:
        return octets_text(information)
    names = ("unknown command", "information not allowed", "information too long", "wrong N(R)")
    reasons = [name for bit, name in enumerate(names) if information[2] & 1 << bit]
    numbers = f"V(S)={information[1] >> 1 & 7}, V(R)={information[1] >> 5}"
    return f"control {information[0]:02x}, {numbers}: {', '.join(reasons) or 'no reason'}"


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
    ring: KeyRing | None = None,
) -> list[Node]:
    """Every frame of a conversation; `keys` are those of any meter, `ring` those of several."""
    ring = KeyRing(keys) if ring is None else ring
    known: dict[str, Knowledge] = {}
    nodes: list[Node] = []
    for _ in range(2 if len(chunks) > 1 else 1):
        explainer = Explainer(ring, client_title, server_title, known)
        nodes = [node for chunk in chunks for node in explainer.explain(chunk)]
        nodes += explainer.finish()
    if not nodes:
        octets = b"".join(chunk.data for chunk in chunks)
        nodes = [Node(f"nothing but flags: {octets_text(octets)}", [], octets)]
    for node in nodes:
        _hide_octets(node)
    return nodes


def _hide_octets(node: Node) -> bool:
    """What holds a secret is not shown as octets either."""
    hidden = "hidden)" in node.text
    for child in node.children:
        hidden = _hide_octets(child) or hidden
    if hidden:
        node.octets = b""
    return hidden


__all__ = ["Explainer", "KeyRing", "Node", "explain_all"]
