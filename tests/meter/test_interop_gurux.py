"""Meters read over their ports by a client that this project did not write; every model is in
`tests.interop.test_every_model`."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest

from blathy.cosem import axdr
from blathy.meter.meter import Meter
from blathy.models.model import Level, Mechanism
from blathy.wire.credit_token import CreditToken, make_token
from tests.meter.running import call, fed, get, gurux, made, put, served

pytestmark = [pytest.mark.interop, pytest.mark.requirement("K-17")]
BY_GURUX_ITSELF = {(28, 7)}
"""Auto answer is read as version 0 by gurux-dlms 1.0.203 whatever the object list says."""


def job_of(meter: Meter, level: Level, port: int) -> dict[str, Any]:
    association = next(a for a in meter.model.associations if a.level is level)
    mechanism = meter.mechanism_of(association)
    job: dict[str, Any] = {
        "port": port, "client": association.client_sap, "clock": meter.model.clock.obis.dotted(),
        "auth": {Mechanism.NONE: "none", Mechanism.LLS: "lls"}.get(mechanism, "hls5"),
    }  # fmt: skip
    if mechanism is Mechanism.LLS:
        job["password"] = meter.secret_of(association).decode()
    if mechanism is Mechanism.HLS_GMAC:
        job["ek"] = meter.key("unicast").hex()
        job["ak"] = meter.key("authentication").hex()
    return job


@pytest.mark.parametrize("level", [Level.PUBLIC, Level.READER])
def test_the_public_and_the_reading_client_browse_what_they_may(level: Level) -> None:
    meter = fed("mt372", 1)
    with served(meter) as port:
        found = gurux(job_of(meter, level, port) | {"walk": True})
    assert len(found["objects"]) == len(meter.tree.view(level).list_entries)
    assert [row for row in found["wrong"] if (row[0], row[2]) not in BY_GURUX_ITSELF] == []


def test_its_charge_token_gateway_and_port_protection_are_ours() -> None:
    """Classes that this client knows by name: what it writes into them and reads back."""
    meter = made("reference")
    call(meter, 111, "0-0:19.0.0", 1)
    put(meter, 113, "0-0:19.20.1", 9, axdr.bits("01"))
    put(meter, 48, "0-0:25.7.0", 4, axdr.array(axdr.octets(IPv6Address("2001:db8::1").packed)))
    sold = CreditToken(1, 5000)
    token = make_token(sold, meter.key("master"), meter.identity.system_title)
    octets, double_long, integer = 9, 5, 15
    with served(meter) as port:
        found = gurux(job_of(meter, Level.MANAGEMENT, port) | {
            "call": [
                ["GXDLMSTokenGateway", "0.0.19.40.0.255", 1, token.hex(), octets],
                ["GXDLMSTokenGateway", "0.0.19.40.0.255", 1, token.hex(), octets],
                ["GXDLMSCharge", "0.0.19.20.1.255", 5, "700", double_long],
                ["GXDLMSCharge", "0.0.19.20.1.255", 4, "-100", double_long],
                ["GXDLMSCommunicationPortProtection", "0.0.44.2.0.255", 1, "0", integer],
            ],
            "attributes": [
                ["GXDLMSCharge", "0.0.19.20.1.255", [2, 3, 4, 8, 11, 12, 13]],
                ["GXDLMSTokenGateway", "0.0.19.40.0.255", [2, 3, 4, 5]],
                ["GXDLMSCommunicationPortProtection", "0.0.44.2.0.255", [2, 3, 4, 5, 6, 8, 9, 10]],
                ["GXDLMSIp6Setup", "0.0.25.7.0.255", [2, 3, 4, 5, 6, 9]],
                ["GXDLMSLteMonitoring", "0.0.25.11.0.255", [2]],
            ],
        })  # fmt: skip
    assert found["called"][:2] == ["02021603042000001388", "020216060400"]
    charge, gateway, port_protection, ipv6, _ = found["attributes"]
    assert charge == ["0", "1", "1", "0", "0", "600", "0"]
    assert "5000 Wh" in gateway[2]
    assert port_protection[:5] == ["LockedOnFailedAttempts", "10", "60", "2", "3600"]
    assert port_protection[5:] == ["Unlocked", "0", "0"]
    assert "db8" in ipv6[2]
    assert get(meter, 112, "0-0:19.10.0", 2) == 5000
