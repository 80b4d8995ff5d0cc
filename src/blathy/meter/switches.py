"""Contacts that a meter drives: the supply breaker and load relays, as class 70 sees them.

The table of control modes is that of IEC 62056-6-2, class 70: which of the remote, manual and local
acts a mode permits, and whether a remote reconnection closes or only makes ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class ControlState(IntEnum):
    """control_state (class 70, attribute 3)."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY = 2


@dataclass(frozen=True, slots=True)
class ModeRule:
    """What a control mode permits."""

    remote_off: bool
    manual_off: bool
    local_off: bool
    remote_closes: bool
    manual_on: bool
    local_on: bool


_NOTHING: Final = ModeRule(False, False, False, False, False, False)
MODES: Final[dict[int, ModeRule]] = {
    0: _NOTHING,
    1: ModeRule(True, True, True, True, True, False),
    2: ModeRule(True, True, True, False, True, False),
    3: ModeRule(True, False, True, True, True, False),
    4: ModeRule(True, False, True, False, True, False),
    5: ModeRule(True, True, True, True, True, True),
    6: ModeRule(True, False, True, True, True, True),
}


@dataclass(frozen=True, slots=True)
class Switch:
    """One contact. Immutable: an act gives the switch that follows."""

    mode: int
    state: ControlState = ControlState.CONNECTED

    @property
    def closed(self) -> bool:
        return self.state is ControlState.CONNECTED

    def _to(self, state: ControlState) -> Switch:
        return Switch(self.mode, state)

    def remote_off(self) -> Switch:
        """Transitions b and c: open, and only a remote act leaves it."""
        return self._to(ControlState.DISCONNECTED) if MODES[self.mode].remote_off else self

    def remote_on(self) -> Switch:
        """Transitions a (made ready) or d (closed), by the mode."""
        if self.state is not ControlState.DISCONNECTED or self.mode == 0:
            return self
        closes = MODES[self.mode].remote_closes
        return self._to(ControlState.CONNECTED if closes else ControlState.READY)

    def manual_off(self) -> Switch:
        """Transition f: the button opens."""
        if self.state is ControlState.CONNECTED and MODES[self.mode].manual_off:
            return self._to(ControlState.READY)
        return self

    def manual_on(self) -> Switch:
        """Transition e: the button closes what is ready."""
        if self.state is ControlState.READY and MODES[self.mode].manual_on:
            return self._to(ControlState.CONNECTED)
        return self

    def local_off(self) -> Switch:
        """Transition g: limiter, prepayment or tamper opens."""
        if self.state is ControlState.CONNECTED and MODES[self.mode].local_off:
            return self._to(ControlState.READY)
        return self

    def local_on(self) -> Switch:
        """Transition h: what the limiter opened closes by itself."""
        if self.state is ControlState.READY and MODES[self.mode].local_on:
            return self._to(ControlState.CONNECTED)
        return self
