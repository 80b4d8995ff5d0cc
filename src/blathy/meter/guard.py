"""Guesses of passwords are slowed down, and stay slow over a restart of the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.clock import Instant
from blathy.cosem.classes.enumerations import PortProtectionStatus
from blathy.cosem.service import AccessError
from blathy.meter.classes.port_protection import CLASS_ID, PortProtection
from blathy.wire.authentication_guard import FailureThrottle

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

_DEBTS: Final = b"guard"
_RECORD: Final = 12  # client as u32, nanoseconds as u64


class MeterGuard:
    """`wire.server.AuthenticationGuard` on the settings of a meter.

    What a client still owes is written down with every failure, before the answer goes out:
    pulling the plug does not buy new guesses. A meter with a communication port protection object
    (class 124) counts and locks by that, too.
    """

    __slots__ = ("_meter", "_port", "_throttle")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        raw = meter.settings.get(_DEBTS, b"")
        records = (raw[at : at + _RECORD] for at in range(0, len(raw), _RECORD))
        self._throttle = FailureThrottle(
            {int.from_bytes(r[:4], "big"): int.from_bytes(r[4:], "big") for r in records}
        )
        found = (f.obis for f in meter.model.facilities if f.class_id == CLASS_ID)
        self._port = next(map(PortProtection, found), None)

    def locked(self, client_sap: int, now: Instant) -> bool:
        """True while this client must wait."""
        if self._port is not None:
            if self._meter.catch_up is not None:
                self._meter.catch_up()
            if self._port.status(self._meter) is not PortProtectionStatus.UNLOCKED:
                return True
        return self._throttle.locked(client_sap, now)

    def failed(self, client_sap: int, now: Instant) -> None:
        """Count a failure durably; where the store fails it counts all the same."""
        self._throttle.failed(client_sap, now)
        debts = self._throttle.debts(now)
        packed = b"".join(
            client.to_bytes(4, "big") + debt.to_bytes(8, "big")
            for client, debt in sorted(debts.items())
        )
        self._meter.save_setting(_DEBTS, packed)
        if self._port is not None:
            self._port.failed(self._meter)
        self._make_durable()

    def succeeded(self, client_sap: int, now: Instant) -> None:
        """A success forgives its client nothing."""
        self._throttle.succeeded(client_sap, now)
        if self._port is not None and self._port.attempts(self._meter).failed:
            self._port.clear(self._meter)
            self._make_durable()

    def _make_durable(self) -> None:
        try:
            self._meter.flush()
        except AccessError:
            self._meter.record("storage_failed")
