"""What a store must keep beside the state: new rows, new log entries, audit notes."""

from __future__ import annotations

from dataclasses import dataclass, field

from blathy.registers.eventlog import LogEntry
from blathy.registers.ring import Kept


@dataclass(frozen=True, slots=True)
class AuditNote:
    """Evidence of an intervention: who did what, when by the meter's clock."""

    at_utc_s: int
    who: str
    what: str
    detail: str = ""


@dataclass(slots=True)
class Changes:
    """Everything that was added since the last time somebody took the changes.

    `rows` and `entries` by the name of the profile or log; `cleared` gives the sequence number from
    which rows and entries of a cleared profile or log are valid.
    """

    rows: dict[str, list[Kept]] = field(default_factory=dict)
    entries: dict[str, list[LogEntry]] = field(default_factory=dict)
    cleared: dict[str, int] = field(default_factory=dict)
    audit: list[AuditNote] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.entries or self.cleared or self.audit)


@dataclass(frozen=True, slots=True)
class Content:
    """What a store hands back with a state: rows by profile and billing name, entries by log."""

    rows: dict[str, Kept] = field(default_factory=dict)
    entries: dict[str, tuple[LogEntry, ...]] = field(default_factory=dict)
