"""The client's side of an association (IEC 62056-5-3): what a head-end or a tester speaks.

Every request method returns the one APDU to send; `receive_apdu` takes whole APDUs and returns
events. `Send` events carry what the protocol itself wants to send next (the third pass of HLS, the
next block). One confirmed request is under way at a time. Notifications are decoded in any state,
also before there is an association.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from blathy.clock import Instant
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.acse import (
    AUTHENTICATION_FUNCTIONAL_UNIT,
    Context,
    DiagnosticSource,
    Mechanism,
    UserDiagnostic,
)
from blathy.wire.apdu import (
    LN_CONFORMANCE,
    SN_CONFORMANCE,
    Conformance,
    GetResult,
    ReturnValue,
    Tag,
)
from blathy.wire.association_events import (
    AccessAnswer,
    ActionAnswer,
    Associated,
    AssociationRefused,
    ClientEvent,
    Discarded,
    EventReport,
    GetAnswer,
    Notification,
    Released,
    ReleaseRefused,
    Send,
    ServiceRefused,
    SetAnswer,
    State,
    Step,
    TransferAborted,
    after,
)
from blathy.wire.block_transfer import BlockExchange
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hls import CHALLENGE_OCTETS, HlsParty, reflects
from blathy.wire.octets import (
    Reader,
    attribute_descriptor,
    length_octets,
    method_descriptor,
    octet_string,
)
from blathy.wire.security import (
    Entropy,
    Envelope,
    InvocationCounters,
    KeyChoice,
    KeySet,
    Opened,
    Protection,
    SecurityContext,
)
from blathy.wire.short_names import REPLY_TO_HLS_NAME

CURRENT_ASSOCIATION: Final = Obis(0, 0, 40, 0, 0)
REPLY_TO_HLS: Final = MethodRef(15, CURRENT_ASSOCIATION, 1)
EMPTY_BLOCKS_MAX: Final = 16
PDU_SIZE_UNLIMITED: Final = 0xFFFF
# What every APDU is compared with, read off its class once: `security` says why.
_AUTHENTICATING: Final = State.AUTHENTICATING
_ASSOCIATED: Final = State.ASSOCIATED
_DED: Final = Envelope.DED
_AE: Final = int(Protection.BOTH)
_AARE: Final = int(Tag.AARE)
_RLRE: Final = int(Tag.RLRE)
_BLOCK_TRANSFER: Final = int(Tag.GENERAL_BLOCK_TRANSFER)


@dataclass(frozen=True, slots=True, repr=False)
class ClientConfig:
    """How to open an association and how to protect what is said in it.

    `keys` None: a plain context. `protection`: of every request; answers with less are refused,
    unless `answer_protection` asks for something else. `server_title`: expected where given, and
    taken where the server does not tell its own. `verify_tags` False: read what can be read without
    the authentication key. `strict_invoke_id` False: take answers of meters that never copy it, on
    a link where none overtakes another, until a request is given up whose answer may yet come.
    """

    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = b""
    title: bytes = b""
    keys: KeySet | None = None
    protection: Protection = Protection.BOTH
    answer_protection: Protection | None = None
    envelope: Envelope = Envelope.GLO
    key_choice: KeyChoice = KeyChoice.IDENTIFIED
    dedicated_key: bool = False
    short_names: bool = False
    conformance: int | None = None
    pdu_size: int = PDU_SIZE_UNLIMITED
    server_title: bytes = b""
    user_id: int | None = None
    send_protocol_version: bool = False
    challenge_octets: int = 16
    high_priority: bool = True
    protected_release: bool = True
    pre_established: bool = False
    pre_established_pdu_size: int = 1024
    block_window: int = 8
    octets_max: int = 1 << 24
    verify_tags: bool = True
    strict_invoke_id: bool = True

    @property
    def ciphered(self) -> bool:
        return self.keys is not None and bool(self.protection)

    def __repr__(self) -> str:
        keys = f", {self.keys!r}" if self.keys is not None else ""
        return f"ClientConfig({self.mechanism.name}{keys})"


@dataclass(slots=True)
class _Pending:
    """The confirmed request under way."""

    tag: int  # of the answer
    invoke: int
    many: bool = False
    block: int = 0
    assembled: list[bytes] = field(default_factory=list)
    octets: int = 0
    empty_blocks: int = 0
    upload: bytes = b""
    upload_position: int = 0
    upload_block: int = 0


class ClientAssociation:
    """One association with one server. Sans-IO: give it APDUs and time, take APDUs and events."""

    __slots__ = (
        "_answer_needs",
        "_blocks",
        "_challenge",
        "_ciphered",
        "_config",
        "_conformance",
        "_dedicated",
        "_entropy",
        "_gave_up",
        "_head",
        "_invoke",
        "_now",
        "_pending",
        "_proposed",
        "_protecting",
        "_room",
        "_security",
        "_server_pdu_size",
        "_state",
        "_stoc",
        "server_title",
    )  # fmt: skip

    def __init__(
        self, config: ClientConfig, entropy: Entropy, counters: InvocationCounters | None = None
    ) -> None:
        self._config = config
        self._entropy = entropy
        self._state = State.IDLE
        self._security: SecurityContext | None = None
        needs = config.protection if config.answer_protection is None else config.answer_protection
        self._ciphered = config.ciphered
        self._answer_needs = int(needs) if self._ciphered else 0
        self._proposed = _proposal(config)
        if config.keys is not None:
            if counters is None:
                raise LocalProtocolError("keys need invocation counters that survive")
            self._security = SecurityContext(
                config.title, config.keys, counters, entropy,
                peer_title=config.server_title, needs=self._answer_needs,
                verify_tags=config.verify_tags,
            )  # fmt: skip
        elif config.mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA):
            raise LocalProtocolError(f"{config.mechanism.name} needs keys")
        self._protecting = int(config.protection) if self._ciphered else 0
        self.server_title = config.server_title
        self._conformance = 0
        self._server_pdu_size = PDU_SIZE_UNLIMITED
        self._room = PDU_SIZE_UNLIMITED
        self._invoke = 0
        self._head = apdu.CONFIRMED | (apdu.HIGH_PRIORITY if config.high_priority else 0)
        self._pending: _Pending | None = None
        self._gave_up = False  # a request of this link: its answer may still come
        self._blocks: BlockExchange | None = None
        self._challenge = self._stoc = b""
        self._dedicated = b""
        self._now = Instant(0)
        if config.pre_established:
            self._conformance = self._proposed
            self._server_pdu_size = config.pre_established_pdu_size
            self._state = State.ASSOCIATED
            self._measure_room()

    # State

    @property
    def state(self) -> State:
        return self._state

    @property
    def associated(self) -> bool:
        return self._state is _ASSOCIATED

    @property
    def conformance(self) -> int:
        """The negotiated conformance block."""
        return self._conformance

    @property
    def busy(self) -> bool:
        """True while an answer is outstanding."""
        return self._pending is not None

    @property
    def security(self) -> SecurityContext | None:
        return self._security

    def cancel(self) -> None:
        """Stop waiting for the answer under way (after a time-out); a late one is discarded."""
        self._gave_up = self._gave_up or self._pending is not None
        self._pending = None
        if self._blocks is not None:
            self._blocks.reset()

    def disconnected(self) -> None:
        """The link is gone, and the association with it."""
        self.cancel()
        self._gave_up = False
        if not self._config.pre_established:
            self._state = after(self._state, Step.ABORT)

    def deadline(self) -> Instant | None:
        """When `tick` has to be called."""
        return self._blocks.deadline() if self._blocks is not None else None

    def tick(self, now: Instant) -> list[ClientEvent]:
        """Repeat lost blocks of a general block transfer, or give up on it."""
        if self._blocks is None:
            return []
        step = self._blocks.tick(now)
        events: list[ClientEvent] = [Send(block) for block in step.send]
        if step.aborted:
            self._pending = None
            events.append(TransferAborted("the server stopped answering in the block transfer"))
        return events

    def follow_counter(self, lowest: int) -> None:
        """Continue with the invocation counter that the server reported as the lowest it takes.

        Transaction-ids go on from there, too: the report does not say which of both was too low.
        Upwards only and by a bounded jump; raise LocalProtocolError beyond.
        """
        if self._security is None:
            raise LocalProtocolError("an association without keys has no invocation counter")
        security = self._security
        security.counters.follow_report(security.title, security.unicast_key_id, lowest)
        security.transactions_from = lowest

    # Opening and closing

    def associate(self) -> bytes:
        """The AARQ."""
        config = self._config
        if config.pre_established:
            raise LocalProtocolError("a pre-established association is not opened")
        self.cancel()
        self._state = after(self._state, Step.OPEN)
        if self._security is not None:
            self._security.forget_derived()
        mechanism = config.mechanism
        credentials: bytes | None = None
        if mechanism is Mechanism.LLS:
            credentials = config.secret
        elif mechanism.is_hls:
            octets = max(config.challenge_octets, CHALLENGE_OCTETS[mechanism][0])
            credentials = self._challenge = self._entropy(octets)
        titled = self._ciphered or mechanism >= Mechanism.HLS_GMAC
        authenticates = mechanism is not Mechanism.NONE
        return acse.Aarq(
            self._context(),
            self._initiate(with_key=True),
            int(mechanism) if authenticates else None,
            credentials,
            config.title if titled else None,
            None,
            config.user_id,
            AUTHENTICATION_FUNCTIONAL_UNIT if authenticates else None,
            AUTHENTICATION_FUNCTIONAL_UNIT if config.send_protocol_version else None,
        ).encode()

    def _context(self) -> Context:
        config = self._config
        return Context.of(logical_names=not config.short_names, ciphered=self._ciphered)

    def _initiate(self, *, with_key: bool) -> bytes:
        config = self._config
        if with_key:
            self._dedicated = b""
            if config.dedicated_key and config.keys is not None:
                self._dedicated = self._entropy(len(config.keys.unicast))
        request = apdu.InitiateRequest(
            self._proposed, config.pdu_size, self._dedicated if with_key else b""
        ).encode()
        if not self._ciphered:
            return request
        assert self._security is not None
        protection = self._protecting & _AE
        if self._dedicated or not with_key:
            protection = _AE
        envelope = config.envelope
        if envelope.dedicated or envelope is Envelope.PLAIN:
            envelope = Envelope.GLO
        elif envelope is Envelope.GENERAL_CIPHERING and not self._security.peer_title:
            envelope = Envelope.GLO  # key agreement needs the title that only the AARE tells
        return self._security.protect(request, protection, envelope, config.key_choice)

    def release(self) -> bytes:
        """The RLRQ; answered by Released or ReleaseRefused."""
        if self._config.pre_established:
            raise LocalProtocolError("a pre-established association is not released")
        self._state = after(self._state, Step.RELEASE)
        self.cancel()
        information = b""
        if self._ciphered and self._config.protected_release:
            information = self._initiate(with_key=False)
        return acse.Rlrq(0, information).encode()

    # Requests

    def get(self, *attributes: AttributeRef, confirmed: bool = True) -> bytes:
        """GET of one attribute, or with-list of several."""
        self._allow(Conformance.GET, len(attributes))
        invoke = self._next_invoke(confirmed=confirmed)
        if len(attributes) == 1:
            plain = bytes((0xC0, 1, invoke)) + attribute_descriptor(attributes[0])
        else:
            plain = apdu.GetRequestList(invoke, attributes).encode()
        self._expect(Tag.GET_RESPONSE, invoke, many=len(attributes) != 1)
        return self._outgoing(plain)

    def set(self, *writes: tuple[AttributeRef, bytes], confirmed: bool = True) -> bytes:
        """SET of one attribute, or with-list of several; in blocks where the server needs them."""
        self._allow(Conformance.SET, len(writes))
        invoke = self._next_invoke(confirmed=confirmed)
        attributes = tuple([ref for ref, _ in writes])
        if len(writes) == 1:
            value = writes[0][1]
            target = attribute_descriptor(attributes[0])
            plain = bytes((0xC1, 1, invoke)) + target + value
            choice = 2
        else:
            values = tuple([value for _, value in writes])
            plain = apdu.SetRequestList(invoke, attributes, values).encode()
            value = apdu.data_list(values)
            target = length_octets(len(writes)) + b"".join(map(attribute_descriptor, attributes))
            choice = 5
        pending = self._expect(Tag.SET_RESPONSE, invoke, many=len(writes) != 1)
        if (
            len(plain) > self._room
            and pending is not None
            and self._negotiated(Conformance.BLOCK_TRANSFER_SET_OR_WRITE)
        ):
            head = bytes((0xC1, choice, invoke)) + target
            return self._first_block(pending, head, value)
        return self._outgoing(plain)

    def action(self, *calls: tuple[MethodRef, bytes], confirmed: bool = True) -> bytes:
        """ACTION of one method (parameters empty: none), or with-list of several."""
        self._allow(Conformance.ACTION, len(calls))
        invoke = self._next_invoke(confirmed=confirmed)
        methods = tuple([ref for ref, _ in calls])
        if len(calls) == 1:
            value = calls[0][1]
            plain = apdu.ActionRequestNormal(invoke, methods[0], value).encode()
            target = method_descriptor(methods[0])
            choice = 4
        else:
            values = tuple([value for _, value in calls])
            plain = apdu.ActionRequestList(invoke, methods, values).encode()
            value = apdu.data_list(values)
            target = length_octets(len(calls)) + b"".join(map(method_descriptor, methods))
            choice = 5
        pending = self._expect(Tag.ACTION_RESPONSE, invoke, many=len(calls) != 1)
        if (
            len(plain) > self._room
            and pending is not None
            and self._negotiated(Conformance.BLOCK_TRANSFER_ACTION)
        ):
            return self._first_block(pending, bytes((0xC3, choice, invoke)) + target, value)
        return self._outgoing(plain)

    def access(
        self, specifications: Sequence[apdu.AccessSpecification], data: Sequence[bytes], *,
        self_descriptive: bool = False, break_on_error: bool = False, confirmed: bool = True,
    ) -> bytes:  # fmt: skip
        """ACCESS: reads, writes and calls in one request; `data` has one element for each."""
        self._allow(Conformance.ACCESS)
        invoke = self._next_invoke(confirmed=confirmed)
        long_invoke = invoke & 0x0F | (invoke & 0xC0) << 24
        long_invoke |= apdu.LONG_SELF_DESCRIPTIVE if self_descriptive else 0
        long_invoke |= apdu.LONG_BREAK_ON_ERROR if break_on_error else 0
        plain = apdu.AccessRequest(long_invoke, b"", tuple(specifications), tuple(data)).encode()
        self._expect(Tag.ACCESS_RESPONSE, invoke, many=True)
        return self._outgoing(plain)

    def read(self, *variables: apdu.VariableAccess) -> bytes:
        """Read by short name; answered by GetAnswer."""
        self._allow(Conformance.READ, len(variables))
        invoke = self._next_invoke(confirmed=True)
        pending = self._expect(Tag.READ_RESPONSE, invoke, many=True)
        plain = apdu.ReadRequest(variables).encode()
        blocks = Conformance.BLOCK_TRANSFER_GET_OR_READ
        return self._short_name_request(pending, plain, blocks)

    def write(self, *writes: tuple[apdu.VariableAccess, bytes], confirmed: bool = True) -> bytes:
        """Write by short name; answered by SetAnswer."""
        needed = Conformance.WRITE if confirmed else Conformance.UNCONFIRMED_WRITE
        self._allow(needed, len(writes))
        variables = tuple([variable for variable, _ in writes])
        values = tuple([value for _, value in writes])
        if not confirmed:
            return self._outgoing(apdu.UnconfirmedWriteRequest(variables, values).encode())
        invoke = self._next_invoke(confirmed=True)
        pending = self._expect(Tag.WRITE_RESPONSE, invoke, many=True)
        plain = apdu.WriteRequest(variables, values).encode()
        return self._short_name_request(pending, plain, Conformance.BLOCK_TRANSFER_SET_OR_WRITE)

    def _short_name_request(self, pending: _Pending | None, plain: bytes, blocks: int) -> bytes:
        if len(plain) > self._room and pending is not None and self._negotiated(blocks):
            pending.upload = plain[1:]
            return self._outgoing(self._next_short_block(pending))
        return self._outgoing(plain)

    def confirm_notification(self, long_invoke: int, time: bytes = b"") -> bytes:
        """The confirmation that a push setup of version 2 may wait for."""
        return self._protected(apdu.DataNotificationConfirm(long_invoke, time).encode())

    # Sending

    def _allow(self, needed: int, count: int = 1) -> None:
        """Raise LocalProtocolError where a request of `count` elements is not possible now."""
        if count < 1:
            raise LocalProtocolError("a request for nothing; name at least one element")
        if count > 1:
            self._allow(Conformance.MULTIPLE_REFERENCES)
        if self._state is not _ASSOCIATED:
            raise LocalProtocolError("there is no association; call associate() first")
        if self._pending is not None:
            raise LocalProtocolError("an answer is still outstanding; wait or cancel() first")
        if not self._conformance & int(needed):
            name = Conformance(needed).name or str(needed)
            raise LocalProtocolError(
                f"the server did not agree to {name.lower().replace('_', ' ')}"
            )

    def _negotiated(self, bit: int) -> bool:
        return self._conformance & int(bit) != 0

    def _next_invoke(self, *, confirmed: bool) -> int:
        self._invoke = (self._invoke + 1) & 0x0F
        head = self._head if confirmed else self._head & ~apdu.CONFIRMED
        return head | self._invoke

    def _expect(self, tag: int, invoke: int, *, many: bool) -> _Pending | None:
        if not invoke & apdu.CONFIRMED:
            return None
        self._pending = _Pending(tag, invoke, many)
        return self._pending

    def _protected(self, plain: bytes) -> bytes:
        if not self._protecting:
            return plain
        assert self._security is not None
        envelope = self._config.envelope
        if envelope is _DED and not self._security.has_dedicated:
            envelope = Envelope.GLO
        return self._security.protect(plain, self._protecting, envelope, self._config.key_choice)

    def _outgoing(self, plain: bytes) -> bytes:
        octets = self._protected(plain)
        if self._blocks is not None:
            self._blocks.reset()
        if len(octets) <= self._server_pdu_size:
            return octets
        if not self._negotiated(Conformance.GENERAL_BLOCK_TRANSFER):
            self._pending = None
            raise LocalProtocolError(
                f"the request has {len(octets)} octets, the server takes {self._server_pdu_size} "
                "and agreed to no block transfer"
            )
        exchange = self._exchange()
        return exchange.start(octets, self._server_pdu_size, self._now)[0]

    def _exchange(self) -> BlockExchange:
        if self._blocks is None:
            self._blocks = BlockExchange(self._config.block_window, self._config.octets_max)
        return self._blocks

    def _measure_room(self) -> None:
        """The longest plain request that fits one APDU of the server."""
        room = self._server_pdu_size
        if self._protecting and self._security is not None:
            room -= self._security.overhead(self._config.envelope, self._protecting)
        self._room = room

    def _first_block(self, pending: _Pending, head: bytes, content: bytes) -> bytes:
        pending.upload = content
        return self._outgoing(head + self._next_upload(pending, len(head)))

    def _next_upload(self, pending: _Pending, head: int) -> bytes:
        """last, number and raw of the next block of a SET or ACTION request."""
        size = max(self._room - head - 5 - 3, 1)
        raw = pending.upload[pending.upload_position : pending.upload_position + size]
        pending.upload_position += len(raw)
        pending.upload_block += 1
        last = pending.upload_position >= len(pending.upload)
        return bytes((last,)) + pending.upload_block.to_bytes(4, "big") + octet_string(raw)

    def _next_short_block(self, pending: _Pending) -> bytes:
        size = max(self._room - 13, 1)
        raw = pending.upload[pending.upload_position : pending.upload_position + size]
        pending.upload_position += len(raw)
        pending.upload_block += 1
        last = pending.upload_position >= len(pending.upload)
        if pending.tag == Tag.READ_RESPONSE:
            part = apdu.ReadDataBlockAccess(last, pending.upload_block, raw)
            return apdu.ReadRequest((part,)).encode()
        access = apdu.WriteDataBlockAccess(last, pending.upload_block)
        return apdu.WriteRequest((access,), (b"\x09" + octet_string(raw),)).encode()

    # Receiving

    def receive_apdu(self, octets: bytes, now: Instant) -> list[ClientEvent]:
        """Events of one APDU.

        Raise RemoteProtocolError for one that is malformed, forged or less protected than it must
        be; then nothing has changed, and the answer may still come.
        """
        self._now = now
        if not octets:
            raise RemoteProtocolError("an empty APDU")
        if octets[0] == _BLOCK_TRANSFER:
            return self._receive_block(octets)
        return self._receive(octets)

    def _receive_block(self, octets: bytes) -> list[ClientEvent]:
        step = self._exchange().receive(octets, self._now)
        events: list[ClientEvent] = [Send(block) for block in step.send]
        if step.aborted:
            self._pending = None
            events.append(TransferAborted("the server aborted the general block transfer"))
        if step.apdu is not None:
            if step.apdu[:1] == b"\xe0":
                raise RemoteProtocolError("a general block transfer inside another one")
            events += self._receive(step.apdu)
        return events

    def _receive(self, octets: bytes) -> list[ClientEvent]:
        tag = octets[0]
        if tag == _AARE:
            return self._aare(octets)
        if tag == _RLRE:
            return self._rlre(octets)
        if tag in apdu.CIPHERED_TAGS:
            if self._security is None:
                return [Discarded("a ciphered APDU, and there are no keys to read it")]
            opened = self._unprotected(self._security, octets)
            return self._plain(opened.plain, opened)
        return self._plain(octets, None)

    @staticmethod
    def _unprotected(security: SecurityContext, octets: bytes) -> Opened:
        opened = security.unprotect(octets)
        if opened.broadcast:
            # Every meter of the group holds this key: it says nothing of who answers.
            raise RemoteProtocolError("an answer under the broadcast key")
        return opened

    def _plain(self, plain: bytes, opened: Opened | None) -> list[ClientEvent]:
        tag = plain[0]
        if tag in _NOTIFICATIONS:
            return self._notification(plain, opened)
        if tag in _ERRORS:
            return self._error(plain)
        pending = self._pending
        if pending is None or tag != pending.tag:
            return [Discarded(f"an APDU {tag:02X} that answers no request")]
        if self._answer_needs & ~(opened.protection if opened is not None else 0):
            raise RemoteProtocolError("an answer with less protection than it must have")
        if self._state is _AUTHENTICATING:
            return self._fourth_pass(apdu.decode(plain), opened)
        if plain[0:2] == b"\xc4\x01" and plain[3:4] == b"\x00" and len(plain) > 4:
            # The answer that a head-end gets a million times a night.
            if self._other_invoke(plain[2], pending):
                return [_late()]
            self._pending = None
            return [GetAnswer(plain[2] & 0x0F, (plain[4:],))]
        return self._answer(apdu.decode(plain), pending)

    def _other_invoke(self, invoke: int, pending: _Pending) -> bool:
        strict = self._config.strict_invoke_id or self._gave_up
        return strict and (invoke ^ pending.invoke) & 0x0F != 0

    def _answer(self, answer: apdu.Apdu, pending: _Pending) -> list[ClientEvent]:
        if isinstance(answer, (apdu.ReadResponse, apdu.WriteResponse)):
            return self._short_name_answer(answer, pending)
        if isinstance(answer, apdu.AccessResponse):
            if self._other_invoke(answer.long_invoke & 0x0F, pending):
                return [_late()]
            self._pending = None
            return [AccessAnswer(answer.long_invoke & 0x0F, answer)]
        if self._other_invoke(getattr(answer, "invoke", 0), pending):
            return [_late()]
        if isinstance(answer, (apdu.GetResponseBlock, apdu.ActionResponseBlock)):
            return self._take_block(answer.last, answer.block, answer.raw, pending)
        if isinstance(answer, apdu.SetResponseBlock):
            return self._continue_upload(0xC1, 3, answer.block, pending)
        if isinstance(answer, apdu.ActionResponseNext):
            return self._continue_upload(0xC3, 6, answer.block, pending)
        self._pending = None
        return [_final(answer)]

    def _continue_upload(
        self, tag: int, choice: int, block: int, pending: _Pending
    ) -> list[ClientEvent]:
        left = pending.upload_position < len(pending.upload)
        if block != pending.upload_block or not left:
            self._pending = None
            return [
                TransferAborted(f"the server acknowledged block {block}, which is not the last")
            ]
        head = bytes((tag, choice, pending.invoke))
        return [Send(self._outgoing(head + self._next_upload(pending, len(head))))]

    def _take_block(
        self,
        last: bool,
        block: int,
        raw: GetResult,
        pending: _Pending,
    ) -> list[ClientEvent]:
        invoke_id = pending.invoke & 0x0F
        if isinstance(raw, int):
            self._pending = None
            return [GetAnswer(invoke_id, (raw,))]
        problem = self._store_block(block, raw, pending)
        if problem is not None:
            self._pending = None
            return [TransferAborted(problem)]
        if not last:
            head = 0xC0 if pending.tag == Tag.GET_RESPONSE else 0xC3
            request = bytes((head, 2, pending.invoke)) + block.to_bytes(4, "big")
            return [Send(self._outgoing(request))]
        self._pending = None
        try:
            return [_assembled(b"".join(pending.assembled), pending)]
        except RemoteProtocolError as error:
            return [TransferAborted(f"the blocks do not make an answer: {error}")]

    def _store_block(self, block: int, raw: bytes, pending: _Pending) -> str | None:
        """Keep one block; the reason where the transfer cannot go on."""
        if block != pending.block + 1:
            return f"block {block} came where {pending.block + 1} was due"
        pending.block = block
        pending.octets += len(raw)
        pending.assembled.append(raw)
        pending.empty_blocks = 0 if raw else pending.empty_blocks + 1
        if pending.empty_blocks > EMPTY_BLOCKS_MAX:
            return "the server sends one empty block after the other"
        if pending.octets > self._config.octets_max:
            return f"the answer has more than {self._config.octets_max} octets"
        return None

    def _short_name_answer(
        self, answer: apdu.ReadResponse | apdu.WriteResponse, pending: _Pending
    ) -> list[ClientEvent]:
        first = answer.results[0] if len(answer.results) == 1 else None
        invoke_id = pending.invoke & 0x0F
        if isinstance(first, apdu.BlockNumber):
            left = pending.upload_position < len(pending.upload)
            if first.block != pending.upload_block or not left:
                self._pending = None
                return [TransferAborted(f"the server acknowledged block {first.block}")]
            return [Send(self._outgoing(self._next_short_block(pending)))]
        if isinstance(first, apdu.DataBlockResult):
            problem = self._store_block(first.block, first.raw, pending)
            if problem is not None:
                self._pending = None
                return [TransferAborted(problem)]
            if not first.last:
                request = apdu.ReadRequest((apdu.BlockNumberAccess(first.block),))
                return [Send(self._outgoing(request.encode()))]
            content = b"".join(pending.assembled)
            try:
                answer = apdu.ReadResponse(apdu.results_of_blocks(content))
            except RemoteProtocolError as error:
                self._pending = None
                return [TransferAborted(f"the blocks do not make an answer: {error}")]
        self._pending = None
        values = [r for r in answer.results if isinstance(r, (bytes, int))]
        if len(values) != len(answer.results):
            return [TransferAborted("the server mixes blocks and values in one answer")]
        if isinstance(answer, apdu.WriteResponse):
            return [SetAnswer(invoke_id, tuple([v for v in values if isinstance(v, int)]))]
        return [GetAnswer(invoke_id, tuple(values))]

    def _error(self, plain: bytes) -> list[ClientEvent]:
        """An error ends what was under way; it is never protected, so it proves nothing."""
        error = apdu.decode(plain)
        if isinstance(error, apdu.ExceptionResponse):
            refused = ServiceRefused(
                exception_reason(error), error.state, error.service, error.lowest_counter
            )
        else:
            assert isinstance(error, apdu.ConfirmedServiceError)
            refused = ServiceRefused(service_error_reason(error), 0, error.error_class)
        if self._pending is None and self._state in (State.IDLE, State.ASSOCIATED):
            return [Discarded(f"an error that answers no request: {refused.reason}")]
        self._pending = None
        if self._state in (State.OPENING, State.AUTHENTICATING):
            self._state = after(self._state, Step.REFUSE)
            return [AssociationRefused(1, 0, 0, refused.reason, refused.lowest_counter)]
        if self._state is State.RELEASING:
            self._state = after(self._state, Step.RELEASE_REFUSED)
            return [ReleaseRefused(refused.reason)]
        return [refused]

    def _notification(self, plain: bytes, opened: Opened | None) -> list[ClientEvent]:
        received = apdu.decode(plain)
        proof: tuple[int, bool, bytes, int] = (0, False, b"", -1)
        if opened is not None:
            proof = (opened.protection, True, opened.originator, opened.counter)
        if isinstance(received, apdu.DataNotification):
            return [
                Notification(
                    received.long_invoke, received.time, received.body, *proof, received.tagged_time
                )
            ]
        if isinstance(received, apdu.EventNotification):
            time = received.time or b""
            return [EventReport(received.attribute, received.value, time, None, *proof)]
        assert isinstance(received, apdu.InformationReport)
        time = received.time or b""
        return [
            EventReport(None, value, time, variable.name, *proof)
            for variable, value in zip(received.variables, received.values, strict=True)
            if isinstance(variable, apdu.VariableName)
        ]

    # Opening: the server's answers

    def _aare(self, octets: bytes) -> list[ClientEvent]:
        if self._state is not State.OPENING:
            return [Discarded("an AARE that nobody waits for")]
        aare = acse.decode_aare(octets)
        if aare.result != 0:
            refusal = _refusal(aare)
            self._state = after(self._state, Step.REFUSE)
            return [refusal]
        problem = self._title_problem(aare)
        if problem is None:
            response = self._initiate_response(aare)
            problem = self._aare_problem(aare, response)
            if problem is None:
                return self._proceed(aare, response)
        self._state = after(self._state, Step.REFUSE)
        return [AssociationRefused(0, aare.source, aare.diagnostic, problem)]

    def _title_problem(self, aare: acse.Aare) -> str | None:
        expected = self._config.server_title
        title = _binary_title(aare.responding_ap_title) or expected
        if expected and title != expected:
            return "the server has another system title than expected"
        if title and title == self._config.title:
            return "the server answers with our own system title"
        needed = self._ciphered or self._config.mechanism >= Mechanism.HLS_GMAC
        if needed and len(title) != 8:
            return "the server does not tell its system title; configure it"
        self.server_title = title
        if self._security is not None:
            self._security.peer_title = title
        return None

    def _initiate_response(self, aare: acse.Aare) -> apdu.InitiateResponse:
        information = aare.user_information
        protection = 0
        if information and information[0] in apdu.CIPHERED_TAGS:
            if self._security is None:
                raise RemoteProtocolError("the AARE is ciphered and we have no keys")
            opened = self._unprotected(self._security, information)
            information, protection = opened.plain, opened.protection
        if not information or information[0] != Tag.INITIATE_RESPONSE:
            raise RemoteProtocolError("the server accepts without an InitiateResponse")
        if self._answer_needs & ~protection & _AE:
            raise RemoteProtocolError("the InitiateResponse has less protection than it must have")
        return apdu.decode_initiate_response(Reader(information, 1))

    def _aare_problem(self, aare: acse.Aare, response: apdu.InitiateResponse) -> str | None:
        mechanism = self._config.mechanism
        if aare.context not in (-1, self._context()):
            return f"the server answers with application context {aare.context}"
        if response.version < apdu.DLMS_VERSION:
            return f"the server speaks DLMS version {response.version}"
        if not mechanism.is_hls:
            return None
        if aare.mechanism not in (None, mechanism):
            return f"the server answers with mechanism {aare.mechanism}"
        challenge = aare.authentication_value or b""
        shortest, longest = CHALLENGE_OCTETS[mechanism]
        if not shortest <= len(challenge) <= longest:
            return "the server does not authenticate itself: it sent no challenge of proper length"
        if reflects(mechanism, self._challenge, challenge):
            return "the server sent our own challenge back"
        return None

    def _proceed(self, aare: acse.Aare, response: apdu.InitiateResponse) -> list[ClientEvent]:
        self._conformance = response.conformance & self._proposed
        size = response.max_pdu_size
        self._server_pdu_size = size if size >= 12 else PDU_SIZE_UNLIMITED
        self._measure_room()
        if not self._config.mechanism.is_hls:
            return [self._associated()]
        self._stoc = aare.authentication_value or b""
        proof = self._party().prove(self._stoc, self._challenge)
        value = b"\x09" + octet_string(proof)
        self._state = after(self._state, Step.CHALLENGE)
        invoke = self._next_invoke(confirmed=True)
        if self._config.short_names:
            call = apdu.ParameterizedAccess(REPLY_TO_HLS_NAME, 0, value)
            plain = apdu.ReadRequest((call,)).encode()
            self._expect(Tag.READ_RESPONSE, invoke, many=False)
        else:
            plain = apdu.ActionRequestNormal(invoke, REPLY_TO_HLS, value).encode()
            self._expect(Tag.ACTION_RESPONSE, invoke, many=False)
        return [Send(self._global(plain))]

    def _global(self, plain: bytes) -> bytes:
        """Protected as the Initiate was: the dedicated key is not valid before the fourth pass."""
        if not self._protecting:
            return plain
        assert self._security is not None
        protection = self._protecting | (_AE if self._dedicated else 0)
        envelope = self._config.envelope
        if envelope is Envelope.DED:
            envelope = Envelope.GLO
        elif envelope is Envelope.GENERAL_DED:
            envelope = Envelope.GENERAL_GLO
        return self._security.protect(plain, protection, envelope, self._config.key_choice)

    def _party(self) -> HlsParty:
        config = self._config
        return HlsParty(
            config.mechanism, config.secret, config.title, self.server_title, self._security
        )

    def _associated(self) -> Associated:
        self._state = after(self._state, Step.ACCEPT)
        if self._dedicated and self._security is not None:
            self._security.use_dedicated(self._dedicated, own=True)
        return Associated(
            self._conformance, self._server_pdu_size, self.server_title, self._config.mechanism
        )

    def _fourth_pass(self, answer: apdu.Apdu, opened: Opened | None) -> list[ClientEvent]:
        returned: ReturnValue = None
        if isinstance(answer, apdu.ActionResponseNormal) and answer.result == 0:
            returned = answer.returned
        elif isinstance(answer, apdu.ReadResponse) and answer.results:
            first = answer.results[0]
            returned = first if isinstance(first, bytes) else None
        self._pending = None
        if not isinstance(returned, bytes):
            reason = "the server refused our answer to its challenge: wrong key or secret"
            if isinstance(answer, apdu.ActionResponseNormal) and answer.result == 0:
                reason = "the server does not authenticate itself: no answer to our challenge"
            return self._not_authenticated(reason)
        proof = _octet_string_data(returned)
        if proof is None or not self._party().check(proof, self._challenge, self._stoc, opened):
            return self._not_authenticated("the server's answer to our challenge is wrong")
        self._challenge = self._stoc = b""
        return [self._associated()]

    def _not_authenticated(self, reason: str) -> list[ClientEvent]:
        self._state = after(self._state, Step.REFUSE)
        diagnostic = UserDiagnostic.AUTHENTICATION_FAILURE
        return [AssociationRefused(0, DiagnosticSource.USER, diagnostic, reason)]

    def _rlre(self, octets: bytes) -> list[ClientEvent]:
        if self._state is not State.RELEASING:
            return [Discarded("an RLRE that nobody waits for")]
        acse.decode(octets)
        self._state = after(self._state, Step.RELEASED)
        return [Released()]


_NOTIFICATIONS: Final = frozenset({
    Tag.DATA_NOTIFICATION, Tag.EVENT_NOTIFICATION, Tag.INFORMATION_REPORT,
})  # fmt: skip
_ERRORS: Final = frozenset({Tag.EXCEPTION_RESPONSE, Tag.CONFIRMED_SERVICE_ERROR})


def _proposal(config: ClientConfig) -> int:
    """The conformance block to ask for."""
    allowed = int(SN_CONFORMANCE if config.short_names else LN_CONFORMANCE)
    if config.conformance is not None:
        return config.conformance & allowed
    if not config.ciphered:
        return allowed & ~int(Conformance.GENERAL_PROTECTION)
    return allowed


def _late() -> Discarded:
    return Discarded("an answer to another request, probably a late one")


def _final(answer: apdu.Apdu) -> ClientEvent:
    """The event of an answer that is complete in one APDU."""
    if isinstance(answer, apdu.GetResponseNormal):
        return GetAnswer(answer.invoke & 0x0F, (answer.result,))
    if isinstance(answer, apdu.GetResponseList):
        return GetAnswer(answer.invoke & 0x0F, answer.results)
    if isinstance(answer, (apdu.SetResponseNormal, apdu.SetResponseLastBlock)):
        return SetAnswer(answer.invoke & 0x0F, (answer.result,))
    if isinstance(answer, (apdu.SetResponseList, apdu.SetResponseLastBlockList)):
        return SetAnswer(answer.invoke & 0x0F, answer.results)
    if isinstance(answer, apdu.ActionResponseNormal):
        return ActionAnswer(answer.invoke & 0x0F, ((answer.result, answer.returned),))
    if isinstance(answer, apdu.ActionResponseList):
        return ActionAnswer(answer.invoke & 0x0F, answer.results)
    raise RemoteProtocolError("an answer of a kind that the request does not have")


def _assembled(content: bytes, pending: _Pending) -> ClientEvent:
    """The answer whose blocks are all there."""
    invoke_id = pending.invoke & 0x0F
    if pending.tag == Tag.GET_RESPONSE:
        if not pending.many:
            return GetAnswer(invoke_id, (content,))
        return GetAnswer(invoke_id, apdu.read_get_results(Reader(content)))
    if pending.many:
        return ActionAnswer(invoke_id, apdu.read_action_results(Reader(content)))
    return ActionAnswer(invoke_id, (_assembled_action_result(content),))


def _assembled_action_result(content: bytes) -> tuple[int, ReturnValue]:
    """Servers differ in what the blocks hold: result and options, or the return value alone."""
    try:
        reader = Reader(content)
        outcome = apdu.read_action_result(reader)
        reader.done()
    except RemoteProtocolError:
        return 0, Reader(content).last_data()
    return outcome


def _octet_string_data(value: bytes) -> bytes | None:
    if value[:1] != b"\x09":
        return None
    reader = Reader(value, 1)
    octets = reader.octets()
    reader.done()
    return octets


def _binary_title(title: bytes | None) -> bytes:
    """Some meters tell their title as 16 hexadecimal characters."""
    if title is not None and len(title) == 16:
        try:
            return bytes.fromhex(title.decode("ascii"))
        except (UnicodeDecodeError, ValueError):
            return title
    return title or b""


def exception_reason(error: apdu.ExceptionResponse) -> str:
    """One sentence on what an exception-response means and what to try."""
    text = _EXCEPTIONS.get(error.service, f"service error {error.service}")
    if error.lowest_counter is not None:
        return f"{text}; the lowest it accepts is {error.lowest_counter}"
    return text


_EXCEPTIONS: Final[dict[int, str]] = {
    apdu.ServiceError.OPERATION_NOT_POSSIBLE: (
        "the server does not allow this now: associate first, or protect the request as its "
        "security policy asks"
    ),
    apdu.ServiceError.SERVICE_NOT_SUPPORTED: "the server does not support this service",
    apdu.ServiceError.OTHER_REASON: "the server cannot make sense of the request",
    apdu.ServiceError.PDU_TOO_LONG: "the request or its answer is too long for one APDU",
    apdu.ServiceError.DECIPHERING_ERROR: (
        "the server cannot decipher the request: check encryption key, authentication key and "
        "system titles"
    ),
    apdu.ServiceError.INVOCATION_COUNTER_ERROR: (
        "the server has seen this invocation counter before: continue above its own value"
    ),
}
_INITIATE_ERRORS: Final = {
    apdu.InitiateError.DLMS_VERSION_TOO_LOW: "the DLMS version is too low",
    apdu.InitiateError.INCOMPATIBLE_CONFORMANCE: "no service in common: propose more conformance",
    apdu.InitiateError.PDU_SIZE_TOO_SHORT: "our receive size is too short",
    apdu.InitiateError.REFUSED_BY_VDE_HANDLER: "the server refuses the terms of the association",
}


def service_error_reason(error: apdu.ConfirmedServiceError) -> str:
    """One sentence on what a confirmed-service-error means."""
    if error.error_class == apdu.ErrorClass.INITIATE:
        return _INITIATE_ERRORS.get(
            apdu.InitiateError(error.code) if 0 < error.code < 5 else apdu.InitiateError.OTHER,
            f"the server refuses to initiate, code {error.code}",
        )
    if error.error_class == apdu.ErrorClass.VDE_STATE:
        return "there is no association in the server; associate first"
    return f"the server reports error class {error.error_class}, code {error.code}"


_USER_DIAGNOSTICS: Final = {
    UserDiagnostic.NO_REASON: (
        "the server gives no reason; most often it does not know this client address"
    ),
    UserDiagnostic.CONTEXT_NOT_SUPPORTED: (
        "the server does not support the application context: try ciphered or plain, long or "
        "short names"
    ),
    UserDiagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED: "the server does not know our system title",
    UserDiagnostic.CALLING_AE_INVOCATION_ID_NOT_RECOGNIZED: "the server does not know our user id",
    UserDiagnostic.MECHANISM_NOT_RECOGNISED: (
        "the server wants another authentication mechanism for this client"
    ),
    UserDiagnostic.MECHANISM_REQUIRED: "the server wants an authentication mechanism",
    UserDiagnostic.AUTHENTICATION_FAILURE: "authentication failed: wrong password or key",
    UserDiagnostic.AUTHENTICATION_REQUIRED: (
        "the server wants authentication: give a mechanism and its secret"
    ),
}


_USER_NAMES: Final = {int(each): each.name for each in UserDiagnostic}


def _refusal(aare: acse.Aare) -> AssociationRefused:
    reason = "the server gives a reason that says nothing of its cause"
    if aare.source == DiagnosticSource.USER and aare.diagnostic in _USER_NAMES:
        name = _USER_NAMES[aare.diagnostic].lower().replace("_", " ")
        reason = f"the server names as its reason: {name}"
    if aare.source == DiagnosticSource.USER and aare.diagnostic in _USER_DIAGNOSTICS:
        reason = _USER_DIAGNOSTICS[UserDiagnostic(aare.diagnostic)]
    elif aare.source == DiagnosticSource.PROVIDER:
        reason = "the server could not read our AARQ"
    if aare.user_information[:1] == b"\x0e":
        error = apdu.decode(aare.user_information)
        assert isinstance(error, apdu.ConfirmedServiceError)
        reason = service_error_reason(error)
    return AssociationRefused(aare.result, aare.source, aare.diagnostic, reason)
