"""The server's side of an association (IEC 62056-5-3): from AARQ to RLRE, and everything between.

One `ServerAssociation` stands for one pair (client SAP, server SAP) on one link. It takes whole
APDUs and returns the APDUs to answer with; it never raises for what a peer sends, never closes
silently, and a refused APDU changes nothing but the failure count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final, Protocol

from blathy.clock import Instant
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    ObjectModel,
    Requester,
)
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.acse import (
    AUTHENTICATION_FUNCTIONAL_UNIT,
    AssociationResult,
    Context,
    DiagnosticSource,
    Mechanism,
    ProviderDiagnostic,
    UserDiagnostic,
)
from blathy.wire.apdu import (
    LN_CONFORMANCE,
    SN_CONFORMANCE,
    Conformance,
    InitiateError,
    ServiceError,
    StateError,
    Tag,
)
from blathy.wire.association_events import (
    AuthenticationFailed,
    ClientAssociated,
    ClientReleased,
    NotificationConfirmed,
    SecurityViolation,
    ServerEvent,
    State,
    Step,
    Violation,
    after,
)
from blathy.wire.block_transfer import BlockExchange
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hdlc import PortSetup
from blathy.wire.hls import CHALLENGE_OCTETS, HlsParty
from blathy.wire.invocation_counters import COUNTER_WARNING
from blathy.wire.ln_services import (
    PDU_TOO_LONG,
    SERVICE_NOT_SUPPORTED,
    SILENCE,
    LogicalNameServices,
    Terms,
)
from blathy.wire.octets import Reader, octet_string
from blathy.wire.push import data_notification
from blathy.wire.security import (
    Entropy,
    Envelope,
    InvocationCounters,
    KeySet,
    Opened,
    Protection,
    SecurityContext,
    SecurityError,
    SecurityPolicy,
    protection_names,
)
from blathy.wire.short_names import ShortNameServices, attribute_name, hls_method_name

CURRENT_ASSOCIATION: Final = Obis(0, 0, 40, 0, 0)
REPLY_TO_HLS: Final = 1
ASSOCIATION_LN: Final = 15
PDU_SIZE_MIN: Final = 12
PDU_SIZE_UNLIMITED: Final = 0xFFFF
EVENTS_MAX: Final = 64


def _exception(state: StateError, service: ServiceError) -> bytes:
    return apdu.ExceptionResponse(state, service).encode()


# What every APDU is compared with, read off its class once: `security` says why.
_IDLE: Final = State.IDLE
_AUTHENTICATING: Final = State.AUTHENTICATING
_ASSOCIATED: Final = State.ASSOCIATED
_NOT_OPEN: Final = (State.IDLE, State.OPENING)
_PLAIN: Final = Envelope.PLAIN
_AE: Final = int(Protection.BOTH)
_AARQ: Final = int(Tag.AARQ)
_RLRQ: Final = int(Tag.RLRQ)
_EXCEPTION: Final = int(Tag.EXCEPTION_RESPONSE)
_ACCESS_REQUEST: Final = int(Tag.ACCESS_REQUEST)
_GET_SET_ACTION: Final = frozenset({0xC0, 0xC1, 0xC3})

NOT_ALLOWED: Final = _exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
UNKNOWN_SERVICE: Final = _exception(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)
MALFORMED: Final = _exception(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
DECIPHERING: Final = _exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.DECIPHERING_ERROR)


class AuthenticationGuard(Protocol):
    """Slows guessing down across connections and restarts; one per meter."""

    def locked(self, client_sap: int, now: Instant) -> bool:
        """True while this client must wait."""

    def failed(self, client_sap: int, now: Instant) -> None: ...

    def succeeded(self, client_sap: int, now: Instant) -> None: ...


@dataclass(frozen=True, slots=True, repr=False)
class AssociationProfile:
    """What one client SAP may do and how it has to prove itself.

    `secret`: password (LLS) or HLS secret. `keys` None: no ciphered context. `client_title`: the
    only system title accepted, where given. `user_ids` None: no user id asked for.
    `pre_established`: there is no AARQ; the association always stands.
    """

    client_sap: int
    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = b""
    keys: KeySet | None = None
    policy: SecurityPolicy = SecurityPolicy.NONE
    conformance: int = LN_CONFORMANCE
    association: Obis = CURRENT_ASSOCIATION
    short_names: bool = False
    client_title: bytes = b""
    user_ids: frozenset[int] | None = None
    challenge_octets: int = 16
    bare_release: bool = False
    pre_established: bool = False
    pre_established_pdu_size: int = 1024

    def __post_init__(self) -> None:
        if self.policy and self.keys is None:
            raise ValueError(f"client {self.client_sap}: a security policy needs keys")
        if self.mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA) and self.keys is None:
            raise ValueError(f"client {self.client_sap}: {self.mechanism.name} needs keys")
        if self.mechanism in _BY_SECRET and not self.secret:
            raise ValueError(f"client {self.client_sap}: {self.mechanism.name} needs a secret")

    def __repr__(self) -> str:
        return (
            f"AssociationProfile(client_sap={self.client_sap}, {self.mechanism.name}, "
            f"{self.policy!r})"
        )


@dataclass(slots=True)
class LogicalDevice:
    """What all associations of one logical device share.

    `profiles` is looked up at every AARQ and after every request: a profile replaced while an
    association stands (key transfer) takes effect with the next APDU.
    """

    profiles: Mapping[int, AssociationProfile]
    objects: ObjectModel
    system_title: bytes
    entropy: Entropy
    counters: InvocationCounters
    server_sap: int = 1
    pdu_size: int = 2048
    upload_octets_max: int = 1 << 20
    block_window: int = 8
    guard: AuthenticationGuard | None = None
    hdlc: Callable[[], PortSetup] | None = None  # how its HDLC port is set up now


class _Refusal(Exception):  # noqa: N818 - a way out of the checks of an AARQ, not an error of ours
    def __init__(
        self, diagnostic: int, reason: str, *,
        source: DiagnosticSource = DiagnosticSource.USER, error: InitiateError | None = None,
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.diagnostic = diagnostic
        self.source = source
        self.error = error


@dataclass(slots=True, repr=False)
class _Proposal:
    """An AARQ that passed its checks."""

    aarq: acse.Aarq
    context: Context
    initiate: apdu.InitiateRequest
    opened: Opened | None
    conformance: int


@dataclass(frozen=True, slots=True, repr=False)
class _Challenges:
    sent: bytes = b""
    received: bytes = b""
    dedicated_key: bytes = b""


_NO_CHALLENGES: Final = _Challenges()


class ServerAssociation:
    """One client on one link. `take_events()` tells the shell what happened."""

    __slots__ = (
        "_answer_needs",
        "_answering_in_blocks",
        "_blocks",
        "_challenges",
        "_client_pdu_size", "_client_title",
        "_conformance",
        "_context",
        "_device",
        "_events",
        "_logical_names",
        "_now",
        "_one_way",
        "_opened_with",
        "_profile",
        "_request_needs",
        "_security",
        "_services",
        "_short",
        "_state",
        "_terms",
        "client_sap",
    )  # fmt: skip

    def __init__(self, device: LogicalDevice, client_sap: int) -> None:
        self._device = device
        self.client_sap = client_sap
        self._profile: AssociationProfile | None = None
        self._state = State.IDLE
        self._security: SecurityContext | None = None
        self._context = Context.LN
        self._client_title = b""
        self._logical_names = True
        self._conformance = 0
        self._client_pdu_size = PDU_SIZE_UNLIMITED
        self._challenges = _NO_CHALLENGES
        self._services: LogicalNameServices | None = None
        self._short: ShortNameServices | None = None
        self._blocks: BlockExchange | None = None
        self._answering_in_blocks = False
        self._terms: dict[tuple[int, Envelope, bool], Terms] = {}
        self._one_way = False  # response-allowed was FALSE: only unconfirmed services
        self._events: list[ServerEvent] | None = None
        self._now = Instant(0)
        self._request_needs = self._answer_needs = self._opened_with = 0
        profile = device.profiles.get(client_sap)
        if profile is not None and profile.pre_established:
            self._establish_beforehand(profile)

    # Shell side

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

    def take_events(self) -> list[ServerEvent]:
        if not self._events:
            return []
        events, self._events = self._events, None
        return events

    def deadline(self) -> Instant | None:
        """When `tick` has to be called."""
        return self._blocks.deadline() if self._blocks is not None else None

    def tick(self, now: Instant) -> list[bytes]:
        """APDUs to send because time has passed."""
        return self._blocks.tick(now).send if self._blocks is not None else []

    def notify(
        self, body: bytes, now: Instant, *, long_invoke: int = 0, time: bytes = b"",
        protection: int | None = None,
    ) -> list[bytes]:  # fmt: skip
        """A DataNotification to this client, in unconfirmed blocks where it is too long for one.

        `protection` None: what the security policy asks of responses.
        """
        self._follow_security_change()
        if self._state is not State.ASSOCIATED:
            raise LocalProtocolError("there is no association to send a notification in")
        return data_notification(
            body,
            long_invoke=long_invoke,
            time=time,
            security=self._security,
            protection=self._answer_needs if protection is None else protection,
            pdu_size=self._client_pdu_size,
            blocks=self._conformance & int(Conformance.GENERAL_BLOCK_TRANSFER) != 0,
            now=now,
        )

    def report(self, attribute: AttributeRef, value: bytes, time: bytes = b"") -> list[bytes]:
        """An EventNotification to this client (by short names: an InformationReport), protected as
        the policy asks of responses, no less than the association was opened with, and under the
        dedicated key where there is one.

        Nothing where there is no association, the client did not agree to the service, may not
        read the attribute, or takes no APDU so long.
        """
        self._follow_security_change()
        if self._state is not State.ASSOCIATED or self._profile is None:
            return []
        who = self._terms_of(_PLAIN_REQUEST._replace(protection=self._answer_needs)).who
        try:
            self._device.objects.get(attribute, who)
        except AccessError:
            return []
        plain = self._report_apdu(attribute, value, time, who)
        if not plain:
            return []
        needs = self._answer_needs | self._opened_with
        if self._security is not None and needs:
            dedicated = self._security.has_dedicated
            envelope = Envelope.DED if dedicated else Envelope.GLO
            plain = self._security.protect(plain, needs, envelope)
        return [plain] if len(plain) <= self._client_pdu_size else []

    def _report_apdu(
        self, attribute: AttributeRef, value: bytes, time: bytes, who: Requester
    ) -> bytes:
        moment = time or None
        if self._logical_names:
            agreed = self._conformance & int(Conformance.EVENT_NOTIFICATION)
            return apdu.EventNotification(attribute, value, moment).encode() if agreed else b""
        if not self._conformance & int(Conformance.INFORMATION_REPORT):
            return b""
        names = self._device.objects.short_names(who)
        base = next((b for b, (_, obis) in names.items() if obis == attribute.obis), None)
        if base is None:
            return b""
        variable = apdu.VariableName(attribute_name(base, attribute.attribute))
        return apdu.InformationReport((variable,), (value,), moment).encode()

    def disconnected(self) -> None:
        """The link is gone; a later request needs a new association."""
        if self._profile is None or not self._profile.pre_established:
            self._close()

    def receive_apdu(self, octets: bytes, now: Instant) -> list[bytes]:
        """Answer one APDU; an empty list where the standard wants silence."""
        self._now = now
        if len(octets) > self._device.pdu_size and self._state is _ASSOCIATED:
            return [PDU_TOO_LONG]
        if octets[:1] == b"\xe0":
            return self._receive_block(octets)
        answer = self._receive(octets)
        if not answer:
            return []
        if len(answer) <= self._client_pdu_size or answer[0] in (Tag.AARE, Tag.RLRE):
            return [answer]
        return self._in_blocks(answer, confirmed=True)

    # General block transfer

    def _receive_block(self, octets: bytes) -> list[bytes]:
        if self._state is not State.ASSOCIATED:
            return [NOT_ALLOWED]
        if not self._conformance & int(Conformance.GENERAL_BLOCK_TRANSFER):
            return [SERVICE_NOT_SUPPORTED]
        exchange = self._exchange()
        try:
            step = exchange.receive(octets, self._now)
        except RemoteProtocolError:
            return [MALFORMED]
        if step.apdu is None:
            return step.send
        self._answering_in_blocks = True
        try:
            answer = self._receive(step.apdu)
        finally:
            self._answering_in_blocks = False
        if not answer:
            exchange.reset()
            return step.send
        if self._blocks is not exchange:  # the request ended the association
            return [answer]
        return step.send + self._in_blocks(answer, confirmed=step.confirmed)

    def _exchange(self) -> BlockExchange:
        if self._blocks is None:
            device = self._device
            self._blocks = BlockExchange(
                device.block_window, device.upload_octets_max, initiator=False
            )
        return self._blocks

    def _in_blocks(self, answer: bytes, *, confirmed: bool) -> list[bytes]:
        if not self._conformance & int(Conformance.GENERAL_BLOCK_TRANSFER):
            return [PDU_TOO_LONG]
        exchange = self._exchange()
        try:
            return exchange.start(answer, self._client_pdu_size, self._now, confirmed=confirmed)
        except RemoteProtocolError:
            return [PDU_TOO_LONG]

    # Dispatch

    def _receive(self, octets: bytes) -> bytes:
        tag = octets[0] if octets else -1
        self._follow_security_change()
        try:
            if tag == _AARQ:
                return self._aarq(octets)
            if tag == _RLRQ:
                return self._rlrq(octets)
            if tag in apdu.CIPHERED_TAGS:
                return self._ciphered(octets)
            return self._request(octets, _PLAIN_REQUEST._replace(plain=octets))
        except SecurityError as error:
            self._report_security(error)
            return SILENCE if error.broadcast else error.answer
        except RemoteProtocolError as error:
            return error.answer or MALFORMED
        except LocalProtocolError as error:
            # A key or counter of ours is missing or used up: the client must hear of it.
            self._violation(Violation.OWN_KEYS, str(error))
            return NOT_ALLOWED

    def _ciphered(self, octets: bytes) -> bytes:
        if self._state in _NOT_OPEN:
            return NOT_ALLOWED
        security = self._security
        if security is None or not self._context.ciphered:
            return DECIPHERING
        if (
            octets[0] in _GENERAL_PROTECTION
            and self._state is _ASSOCIATED
            and not self._conformance & int(Conformance.GENERAL_PROTECTION)
        ):
            return SERVICE_NOT_SUPPORTED
        opened = security.unprotect(octets)
        if not opened.broadcast:
            return self._request(opened.plain, opened)
        # Every meter of the group holds the key: what needs an answer is not for it.
        if self._state is State.ASSOCIATED and _is_unconfirmed(opened.plain):
            self._request(opened.plain, opened)
        else:
            self._violation(Violation.POLICY, "a confirmed service under the broadcast key")
        return SILENCE

    def _request(self, plain: bytes, opened: Opened) -> bytes:
        """The answer; silence where the client wants none, not even an error."""
        if not _unconfirmed(plain):
            return self._confirmed_request(plain, opened)
        with suppress(RemoteProtocolError):
            self._confirmed_request(plain, opened)
        return SILENCE

    def _confirmed_request(self, plain: bytes, opened: Opened) -> bytes:
        profile, state = self._profile, self._state
        if state is _IDLE or profile is None:
            return self._without_association(plain)
        if self._request_needs & ~opened.protection:
            self._violation(Violation.POLICY, "an APDU with less protection than asked for")
            return NOT_ALLOWED
        if self._one_way and not _unconfirmed(plain) and plain[:1] != b"\x16":
            return NOT_ALLOWED  # the client agreed to hear nothing in this association
        try:
            request = apdu.decode(plain)
        except RemoteProtocolError:
            return self._protect(self._malformed(plain), opened)
        if state is _AUTHENTICATING:
            answer = self._third_pass(request, opened)
        else:
            answer = self._serve(request, opened)
        if not answer:
            return SILENCE
        return self._protect(answer, opened)

    def _malformed(self, plain: bytes) -> bytes:
        """By short names Read and Write answer with an error of their own."""
        service = _SHORT_NAME_SERVICES.get(plain[0] if plain else -1)
        if service is None or self._short is None:
            return MALFORMED
        if plain[1:2] == b"\x01" and plain[2:3] not in _VARIABLE_KINDS:
            error = int(DataAccessResult.TYPE_UNMATCHED)
            if service is apdu.ConfirmedService.READ:
                return apdu.ReadResponse((error,)).encode()
            return apdu.WriteResponse((error,)).encode()
        return apdu.ConfirmedServiceError(service, apdu.ErrorClass.SERVICE, 0).encode()

    def _without_association(self, plain: bytes) -> bytes:
        tag = plain[0] if plain else -1
        service = _SHORT_NAME_SERVICES.get(tag)
        if service is not None:
            return apdu.ConfirmedServiceError(service, apdu.ErrorClass.VDE_STATE, 1).encode()
        if tag in _NEVER_ANSWERED:
            return SILENCE
        return NOT_ALLOWED

    def _serve(self, request: apdu.Apdu, opened: Opened) -> bytes:
        if self._blocks is not None and not self._answering_in_blocks:
            self._blocks.reset()  # a request outside of blocks ends the transfer that was running
        terms = self._terms_of(opened)
        if self._services is not None:
            answer = self._services.serve(request, terms)
        elif self._short is not None:
            answer = self._short.serve(request, terms)
        else:
            answer = None
        if answer is not None:
            return answer
        if isinstance(request, apdu.DataNotificationConfirm):
            self._event(NotificationConfirmed(self.client_sap, request.long_invoke))
        tag = opened.plain[0]
        if tag in _NEVER_ANSWERED:
            return SILENCE
        return UNKNOWN_SERVICE if tag not in _REQUESTS else SERVICE_NOT_SUPPORTED

    def _terms_of(self, opened: Opened) -> Terms:
        """What holds for a request that came like this: the same for one after the other."""
        key = (opened.protection, opened.envelope, self._answering_in_blocks)
        terms = self._terms.get(key)
        if terms is None:
            profile = self._profile
            assert profile is not None
            who = Requester(
                self.client_sap, self._device.server_sap, profile.association,
                protection_names(opened.protection), self._client_pdu_size, self._client_title,
            )  # fmt: skip
            terms = Terms(who, self._conformance, self._room(opened), self._answering_in_blocks)
            self._terms[key] = terms
        return terms

    # Protection of answers

    def _answer_protection(self, opened: Opened) -> tuple[int, Envelope]:
        protection = opened.protection | self._answer_needs
        envelope = opened.envelope
        if envelope is _PLAIN and protection & _AE:
            envelope = Envelope.GLO
        return protection, envelope

    def _room(self, opened: Opened) -> int:
        """The longest plain answer that fits one APDU of this client."""
        if self._security is None:
            return self._client_pdu_size
        protection, envelope = self._answer_protection(opened)
        if not protection:
            return self._client_pdu_size
        return self._client_pdu_size - self._security.overhead(envelope, protection)

    def _protect(self, answer: bytes, opened: Opened) -> bytes:
        security = self._security
        if security is None or answer[0] == _EXCEPTION:
            return answer
        protection, envelope = self._answer_protection(opened)
        if not protection:
            return answer
        protected = security.protect(answer, protection, envelope, opened.key_choice)
        if security.counters.warned or opened.floor <= COUNTER_WARNING <= opened.counter:
            security.counters.warned = False
            self._violation(
                Violation.OWN_KEYS, "an invocation counter nears its end: transfer a new key"
            )
        return protected

    def _follow_security_change(self) -> None:
        """Other keys and a stronger policy hold from the next APDU on, also where another
        association brought them; a client that is no longer there has no association."""
        profile = self._device.profiles.get(self.client_sap)
        if profile is self._profile or self._profile is None:
            return
        if profile is None:
            self._close()
            return
        self._use(profile)
        security = self._security
        if security is not None and profile.keys is not None:
            security.needs = self._request_needs & _AE
            if profile.keys is not security.keys:
                security.rekey(profile.keys)

    # Opening

    def _use(self, profile: AssociationProfile) -> None:
        self._profile = profile
        self._request_needs = int(profile.policy.request)
        self._answer_needs = int(profile.policy.response)
        self._terms = {}

    def _establish_beforehand(self, profile: AssociationProfile) -> None:
        self._use(profile)
        self._logical_names = not profile.short_names
        self._context = Context.of(
            logical_names=self._logical_names, ciphered=profile.keys is not None
        )
        self._client_pdu_size = profile.pre_established_pdu_size
        self._conformance = int(profile.conformance)
        if profile.keys is not None:
            self._security = SecurityContext(
                self._device.system_title, profile.keys, self._device.counters,
                self._device.entropy, peer_title=profile.client_title,
                needs=self._request_needs,
            )  # fmt: skip
        self._state = State.ASSOCIATED
        self._start_services()

    def _start_services(self) -> None:
        device = self._device
        if self._logical_names:
            self._services = LogicalNameServices(device.objects, device.upload_octets_max)
        else:
            self._short = ShortNameServices(device.objects, device.upload_octets_max)

    def _close(self) -> None:
        self._state = State.IDLE
        self._profile = None
        self._security = None
        self._services = self._short = None
        self._blocks = None
        self._conformance = 0
        self._client_pdu_size = PDU_SIZE_UNLIMITED
        self._challenges = _NO_CHALLENGES
        self._terms = {}
        self._one_way = False

    def _aarq(self, octets: bytes) -> bytes:
        profile = self._device.profiles.get(self.client_sap)
        if profile is not None and profile.pre_established:
            return self._refuse(None, None, _Refusal(UserDiagnostic.NO_REASON, "pre-established"))
        guard = self._guard_of(profile)
        if guard is not None and guard.locked(self.client_sap, self._now):
            self._violation(Violation.LOCKED, "too many failed authentications; wait")
            locked = _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, "locked")
            return self._refuse(None, None, locked, AssociationResult.REJECTED_TRANSIENT)
        aarq: acse.Aarq | None = None
        try:
            aarq = acse.decode_aarq(octets)
            if profile is None:
                raise _Refusal(UserDiagnostic.NO_REASON, "unknown client")
            return self._open(profile, aarq)
        except _Refusal as refusal:
            if refusal.diagnostic == UserDiagnostic.AUTHENTICATION_FAILURE:
                self._authentication_failed(profile, str(refusal))
            return self._refuse(profile, aarq, refusal)
        except SecurityError:
            raise
        except RemoteProtocolError:
            source = DiagnosticSource.PROVIDER
            syntax = _Refusal(ProviderDiagnostic.NO_REASON, "syntax", source=source)
            return self._refuse(profile, aarq, syntax)

    def _open(self, profile: AssociationProfile, aarq: acse.Aarq) -> bytes:
        context = _checked_context(profile, aarq)
        _check_mechanism(profile, aarq)
        title = self._checked_title(profile, aarq, context)
        security = None
        if profile.keys is not None:
            security = SecurityContext(
                self._device.system_title, profile.keys, self._device.counters,
                self._device.entropy, peer_title=title, needs=int(profile.policy.request),
            )  # fmt: skip
        _check_credentials(profile, aarq)
        proposal = self._checked_initiate(profile, aarq, context, security)
        # Only now, with everything checked, an association that stands on this link gives way.
        self._close()
        self._use(profile)
        self._security, self._context, self._client_title = security, context, title
        self._logical_names = context.logical_names
        self._conformance = proposal.conformance
        self._opened_with = 0 if proposal.opened is None else proposal.opened.protection
        self._client_pdu_size = proposal.initiate.max_pdu_size or PDU_SIZE_UNLIMITED
        self._one_way = not proposal.initiate.response_allowed
        self._state = after(self._state, Step.OPEN)
        return self._accept(proposal)

    def _checked_title(
        self, profile: AssociationProfile, aarq: acse.Aarq, context: Context
    ) -> bytes:
        title = aarq.calling_ap_title
        needed = context.ciphered or profile.mechanism >= Mechanism.HLS_GMAC
        reason = None
        if title is None:
            reason = "no calling-AP-title" if needed else None
        elif needed and len(title) != 8:
            reason = f"a calling-AP-title of {len(title)} octets"
        elif profile.client_title and title != profile.client_title:
            reason = "another calling-AP-title than registered"
        elif title == self._device.system_title:
            reason = "our own system title as calling-AP-title"
        if reason is not None:
            self._violation(Violation.SYSTEM_TITLE, reason)
            raise _Refusal(UserDiagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED, reason)
        return title or b""

    def _checked_initiate(
        self, profile: AssociationProfile, aarq: acse.Aarq, context: Context,
        security: SecurityContext | None,
    ) -> _Proposal:  # fmt: skip
        information = aarq.user_information
        opened: Opened | None = None
        if information and information[0] in apdu.CIPHERED_TAGS:
            if security is None or not context.ciphered:
                raise _Refusal(UserDiagnostic.NO_REASON, "a ciphered Initiate in a plain context")
            opened = self._deciphered_initiate(security, information)
            information = opened.plain
        if not information or information[0] != Tag.INITIATE_REQUEST:
            raise _Refusal(UserDiagnostic.NO_REASON, "no InitiateRequest")
        initiate = apdu.decode_initiate_request(Reader(information, 1))
        protection = opened.protection if opened is not None else 0
        # Signatures are for services; an Initiate is authenticated and encrypted at most.
        if profile.policy.request & _AE & ~protection:
            self._violation(Violation.POLICY, "an InitiateRequest below the security policy")
            raise _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, "protection below the policy")
        conformance = _negotiated(profile, context, initiate, protection)
        return _Proposal(aarq, context, initiate, opened, conformance)

    def _deciphered_initiate(self, security: SecurityContext, information: bytes) -> Opened:
        try:
            opened = security.unprotect(information)
        except SecurityError as error:
            if error.kind is ServiceError.INVOCATION_COUNTER_ERROR:
                raise  # the client learns which counter to use
            self._report_security(error)
            raise _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, str(error)) from error
        if opened.broadcast:
            self._violation(Violation.POLICY, "an InitiateRequest under the broadcast key")
            raise _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, "the broadcast key")
        return opened

    def _accept(self, proposal: _Proposal) -> bytes:
        profile = self._profile
        assert profile is not None
        hls = profile.mechanism.is_hls
        initiate = proposal.initiate
        if hls:
            octets = max(profile.challenge_octets, CHALLENGE_OCTETS[profile.mechanism][0])
            received = proposal.aarq.authentication_value or b""
            sent = self._device.entropy(octets)
            self._challenges = _Challenges(sent, received, initiate.dedicated_key)
            self._state = after(self._state, Step.CHALLENGE)
        else:
            self._use_dedicated(initiate.dedicated_key)
            self._associated()
        if not initiate.response_allowed:
            return SILENCE
        diagnostic = UserDiagnostic.AUTHENTICATION_REQUIRED if hls else UserDiagnostic.NULL
        titled = proposal.context.ciphered or profile.mechanism >= Mechanism.HLS_GMAC
        return acse.Aare(
            proposal.context, AssociationResult.ACCEPTED, DiagnosticSource.USER, diagnostic,
            self._initiate_response(proposal.opened),
            responding_ap_title=self._device.system_title if titled else None,
            responder_requirements=AUTHENTICATION_FUNCTIONAL_UNIT if hls else None,
            mechanism=profile.mechanism if hls else None,
            authentication_value=self._challenges.sent if hls else None,
        ).encode()  # fmt: skip

    def _initiate_response(self, opened: Opened | None) -> bytes:
        response = apdu.InitiateResponse(
            self._conformance, self._device.pdu_size,
            apdu.VAA_NAME_LN if self._logical_names else apdu.VAA_NAME_SN,
        ).encode()  # fmt: skip
        if self._security is None or not self._context.ciphered:
            return response
        return self._protect(response, opened or _PLAIN_REQUEST)

    def _use_dedicated(self, key: bytes) -> None:
        if key and self._security is not None:
            self._security.use_dedicated(key)

    def _associated(self) -> None:
        profile = self._profile
        assert profile is not None
        self._state = after(self._state, Step.ACCEPT)
        self._start_services()
        guard = self._guard_of(profile)
        if guard is not None:
            guard.succeeded(self.client_sap, self._now)
        self._event(ClientAssociated(self.client_sap, profile.mechanism))

    def _refuse(
        self, profile: AssociationProfile | None, aarq: acse.Aarq | None, refusal: _Refusal,
        result: AssociationResult = AssociationResult.REJECTED_PERMANENT,
    ) -> bytes:  # fmt: skip
        if aarq is not None and _one_way(aarq.user_information):
            return SILENCE
        context = aarq.context if aarq is not None and 1 <= aarq.context <= 4 else int(Context.LN)
        information = b""
        if profile is not None and refusal.diagnostic in _OWN_TERMS_TOLD and not profile.policy:
            # The standard tells the client what it could have had.
            information = self._own_terms(profile)
        if refusal.error is not None:
            information = apdu.ConfirmedServiceError(
                apdu.ConfirmedService.INITIATE, apdu.ErrorClass.INITIATE, refusal.error
            ).encode()
        return acse.Aare(context, result, refusal.source, refusal.diagnostic, information).encode()

    def _own_terms(self, profile: AssociationProfile) -> bytes:
        names = SN_CONFORMANCE if profile.short_names else LN_CONFORMANCE
        vaa_name = apdu.VAA_NAME_SN if profile.short_names else apdu.VAA_NAME_LN
        conformance = int(profile.conformance) & int(names)
        return apdu.InitiateResponse(conformance, self._device.pdu_size, vaa_name).encode()

    # HLS, third and fourth pass

    def _third_pass(self, request: apdu.Apdu, opened: Opened) -> bytes:
        profile = self._profile
        assert profile is not None
        if self._context.ciphered and (
            opened.envelope.dedicated or self._opened_with & ~opened.protection
        ):
            return NOT_ALLOWED  # not the global unicast key, or less than the Initiate had
        if isinstance(request, apdu.ActionRequestNormal) and self._logical_names:
            places = (profile.association, CURRENT_ASSOCIATION)
            ref = request.method
            if ref.class_id == ASSOCIATION_LN and ref.method == REPLY_TO_HLS and ref.obis in places:
                return self._ln_reply_to_hls(request, opened)
        elif isinstance(request, apdu.ReadRequest) and not self._logical_names:
            proof = hls_method_name(request)
            if proof is not None:
                return self._sn_reply_to_hls(proof, opened)
        return NOT_ALLOWED

    def _ln_reply_to_hls(self, request: apdu.ActionRequestNormal, opened: Opened) -> bytes:
        own = self._checked_proof(request.parameters, opened)
        if own is None:
            return apdu.ActionResponseNormal(request.invoke, ActionResult.OTHER_REASON).encode()
        returned = b"\x09" + octet_string(own)
        return apdu.ActionResponseNormal(request.invoke, ActionResult.SUCCESS, returned).encode()

    def _sn_reply_to_hls(self, parameters: bytes, opened: Opened) -> bytes:
        own = self._checked_proof(parameters, opened)
        if own is None:
            return apdu.ReadResponse((int(ActionResult.OTHER_REASON),)).encode()
        return apdu.ReadResponse((b"\x09" + octet_string(own),)).encode()

    def _checked_proof(self, parameters: bytes, opened: Opened) -> bytes | None:
        """Our own proof where the client's holds; None ends the association."""
        profile, challenges = self._profile, self._challenges
        assert profile is not None
        proof = _octet_string_data(parameters)
        guard = self._guard_of(profile)
        if guard is not None and guard.locked(self.client_sap, self._now):
            proof = None  # many associations opened at once are no way around the guard
        party = HlsParty(
            profile.mechanism, profile.secret, self._device.system_title, self._client_title,
            self._security,
        )  # fmt: skip
        if proof is None or not party.check(proof, challenges.sent, challenges.received, opened):
            self._authentication_failed(profile, "the answer to our challenge is wrong")
            self._state = after(self._state, Step.REFUSE)
            self._challenges = _NO_CHALLENGES
            return None
        own = party.prove(challenges.received, challenges.sent)
        self._use_dedicated(challenges.dedicated_key)
        self._challenges = _NO_CHALLENGES
        self._associated()
        return own

    # Release

    def _rlrq(self, octets: bytes) -> bytes:
        rlrq = acse.decode(octets)
        assert isinstance(rlrq, acse.Rlrq)
        profile = self._profile
        if self._state is State.IDLE or profile is None or profile.pre_established:
            return NOT_ALLOWED
        information = b""
        if self._state is State.ASSOCIATED and self._context.ciphered:
            opened = self._released_by(rlrq.user_information)
            bare = profile.bare_release or not (profile.policy.request or self._opened_with)
            if opened is None and not bare:
                self._violation(Violation.POLICY, "a release below the security policy")
                return NOT_ALLOWED
            if opened is not None:
                information = self._initiate_response(opened)
        elif rlrq.user_information[:1] == b"\x01":
            information = self._initiate_response(None)
        self._close()
        self._event(ClientReleased(self.client_sap))
        return acse.Rlre(0, information).encode()

    def _released_by(self, information: bytes) -> Opened | None:
        """The protected InitiateRequest of a release; None where it proves nothing."""
        security = self._security
        if security is None or not information or information[0] not in apdu.CIPHERED_TAGS:
            return None
        opened = security.unprotect(information)
        if opened.broadcast or opened.envelope.dedicated:
            return None
        if opened.plain[:1] != b"\x01" or ~opened.protection & _AE:
            return None
        return opened

    # Events

    def _event(self, event: ServerEvent) -> None:
        if self._events is None:
            self._events = []
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)

    def _violation(self, kind: Violation, reason: str) -> None:
        self._event(SecurityViolation(self.client_sap, kind, reason))

    def _report_security(self, error: SecurityError) -> None:
        self._violation(_VIOLATIONS.get(error.kind, Violation.DECIPHERING), str(error))

    def _guard_of(self, profile: AssociationProfile | None) -> AuthenticationGuard | None:
        """Passwords can be guessed; keys of 128 bits cannot, and a lock would only shut us out."""
        if profile is None or profile.mechanism in _NOT_GUESSABLE:
            return None
        return self._device.guard

    def _authentication_failed(self, profile: AssociationProfile | None, reason: str) -> None:
        guard = self._guard_of(profile)
        if guard is not None:
            guard.failed(self.client_sap, self._now)
        mechanism = profile.mechanism if profile is not None else Mechanism.NONE
        self._event(AuthenticationFailed(self.client_sap, mechanism, reason))


