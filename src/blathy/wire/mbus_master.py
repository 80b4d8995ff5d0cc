"""The master of an M-Bus (EN 13757-2, EN 13757-3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError
from blathy.wire.mbus_frames import (
    ACK,
    ADDRESS_SELECTED,
    CI_DATA_SEND,
    CI_SELECT,
    FCB,
    REQ_UD2,
    RSP_UD,
    SHORT_START,
    SND_NKE,
    SND_UD,
    Frame,
    FrameReader,
)
from blathy.wire.mbus_records import (
    Record,
)
from blathy.wire.mbus_telegram import (
    Header,
    Telegram,
    decode_telegram,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """All records of one meter, over as many telegrams as it sent. `encrypted`: all of them were,
    and there are no records where the key is another one."""

    address: int
    header: Header | None
    records: tuple[Record, ...]
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The slave kept silent through all retries."""

    address: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The slave has taken what was sent to it."""

    address: int


MasterEvent = Reading | NoAnswer | Acknowledged


@dataclass(slots=True)
class MbusMaster:
    """Reads or writes one slave at a time: `read()` or `write()` gives the first bytes to send,
    `receive` and `tick` the rest.

    `to_send()` empties what must go onto the line. Answers are waited for `timeout_ns`, and each
    request is repeated twice, as EN 13757-2 wants.
    """

    timeout_ns: int = NANOSECONDS_PER_S // 2
    telegrams_max: int = 16
    _reader: FrameReader = field(default_factory=FrameReader)
    _out: bytearray = field(default_factory=bytearray)
    _steps: list[bytes] = field(default_factory=list)
    _address: int = 0
    _fcb: int = FCB
    _tries: int = 0
    _sent: bytes = b""
    _deadline: int | None = None
    _records: list[Record] = field(default_factory=list)
    _telegrams: int = 0
    _header: Header | None = None
    _key: bytes = b""
    _encrypted: bool = False
    _writing: bool = False

    def read(self, address: int, now: Instant, key: bytes = b"") -> None:
        """Begin to read the slave at a primary address (0-250, or 254 if it is alone on the
        bus); `key` opens what it encrypts."""
        self._begin(address)
        self._key = key
        self._steps = [Frame(SND_NKE, address).encode()]
        self._next(now)

    def read_selected(self, secondary: bytes, now: Instant) -> None:
        """Begin to read the slave of that secondary address (8 bytes)."""
        self._begin(ADDRESS_SELECTED)
        select = Frame(SND_UD, ADDRESS_SELECTED, CI_SELECT, secondary).encode()
        self._steps = [Frame(SND_NKE, ADDRESS_SELECTED).encode(), select]
        self._tries = 2  # nobody may be selected yet, so the reset is not repeated
        self._next(now)

    def write(self, address: int, records: bytes, now: Instant) -> None:
        """Begin to send data records (at most 252 bytes) to the slave at a primary address."""
        frame = Frame(SND_UD | FCB, address, CI_DATA_SEND, records).encode()
        self._begin(address)
        self._writing = True
        self._steps = [Frame(SND_NKE, address).encode(), frame]
        self._next(now)

    def to_send(self) -> bytes:
        """What must go onto the line now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def waiting(self) -> bool:
        """True when everything is sent and only an answer can go on."""
        return not self._out

    def deadline(self) -> Instant | None:
        """When `tick` must be called."""
        return None if self._deadline is None else Instant(self._deadline)

    def receive(self, data: bytes, now: Instant) -> list[MasterEvent]:
        """Take what came from the line. Raise RemoteProtocolError if an answer breaks the
        standard."""
        events: list[MasterEvent] = []
        for frame in self._reader.receive(data):
            if self._deadline is None:
                continue
            if frame == ACK and self._writing and not self._steps:
                self._deadline = None
                events.append(Acknowledged(self._address))
            elif frame == ACK:
                self._next(now)
            elif (
                isinstance(frame, Frame)
                and frame.control & 0x4F == RSP_UD
                and not self._steps
                and not self._writing
            ):
                events += self._take(decode_telegram(frame, self._key), now)
        return events

    def tick(self, now: Instant) -> list[MasterEvent]:
        """Repeat the request or give up when its answer is late."""
        if self._deadline is None or now < self._deadline:
            return []
        self._reader.flush()
        if self._tries < 2:
            self._tries += 1
            self._send(self._sent, now)
            return []
        if self._steps and self._address == ADDRESS_SELECTED and self._sent[1] == SND_NKE:
            self._next(now)
            return []
        self._deadline = None
        return [NoAnswer(self._address)]

    def _begin(self, address: int) -> None:
        if self._deadline is not None:
            msg = "the master is still reading another slave; wait for its answer"
            raise LocalProtocolError(msg)
        self._address, self._fcb, self._tries = address, FCB, 0
        self._records, self._telegrams, self._header = [], 0, None
        self._key, self._encrypted, self._writing = b"", True, False

    def _next(self, now: Instant) -> None:
        if self._steps:
            frame = self._steps.pop(0)
        else:
            frame = Frame(REQ_UD2 | self._fcb if self._fcb else REQ_UD2, self._address).encode()
        if frame[0] != SHORT_START or frame[1] != SND_NKE or self._address != ADDRESS_SELECTED:
            self._tries = 0
        self._send(frame, now)

    def _send(self, frame: bytes, now: Instant) -> None:
        self._sent = frame
        self._out += frame
        self._deadline = now + self.timeout_ns

    def _take(self, telegram: Telegram, now: Instant) -> list[MasterEvent]:
        self._records += telegram.records
        self._header = self._header or telegram.header
        self._encrypted = self._encrypted and telegram.encrypted
        self._telegrams += 1
        if telegram.more and self._telegrams < self.telegrams_max:
            self._fcb ^= FCB
            self._next(now)
            return []
        self._deadline = None
        records = tuple(self._records)
        return [Reading(telegram.address, self._header, records, self._encrypted)]
