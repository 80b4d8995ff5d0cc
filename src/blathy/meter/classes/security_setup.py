"""Security setup (class 64, version 1): policy, key transfer, key agreement, certificates.

A new key is in force once it is durable, and not before: a transfer that does not unwrap, an
agreement that is not signed or a store that fails leaves the old key. A key pair that was generated
waits until the certificate for it is imported.

A certificate is taken where a chain leads from it to the authority of this meter, over authorities
that were imported before, and where the meter's clock is within the time of all of them; and it is
asked for both again whenever a signature or an agreement would rest on it. What was removed, with
an authority all that it issued, proves nothing from the next APDU on: that is the revocation that
class 64 knows. The TLS pair is generated, requested and certified like the others, for the module
that uses it: no port of this meter speaks TLS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.certificates import (
    AGREEMENT,
    AUTHORITY,
    CLIENT,
    SERVER,
    SIGNATURE,
    TLS,
    Certificate,
    CertificateError,
    leads_to,
    read,
    request,
)
from blathy.meter.objects import (
    ENUM,
    OS,
    Attribute,
    CosemObject,
    Method,
    array_shape,
    fits,
    refused,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import (
    agree_ephemeral,
    ephemeral_offer,
    new_private_key,
    public_key_of,
)

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

KEY_NAMES: Final = {0: "unicast", 1: "broadcast", 2: "authentication", 3: "master"}
OWN_KEYS: Final = {SIGNATURE: "signing", AGREEMENT: "agreement"}
_KEY_PAIRS: Final = {**OWN_KEYS, TLS: "tls"}
PEER_KEYS: Final = {SIGNATURE: "peer_signing", AGREEMENT: "peer_agreement"}
CERTIFICATES_MAX: Final = 16
TIME_END_S: Final = 1 << 40
_CERTIFICATE: Final = b"certificate:"
_PENDING: Final = b"pending-key:"
_NEWEST: Final = b"client-certificate:"
_KEY_LIST: Final = array_shape(structure_shape(ENUM, OS))
_SIGNATURE_BITS: Final = 0x90
_UNUSED_BITS: Final = 0x03


# --- certificates -----------------------------------------------------------------------------


def certificates(meter: Meter) -> Iterator[Certificate]:
    """Those in force: as delivered, unless another was imported for the same holder and use."""
    suite = meter.identity.suite
    found = {_place(one): one for one in (read(der, suite) for der in meter.identity.certificates)}
    for key, der in meter.settings.items():
        if key.startswith(_CERTIFICATE):
            found.pop(key, None)
            if der:
                found[key] = read(der, suite)
    yield from found.values()


def _place(one: Certificate) -> bytes:
    """Where it is kept; another for the same holder and use takes the place. An authority that
    changes its key has two for a time."""
    holder = one.title
    if one.is_authority:
        holder = hashlib.sha256(one.subject + one.public).digest()[:8]
    return _CERTIFICATE + bytes((one.kind,)) + holder


def _entity(meter: Meter, one: Certificate) -> int:
    if one.is_authority:
        return AUTHORITY
    return SERVER if one.title == meter.identity.system_title else CLIENT


def client_certificate(meter: Meter, kind: int) -> Certificate | None:
    """The client certificate of that use which was imported last, or the one as delivered; None
    where that is not to be trusted now."""
    held = tuple(certificates(meter))
    clients = [c for c in held if c.kind == kind and _entity(meter, c) == CLIENT]
    newest = meter.settings.get(_NEWEST + bytes((kind,)))
    found = next((c for c in clients if c.title == newest), clients[0] if clients else None)
    return found if found is not None and _is_trusted(meter, found, held) else None


def _is_trusted(meter: Meter, one: Certificate, held: Iterable[Certificate]) -> bool:
    identity, now = meter.identity, meter.clock_utc_s()
    return one.is_valid_at(now) and leads_to(one, identity.authority, held, identity.suite, now)


def trusted_between(meter: Meter) -> tuple[int, int]:
    """The seconds of the meter's clock, around now, within which no certificate begins or ends."""
    now, low, high = meter.clock_utc_s(), 0, TIME_END_S
    for one in certificates(meter) if meter.identity.suite else ():
        for edge in (one.valid_from_s, one.valid_until_s + 1):
            if edge <= now:
                low = max(low, edge)
            else:
                high = min(high, edge)
    return low, high


