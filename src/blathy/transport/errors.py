"""One tree for everything that can go wrong with a meter, and the map from the system's errors.

Five outcomes, because a dispatcher acts on each differently: `Unreachable` (try again later, it is
the network), `Refused` (it is our request: do not repeat it unchanged), `Garbled` (the line or the
peer's protocol), `TimedOut` (slow or gone), `Untrusted` (the peer did not prove who it is: never
repeat blindly, tell a person).
"""

from __future__ import annotations

import errno
import socket


class MeterError(Exception):
    """Root of the tree. The text is one sentence; `remedy` says what to try."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


DlmsError = MeterError
"""The same tree under the name that DLMS people look for."""


class Unreachable(MeterError):  # noqa: N818 - an outcome, not a fault
    """Nobody answers at that address, or the network ends before it."""


class Refused(MeterError):  # noqa: N818 - an outcome, not a fault
    """The peer is there and does not want to: connection, association or service refused."""


class Garbled(MeterError):  # noqa: N818 - an outcome, not a fault
    """What came makes no sense: line parameters, damaged frames, a broken protocol."""


class TimedOut(MeterError):  # noqa: N818 - an outcome, not a fault
    """No answer, or no complete one, within its time."""


class Untrusted(MeterError):  # noqa: N818 - an outcome, not a fault
    """A key, a signature, a counter or an authentication did not hold."""


_REFUSED = {errno.ECONNREFUSED, errno.EACCES, errno.EPERM}
_UNREACHABLE = {
    errno.ENETUNREACH: ("the network is not reachable", "check the route or the VPN"),
    errno.EHOSTUNREACH: ("the host is not reachable", "check the address and the route"),
    errno.ENETDOWN: ("the network is down", "check the interface"),
    errno.EHOSTDOWN: ("the host is down", "check the modem's registration"),
    errno.EADDRNOTAVAIL: ("no local address or port is free for it", "wait, or open fewer at once"),
    errno.EMFILE: ("this process has no file handle left", "raise the limit with ulimit -n"),
    errno.ENFILE: ("this machine has no file handle left", "close some programs"),
    errno.ENODEV: ("the device is not there", "check the cable and its name"),
    errno.ENOENT: ("the device is not there", "check the cable and its name"),
}


def from_os_error(error: OSError, where: str) -> MeterError:
    """The outcome that an error of the operating system means, naming the place."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return TimedOut(f"{where} does not answer", "check the address, the route and the power")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"{where} has no address", "check the spelling of the host name")
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return Garbled(
            f"{where} closed the connection",
            "it may be busy with another client, or the framing differs (dlms:// or dlms+hdlc://)",
        )
    if error.errno in _REFUSED:
        if error.errno == errno.ECONNREFUSED:
            return Refused(
                f"{where} refuses the connection", "check the port and that the meter listens"
            )
        return Refused(f"{where} may not be opened by this user", "check the permissions")
    if error.errno in _UNREACHABLE:
        why, remedy = _UNREACHABLE[error.errno]
        return Unreachable(f"{where}: {why}", remedy)
    return Unreachable(f"{where}: {error.strerror or error}", "check the address")
