"""Who speaks to whom, and what proves it: titles, challenges and keys of an association.

Ciphered APDUs are opened with the keys of the ring and with the dedicated key that the conversation
has shown; the proofs of HLS are checked where keys or the secret are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from blathy.client.curve_keys import CurveKeys
from blathy.client.explain_values import (
    Node,
    enum_text,
    octets_node,
    octets_text,
    time_text,
    title_text,
    words,
)
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, DataType
from blathy.wire import acse, apdu
from blathy.wire.acse import Context, Mechanism, ProviderDiagnostic, UserDiagnostic
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hls import HlsParty
from blathy.wire.invocation_counters import (
    InvocationCounters,
    VolatileCounterStore,
    key_fingerprint,
)
from blathy.wire.octets import Reader
from blathy.wire.security import (
    KEY_OCTETS,
    TITLE_OCTETS,
    KeySet,
    Opened,
    SecurityContext,
    unwrap_key,
)

_FROM_METER: Final = frozenset({
    0x08, 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x28, 0x2C, 0x2D, 0x2E, 0x38, 0x48, 0x4C, 0x4D, 0x4E, 0x58,
    0x61, 0x63, 0xC2, 0xC4, 0xC5, 0xC7, 0xCA, 0xCC, 0xCD, 0xCF, 0xD2, 0xD4, 0xD5, 0xD7, 0xD8, 0xDA,
})  # fmt: skip
_GENERAL: Final = frozenset({0xDB, 0xDC, 0xDD})
_NOBODY: Final = b"explain!"
_NO_KEY: Final = "encrypted; give --ek (and --ak) to open it"
_NO_AGREED_KEY: Final = (
    "encrypted under an agreed key; give --ak and the --private-key of one side (of one-pass: of"
    " the recipient), of static agreement also the --public-key of the other"
)
_KEYS_MAX: Final = 64  # that are remembered of originators
_NO_KEYS: Final = KeySet()


@dataclass(slots=True)
class KeyRing:
    """The keys to try: those of a meter by its system title, and those of any other."""

    any: KeySet | None = None
    by_title: dict[bytes, KeySet] = field(default_factory=dict)
    password: bytes = b""
    curves: CurveKeys = field(default_factory=CurveKeys)

    def __bool__(self) -> bool:
        return self.any is not None or bool(self.by_title)

    def of(self, titles: Sequence[bytes]) -> list[KeySet]:
        """Those of these titles first; all where no title is known."""
        known = [self.by_title[title] for title in titles if title in self.by_title]
        rest = [] if any(titles) and known else list(self.by_title.values())
        return known + ([self.any] if self.any is not None else []) + rest


def _ciphering(octets: bytes) -> apdu.GeneralCiphering:
    message = apdu.decode(octets)
    assert isinstance(message, apdu.GeneralCiphering)
    return message


def _no_entropy(_count: int) -> bytes:
    raise LocalProtocolError("nothing is encrypted here")


class Partners:
    """The client and the meter of one association."""

    def __init__(self, ring: KeyRing, client: bytes, meter: bytes) -> None:
        self.dedicated = b""
        self._ring = ring
        self._titles = {False: client, True: meter}
        self._challenges = {False: b"", True: b""}
        self._mechanism: int | None = None
        self._counters: dict[tuple[bytes, str], int] = {}
        self._came_along: dict[bytes, tuple[int, bytes]] = {}

    def aarq(self, here: Node, message: acse.Aarq) -> None:
        """The client introduces itself; what was known of an association before is over."""
        self._titles[False] = message.calling_ap_title or self._titles[False]
        self._mechanism = message.mechanism
        self._challenges[False] = message.authentication_value or b""
        self.dedicated = b""
        here.add(f"application context: {_named(Context, message.context)}")
        if message.mechanism is not None:
            here.add(f"authentication: {_named(Mechanism, message.mechanism)}")
        if message.calling_ap_title:
            here.add(f"client system title: {title_text(message.calling_ap_title)}")
        if message.authentication_value is not None:
            secret = message.mechanism in {Mechanism.LLS, None, -1}
            value = octets_text(message.authentication_value)
            here.add("password: (hidden)" if secret else f"challenge to the meter: {value}")
        if message.calling_ae_qualifier:
            here.add(f"signing certificate: {octets_text(message.calling_ae_qualifier)}")
        if message.calling_ae_invocation_id is not None:
            here.add(f"user: {message.calling_ae_invocation_id}")

    def aare(self, here: Node, message: acse.Aare) -> None:
        """The meter's answer."""
        self._titles[True] = message.responding_ap_title or self._titles[True]
        self._challenges[True] = message.authentication_value or b""
        user = message.source == acse.DiagnosticSource.USER
        kind = UserDiagnostic if user else ProviderDiagnostic
        result = _named(acse.AssociationResult, message.result)
        here.add(f"application context: {_named(Context, message.context)}")
        follows = message.result == 0 and user and message.diagnostic == 14
        proofs = " (the HLS proofs follow)" if follows else ""
        here.add(f"result: {result}, {_named(kind, message.diagnostic)}{proofs}")
        if message.mechanism is not None:
            here.add(f"authentication: {_named(Mechanism, message.mechanism)}")
        if message.responding_ap_title:
            here.add(f"meter system title: {title_text(message.responding_ap_title)}")
        if message.authentication_value is not None:
            here.add(f"challenge to the client: {octets_text(message.authentication_value)}")

    def proof(self, here: Node, parameters: bytes, *, from_meter: bool) -> None:
        """Pass 3 or 4: one side proves that it knows the secret."""
        who = "HLS pass 4, the meter proves" if from_meter else "HLS pass 3, the client proves"
        try:
            proof = axdr.decode(parameters)
        except AxdrError:
            octets_node(here, who, parameters)
            return
        if proof.type is not DataType.OCTET_STRING:
            here.add(f"{who} nothing: {proof.type.text} instead of an octet-string")
            return
        text = octets_text(proof.value)
        if self._mechanism == Mechanism.HLS_GMAC and len(proof.value) == 17:
            counter = int.from_bytes(proof.value[1:5], "big")
            text = f"suite {proof.value[0] & 15}, counter {counter}, {proof.value[5:].hex(' ')}"
        right = self._proof_right(proof.value, from_meter)
        verdict = {None: "not checked", True: "right", False: "WRONG"}[right]
        here.add(f"{who} itself: {text} ({verdict})")

    def _proof_right(self, proof: bytes, from_meter: bool) -> bool | None:
        """None where keys, password or challenges for a check are missing."""
        sent, received = self._challenges[not from_meter], self._challenges[from_meter]
        own, peer = self._titles[not from_meter], self._titles[from_meter]
        try:
            mechanism = Mechanism(self._mechanism or 0)
        except ValueError:
            return None
        if not sent or mechanism in {Mechanism.NONE, Mechanism.LLS}:
            return None
        if mechanism is Mechanism.HLS_ECDSA:
            return self._ring.curves.holds(peer, peer + own + sent + received, proof)
        if mechanism is not Mechanism.HLS_GMAC:
            if not self._ring.password:
                return None
            party = HlsParty(mechanism, self._ring.password, own, peer, None)
            return self._check(party, proof, sent, received)
        if len(peer) != TITLE_OCTETS or len(own) != TITLE_OCTETS:
            return None
        found = None
        for keys in self._ring.of((self._titles[True],)):
            if keys.unicast and keys.authentication:
                context = _context(own, keys, peer)
                party = HlsParty(mechanism, b"", own, peer, context)
                found = self._check(party, proof, sent, received)
                if found:
                    return True
        return found

    @staticmethod
    def _check(party: HlsParty, proof: bytes, sent: bytes, received: bytes) -> bool | None:
        try:
            return party.check(proof, sent, received, None)
        except LocalProtocolError:
            return None

    def open(self, here: Node, octets: bytes, sender: str) -> bytes | None:
        """Show how an APDU is protected; what is in it, None where no key opens it."""
        titles = self._security(here, octets, sender)
        dedicated = octets[0] in apdu.PLAIN_OF_DED or octets[0] == apdu.Tag.GENERAL_DED
        if dedicated and not self.dedicated:
            here.add("under a dedicated key that this conversation has not shown")
            return None
        found = self._open_brought(octets) if octets[0] == 0xDD else None
        if found is None and not self._ring:
            agreed = octets[0] == 0xDD and isinstance(_ciphering(octets).key_info, apdu.AgreedKey)
            here.add(_NO_AGREED_KEY if agreed else _NO_KEY)
            return None
        found = self._open(octets, titles) if found is None else found
        if found is None:
            here.add(self._why_closed(titles))
            return None
        opened, keys, verified, title = found
        if not verified:
            here.add("NOT AUTHENTICATED: the tag was not or could not be checked")
        self._counter(here, opened, keys, title, dedicated)
        return opened.plain

    def signed(self, here: Node, message: apdu.GeneralSigning, sender: str) -> None:
        """Say whether a signature holds."""
        from_meter = _from_meter(message.content[0] if message.content else 0, sender)
        title = message.header.originator or self._titles.get(bool(from_meter), b"")
        signed = message.header.encode() + message.content
        holds = self._ring.curves.holds(title, signed, message.signature)
        who = title_text(title) if title else "TITLE"
        texts = {
            None: f"not checked; give --public-key {title.hex() or 'TITLE'}=…",
            True: f"holds: signed by {who}",
            False: f"WRONG: not signed by {who}, or altered",
        }
        here.add(f"signature {texts[holds]}: {octets_text(message.signature)}")

    def _open_brought(self, octets: bytes) -> tuple[Opened, KeySet, bool, bytes] | None:
        """Open with the key that came along, or with the one that came along before."""
        message = _ciphering(octets)
        info, title = message.key_info, message.header.originator
        named = dataclasses.replace(message, key_info=apdu.IdentifiedKey(0)).encode()
        for suite, key in self._brought(message.header, info):
            for keys in (*self._ring.of((title, self._titles[True])), _NO_KEYS):
                right = len(keys.authentication) == len(key) == KEY_OCTETS[suite]
                given = KeySet(suite, key, keys.authentication if right else b"")
                for verify in (True, False) if right else (False,):
                    opened = self._open_with(named, title, given, verify=verify)
                    if opened is not None and (verify or _plausible(opened.plain)):
                        if len(self._came_along) >= _KEYS_MAX:
                            self._came_along.clear()
                        self._came_along[title] = suite, key
                        return opened, given, verify, title
        return None

    def _brought(
        self, header: apdu.GeneralHeader, info: apdu.KeyInfo | None
    ) -> Iterator[tuple[int, bytes]]:
        if info is None and header.originator in self._came_along:
            yield self._came_along[header.originator]
        elif isinstance(info, apdu.AgreedKey):
            yield from self._ring.curves.agreed(header, info)
        elif isinstance(info, apdu.WrappedKey):
            for keys in self._ring.of((header.originator, self._titles[True])):
                with suppress(RemoteProtocolError):
                    yield keys.suite, unwrap_key(keys.master, info.wrapped)

    def _why_closed(self, titles: Sequence[bytes]) -> str:
        if not any(titles):
            return "can't be opened: the sender's system title is not known; give --meter-title"
        return "can't be opened with these keys and titles"

    def _security(self, here: Node, octets: bytes, sender: str) -> list[bytes]:
        """Show the security header; the system titles that the sender may have."""
        tag = octets[0]
        reader = Reader(octets, 1)
        if tag == apdu.Tag.GENERAL_CIPHERING:
            message = _ciphering(octets)
            general_header(here, message.header)
            here.add(f"key: {_key_text(message.key_info)}")
            holds = self._ring.curves.ephemeral_holds(message.header, message.key_info)
            if holds is not None:
                here.add(f"ephemeral key: its signature {'holds' if holds else 'is WRONG'}")
            reader = Reader(message.content)
            titles = [message.header.originator]
        else:
            if tag in _GENERAL:
                titles = [reader.octets()]
                if titles[0]:
                    here.add(f"system title: {title_text(titles[0])}")
            else:
                titles = []
            length = Reader(octets, reader.position).u8()
            reader.take(1 + (length & 0x7F if length > 0x7F else 0))
        control, counter = reader.u8(), reader.u32()
        kinds = {0: "none", 0x10: "authenticated", 0x20: "encrypted", 0x30: "both"}
        key = ", broadcast key" if control & 0x40 else ""
        packed = ", compressed" if control & 0x80 else ""
        kind = kinds[control & 0x30]
        here.add(f"suite {control & 15}, {kind}{key}{packed}, invocation counter {counter}")
        if not any(titles):
            from_meter = _from_meter(tag, sender)
            order = (True, False) if from_meter is None else (from_meter, not from_meter)
            titles = [self._titles[each] for each in order]
        return [title for title in dict.fromkeys(titles) if len(title) == TITLE_OCTETS]

    def _open(
        self, octets: bytes, titles: Sequence[bytes]
    ) -> tuple[Opened, KeySet, bool, bytes] | None:
        for verify in (True, False):
            for keys in self._ring.of((*titles, self._titles[True])):
                if verify and not keys.authentication:
                    continue
                for title in titles:
                    opened = self._open_with(octets, title, keys, verify=verify)
                    if opened is not None and (verify or _plausible(opened.plain)):
                        return opened, keys, verify, title
        return None

    def _open_with(
        self, octets: bytes, title: bytes, keys: KeySet, *, verify: bool
    ) -> Opened | None:
        if not verify:
            keys = dataclasses.replace(keys, authentication=b"")
        own = _NOBODY
        try:
            if octets[0] == apdu.Tag.GENERAL_CIPHERING:
                own = _ciphering(octets).header.recipient or _NOBODY
            context = _context(own, keys, title, verify=verify)
            if self.dedicated:
                context.use_dedicated(self.dedicated)
            return context.unprotect(octets)
        except (RemoteProtocolError, LocalProtocolError, ValueError):
            return None

    def _counter(
        self, here: Node, opened: Opened, keys: KeySet, title: bytes, dedicated: bool
    ) -> None:
        if opened.counter < 0:
            return
        key = self.dedicated if dedicated else keys.broadcast if opened.broadcast else keys.unicast
        at = (title, key_fingerprint(key))
        last = self._counters.get(at, -1)
        if opened.counter <= last:
            here.add(f"REPEATED: the counter is not above {last}, which was used before")
        self._counters[at] = max(last, opened.counter)