def peer_key(meter: Meter, kind: int) -> bytes:
    found = client_certificate(meter, kind)
    return b"" if found is None else found.public


def _needs_curves(meter: Meter) -> int:
    suite = meter.identity.suite
    if not suite:
        raise refused("security suite 0 has no signatures, key agreement or certificates")
    return suite


def _list_of(meter: Meter) -> bytes:
    if not meter.identity.suite:
        return axdr.encode(axdr.array())
    return axdr.encode(
        axdr.array_of(
            axdr.structure(
                axdr.enum(_entity(meter, one)), axdr.enum(one.kind), axdr.octets(one.serial),
                axdr.octets(one.issuer), axdr.octets(one.subject), axdr.octets(b""),
            )
            for one in certificates(meter)
        )
    )  # fmt: skip


def _kind_of(data: Data) -> int:
    if not fits(data, ENUM):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "the kind of key pair is an enum")
    if data.value not in _KEY_PAIRS:
        raise refused("there are key pairs for signatures (0), key agreement (1) and TLS (2)")
    return int(data.value)


def _generate(meter: Meter, data: Data, _who: Requester) -> bytes:
    suite, kind = _needs_curves(meter), _kind_of(data)
    meter.save_setting(_PENDING + bytes((kind,)), new_private_key(suite, meter.entropy))
    return b""


def _request(meter: Meter, data: Data, _who: Requester) -> bytes:
    suite, kind = _needs_curves(meter), _kind_of(data)
    private = meter.settings.get(_PENDING + bytes((kind,))) or _private_key(meter, kind)
    if not private:
        raise refused("there is no TLS key pair yet: generate one first")
    return axdr.encode_octets(request(meter.identity.system_title, private, suite))


def _import(meter: Meter, data: Data, _who: Requester) -> bytes:
    suite = _needs_curves(meter)
    if not fits(data, OS):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "a certificate is an octet-string")
    try:
        one = read(bytes(data.value), suite)
    except CertificateError as error:
        raise refused(str(error)) from error
    _check(meter, one)
    place = _place(one)
    held = {_place(c) for c in certificates(meter)}
    if place not in held and len(held) >= CERTIFICATES_MAX:
        raise refused("no room for another certificate")
    changes = {place: one.der}
    if _entity(meter, one) == SERVER:
        private = _own_private(meter, one, suite)
        changes[b"key:" + _KEY_PAIRS[one.kind].encode()] = private
        changes[_PENDING + bytes((one.kind,))] = b""
    elif not one.is_authority:
        changes[_NEWEST + bytes((one.kind,))] = one.title
    meter.change_security(changes)
    meter.record("parameters_changed")
    return b""


def _check(meter: Meter, one: Certificate) -> None:
    if not one.is_valid_at(meter.clock_utc_s()):
        raise refused("the certificate is not valid now")
    if not _is_trusted(meter, one, certificates(meter)):
        raise refused("no valid chain leads from it to the authority of this meter")


def _private_key(meter: Meter, kind: int) -> bytes:
    """The private key in force; empty of TLS until a certificate for one was imported."""
    if kind == TLS:
        return meter.settings.get(b"key:tls", b"")
    return meter.key(OWN_KEYS[kind])


def _own_private(meter: Meter, one: Certificate, suite: int) -> bytes:
    """The private key that a certificate of the meter's own belongs to."""
    pending = meter.settings.get(_PENDING + bytes((one.kind,)))
    for private in (pending, _private_key(meter, one.kind)):
        if private and public_key_of(private, suite) == one.public:
            return private
    raise refused("the certificate is for a key pair that this meter does not have")


