"""Where meters call home: each connection that one of them opens is a line for a client."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from blathy.transport.errors import TimedOut
from blathy.transport.line import TcpLine
from blathy.transport.listener import bind_socket

BACKLOG: Final = 128
"""Meters that may wait for `accept`."""


class CallListener:
    """Takes calls, of this machine only unless `outside` says so.

    Who calls is not known by the call: the association that a client opens on the line proves it.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    async def start(self, host: str, port: int, *, outside: bool = False) -> int:
        """Listen; the port that was bound (port 0 chooses a free one)."""
        self._socket = bind_socket(socket.SOCK_STREAM, host, port, outside=outside)
        self._socket.listen(BACKLOG)
        return int(self._socket.getsockname()[1])

    async def accept(self, within_s: float = 60.0) -> TcpLine:
        """The next call, to be given to a client as its `line`; TimedOut where none comes."""
        assert self._socket is not None, "start it first"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                sock, peer = await loop.sock_accept(self._socket)
        except TimeoutError as error:
            raise TimedOut("no meter has called", "check its destination and mode") from error
        return TcpLine.over(sock, f"{peer[0]}:{peer[1]}")

    async def stop(self) -> None:
        """Take no more calls; lines that were handed out stay."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
