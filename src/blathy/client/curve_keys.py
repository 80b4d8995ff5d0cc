"""Public and private keys by system title, to judge what was recorded: signatures and agreed keys.

Keys are raw as in `wire.suites`; their length tells the suite. A title may have several, as
signatures and key agreement each have a pair: all of them are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from blathy.wire.apdu import AgreedKey, GeneralHeader, KeyInfo
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.octets import octet_string
from blathy.wire.suites import COORDINATE_OCTETS, derive_key, public_key_of, verify

_SUITE_OF: Final = {octets: suite for suite, octets in COORDINATE_OCTETS.items()}
_ONE_PASS: Final = b"\x01"
_STATIC: Final = b"\x02"


@dataclass(slots=True, repr=False)
class CurveKeys:
    """Keys of titles; private ones give their public ones, too."""

    public: dict[bytes, list[bytes]] = field(default_factory=dict)
    private: dict[bytes, list[bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.public or self.private)

    def add_public(self, title: bytes, key: bytes) -> bool:
        """False where it is no point of a curve that a suite uses."""
        suite = _SUITE_OF.get(len(key) // 2, 0) if len(key) % 2 == 0 else 0
        try:
            derive_key(suite, b"\x01".rjust(len(key) // 2, b"\0"), key, b"", b"")
        except (LocalProtocolError, RemoteProtocolError):
            return False
        self.public.setdefault(title, []).append(key)
        return True

    def add_private(self, title: bytes, key: bytes) -> bool:
        """False where it is no private key of a curve that a suite uses."""
        try:
            public = public_key_of(key, _SUITE_OF.get(len(key), 0))
        except (LocalProtocolError, ValueError):
            return False
        self.private.setdefault(title, []).append(key)
        self.public.setdefault(title, []).append(public)
        return True

    def holds(self, title: bytes, signed: bytes, signature: bytes) -> bool | None:
        """Whether the holder of this title signed it; None where no key of it is known."""
        suite = _SUITE_OF.get(len(signature) // 2, 0)
        known = [key for key in self.public.get(title, ()) if len(key) == len(signature)]
        if not suite or not known:
            return None
        return any(verify(signed, signature, key, suite) for key in known)

    def ephemeral_holds(self, header: GeneralHeader, info: KeyInfo | None) -> bool | None:
        """Whether the originator signed the ephemeral key of a one-pass agreement; None where there
        is none or nothing to check with."""
        if not isinstance(info, AgreedKey) or info.scheme != _ONE_PASS:
            return None
        half = len(info.key_data) // 2
        public, signature = info.key_data[:half], info.key_data[half:]
        title = header.originator
        found = [self.holds(title, signed, signature) for signed in (public, _ONE_PASS + public)]
        return None if found[0] is None else any(found)

    def agreed(self, header: GeneralHeader, info: AgreedKey) -> Iterator[tuple[int, bytes]]:
        """Suite and octets of every key that this agreement may mean.

        One-pass: with the private key of the recipient. Static: with that of either side and the
        public one of the other.
        """
        originator, recipient = header.originator, header.recipient
        if info.scheme == _ONE_PASS:
            pairs = [(key, info.key_data[: len(info.key_data) // 2]) for key in
                     self.private.get(recipient, ())]  # fmt: skip
            party_u = originator
        else:
            pairs = [
                (private, public)
                for own, peer in ((recipient, originator), (originator, recipient))
                for private in self.private.get(own, ())
                for public in self.public.get(peer, ())
            ]
            party_u = originator + octet_string(header.transaction_id)
        for private, public in pairs:
            suite = _SUITE_OF[len(private)]
            if len(public) == 2 * len(private):
                try:
                    yield suite, derive_key(suite, private, public, party_u, recipient)
                except RemoteProtocolError:
                    continue

    def __repr__(self) -> str:
        return f"CurveKeys({len(self.public)} titles, {len(self.private)} with private keys)"
