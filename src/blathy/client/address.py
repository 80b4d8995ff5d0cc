"""Where a meter is and how to speak with it, written as a URL.

    dlms://10.0.0.7:4059?client=1&server=1&auth=hls5       wrapper over TCP
    dlms+hdlc://10.0.0.7:4059?client=16&physical=17        HDLC over TCP (modems, serial servers)
    dlms+udp://10.0.0.7:4059                               wrapper over UDP
    serial:///dev/ttyUSB0?baud=9600                        HDLC on a serial port
    serial:///dev/ttyUSB0?mode=e                           the same after the IEC 62056-21 sign-on

Secrets (`password`, `ek`, `ak`, `bk`, `kek`) are given as text or hex, as `@FILE` or as `env:NAME`;
they never appear in a message, a log or a repr.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from blathy.transport.errors import MeterError
from blathy.wire.acse import Mechanism
from blathy.wire.security import KEY_OCTETS, KeyChoice, KeySet, Protection
from blathy.wire.wrapper import PORT


class AddressError(MeterError):
    """The URL of a meter can't be understood."""


SCHEMES: Final = ("dlms", "dlms+hdlc", "dlms+udp", "serial")
_SCHEMES_ARE: Final = (
    "write dlms:// for the wrapper over TCP, dlms+hdlc:// for HDLC over TCP, dlms+udp:// or "
    "serial:///dev/ttyUSB0"
)
_FORM: Final = "dlms://HOST:4059?client=16&auth=none, its options after a ?"
_BETWEEN: Final = re.compile(r"0x|[\s:,-]", re.ASCII | re.IGNORECASE)  # the octets of a key
_DEVICE: Final = re.compile(r"/|COM\d", re.ASCII | re.IGNORECASE)

AUTHENTICATION: Final[dict[str, Mechanism]] = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LLS,
    "hls2": Mechanism.HLS,
    "hls3": Mechanism.HLS_MD5,
    "hls4": Mechanism.HLS_SHA1,
    "hls5": Mechanism.HLS_GMAC,
    "hls6": Mechanism.HLS_SHA256,
    "hls7": Mechanism.HLS_ECDSA,
}
_ALIASES: Final = {
    "lowest": "none", "low": "lls", "hls": "hls5", "md5": "hls3", "sha1": "hls4",
    "gmac": "hls5", "sha256": "hls6", "ecdsa": "hls7",
}  # fmt: skip

PROTECTION: Final[dict[str, Protection]] = {
    "none": Protection.NONE,
    "auth": Protection.AUTHENTICATED,
    "enc": Protection.ENCRYPTED,
    "both": Protection.BOTH,
    "signed": Protection.BOTH | Protection.SIGNED,
    "signed-inside": Protection.BOTH | Protection.SIGNED | Protection.SIGNED_INSIDE,
}
KEY_CHOICES: Final[dict[str, KeyChoice]] = {
    "identified": KeyChoice.IDENTIFIED,
    "wrapped": KeyChoice.WRAPPED,
    "one-pass": KeyChoice.ONE_PASS,
    "static": KeyChoice.STATIC,
}

DEFAULT_CLIENT_TITLE: Final = b"BLY\x00\x00\x00\x00\x01"


@dataclass(frozen=True, slots=True, repr=False)
class MeterAddress:
    """A parsed URL. `host` is the device name for serial ports."""

    scheme: str
    host: str
    port: int = PORT
    client: int = 16
    server: int = 1
    physical: int | None = None  # HDLC lower address
    address_size: int = 0  # HDLC: 1, 2, 4 octets; 0 chooses
    mechanism: Mechanism = Mechanism.NONE
    protection: Protection = Protection.NONE
    usual_protection: bool = False  # nobody chose it: what mechanism and keys make usual
    dedicated: bool = False
    general: bool = False  # general-glo-ciphering instead of the service-specific one
    key_choice: KeyChoice | None = None  # general-ciphering, and how it names the key
    short_names: bool = False
    pre_established: bool = False  # no AARQ and no release: the association always stands
    title: bytes = DEFAULT_CLIENT_TITLE
    meter_title: bytes = b""
    pdu_size: int = 0xFFFF
    timeout_s: float = 10.0
    baud: int = 9600
    mode_e: bool = False
    frame_size: int = 0  # HDLC information field; 0: the largest
    window: int = 1
    source: str = ""
    user_id: int | None = None
    acse_version: bool = False  # say protocol-version 1 in the AARQ, as some old meters want it
    counter: int = 0  # lowest invocation counter to begin with
    use_cache: bool = True  # take what is known of the meter's type and firmware
    ask_counter: bool = True  # ask the public client for it before the first contact with a key
    password: bytes = field(default=b"")
    keys: KeySet = field(default_factory=KeySet)

    def __str__(self) -> str:
        """The URL without secrets."""
        place = self.host if self.scheme == "serial" else f"{self.host}:{self.port}"
        auth = next(name for name, value in AUTHENTICATION.items() if value is self.mechanism)
        return f"{self.scheme}://{place}?client={self.client}&server={self.server}&auth={auth}"

    def __repr__(self) -> str:
        return f"MeterAddress({str(self)!r})"

    @property
    def place(self) -> str:
        """Names the meter in messages and stores: host, port and server address."""
        place = self.host if self.scheme == "serial" else f"{self.host}:{self.port}"
        server = f"/{self.server}" if self.server != 1 or self.physical is not None else ""
        physical = f".{self.physical}" if self.physical is not None else ""
        return f"{place}{server}{physical}"

    def with_keys(self, keys: KeySet) -> MeterAddress:
        """The same meter with these keys, protected as is usual with them unless chosen."""
        chosen = self.protection
        if self.usual_protection:
            chosen = _usual_protection(self.mechanism, keys)
        return replace(self, keys=keys, protection=chosen)

    def public(self) -> MeterAddress:
        """The same meter for the public client: no security."""
        return replace(
            self,
            client=16,
            mechanism=Mechanism.NONE,
            protection=Protection.NONE,
            dedicated=False,
            key_choice=None,
            pre_established=False,
            user_id=None,
        )


