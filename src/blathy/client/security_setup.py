"""Keys, passwords and security policy of a meter (classes 64 and 15).

A changed key counts from the next association on: connect again with what `change_keys` returned,
and keep the old keys until that has worked. A head-end does it in two phases (`blathy keys`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from blathy.client.items import parse_obis
from blathy.client.meter import Meter
from blathy.client.values import ObjectRefused
from blathy.cosem import axdr
from blathy.cosem.classes.enumerations import KeyId, SecurityPolicy
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.transport.errors import Garbled, Refused
from blathy.wire.security import KeySet
from blathy.wire.suites import wrap_key

SECURITY_SETUP: Final = "0-0:43.0.0"
CURRENT_ASSOCIATION: Final = "0-0:40.0.0"
SECURITY_CLASS: Final = 64
ASSOCIATION_CLASS: Final = 15
_AUTHENTICATED: Final = SecurityPolicy.REQUEST_AUTHENTICATED | SecurityPolicy.RESPONSE_AUTHENTICATED
_ENCRYPTED: Final = SecurityPolicy.REQUEST_ENCRYPTED | SecurityPolicy.RESPONSE_ENCRYPTED
_OF_VERSION_0: Final = {
    0: SecurityPolicy.NOTHING, 1: _AUTHENTICATED, 2: _ENCRYPTED, 3: _AUTHENTICATED | _ENCRYPTED,
}  # fmt: skip
PURPOSES: Final[dict[str, tuple[KeyId, str]]] = {
    "encryption": (KeyId.GLOBAL_UNICAST_ENCRYPTION, "unicast"),
    "broadcast": (KeyId.GLOBAL_BROADCAST_ENCRYPTION, "broadcast"),
    "authentication": (KeyId.AUTHENTICATION, "authentication"),
    "master": (KeyId.MASTER, "master"),
}


async def change_keys(
    meter: Meter, fresh: Mapping[str, bytes], *, master: bytes = b"", obis: str = SECURITY_SETUP
) -> KeySet:
    """Hand new keys over, wrapped under the master key (else `kek=` of the address): all or none.

    `fresh` has keys for some of encryption, authentication, broadcast, master. What is returned is
    the key set for the next association.
    """
    keys = meter.address.keys
    master = master or keys.master
    if not master:
        raise Refused("keys are handed over under the master key", "give master= or kek=")
    if not fresh or not set(fresh) <= set(PURPOSES):
        raise Refused("these are no keys of a meter", f"name some of {', '.join(PURPOSES)}")
    try:
        renewed: dict[str, Any] = {PURPOSES[name][1]: key for name, key in fresh.items()}
        changed = replace(keys, **renewed)
        wrapped = [
            axdr.structure(axdr.enum(PURPOSES[name][0]), axdr.octets(wrap_key(master, key)))
            for name, key in fresh.items()
        ]
    except ValueError as error:
        raise Refused(str(error), f"suite {keys.suite} has keys of another length") from error
    await meter.action(obis, "key_transfer", axdr.array(*wrapped))
    return changed


async def change_password(meter: Meter, secret: bytes | str, client: int | None = None) -> None:
    """Another LLS password for a client, or HLS secret for our own; ours where none is named."""
    octets = secret.encode() if isinstance(secret, str) else secret
    own = meter.address.client
    if meter.address.mechanism.is_hls and client in {None, own}:
        await meter.action(CURRENT_ASSOCIATION, "change_HLS_secret", axdr.octets(octets))
        return
    association = await _association_of(meter, own if client is None else client)
    await meter.write(AttributeRef(ASSOCIATION_CLASS, association, 7), axdr.octets(octets))


async def _association_of(meter: Meter, client: int) -> Obis:
    """The association object of a client, else the current one."""
    for entry in await meter.objects():
        if entry.class_id != ASSOCIATION_CLASS or str(entry.obis) == CURRENT_ASSOCIATION:
            continue
        with suppress(ObjectRefused, TypeError, IndexError, AttributeError):
            partners = await meter.get_data(AttributeRef(ASSOCIATION_CLASS, entry.obis, 3))
            if partners.value[0].value == client:
                return entry.obis
    return parse_obis(CURRENT_ASSOCIATION)


async def security_policy(meter: Meter, obis: str = SECURITY_SETUP) -> SecurityPolicy:
    """What requests and responses must at least be protected with."""
    value = await meter.read(f"{obis}/2")
    if not isinstance(value, int):
        raise Garbled(f"{meter.address.place} tells no security policy", "see it with --raw")
    if (await meter.find(parse_obis(obis), SECURITY_CLASS)).version == 0:
        return _OF_VERSION_0.get(value, SecurityPolicy.NOTHING)
    return SecurityPolicy(value)


async def activate_security(
    meter: Meter, policy: SecurityPolicy, obis: str = SECURITY_SETUP
) -> None:
    """Raise the security policy; meters refuse to lower it."""
    code = int(policy)
    if (await meter.find(parse_obis(obis), SECURITY_CLASS)).version == 0:
        code = next((old for old, new in _OF_VERSION_0.items() if new == policy), -1)
        if code < 0:
            raise Refused(
                f"{meter.address.place} has a security setup of version 0",
                "it asks the same of requests and responses: authentication, encryption or both",
            )
    await meter.action(obis, "security_activate", axdr.enum(code))
