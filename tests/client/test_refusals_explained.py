"""Every way in which a meter can refuse an association ends in one sentence with a remedy."""

from __future__ import annotations

import pytest

from blathy.client.address import parse_address
from blathy.client.conversation import explain_refusal
from blathy.clock import Instant
from blathy.wire import acse
from blathy.wire.acse import AssociationResult, Context, DiagnosticSource, UserDiagnostic
from blathy.wire.association_events import AssociationRefused
from blathy.wire.client import ClientAssociation, ClientConfig
from tests.wire.association_pair import repeatable_entropy

ADDRESS = parse_address("dlms://192.0.2.1?client=77")
EVERY = [(DiagnosticSource.USER, int(each)) for each in UserDiagnostic] + [
    (DiagnosticSource.USER, 99), (DiagnosticSource.PROVIDER, 1), (DiagnosticSource.PROVIDER, 2),
]  # fmt: skip


@pytest.mark.parametrize("result", [1, 2])
@pytest.mark.parametrize(("source", "diagnostic"), EVERY)
def test_cause_and_remedy_are_named_and_no_number_is_left_to_look_up(
    source: DiagnosticSource, diagnostic: int, result: int
) -> None:
    client = ClientAssociation(ClientConfig(), repeatable_entropy(1))
    client.associate()
    aare = acse.Aare(Context.LN, AssociationResult(result), source, diagnostic, b"")
    (refusal,) = client.receive_apdu(aare.encode(), Instant(0))
    assert isinstance(refusal, AssociationRefused)
    text = str(explain_refusal(refusal, ADDRESS))
    assert text.startswith("192.0.2.1:4059 refuses the association of client 77: ")
    assert "diagnostic" not in text
    assert "\n" not in text
    assert "; " in text
    remedy = text.rpartition(";")[2]
    assert "=" in remedy or "check" in remedy
