"""Keys of several meters by their system titles, as `explain` and `listen` take them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from blathy.cli.app import CommandError
from blathy.client.address import secret_octets
from blathy.transport.errors import MeterError
from blathy.wire.security import KeySet

KeyOption = Annotated[
    list[str],
    typer.Option(
        "--key",
        metavar="TITLE=EK:AK",
        help="Keys of one meter, in hex; a key may be @FILE or env:NAME. May be repeated.",
    ),
]
TitleKeysOption = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="FILE",
        help='TOML with a table per meter: [4d4d4d0000bc614e] ek = "…", ak, suite, '
        "meter_signing_key.",
    ),
]
_NAMES: Final = {
    "ek": "unicast", "ak": "authentication", "bk": "broadcast", "kek": "master",
    "agreement_key": "agreement", "meter_agreement_key": "peer_agreement",
    "meter_signing_key": "peer_signing",
}  # fmt: skip
"""As in the URL of a meter."""


def title_keys(texts: list[str], suite: int, file: str = "") -> dict[bytes, KeySet]:
    """System title -> keys, from the options and the file; CommandError names what is wrong."""
    found = _from_file(file, suite) if file else {}
    for text in texts:
        title, equals, keys = text.partition("=")
        if not equals:
            raise CommandError("a --key names no meter; write TITLE=EK:AK in hex digits")
        unicast, _, authentication = _cut(keys)
        known = system_title(title)
        try:
            found[known] = KeySet(
                suite, secret_octets("--key", unicast), secret_octets("--key", authentication)
            )
        except (MeterError, ValueError) as error:
            raise CommandError(f"--key of {title}: {error}") from error
    return found


def _cut(keys: str) -> tuple[str, str, str]:
    """EK and AK; `env:NAME` holds a colon of its own."""
    if keys.startswith("env:"):
        first, colon, rest = keys[4:].partition(":")
        return f"env:{first}", colon, rest
    return keys.partition(":")


def system_title(text: str) -> bytes:
    """Eight octets from their hex digits."""
    try:
        title = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        title = b""
    if len(title) != 8:
        raise CommandError(f"{text!r} is no system title; write its 8 octets as 16 hex digits")
    return title


def _from_file(file: str, suite: int) -> dict[bytes, KeySet]:
    try:
        tables: dict[str, Any] = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise CommandError(
            f"the key file {file} can't be read; it holds tables like [4d4d4d0000bc614e]"
        ) from error
    found = {}
    for title, entry in tables.items():
        try:
            keys = {
                _NAMES[name]: secret_octets(name, str(value))
                for name, value in entry.items()
                if name in _NAMES
            }
            named = entry.get("suite", suite)
            if named not in (0, 1, 2):
                raise ValueError("there are security suites 0, 1 and 2")
            found[system_title(title)] = KeySet(named, **keys)
        except (MeterError, ValueError, TypeError, AttributeError) as error:
            raise CommandError(f"the keys of {title} in {file} are wrong: {error}") from error
    return found
