"""What a meter tells the clients of open associations by itself: EventNotification-Request.

The code of every logged event where the model says so, and an alarm register where its filter lets
the bit through. A notice is made when the event happens and leaves once the books that hold it are
committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem.cosem_time import ClockStatus, CosemDateTime
from blathy.cosem.service import AttributeRef
from blathy.meter.classes.values import number_encoder
from blathy.models.model import Model, Row
from blathy.registers.block import Incident
from blathy.wire.apdu import LN_CONFORMANCE, SN_CONFORMANCE, Conformance

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NOTICES_MAX: Final = 64
"""Notices that wait; the oldest gives way."""
VALUE: Final = 2


@dataclass(frozen=True, slots=True)
class Notice:
    """`time`: the meter's clock at the event, twelve octets. `held_until_s`: the true time that
    the committed books must have reached."""

    attribute: AttributeRef
    value: bytes
    time: bytes
    held_until_s: int


def notice_of(meter: Meter, row: Row, number: int, incident: Incident) -> Notice:
    """The value of a row at an event."""
    status = 0 if meter.books.clock.valid else int(ClockStatus.INVALID)
    shown_s = incident.at_utc_s + meter.ledger.clock_utc_s - meter.ledger.now
    return Notice(
        AttributeRef(row.class_id, row.obis, VALUE),
        number_encoder(row.data_type, wraps=False)(number),
        CosemDateTime.from_utc(shown_s, meter.zone, status).raw(),
        meter.ledger.now,
    )


def conformance_of(model: Model, *, short_names: bool = False) -> int:
    """The services that a meter of this model agrees to: notifications only where it has any."""
    services = SN_CONFORMANCE if short_names else LN_CONFORMANCE
    if not model.alarms and model.event_code is None:
        services &= ~(Conformance.EVENT_NOTIFICATION | Conformance.INFORMATION_REPORT)
    return int(services)