_named = enum_text


def general_header(here: Node, header: apdu.GeneralHeader) -> None:
    """The fields in front of general-ciphering and general-signing."""
    for item in dataclasses.fields(header):
        value = getattr(header, item.name)
        if not value:
            continue
        title = item.name in {"originator", "recipient"}
        label = f"{item.name} system title" if title else words(item.name).lower()
        text = title_text(value) if title else octets_text(value)
        if item.name == "time":
            text = time_text(value) or text
        here.add(f"{label}: {text}")


def _key_text(info: apdu.KeyInfo | None) -> str:
    if info is None:
        return "the one agreed before"
    if isinstance(info, apdu.IdentifiedKey):
        names = {0: "global encryption key", 1: "global broadcast key"}
        return names.get(info.key_id, f"identified by {info.key_id}")
    if isinstance(info, apdu.WrappedKey):
        return f"wrapped under key {info.kek_id} (0: the master key), {len(info.wrapped)} octets"
    schemes = {b"\x01": "one-pass", b"\x02": "static"}
    scheme = schemes.get(info.scheme, octets_text(info.scheme))
    return f"agreed, {scheme} Diffie-Hellman, {len(info.key_data)} octets"


def ciphered_name(tag: int) -> str:
    """The kind of a ciphered APDU."""
    names = {
        0xDB: "General glo ciphering", 0xDC: "General ded ciphering", 0xDD: "General ciphering",
    }  # fmt: skip
    if tag in names:
        return names[tag]
    kind, table = ("glo", apdu.PLAIN_OF_GLO)
    if tag not in table:
        kind, table = ("ded", apdu.PLAIN_OF_DED)
    return f"{kind}-{apdu.Tag(table[tag]).name.lower().replace('_', '-')}"


def _context(own: bytes, keys: KeySet, peer: bytes, *, verify: bool = True) -> SecurityContext:
    counters = InvocationCounters(VolatileCounterStore())
    context = SecurityContext(own, keys, counters, _no_entropy, peer_title=peer, verify_tags=verify)
    context.outer_only = True
    return context


def is_text(plain: bytes) -> bool:
    """A telegram of a consumer port: text, ciphered like an APDU."""
    return plain[:1] == b"/" and all(32 <= octet < 127 or octet in {10, 13} for octet in plain)


def _plausible(plain: bytes) -> bool:
    """Whether octets that nothing proves look like an APDU."""
    if is_text(plain):
        return True
    try:
        if 0x60 <= plain[0] <= 0x63:
            acse.decode(plain)
        else:
            message = apdu.decode(plain)
            for body in (getattr(message, "body", b""), getattr(message, "result", b"")):
                if isinstance(body, bytes) and body:
                    axdr.decode(body)
    except (RemoteProtocolError, AxdrError, IndexError):
        return False
    return True


def _from_meter(tag: int, sender: str) -> bool | None:
    if tag not in _GENERAL and tag != apdu.Tag.GENERAL_DED:
        return tag in _FROM_METER
    return {"client": False, "meter": True}.get(sender)
