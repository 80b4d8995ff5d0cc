"""One association over one link: requests go out, answers come back, pushes are kept aside."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from blathy.client.address import MeterAddress
from blathy.client.lease import Lease, Turn, counters_of
from blathy.client.link import Link, WrapperLink
from blathy.clock import NANOSECONDS_PER_S
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut, Untrusted
from blathy.transport.line import monotonic_now
from blathy.wire import apdu
from blathy.wire.acse import DiagnosticSource, Mechanism, UserDiagnostic
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
    TransferAborted,
)
from blathy.wire.client import ClientAssociation, ClientConfig
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import (
    COUNTER_LAST,
    CounterStore,
    Envelope,
    KeyChoice,
    Protection,
    SecurityError,
    key_fingerprint,
)

PUSHES_MAX: Final = 256
RELEASE_TIMEOUT_S: Final = 2.0
_COUNTER_ERROR: Final = apdu.ServiceError.INVOCATION_COUNTER_ERROR
_DECIPHERING_ERROR: Final = apdu.ServiceError.DECIPHERING_ERROR


def is_ciphered(address: MeterAddress) -> bool:
    """Whether the association that an address asks for takes invocation counters."""
    return bool(address.keys.unicast) and (
        address.protection != Protection.NONE or address.mechanism is Mechanism.HLS_GMAC
    )


def config_of(address: MeterAddress) -> ClientConfig:
    """The association that an address asks for."""
    ciphered = is_ciphered(address)
    envelope = Envelope.GENERAL_GLO if address.general else Envelope.GLO
    if address.dedicated:
        envelope = Envelope.GENERAL_DED if address.general else Envelope.DED
    if address.key_choice is not None:
        envelope = Envelope.GENERAL_CIPHERING
    return ClientConfig(
        mechanism=address.mechanism,
        secret=address.password,
        title=address.title,
        keys=address.keys if ciphered or address.keys.signing else None,
        protection=address.protection,
        envelope=envelope,
        key_choice=address.key_choice or KeyChoice.IDENTIFIED,
        dedicated_key=address.dedicated,
        short_names=address.short_names,
        pre_established=address.pre_established,
        pdu_size=address.pdu_size,
        server_title=address.meter_title,
        user_id=address.user_id,
        send_protocol_version=address.acse_version,
        strict_invoke_id=address.scheme == "dlms+udp",
        verify_tags=bool(address.keys.authentication),
        protected_release=True,
    )


_ASSOCIATION_REMEDIES: Final = {
    UserDiagnostic.NO_REASON: "try client=16 or client=1, and check the password and the keys",
    UserDiagnostic.CONTEXT_NOT_SUPPORTED: "try protect=none or protect=both, or sn=1",
    UserDiagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED: "set title= to the one the meter knows",
    UserDiagnostic.CALLING_AE_INVOCATION_ID_NOT_RECOGNIZED: "set user= to a user of the meter",
    UserDiagnostic.MECHANISM_NOT_RECOGNISED: "try another auth=, e.g. none, lls or hls5",
    UserDiagnostic.MECHANISM_REQUIRED: "set auth=, e.g. lls or hls5",
    UserDiagnostic.AUTHENTICATION_REQUIRED: "set auth=, e.g. lls or hls5",
}


def _failed_proof(address: MeterAddress) -> str:
    """What an authentication depends on, and so what to check when it failed."""
    if address.mechanism is Mechanism.HLS_GMAC or address.keys.unicast:
        secret = "" if address.mechanism is Mechanism.HLS_GMAC else "password=, "
        return f"check {secret}ek=, ak=, suite={address.keys.suite} and title={address.title.hex()}"
    if address.mechanism is Mechanism.HLS_ECDSA:
        return "check signing_key=, meter_signing_key= and suite="
    if not address.password:
        return f"none was given: set password= of client {address.client}"
    return f"check password= of client {address.client}"


class AssociationDenied(Refused):
    """A meter refuses an association; `diagnostic` is a UserDiagnostic, -1 where it is none."""

    def __init__(self, message: str, remedy: str, reason: str, diagnostic: int) -> None:
        super().__init__(message, remedy)
        self.reason = reason
        self.diagnostic = diagnostic


def explain_refusal(refusal: AssociationRefused, address: MeterAddress) -> MeterError:
    """The outcome and the remedy of a refused association."""
    place = address.place
    text = f"{place} refuses the association of client {address.client}: {refusal.reason}"
    if refusal.lowest_counter is not None:
        return Untrusted(text, f"set ic={refusal.lowest_counter} if you trust this meter")
    if refusal.result == 0:
        return Untrusted(text, "check the keys, and that this is the meter you mean")
    by_user = refusal.source == DiagnosticSource.USER
    diagnostic = refusal.diagnostic if by_user else -1
    remedy = next(
        (text for code, text in _ASSOCIATION_REMEDIES.items() if code == diagnostic),
        "check client=, auth= and the keys",
    )
    if diagnostic == UserDiagnostic.AUTHENTICATION_FAILURE:
        return Untrusted(text, _failed_proof(address))
    return AssociationDenied(text, remedy, refusal.reason, diagnostic)


def explain_service(refused: ServiceRefused, place: str) -> MeterError:
    """The outcome of an exception-response or confirmed-service-error."""
    if refused.state == 0 and refused.lowest_counter is None:  # a confirmed-service-error
        return Refused(f"{place} refuses the service: {refused.reason}", _FEWER)
    if refused.service == _COUNTER_ERROR:
        return Untrusted(
            f"{place} refuses our invocation counter",
            f"set ic={refused.lowest_counter}" if refused.lowest_counter else "raise ic=",
        )
    if refused.service == _DECIPHERING_ERROR:
        return Untrusted(f"{place} can't decipher our request", "check ek=, ak= and title=")
    remedy = _SERVICE_REMEDIES.get(refused.service, _FEWER)
    return Refused(f"{place} refuses the service: {refused.reason}", remedy)


_FEWER: Final = "try fewer items at once"
_SERVICE_REMEDIES: Final[dict[int, str]] = {
    apdu.ServiceError.OPERATION_NOT_POSSIBLE: "try protect=both, or open the meter again",
    apdu.ServiceError.SERVICE_NOT_SUPPORTED: "see what it agreed to with `blathy record`",
    apdu.ServiceError.PDU_TOO_LONG: "ask for fewer items or a shorter time, or a larger pdu=",
}


class Conversation:
    """Requests and answers, one at a time, in order.

    With a `lease` also one at a time among all conversations that use the same counters.
    """

    def __init__(
        self,
        link: Link,
        address: MeterAddress,
        counters: CounterStore | None,
        entropy: Callable[[int], bytes] = os.urandom,
        lease: Lease | None = None,
    ) -> None:
        self._link = link
        self._address = address
        self._lease = lease
        self._turn = asyncio.Lock()
        self._meter_turn = Turn() if lease is None else lease.turn
        self.pushes: deque[Notification | EventReport] = deque(maxlen=PUSHES_MAX)
        self.on_push: Callable[[Notification | EventReport], None] | None = None
        """Is given what the meter tells unasked, at once; without it `pushes` keeps it."""
        self.server_pdu_size = 1024  # until the meter says its own
        self._lost = False  # an answer is owed that could be taken for the next one
        config = config_of(address)
        shared = None
        if config.keys is not None:
            if counters is None:
                raise Refused(
                    "keys need invocation counters that survive",
                    "give counters=FileCounterStore(PATH)",
                )
            shared = counters_of(counters)
        try:
            self.association = ClientAssociation(config, entropy, shared)
        except (LocalProtocolError, ValueError) as error:
            raise Refused(str(error), "give ek= and ak=") from error
        if address.counter and shared is not None:
            # Set by hand: however far that is from our own.
            shared.follow_report(
                address.title, key_fingerprint(address.keys.unicast), address.counter,
                jump_max=COUNTER_LAST,
            )  # fmt: skip
            if self.association.security is not None:
                self.association.security.transactions_from = address.counter

    @property
    def place(self) -> str:
        return self._address.place

    async def open(self) -> Associated:
        """Associate; what the meter reports as too low is followed upwards: the invocation counter,
        and then the transaction-id where the request has one."""
        async with self._meter_turn:
            event = await self._associate()
            for _ in range(2):
                if not isinstance(event, AssociationRefused) or event.lowest_counter is None:
                    break
                try:
                    self.association.follow_counter(event.lowest_counter)
                except LocalProtocolError as error:
                    raise Untrusted(f"{self.place}: {error}", "check the meter") from error
                event = await self._associate()
        if isinstance(event, AssociationRefused):
            raise explain_refusal(event, self._address)
        if not isinstance(event, Associated):
            raise Garbled(f"{self.place} answers the association with {type(event).__name__}")
        self.server_pdu_size = event.server_pdu_size
        return event

    async def _associate(self) -> ClientEvent:
        try:
            request = self.association.associate()
        except LocalProtocolError as error:
            used_up = "used up" in str(error)
            remedy = "" if used_up else "give ek= and ak=, or another protect="
            raise Refused(f"{self.place}: {error}", remedy) from error
        return await self._exchange(request)

    async def get(self, *attributes: AttributeRef) -> tuple[apdu.GetResult, ...]:
        """GET; a result each, A-XDR octets or a data-access-result."""
        answer = await self._request(lambda: self.association.get(*attributes))
        return self._results(answer, GetAnswer, len(attributes))

    async def read(self, *variables: apdu.VariableAccess) -> tuple[apdu.GetResult, ...]:
        """Read by short names."""
        answer = await self._request(lambda: self.association.read(*variables))
        return self._results(answer, GetAnswer, len(variables))

    async def set(self, *writes: tuple[AttributeRef, bytes]) -> tuple[int, ...]:
        """SET; a data-access-result each."""
        answer = await self._request(lambda: self.association.set(*writes))
        if not isinstance(answer, SetAnswer) or len(answer.results) != len(writes):
            raise self._odd(answer)
        return answer.results

    async def write(self, *writes: tuple[apdu.VariableAccess, bytes]) -> tuple[int, ...]:
        """Write by short names."""
        answer = await self._request(lambda: self.association.write(*writes))
        if not isinstance(answer, SetAnswer) or len(answer.results) != len(writes):
            raise self._odd(answer)
        return answer.results

    async def action(self, ref: MethodRef, parameters: bytes) -> tuple[int, apdu.ReturnValue]:
        """ACTION; its result and what it returned."""
        answer = await self._request(lambda: self.association.action((ref, parameters)))
        if not isinstance(answer, ActionAnswer) or len(answer.results) != 1:
            raise self._odd(answer)
        return answer.results[0]

    async def access(
        self, requests: Sequence[tuple[apdu.AccessSpecification, bytes]]
    ) -> apdu.AccessResponse:
        """ACCESS: what each of the requests came to."""
        specifications, data = [s for s, _ in requests], [d for _, d in requests]
        answer = await self._request(lambda: self.association.access(specifications, data))
        if not isinstance(answer, AccessAnswer):
            raise self._odd(answer)
        return answer.response

    def _results(
        self, answer: ClientEvent, kind: type[GetAnswer], count: int
    ) -> tuple[apdu.GetResult, ...]:
        if not isinstance(answer, kind) or len(answer.results) != count:
            raise self._odd(answer)
        return answer.results

    def _odd(self, answer: ClientEvent) -> MeterError:
        if isinstance(answer, ServiceRefused):
            return explain_service(answer, self.place)
        if isinstance(answer, TransferAborted):
            return Garbled(f"{self.place}: {answer.reason}", "try again with a smaller selection")
        return Garbled(f"{self.place} gives an answer that does not fit the request")

    async def _request(self, build: Callable[[], bytes]) -> ClientEvent:
        async with self._turn, self._meter_turn:
            if self._lease is not None and not self._lease.held:
                await self._lease.hold(self._address)
            if self._lost:
                raise Refused(
                    f"{self.place} still owes the answer to a request that was given up",
                    "close the meter and open it again",
                )
            await self._link.settle()
            try:
                octets = build()
            except LocalProtocolError as error:
                raise Refused(f"{self.place}: {error}") from error
            return await self._exchange(octets)

    async def _exchange(self, octets: bytes, timeout_s: float | None = None) -> ClientEvent:
        """Send a request and wait for the event that answers it."""
        association, link = self.association, self._link
        answered, besides = False, ""
        try:
            link.send(octets)
            while True:
                data = await self._next_apdu(timeout_s)
                try:
                    events = association.receive_apdu(data, monotonic_now())
                except SecurityError as error:
                    if not self._was_overtaken(error):
                        raise
                    continue
                for event in events:
                    if isinstance(event, Send):
                        link.send(event.apdu)
                    elif isinstance(event, (Notification, EventReport)):
                        self._keep(event)
                    elif isinstance(event, Discarded):
                        besides = event.reason
                    else:
                        answered = True
                        return event
        except SecurityError as error:
            association.cancel()
            raise Untrusted(f"{self.place}: {error}", "check ek=, ak= and the meter") from error
        except RemoteProtocolError as error:
            association.cancel()
            raise Garbled(f"{self.place}: {error}", "see it with `blathy record`") from error
        except LocalProtocolError as error:
            association.cancel()
            raise Refused(f"{self.place}: {error}") from error
        except MeterError as error:
            self._explain_end(error, besides)
            association.cancel()
            raise
        except asyncio.CancelledError:
            association.cancel()
            raise
        finally:
            # Answers by short name carry no number: a late one would pass for the next one's.
            self._lost = self._lost or (not answered and self._address.short_names)

    def _explain_end(self, error: MeterError, besides: str) -> None:
        """Name the remedy by what had gone before; `besides` was said instead of an answer."""
        if self.association.associated and self._link.line.ended:  # it was let in: not the address
            error.remedy = "it ended in the middle of the association; open the meter again"
        elif besides and isinstance(error, TimedOut):
            error.message += f"; it sent only {besides}"
            error.remedy = "see it with `blathy record`"

    def _was_overtaken(self, error: SecurityError) -> bool:
        """Whether the meter itself has sent this, and another conversation has had something
        newer since: an answer that was given up, or a push."""
        spent = error.kind == _COUNTER_ERROR and error.lowest is not None
        return spent and self._lease is not None and self._lease.was_shared

    def _keep(self, event: Notification | EventReport) -> None:
        if self.on_push is not None:
            self.on_push(event)
        else:
            self.pushes.append(event)

    async def _next_apdu(self, timeout_s: float | None) -> bytes:
        association, link = self.association, self._link
        while True:
            deadline = association.deadline()
            if deadline is None:
                return await link.receive(timeout_s)
            wait_s = max(0.0, (deadline - monotonic_now()) / NANOSECONDS_PER_S)
            try:
                return await link.receive(min(wait_s, timeout_s or link.timeout_s))
            except TimedOut:
                for event in association.tick(monotonic_now()):
                    if isinstance(event, Send):
                        link.send(event.apdu)
                    elif isinstance(event, TransferAborted):
                        raise

    async def next_push(self, timeout_s: float) -> Notification | EventReport:
        """The next notification on this connection; TimedOut when none comes."""
        async with self._turn:
            while not self.pushes:
                data = await self._link.listen(timeout_s)
                try:
                    events = self.association.receive_apdu(data, monotonic_now())
                except RemoteProtocolError as error:
                    if isinstance(error, SecurityError) and self._was_overtaken(error):
                        continue
                    raise Garbled(f"{self.place}: {error}") from error
                for event in events:
                    if isinstance(event, Notification | EventReport):
                        self.pushes.append(event)
                    elif isinstance(event, Send):
                        self._link.send(event.apdu)
            return self.pushes.popleft()

    async def close(self) -> None:
        """Release the association where the link does not do it, then the link."""
        try:
            if self.association.associated and isinstance(self._link, WrapperLink):
                wait_s = min(RELEASE_TIMEOUT_S, self._link.timeout_s)
                async with asyncio.timeout(2 * wait_s), self._meter_turn:
                    if self._lease is not None and not self._lease.held:
                        await self._lease.hold(self._address)
                    event = await self._exchange(self.association.release(), wait_s)
                assert isinstance(event, Released | ReleaseRefused | ServiceRefused)
        except (MeterError, LocalProtocolError, AssertionError, TimeoutError):
            pass  # closing the connection releases it as well
        finally:
            await self._link.close()
