"""Guesses of passwords are slowed down, and stay slow over a restart of the meter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from blathy.clock import Instant
from blathy.cosem.classes.enumerations import PortProtectionStatus
from blathy.cosem.service import AccessError
from blathy.meter.classes.port_protection import CLASS_ID, PortProtection
from blathy.obis import Obis
from blathy.wire.authentication_guard import FailureThrottle

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

_DEBTS: Final = b"guard"
_RECORD: Final = 12  # client as u32, nanoseconds as u64


class MeterGuard:
    """`wire.server.AuthenticationGuard` on the settings of a meter.

    What a client still owes is written down with every failure, before the answer goes out:
    pulling the plug does not buy new guesses. The debts are of the whole meter: who tries a client
    at several ports, or in many associations at once, has no more guesses than at one. What a
    communication port protection object (class 124) counts and locks comes on top, and is of the
    port that it names (`at`); here, where nobody says by which port a client comes, of all.
    """

    __slots__ = ("_meter", "_protections", "_throttle")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        raw = meter.settings.get(_DEBTS, b"")
        records = (raw[at : at + _RECORD] for at in range(0, len(raw), _RECORD))
        self._throttle = FailureThrottle(
            {int.from_bytes(r[:4], "big"): int.from_bytes(r[4:], "big") for r in records}
        )
        found = (f.obis for f in meter.model.facilities if f.class_id == CLASS_ID)
        self._protections = tuple(map(PortProtection, found))

    def at(self, *ports: Obis) -> PortGuard:
        """The same guard as it stands at one port, which these set-up objects describe."""
        return PortGuard(self, ports)

    def locked(self, client_sap: int, now: Instant, ports: tuple[Obis, ...] = ()) -> bool:
        """True while this client must wait."""
        if self._protections and self._meter.catch_up is not None:
            self._meter.catch_up()
        for protection in self._protecting(ports):
            if protection.status(self._meter) is not PortProtectionStatus.UNLOCKED:
                return True
        return self._throttle.locked(client_sap, now)

    def _protecting(self, ports: tuple[Obis, ...]) -> Iterator[PortProtection]:
        for protection in self._protections:
            named = protection.port(self._meter)
            if not ports or named is None or named in ports:
                yield protection

    def failed(self, client_sap: int, now: Instant, ports: tuple[Obis, ...] = ()) -> None:
        """Count a failure durably; where the store fails it counts all the same."""
        self._throttle.failed(client_sap, now)
        debts = self._throttle.debts(now)
        packed = b"".join(
            client.to_bytes(4, "big") + debt.to_bytes(8, "big")
            for client, debt in sorted(debts.items())
        )
        self._meter.save_setting(_DEBTS, packed)
        for protection in self._protecting(ports):
            protection.failed(self._meter)
        self._make_durable()

    def succeeded(self, client_sap: int, now: Instant, ports: tuple[Obis, ...] = ()) -> None:
        """A success forgives its client nothing."""
        self._throttle.succeeded(client_sap, now)
        cleared = [p for p in self._protecting(ports) if p.attempts(self._meter).failed]
        for protection in cleared:
            protection.clear(self._meter)
        if cleared:
            self._make_durable()

    def _make_durable(self) -> None:
        try:
            self._meter.flush()
        except AccessError:
            self._meter.record("storage_failed")


class PortGuard:
    """`wire.server.AuthenticationGuard` of one port."""

    __slots__ = ("_guard", "_ports")

    def __init__(self, guard: MeterGuard, ports: tuple[Obis, ...]) -> None:
        self._guard = guard
        self._ports = ports

    def locked(self, client_sap: int, now: Instant) -> bool:
        return self._guard.locked(client_sap, now, self._ports)

    def failed(self, client_sap: int, now: Instant) -> None:
        self._guard.failed(client_sap, now, self._ports)

    def succeeded(self, client_sap: int, now: Instant) -> None:
        self._guard.succeeded(client_sap, now, self._ports)
