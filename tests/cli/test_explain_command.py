"""`blathy explain` as people call it: keys from files and the environment, JSON, whole sessions."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from blathy.client.chunk import Chunk
from blathy.client.explain import KeyRing, explain_all
from blathy.meter.certificates import SIGNATURE, issue
from blathy.models.model import Level
from blathy.wire.apdu import AgreedKey, GeneralCiphering, GeneralHeader, GeneralSigning
from blathy.wire.hdlc import Frame
from blathy.wire.security import GcmKey, KeySet, derive_key, public_key_of, sign
from blathy.wire.wrapper import encode
from tests.cli.in_process import blathy
from tests.cli.test_clone_command import url_of
from tests.meter.running import fed, served
from tests.meter.test_interop_gurux import job_of

GET = "C0 01 C1 00 08 00 00 01 00 00 FF 02 00"
TITLE = "4d4d4d0000bc614e"
EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
PUSH = "DB084D4D4D0000BC614E1E3000000010F29B0D9CF36ED44EF7ED125183DC8A6B36B2014AE8D116CC5D"


def test_hex_comes_as_one_word_or_as_many() -> None:
    for words in (GET.split(), [GET], [GET.replace(" ", "")], [GET.replace(" ", ":")]):
        done = blathy("explain", *words)
        assert done.status == 0
        assert "0-0:1.0.0 time (clock; Clock 8.2)" in done.out


@pytest.fixture
def key_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ek").write_text(EK + "\n")
    (tmp_path / "ak").write_text(AK)
    (tmp_path / "keys.toml").write_text(f'[{TITLE}]\nek = "@{tmp_path}/ek"\nak = "env:THAT_AK"\n')
    monkeypatch.setenv("THAT_EK", EK)
    monkeypatch.setenv("THAT_AK", AK)
    return tmp_path


def test_keys_come_from_files_and_the_environment(key_files: Path) -> None:
    for options in (
        ["--ek", EK, "--ak", AK],
        ["--ek", f"@{key_files}/ek", "--ak", "env:THAT_AK"],
        ["--key", f"{TITLE}={EK}:{AK}"],
        ["--key", f"{TITLE}=env:THAT_EK:env:THAT_AK", "--key", f"{TITLE[::-1]}={AK}:{EK}"],
        ["--key", f"{TITLE}=@{key_files}/ek:@{key_files}/ak"],
        ["--keys", key_files / "keys.toml"],
    ):
        done = blathy("explain", PUSH, *options)
        assert done.status == 0, done.err
        assert "double-long-unsigned 1337" in done.out
        assert "NOT AUTHENTICATED" not in done.out
        assert EK.lower() not in done.out.lower()


def test_without_the_authentication_key_it_is_flagged_and_a_wrong_one_is_told() -> None:
    assert "NOT AUTHENTICATED" in blathy("explain", PUSH, "--ek", EK).out
    assert "NOT AUTHENTICATED" in blathy("explain", PUSH, "--ek", EK, "--ak", EK).out
    assert "can't be opened with these keys" in blathy("explain", PUSH, "--ek", AK).out
    assert "encrypted; give --ek" in blathy("explain", PUSH).out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([""], "no octets"),
        (["C0 0"], "3 hex digits are no whole octets"),
        (["/no/such/file"], "check the file"),
        ([GET, "--key", "x"], "TITLE=EK:AK"),
        ([GET, "--key", "00=11"], "system title"),
        ([GET, "--key", f"{TITLE}=@/no/such/file"], "check its name"),
        ([GET, "--key", f"{TITLE}=env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        ([GET, "--keys", "/no/such/file"], "key file"),
        ([GET, "--ek", "00"], "16"),
        ([GET, "--public-key", "x"], "TITLE=KEY"),
        ([GET, "--public-key", "00=11"], "system title"),
        ([GET, "--public-key", f"{TITLE}=11"], "P-256"),
        ([GET, "--public-key", f"{TITLE}={'11' * 64}"], "P-256"),
        ([GET, "--public-key", f"{TITLE}=hello"], "neither hex nor PEM"),
        ([GET, "--public-key", "@/no/such/file"], "can't be read"),
        ([GET, "--private-key", f"{TITLE}=env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        ([GET, "--private-key", f"{TITLE}={'00' * 32}"], "P-256"),
        ([GET, "--private-key", f"{TITLE}=11"], "P-256"),
    ],
)
def test_what_is_wrong_is_one_sentence(options: list[str], says: str) -> None:
    done = blathy("explain", *options)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1


SIGNER = "4d4d4d0000000001"


def test_public_keys_come_in_hex_as_pem_and_in_certificates(tmp_path: Path) -> None:
    """And of a private key in PEM, one-pass agreement opens."""
    private, authority = (7).to_bytes(32, "big"), (8).to_bytes(32, "big")
    public = public_key_of(private, 1)
    title = bytes.fromhex(SIGNER)
    der = issue(title, SIGNATURE, public, authority, 1)
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    holder = ec.derive_private_key(7, ec.SECP256R1())
    for name, octets in {
        "der": der, "pem": pem, "hex": public.hex().encode(),
        "key": holder.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "private").write_bytes(
        holder.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    header = GeneralHeader(b"\1", title, bytes.fromhex(TITLE))
    content = bytes.fromhex(GET)
    signed = GeneralSigning(header, content, sign(header.encode() + content, private, 1)).encode()
    for given in (
        f"{SIGNER}={public.hex()}", f"{SIGNER}=04{public.hex()}", f"@{tmp_path}/der",
        f"@{tmp_path}/pem", *(f"{SIGNER}=@{tmp_path}/{name}" for name in ("hex", "key", "pem")),
    ):  # fmt: skip
        done = blathy("explain", signed.hex(), "--public-key", given)
        assert f"signature holds: signed by {SIGNER}" in done.out, (given, done.err)
    assert f"give --public-key {SIGNER}=" in blathy("explain", signed.hex()).out
    other = f"{SIGNER}={public_key_of(authority, 1).hex()}"
    assert "WRONG" in blathy("explain", signed.hex(), "--public-key", other).out
    ephemeral = public_key_of(authority, 1)
    key = derive_key(1, authority, public, bytes.fromhex(TITLE), title)
    header = GeneralHeader(b"\1", bytes.fromhex(TITLE), title)
    sealed = GcmKey(key, bytes.fromhex(AK)).seal(
        0x31, bytes.fromhex(TITLE) + bytes(4), content, header.encode()
    )
    info = AgreedKey(b"\1", ephemeral + bytes(64))
    brought = GeneralCiphering(header, info, sealed).encode().hex()
    done = blathy("explain", brought, "--ak", AK, "--private-key", f"{SIGNER}=@{tmp_path}/private")
    assert "0-0:1.0.0 time" in done.out
    assert "NOT AUTHENTICATED" not in done.out
    assert "give --ak and the --private-key" in blathy("explain", brought).out


def test_json_has_the_same_tree_with_octets() -> None:
    (frame,) = blathy("explain", GET, "--json").json
    (service,) = frame["children"]
    assert service["text"].startswith("Get request normal")
    assert bytes.fromhex(service["hex"]) == bytes.fromhex(GET)
    assert "clock" in service["children"][0]["text"]


def test_passwords_are_in_no_form_of_the_output() -> None:
    aarq = (
        "603A80020780A109060760857405080101 8A0207808B0760857405080201 AC0A80083132333435363738"
        "BE10040E01000000065F1F0400001E1D0400"
    ).replace(" ", "")
    body = bytes.fromhex(aarq)
    frame = Frame(b"\x03", b"\x21", 0x10, b"\xe6\xe6\x00" + body).encode()
    for octets in (body, encode(16, 1, body), frame):
        for options in ([], ["--json"]):
            out = blathy("explain", octets.hex(), *options).out
            assert "hidden" in out
            assert "31 32 33" not in out
            assert "3132333435363738" not in out


class Wire:
    """What passes between a client and a meter, written down."""

    def __init__(self, meter: int) -> None:
        self.chunks: list[Chunk] = []
        self._meter = meter
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            number += 1
            self._relay(client, str(number))

    def _relay(self, client: socket.socket, name: str) -> None:
        with client, socket.create_connection(("127.0.0.1", self._meter)) as meter:
            while True:
                for ready in select.select([client, meter], [], [])[0]:
                    try:
                        data = ready.recv(999)
                    except OSError:
                        data = b""
                    if not data:
                        return
                    sender = "client" if ready is client else "meter"
                    self.chunks.append(Chunk(sender, data, conversation=name))
                    (meter if ready is client else client).sendall(data)


@pytest.mark.parametrize(("model", "scheme"), [("mt372", "dlms+hdlc"), ("omnipower", "dlms")])
def test_a_whole_session_with_a_meter_is_told_by_name(
    model: str, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ciphered, in segments and blocks: nothing is left unread, the profile is a table."""
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path))
    original = fed(model, 1)
    profile = original.model.profiles[0].obis
    with served(original) as port:
        wire = Wire(port)
        job = job_of(original, Level.MANAGEMENT, port)
        url = url_of(job).replace("dlms://", f"{scheme}://").replace(f":{port}", f":{wire.port}")
        done = blathy("profile", url, str(profile), "--json")
        assert done.status == 0, done.err
        wire.server.close()
    keys = KeySet(0, bytes.fromhex(job["ek"]), bytes.fromhex(job["ak"])) if "ek" in job else None
    nodes = explain_all(list(wire.chunks), ring=KeyRing(keys))
    text = "\n".join(line for node in nodes for line in node.lines())
    for trouble in ("breaks off", "can't be", "no frame", "not complete", "NOT AUTH", "REPEATED",
                    "missing", "left over", "(WRONG)", "was due"):  # fmt: skip
        assert trouble not in text, trouble
    assert f"{profile} buffer" in text
    assert " rows" in text
    assert re.search(r"1\.0\.0 clock[^|]* \|", text)
    assert "Wh" in text


def test_json_of_anything_is_json() -> None:
    for text in ("7E", "00", "60", "DB08", "7EA0", "C4", "E040", "0001", "68"):
        found: list[dict[str, Any]] = json.loads(blathy("explain", text, "--json").out)
        assert found