_BY_SECRET: Final = frozenset({
    Mechanism.LLS, Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256,
})  # fmt: skip
_NOT_GUESSABLE: Final = frozenset({
    Mechanism.NONE, Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA,
})  # fmt: skip
_VIOLATIONS: Final = {
    ServiceError.INVOCATION_COUNTER_ERROR: Violation.REPLAY,
    ServiceError.OPERATION_NOT_POSSIBLE: Violation.POLICY,
}
_GENERAL_PROTECTION: Final = frozenset({
    Tag.GENERAL_GLO, Tag.GENERAL_DED, Tag.GENERAL_CIPHERING, Tag.GENERAL_SIGNING,
})  # fmt: skip
_PLAIN_REQUEST: Final = Opened(b"", 0, Envelope.PLAIN)
_NEVER_ANSWERED: Final = frozenset({
    Tag.EXCEPTION_RESPONSE, Tag.CONFIRMED_SERVICE_ERROR, Tag.DATA_NOTIFICATION,
    Tag.DATA_NOTIFICATION_CONFIRM, Tag.EVENT_NOTIFICATION, Tag.INFORMATION_REPORT,
    Tag.UNCONFIRMED_WRITE, Tag.GET_RESPONSE, Tag.SET_RESPONSE, Tag.ACTION_RESPONSE,
    Tag.ACCESS_RESPONSE, Tag.READ_RESPONSE, Tag.WRITE_RESPONSE, Tag.INITIATE_RESPONSE,
})  # fmt: skip
_REQUESTS: Final = frozenset({
    Tag.GET_REQUEST, Tag.SET_REQUEST, Tag.ACTION_REQUEST, Tag.ACCESS_REQUEST, Tag.READ_REQUEST,
    Tag.WRITE_REQUEST,
})  # fmt: skip


