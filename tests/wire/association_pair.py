"""A client core and a server core with nothing but a list between them, and a small meter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from blathy.clock import Instant
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    Requester,
)
from blathy.obis import Obis
from blathy.wire.acse import Mechanism
from blathy.wire.association import (
    AssociationProfile,
    ClientAssociation,
    ClientConfig,
    ClientEvent,
    InvocationCounters,
    KeySet,
    LogicalDevice,
    Protection,
    SecurityPolicy,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)
from blathy.wire.security import new_private_key, public_key_of

NOW = Instant(0)
CLIENT_TITLE = bytes.fromhex("4D4D4D0000000001")
SERVER_TITLE = bytes.fromhex("4D4D4D0000BC614E")

ENERGY = AttributeRef(3, Obis(1, 0, 1, 8, 0), 2)
CLOCK = AttributeRef(8, Obis(0, 0, 1, 0, 0), 2)
LONG = AttributeRef(7, Obis(1, 0, 99, 1, 0), 2)
WRITABLE = AttributeRef(1, Obis(0, 0, 96, 1, 0), 2)
ABSENT = AttributeRef(3, Obis(1, 0, 99, 99, 9), 2)
DISCONNECT = MethodRef(70, Obis(0, 0, 96, 3, 10), 1)
ECHO = MethodRef(9, Obis(0, 0, 10, 0, 0), 1)

ENERGY_VALUE = bytes.fromhex("0600000539")
CLOCK_VALUE = bytes.fromhex("090C07EA0B15060C000000FFC400")
LONG_VALUE = b"\x01\x60" + b"".join(
    b"\x02\x03" + CLOCK_VALUE + b"\x11\x00\x06" + n.to_bytes(4, "big") for n in range(96)
)


def repeatable_entropy(seed: int) -> Callable[[int], bytes]:
    """Octets that look random and are the same in every run."""
    import hashlib

    numbers = count(seed << 32)

    def draw(octets: int) -> bytes:
        out = b""
        while len(out) < octets:
            out += hashlib.sha256(b"test entropy %d" % next(numbers)).digest()
        return out[:octets]

    return draw


@dataclass
class ToyMeter:
    """Objects enough for every service."""

    values: dict[tuple[int, bytes, int], bytes] = field(default_factory=dict)
    calls: list[tuple[MethodRef, bytes]] = field(default_factory=list)
    writes: list[tuple[AttributeRef, bytes]] = field(default_factory=list)
    asked: list[tuple[AttributeRef, Requester]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for ref, value in (
            (ENERGY, ENERGY_VALUE),
            (CLOCK, CLOCK_VALUE),
            (LONG, LONG_VALUE),
            (WRITABLE, b"\x09\x00"),
        ):
            self.values[ref.class_id, bytes(ref.obis), ref.attribute] = value

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        self.asked.append((ref, who))
        try:
            return self.values[ref.class_id, bytes(ref.obis), ref.attribute]
        except KeyError:
            raise AccessError(DataAccessResult.OBJECT_UNDEFINED) from None

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        if ref.obis != WRITABLE.obis:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        self.writes.append((ref, value))
        self.values[ref.class_id, bytes(ref.obis), ref.attribute] = value

    def invoke(self, ref: MethodRef, parameters: bytes, who: Requester) -> bytes:
        self.calls.append((ref, parameters))
        if ref.obis == ECHO.obis:
            return parameters
        if ref.obis == DISCONNECT.obis:
            return b""
        raise AccessError(ActionResult.OBJECT_UNDEFINED)

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        return {
            0x0100: (3, ENERGY.obis),
            0x0200: (8, CLOCK.obis),
            0x0300: (7, LONG.obis),
            0x0400: (1, WRITABLE.obis),
            0x0500: (9, ECHO.obis),
        }


def keys(suite: int = 0) -> KeySet:
    size = 32 if suite == 2 else 16
    return KeySet(
        suite,
        unicast=bytes(range(size)),
        authentication=bytes(range(0xD0 - 0x10, 0xD0 - 0x10 + size)),
        broadcast=b"\xaa" * size,
        master=bytes(range(0x40, 0x40 + size)),
    )


def key_pair(suite: int) -> tuple[KeySet, KeySet]:
    """The client's and the server's key set with signing and agreement keys of their own."""
    base = keys(suite)
    if suite == 0:
        return base, base
    draw = repeatable_entropy(99)
    signing_c, signing_s, agree_c, agree_s = (new_private_key(suite, draw) for _ in range(4))
    client = replace(
        base,
        signing=signing_c,
        agreement=agree_c,
        peer_signing=public_key_of(signing_s, suite),
        peer_agreement=public_key_of(agree_s, suite),
    )
    server = replace(
        base,
        signing=signing_s,
        agreement=agree_s,
        peer_signing=public_key_of(signing_c, suite),
        peer_agreement=public_key_of(agree_c, suite),
    )
    return client, server


@dataclass
class Pair:
    """Pushes every APDU through client and server; `wire` remembers what went by."""

    client: ClientAssociation
    server: ServerAssociation
    meter: ToyMeter
    device: LogicalDevice
    wire: list[tuple[str, bytes]] = field(default_factory=list)

    def exchange(self, octets: bytes) -> list[ClientEvent]:
        """Send one APDU and everything that follows from it; the client's events without Send."""
        events: list[ClientEvent] = []
        to_server = [octets]
        for _ in range(10_000):
            if not to_server:
                return events
            request = to_server.pop(0)
            self.wire.append((">", request))
            for answer in self.server.receive_apdu(request, NOW):
                self.wire.append(("<", answer))
                for event in self.client.receive_apdu(answer, NOW):
                    if isinstance(event, Send):
                        to_server.append(event.apdu)
                    else:
                        events.append(event)
        raise AssertionError("the conversation does not end")

    def associate(self) -> list[ClientEvent]:
        return self.exchange(self.client.associate())


