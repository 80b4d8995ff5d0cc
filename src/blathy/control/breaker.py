"""The supply breaker: the disconnect-control state machine (COSEM class 70, modes 0 to 7) as data.

Bistable: its state is kept over power cuts and changes only by one of the acts below.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from blathy.registers.cells import CellReader, CellWriter

UC3_RECLOSE_S: Final = 5
"""The shortest time between opening and closing of a breaker of category UC3 (IEC 62055-31)."""


class State(IntEnum):
    """control_state of COSEM class 70."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY = 2


class Act(Enum):
    """Who wants what of the breaker."""

    REMOTE_DISCONNECT = "remote disconnect"
    REMOTE_RECONNECT = "remote reconnect"
    MANUAL_DISCONNECT = "manual disconnect"
    MANUAL_RECONNECT = "manual reconnect"
    LOCAL_DISCONNECT = "local disconnect"
    LOCAL_RECONNECT = "local reconnect"


TRANSITIONS: Final[dict[str, tuple[Act, State, State, str]]] = {
    "a": (Act.REMOTE_RECONNECT, State.DISCONNECTED, State.READY, "breaker_released"),
    "b": (
        Act.REMOTE_DISCONNECT,
        State.CONNECTED,
        State.DISCONNECTED,
        "breaker_opened_remotely",
    ),
    "c": (Act.REMOTE_DISCONNECT, State.READY, State.DISCONNECTED, "breaker_opened_remotely"),
    "d": (
        Act.REMOTE_RECONNECT,
        State.DISCONNECTED,
        State.CONNECTED,
        "breaker_closed_remotely",
    ),
    "e": (Act.MANUAL_RECONNECT, State.READY, State.CONNECTED, "breaker_closed_locally"),
    "f": (Act.MANUAL_DISCONNECT, State.CONNECTED, State.READY, "breaker_opened_locally"),
    "g": (Act.LOCAL_DISCONNECT, State.CONNECTED, State.READY, "breaker_opened_automatically"),
    "h": (Act.LOCAL_RECONNECT, State.READY, State.CONNECTED, "breaker_closed_automatically"),
    "i": (Act.REMOTE_RECONNECT, State.READY, State.CONNECTED, "breaker_closed_remotely"),
}
"""Letter: act, from, to, event."""

MODES: Final[tuple[str, ...]] = (
    "",
    "bcdefg",
    "abcefg",
    "bcdeg",
    "abceg",
    "bcdefgh",
    "bcdegh",
    "abceghi",
)
"""Which transitions each control_mode permits; mode 0 is connected for ever."""


@dataclass(frozen=True, slots=True)
class BreakerPlan:
    """A breaker with the mode it leaves the factory in."""

    mode: int = 4
    reclose_s: int = UC3_RECLOSE_S

    def __post_init__(self) -> None:
        if not 0 <= self.mode < len(MODES):
            raise ValueError(f"a control mode is 0 to {len(MODES) - 1}, not {self.mode}")


_FREE: Final[frozenset[str]] = frozenset()


class Breaker:
    """One supply breaker. `inhibitions` are reasons for which it does not close (no credit …)."""

    __slots__ = ("_closes_from_s", "inhibitions", "mode", "plan", "state")

    def __init__(self, plan: BreakerPlan) -> None:
        self.plan = plan
        self.mode = plan.mode
        self.state = State.CONNECTED
        self.inhibitions = _FREE
        self._closes_from_s = 0

    @property
    def connected(self) -> bool:
        """output_state: whether current can flow."""
        return self.state is State.CONNECTED

    def allows(self, act: Act, at_s: int) -> bool:
        """Whether the act would change anything at this second of true time."""
        return self._transition(act, at_s) is not None

    def act(self, act: Act, at_s: int) -> str | None:
        """Do what the mode permits; return the event, or None if nothing changes."""
        transition = self._transition(act, at_s)
        if transition is None:
            return None
        _, before, self.state, event = transition
        if before is State.CONNECTED:
            self._closes_from_s = max(self._closes_from_s, at_s + self.plan.reclose_s)
        return event

    def hold_open_until(self, at_s: int) -> None:
        """Do not close before this second of true time."""
        self._closes_from_s = max(self._closes_from_s, at_s)

    @property
    def closes_from_s(self) -> int:
        """The second of true time before which it does not close."""
        return self._closes_from_s

    def _transition(self, act: Act, at_s: int) -> tuple[Act, State, State, str] | None:
        for letter in MODES[self.mode]:
            transition = TRANSITIONS[letter]
            wanted, before, after, _ = transition
            if wanted is act and before is self.state:
                closing = after is State.CONNECTED
                blocked = closing and (self.inhibitions or at_s < self._closes_from_s)
                return None if blocked else transition
        return None

    def write(self, cells: CellWriter) -> None:
        cells.put(self.mode, int(self.state), self._closes_from_s)

    def read(self, cells: CellReader) -> None:
        self.mode, self.state = cells.take(), State(cells.take())
        self._closes_from_s = cells.take()
