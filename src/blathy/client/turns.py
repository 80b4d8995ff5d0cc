"""A recorded conversation as turns to be given back, and what differs when it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blathy.client.chunk import Chunk
from blathy.client.explain import Explainer, KeyRing
from blathy.client.framing import BarePiece, HdlcPiece, LineReader, Piece, WrapperPiece
from blathy.wire import apdu

_PROVING: Final = re.compile(rb"\x60\x85\x74\x05\x08(?:\x01[\x03\x04]|\x02[\x02-\x07])")
"""In an AARQ: a ciphered application context, or a mechanism of HLS."""
_LLC_OCTETS: Final = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said until the other did."""

    from_meter: bool
    data: bytes


def conversations_of(chunks: Iterable[Chunk]) -> list[list[Turn]]:
    """The turns of every connection, in the order in which they were opened.

    Where nothing tells the sides apart the one that speaks first is the client.
    """
    found: dict[str, list[Turn]] = {}
    clients: dict[str, str] = {}
    for chunk in chunks:
        if not chunk.data:
            continue
        turns = found.setdefault(chunk.conversation, [])
        first = clients.setdefault(chunk.conversation, chunk.sender)
        if chunk.sender in {"client", "meter"}:
            from_meter = chunk.sender == "meter"
        else:
            from_meter = chunk.sender == chunk.meter if chunk.meter else chunk.sender != first
        if turns and turns[-1].from_meter is from_meter:
            turns[-1] = Turn(from_meter, turns[-1].data + chunk.data)
        else:
            turns.append(Turn(from_meter, chunk.data))
    return list(found.values())


def proves_its_client(turns: Iterable[Turn]) -> bool:
    """Whether the client of this conversation is bound to it by ciphering or by a proof of HLS,
    which come out otherwise every time: challenges are drawn anew, and counters rise."""
    for turn in turns:
        if turn.from_meter:
            continue
        if _PROVING.search(turn.data):
            return True
        line = LineReader()
        for piece in line.receive(turn.data) + line.finish():
            octets = _apdu_of(piece)
            if octets[:1] and octets[0] in apdu.CIPHERED_TAGS:
                return True
    return False


def _apdu_of(piece: Piece) -> bytes:
    if isinstance(piece, HdlcPiece):
        return b"" if piece.frame is None else piece.frame.information[_LLC_OCTETS:]
    if isinstance(piece, WrapperPiece):
        return piece.apdu
    return piece.octets if isinstance(piece, BarePiece) else b""


def has_said_all(turn: Turn, got: bytes) -> bool:
    """Whether nothing more is to be waited for: all octets of the record came, or whole frames
    that are others."""
    if len(got) >= len(turn.data):
        return True
    line = LineReader()
    frames = line.receive(got) + line.pause()
    return bool(frames) and not line.waiting and not turn.data.startswith(got)


def difference(turn: Turn, got: bytes) -> Iterator[str]:
    """Lines that tell how `got` is not what the record has; none where it is."""
    if got == turn.data:
        return
    who = "meter" if turn.from_meter else "client"
    mark = "<" if turn.from_meter else ">"
    if not got:
        yield f"# the {who} was silent; the record has {turn.data.hex(' ')}"
        return
    same = next(
        (at for at, pair in enumerate(zip(got, turn.data, strict=False)) if pair[0] != pair[1]),
        min(len(got), len(turn.data)),
    )
    yield f"# the {who} differs from octet {same} on; the record has"
    yield f"# {mark} {turn.data.hex(' ')}"
    before, now = _explained(turn.data), _explained(got)
    for line in before:
        if line not in now:
            yield f"#   record: {line.strip()}"
    for line in now:
        if line not in before:
            yield f"#      now: {line.strip()}"


def _explained(data: bytes) -> Sequence[str]:
    explainer = Explainer(KeyRing())
    nodes = explainer.explain(Chunk("", data)) + explainer.finish()
    return [line for node in nodes for line in node.lines()]
