"""M-Bus diagnostic (class 77): what the meter's M-Bus master counts on the wire.

An object with B = 0 counts all channels together, one with B = 1, 2, ... its channel. The bus has
wires: there is no signal strength (0), and nothing is broadcast. The link is interrupted
temporarily once a device keeps silent, permanently after `SILENT_MAX` readings in a row. The frame
counters go round at 2^32; reset sets counters to 0 and leaves the link as it is.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import MBusLinkStatus
from blathy.cosem.cosem_time import UNSET, CosemDateTime
from blathy.cosem.service import Requester
from blathy.meter.objects import Attribute, CosemObject
from blathy.models.model import Facility

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 77
SILENT_MAX: Final = 24
"""Readings without an answer until a link counts as permanently interrupted: a day of hours."""
SENT, RECEIVED, GARBLED = 6, 7, 8
"""Attribute numbers of the counters."""
_TRAFFIC: Final = b"mbus-traffic:"
_MODULO: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one reading of a channel took: frames sent, answers that were in order and that were
    not."""

    sent: int
    received: int
    garbled: int = 0

    @property
    def answered(self) -> bool:
        return self.received > 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is remembered of a channel. `silent`: readings without an answer since the last one;
    `changed`: the attribute that changed last, at `at_utc_s` of the meter's clock."""

    sent: int = 0
    received: int = 0
    garbled: int = 0
    heard: int = 0
    silent: int = 0
    changed: int = 0
    at_utc_s: int = 0

    @classmethod
    def of(cls, raw: bytes) -> Traffic:
        return cls(*(int.from_bytes(raw[at : at + 8], "big") for at in range(0, len(raw), 8)))

    def octets(self) -> bytes:
        return b"".join(number.to_bytes(8, "big") for number in astuple(self))

    def after(self, exchange: Exchange, at_utc_s: int) -> Traffic:
        changed = GARBLED if exchange.garbled else RECEIVED if exchange.received else SENT
        return Traffic(
            (self.sent + exchange.sent) % _MODULO,
            (self.received + exchange.received) % _MODULO,
            (self.garbled + exchange.garbled) % _MODULO,
            heard=int(self.heard or exchange.answered),
            silent=0 if exchange.answered else self.silent + 1,
            changed=changed,
            at_utc_s=at_utc_s,
        )

    @property
    def link(self) -> MBusLinkStatus:
        if not self.heard:
            return MBusLinkStatus.NEVER_RECEIVED
        if not self.silent:
            return MBusLinkStatus.NORMAL
        if self.silent < SILENT_MAX:
            return MBusLinkStatus.TEMPORARILY_INTERRUPTED
        return MBusLinkStatus.PERMANENTLY_INTERRUPTED


def keep_exchange(meter: Meter, channel: int, exchange: Exchange) -> None:
    """Take over what a reading of a channel (1, 2, ...) took on the wire, where the meter shows
    it."""
    if all(facility.class_id != CLASS_ID for facility in meter.model.facilities):
        return
    key = _TRAFFIC + bytes((channel,))
    before = Traffic.of(meter.settings.get(key, b""))
    meter.save_setting(key, before.after(exchange, meter.clock_utc_s()).octets())


def _kept(meter: Meter, channel: int) -> dict[bytes, Traffic]:
    prefix = _TRAFFIC + bytes((channel,)) if channel else _TRAFFIC
    settings = meter.settings.items()
    return {key: Traffic.of(raw) for key, raw in settings if key.startswith(prefix)}


def _of(meter: Meter, channel: int) -> Traffic:
    """The channel's traffic; for channel 0 that of all, with the worst link of those ever heard."""
    found = _kept(meter, channel).values()
    if not found:
        return Traffic()
    last = max(found, key=lambda each: each.at_utc_s)
    return replace(
        last,
        sent=sum(each.sent for each in found) % _MODULO,
        received=sum(each.received for each in found) % _MODULO,
        garbled=sum(each.garbled for each in found) % _MODULO,
        heard=max(each.heard for each in found),
        silent=max((each.silent for each in found if each.heard), default=0),
    )


def mbus_diagnostic_object(facility: Facility) -> CosemObject:
    """Class 77."""
    channel = facility.obis[1]

    def link(meter: Meter) -> bytes:
        return axdr.encode_enum(_of(meter, channel).link)

    def sent(meter: Meter) -> bytes:
        return axdr.encode_u32(_of(meter, channel).sent)

    def received(meter: Meter) -> bytes:
        return axdr.encode_u32(_of(meter, channel).received)

    def garbled(meter: Meter) -> bytes:
        return axdr.encode_u32(_of(meter, channel).garbled)

    def captured(meter: Meter) -> bytes:
        traffic = _of(meter, channel)
        moment = UNSET
        if traffic.changed:
            moment = CosemDateTime.from_utc(traffic.at_utc_s, meter.zone)
        return axdr.encode(axdr.structure(axdr.u8(traffic.changed), axdr.date_time(moment.raw())))

    def reset(meter: Meter, _data: Data, _who: Requester) -> bytes:
        now_s = meter.clock_utc_s()
        for key, kept in _kept(meter, channel).items():
            none = replace(kept, sent=0, received=0, garbled=0, changed=SENT, at_utc_s=now_s)
            meter.save_setting(key, none.octets())
        return b""

    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(axdr.encode_u8(0)),
            Attribute(axdr.encode_u8(channel)),
            Attribute(link),
            Attribute(axdr.encode(axdr.array())),
            Attribute(sent),
            Attribute(received),
            Attribute(garbled),
            Attribute(captured),
        ),
        (reset,),
    )  # fmt: skip
