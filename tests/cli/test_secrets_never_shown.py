"""Keys and passwords on the command line never come back in what a command says."""

from __future__ import annotations

from pathlib import Path

import pytest

from blathy.cli.meter import connection_lines
from blathy.models.model import Level
from blathy.store.store import Store
from tests.cli.in_process import blathy
from tests.meter.running import made, served

KEY = "CAFE0123456789ABCDEF0123456789AB"
ODD = "CAFE0123456789ABCDEF0123456789A"  # a digit is missing
TEXT = "CANARY-not-hex"
TITLE = "4b414d4500bc614e"
PUSH = "0001000100010004DB00"
NOBODY = "dlms://127.0.0.1:9?timeout=1"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path))


@pytest.mark.parametrize("secret", [KEY, KEY + "00", ODD, TEXT])
@pytest.mark.parametrize(
    "words",
    [
        ("read", NOBODY + "&auth=hls5&ek={}&ak={}", "1-0:1.8.0"),
        ("read", NOBODY + "&auth=hls5", "1-0:1.8.0", "--ek", "{}", "--ak", "{}"),
        ("read", NOBODY + "&auth=lls&password=CANARY{}", "1-0:1.8.0"),
        ("read", "dlms://user:CANARY{}@127.0.0.1:99999", "1-0:1.8.0"),
        ("read", NOBODY + "&kek={}&not_known={}", "1-0:1.8.0"),
        ("read", NOBODY + "&auth=hls7&suite=1&signing_key={}", "1-0:1.8.0"),
        ("profile", NOBODY + "&auth=hls5&ek={}", "1-0:99.1.0"),
        ("listen", "--host", "192.0.2.1", "--ek", "{}"),
        ("listen", "--host", "192.0.2.1", "--key", "{}:{}"),
        ("listen", "--host", "192.0.2.1", "--key", TITLE + "={}:{}"),
        ("explain", PUSH, "--ek", "{}", "--ak", "{}"),
        ("explain", PUSH, "--key", "{}:{}"),
        ("explain", PUSH, "--key", TITLE + "={}:{}"),
        ("explain", PUSH, "--private-key", "{}"),
        ("explain", PUSH, "--private-key", TITLE + "={}"),
        ("explain", PUSH, "--private-key", TITLE + "={}{}"),
        ("explain", PUSH, "--public-key", TITLE + "={}"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_no_message_repeats_a_secret(words: tuple[str, ...], secret: str) -> None:
    done = blathy(*(word.replace("{}", secret) for word in words))
    told = (done.out + done.err).upper()
    assert secret.upper() not in told
    assert "CANARY" not in told
    assert "BLATHY_TRACEBACK" not in told, "a mistake of ours, not one of the user"


@pytest.mark.parametrize("entry", ['ek = "{}"', 'ek = "{}', "ek = {}", 'suite = "{}"', '"{}"'])
def test_no_message_repeats_what_a_key_file_holds(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "keys.toml"
    for secret in (ODD, TEXT, KEY + "00"):
        file.write_text(f'["127.0.0.1:9"]\n{entry.replace("{}", secret)}\n')
        done = blathy("read", NOBODY + "&auth=hls5", "1-0:1.8.0", "--keys", file)
        assert done.status
        assert secret not in done.out + done.err


@pytest.mark.parametrize("way", ["@{}", "env:BLATHY_TEST_KEY"])
def test_a_key_is_taken_from_a_file_or_the_environment(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that other users of the machine do not see it among the arguments of the process."""
    meter = made("omnipower")
    files = {}
    for name in ("ek", "ak"):
        secret = meter.key({"ek": "unicast", "ak": "authentication"}[name]).hex()
        files[name] = tmp_path / name
        files[name].write_text(secret + "\n")
        monkeypatch.setenv(f"BLATHY_TEST_KEY_{name}", secret)
    given = {n: way.replace("{}", str(files[n])) for n in files}
    if way.startswith("env:"):
        given = {n: f"{way}_{n}" for n in files}
    with served(meter) as port:
        lines = connection_lines(meter, [("127.0.0.1", port)], "test")
        url = next(line.split()[1] for line in lines if line.startswith(Level.MANAGEMENT.value))
        bare = "&".join(part for part in url.split("&") if part[:3] not in ("ek=", "ak="))
        done = blathy("read", bare, "1-0:1.8.0", "--ek", given["ek"], "--ak", given["ak"])
    assert (done.status, done.err) == (0, "")


def test_only_its_owner_may_read_the_store_of_a_meter(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    store.meter("m").reserve("key", 1)
    files = sorted(each for each in tmp_path.iterdir() if each.name.startswith("store"))
    assert len(files) >= 2, "the store and its mirror"
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    store.close()
