"""The link layer of wired M-Bus (EN 13757-2): frames, and what they are cut from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.wire.errors import LocalProtocolError

ACK: Final = b"\xe5"
SHORT_START, LONG_START, STOP = 0x10, 0x68, 0x16
ADDRESS_SELECTED, ADDRESS_ANY, ADDRESS_BROADCAST = 253, 254, 255
SND_NKE, REQ_UD2, SND_UD, RSP_UD = 0x40, 0x5B, 0x53, 0x08
FCB = 0x20
CI_DATA_SEND, CI_SELECT, CI_LONG, CI_SHORT, CI_NONE = 0x51, 0x52, 0x72, 0x7A, 0x78


@dataclass(frozen=True, slots=True)
class Frame:
    """A link-layer frame. `ci` is None for a short frame."""

    control: int
    address: int
    ci: int | None = None
    data: bytes = b""

    def encode(self) -> bytes:
        """The frame as bytes; raise LocalProtocolError if the data is longer than 252 bytes."""
        if self.ci is None:
            return bytes(
                (
                    SHORT_START,
                    self.control,
                    self.address,
                    (self.control + self.address) & 0xFF,
                    STOP,
                )
            )
        body = bytes((self.control, self.address, self.ci)) + self.data
        if len(body) > 255:
            msg = (
                f"an M-Bus frame carries 252 bytes of data, not {len(self.data)}; split the records"
            )
            raise LocalProtocolError(msg)
        head = bytes((LONG_START, len(body), len(body), LONG_START))
        return head + body + bytes((sum(body) & 0xFF, STOP))


class FrameReader:
    """Cuts a byte stream into frames and acknowledgements. Garbage is skipped and counted."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.garbage_bytes = 0

    def receive(self, data: bytes) -> list[Frame | bytes]:
        """Complete frames (and ACK as b"\\xe5") in what has arrived so far."""
        self._buffer += data
        found: list[Frame | bytes] = []
        while self._buffer:
            taken, frame = self._take()
            if taken == 0:
                break
            del self._buffer[:taken]
            if frame is not None:
                found.append(frame)
        return found

    @property
    def unfinished(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def flush(self) -> None:
        """Forget an unfinished frame (the line fell silent)."""
        self.garbage_bytes += len(self._buffer)
        self._buffer.clear()

    def _take(self) -> tuple[int, Frame | bytes | None]:
        """(bytes used, frame): (0, None) waits for more, (1, None) skips a byte of garbage."""
        buffer = self._buffer
        start = buffer[0]
        if start == ACK[0]:
            return 1, ACK
        if start == SHORT_START:
            if len(buffer) < 5:
                return 0, None
            control, address, check, stop = buffer[1:5]
            if stop == STOP and check == (control + address) & 0xFF:
                return 5, Frame(control, address)
        elif start == LONG_START:
            if len(buffer) < 4:
                return (0, None) if len(buffer) < 2 or buffer[1] >= 3 else self._skip()
            length = buffer[1]
            if buffer[2] == length and buffer[3] == LONG_START and length >= 3:
                if len(buffer) < length + 6:
                    return 0, None
                body = bytes(buffer[4 : 4 + length])
                if buffer[length + 5] == STOP and buffer[length + 4] == sum(body) & 0xFF:
                    return length + 6, Frame(body[0], body[1], body[2], body[3:])
        return self._skip()

    def _skip(self) -> tuple[int, None]:
        self.garbage_bytes += 1
        return 1, None
