"""What objects of a meter decide by themselves between two intervals: schedules and monitors.

A meter cuts its blocks where one of them wants to decide, so that the result is the same for any
cut. They act with the meter's own authority and see the books as they are being written; the
outside sees what they did once it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult
from blathy.meter.classes.scripts import run_script
from blathy.registers.block import Block, Incident

if TYPE_CHECKING:
    from blathy.meter.meter import Meter


WAITING_SINCE: Final = b"undecided since"
"""Setting: what the clock showed when the supply went."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when the meter's clock went on: since `since_utc_s` of it, in intervals of `step_s`."""

    since_utc_s: int
    step_s: int


class Decider:
    """One object that decides; its state is in the settings of the meter."""

    def watching(self, meter: Meter) -> bool:
        """Whether there is anything that it would decide. While no decider of a meter has, its
        blocks go through whole."""
        del meter
        return False

    def look(self, meter: Meter, block: Block) -> int:
        """After how many intervals of the block, all with supply, it wants to decide."""
        del meter
        return len(block)

    def decide(self, meter: Meter, span: Span) -> None:
        """Do what is due at the end of the span."""

    def clock_set(self, meter: Meter, before_utc_s: int) -> None:
        """The clock, which showed `before_utc_s`, was set."""

    def parameters_set(self, meter: Meter) -> None:
        """Somebody, or a script, wrote an attribute or called a method."""


def go_through(meter: Meter, block: Block) -> tuple[Incident, ...]:
    """Measure a block and do what is due, each at its interval; what happened, in order of time."""
    happened: list[Incident] = []
    for piece in _pieces(meter, block):
        since_utc_s = meter.ledger.clock_utc_s
        happened += meter.control.advance(piece)
        _decide(meter, Span(since_utc_s, block.step_s))
    return tuple(happened)


def _decide(meter: Meter, span: Span) -> None:
    """Without supply nobody decides; the first span after it begins where it went."""
    waiting = meter.settings.get(WAITING_SINCE)
    if not meter.ledger.powered:
        if waiting is None:
            meter.save_setting(WAITING_SINCE, span.since_utc_s.to_bytes(8, "big"))
        return
    if waiting is not None:
        meter.drop_settings(WAITING_SINCE)
        span = Span(int.from_bytes(waiting, "big"), span.step_s)
    for decider in deciders_on(meter):
        decider.decide(meter, span)


def attempt(meter: Meter, action: Callable[[], None]) -> None:
    """Do what is due: a failure is a device error in the log, a function that is switched off is
    none."""
    try:
        action()
    except AccessError as error:
        if error.result is not ActionResult.OBJECT_UNAVAILABLE:
            meter.record("device_error")


def act(meter: Meter, item: Data) -> None:
    """Run the script of an action item."""
    attempt(meter, lambda: run_script(meter, item))


def _pieces(meter: Meter, block: Block) -> Iterator[Block]:
    """The block in pieces after each of which the meter decides."""
    index = 0
    while index < len(block):
        rest = block.cut(index, len(block))
        limit = _evenly_supplied(meter, rest)
        if rest.supply[0]:
            even = rest.cut(0, limit)
            looks = [decider.look(meter, even) for decider in deciders_on(meter)]
            limit = max(1, min([limit, *looks]))
        yield rest.cut(0, limit)
        index += limit


def _evenly_supplied(meter: Meter, block: Block) -> int:
    """So far the supply stays as it is; after an outage one interval, as what the clock shows is
    known once the ledger has gone on."""
    powered = block.supply != 0
    if powered[0] and (not meter.ledger.powered or meter.ledger.now < block.start_utc_s):
        return 1
    changes = np.flatnonzero(powered != powered[0])
    return int(changes[0]) if len(changes) else len(block)


def watching(meter: Meter) -> bool:
    """Whether anything in the meter may decide by itself."""
    return any(item.decider.watching(meter) for item in meter.tree.deciding if item.decider)


def intervals_until(meter: Meter, block: Block, clock_utc_s: int) -> int:
    """After how many intervals of the block the meter's clock has come to a moment; at least 1."""
    waited_s = meter.ledger.true_s_when(clock_utc_s) - block.start_utc_s
    return min(len(block), max(1, -(-waited_s // block.step_s)))


def deciders_on(meter: Meter) -> Iterator[Decider]:
    """Those whose function is not switched off."""
    for item in meter.tree.deciding:
        if item.decider is not None and not meter.is_off(item.obis):
            yield item.decider
