"""Locks on places of a file that end with the process that holds them.

On Linux they belong to the open file, not to the process (`F_OFD_SETLK`): two handles in one
process exclude each other as well, and a place may lie beyond the end of the file. Other record
locks of POSIX end when any handle of the process is closed, so elsewhere the one lock is that of
the whole file; a system without even that is refused.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable
from typing import ClassVar, Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BUSY: Final = frozenset({errno.EACCES, errno.EAGAIN})


class RangeLocks:
    """The locks of one open file; a place is one octet of it."""

    available: ClassVar[bool] = sys.platform == "linux" and hasattr(fcntl, "F_OFD_SETLK")
    """Whether places can be locked; else `take` locks the whole file."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def take(self, place: int) -> bool:
        """Lock for us alone; False while another has it."""
        if self.available:
            return self._set(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, place)
        if fcntl is None:
            raise OSError(errno.ENOLCK, "this system has no locks that we know")
        return _granted(fcntl.flock, self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def wait(self, place: int) -> None:
        """Lock for us alone, as soon as nobody else has it."""
        self._set(fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, place)

    def share(self, place: int) -> bool:
        """Lock it beside others who share it, also instead of alone; False while another has it
        alone."""
        return self._set(fcntl.F_OFD_SETLK, fcntl.F_RDLCK, place)

    def free(self, place: int) -> None:
        """Give it back."""
        self._set(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, place)

    def _set(self, command: int, kind: int, place: int) -> bool:
        return _granted(
            fcntl.fcntl, self._handle, command, struct.pack("hhqqi", kind, 0, place, 1, 0)
        )


def _granted(lock: Callable[..., object], *args: object) -> bool:
    try:
        lock(*args)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True
