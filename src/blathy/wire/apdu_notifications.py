"""DataNotification, its confirmation, and EventNotification (IEC 62056-5-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.cosem.service import AttributeRef
from blathy.wire.apdu_tags import Decoder, Tag
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, octet_string


@dataclass(frozen=True, slots=True)
class DataNotification:
    """`tagged_time`: the date-time came with a Data tag 09 in front, as some meters send it."""

    long_invoke: int
    time: bytes
    body: bytes
    tagged_time: bool = False

    def encode(self) -> bytes:
        tag = b"\x09" if self.tagged_time else b""
        head = b"\x0f" + self.long_invoke.to_bytes(4, "big")
        return b"".join((head, tag, octet_string(self.time), self.body))


@dataclass(frozen=True, slots=True)
class DataNotificationConfirm:
    long_invoke: int
    time: bytes = b""

    def encode(self) -> bytes:
        return b"\x10" + self.long_invoke.to_bytes(4, "big") + octet_string(self.time)


@dataclass(frozen=True, slots=True)
class EventNotification:
    """`bare_time`: the time stands without length octet, as older editions write it."""

    attribute: AttributeRef
    value: bytes
    time: bytes | None = None
    bare_time: bool = False

    def encode(self) -> bytes:
        time = b"\x00"
        if self.time is not None:
            time = b"\x01" + (self.time if self.bare_time else octet_string(self.time))
        ref = self.attribute
        head = ref.class_id.to_bytes(2, "big") + ref.obis + bytes((ref.attribute & 0xFF,))
        return b"".join((b"\xc2", time, head, self.value))


def _data_notification(r: Reader) -> DataNotification:
    invoke = r.u32()
    length = r.u8()
    tagged = length == 0x09 and r.position < r.end and r.data[r.position] == 0x0C
    if tagged:
        length = r.u8()
    if length > 12:
        raise RemoteProtocolError(f"a notification whose date-time has {length} octets")
    time = r.take(length)
    return DataNotification(invoke, time, r.rest(), tagged)


def _data_notification_confirm(r: Reader) -> DataNotificationConfirm:
    confirm = DataNotificationConfirm(r.u32(), r.octets())
    r.done()
    return confirm


def _event_notification(r: Reader) -> EventNotification:
    time: bytes | None = None
    bare = False
    if r.flag():
        # A year above 3071 would be needed for a bare date-time to begin with 0C.
        bare = r.position < r.end and r.data[r.position] != 0x0C
        time = r.take(12) if bare else r.octets()
    class_id, obis, index = r.descriptor()
    value = r.rest()
    if not value:
        raise RemoteProtocolError("an EventNotification without its value")
    return EventNotification(AttributeRef(class_id, obis, index), value, time, bare)


DECODERS: Final[dict[int, Decoder]] = {
    Tag.DATA_NOTIFICATION: _data_notification,
    Tag.DATA_NOTIFICATION_CONFIRM: _data_notification_confirm,
    Tag.EVENT_NOTIFICATION: _event_notification,
}
