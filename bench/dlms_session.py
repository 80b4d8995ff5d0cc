"""A secured session, core against core, beside gurux-dlms and dlms-cosem in their own processes.

One session: associate with HLS-GMAC, suite 0 authenticated and encrypted, read a register, read 96
rows of a profile in blocks of 1 024 octets, release. CPU time of each side; no sockets. Every
figure, ours and theirs, is the best of some rounds: what other programs leave of the machine's
caches is no part of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.wire.association_pair import (
    CLIENT_TITLE,
    ENERGY,
    ENERGY_VALUE,
    LONG,
    NOW,
    SERVER_TITLE,
    Pair,
    ToyMeter,
    repeatable_entropy,
    secured_pair,
)

from blathy.cosem import axdr
from blathy.wire import apdu
from blathy.wire.acse import Mechanism
from blathy.wire.association import (
    AssociationProfile,
    ClientAssociation,
    ClientConfig,
    Envelope,
    InvocationCounters,
    KeySet,
    LogicalDevice,
    SecurityPolicy,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)

SCRIPTS = Path(__file__).resolve().parent.parent / "tests" / "wire"
PEERS = {"gurux-dlms": "peer_gurux.py", "dlms-cosem": "peer_dlms_cosem.py"}
RESPONSE_DECODER = Path(__file__).resolve().parent / "peers" / "response_decoder.py"
# dlms-cosem knows no other envelope than general-glo.
RESPONSE_PEERS = {
    "gurux-dlms": ("gurux", Envelope.GLO), "dlms-cosem": ("dlms_cosem", Envelope.GENERAL_GLO),
}  # fmt: skip
KEYS = KeySet(0, bytes(range(16)), bytes(range(0xC0, 0xD0)))
SESSIONS, ROUNDS = 40, 25
RESPONSES, PEER_RESPONSES = 1_000, 501
PDU_SIZE = 1024


def _device() -> LogicalDevice:
    profile = AssociationProfile(
        16, Mechanism.HLS_GMAC, b"", KEYS, SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
        bare_release=True,
    )  # fmt: skip
    return LogicalDevice(
        {16: profile}, ToyMeter(), SERVER_TITLE, repeatable_entropy(1),
        InvocationCounters(VolatileCounterStore()),
    )  # fmt: skip


def _own_ms() -> tuple[float, float]:
    """CPU time of one session at the client and at the server."""
    device, counters = _device(), InvocationCounters(VolatileCounterStore())
    config = ClientConfig(Mechanism.HLS_GMAC, b"", CLIENT_TITLE, KEYS, pdu_size=PDU_SIZE)
    entropy = repeatable_entropy(2)
    clock = time.process_time
    client_s = server_s = 0.0
    for _ in range(SESSIONS):
        at = clock()
        client = ClientAssociation(config, entropy, counters)
        client_s += clock() - at
        server = ServerAssociation(device, 16)
        steps = (
            client.associate,
            lambda client=client: client.get(ENERGY),
            lambda client=client: client.get(LONG),
            client.release,
        )
        for step in steps:
            at = clock()
            up = [step()]
            client_s += clock() - at
            while up:
                at = clock()
                answers = server.receive_apdu(up.pop(0), NOW)
                server_s += clock() - at
                for answer in answers:
                    at = clock()
                    events = client.receive_apdu(answer, NOW)
                    client_s += clock() - at
                    up += [event.apdu for event in events if isinstance(event, Send)]
        assert not server.associated
    return client_s / SESSIONS * 1e3, server_s / SESSIONS * 1e3


def peer_ms(script: str) -> float | None:
    """CPU time of one session at another client, against our server."""
    job = {
        "client": 16, "mechanism": 5, "secret": "", "title": CLIENT_TITLE.hex(), "security": 0x30,
        "ek": KEYS.unicast.hex(), "ak": KEYS.authentication.hex(), "pdu_size": PDU_SIZE,
        "get": [["register", 2], ["profile", 2]], "sessions": 8,
    }  # fmt: skip
    server = ServerAssociation(_device(), 16)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPTS / script)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as peer:  # fmt: skip
        assert peer.stdin is not None
        assert peer.stdout is not None
        print(json.dumps(job), file=peer.stdin, flush=True)
        for line in peer.stdout:
            if line.startswith("RESULT "):
                figure: float | None = json.loads(line[7:]).get("cpu_ms")
                return figure
            if line.startswith("APDU "):
                answers = server.receive_apdu(bytes.fromhex(line[5:]), NOW)
                print(json.dumps([a.hex() for a in answers]), file=peer.stdin, flush=True)
    return None


def _responses(count: int, envelope: Envelope = Envelope.GLO) -> tuple[Pair, list[bytes]]:
    """Ciphered responses to GET of a register, and the client that asked."""
    pair = secured_pair(envelope=envelope)
    pair.associate()
    answers = []
    for _ in range(count):
        request = pair.client.get(ENERGY)
        answers += pair.server.receive_apdu(request, NOW)
        pair.client.cancel()
    return pair, answers


def _responses_per_s() -> float:
    """Ciphered register responses: decipher, match with the request, decode the value."""
    pair, answers = _responses(RESPONSES)
    security = pair.client.security
    assert security is not None
    started = time.process_time()
    for number, answer in enumerate(answers):
        opened = security.unprotect(answer)
        response = apdu.decode(opened.plain)
        assert isinstance(response, apdu.GetResponseNormal)
        assert response.result == ENERGY_VALUE, number
        axdr.decode(ENERGY_VALUE)
    return RESPONSES / (time.process_time() - started)


def _peer_responses_per_s(peer: str, envelope: Envelope) -> float:
    """The same at a peer, in a process of its own."""
    pair, answers = _responses(PEER_RESPONSES, envelope)
    security = pair.client.security
    assert security is not None
    job = {
        "ek": security.keys.unicast.hex(), "ak": security.keys.authentication.hex(),
        "client": CLIENT_TITLE.hex(), "meter": SERVER_TITLE.hex(),
        "responses": [answer.hex() for answer in answers],
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(RESPONSE_DECODER), peer]
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, check=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["value"] == axdr.decode(ENERGY_VALUE).value
    return float(found["per_s"])


def run() -> list[dict[str, Any]]:
    """One row for each figure and peer."""
    figures = [_own_ms() for _ in range(ROUNDS)]
    client, server = (min(each[side] for each in figures) for side in (0, 1))
    rate = max(_responses_per_s() for _ in range(ROUNDS))
    rows = [
        {
            "work": "session with HLS-GMAC, client", "figure": client, "unit": "ms", "goal": 1.2,
            "peer": name, "peer_figure": peer_ms(script),
        }
        for name, script in PEERS.items()
    ]  # fmt: skip
    rows.append(
        {"work": "session with HLS-GMAC, server", "figure": server, "unit": "ms", "goal": 1.2}
    )
    rows += [
        {
            "work": "ciphered register response, to value", "figure": rate, "unit": "1/s",
            "goal": 60_000, "peer": name, "peer_figure": _peer_responses_per_s(*how),
        }
        for name, how in RESPONSE_PEERS.items()
    ]  # fmt: skip
    return rows
