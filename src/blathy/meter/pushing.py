"""What a push setup (class 40) sends: its object list as one structure, or a maker's own form.

A message is built from the committed books when it falls due. Its APDUs are made when it is sent,
so that every attempt has an invocation counter of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.captured_items import CapturedItem, parse_items
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import AccessError, AttributeRef
from blathy.meter.classes.compact_data import captured_value
from blathy.meter.classes.push_protection import Layers, layers_of, required_protection
from blathy.meter.classes.scripts import own_authority
from blathy.meter.local_times import Windows, in_a_window
from blathy.obis import Obis
from blathy.wire.apdu import DataNotification, DataNotificationConfirm, decode
from blathy.wire.data_protection import protect_apdu, protection_of
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.push import data_notification, whole_or_blocks
from blathy.wire.security import SecurityContext

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLOCK_CLASS: Final = 8


@dataclass(frozen=True, slots=True)
class PushMessage:
    """One message to send: `body` is the Data of a data-notification."""

    setup: Obis
    service: int
    destination: bytes
    client_sap: int
    body: bytes
    retries: int
    repetition_delay_s: int
    randomisation_s: int
    layers: Layers = ()
    """The envelopes that the setup asks for; none: as the association of the receiver."""
    windows: Windows = ()
    """Beginning and end of each time at which it may go, as date-times; none: at any time."""


class Pusher:
    """Builds messages from the setups of one meter."""

    __slots__ = ("_meter",)

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def _attribute(self, setup: Obis, number: int) -> Data:
        raw = self._meter.objects.get(AttributeRef(40, setup, number), own_authority(self._meter))
        return axdr.decode(raw)

    def message(self, setup: Obis) -> PushMessage:
        """What the setup sends now, from the committed books."""
        destination = self._attribute(setup, 3)
        return PushMessage(
            setup,
            int(destination.value[0].value),
            bytes(destination.value[1].value),
            int(self._attribute(setup, 9).value),
            self._body(setup),
            int(self._attribute(setup, 6).value),
            int(self._attribute(setup, 7).value),
            int(self._attribute(setup, 5).value),
            layers_of(self._meter, setup),
            tuple(
                (bytes(window.value[0].value), bytes(window.value[1].value))
                for window in self._attribute(setup, 4).value
            ),
        )

    def _body(self, setup: Obis) -> bytes:
        facility = next(f for f in self._meter.model.facilities if f.obis == setup)
        if facility.role.startswith("consumer"):
            return self._consumer_body(facility.role)
        listed = parse_items(self._attribute(setup, 2))
        return axdr.encode_structure(*(self._value(item) for item in listed))

    def _value(self, item: CapturedItem) -> bytes:
        """What the item names of an attribute; null-data where there is no such thing."""
        try:
            return axdr.encode(captured_value(self._meter, item, own_authority(self._meter)))
        except AccessError:
            return axdr.encode_null()

    def _consumer_body(self, role: str) -> bytes:
        """The consumer port's list: a version text, then code and value in turn; null for both
        where the meter has no such phase."""
        key = "nve1" if role == "consumer fast" else "nve2"
        pushed = next(p for p in self._meter.model.pushes if p.key == key)
        objects = self._meter.tree.objects
        parts = [axdr.encode(axdr.visible(pushed.version_text))]
        for obis in pushed.obis:
            item = objects.get(bytes(obis))
            if item is None:
                parts += [axdr.encode_null(), axdr.encode_null()]
                continue
            parts.append(axdr.encode_octets(obis))
            parts.append(self._value(CapturedItem(CaptureObject(item.class_id, obis))))
        return axdr.encode_structure(*parts)


def may_go(meter: Meter, message: PushMessage) -> bool:
    """Whether the clock of the meter stands in a communication window of the message."""
    return in_a_window(meter, message.windows)


def _security_of(meter: Meter, message: PushMessage) -> tuple[SecurityContext | None, int]:
    """How messages to and from the receiver are protected; None: not at all."""
    profile = meter.logical_device().profiles.get(message.client_sap)
    keys = None if profile is None else profile.keys
    protection = required_protection(meter, message.client_sap)
    peer = b""
    if message.layers:
        keys, peer = meter.key_set(), message.layers[0].recipient
        given = protection_of(message.layers)
        if protection & ~given:
            raise LocalProtocolError("the security policy asks for more than the push setup gives")
        protection = given
    if keys is None or not protection:
        return None, 0
    title = meter.identity.system_title
    context = SecurityContext(title, keys, meter.counters, meter.entropy, peer_title=peer)
    return context, protection


def is_confirmation(meter: Meter, message: PushMessage, octets: bytes, long_invoke: int) -> bool:
    """Whether these octets are the receiver's confirmation of an attempt, protected as the message
    itself was."""
    try:
        security, protection = _security_of(meter, message)
        if security is not None:
            opened = security.unprotect(octets)
            if protection & ~opened.protection:
                return False
            octets = opened.plain
        found = decode(octets)
    except (RemoteProtocolError, LocalProtocolError):
        return False
    return isinstance(found, DataNotificationConfirm) and found.long_invoke == long_invoke


def push_apdus(meter: Meter, message: PushMessage, long_invoke: int) -> list[bytes]:
    """The APDUs of one attempt to send, protected as the setup or else the association of its
    receiver asks; LocalProtocolError where that cannot be done (any more)."""
    security, protection = _security_of(meter, message)
    time = meter.clock_raw()
    if message.layers and security is not None:
        octets = DataNotification(long_invoke, time, message.body).encode()
        return whole_or_blocks(protect_apdu(security, octets, message.layers))
    return data_notification(
        message.body, long_invoke=long_invoke, time=time, security=security, protection=protection
    )