def make_pair(
    config: ClientConfig,
    profile: AssociationProfile,
    *,
    server_pdu_size: int = 2048,
    upload_octets_max: int = 1 << 20,
) -> Pair:
    meter = ToyMeter()
    device = LogicalDevice(
        {profile.client_sap: profile},
        meter,
        SERVER_TITLE,
        repeatable_entropy(1),
        InvocationCounters(VolatileCounterStore()),
        pdu_size=server_pdu_size,
        upload_octets_max=upload_octets_max,
    )
    client = ClientAssociation(
        config, repeatable_entropy(2), InvocationCounters(VolatileCounterStore())
    )
    return Pair(client, ServerAssociation(device, profile.client_sap), meter, device)


def secured_pair(
    mechanism: Mechanism = Mechanism.HLS_GMAC,
    suite: int = 0,
    *,
    pdu_size: int = 0xFFFF,
    server_pdu_size: int = 2048,
    policy: SecurityPolicy = SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
    short_names: bool = False,
    secret: bytes = b"0123456789ABCDEF",
    **options: object,
) -> Pair:
    """Client and server that agree on everything; `options` go to the client."""
    client_keys, server_keys = key_pair(suite)
    config = ClientConfig(
        mechanism,
        secret,
        CLIENT_TITLE,
        client_keys,
        pdu_size=pdu_size,
        short_names=short_names,
        **options,  # type: ignore[arg-type]
    )
    profile = AssociationProfile(
        1,
        mechanism,
        secret,
        server_keys,
        policy,
        conformance=0xFFFFFF,
        short_names=short_names,
    )
    return make_pair(config, profile, server_pdu_size=server_pdu_size)


def plain_pair(
    mechanism: Mechanism = Mechanism.NONE,
    *,
    pdu_size: int = 0xFFFF,
    server_pdu_size: int = 2048,
    secret: bytes = b"12345678",
    short_names: bool = False,
    **options: object,
) -> Pair:
    has_keys = mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA)
    client_keys, server_keys = key_pair(1 if mechanism is Mechanism.HLS_ECDSA else 0)
    config = ClientConfig(
        mechanism,
        secret,
        CLIENT_TITLE,
        client_keys if has_keys else None,
        protection=Protection.NONE,
        pdu_size=pdu_size,
        short_names=short_names,
        **options,  # type: ignore[arg-type]
    )
    profile = AssociationProfile(
        16,
        mechanism,
        secret,
        server_keys if has_keys else None,
        conformance=0xFFFFFF,
        short_names=short_names,
    )
    return make_pair(config, profile, server_pdu_size=server_pdu_size)
