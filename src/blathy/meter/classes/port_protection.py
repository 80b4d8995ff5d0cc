"""Communication port protection (class 124): guessing locks the port for a while, ever longer.

It stands beside the guard that every meter has (`meter.guard`), which slows down each client by
itself at all ports together; this one counts the failures of all clients at the port that
`port_reference` names, or at all ports where it names none. So a port that is attacked locks by
itself and the others serve on, and yet several ports buy nobody more guesses. A failure above
`allowed_failed_attempts` locks for `initial_lockout_time`, each further one for `steepness_factor`
times the time before, at most `max_lockout_time`. What is locked are associations that are opened
by what can be guessed: a password, or a secret of HLS 2 to 4 and 6. Keys of 128 bits cannot, and a
lock would only shut us out; so a client with keys can always call reset.

Times are of the meter (true time, also while it is without supply), never of the host. The
following are our choice, as only names and types could be compared: the lock comes with the first
failure above the allowed number; a success sets failed_attempts back to 0; a port_reference that
names no set-up object of a port is refused, as it would protect nothing; cumulative_failed_attempts
is never set back; a locked port (mode 0) is open while the utility's seal is, so that nobody is
shut out for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import PortProtectionMode, PortProtectionStatus
from blathy.cosem.service import Requester
from blathy.meter.objects import ENUM, LN, U8, U16, U32, Attribute, CosemObject, setting
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 124
EVERY_PORT: Final = Obis(0, 0, 0, 0, 0, 0)
PORTS: Final = {
    "dlms-tcp": (Obis(0, 0, 25, 0, 0),), "dlms-udp": (Obis(0, 0, 25, 0, 0),),
    "dlms-hdlc": (Obis(0, 0, 22, 0, 0), Obis(0, 0, 20, 0, 0)),
    "serial": (Obis(0, 0, 22, 0, 0),), "optical": (Obis(0, 0, 20, 0, 0),),
}  # fmt: skip
"""Protocol -> the set-up objects of its port: TCP-UDP; HDLC and the optical port that signs on."""
_NAMES: Final = {EVERY_PORT, *(name for names in PORTS.values() for name in names)}
_COUNT_MAX: Final = 0xFFFF_FFFF
_DEFAULTS: Final = {
    2: axdr.enum(PortProtectionMode.LOCKED_ON_FAILED_ATTEMPTS),
    3: axdr.u16(10),
    4: axdr.u32(60),
    5: axdr.u8(2),
    6: axdr.u32(3600),
}


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is remembered: failures since the last success, all failures, and until which second of
    true time the port is locked."""

    failed: int = 0
    cumulative: int = 0
    locked_until_s: int = 0

    @classmethod
    def of(cls, raw: bytes) -> Attempts:
        cuts = (raw[:4], raw[4:8], raw[8:16])
        return cls(*(int.from_bytes(cut, "big") for cut in cuts))

    def octets(self) -> bytes:
        head = self.failed.to_bytes(4, "big") + self.cumulative.to_bytes(4, "big")
        return head + self.locked_until_s.to_bytes(8, "big")


class PortProtection:
    """One object: counts, locks, opens again. Its state is in the settings of the meter."""

    __slots__ = ("_key", "_obis")

    def __init__(self, obis: Obis) -> None:
        self._obis = obis
        self._key = b"attempts:" + bytes(obis)

    def attempts(self, meter: Meter) -> Attempts:
        return Attempts.of(meter.settings.get(self._key, b""))

    def _keep(self, meter: Meter, attempts: Attempts) -> None:
        meter.save_setting(self._key, attempts.octets())

    def _number(self, meter: Meter, attribute: int) -> int:
        raw = meter.settings.get(bytes(self._obis) + bytes((attribute,)))
        data = _DEFAULTS[attribute] if raw is None else axdr.decode(raw)
        return int(data.value)

    def port(self, meter: Meter) -> Obis | None:
        """The set-up object of the protected port; None: every port."""
        raw = meter.settings.get(bytes(self._obis) + b"\x07")
        name = Obis.of(axdr.decode(raw).value) if raw is not None else EVERY_PORT
        return None if name == EVERY_PORT else name

    def status(self, meter: Meter) -> PortProtectionStatus:
        """As it stands at this moment of the meter."""
        mode = self._number(meter, 2)
        if mode == PortProtectionMode.LOCKED and not meter.seal_open:
            return PortProtectionStatus.LOCKED
        by_failures = mode == PortProtectionMode.LOCKED_ON_FAILED_ATTEMPTS
        if by_failures and meter.books.clock.true_s < self.attempts(meter).locked_until_s:
            return PortProtectionStatus.TEMPORARILY_LOCKED
        return PortProtectionStatus.UNLOCKED

    def failed(self, meter: Meter) -> None:
        """Count a failure, and lock where there were too many."""
        before = self.attempts(meter)
        failed = min(before.failed + 1, _COUNT_MAX)
        until_s = before.locked_until_s
        above = failed - self._number(meter, 3)
        locks = self._number(meter, 2) == PortProtectionMode.LOCKED_ON_FAILED_ATTEMPTS
        if locks and above > 0:
            until_s = meter.books.clock.true_s + self._lockout_s(meter, above)
        cumulative = min(before.cumulative + 1, _COUNT_MAX)
        self._keep(meter, Attempts(failed, cumulative, until_s))

    def _lockout_s(self, meter: Meter, above: int) -> int:
        lockout_s, highest_s = self._number(meter, 4), self._number(meter, 6)
        steepness = self._number(meter, 5)
        for _ in range(above - 1):
            if lockout_s >= highest_s or steepness <= 1 or not lockout_s:
                break
            lockout_s *= steepness
        return min(lockout_s, highest_s)

    def clear(self, meter: Meter) -> None:
        """Forget the failures and the lock, not how many there have ever been."""
        before = self.attempts(meter)
        if before.failed or before.locked_until_s:
            self._keep(meter, replace(before, failed=0, locked_until_s=0))

    def setting(self, attribute: int, highest: int) -> Attribute:
        shape = {2: ENUM, 3: U16, 4: U32, 5: U8, 6: U32}[attribute]
        return setting(
            self._obis, attribute, _DEFAULTS[attribute], shape,
            check=lambda data: int(data.value) <= highest,
        )  # fmt: skip


def port_protection_object(facility: Facility) -> CosemObject:
    """Class 124."""
    one = PortProtection(facility.obis)

    def status(meter: Meter) -> bytes:
        return axdr.encode_enum(one.status(meter))

    def failed(meter: Meter) -> bytes:
        return axdr.encode_u32(one.attempts(meter).failed)

    def cumulative(meter: Meter) -> bytes:
        return axdr.encode_u32(one.attempts(meter).cumulative)

    def reset(meter: Meter, _data: Data, _who: Requester) -> bytes:
        one.clear(meter)
        return b""

    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            one.setting(2, max(PortProtectionMode)),
            one.setting(3, 0xFFFF),
            one.setting(4, _COUNT_MAX),
            one.setting(5, 0xFF),
            one.setting(6, _COUNT_MAX),
            setting(
                facility.obis, 7, axdr.octets(bytes(EVERY_PORT)), LN,
                check=lambda data: Obis.of(bytes(data.value)) in _NAMES,
            ),
            Attribute(status),
            Attribute(failed),
            Attribute(cumulative),
        ),
        (reset,),
    )  # fmt: skip
