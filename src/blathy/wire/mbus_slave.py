"""The meter on an M-Bus (EN 13757-2, EN 13757-3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.mbus_frames import (
    ACK,
    ADDRESS_ANY,
    ADDRESS_BROADCAST,
    ADDRESS_SELECTED,
    CI_DATA_SEND,
    CI_LONG,
    CI_SELECT,
    FCB,
    REQ_UD2,
    RSP_UD,
    SND_NKE,
    SND_UD,
    Frame,
    FrameReader,
)
from blathy.wire.mbus_keys import BLOCK_OCTETS, MODE_5, seal_mode_5
from blathy.wire.mbus_telegram import (
    Header,
)


@dataclass(slots=True)
class MbusSlave:
    """A meter on the bus. `telegrams` gives the record bytes of each telegram of a reading, each at
    most 234 bytes; it is asked anew at the first request of a reading. `on_data` takes the records
    that are sent to it, and raises RemoteProtocolError for what the device does not take; that is
    not acknowledged. With a `key` readings go out encrypted (security mode 5)."""

    primary_address: int
    header: Header
    telegrams: Callable[[], Sequence[bytes]]
    on_data: Callable[[bytes], None] | None = None
    key: bytes = b""
    _reader: FrameReader = field(default_factory=FrameReader)
    _selected: bool = False
    _fcb: int | None = None
    _queue: list[bytes] = field(default_factory=list)
    _index: int = 0
    _last: bytes = b""
    _access: int = 0
    _last_byte_at: int = 0

    def receive(self, data: bytes, now: Instant) -> list[bytes]:
        """Answers to whatever the master sent, ready for the line; none for others' frames."""
        if self._reader.unfinished and now - self._last_byte_at > NANOSECONDS_PER_S // 2:
            self._reader.flush()  # the rest of a broken frame never comes
        self._last_byte_at = now
        answers: list[bytes] = []
        for frame in self._reader.receive(data):
            if isinstance(frame, Frame):
                answer = self._answer(frame)
                if answer and frame.address != ADDRESS_BROADCAST:
                    answers.append(answer)
        return answers

    def _answer(self, frame: Frame) -> bytes:
        if frame.address == ADDRESS_SELECTED and frame.ci == CI_SELECT:
            self._selected = self._matches(frame.data)
            self._fcb = None
            return ACK if self._selected else b""
        mine = frame.address in {self.primary_address, ADDRESS_ANY, ADDRESS_BROADCAST}
        if not mine and not (frame.address == ADDRESS_SELECTED and self._selected):
            return b""
        function = frame.control & ~FCB
        if function == SND_NKE:
            self._fcb, self._queue = None, []
            if frame.address == ADDRESS_SELECTED:
                self._selected = False
            return ACK
        if function == REQ_UD2:
            return self._reading(frame.control & FCB)
        if function == SND_UD:
            return ACK if frame.ci != CI_DATA_SEND or self._took(frame.data) else b""
        return b""

    def _took(self, data: bytes) -> bool:
        """Whether the device has taken the records."""
        if self.on_data is None:
            return False
        try:
            self.on_data(data)
        except RemoteProtocolError:
            return False
        return True

    def _matches(self, mask: bytes) -> bool:
        """Secondary selection: F digits and FF bytes are wildcards."""
        own = self.header.secondary_address()
        if len(mask) < 8:
            return False
        for position in range(4):
            for shift in (0, 4):
                wanted = (mask[position] >> shift) & 15
                if wanted not in {15, (own[position] >> shift) & 15}:
                    return False
        maker = mask[4:6] in {b"\xff\xff", own[4:6]}
        return maker and mask[6] in {255, own[6]} and mask[7] in {255, own[7]}

    def _reading(self, fcb: int) -> bytes:
        if self._last and self._fcb == fcb:
            return self._last  # the same frame-count bit again: repeat the answer
        if self._fcb is None or self._index >= len(self._queue):
            self._queue, self._index = list(self.telegrams()), 0
        if not self._queue:
            return b""
        self._fcb = fcb
        records = self._queue[self._index]
        self._index += 1
        end = b"\x1f" if self._index < len(self._queue) else b""
        self._access = (self._access + 1) & 0xFF
        header = replace(self.header, access_number=self._access, signature=0)
        if self.key:
            device = header.secondary_address()
            records = seal_mode_5(self.key, device, self._access, records, end)
            blocks = len(records) // BLOCK_OCTETS
            header = replace(header, signature=MODE_5 << 8 | blocks << 4)
        else:
            records += end
        self._last = Frame(
            RSP_UD, self.primary_address, CI_LONG, header.encode() + records
        ).encode()
        return self._last
