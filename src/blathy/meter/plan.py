"""From a model and what was ordered with it to the plan of its books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from blathy.models.model import (
    Billing,
    BillingStop,
    Column,
    Level,
    Mechanism,
    Model,
    ModelError,
    Profile,
    Row,
)
from blathy.quantity import Kind, Measure, Source
from blathy.registers.plan import (
    DAILY,
    MONTHLY,
    POWER_FAILURES,
    WEEKLY,
    BillingPlan,
    BookPlan,
    CalendarPlan,
    ClockPlan,
    CounterPlan,
    DatePattern,
    DayProfile,
    DemandPlan,
    LogPlan,
    ProfilePlan,
    Season,
    Switch,
    ThresholdPlan,
    Trigger,
    WeekProfile,
)

STORED_AS: Final[Mapping[str, tuple[str, int]]] = {
    "operating_hours": ("operating_s", 3600),
    "billing_periods": ("billing_resets", 1),
}
"""Counters that the books keep under another name, and what one unit of the row is in theirs."""
TRIGGERS: Final[Mapping[BillingStop, Trigger]] = {
    BillingStop.MONTHLY: MONTHLY,
    BillingStop.WEEKLY: WEEKLY,
    BillingStop.DAILY: DAILY,
}
COUNTERS: Final = (
    *POWER_FAILURES,
    CounterPlan("long_outages", frozenset({"long_outage"})),
    CounterPlan("power_threshold_count", frozenset({"power_limit_exceeded"})),
)


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """What was set in a running meter: another period (0 as ordered), other columns (() as
    ordered)."""

    key: str
    period_s: int = 0
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class MeterOptions:
    """What is chosen when a meter is ordered or configured; the rest is its model's.

    `layout` names another column set of the main load profile, `variant` another memory of it,
    `period_s` its period. `mechanisms` chooses how a level proves itself where it has to at all,
    also by a way that the data sheet does not name; `suite` is the security suite of its keys,
    `encryption` False orders it without the interface encryption that its model is delivered with,
    `iec62056_21` names a mode of that language where the model leaves the choice,
    `short_names` makes it answer to short names instead of logical ones. `demand_sub_periods` > 1
    makes the demand sliding. `contracted_w` > 0 records excess power. `power_limit_w` > 0 watches
    the import power. `overvoltage_mv`, `undervoltage_mv` and `voltage_delay_s` (from 0 on) stand in
    for the model's limits of a phase's voltage, `shift_limit_s` (from 0 on) for how far the clock
    is shifted in silence. `relay_rates`: rates in which the load relays are on; empty leaves them
    to commands. `profiles`: what was set in the running meter, over what was ordered.
    """

    zone: str = "Europe/Budapest"
    period_s: int = 0
    layout: str = ""
    variant: str = ""
    calendar: CalendarPlan | None = None
    mechanisms: tuple[tuple[Level, Mechanism], ...] = ()
    suite: int = 0
    encryption: bool = True
    iec62056_21: str = ""
    short_names: bool = False
    demand_sub_periods: int = 0
    contracted_w: int = 0
    power_limit_w: int = 0
    overcurrent_ma: int = 0
    overvoltage_mv: int = 0
    undervoltage_mv: int = 0
    voltage_delay_s: int = -1
    shift_limit_s: int = -1
    alarms: bool = False
    un_v: int = 0
    prepayment: bool = False
    relay_rates: tuple[int, ...] = ()
    profiles: tuple[ProfileChoice, ...] = ()


def default_calendar(rates: int) -> CalendarPlan:
    """Two rates where there are two: rate 1 from 6 to 22 o'clock, rate 2 at night and on Sunday."""
    if rates < 2:
        return CalendarPlan()
    work = DayProfile(1, (Switch(0, 2), Switch(6 * 3600, 1), Switch(22 * 3600, 2)))
    rest = DayProfile(2, (Switch(0, 2),))
    week = WeekProfile(b"\x01", (1, 1, 1, 1, 1, 1, 2))
    season = Season(b"\x01", DatePattern(month=1, day=1), b"\x01")
    return CalendarPlan(b"standard", (season,), (week,), (work, rest))


def chosen_profile(model: Model, options: MeterOptions, profile: Profile) -> Profile:
    """A load profile as it was ordered (only the main one can be) and set."""
    ordered = _ordered_profile(model, options, profile) if profile.key == "load" else profile
    choice = next((c for c in options.profiles if c.key == profile.key), None)
    if choice is None:
        return ordered
    return replace(
        ordered,
        columns=choice.columns or ordered.columns,
        period_s=choice.period_s or ordered.period_s,
    )


def _ordered_profile(model: Model, options: MeterOptions, profile: Profile) -> Profile:
    columns, capacity, period_s = profile.columns, profile.capacity, profile.period_s
    if options.layout:
        if options.layout not in profile.layouts:
            known = ", ".join(sorted(profile.layouts)) or "one alone: leave it out"
            msg = f"{model.name} has no load profile {options.layout!r}; it has {known}"
            raise ModelError(msg)
        columns = profile.layouts[options.layout]
    if options.variant:
        if options.variant not in profile.variants:
            msg = f"{model.name} has no memory {options.variant!r}; it has " + ", ".join(
                sorted(profile.variants)
            )
            raise ModelError(msg)
        capacity = profile.variants[options.variant]
    if options.period_s:
        if options.period_s not in profile.periods_s:
            wanted = ", ".join(str(p) for p in profile.periods_s)
            msg = f"{model.name} profiles every {wanted} s, not {options.period_s} s"
            raise ModelError(msg)
        period_s = options.period_s
    return replace(profile, columns=columns, capacity=capacity, period_s=period_s)