def parse_address(url: str, secrets: Mapping[str, str] | None = None) -> MeterAddress:
    """Read a URL; `secrets` (password, ek, ak, bk, kek) win over those in it."""
    if "://" not in url:
        url = f"serial://{url}" if _DEVICE.match(url) else f"dlms://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{_shown(url)} is no address", f"write {_FORM}") from error
    if parts.scheme not in SCHEMES:
        text = parts.scheme.startswith("iec62056")
        remedy = "read its table with `blathy readout`" if text else _SCHEMES_ARE
        raise AddressError(f"{parts.scheme}:// is not known here", remedy)
    options = _Options(parts.query, secrets or {})
    ask_counter = options.ask_counter()
    usual_protection = not options.has("protect")
    use_cache = options.take("cache").lower() not in {"0", "no", "off", "false"}
    serial = parts.scheme == "serial"
    host = (parts.netloc + parts.path) if serial else (parts.hostname or "")
    if not host:
        raise AddressError(f"{_shown(url)} names no meter", f"write {_FORM}")
    mechanism = options.authentication()
    keys = options.keys()
    address = MeterAddress(
        scheme=parts.scheme,
        host=host,
        port=port or PORT,
        client=options.number("client", 16 if mechanism is Mechanism.NONE else 1, 0, 0xFFFF),
        server=options.number("server", 1, 0, 0xFFFF),
        physical=options.optional("physical", 0, 0x3FFF),
        address_size=options.number("address_size", 0, 0, 4),
        mechanism=mechanism,
        protection=options.protection(mechanism, keys),
        usual_protection=usual_protection,
        dedicated=options.switch("dedicated"),
        general=options.switch("general"),
        key_choice=options.key_choice(),
        short_names=options.switch("sn"),
        pre_established=options.switch("pre"),
        title=options.octets("title", DEFAULT_CLIENT_TITLE, 8),
        meter_title=options.octets("meter_title", b"", 8),
        pdu_size=options.number("pdu", 0xFFFF, 12, 0xFFFF),
        timeout_s=options.number("timeout", 10, 1, 3600),
        baud=options.number("baud", 9600, 300, 921_600),
        mode_e=options.mode_e(),
        frame_size=options.number("frame", 0, 0, 2030),
        window=options.number("window", 1, 1, 7),
        source=options.take("source"),
        user_id=options.optional("user", 0, 255),
        acse_version=options.switch("acse_version"),
        ask_counter=ask_counter,
        use_cache=use_cache,
        counter=options.number("ic", 0, 0, 0xFFFF_FFFF),
        password=options.secret("password"),
        keys=keys,
    )
    options.finish()
    return address


def _usual_protection(mechanism: Mechanism, keys: KeySet) -> Protection:
    ciphered = mechanism is Mechanism.HLS_GMAC or (mechanism.is_hls and keys.unicast)
    return Protection.BOTH if ciphered else Protection.NONE


def _shown(url: str) -> str:
    """The URL without what may be a secret: its options, and a user before the host."""
    scheme, _, rest = url.split("?", maxsplit=1)[0].rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


