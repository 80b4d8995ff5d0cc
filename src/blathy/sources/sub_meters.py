"""Water and heat meters behind an electricity meter: what they have counted at any time, from a
seed, and what can be written to them over the M-Bus."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from blathy.clock import SECONDS_PER_DAY
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.mbus import (
    Header,
    MbusSlave,
    Medium,
    Record,
    datetime_seconds_bytes,
    decode_records,
    record_bytes,
)
from blathy.wire.mbus_keys import unwrap_user_key, unwrap_user_key_dsmr4

LITRES_PER_M3: Final = 1000
_WATER_HOURS: Final = np.array(
    [1, 1, 1, 1, 1, 3, 9, 11, 8, 5, 4, 4, 6, 5, 4, 4, 5, 7, 9, 10, 8, 6, 4, 2], dtype=np.float64
)
_HEAT_HOURS: Final = np.array(
    [3, 3, 3, 3, 4, 6, 7, 7, 6, 5, 4, 4, 3, 3, 3, 4, 5, 6, 6, 6, 5, 4, 4, 3], dtype=np.float64
)


@dataclass(slots=True)
class SubMeterLoad:
    """Cumulative consumption since `begin_utc_s` in whole units: litres of water, kWh of heat.

    `annual` is in m³ or kWh. The value never falls, and the same time always gives the same value.
    """

    medium: Medium
    annual: float
    seed: int
    key: int
    begin_utc_s: int
    _days: list[float] = field(default_factory=lambda: [0.0], repr=False)

    def counted(self, utc_s: int) -> int:
        """What the meter's register shows at that time."""
        since = max(0, utc_s - self.begin_utc_s)
        day, within_s = divmod(since, SECONDS_PER_DAY)
        while len(self._days) <= day + 1:
            self._days.append(self._days[-1] + self._of_day(len(self._days) - 1))
        hours = _WATER_HOURS if self.medium is Medium.WATER else _HEAT_HOURS
        course = np.concatenate([[0.0], hours.cumsum() / hours.sum()])
        share = float(np.interp(within_s / 3600, np.arange(25), course))
        return int(self._days[day] + share * (self._days[day + 1] - self._days[day]))

    def _of_day(self, day: int) -> float:
        rng = np.random.default_rng((self.seed, self.key, day, 0x3B5))
        mean = self.annual / 365 * (LITRES_PER_M3 if self.medium is Medium.WATER else 1)
        if self.medium is not Medium.WATER:  # a heating season, coldest in mid-January
            turn = (self.begin_utc_s // SECONDS_PER_DAY + day - 15) % 365.25 / 365.25
            mean *= max(0.05, 1.0 + 1.1 * float(np.cos(2 * np.pi * turn)))
        return mean * float(rng.lognormal(-0.045, 0.3))

    def records(self, utc_s: int) -> bytes:
        """The register as M-Bus data records (EN 13757-3): volume in litres, or energy in kWh."""
        vif = 0x13 if self.medium is Medium.WATER else 0x06
        return record_bytes(0x04, [vif], self.counted(utc_s))


def header_of(serial: int, manufacturer: str, medium: Medium) -> Header:
    """The M-Bus header of a sub-meter."""
    return Header(serial, manufacturer, 1, medium)


KEY_OCTETS: Final = 16
LOCATION_OCTETS_MAX: Final = 32
_MEMORY: Final = struct.Struct(">BqI16s")
_NO_KEY: Final = bytes(KEY_OCTETS)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the device's wall clock knows no zone


def master_key_of(serial: int) -> bytes:
    """The key that a sub-meter is delivered with: user keys are transferred under it."""
    return hashlib.sha256(b"master key of sub-meter %d" % serial).digest()[:KEY_OCTETS]


class SubMeterDevice:
    """A sub-meter as a device on the bus.

    It answers with its register, its time and, once written, the customer location (VIF FD 10).
    Written to it can be the time, that location, a bus address (with address 0 it is released, and
    forgets its user key) and a user key under its master key (VIF FD 19, as text); from then on it
    answers encrypted. All else is not acknowledged. `remember` is given what must outlive a stop,
    `remembered` is what that was.
    """

    def __init__(
        self,
        load: SubMeterLoad,
        header: Header,
        now: Callable[[], int],
        *,
        remembered: bytes = b"",
        remember: Callable[[bytes], None] = lambda _octets: None,
    ) -> None:
        self._load = load
        self._now = now
        self._remember = remember
        self._location = b""
        self._ahead_s = 0  # of UTC: as delivered its clock shows UTC
        self._key_changes = 0
        self.slave = MbusSlave(1, header, lambda: [self._records()], self._take)
        if remembered:
            address, self._ahead_s, self._key_changes, key = _MEMORY.unpack_from(remembered)
            self._location = remembered[_MEMORY.size :]
            self.slave.primary_address = address
            self.slave.key = b"" if key == _NO_KEY else key

    def _records(self) -> bytes:
        now = self._now()
        time = datetime_seconds_bytes(_EPOCH + timedelta(seconds=now + self._ahead_s))
        location = record_bytes(0x0D, [0xFD, 0x10], self._location) if self._location else b""
        return self._load.records(now) + record_bytes(0x06, [0x6D], time) + location

    def _take(self, data: bytes) -> None:
        """Write the records, all or none; RemoteProtocolError for what the device does not take."""
        records, _ = decode_records(data)
        writes = [self._write_of(record) for record in records]
        for write in writes:
            write()
        memory = _MEMORY.pack(
            self.slave.primary_address, self._ahead_s, self._key_changes, self.slave.key or _NO_KEY
        )
        self._remember(memory + self._location)

    def _write_of(self, record: Record) -> Callable[[], None]:
        value = record.value
        match record.vif.quantity:
            case "Bus address" if isinstance(value, int) and 0 <= value <= 250:
                return lambda: self._set_address(value)
            case "Time point" if isinstance(value, str) and "T" in value:
                ahead_s = _seconds_of(value) - self._now()
                return lambda: self._set_ahead(ahead_s)
            case "Customer location" if isinstance(value, str):
                if len(value) <= LOCATION_OCTETS_MAX:
                    return lambda: self._set_location(value.encode("latin-1"))
            case "Security key" if isinstance(value, str):
                changes, key = self._key_of(value.encode("latin-1"))
                return lambda: self._set_key(changes, key)
        raise RemoteProtocolError(f"this device takes no {record.vif.quantity}")

    def _key_of(self, data: bytes) -> tuple[int, bytes]:
        """The key change counter and the key of a transfer; one block comes without a counter."""
        header = self.slave.header
        master = master_key_of(header.identification)
        if len(data) == KEY_OCTETS:
            return self._key_changes, unwrap_user_key_dsmr4(master, data)
        new = unwrap_user_key(master, header.secondary_address(), data, self._key_changes + 1)
        if len(new.key) != KEY_OCTETS:
            raise RemoteProtocolError(f"a user key has 16 octets, not {len(new.key)}")
        return new.counter, new.key

    def _set_address(self, address: int) -> None:
        self.slave.primary_address = address
        if not address:
            self.slave.key = b""

    def _set_ahead(self, ahead_s: int) -> None:
        self._ahead_s = ahead_s

    def _set_location(self, location: bytes) -> None:
        self._location = location

    def _set_key(self, changes: int, key: bytes) -> None:
        self._key_changes, self.slave.key = changes, key


def _seconds_of(text: str) -> int:
    """A wall clock's time as seconds since 1970."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise RemoteProtocolError(f"{text} is no time") from error
