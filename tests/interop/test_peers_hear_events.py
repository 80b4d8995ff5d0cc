"""Our event notifications, read by a client that this project did not write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blathy.clock import Instant
from blathy.meter.meter import Meter
from blathy.models.model import Mechanism
from blathy.registers.block import Incident
from blathy.wire import wrapper
from blathy.wire.acse import Mechanism as WireMechanism
from blathy.wire.association import (
    ClientAssociation,
    ClientConfig,
    InvocationCounters,
    KeySet,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)
from tests.interop.peers import Peer, meter_of
from tests.meter.simple_load import ConstantLoad
from tests.wire.association_pair import repeatable_entropy

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
NOW = Instant(0)
CODE = "0.0.96.11.0.255"
COVER_OPENED = 40


@pytest.fixture(scope="module")
def gurux() -> Iterator[Peer]:
    with Peer("gurux_client") as peer:
        yield peer


def told(meter: Meter, config: ClientConfig) -> list[bytes]:
    """The wrapper packets in which the meter tells its associated client of an opened cover."""
    client = ClientAssociation(
        config, repeatable_entropy(9), InvocationCounters(VolatileCounterStore())
    )
    server = ServerAssociation(meter.logical_device(), 1)
    requests = [client.associate()]
    while requests:
        for answer in server.receive_apdu(requests.pop(0), NOW):
            events = client.receive_apdu(answer, NOW)
            requests += [event.apdu for event in events if isinstance(event, Send)]
    assert client.associated
    now = meter.ledger.now
    block = ConstantLoad(500, 3).block(now, 1, 1)
    meter.step(block.with_incidents([Incident(now, "terminal_cover_opened")]))
    meter.commit()
    apdus = [
        apdu
        for notice in meter.take_notices()
        for apdu in server.report(notice.attribute, notice.value, notice.time)
    ]
    return [wrapper.encode(1, 1, apdu) for apdu in apdus]


def test_gurux_reads_an_event_in_clear(gurux: Peer) -> None:
    meter = meter_of(Mechanism.LLS, model="esox")
    secret = meter.secret_of(next(a for a in meter.model.associations if a.client_sap == 1))
    (packet,) = told(meter, ClientConfig(WireMechanism.LLS, secret))
    found = gurux({"report": packet.hex(), "object": CODE})
    assert found == {"object": CODE, "attribute": 2, "value": COVER_OPENED}


def test_gurux_reads_a_ciphered_event(gurux: Peer) -> None:
    meter = meter_of(Mechanism.HLS_GMAC, model="esox")
    ek, ak = meter.key("unicast"), meter.key("authentication")
    keys = KeySet(0, unicast=ek, authentication=ak)
    (packet,) = told(meter, ClientConfig(WireMechanism.HLS_GMAC, b"", b"GRX00001", keys))
    assert packet[8] == 0xCA
    found = gurux(
        {
            "report": packet.hex(), "object": CODE, "ek": ek.hex(), "ak": ak.hex(),
            "meter": meter.identity.system_title.hex(),
        }
    )  # fmt: skip
    assert found == {"object": CODE, "attribute": 2, "value": COVER_OPENED}
