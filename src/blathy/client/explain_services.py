"""The services of one association, explained in order: each answer by the request before it.

Knows what later APDUs need: titles and challenges of AARQ and AARE, the dedicated key, what was
asked, blocks that are still to come. Ciphered APDUs are opened with the keys of the ring.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from blathy.client.explain_broken import broken_apdu
from blathy.client.explain_values import (
    ELEMENTS_SHOWN,
    Knowledge,
    Node,
    attribute_node,
    attribute_text,
    enum_text,
    method_text,
    octets_node,
    octets_text,
    time_text,
    title_text,
    value_node,
    words,
)
from blathy.client.push import named_values
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, DataType
from blathy.cosem.names import obis_name
from blathy.cosem.service import ActionResult, AttributeRef, DataAccessResult, MethodRef
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.acse import Context, Mechanism, ProviderDiagnostic, UserDiagnostic
from blathy.wire.apdu import Conformance
from blathy.wire.client import exception_reason, service_error_reason
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hls import HlsParty
from blathy.wire.invocation_counters import (
    InvocationCounters,
    VolatileCounterStore,
    key_fingerprint,
)
from blathy.wire.octets import Reader
from blathy.wire.security import TITLE_OCTETS, KeySet, Opened, SecurityContext
from blathy.wire.short_names import REPLY_TO_HLS_NAME

DEPTH_MAX: Final = 6
ASSEMBLED_MAX: Final = 1 << 20
_FROM_METER: Final = frozenset({
    0x08, 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x28, 0x2C, 0x2D, 0x2E, 0x38, 0x48, 0x4C, 0x4D, 0x4E, 0x58,
    0x61, 0x63, 0xC2, 0xC4, 0xC5, 0xC7, 0xCA, 0xCC, 0xCD, 0xCF, 0xD2, 0xD4, 0xD5, 0xD7, 0xD8, 0xDA,
})  # fmt: skip
_GENERAL: Final = frozenset({0xDB, 0xDC, 0xDD})
_ASSOCIATION_SN: Final = 12
_NOBODY: Final = b"explain!"
_NO_KEY: Final = "encrypted; give --ek (and --ak) to open it"


@dataclass(slots=True)
class KeyRing:
    """The keys to try: those of a meter by its system title, and those of any other."""

    any: KeySet | None = None
    by_title: dict[bytes, KeySet] = field(default_factory=dict)
    password: bytes = b""

    def __bool__(self) -> bool:
        return self.any is not None or bool(self.by_title)

    def of(self, titles: Sequence[bytes]) -> list[KeySet]:
        """Those of these titles first; all where no title is known."""
        known = [self.by_title[title] for title in titles if title in self.by_title]
        rest = [] if any(titles) and known else list(self.by_title.values())
        return known + ([self.any] if self.any is not None else []) + rest


def _no_entropy(_count: int) -> bytes:
    raise LocalProtocolError("nothing is encrypted here")


Asked = AttributeRef | MethodRef | int
"""What a request named; a short name is a number."""


class Association:
    """What a client and a meter say to each other."""

    def __init__(self, ring: KeyRing, known: Knowledge, client: bytes, meter: bytes) -> None:
        self._ring = ring
        self._known = known
        self._titles = {False: client, True: meter}
        self._challenges = {False: b"", True: b""}
        self._mechanism: int | None = None
        self._dedicated = b""
        self._asked: list[Asked] = []
        self._blocks = {False: bytearray(), True: bytearray()}
        self._due = {False: 1, True: 1}
        self._general: dict[bool | None, dict[int, bytes]] = {}
        self._counters: dict[tuple[bytes, str], int] = {}

    def explain(self, node: Node, octets: bytes, sender: str = "", depth: int = 0) -> None:
        """Add what this APDU says; `sender`: client, meter, or empty where nobody knows."""
        if octets[:3] in {b"\xe6\xe6\x00", b"\xe6\xe7\x00", b"\xe6\xff\x00"}:
            octets = octets[3:]
        if not octets or depth > DEPTH_MAX:
            node.add(f"octets: {octets_text(octets)}")
            return
        try:
            if 0x60 <= octets[0] <= 0x63:
                self._association(node, acse.decode(octets), depth)
            elif octets[0] == apdu.Tag.GENERAL_SIGNING:
                self._signed(node, octets, sender, depth)
            elif octets[0] in apdu.CIPHERED_TAGS:
                self._ciphered(node, octets, sender, depth)
            else:
                self._service(node, octets, sender, depth)
        except RemoteProtocolError as error:
            broken_apdu(node, octets, error)

    # --- associations

    def _association(self, node: Node, message: Any, depth: int) -> None:
        here = node.add(type(message).__name__.upper())
        if isinstance(message, acse.Aarq):
            self._aarq(here, message)
        elif isinstance(message, acse.Aare):
            self._aare(here, message)
        elif message.reason is not None:
            names = {0: "normal", 1: "urgent", 30: "user-defined"}
            if isinstance(message, acse.Rlre):
                names[1] = "not finished"
            here.add(f"reason: {message.reason} {names.get(message.reason, '')}".rstrip())
        if message.user_information:
            self.explain(here, message.user_information, "", depth + 1)

    def _aarq(self, here: Node, message: acse.Aarq) -> None:
        self._titles[False] = message.calling_ap_title or self._titles[False]
        self._mechanism = message.mechanism
        self._challenges[False] = message.authentication_value or b""
        self._dedicated = b""
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

    def _aare(self, here: Node, message: acse.Aare) -> None:
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

    def _hls(self, here: Node, parameters: bytes, *, from_meter: bool) -> None:
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
        if not sent or mechanism in {Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_ECDSA}:
            return None
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

    # --- protection

    def _signed(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        message = apdu.decode(octets)
        assert isinstance(message, apdu.GeneralSigning)
        here = node.add(f"General signing, {len(octets)} octets", octets)
        _general_header(here, message.header)
        here.add(f"signature, not checked: {octets_text(message.signature)}")
        self.explain(here, message.content, sender, depth + 1)

    def _ciphered(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        here = node.add(f"{_ciphered_name(octets[0])}, {len(octets)} octets", octets)
        titles = self._security(here, octets, sender)
        dedicated = octets[0] in apdu.PLAIN_OF_DED or octets[0] == apdu.Tag.GENERAL_DED
        if dedicated and not self._dedicated:
            here.add("under a dedicated key that this conversation has not shown")
            return
        if not self._ring:
            here.add(_NO_KEY)
            return
        found = self._open(octets, titles)
        if found is None:
            here.add(self._why_closed(titles))
            return
        opened, keys, verified, title = found
        if not verified:
            here.add("NOT AUTHENTICATED: the tag was not or could not be checked")
        self._counter(here, opened, keys, title, dedicated)
        if _is_text(opened.plain):
            here.add(f"text: {opened.plain.decode('ascii')!r}")
        else:
            self.explain(here, opened.plain, sender, depth + 1)

    def _why_closed(self, titles: Sequence[bytes]) -> str:
        if not any(titles):
            return "can't be opened: the sender's system title is not known; give --meter-title"
        return "can't be opened with these keys and titles"

    def _security(self, here: Node, octets: bytes, sender: str) -> list[bytes]:
        """Show the security header; the system titles that the sender may have."""
        tag = octets[0]
        reader = Reader(octets, 1)
        if tag == apdu.Tag.GENERAL_CIPHERING:
            message = apdu.decode(octets)
            assert isinstance(message, apdu.GeneralCiphering)
            _general_header(here, message.header)
            here.add(f"key: {_key_text(message.key_info)}")
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
                message = apdu.decode(octets)
                assert isinstance(message, apdu.GeneralCiphering)
                own = message.header.recipient or _NOBODY
            context = _context(own, keys, title, verify=verify)
            if self._dedicated:
                context.use_dedicated(self._dedicated)
            return context.unprotect(octets)
        except (RemoteProtocolError, LocalProtocolError, ValueError):
            return None

    def _counter(
        self, here: Node, opened: Opened, keys: KeySet, title: bytes, dedicated: bool
    ) -> None:
        if opened.counter < 0:
            return
        key = self._dedicated if dedicated else keys.broadcast if opened.broadcast else keys.unicast
        at = (title, key_fingerprint(key))
        last = self._counters.get(at, -1)
        if opened.counter <= last:
            here.add(f"REPEATED: the counter is not above {last}, which was used before")
        self._counters[at] = max(last, opened.counter)

    # --- services

    def _service(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        message: Any = apdu.decode(octets)
        here = node.add(words(type(message).__name__) + _invoke_text(message), octets)
        show = _SERVICES.get(type(message))
        if show is not None:
            show(self, here, message)
        elif isinstance(message, apdu.GeneralBlockTransfer):
            self._general_block(here, message, sender, depth)
        elif isinstance(message, apdu.Gateway):
            here.add(f"network {message.network}, physical address {message.address.hex(' ')}")
            self.explain(here, message.apdu, sender, depth + 1)
        else:
            _fields(here, message)

    def _general_block(
        self, here: Node, block: apdu.GeneralBlockTransfer, sender: str, depth: int
    ) -> None:
        here.text = (
            f"General block transfer, block {block.block}{', last' if block.last else ''}"
            f"{', streaming' if block.streaming else ''}, {len(block.data)} octets; "
            f"window {block.window}, acknowledges {block.acknowledged}"
        )
        side = {"client": False, "meter": True}.get(sender)
        kept = self._general.setdefault(side, {})
        if block.data or (block.last and kept):
            if kept and block.block == 1 and 1 in kept and kept[1] != block.data:
                kept.clear()  # a new transfer; the one before was never finished
            kept[block.block] = block.data
        if sum(map(len, kept.values())) > ASSEMBLED_MAX:
            kept.clear()
        if not block.last or not kept:
            return
        first, last = min(kept), max(kept)
        missing = [number for number in range(first, last) if number not in kept]
        if missing:
            here.add(f"blocks missing: {', '.join(map(str, missing[:ELEMENTS_SHOWN]))}")
            return
        whole = b"".join(kept[number] for number in range(first, last + 1))
        kept.clear()
        self.explain(here.add(f"{len(whole)} octets in all"), whole, sender, depth + 1)

    def _get_request(self, here: Node, message: apdu.GetRequestNormal) -> None:
        self._ask([message.attribute])
        attribute_node(here, "attribute", message.attribute)

    def _get_list(self, here: Node, message: apdu.GetRequestList) -> None:
        self._ask(message.attributes)
        for number, ref in enumerate(message.attributes):
            attribute_node(here, str(number + 1), ref)

    def _next(self, here: Node, message: apdu.GetRequestNext) -> None:
        here.add(f"has block {message.block}, asks for the one after it")

    def _ask(self, asked: Sequence[Asked]) -> None:
        self._asked = list(asked)
        for from_meter in (False, True):
            self._blocks[from_meter].clear()
            self._due[from_meter] = 1

    def _get_response(self, here: Node, message: apdu.GetResponseNormal) -> None:
        self._got(here, "value", self._only(), message.result)

    def _only(self) -> Asked | None:
        return self._asked[0] if len(self._asked) == 1 else None

    def _got(self, here: Node, label: str, asked: Asked | None, result: bytes | int) -> None:
        """A value, or the reason why there is none."""
        if isinstance(result, int):
            here.add(f"{label}: refused, {_named(DataAccessResult, result)}")
        elif isinstance(asked, int):
            self._got(here, label, self._resolved(asked), result)
        elif isinstance(asked, AttributeRef):
            value_node(here, label, asked, result, self._known)
        elif isinstance(asked, MethodRef) and _is_hls(asked):
            self._hls(here, result, from_meter=True)
        else:
            octets_node(here, label, result)

    def _got_all(self, here: Node, results: Sequence[bytes | int]) -> None:
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        # Scalers may stand behind the values that they belong to.
        for one, result in zip(asked, results, strict=True):
            if isinstance(one, AttributeRef) and isinstance(result, bytes):
                self._known.learn(one, result)
        for number, (one, result) in enumerate(zip(asked, results, strict=True)):
            name = self._text(one) if one is not None else ""
            branch = here.add(f"{number + 1}: {name}") if name else here
            self._got(branch, "value" if name else str(number + 1), one, result)

    def _get_results(self, here: Node, message: apdu.GetResponseList) -> None:
        self._got_all(here, message.results)

    def _get_block(self, here: Node, message: apdu.GetResponseBlock) -> None:
        if isinstance(message.raw, int):
            here.add(f"transfer ended: {_named(DataAccessResult, message.raw)}")
            return
        whole = self._block(here, message, from_meter=True)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        if len(self._asked) > 1:
            self._got_all(branch, apdu.read_get_results(Reader(whole)))
        else:
            self._got(branch, "value", self._only(), whole)

    def _block(self, here: Node, message: Any, *, from_meter: bool) -> bytes | None:
        """Keep a block; all of them with the last one."""
        store = self._blocks[from_meter]
        raw: bytes = message.raw
        lasts = ", last" if message.last else ""
        here.add(f"block {message.block}{lasts}: {octets_text(raw)}")
        if message.block != self._due[from_meter]:
            here.add(f"block {self._due[from_meter]} was due")
        self._due[from_meter] = message.block + 1
        store += raw
        if len(store) > ASSEMBLED_MAX:
            store.clear()
        if not message.last:
            return None
        whole = bytes(store)
        store.clear()
        self._due[from_meter] = 1
        return whole

    def _set_request(self, here: Node, message: apdu.SetRequestNormal) -> None:
        self._ask([message.attribute])
        attribute_node(here, "attribute", message.attribute)
        self._got(here, "value", message.attribute, message.value)

    def _set_list(self, here: Node, message: apdu.SetRequestList) -> None:
        self._ask(message.attributes)
        self._got_all(here, message.values)

    def _set_first(self, here: Node, message: Any) -> None:
        refs = message.attributes if hasattr(message, "attributes") else (message.attribute,)
        self._ask(refs)
        for ref in refs:
            attribute_node(here, "attribute", ref)
        self._upload(here, message)

    def _upload(self, here: Node, message: Any) -> None:
        whole = self._block(here, message, from_meter=False)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        one = self._only()
        if len(self._asked) > 1:
            reader = Reader(whole)
            values = [reader.data_value() for _ in range(reader.length())]
            self._got_all(branch, values)
        elif isinstance(one, MethodRef):
            self._parameters(branch, one, whole)
        else:
            self._got(branch, "value", one, whole)

    def _set_result(self, here: Node, message: Any) -> None:
        results = message.results if hasattr(message, "results") else (message.result,)
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        for one, result in zip(asked, results, strict=True):
            name = f" of {self._text(one)}" if one is not None else ""
            here.add(f"result{name}: {_named(DataAccessResult, result)}")

    def _acknowledged(self, here: Node, message: Any) -> None:
        here.add(f"has block {message.block}, waits for the one after it")

    def _action_request(self, here: Node, message: apdu.ActionRequestNormal) -> None:
        self._ask([message.method])
        here.add(f"method: {method_text(message.method)}")
        if message.parameters:
            self._parameters(here, message.method, message.parameters)

    def _parameters(self, here: Node, method: MethodRef, parameters: bytes) -> None:
        if _is_hls(method):
            self._hls(here, parameters, from_meter=False)
        elif method.class_id in {12, 15} and method.method in {2, 5, 6}:
            here.add("parameters: (a secret may be in them, hidden)")
        else:
            octets_node(here, "parameters", parameters)

    def _action_list(self, here: Node, message: apdu.ActionRequestList) -> None:
        self._ask(message.methods)
        for number, method in enumerate(message.methods):
            branch = here.add(f"{number + 1}: {method_text(method)}")
            self._parameters(branch, method, message.parameters[number])

    def _action_first(self, here: Node, message: Any) -> None:
        methods = message.methods if hasattr(message, "methods") else (message.method,)
        self._ask(methods)
        for method in methods:
            here.add(f"method: {method_text(method)}")
        self._upload(here, message)

    def _action_response(self, here: Node, message: apdu.ActionResponseNormal) -> None:
        self._outcome(here, self._only(), message.result, message.returned)

    def _outcome(self, here: Node, one: Asked | None, result: int, returned: Any) -> None:
        name = f" of {self._text(one)}" if one is not None else ""
        here.add(f"result{name}: {_named(ActionResult, result)}")
        if returned is not None:
            self._got(here, "returned", one if isinstance(one, MethodRef) else None, returned)

    def _action_results(self, here: Node, message: apdu.ActionResponseList) -> None:
        self._outcomes(here, message.results)

    def _outcomes(self, here: Node, results: Sequence[tuple[int, Any]]) -> None:
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        for one, (result, returned) in zip(asked, results, strict=True):
            self._outcome(here, one, result, returned)

    def _action_block(self, here: Node, message: apdu.ActionResponseBlock) -> None:
        whole = self._block(here, message, from_meter=True)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        if len(self._asked) > 1:
            self._outcomes(branch, apdu.read_action_results(Reader(whole)))
            return
        try:  # servers differ in what the blocks hold
            reader = Reader(whole)
            result, returned = apdu.read_action_result(reader)
            reader.done()
        except RemoteProtocolError:
            self._got(branch, "returned", self._only(), whole)
        else:
            self._outcome(branch, self._only(), result, returned)

    def _access_request(self, here: Node, message: apdu.AccessRequest) -> None:
        self._ask([ref for _, ref in message.specifications])
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        pairs = zip(message.specifications, message.data, strict=True)
        for number, ((kind, ref), value) in enumerate(pairs):
            label = f"{number + 1}: {kind.name.lower()}"
            if isinstance(ref, MethodRef):
                branch = here.add(f"{label} {method_text(ref)}")
            else:
                branch = here.add(f"{label} {attribute_text(ref)}")
                if ref.selector is not None:
                    octets_node(branch, f"selection {ref.selector}", ref.parameters)
            if value != b"\x00":
                self._got(branch, "data", ref, value)

    def _access_response(self, here: Node, message: apdu.AccessResponse) -> None:
        if message.specifications is not None:
            self._asked = [ref for _, ref in message.specifications]
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        for number in range(max(len(message.results), len(message.data))):
            one = self._asked[number] if number < len(self._asked) else None
            name = f" {self._text(one)}" if one is not None else ""
            branch = here.add(f"{number + 1}:{name}")
            if number < len(message.results):
                kind, result = message.results[number]
                branch.add(f"{kind.name.lower()}: {_named(DataAccessResult, result)}")
            if number < len(message.data) and message.data[number] != b"\x00":
                self._got(branch, "data", one, message.data[number])

    # --- notifications

    def _notification(self, here: Node, message: apdu.DataNotification) -> None:
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        try:
            body = axdr.decode(message.body)
            values = named_values(body, tagged_time=message.tagged_time)
        except AxdrError:
            octets_node(here, "body", message.body)
            return
        if any(value.obis is not None for value in values):
            branch = here.add(f"values: {len(values)}")
            for value in values:
                shown = _pushed_text(value.value)
                if value.attribute == 1 and isinstance(value.value, bytes):
                    shown = str(Obis.of(value.value)) if len(value.value) == 6 else shown
                if value.obis is None:
                    branch.add(f"without a name: {shown}")
                    continue
                attribute = f" attribute {value.attribute}" if value.attribute else ""
                branch.add(f"{value.obis}{attribute} ({obis_name(value.obis)}): {shown}")
        octets_node(here, "body", message.body)

    def _event(self, here: Node, message: apdu.EventNotification) -> None:
        if message.time is not None:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        attribute_node(here, "attribute", message.attribute)
        value_node(here, "value", message.attribute, message.value, self._known)

    # --- short names

    def _resolved(self, name: int) -> AttributeRef | MethodRef | None:
        if name == REPLY_TO_HLS_NAME:
            return MethodRef(_ASSOCIATION_SN, Obis(0, 0, 40, 0, 0), 8)
        return self._known.named(name)

    def _text(self, one: Asked) -> str:
        if isinstance(one, AttributeRef):
            return attribute_text(one)
        if isinstance(one, MethodRef):
            return method_text(one)
        found = self._resolved(one)
        return f"short name {one:04X}{f', {self._text(found)}' if found is not None else ''}"

    def _variable(self, here: Node, label: str, variable: apdu.VariableAccess) -> Node:
        if isinstance(variable, apdu.VariableName):
            return here.add(f"{label}: {self._text(variable.name)}")
        if isinstance(variable, apdu.ParameterizedAccess):
            branch = here.add(f"{label}: {self._text(variable.name)}")
            found = self._resolved(variable.name)
            if isinstance(found, MethodRef) and found.class_id == _ASSOCIATION_SN:
                self._short_parameters(branch, found, variable.parameters)
            else:
                selector = f"parameter of selector {variable.selector}"
                octets_node(branch, selector, variable.parameters)
            return branch
        branch = here.add(f"{label}: {words(type(variable).__name__)}")
        _fields(branch, variable)
        return branch

    def _short_parameters(self, here: Node, method: MethodRef, parameters: bytes) -> None:
        if method.method == 8:
            self._hls(here, parameters, from_meter=False)
        else:
            octets_node(here, "parameters", parameters)

    def _read_request(self, here: Node, message: apdu.ReadRequest) -> None:
        names = _short_names(message.variables)
        if names:
            self._ask(names)
        for number, variable in enumerate(message.variables):
            self._variable(here, str(number + 1), variable)

    def _read_response(self, here: Node, message: apdu.ReadResponse) -> None:
        asked: list[Asked | None] = [*self._asked]
        if len(asked) != len(message.results):
            asked = [None] * len(message.results)
        for number, (one, result) in enumerate(zip(asked, message.results, strict=True)):
            label = f"{number + 1}: {self._text(one)}" if one is not None else str(number + 1)
            if isinstance(result, apdu.BlockNumber):
                here.add(f"has block {result.block}, waits for the one after it")
            elif isinstance(result, apdu.DataBlockResult):
                whole = self._block(here, result, from_meter=True)
                if whole is not None:
                    results = apdu.read_read_results(Reader(whole))
                    branch = here.add(f"{len(whole)} octets in all")
                    self._read_response(branch, apdu.ReadResponse(results))
            elif isinstance(result, bytes) and self._is_short_hls(one):
                self._hls(here, result, from_meter=True)
            else:
                self._got(here, label, one, result)

    def _is_short_hls(self, one: Asked | None) -> bool:
        return one == REPLY_TO_HLS_NAME

    def _write_request(self, here: Node, message: Any) -> None:
        self._ask(_short_names(message.variables))
        if isinstance(message, apdu.InformationReport) and message.time is not None:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        for number, variable in enumerate(message.variables):
            branch = self._variable(here, str(number + 1), variable)
            name = getattr(variable, "name", None)
            self._got(branch, "value", name, message.values[number])

    def _write_response(self, here: Node, message: apdu.WriteResponse) -> None:
        asked: list[Asked | None] = [*self._asked]
        if len(asked) != len(message.results):
            asked = [None] * len(message.results)
        for number, (one, result) in enumerate(zip(asked, message.results, strict=True)):
            label = self._text(one) if one is not None else str(number + 1)
            if isinstance(result, apdu.BlockNumber):
                here.add(f"has block {result.block}, waits for the one after it")
            else:
                here.add(f"result of {label}: {_named(DataAccessResult, result)}")

    # --- initiate and errors

    def _initiate(self, here: Node, message: Any) -> None:
        if isinstance(message, apdu.InitiateRequest) and message.dedicated_key:
            self._dedicated = message.dedicated_key
        _fields(here, message)

    def _exception(self, here: Node, message: apdu.ExceptionResponse) -> None:
        here.add(f"state: {_named(apdu.StateError, message.state)}")
        here.add(f"service: {_named(apdu.ServiceError, message.service)}")
        here.add(f"meaning: {exception_reason(message)}")

    def _service_error(self, here: Node, message: apdu.ConfirmedServiceError) -> None:
        here.add(f"service: {_named(apdu.ConfirmedService, message.service)}")
        here.add(f"error class: {_named(apdu.ErrorClass, message.error_class)}")
        if message.error_class == apdu.ErrorClass.INITIATE:
            here.add(f"code: {_named(apdu.InitiateError, message.code)}")
        else:
            here.add(f"code: {message.code}")
        here.add(f"meaning: {service_error_reason(message)}")


_Show = Callable[[Association, Node, Any], None]
_SERVICES: Final[dict[type, _Show]] = {
    apdu.InitiateRequest: Association._initiate,
    apdu.InitiateResponse: Association._initiate,
    apdu.ExceptionResponse: Association._exception,
    apdu.ConfirmedServiceError: Association._service_error,
    apdu.GetRequestNormal: Association._get_request,
    apdu.GetRequestNext: Association._next,
    apdu.GetRequestList: Association._get_list,
    apdu.GetResponseNormal: Association._get_response,
    apdu.GetResponseBlock: Association._get_block,
    apdu.GetResponseList: Association._get_results,
    apdu.SetRequestNormal: Association._set_request,
    apdu.SetRequestFirstBlock: Association._set_first,
    apdu.SetRequestBlock: Association._upload,
    apdu.SetRequestList: Association._set_list,
    apdu.SetRequestListFirstBlock: Association._set_first,
    apdu.SetResponseNormal: Association._set_result,
    apdu.SetResponseBlock: Association._acknowledged,
    apdu.SetResponseLastBlock: Association._set_result,
    apdu.SetResponseLastBlockList: Association._set_result,
    apdu.SetResponseList: Association._set_result,
    apdu.ActionRequestNormal: Association._action_request,
    apdu.ActionRequestNext: Association._next,
    apdu.ActionRequestList: Association._action_list,
    apdu.ActionRequestFirstBlock: Association._action_first,
    apdu.ActionRequestListFirstBlock: Association._action_first,
    apdu.ActionRequestBlock: Association._upload,
    apdu.ActionResponseNormal: Association._action_response,
    apdu.ActionResponseBlock: Association._action_block,
    apdu.ActionResponseList: Association._action_results,
    apdu.ActionResponseNext: Association._acknowledged,
    apdu.AccessRequest: Association._access_request,
    apdu.AccessResponse: Association._access_response,
    apdu.DataNotification: Association._notification,
    apdu.EventNotification: Association._event,
    apdu.ReadRequest: Association._read_request,
    apdu.ReadResponse: Association._read_response,
    apdu.WriteRequest: Association._write_request,
    apdu.UnconfirmedWriteRequest: Association._write_request,
    apdu.InformationReport: Association._write_request,
    apdu.WriteResponse: Association._write_response,
}


# --- texts --------------------------------------------------------------------------------------

_named = enum_text


def _from_meter(tag: int, sender: str) -> bool | None:
    if tag not in _GENERAL and tag != apdu.Tag.GENERAL_DED:
        return tag in _FROM_METER
    return {"client": False, "meter": True}.get(sender)


def _is_hls(method: MethodRef) -> bool:
    return (method.class_id, method.method) in {(15, 1), (12, 8)}


def _short_names(variables: Sequence[apdu.VariableAccess]) -> list[int]:
    names = [getattr(variable, "name", None) for variable in variables]
    return [name for name in names if name is not None]


def _invoke_text(message: Any) -> str:
    invoke = getattr(message, "invoke", None)
    if invoke is not None:
        kind = "confirmed" if invoke & apdu.CONFIRMED else "unconfirmed"
        high = ", high priority" if invoke & apdu.HIGH_PRIORITY else ""
        return f", invoke id {invoke & 0x0F}, {kind}{high}"
    long = getattr(message, "long_invoke", None)
    if long is None:
        return ""
    kind = "confirmed" if long & apdu.LONG_CONFIRMED else "unconfirmed"
    ends = ", break on error" if long & apdu.LONG_BREAK_ON_ERROR else ""
    tells = ", self-descriptive" if long & apdu.LONG_SELF_DESCRIPTIVE else ""
    return f", invoke id {long & apdu.LONG_INVOKE_ID_MASK}, {kind}{ends}{tells}"


def _fields(here: Node, message: Any) -> None:
    """What has no form of its own, field by field."""
    for item in dataclasses.fields(message):
        value = getattr(message, item.name)
        label = words(item.name).lower()
        if item.name == "conformance":
            names = [bit.name for bit in Conformance if value & bit and bit.name]
            listed = ", ".join(n.lower().replace("_", " ") for n in names)
            here.add(f"conformance {value:06X}: {listed}")
        elif item.name in {"invoke", "long_invoke"} or value is None:
            continue
        elif item.name == "vaa_name":
            here.add(f"vaa name: {value:04X}")
        elif isinstance(value, bytes):
            if value:
                here.add(f"{label}: {'(hidden)' if 'key' in label else octets_text(value)}")
        else:
            here.add(f"{label}: {str(value).lower() if isinstance(value, bool) else value}")


def _general_header(here: Node, header: apdu.GeneralHeader) -> None:
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
        names = {0: "global unicast key", 1: "global broadcast key"}
        return names.get(info.key_id, f"identified by {info.key_id}")
    if isinstance(info, apdu.WrappedKey):
        return f"wrapped under key {info.kek_id} (0: the master key), {len(info.wrapped)} octets"
    schemes = {b"\x01": "one-pass", b"\x02": "static"}
    scheme = schemes.get(info.scheme, octets_text(info.scheme))
    return f"agreed, {scheme} Diffie-Hellman, {len(info.key_data)} octets"


def _ciphered_name(tag: int) -> str:
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
    return SecurityContext(own, keys, counters, _no_entropy, peer_title=peer, verify_tags=verify)


def _is_text(plain: bytes) -> bool:
    """A telegram of a consumer port: text, ciphered like an APDU."""
    return plain[:1] == b"/" and all(32 <= octet < 127 or octet in {10, 13} for octet in plain)


def _plausible(plain: bytes) -> bool:
    """Whether octets that nothing proves look like an APDU."""
    if _is_text(plain):
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


def _pushed_text(value: Any) -> str:
    if isinstance(value, bytes):
        printable = value and all(32 <= octet < 127 for octet in value)
        return repr(value.decode("ascii")) if printable else octets_text(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_pushed_text, value[:ELEMENTS_SHOWN])) + ")"
    return "–" if value is None else str(value)


__all__ = ["Association", "KeyRing"]
