"""Push protection (class 40, attribute 10): how a meter's own messages are protected.

The elements are envelopes around the notification, the last outermost: general-signing for a
signature, general-ciphering for authentication and encryption, or general-glo-ciphering where an
element names a global key and nothing else. An empty array leaves the protection
to the association of the receiver. What a receiver could not open, or what the meter cannot do, is
refused when it is written: there is nobody to tell when it is sent. Every message brings a key of
its own where keys are wrapped or agreed, so that none is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.certificates import AGREEMENT
from blathy.meter.classes.security_setup import client_certificate
from blathy.meter.objects import Attribute, setting_of
from blathy.obis import Obis
from blathy.wire.apdu import AgreedKey, IdentifiedKey, WrappedKey
from blathy.wire.data_protection import (
    SCHEMES,
    SIGNATURE,
    ProtectionElement,
    check_suite,
    parse_elements,
    protection_of,
)
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import TITLE_OCTETS

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

Layers = tuple[ProtectionElement, ...]
PROTECTION: Final = 10
CLIENT_SAP: Final = 9
DELIVERED_SAP: Final = 102
"""push_client_SAP as delivered: the pre-established client."""


def layers_of(meter: Meter, setup: Obis) -> Layers:
    """The envelopes that a setup asks for; none: as the association of the receiver."""
    held = setting_of(meter, setup, PROTECTION)
    return () if held is None else parse_elements(held)


def client_of(meter: Meter, setup: Obis) -> int:
    """The client whose association a setup pushes to."""
    held = setting_of(meter, setup, CLIENT_SAP)
    return DELIVERED_SAP if held is None else int(held.value)


def required_protection(meter: Meter, client_sap: int) -> int:
    """What the policy of the client asks of everything that is sent to it, as Protection bits."""
    profile = meter.logical_device().profiles.get(client_sap)
    return (meter.policy if profile is None else profile.policy).response


def _refused(reason: str) -> AccessError:
    return AccessError(DataAccessResult.OTHER_REASON, reason)


def require_possible(meter: Meter, layers: Layers, client_sap: int) -> None:
    """AccessError where messages cannot be protected so, now and with the keys in force."""
    if not layers:
        return
    if required_protection(meter, client_sap) & ~protection_of(layers):
        raise _refused("the security policy asks for more protection than this")
    signatures = sum(layer.kind == SIGNATURE for layer in layers)
    if signatures > 1 or len(layers) - signatures > 1:
        raise _refused("a message has one ciphering and one signature at most")
    try:
        check_suite(layers, meter.identity.suite)
    except LocalProtocolError as error:
        raise _refused(str(error)) from error
    recipient = _recipient(meter, layers)
    for layer in layers:
        _require_key(meter, layer, recipient)


def _recipient(meter: Meter, layers: Sequence[ProtectionElement]) -> bytes:
    """Whom the messages are for; empty for whoever has the key."""
    own = meter.identity.system_title
    if any(layer.originator not in {b"", own} for layer in layers):
        raise _refused("the originator of what a meter pushes is the meter")
    recipients = {layer.recipient for layer in layers}
    recipient = recipients.pop()
    if recipients or len(recipient) not in {0, TITLE_OCTETS} or recipient == own:
        raise _refused("messages have one recipient: the 8 octets of its system title, or none")
    return recipient


def _require_key(meter: Meter, layer: ProtectionElement, recipient: bytes) -> None:
    info = layer.key_info
    identified = layer.kind != SIGNATURE and isinstance(info, IdentifiedKey)
    if layer.transaction_id and not identified:
        raise _refused("this protection needs a transaction-id that rises; give none")
    if not recipient and (layer.kind == SIGNATURE or isinstance(info, AgreedKey)):
        raise _refused("signed messages and agreed keys need the title of the recipient")
    if layer.kind == SIGNATURE:
        return
    if isinstance(info, WrappedKey) and (info.kek_id or info.wrapped):
        raise _refused("every message brings a key of its own, wrapped under the master key")
    if isinstance(info, AgreedKey):
        if info.scheme not in SCHEMES or info.key_data:
            raise _refused("keys are agreed in one pass (01) or by static keys (02)")
        known = client_certificate(meter, AGREEMENT)
        if known is None or known.title != recipient:
            raise _refused("there is no certificate for key agreement of the recipient")


def protection_attribute(setup: Obis) -> Attribute:
    """push_protection_parameters of a setup; empty as delivered."""
    key = bytes(setup) + bytes((PROTECTION,))
    empty = axdr.encode(axdr.array())

    def write(meter: Meter, data: Data) -> None:
        try:
            layers = parse_elements(data)
        except AxdrError as error:
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
        require_possible(meter, layers, client_of(meter, setup))
        meter.save_setting(key, axdr.encode(data))

    return Attribute(lambda meter: meter.settings.get(key, empty), write)
