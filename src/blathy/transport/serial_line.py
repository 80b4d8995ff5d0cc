"""A serial port as a line. Needs pyserial (`pip install blathy[serial]`)."""

from __future__ import annotations

import asyncio
import errno
from typing import Any, Final

from blathy.transport.errors import Garbled, Refused, Unreachable, from_os_error
from blathy.transport.limits import LINE, LineLimits
from blathy.transport.line import Line

_CHUNK: Final = 4096
_IN_USE: Final = frozenset({errno.EAGAIN, errno.EBUSY})

try:
    import termios

    _SPEED_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, termios.error)
except ImportError:
    _SPEED_ERRORS = (OSError, ValueError)


class SerialLine(Line):
    """An open port, read through the event loop."""

    def __init__(self, name: str, port: Any, limits: LineLimits = LINE) -> None:
        super().__init__(name, limits)
        self._port = port
        self._parity_by_hand = False
        self._loop.add_reader(port.fileno(), self._readable)

    @classmethod
    async def connect(
        cls, device: str, baud: int = 9600, *, limits: LineLimits = LINE
    ) -> SerialLine:
        """Open `device` with 8N1."""
        try:
            import serial
        except ImportError as error:
            raise Unreachable(
                "serial ports need pyserial", "install it: pip install blathy[serial]"
            ) from error
        try:
            port = await asyncio.to_thread(
                serial.Serial, device, baud, timeout=0, write_timeout=0, exclusive=True
            )
        except serial.SerialException as error:
            if error.errno is None:
                raise Unreachable(f"{device} is no serial port", "check its name") from error
            if error.errno in _IN_USE:
                raise Refused(f"{device} is in use by another program", "end that one") from error
            raise from_os_error(OSError(error.errno, str(error.strerror)), device) from error
        except (ValueError, OSError) as error:
            raise Unreachable(f"{device} can't be opened at {baud} Bd", str(error)) from error
        return cls(device, port, limits)

    async def set_speed(self, baud: int, *, seven_bits: bool) -> None:
        """7E1 or 8N1 at this rate, once everything written has left."""
        try:
            await asyncio.to_thread(self._port.flush)
        except _SPEED_ERRORS as error:
            self._lose(error)
            raise self.end_or(Unreachable(f"{self.name} is closed")) from error
        self._parity_by_hand = False
        try:
            self._set(baud, 7 if seven_bits else 8, "E" if seven_bits else "N")
        except _SPEED_ERRORS as error:
            # Some adapters and all pseudo terminals know 8N1 only: the octets are the same
            # when the parity bit is put into bit 7 by hand.
            try:
                self._set(baud, 8, "N")
            except _SPEED_ERRORS:
                raise Unreachable(f"{self.name} can't do {baud} Bd", "use another one") from error
            self._parity_by_hand = seven_bits

    def _set(self, baud: int, size: int, parity: str) -> None:
        self._port.bytesize = size
        self._port.parity = parity
        self._port.baudrate = baud

    def _readable(self) -> None:
        try:
            data = self._port.read(_CHUNK)
        except OSError as error:  # SerialException is one
            self._lose(error)
            return
        if data:
            self.feed(data)

    def _lose(self, error: Exception) -> None:
        self._detach()
        self.finish(Garbled(f"{self.name} is gone: {error}", "check the cable"))

    def _detach(self) -> None:
        if self._port.is_open:
            self._loop.remove_reader(self._port.fileno())
            self._port.close()

    def send(self, data: bytes) -> None:
        if self.ended:
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        if self._parity_by_hand:
            data = bytes(octet | (octet.bit_count() & 1) << 7 for octet in data)
        try:
            self._port.write(data)
        except OSError as error:
            self._lose(error)
            raise self.end_or(Unreachable(f"{self.name} is closed")) from error

    async def close(self) -> None:
        self._detach()
        await super().close()
