"""V.44 is not spoken: what is compressed is refused as the standard says, and nothing is lost."""

from __future__ import annotations

import pytest

from blathy.wire.association import GetAnswer, ServiceRefused
from tests.wire.association_pair import ENERGY, ENERGY_VALUE, NOW, secured_pair

DECIPHERING_ERROR = bytes.fromhex("d80105")
SECURITY_CONTROL = 2
COMPRESSED = 0x80


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_a_compressed_request_is_a_deciphering_error_and_the_association_stands(suite: int) -> None:
    pair = secured_pair(suite=suite)
    pair.associate()
    request = bytearray(pair.client.get(ENERGY))
    request[SECURITY_CONTROL] |= COMPRESSED
    assert pair.server.receive_apdu(bytes(request), NOW) == [DECIPHERING_ERROR]
    (refused,) = pair.client.receive_apdu(DECIPHERING_ERROR, NOW)
    assert isinstance(refused, ServiceRefused)
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)


def test_a_compressed_answer_is_refused_by_the_client_and_the_real_one_taken() -> None:
    pair = secured_pair()
    pair.associate()
    (octets,) = pair.server.receive_apdu(pair.client.get(ENERGY), NOW)
    compressed = bytearray(octets)
    compressed[SECURITY_CONTROL] |= COMPRESSED
    with pytest.raises(Exception, match=r"V\.44"):
        pair.client.receive_apdu(bytes(compressed), NOW)
    (answer,) = pair.client.receive_apdu(octets, NOW)
    assert isinstance(answer, GetAnswer)