class _Options:
    """The query of a URL, taken apart with errors that name the option."""

    def __init__(self, query: str, secrets: Mapping[str, str]) -> None:
        self._values = dict(parse_qsl(query, keep_blank_values=True))
        self._values.update({name: value for name, value in secrets.items() if value})
        self._known: set[str] = set()

    def has(self, name: str) -> bool:
        return bool(self._values.get(name, "").strip())

    def take(self, name: str) -> str:
        self._known.add(name)
        return self._values.pop(name, "").strip()

    def optional(self, name: str, lowest: int, highest: int) -> int | None:
        text = self.take(name)
        if not text:
            return None
        try:
            number = int(text, 0)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise AddressError(f"{name}={text} is wrong", f"give {lowest} to {highest}")
        return number

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        found = self.optional(name, lowest, highest)
        return default if found is None else found

    def switch(self, name: str) -> bool:
        return self.take(name).lower() in {"1", "yes", "true", "on"}

    def ask_counter(self) -> bool:
        """`ic=off` keeps to our own counter; a number is the counter itself."""
        if self._values.get("ic", "").strip().lower() != "off":
            return not self._values.get("ic", "").strip()
        del self._values["ic"]
        return False

    def mode_e(self) -> bool:
        mode = self.take("mode").lower()
        if mode not in {"", "e", "hdlc"}:
            raise AddressError(f"mode={mode} is wrong", "give e or hdlc")
        return mode == "e"

    def authentication(self) -> Mechanism:
        text = self.take("auth").lower() or "none"
        found = AUTHENTICATION.get(_ALIASES.get(text, text))
        if found is None:
            raise AddressError(f"auth={text} is wrong", f"give one of {', '.join(AUTHENTICATION)}")
        return found

    def protection(self, mechanism: Mechanism, keys: KeySet) -> Protection:
        text = self.take("protect").lower()
        if not text:
            return _usual_protection(mechanism, keys)
        found = PROTECTION.get(text)
        if found is None:
            raise AddressError(f"protect={text} is wrong", f"give one of {', '.join(PROTECTION)}")
        return found

    def key_choice(self) -> KeyChoice | None:
        text = self.take("key").lower()
        if text and text not in KEY_CHOICES:
            raise AddressError(f"key={text} is wrong", f"give one of {', '.join(KEY_CHOICES)}")
        return KEY_CHOICES.get(text)

    def secret(self, name: str) -> bytes:
        text = _resolve(name, self.take(name))
        if text.startswith("0x"):
            return _hex(name, text[2:])
        return text.encode()

    def octets(self, name: str, default: bytes, size: int) -> bytes:
        text = self.take(name)
        if not text:
            return default
        value = text.encode() if len(text) == size else _hex(name, text)
        if len(value) != size:
            raise AddressError(f"{name} has {len(value)} octets", f"give {2 * size} hex digits")
        return value

    def keys(self) -> KeySet:
        values = {}
        suite = self.number("suite", 0, 0, 2)
        for name, field_name in (
            ("ek", "unicast"), ("ak", "authentication"), ("bk", "broadcast"), ("kek", "master"),
            ("signing_key", "signing"), ("meter_signing_key", "peer_signing"),
            ("agreement_key", "agreement"), ("meter_agreement_key", "peer_agreement"),
        ):  # fmt: skip
            if text := _resolve(name, self.take(name)):
                values[field_name] = key = _hex(name, text)
                if len(name) <= 3 and len(key) != KEY_OCTETS[suite]:
                    raise AddressError(
                        f"{name} has {len(key)} octets; suite {suite} needs {KEY_OCTETS[suite]}",
                        "check the key and suite=",
                    )
        return KeySet(suite, **values)

    def finish(self) -> None:
        if self._values:
            name = next(iter(self._values))
            near = get_close_matches(name, self._known, n=1)
            look = "see the list with `blathy read --help`"
            remedy = f"did you mean {near[0]}=? Else {look}" if near else look
            raise AddressError(f"the option {name} is not known", remedy)


def _resolve(name: str, text: str) -> str:
    """A secret from a file (`@FILE`) or the environment (`env:NAME`)."""
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text().strip()
        except (OSError, UnicodeError) as error:
            raise AddressError(f"the file for {name} can't be read", "check its name") from error
    if text.startswith("env:"):
        found = os.environ.get(text[4:])
        if found is None:
            raise AddressError(f"the environment has no {text[4:]}", f"set it to the {name}")
        return found
    return text


def secret_octets(name: str, text: str) -> bytes:
    """A key from hex, from a file (`@FILE`) or from the environment (`env:NAME`)."""
    return _hex(name, _resolve(name, text))


def _hex(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(_BETWEEN.sub("", text))
    except ValueError:
        raise AddressError(
            f"{name} is not written in hex",
            "give two hex digits an octet, or @FILE or env:NAME with them",
        ) from None
