"""`blathy listen` as people call it: who pushed, what, and how far it is to be trusted."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from blathy.wire.suites import public_key_of
from blathy.wire.wrapper import encode
from tests.cli.in_process import Done, blathy
from tests.client.test_push import INSIDE, KEYS, METER_SIGNS, TITLE, signed_push
from tests.free_ports import free_port

PUBLIC = public_key_of(METER_SIGNS, 1).hex()
KEY = f"{TITLE.hex()}={KEYS.unicast.hex()}:{KEYS.authentication.hex()}"


def heard(octets: bytes, *options: object) -> Done:
    """What `listen` says of one push."""
    port = free_port()

    def push() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", port)) as line:
                    line.sendall(octets)
                    line.recv(1)
                return
            except ConnectionRefusedError:
                time.sleep(0.05)

    meter = threading.Thread(target=push)
    meter.start()
    done = blathy("listen", "--port", port, "--count", 1, *options)
    meter.join(120)
    return done


def test_a_push_signed_within_its_cipher_is_read_and_its_signature_judged(tmp_path: Path) -> None:
    octets = encode(1, 1, signed_push(INSIDE))
    done = heard(octets, "--suite", 1, "--key", KEY)
    assert done.status == 0
    assert "1 value, authenticated, signature not checked" in done.out
    assert "1337" in done.out
    public = ("--public-key", f"{TITLE.hex()}={PUBLIC}")
    assert "signature holds" in heard(octets, "--suite", 1, "--key", KEY, *public).out
    file = tmp_path / "keys.toml"
    ek, ak = KEYS.unicast.hex(), KEYS.authentication.hex()
    file.write_text(
        f'[{TITLE.hex()}]\nek = "{ek}"\nak = "{ak}"\nsuite = 1\nmeter_signing_key = "{PUBLIC}"\n'
    )
    record = json.loads(heard(octets, "--keys", file, "--json").out)
    assert (record["signature"], record["authenticated"]) == ("holds", True)
    assert record["values"] == [{"obis": None, "value": 1337}]
    told = blathy("explain", signed_push(INSIDE).hex(), "--keys", file)
    assert "signature holds: signed by" in told.out


def test_a_push_with_a_wrong_signature_is_not_read() -> None:
    other = public_key_of(bytes(range(2, 34)), 1).hex()
    public = ("--public-key", f"{TITLE.hex()}={other}")
    done = heard(encode(1, 1, signed_push(INSIDE)), "--suite", 1, "--key", KEY, *public)
    assert "not readable, the signature does not hold" in done.out
    assert "1337" not in done.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--public-key", "12"], "names no holder"),
        (["--public-key", f"{TITLE.hex()}=00"], "no point of P-256"),
        (["--public-key", f"{TITLE.hex()}={PUBLIC}"] * 2, "given twice"),
    ],
)
def test_a_wrong_public_key_is_one_sentence(options: list[str], says: str) -> None:
    done = blathy("listen", "--port", 0, *options)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
