"""Event logs: rings of what happened, in the order it happened."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from blathy.quantity import Phase
from blathy.registers.cells import CellReader, CellWriter
from blathy.registers.plan import LogPlan

ENTRY_SIZE_MAX: Final = 200


@dataclass(frozen=True, slots=True, order=True)
class LogEntry:
    """One event: when by the meter's clock, what, which phase, its figure."""

    sequence: int
    at_utc_s: int
    name: str
    phase: Phase = Phase.TOTAL
    value: int = 0


class EventLog:
    """The newest `capacity_entries` events that the plan lets in."""

    __slots__ = ("_digest", "_entries", "end", "plan")

    def __init__(self, plan: LogPlan) -> None:
        self.plan = plan
        self.end = 0
        self._digest = 0
        self._entries: tuple[LogEntry, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether events of this name go into this log."""
        return not self.plan.events or name in self.plan.events

    def add(self, at_utc_s: int, name: str, phase: Phase, value: int) -> LogEntry:
        entry = LogEntry(self.end, at_utc_s, name, phase, value)
        text = f"{entry.sequence} {at_utc_s} {name} {int(phase)} {value}\n".encode()
        assert len(text) <= ENTRY_SIZE_MAX
        self._digest = zlib.crc32(text, self._digest)
        self.end += 1
        self._entries = (*self._entries, entry)[-self.plan.capacity_entries :]
        return entry

    def clear(self) -> None:
        """Forget every entry; sequence numbers go on."""
        self._entries = ()

    def view(self) -> tuple[LogEntry, ...]:
        """The entries, oldest first."""
        return self._entries

    def write(self, cells: CellWriter) -> None:
        cells.put(len(self._entries), self.end, self._digest)

    def read(self, cells: CellReader, entries: tuple[LogEntry, ...]) -> None:
        """Stand where the cells say; raise ValueError if entries that should be there are not."""
        count, end, digest = cells.take(), cells.take(), cells.take()
        count = min(count, self.plan.capacity_entries)
        entries = tuple(e for e in entries if end - count <= e.sequence < end)
        if tuple(e.sequence for e in entries) != tuple(range(end - count, end)):
            raise ValueError(f"entries of the log {self.plan.name} are missing")
        self.end, self._digest, self._entries = end, digest, entries
