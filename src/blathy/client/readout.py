"""A meter read by IEC 62056-21: readout, programming mode and load profiles as text tables.

    async with TextMeter.connect("iec62056-21://10.0.0.7:4000") as meter:
        for row in await meter.readout():
            print(row.address, row.value, row.unit)

Serial ports are `iec62056-21:///dev/ttyUSB0`. Every call signs on, because a readout ends the
session; `programming` keeps one open for reads and writes under a password.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from blathy.client.address import AddressError
from blathy.clock import NANOSECONDS_PER_S
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut, Untrusted
from blathy.transport.limits import LineLimits
from blathy.transport.line import Line, TcpLine, monotonic_now
from blathy.wire.errors import LocalProtocolError
from blathy.wire.iec62056_21 import (
    INITIAL_BAUD,
    Accepted,
    Answer,
    BaudChange,
    Broken,
    ClientSettings,
    DataSet,
    Event,
    Identification,
    Identified,
    Iec21Client,
    NoAnswer,
    PasswordRequest,
    ProfileBlock,
    Purpose,
    Readout,
    parse_data_sets,
    parse_profile,
)

SCHEME: Final = "iec62056-21"
PORT: Final = 4001
_OPTIONS: Final = {"address", "table", "wake", "baud", "timeout"}


@dataclass(frozen=True, slots=True)
class TextAddress:
    """Where a meter with a text interface is."""

    host: str  # or the device name of a serial port
    port: int = 0  # 0: serial
    address: str = ""
    table: str = ""
    wake_up: bool = False
    baud_max: int = 19200
    timeout_s: float = 10.0

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


def parse_text_address(url: str) -> TextAddress:
    """Read `iec62056-21://HOST:PORT?address=…&table=…&wake=1&baud=…&timeout=…`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError("this is no address", f"write {SCHEME}://HOST:{PORT}") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = set(options) - _OPTIONS
    if parts.scheme != SCHEME or unknown:
        what = f"the option {unknown.pop()}" if unknown else f"{parts.scheme}://"
        raise AddressError(f"{what} is not known", f"write {SCHEME}://HOST:{PORT}")
    host = parts.hostname or (parts.netloc + parts.path)
    if not host:
        raise AddressError("the address names no meter", f"write {SCHEME}://HOST:{PORT}")
    address = options.get("address", "")
    table = options.get("table", "")
    if not re.fullmatch(r"[0-9A-Za-z ]{0,32}", address, re.ASCII) or not re.fullmatch(
        r"\d?", table, re.ASCII
    ):
        raise AddressError("address= has letters and digits, table= one digit", "check them")
    try:
        baud, timeout_s = int(options.get("baud", 19200)), float(options.get("timeout", 10))
    except ValueError as error:
        raise AddressError("baud= and timeout= are numbers", "check them") from error
    return TextAddress(
        host, (port or PORT) if parts.hostname else 0, address, table,
        options.get("wake", "") in {"1", "yes", "true"}, baud, max(0.05, timeout_s),
    )  # fmt: skip


