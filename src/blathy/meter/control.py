"""Supply control of a running meter: the plan from the model, and the view that ports may show.

The controller acts on the books that are being written; what a port shows of it is the view that
was staged with the committed books.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from blathy.clock import SECONDS_PER_DAY
from blathy.control.breaker import BreakerPlan, State
from blathy.control.controller import Controller, ControlPlan
from blathy.control.limiter import LimiterPlan, SmartDisconnectPlan
from blathy.control.prepayment import PrepaymentPlan
from blathy.control.relays import RateIs, RelayPlan
from blathy.control.windows import Window
from blathy.meter.plan import MeterOptions
from blathy.models.model import Model
from blathy.obis import Obis
from blathy.quantity import Kind, Measure, Source

WATT: Final = 1000
"""Limits are watts on the wire and milliwatts in the books."""
EMERGENCY_GROUPS: Final = frozenset({0})
UWH_PER_WH: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SwitchView:
    """One contact as class 70 shows it."""

    closed: bool
    state: int
    mode: int


@dataclass(frozen=True, slots=True)
class ControlView:
    """What may be shown of the controller."""

    true_s: int
    switches: Mapping[Obis, SwitchView]
    connected: bool
    limit_active_w: int
    emergency_active: bool
    prepaid: bool
    balance_wh: int
    available_wh: int
    emergency_offered: bool
    emergency_taken: bool
    exhausted: bool
    low_credit_wh: int
    emergency_credit_wh: int


FRIENDLY: Final = ("friendly_from_min", "friendly_until_min", "friendly_weekdays")


def friendly_windows(from_min: int, until_min: int, weekdays: int) -> tuple[Window, ...]:
    """When the supply is not cut for lack of credit: a time of every day (none where it begins as
    it ends), and whole days of the week (bit 0: Monday)."""
    windows = []
    if from_min != until_min:
        windows.append(Window(from_min % 1440 * 60, until_min * 60 or SECONDS_PER_DAY))
    days = frozenset(day for day in range(1, 8) if weekdays >> (day - 1) & 1)
    if days:
        windows.append(Window(weekdays=days))
    return tuple(windows)


def control_plan(
    model: Model,
    options: MeterOptions,
    limiter: tuple[int, int, int, int],
    smart: SmartDisconnectPlan | None,
    friendly: tuple[Window, ...] = (),
) -> ControlPlan:
    """What the model switches with. `limiter`: normal and emergency threshold (W), times over and
    under (s); `smart`: the staged current limit where it is on; `friendly` times of prepayment."""
    breaker = model.breaker
    relays = tuple(
        RelayPlan(relay.key, ((RateIs(frozenset(options.relay_rates)),),))
        if options.relay_rates
        else RelayPlan(relay.key)
        for relay in model.relays
    )
    if breaker is None:
        return _shared(ControlPlan(relays=relays))
    limiters: tuple[LimiterPlan, ...] = ()
    if breaker.limiter_obis is not None:
        normal, emergency, over_s, under_s = limiter
        limiters = (
            LimiterPlan(
                Source(Kind.INSTANT, Measure.A_IMPORT),
                normal * WATT,
                emergency * WATT,
                over_s,
                under_s,
                emergency_groups=EMERGENCY_GROUPS,
            ),
        )
    prepayment = None
    if breaker.prepayment:
        prepayment = PrepaymentPlan(enabled=options.prepayment, friendly=friendly)
    switch = BreakerPlan(breaker.mode, breaker.reclose_s)
    return _shared(ControlPlan(switch, limiters, smart, prepayment, relays))


@lru_cache(maxsize=256)
def _shared(plan: ControlPlan) -> ControlPlan:
    """One plan for all meters that have it."""
    return plan


@lru_cache(maxsize=1024)
def _switches(items: tuple[tuple[Obis, SwitchView], ...]) -> Mapping[Obis, SwitchView]:
    """One table for all meters whose contacts stand alike."""
    return MappingProxyType(dict(items))


def view_of(model: Model, controller: Controller) -> ControlView:
    """The controller as it stands now."""
    switches: list[tuple[Obis, SwitchView]] = []
    if model.breaker is not None:
        found = controller.breaker
        view = SwitchView(found.connected, int(found.state), found.mode)
        switches.append((model.breaker.obis, view))
    for relay in model.relays:
        on = controller.relays[relay.key].on
        state = State.CONNECTED if on else State.DISCONNECTED
        switches.append((relay.obis, SwitchView(on, int(state), relay.mode)))
    limiter = controller.limiters[0] if controller.limiters else None
    account = controller.prepayment
    return ControlView(
        controller.ledger.now,
        _switches(tuple(switches)),
        controller.breaker.connected,
        0 if limiter is None else limiter.threshold_active // WATT,
        limiter is not None and limiter.emergency_active,
        account.enabled,
        account.balance_uwh // UWH_PER_WH,
        account.available_uwh // UWH_PER_WH,
        account.emergency_offered,
        account.emergency_taken,
        account.exhausted,
        account.plan.low_credit_uwh // UWH_PER_WH,
        account.plan.emergency_uwh // UWH_PER_WH,
    )