def _is_unconfirmed(plain: bytes) -> bool:
    """Whether a request wants no answer."""
    return plain[0] == Tag.UNCONFIRMED_WRITE or _unconfirmed(plain)


_SHORT_NAME_SERVICES: Final[dict[int, apdu.ConfirmedService]] = {
    Tag.READ_REQUEST: apdu.ConfirmedService.READ, Tag.WRITE_REQUEST: apdu.ConfirmedService.WRITE,
}  # fmt: skip
_VARIABLE_KINDS: Final = frozenset(bytes((kind,)) for kind in (2, 4, 5, 6, 7))
_OWN_TERMS_TOLD: Final = frozenset({
    UserDiagnostic.CONTEXT_NOT_SUPPORTED, UserDiagnostic.MECHANISM_NOT_RECOGNISED,
    UserDiagnostic.MECHANISM_REQUIRED, UserDiagnostic.AUTHENTICATION_FAILURE,
    UserDiagnostic.AUTHENTICATION_REQUIRED,
})  # fmt: skip


def _unconfirmed(plain: bytes) -> bool:
    """A request by logical name whose service class says that nobody waits for an answer."""
    tag = plain[0] if plain else -1
    if tag in _GET_SET_ACTION:
        return len(plain) > 2 and not plain[2] & apdu.CONFIRMED
    return tag == _ACCESS_REQUEST and len(plain) > 1 and not plain[1] & apdu.CONFIRMED