def stored_source(source: Source) -> Source:
    """The source under which the books keep it."""
    if source.kind is Kind.COUNTER and source.name in STORED_AS:
        return Source(Kind.COUNTER, name=STORED_AS[source.name][0])
    return source


def column_sources(model: Model, columns: Iterable[Column]) -> tuple[Source, ...]:
    """What the books store for captured columns; times of maxima come along by themselves."""
    rows = model.captured_rows()
    found: dict[Source, None] = {}
    for column in columns:
        row: Row = rows[column.obis]
        found[stored_source(column.source or row.source)] = None
    return tuple(found)


def _demands(model: Model, options: MeterOptions) -> tuple[DemandPlan, ...]:
    demand = model.demand
    if demand is None:
        return ()
    sub_periods = options.demand_sub_periods or demand.sub_periods
    return tuple(
        DemandPlan(
            measure,
            period_s=demand.period_s // sub_periods,
            sub_periods=sub_periods,
            contracted_mw=options.contracted_w * 1000 if measure is Measure.A_IMPORT else 0,
        )
        for measure in demand.measures
    )


def phase_voltage_mv(model: Model, options: MeterOptions) -> int:
    """The nominal voltage of a phase in mV."""
    if options.un_v:
        return options.un_v * 1000
    return 230_000 if 230 in model.ratings.un_v else model.ratings.un_v[0] * 1000


def _thresholds(model: Model, options: MeterOptions) -> tuple[ThresholdPlan, ...]:
    limits, un_mv = model.limits, phase_voltage_mv(model, options)
    gap = limits.hysteresis_permille
    plans: list[ThresholdPlan] = []

    def volt(permille: int) -> int:
        return un_mv * permille // 1000

    high_mv = options.overvoltage_mv or volt(limits.overvoltage_permille)
    low_mv = options.undervoltage_mv or volt(limits.undervoltage_permille)
    delay = limits.voltage_delay_s if options.voltage_delay_s < 0 else options.voltage_delay_s
    for phase in model.phases:
        source = Source(Kind.INSTANT, Measure.U, phase)
        plans.append(
            ThresholdPlan(
                source,
                high_mv,
                "overvoltage_start",
                "overvoltage_end",
                release=high_mv - volt(gap),
                delay_s=delay,
                release_delay_s=delay,
            )
        )
        plans.append(
            ThresholdPlan(
                source,
                low_mv,
                "undervoltage_start",
                "undervoltage_end",
                above=False,
                release=low_mv + volt(gap),
                delay_s=delay,
                release_delay_s=delay,
            )
        )
        over_ma = options.overcurrent_ma or limits.overcurrent_ma
        if over_ma:
            plans.append(
                ThresholdPlan(
                    Source(Kind.INSTANT, Measure.I, phase),
                    over_ma,
                    "overcurrent_start",
                    "overcurrent_end",
                    release=over_ma * 95 // 100,
                )
            )
    limit_w = options.power_limit_w or limits.power_limit_w
    if limit_w:
        plans.append(
            ThresholdPlan(
                Source(Kind.INSTANT, Measure.A_IMPORT),
                limit_w * 1000,
                "power_limit_exceeded",
                "power_limit_ended",
                release=limit_w * 950,
            )
        )
    return tuple(plans)


def _billing(model: Model, billing: Billing) -> BillingPlan:
    return BillingPlan(
        billing.key,
        column_sources(model, billing.columns),
        billing.entries,
        TRIGGERS[billing.stop],
        resets_demand=billing.resets_demand,
        by_command=billing.resets_demand,
    )


def _profile(model: Model, options: MeterOptions, profile: Profile) -> ProfilePlan:
    chosen = chosen_profile(model, options, profile)
    sources = column_sources(model, chosen.columns)
    return ProfilePlan(chosen.key, sources, chosen.period_s, chosen.records())


@lru_cache(maxsize=256)
def _plan(model_key: str, options: MeterOptions) -> BookPlan:
    model = _MODELS[model_key]
    clock = model.clock
    shift_limit_s = clock.shift_limit_s if options.shift_limit_s < 0 else options.shift_limit_s
    inputs = model.pulse_inputs() + model.mbus_channels()
    return BookPlan(
        zone=options.zone,
        rates=max(model.tariffs.rates, 1),
        calendar=options.calendar or default_calendar(model.tariffs.rates),
        clock=ClockPlan(0, clock.reserve_s, shift_limit_s),
        demands=_demands(model, options),
        profiles=tuple(_profile(model, options, profile) for profile in model.profiles),
        billings=tuple(_billing(model, billing) for billing in model.billing),
        logs=tuple(LogPlan(log.key, log.entries, frozenset(log.codes)) for log in model.logs),
        counters=COUNTERS,
        thresholds=_thresholds(model, options),
        pulse_inputs=inputs,
        long_outage_s=model.limits.long_outage_s,
        reset_lockout_s=model.demand.lockout_s if model.demand else 0,
        phases=tuple(model.phases),
    )


_MODELS: dict[str, Model] = {}


def plan_of(model: Model, options: MeterOptions | None = None) -> BookPlan:
    """The books of a meter of this model; the same object for the same options."""
    known = _MODELS.setdefault(model.key, model)
    if known is not model:
        _MODELS[model.key] = model
        _plan.cache_clear()
    return _plan(model.key, options or MeterOptions())