class TextMeter:
    """A connection to a meter that speaks IEC 62056-21."""

    def __init__(self, address: TextAddress, line: Line | None = None) -> None:
        self.address = address
        self.identification: Identification | None = None
        self._given = line
        self._line: Line | None = None
        self._baud = INITIAL_BAUD

    @classmethod
    def connect(cls, url: str | TextAddress, *, line: Line | None = None) -> Self:
        """A meter that opens with `async with`; `line` is used instead of a new connection."""
        return cls(parse_text_address(url) if isinstance(url, str) else url, line)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the line; nothing is sent before the first call."""
        address = self.address
        limits = LineLimits(connect_s=address.timeout_s)
        if self._given is not None:
            self._line = self._given
        elif address.port:
            self._line = await TcpLine.connect(address.host, address.port, limits=limits)
        else:
            from blathy.transport.serial_line import SerialLine

            self._line = await SerialLine.connect(address.host, INITIAL_BAUD, limits=limits)

    async def close(self) -> None:
        """Release the line."""
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    async def readout(self) -> list[DataSet]:
        """The rows of the readout table, in the meter's order."""
        core = self._core(Purpose.READOUT)
        event = await self._sign_on(core)
        if not isinstance(event, Readout):
            raise Garbled(f"{self.address.place} answers the sign-on with something else")
        if not event.intact:
            raise Garbled(f"{self.address.place}: the readout is damaged (BCC)", "try again")
        return parse_data_sets(event.text)

    @asynccontextmanager
    async def programming(self, password: str = "", level: int = 1) -> AsyncIterator[Programming]:
        """Programming mode, signed off at the end; `password` opens what it opens."""
        core = self._core(Purpose.PROGRAMMING)
        event = await self._sign_on(core)
        if not isinstance(event, PasswordRequest):
            raise Refused(f"{self.address.place} has no programming mode", "read its readout")
        session = Programming(self, core, event.seed)
        try:
            if password:
                await session.login(password, level)
            yield session
        finally:
            await session.end()

    def _core(self, purpose: Purpose) -> Iec21Client:
        address = self.address
        return Iec21Client(
            ClientSettings(
                purpose, address.address, address.table, address.wake_up, address.baud_max,
                response_timeout_ms=int(address.timeout_s * 1000 / 3),
            )
        )  # fmt: skip

    async def _sign_on(self, core: Iec21Client) -> Event:
        await self._set_speed(INITIAL_BAUD)
        self.line.send(core.sign_on(monotonic_now()))
        return await self.wait(core)

    @property
    def line(self) -> Line:
        """The open line."""
        if self._line is None:
            raise Refused(f"{self.address.place} is not connected", "open it first")
        return self._line

    async def wait(self, core: Iec21Client) -> Event:
        """The event that answers what was sent; speed changes are followed."""
        place = self.address.place
        while True:
            deadline = core.deadline()
            wait_s = self.address.timeout_s
            if deadline is not None:
                wait_s = max(0.0, (deadline - monotonic_now()) / NANOSECONDS_PER_S)
            try:
                data = await self.line.receive(wait_s)
            except TimedOut:
                if deadline is None:
                    raise
                events = core.tick(monotonic_now())
            else:
                events = core.receive(data, monotonic_now())
            if out := core.data_to_send():
                self.line.send(out)
            for event in events:
                if isinstance(event, Identified):
                    self.identification = event.identification
                elif isinstance(event, BaudChange):
                    await self._set_speed(event.baud)
                elif isinstance(event, NoAnswer):
                    raise _no_answer(place, event)
                else:
                    return event

    async def _set_speed(self, baud: int) -> None:
        set_speed = getattr(self._line, "set_speed", None)
        if set_speed is not None and (baud != self._baud or baud == INITIAL_BAUD):
            await set_speed(baud, seven_bits=True)
        self._baud = baud


def _no_answer(place: str, event: NoAnswer) -> MeterError:
    if event.octets:
        return Garbled(
            f"{place} sends {event.octets} octets that are no IEC 62056-21",
            "check baud rate and parity (7E1), or use dlms+hdlc://",
        )
    return TimedOut(
        f"{place} does not answer the sign-on",
        "check address=, the optical head's side, or try wake=1",
    )


class Programming:
    """An open programming mode."""

    def __init__(self, meter: TextMeter, core: Iec21Client, seed: str) -> None:
        self._meter = meter
        self._core = core
        self._ended = False
        self.seed = seed

    async def login(self, password: str, level: int = 1) -> None:
        """Send a password; Untrusted where the meter does not take it."""
        event = await self._ask(f"P{level}", f"({password})")
        if not isinstance(event, Accepted):
            raise Untrusted(
                f"{self._meter.address.place} refuses the password of level {level}",
                "check it; a meter locks itself after a few wrong ones",
            )

    async def read(self, address: str, *, command: str = "R5", argument: str = "") -> list[DataSet]:
        """The data sets of one address."""
        return parse_data_sets(await self._read_text(command, address, argument))

    async def write(self, address: str, value: str, *, command: str = "W5") -> None:
        """Write a value; Refused with the meter's own error text."""
        event = await self._ask(command, f"{address}({value})")
        if not isinstance(event, Accepted):
            raise self._refusal(address, event)

    async def profile(
        self, start: str = "", end: str = "", *, name: str = "P.01", command: str = "R5"
    ) -> list[ProfileBlock]:
        """The blocks of a load profile or log between two times as the meter writes them."""
        return parse_profile(await self._read_text(command, name, f"{start};{end}"))

    async def _read_text(self, command: str, address: str, argument: str) -> str:
        event = await self._ask(command, f"{address}({argument})")
        if not isinstance(event, Answer) or event.error:
            raise self._refusal(address, event)
        return event.text

    async def _ask(self, command: str, data: str) -> Event:
        if re.search(r"[\x00-\x1f]", data):
            raise Refused("control characters can't be sent", "check the value")
        try:
            self._meter.line.send(self._core.send_command(command, data, monotonic_now()))
        except LocalProtocolError as error:
            raise Refused(f"{self._meter.address.place}: {error}", "sign on again") from error
        event = await self._meter.wait(self._core)
        if isinstance(event, Broken):
            self._ended = True
        return event

    def _refusal(self, address: str, event: Event) -> MeterError:
        place = self._meter.address.place
        if isinstance(event, Answer):
            return Refused(f"{place} refuses {address}: {event.error or event.text[:40]}")
        if isinstance(event, Broken):
            return Refused(f"{place} broke the session off at {address}", "log in first")
        return Garbled(f"{place} answers {address} with something else")

    async def end(self) -> None:
        """Sign off; harmless when the meter has done so already."""
        if not self._ended:
            self._ended = True
            try:
                self._meter.line.send(self._core.sign_off())
            except MeterError:
                pass