def _one_way(user_information: bytes) -> bool:
    """An InitiateRequest in clear whose response-allowed is FALSE."""
    if user_information[:1] != b"\x01":
        return False
    try:
        return not apdu.decode_initiate_request(Reader(user_information, 1)).response_allowed
    except RemoteProtocolError:
        return False


def _checked_context(profile: AssociationProfile, aarq: acse.Aarq) -> Context:
    version = aarq.protocol_version
    if version is not None and (len(version) < 2 or not version[1] & 0x80):
        raise _Refusal(
            ProviderDiagnostic.NO_COMMON_ACSE_VERSION, "ACSE version",
            source=DiagnosticSource.PROVIDER,
        )  # fmt: skip
    wanted = aarq.context
    supported = 1 <= wanted <= 4
    if supported:
        context = Context(wanted)
        supported = context.logical_names != profile.short_names
        if context.ciphered:
            supported = supported and profile.keys is not None
        else:
            supported = supported and not profile.policy
        if supported:
            return context
    raise _Refusal(UserDiagnostic.CONTEXT_NOT_SUPPORTED, f"application context {wanted}")


def _check_mechanism(profile: AssociationProfile, aarq: acse.Aarq) -> None:
    offered, wanted = aarq.mechanism, profile.mechanism
    if (offered or 0) == wanted:
        return
    if offered is None:
        given = aarq.authentication_value is not None
        diagnostic = (
            UserDiagnostic.MECHANISM_REQUIRED if given else UserDiagnostic.AUTHENTICATION_REQUIRED
        )
        raise _Refusal(diagnostic, "no authentication mechanism")
    raise _Refusal(UserDiagnostic.MECHANISM_NOT_RECOGNISED, f"mechanism {offered}")


