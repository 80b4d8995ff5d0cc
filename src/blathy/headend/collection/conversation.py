"""What the head-end asks of a meter, whatever it speaks: the contract between collector and driver.

A driver turns one meter of the inventory into a conversation. Every failure is a
`ConversationError` with one of five outcomes, for these are what a dispatcher can act on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blathy.cosem.selective import CaptureObject
from blathy.headend.inventory.keyring import Secrets
from blathy.headend.inventory.registry import Channel, Meter
from blathy.headend.sentence import ExplainedError, Value


class Outcome(Enum):
    """How a conversation ended. Five ways to fail, each with its own remedy."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    """No connection: address, route, power of the modem."""
    TIMED_OUT = "timeout"
    """Connected, and then no answer in time."""
    REFUSED = "refused"
    """The meter answered and said no: client, password, access right, object."""
    GARBLED = "garbled"
    """The answer is not what the protocol allows."""
    UNTRUSTED = "untrusted"
    """A key, counter or proof of identity is wrong."""


RETRIED = frozenset((Outcome.UNREACHABLE, Outcome.TIMED_OUT, Outcome.GARBLED))
"""Outcomes that the same question may overcome; the others need a person."""


class ConversationError(ExplainedError):
    """A conversation failed."""

    def __init__(
        self, outcome: Outcome, code: str, detail: str, remedy: str, /, **values: Value
    ) -> None:
        super().__init__(code, detail, remedy, **values)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class LiveValue:
    """One quantity as it is now. `quantity` is u i p q s pf f angle_u angle_i thd_u thd_i."""

    obis: str
    name: str
    phase: int
    quantity: str
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """A register as the meter holds it and as its LCD writes it."""

    obis: str
    name: str
    mantissa: int
    scaler: int
    unit: str
    tariff: int
    text: str
    """Digit for digit as the LCD shows it, in `text_unit`."""
    text_unit: str
    digits: int
    at: int | None = None
    """When it was captured, for maxima."""


@dataclass(frozen=True, slots=True, eq=False)
class ProfileRows:
    """Records of one load profile as columns; `end_utc` is the time stamp of each record."""

    end_utc: NDArray[np.int64]
    values: Mapping[str, NDArray[np.int64]]
    """Channel slug -> captured integers in the channel's unit and scaler."""
    present: Mapping[str, NDArray[np.bool_]]
    status: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A record of an event log. `name` is neutral, or empty for a code that no table knows."""

    log: str
    at: int
    code: int
    name: str
    phase: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """An annunciator of the LCD."""

    id: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True)
class Light:
    """A light: dark, lit or pulsing."""

    id: str
    label: str
    state: str
    imp_per_kwh: int = 0
    """The meter constant where the light gives active energy; 0 where it is not that."""


@dataclass(frozen=True, slots=True)
class DisplayState:
    """The LCD as it looks now."""

    mode: str
    code: str
    value: str
    unit: str
    digits: int
    decimals: int
    annunciators: Sequence[Sign]
    leds: Sequence[Light]
    buttons: Sequence[tuple[str, str]]
    list_name: str
    list_index: int
    """Of the item shown, from 1; 0 when the list is empty."""
    list_length: int


class ClockAction(Enum):
    """What is done about a clock that is off."""

    NONE = "none"
    SHIFT = "shift"
    SET = "set"
    REFUSED = "refused"
    """It is farther off than may be corrected unasked."""


@dataclass(frozen=True, slots=True)
class SupplyState:
    """Switch, limit and account as the meter has them now; None where it has none."""

    output_state: bool | None = None
    control_state: str | None = None
    limit_w: int | None = None
    """The threshold that was set; 0 where there is no limit."""
    active_limit_w: int | None = None
    prepaid: bool | None = None
    balance_wh: int | None = None
    available_wh: int | None = None


@dataclass(frozen=True, slots=True)
class MeterFacts:
    """What the model's table says, for people."""

    model_name: str
    manufacturer: str
    phases: int
    rated: str
    capabilities: tuple[str, ...]
    capacity_w: int = 0
    """Largest power the meter can carry (rule V10); 0 where unknown."""
    commands: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    logs: tuple[str, ...] = field(default=())


class Conversation(Protocol):
    """An open association with one meter. Every call may raise ConversationError."""

    async def live(self, *, brief: bool = False) -> list[LiveValue]:
        """All quantities now; with `brief` only the total active power."""

    async def registers(self, channels: Sequence[Channel] = ()) -> list[RegisterValue]:
        """The energy registers and maxima of the model, or those of the channels given."""

    async def profile(
        self, profile: str, channels: Sequence[Channel], from_utc: int, to_utc: int
    ) -> ProfileRows:
        """Records stamped within [from, to]."""

    async def events(self, log: str, from_utc: int) -> list[LoggedEvent]:
        """Records of the log from that moment on."""

    async def display(self) -> DisplayState: ...

    async def press(self, button: str, hold_ms: int) -> None: ...

    async def clock(self) -> int:
        """The meter's clock as UTC seconds."""

    async def set_clock(self, utc_s: int) -> None: ...

    async def shift_clock(self, seconds: int) -> None:
        """Move the clock by up to 900 s either way, without setting it anew."""

    async def switch(self, command: str, arguments: Mapping[str, object]) -> dict[str, object]:
        """Run disconnect, release, connect or relay; return what reading back says."""

    async def supply(self) -> SupplyState: ...

    async def set_limit(self, power_w: int) -> None:
        """The normal threshold of the limiter; 0 takes the limit away."""

    async def set_parameter(self, name: str, value: int | bytes) -> None:
        """Write a parameter of the model's table and read it back."""

    async def add_credit(self, energy_wh: int) -> None:
        """Book a purchase. Not idempotent: read the balance before and after."""

    async def alarms(self) -> dict[str, int]:
        """The alarm registers with their bits; empty where the meter has none."""

    async def clear_alarms(self, register: str, bits: int) -> None:
        """Clear these bits of an alarm register and leave the others."""

    async def push_objects(self) -> tuple[CaptureObject, ...]:
        """What the meter's push setup sends; empty where it has none."""

    async def transfer_keys(self, wrapped: Mapping[str, bytes]) -> None:
        """Hand over keys wrapped under the master key, by purpose: all of them or none."""

    async def change_secret(self, secret: bytes) -> None:
        """Another password or HLS secret for the association in use."""

    async def firmware(self) -> str: ...

    async def close(self) -> None:
        """Release the association and close the line; never raises."""


class Driver(Protocol):
    """Opens conversations and knows models."""

    def facts(self, meter: Meter) -> MeterFacts: ...

    async def open(self, meter: Meter, secrets: Secrets) -> Conversation:
        """Connect and associate; raise ConversationError."""