def _identified(meter: Meter, data: Data) -> Certificate:
    """The certificate that an identification means; AccessError where there is none."""
    _needs_curves(meter)
    by_entity = structure_shape(ENUM, structure_shape(ENUM, ENUM, OS))
    by_serial = structure_shape(ENUM, structure_shape(OS, OS))
    if fits(data, by_entity) and data.value[0].value == 0:
        entity, kind, title = (field.value for field in data.value[1].value)
        wanted = (
            c
            for c in certificates(meter)
            if (_entity(meter, c), c.kind, c.title) == (entity, kind, bytes(title))
        )
    elif fits(data, by_serial) and data.value[0].value == 1:
        serial, issuer = (bytes(field.value) for field in data.value[1].value)
        wanted = (c for c in certificates(meter) if (c.serial, c.issuer) == (serial, issuer))
    else:
        raise AccessError(ActionResult.TYPE_UNMATCHED, "this identifies no certificate")
    found = next(wanted, None)
    if found is None:
        raise AccessError(ActionResult.OBJECT_UNAVAILABLE, "there is no such certificate")
    return found


def _export(meter: Meter, data: Data, _who: Requester) -> bytes:
    return axdr.encode_octets(_identified(meter, data).der)


def _remove(meter: Meter, data: Data, _who: Requester) -> bytes:
    one = _identified(meter, data)
    if _entity(meter, one) == SERVER:
        raise refused("the meter's own certificates can be replaced, not removed")
    meter.change_security({_place(one): b""})
    meter.record("parameters_changed")
    return b""


# --- keys and policy --------------------------------------------------------------------------


def _activate(meter: Meter, data: Data, _who: Requester) -> bytes:
    if not fits(data, ENUM):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "the policy is an enum")
    wanted = int(data.value)
    unknown = _UNUSED_BITS | (0 if meter.identity.suite else _SIGNATURE_BITS)
    if wanted & unknown or (wanted & int(meter.policy)) != int(meter.policy):
        raise refused("a policy can only be strengthened, and without signatures in suite 0")
    meter.raise_policy(wanted)
    meter.record("parameters_changed")
    return b""


def _named(data: Data) -> list[tuple[int, bytes]]:
    if not fits(data, _KEY_LIST):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "keys come as id and octets")
    items = [(int(item.value[0].value), bytes(item.value[1].value)) for item in data.value]
    numbers = [number for number, _ in items]
    if not set(numbers) <= set(KEY_NAMES) or len(set(numbers)) != len(numbers):
        raise refused("there are the key ids 0 to 3, each once")
    return items


def _transfer(meter: Meter, data: Data, _who: Requester) -> bytes:
    meter.change_keys({KEY_NAMES[number]: octets for number, octets in _named(data)})
    meter.record("parameters_changed")
    return b""


def _agree(meter: Meter, data: Data, who: Requester) -> bytes:
    suite = _needs_curves(meter)
    signer = client_certificate(meter, SIGNATURE)
    if signer is None or signer.title != who.client_title:
        raise refused("there is no certificate of this client to check its signature with")
    fresh: dict[str, bytes] = {}
    offers: list[Data] = []
    for number, offer in _named(data):
        private = new_private_key(suite, meter.entropy)
        try:
            key = agree_ephemeral(
                number, private, offer, signer.public, suite,
                client_title=who.client_title, server_title=meter.identity.system_title,
            )  # fmt: skip
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise refused(str(error)) from error
        fresh[KEY_NAMES[number]] = key
        own = ephemeral_offer(number, private, meter.key("signing"), suite)
        offers.append(axdr.structure(axdr.enum(number), axdr.octets(own)))
    meter.replace_keys(fresh)
    meter.record("parameters_changed")
    return axdr.encode(axdr.array(*offers))


METHODS: Final[tuple[Method | None, ...]] = (
    _activate, _transfer, _agree, _generate, _request, _import, _export, _remove,
)  # fmt: skip


def security_object(facility: Facility) -> CosemObject:
    """Class 64, version 1."""

    def policy(meter: Meter) -> bytes:
        return axdr.encode_enum(int(meter.policy))

    def suite(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.identity.suite)

    def client_title(_meter: Meter, who: Requester) -> bytes:
        return axdr.encode_octets(who.client_title)

    def server_title(meter: Meter) -> bytes:
        return axdr.encode_octets(meter.identity.system_title)

    return CosemObject(
        64,
        1,
        facility.obis,
        facility.group,
        facility.title,
        (
            Attribute(policy),
            Attribute(suite),
            Attribute(None, personal=client_title),
            Attribute(server_title),
            Attribute(_list_of),
        ),
        METHODS,
    )
