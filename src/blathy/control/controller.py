"""The controller: a ledger with a breaker, limits, prepayment and relays in front of it.

`advance(block)` takes the block as the site would draw it with the breaker closed. Behind an open
breaker the controller takes away energies, currents and powers (the voltages stay: the meter sits
on the grid's side), from the interval after the one whose end brought the decision. A decision
inside a block cuts it there, so the result is the same for any cut. The source keeps describing
what the site wants; it need not be asked again. Who must know what was really drawn (the head of
the feeder) listens to `on_load`.

Time windows and clocks are the meter's; dwell times and reclosing delays run on true time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from blathy.control.breaker import Act, Breaker, BreakerPlan, State
from blathy.control.limiter import (
    Limiter,
    LimiterPlan,
    SmartDisconnect,
    SmartDisconnectPlan,
    events_of,
)
from blathy.control.prepayment import INHIBITION, Prepayment, PrepaymentPlan
from blathy.control.relays import Relay, RelayPlan, Surroundings
from blathy.quantity import Phase
from blathy.registers.block import INSTANT_COLUMNS, Block, Incident
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.ledger import Ledger

NEVER: Final = 1 << 62
VERSION: Final = 1
_LOAD_COLUMNS: Final = [
    index
    for index, (name, _) in enumerate(INSTANT_COLUMNS)
    if name.startswith(("i_", "p_", "q_", "s_", "pf_", "thd_i_", "angle_i_"))
]
_OPENERS: Final = ("", "limit", "smart", "credit")
"""Why the breaker was opened by itself, which decides what may close it by itself."""


@dataclass(frozen=True, slots=True)
class ControlPlan:
    """What a meter has to switch with; None and () where it has nothing."""

    breaker: BreakerPlan | None = None
    limiters: tuple[LimiterPlan, ...] = ()
    smart: SmartDisconnectPlan | None = None
    prepayment: PrepaymentPlan | None = None
    relays: tuple[RelayPlan, ...] = ()


_ALWAYS_CLOSED: Final = BreakerPlan(mode=0)
_NO_PREPAYMENT: Final = PrepaymentPlan()
_NO_INPUTS: Final[Mapping[str, int]] = {}


class ControlRefusedError(Exception):
    """A control command is refused; the text says why in one sentence."""


class Controller:
    """One meter's supply control. Everything it does is logged in the ledger."""

    __slots__ = (
        "_inputs", "_opener", "_wants_close", "breaker", "ledger", "limiters", "on_load", "plan",
        "prepayment", "relays", "smart",
    )  # fmt: skip

    def __init__(self, plan: ControlPlan, ledger: Ledger) -> None:
        self.plan = plan
        self.ledger = ledger
        self.breaker = Breaker(plan.breaker or _ALWAYS_CLOSED)
        self.limiters = tuple(Limiter(limiter) for limiter in plan.limiters)
        self.smart = SmartDisconnect(plan.smart) if plan.smart else None
        self.prepayment = Prepayment(plan.prepayment or _NO_PREPAYMENT)
        self.relays = {relay.name: Relay(relay) for relay in plan.relays}
        self._inputs: Mapping[str, int] = _NO_INPUTS
        self._opener = ""
        self._wants_close = False
        self.on_load: Callable[[int, bool], None] | None = None
        """Told the second of true time from which the load was, or was not, connected: of every
        piece that is gone through, so a change is told by the first piece after it."""

    # --- going through a block ------------------------------------------------------------------

    def advance(self, block: Block) -> tuple[Incident, ...]:
        """Go through the block; return everything that happened, in order of time."""
        happened: list[Incident] = []
        index = 0
        while index < len(block):
            self._decide()
            index += self._piece(block.cut(index, len(block)), happened)
        self._decide()
        happened += self.ledger.happened()
        return tuple(happened)

    def _piece(self, rest: Block, happened: list[Incident]) -> int:
        """Step the ledger as far as nothing has to be decided; return over how many intervals."""
        if self.ledger.now < rest.start_utc_s:
            self._forget_runs()
        powered = rest.supply != 0
        changes = np.flatnonzero(powered != powered[0])
        limit = int(changes[0]) if len(changes) else len(rest)
        if not powered[0]:
            happened += self.ledger.step(rest.cut(0, limit))
            self._forget_runs()
            return limit
        if not self.ledger.powered or self.ledger.now < rest.start_utc_s:
            limit = 1  # what the clock shows after an outage is known once the ledger has gone on
        effective = self.as_drawn(rest.cut(0, limit))
        if self.on_load is not None:
            self.on_load(rest.start_utc_s, self.breaker.connected)
        limit = self._limit(effective)
        part = effective.cut(0, limit)
        happened += self.ledger.step(part)
        self._advance(part)
        return limit

    def as_drawn(self, block: Block) -> Block:
        """The block as it would be measured if the breaker stayed as it is."""
        return block if self.breaker.connected else isolated(block)

    def undecided(self, block: Block) -> int:
        """Over how many of the next intervals, all with supply, everything stays as it is."""
        self._decide()
        return self._limit(self.as_drawn(block))

    def _limit(self, block: Block) -> int:
        looks = [limiter.look(block) for limiter in self.limiters]
        looks += [relay.look(block) for relay in self.relays.values()]
        looks.append(self.prepayment.look(block))
        if self.smart:
            looks.append(self.smart.look(block))
        waited = self._next_look()
        looks.append(max(1, -(-(waited - block.start_utc_s) // block.step_s)))
        return min([len(block), *looks])

    def _next_look(self) -> int:
        """The second of true time at which something is to be decided whatever is measured."""
        around = self._around()
        clocks = [limiter.clock(around.utc_s) for limiter in self.limiters]
        trues = [self.breaker.closes_from_s] if self._wants_close else []
        if self.prepayment.enabled:
            clocks.append(self.prepayment.next_look(around.zone, around.utc_s))
        for relay in self.relays.values():
            clock_s, true_s = relay.next_look(around)
            clocks.append(clock_s)
            trues.append(true_s)
        if self.relays:
            clocks.append(self.ledger.rate_until_utc_s)
        clock = min((c for c in clocks if c > around.utc_s), default=NEVER)
        trues = [true_s for true_s in trues if true_s > around.true_s]
        return min([self.ledger.true_s_when(clock) if clock < NEVER else NEVER, *trues])

    def _advance(self, part: Block) -> None:
        intervals = len(part)
        for limiter in self.limiters:
            change = limiter.advance(intervals)
            if change is not None:
                self._limit_changed(limiter, over=change)
        if self.smart and self.smart.advance(intervals) and self._open("smart"):
            self.breaker.hold_open_until(self.ledger.now + self.smart.plan.reconnect_s)
            self._wants_close = True
        for event in self.prepayment.advance(part):
            self.ledger.add_event(event)
        for relay in self.relays.values():
            relay.advance(intervals)

    def _limit_changed(self, limiter: Limiter, *, over: bool) -> None:
        names = events_of(limiter.plan.source)
        self.ledger.add_event(names[0] if over else names[1], limiter.plan.source.phase)
        if over:
            self._open("limit")
        elif self._opener == "limit" and limiter.plan.reconnects:
            self._wants_close = True

    def _open(self, opener: str) -> bool:
        opened = self._act(Act.LOCAL_DISCONNECT)
        if opened:
            self._opener, self._wants_close = opener, False
        return opened

    def _act(self, act: Act) -> bool:
        event = self.breaker.act(act, self.ledger.now)
        if event is None:
            return False
        if act is not Act.LOCAL_DISCONNECT:
            self._opener, self._wants_close = "", False
        self.ledger.add_event(event)
        return True

    def _forget_runs(self) -> None:
        for limiter in self.limiters:
            limiter.forget_runs()
        for relay in self.relays.values():
            relay.forget_runs()
        if self.smart:
            self.smart.forget_runs()

    def _decide(self) -> None:
        """Everything that follows from the state and the time; doing it twice changes nothing."""
        if not self.ledger.powered:
            return
        around = self._around()
        for limiter in self.limiters:
            limiter.clock(around.utc_s)
        self._decide_credit(around)
        if self._wants_close and self._act(Act.LOCAL_RECONNECT):
            self._wants_close = False
        for relay in self.relays.values():
            event = relay.decide(around)
            if event is not None:
                self.ledger.add_event(event, Phase.TOTAL, list(self.relays).index(relay.plan.name))

    def _decide_credit(self, around: Surroundings) -> None:
        out = self.prepayment.enabled and self.prepayment.exhausted
        if out and not self.prepayment.friendly(around.zone, around.utc_s):
            self.breaker.inhibitions |= {INHIBITION}
            self._open("credit")
        elif INHIBITION in self.breaker.inhibitions and not out:
            self.breaker.inhibitions -= {INHIBITION}
            self._wants_close = self._wants_close or self._opener == "credit"

    def _around(self) -> Surroundings:
        ledger = self.ledger
        return Surroundings(
            ledger.zone, ledger.clock_utc_s, ledger.now, ledger.rate, ledger.trusted, self._inputs
        )

    # --- commands -------------------------------------------------------------------------------

    def remote_disconnect(self, who: str) -> bool:
        """Open by command; return whether anything changed (a command is not remembered)."""
        self.ledger.note(who, "remote disconnect")
        return self._act(Act.REMOTE_DISCONNECT)

    def remote_reconnect(self, who: str) -> bool:
        """Close or release by command, as the mode says; return whether anything changed."""
        self.ledger.note(who, "remote reconnect")
        return self._act(Act.REMOTE_RECONNECT)

    def press_button(self) -> bool:
        """The customer's button, held: opens, or closes what has been released."""
        if self.breaker.connected:
            return self._act(Act.MANUAL_DISCONNECT)
        return self._act(Act.MANUAL_RECONNECT)

    def set_mode(self, mode: int, who: str) -> None:
        """Change the control mode; mode 0 connects for ever."""
        BreakerPlan(mode=mode)
        self.ledger.note(who, "control mode", f"{self.breaker.mode} -> {mode}")
        self.breaker.mode = mode
        if mode == 0:
            self.breaker.state = State.CONNECTED

    def add_credit(self, energy_uwh: int, who: str) -> None:
        """Book a purchase; raise ControlRefusedError if it cannot be booked."""
        try:
            self.prepayment.add_credit(energy_uwh)
        except ValueError as error:
            raise ControlRefusedError(str(error)) from error
        self.ledger.note(who, "add credit", str(energy_uwh))
        self.ledger.add_event("credit_added", value=energy_uwh // 1_000_000)
        self._decide()

    def collect(self, energy_uwh: int) -> None:
        """Take a charge from the credit; raise ControlRefusedError while prepayment is off."""
        try:
            events = self.prepayment.collect(energy_uwh)
        except ValueError as error:
            raise ControlRefusedError(str(error)) from error
        for event in events:
            self.ledger.add_event(event)
        self._decide()

    def take_emergency_credit(self) -> None:
        """The customer takes the emergency credit; raise ControlRefusedError if none is offered."""
        if not self.prepayment.take_emergency_credit():
            raise ControlRefusedError("no emergency credit is offered now")
        self.ledger.add_event("emergency_credit_activated")
        self._decide()

    def set_prepayment(self, who: str, *, enabled: bool) -> None:
        """Switch prepayment on (from no credit) or off (which clears the credit)."""
        self.ledger.note(who, "prepayment on" if enabled else "prepayment off")
        if enabled:
            self.prepayment.enable()
        else:
            self.prepayment.disable()
        self._decide()

    def override_relay(
        self, name: str, on: bool | None, who: str, for_s: int | None = None
    ) -> None:
        """Hold a relay by hand for a time or until further notice; None: its rules again."""
        if name not in self.relays:
            raise ControlRefusedError(f"there is no relay {name!r}")
        until = None if for_s is None else self.ledger.now + for_s
        self.ledger.note(who, "override relay", f"{name} {on}")
        self.relays[name].override(on, until)
        self._decide()

    def set_inputs(self, inputs: Mapping[str, int]) -> None:
        """Values of terminals that relay rules ask for (mK, mV, µA, 0 or 1), from now on."""
        self._inputs = dict(inputs)
        self._decide()

    # --- state ----------------------------------------------------------------------------------

    def state_bytes(self) -> bytes:
        """Everything but the ledger, versioned and with a CRC-32."""
        cells = CellWriter()
        cells.put(_OPENERS.index(self._opener), self._wants_close)
        cells.put(INHIBITION in self.breaker.inhibitions)
        self.breaker.write(cells)
        for limiter in self.limiters:
            limiter.write(cells)
        if self.smart:
            self.smart.write(cells)
        self.prepayment.write(cells)
        for relay in self.relays.values():
            relay.write(cells)
        body = struct.pack(">H", VERSION) + cells.cells().astype(">i8").tobytes()
        return body + struct.pack(">I", zlib.crc32(body))

    def restore(self, state: bytes) -> None:
        """Go on from a state of the same plan; raise ValueError if it is damaged or of another."""
        body, crc = state[:-4], state[-4:]
        if len(state) < 6 or struct.pack(">I", zlib.crc32(body)) != crc or len(body) % 8 != 2:
            raise ValueError("the control state is damaged")
        if body[:2] != struct.pack(">H", VERSION):
            raise ValueError("the control state is of another version")
        cells = CellReader(np.frombuffer(body[2:], dtype=">i8").astype(np.int64))
        self._opener, self._wants_close = _OPENERS[cells.take()], bool(cells.take())
        self.breaker.inhibitions = frozenset({INHIBITION} if cells.take() else ())
        self.breaker.read(cells)
        for limiter in self.limiters:
            limiter.read(cells)
        if self.smart:
            self.smart.read(cells)
        self.prepayment.read(cells)
        for relay in self.relays.values():
            relay.read(cells)
        if cells.rest:
            raise ValueError("the control state belongs to another plan")


def isolated(block: Block) -> Block:
    """The block as the meter sees it behind its open breaker: voltages, but no load."""

    lows, highs = block.instant_min, block.instant_max
    return replace(
        block,
        energy_u=np.zeros_like(block.energy_u),
        instant=_without_load(block.instant),
        loss_u=None if block.loss_u is None else np.zeros_like(block.loss_u),
        instant_min=None if lows is None else _without_load(lows),
        instant_max=None if highs is None else _without_load(highs),
    )


def _without_load(instant: Cells) -> Cells:
    idle = instant.copy()
    idle[:, _LOAD_COLUMNS] = 0
    return idle
