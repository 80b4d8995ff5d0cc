"""The pulse outputs of a running meter as a line of text: light and S0, edge by edge.

Whoever connects reads one line for each edge, in the order of time: `UTC-ms OUTPUT on|off`. The
edges follow from the committed register, so they cannot drift from it; a second's edges are sent
when the second has been measured.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from blathy.cli.app import CommandError
from blathy.meter.meter import Meter
from blathy.quantity import Kind, Source
from blathy.terminals.led import pulse_edges_ms

READERS_MAX: Final = 32
WAITING_MAX: Final = 10_000
"""Edges kept for a reader that does not read; one that is behind further is disconnected."""


@dataclass(slots=True)
class PulseLine:
    """A port that tells the edges of all pulse outputs of a meter."""

    meter: Meter
    _before: dict[str, int] = field(default_factory=dict)
    _at_utc_s: int = 0
    _late: list[tuple[int, str, str]] = field(default_factory=list)
    _readers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self, place: str, *, outside: bool) -> int:
        """Listen; return the port."""
        host, _, number = place.rpartition(":")
        if not host or not number.isdigit() or int(number) > 65_535:
            raise CommandError(f"--pulses {place!r} is no place; write 127.0.0.1:5100")
        if not outside and not (host.startswith("127.") or host in {"localhost", "::1"}):
            raise CommandError(f"{host} is reachable by other machines; say --outside to allow it")
        try:
            self._server = await asyncio.start_server(self._accept, host, int(number))
        except OSError as error:
            raise CommandError(f"no port for pulses at {place}: {error.strerror}") from error
        self._now()
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in self._readers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._readers) >= READERS_MAX:
            writer.close()
            return
        self._readers.add(writer)
        await reader.read()  # until whoever reads goes away
        self._readers.discard(writer)
        writer.close()

    def _energies(self) -> dict[str, int]:
        books = self.meter.books
        return {
            output.key: sum(books.value(Source(Kind.ENERGY, m)) for m in output.measures)
            for output in self.meter.model.pulses
        }

    def _now(self) -> None:
        self._before, self._at_utc_s = self._energies(), self.meter.books.clock.true_s

    def tell(self) -> None:
        """Send the edges of the time that has been committed since."""
        books_s = self.meter.books.clock.true_s
        if books_s <= self._at_utc_s:
            return
        after = self._energies()
        edges = self._late
        for output in self.meter.model.pulses:
            span_ms = (books_s - self._at_utc_s) * 1000
            before = self._before[output.key]
            for rise, fall in pulse_edges_ms(output, before, after[output.key], span_ms):
                edges.append((self._at_utc_s * 1000 + rise, output.key, "on"))
                edges.append((self._at_utc_s * 1000 + fall, output.key, "off"))
        edges.sort()
        due = [edge for edge in edges if edge[0] < books_s * 1000]
        self._late = edges[len(due) :]
        self._before, self._at_utc_s = after, books_s
        self._send("".join(f"{at} {key} {state}\n" for at, key, state in due).encode())

    def _send(self, lines: bytes) -> None:
        if not lines:
            return
        for writer in list(self._readers):
            if writer.transport.get_write_buffer_size() > WAITING_MAX * 32:
                writer.transport.abort()
                self._readers.discard(writer)
                continue
            writer.write(lines)
