"""Building the DataNotification that a meter pushes (IEC 62056-5-3, class 40 of IEC 62056-6-2)."""

from __future__ import annotations

from blathy.clock import Instant
from blathy.wire import apdu
from blathy.wire.block_transfer import BlockExchange
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import Envelope, KeyChoice, SecurityContext

_ANY_TIME = Instant(0)


def data_notification(
    body: bytes,
    *,
    long_invoke: int = 0,
    time: bytes = b"",
    security: SecurityContext | None = None,
    protection: int = 0,
    envelope: Envelope = Envelope.GENERAL_GLO,
    key_choice: KeyChoice = KeyChoice.IDENTIFIED,
    pdu_size: int = 0xFFFF,
    blocks: bool = True,
    now: Instant = _ANY_TIME,
) -> list[bytes]:
    """The APDUs of one push: one, or unconfirmed blocks where it does not fit `pdu_size`.

    `body`: one Data as A-XDR octets. `time`: nothing or the 12 octets of a date-time.
    """
    if len(time) not in (0, 12):
        raise LocalProtocolError(f"a date-time has 12 octets, not {len(time)}")
    octets = apdu.DataNotification(long_invoke, time, body).encode()
    if protection:
        if security is None:
            raise LocalProtocolError("a protected notification needs keys")
        octets = security.protect(octets, protection, envelope, key_choice)
    return whole_or_blocks(octets, pdu_size, now, blocks=blocks)


def whole_or_blocks(
    octets: bytes, pdu_size: int = 0xFFFF, now: Instant = _ANY_TIME, *, blocks: bool = True
) -> list[bytes]:
    """The APDU itself where it fits, else in unconfirmed blocks."""
    if len(octets) <= pdu_size:
        return [octets]
    if not blocks:
        raise LocalProtocolError(
            f"the notification has {len(octets)} octets, the receiver takes {pdu_size} "
            "and general block transfer is not agreed"
        )
    return BlockExchange(0).start(octets, pdu_size, now, confirmed=False)