def _check_credentials(profile: AssociationProfile, aarq: acse.Aarq) -> None:
    if profile.user_ids is not None and aarq.calling_ae_invocation_id not in profile.user_ids:
        raise _Refusal(UserDiagnostic.CALLING_AE_INVOCATION_ID_NOT_RECOGNIZED, "unknown user id")
    value = aarq.authentication_value or b""
    if profile.mechanism is Mechanism.LLS and not compare_digest(value, profile.secret):
        raise _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, "wrong password")
    if profile.mechanism.is_hls:
        shortest, longest = CHALLENGE_OCTETS[profile.mechanism]
        if not shortest <= len(value) <= longest:
            reason = f"a challenge of {len(value)} octets"
            raise _Refusal(UserDiagnostic.AUTHENTICATION_FAILURE, reason)


def _negotiated(
    profile: AssociationProfile, context: Context, initiate: apdu.InitiateRequest, protection: int
) -> int:
    if initiate.version < apdu.DLMS_VERSION:
        raise _initiate_refusal(InitiateError.DLMS_VERSION_TOO_LOW)
    if 0 < initiate.max_pdu_size < PDU_SIZE_MIN:
        raise _initiate_refusal(InitiateError.PDU_SIZE_TOO_SHORT)
    key = initiate.dedicated_key
    if key:
        protected = protection & _AE == _AE
        length = len(profile.keys.unicast) if profile.keys is not None else 0
        if not protected or len(key) != length:
            raise _initiate_refusal(InitiateError.REFUSED_BY_VDE_HANDLER)
    if not initiate.response_allowed and profile.mechanism.is_hls:
        raise _initiate_refusal(InitiateError.REFUSED_BY_VDE_HANDLER)
    allowed = int(LN_CONFORMANCE if context.logical_names else SN_CONFORMANCE)
    conformance = initiate.conformance & int(profile.conformance) & allowed
    if not conformance & (_LN_USEFUL if context.logical_names else _SN_USEFUL):
        raise _initiate_refusal(InitiateError.INCOMPATIBLE_CONFORMANCE)
    return conformance


_LN_USEFUL: Final = int(
    Conformance.GET | Conformance.SET | Conformance.ACTION | Conformance.ACCESS
    | Conformance.DATA_NOTIFICATION | Conformance.EVENT_NOTIFICATION
)  # fmt: skip
_SN_USEFUL: Final = int(
    Conformance.READ | Conformance.WRITE | Conformance.UNCONFIRMED_WRITE
    | Conformance.INFORMATION_REPORT
)  # fmt: skip


def _initiate_refusal(error: InitiateError) -> _Refusal:
    return _Refusal(UserDiagnostic.NO_REASON, error.name.lower(), error=error)


def _octet_string_data(value: bytes) -> bytes | None:
    """The octets of a Data that is an octet-string, None for any other."""
    if value[:1] != b"\x09":
        return None
    try:
        reader = Reader(value, 1)
        octets = reader.octets()
        reader.done()
    except RemoteProtocolError:
        return None
    return octets
