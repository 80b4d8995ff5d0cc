"""What an association core tells the shell around it, and the table of its states.

Rule 1: everything that decides which event may follow which lives in this file.
Rule 2: the table does not know which side it serves; client and server share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from blathy.cosem.service import AttributeRef
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import AccessResponse, GetResult, ReturnValue
from blathy.wire.errors import LocalProtocolError


class State(Enum):
    """Where an association stands."""

    IDLE = auto()
    OPENING = auto()
    AUTHENTICATING = auto()
    ASSOCIATED = auto()
    RELEASING = auto()

    __hash__ = object.__hash__  # members are single; that of Enum is written in Python


class Step(Enum):
    """What happens to an association."""

    OPEN = auto()
    REFUSE = auto()
    CHALLENGE = auto()
    ACCEPT = auto()
    RELEASE = auto()
    RELEASED = auto()
    RELEASE_REFUSED = auto()
    ABORT = auto()

    __hash__ = object.__hash__


STATES: Final[dict[State, dict[Step, State]]] = {
    State.IDLE: {Step.OPEN: State.OPENING, Step.ABORT: State.IDLE},
    State.OPENING: {
        Step.OPEN: State.OPENING,
        Step.REFUSE: State.IDLE,
        Step.CHALLENGE: State.AUTHENTICATING,
        Step.ACCEPT: State.ASSOCIATED,
        Step.ABORT: State.IDLE,
    },
    State.AUTHENTICATING: {
        Step.OPEN: State.OPENING,
        Step.REFUSE: State.IDLE,
        Step.ACCEPT: State.ASSOCIATED,
        Step.ABORT: State.IDLE,
    },
    State.ASSOCIATED: {
        Step.OPEN: State.OPENING,
        Step.RELEASE: State.RELEASING,
        Step.ABORT: State.IDLE,
    },
    State.RELEASING: {
        Step.RELEASED: State.IDLE,
        Step.RELEASE_REFUSED: State.ASSOCIATED,
        Step.ABORT: State.IDLE,
    },
}


def after(state: State, step: Step) -> State:
    """The next state; raise LocalProtocolError where the step is not possible now."""
    following = STATES[state].get(step)
    if following is None:
        raise LocalProtocolError(
            f"{step.name.lower().replace('_', ' ')} is not possible while "
            f"the association is {state.name.lower()}"
        )
    return following


# --- Server -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientAssociated:
    """A client opened an association, with everything that its mechanism asks for."""

    client_sap: int
    mechanism: Mechanism


@dataclass(frozen=True, slots=True)
class ClientReleased:
    client_sap: int


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """For the event log and for whoever counts failures."""

    client_sap: int
    mechanism: Mechanism
    reason: str


class Violation(Enum):
    """Why a protected or unprotected APDU was refused."""

    DECIPHERING = "deciphering failed"
    REPLAY = "invocation counter used before"
    POLICY = "protection below the security policy"
    SYSTEM_TITLE = "wrong system title"
    OWN_KEYS = "a key of ours is missing, used up or soon will be"
    LOCKED = "too many failures"


@dataclass(frozen=True, slots=True)
class SecurityViolation:
    client_sap: int
    kind: Violation
    reason: str


@dataclass(frozen=True, slots=True)
class NotificationConfirmed:
    """The client confirmed the DataNotification with this long invoke id."""

    client_sap: int
    long_invoke: int


ServerEvent = (
    ClientAssociated
    | ClientReleased
    | AuthenticationFailed
    | SecurityViolation
    | NotificationConfirmed
)


# --- Client -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Give these octets to the peer."""

    apdu: bytes


@dataclass(frozen=True, slots=True)
class Associated:
    """The association stands. `server_pdu_size` is the longest APDU that the server takes."""

    conformance: int
    server_pdu_size: int
    server_title: bytes
    mechanism: Mechanism


@dataclass(frozen=True, slots=True)
class AssociationRefused:
    """`source` and `diagnostic` as in the AARE (0 where there was none)."""

    result: int
    source: int
    diagnostic: int
    reason: str
    lowest_counter: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The association has ended; `answered` tells whether the server confirmed it."""

    answered: bool = True


@dataclass(frozen=True, slots=True)
class ReleaseRefused:
    """The server keeps the association; closing the link is what is left."""

    reason: str


@dataclass(frozen=True, slots=True)
class GetAnswer:
    """Results in the order asked: A-XDR octets or a data-access-result each."""

    invoke_id: int
    results: tuple[GetResult, ...]


@dataclass(frozen=True, slots=True)
class SetAnswer:
    invoke_id: int
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ActionAnswer:
    """Per method: action-result, and what it returned."""

    invoke_id: int
    results: tuple[tuple[int, ReturnValue], ...]


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    invoke_id: int
    response: AccessResponse


@dataclass(frozen=True, slots=True)
class ServiceRefused:
    """An exception-response or confirmed-service-error came instead of the answer."""

    reason: str
    state: int = 0
    service: int = 0
    lowest_counter: int | None = None


@dataclass(frozen=True, slots=True)
class TransferAborted:
    """A block transfer broke off; nothing of it is delivered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """An APDU that belongs to no request of ours, such as a late answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notification:
    """A DataNotification. `protection` holds only what was proved (see Protection).

    `authenticated` False on a ciphered one: the tag was not or could not be checked.
    """

    long_invoke: int
    time: bytes
    body: bytes
    protection: int = 0
    ciphered: bool = False
    originator: bytes = b""
    counter: int = -1
    tagged_time: bool = False

    @property
    def authenticated(self) -> bool:
        return self.protection & 0x110 != 0


@dataclass(frozen=True, slots=True)
class EventReport:
    """An EventNotification, or one variable of an InformationReport (`short_name` set).

    `protection`, `ciphered`, `originator` and `counter` as in `Notification`.
    """

    attribute: AttributeRef | None
    value: bytes
    time: bytes
    short_name: int | None = None
    protection: int = 0
    ciphered: bool = False
    originator: bytes = b""
    counter: int = -1

    @property
    def authenticated(self) -> bool:
        return self.protection & 0x110 != 0


ClientEvent = (
    Send
    | Associated
    | AssociationRefused
    | Released
    | ReleaseRefused
    | GetAnswer
    | SetAnswer
    | ActionAnswer
    | AccessAnswer
    | ServiceRefused
    | TransferAborted
    | Discarded
    | Notification
    | EventReport
)
