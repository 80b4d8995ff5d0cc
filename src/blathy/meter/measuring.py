"""How a meter measures: what is set in it about its connection and its limits, as sources and
books take it.

Ratios, transformer parameters and the measured errors of current transformers go to the source that
measures (`constants_of`); limits of voltage and power that were written at a port go into the plan
of the books (`options_as_set`), over what was ordered with the meter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.control.limiter import SmartDisconnectPlan
from blathy.cosem import axdr
from blathy.meter.daylight_saving import zone_as_set
from blathy.meter.plan import MeterOptions, phase_voltage_mv
from blathy.metrology.conditions import DEFAULT_LIMITS, Condition, Limit
from blathy.metrology.sensors import Calibration, CalibrationPoint
from blathy.metrology.transformer import LossParameters, Ratios
from blathy.metrology.voltage_events import VoltageEventRules
from blathy.models.current_inputs import unpack_curve
from blathy.models.model import Model, Parameter
from blathy.obis import Obis
from blathy.sources.constants import Constants, connect
from blathy.sources.feed import Feed
from blathy.sources.measured import CONDITION_NAMES, PastSource, SampledSource

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

OF_CONNECTION: Final = (
    "ct_", "vt_", "xm_milliohm", "rfe_milliohm", "rcu_microohm", "xs_microohm",
)  # fmt: skip
OF_BOOKS: Final = frozenset({
    "voltage_high", "voltage_low", "voltage_high_v", "voltage_low_v", "voltage_delay_s",
    "power_limit", "power_threshold_w", "contracted_power_w", "clock_shift_limit_s",
})  # fmt: skip
STAGED_LIMIT: Final = "disconnect_limit_a"
STAGES: Final = (
    *(f"disconnect_k{n}" for n in (1, 2, 3)),
    *(f"disconnect_t{n}_s" for n in (1, 2, 3)),
)
"""Factors in tenths, and times, of the staged current limit."""


def parameter_named(model: Model, name: str) -> Parameter | None:
    """The parameter of a model by its name."""
    return next((p for p in model.parameters if p.name == name), None)


def _key(obis: Obis) -> bytes:
    return bytes(obis) + b"\x02"


def _set_number(model: Model, settings: Mapping[bytes, bytes], name: str) -> int | None:
    """What was written to a parameter; None where it stands as delivered or is not there."""
    parameter = parameter_named(model, name)
    raw = None if parameter is None else settings.get(_key(parameter.obis))
    return None if raw is None else int(axdr.decode(raw).value)


def options_as_set(
    model: Model, options: MeterOptions, settings: Mapping[bytes, bytes]
) -> MeterOptions:
    """The options with the limits, and the time zone, that were written at a port."""

    def number(name: str) -> int | None:
        return _set_number(model, settings, name)

    un_mv = phase_voltage_mv(model, options)
    found: dict[str, int] = {}
    for option, permille, volts in (
        ("overvoltage_mv", "voltage_high", "voltage_high_v"),
        ("undervoltage_mv", "voltage_low", "voltage_low_v"),
    ):
        if (share := number(permille)) is not None:
            found[option] = un_mv * share // 1000
        elif (tenths := number(volts)) is not None:
            found[option] = tenths * 100
    for option, name in (
        ("voltage_delay_s", "voltage_delay_s"),
        ("power_limit_w", "power_limit"),
        ("power_limit_w", "power_threshold_w"),
        ("contracted_w", "contracted_power_w"),
        ("shift_limit_s", "clock_shift_limit_s"),
    ):
        if (value := number(name)) is not None:
            found[option] = value
    zone = zone_as_set(Zone(options.zone), settings).name
    return replace(options, zone=zone, **found)  # type: ignore[arg-type]


def staged_limit(meter: Meter, **instead: int) -> SmartDisconnectPlan:
    """The staged current limit as it is set, with other numbers `instead`; ValueError where they
    make none."""
    numbers = [instead.get(name, number_set(meter, name)) for name in STAGES]
    k1, k2, k3, t1_s, t2_s, t3_s = numbers
    return SmartDisconnectPlan(
        limit=number_set(meter, STAGED_LIMIT) * 1000,
        factors_milli=(k1 * 100, k2 * 100, k3 * 100),
        times_s=(t1_s, t2_s, t3_s),
    )


def staged_limit_on(meter: Meter) -> SmartDisconnectPlan | None:
    """The same; None where it is off or the meter has none."""
    return staged_limit(meter) if number_set(meter, STAGED_LIMIT) else None


# --- constants ----------------------------------------------------------------------------------


def number_set(meter: Meter, name: str) -> int:
    """What a parameter says now: as written, or as delivered; 0 where there is none."""
    value = _set_number(meter.model, meter.settings, name)
    parameter = parameter_named(meter.model, name)
    if value is None and parameter is not None:
        value = int(parameter.default) if isinstance(parameter.default, int) else 0
    return value or 0


def constants_of(meter: Meter) -> Constants:
    """What the meter's source measures with."""
    model = meter.model

    def number(name: str) -> int:
        return number_set(meter, name)

    ratios = Ratios(max(number("ct_ratio"), 1), 1, max(number("vt_ratio"), 1), 1)
    losses = None
    if parameter_named(model, "rcu_microohm") is not None:
        rfe, xm = number("rfe_milliohm"), number("xm_milliohm")
        losses = LossParameters(
            r_cu_ohm=number("rcu_microohm") / 1e6,
            x_s_ohm=number("xs_microohm") / 1e6,
            r_fe_ohm=rfe / 1e3 if rfe else float("inf"),
            x_m_ohm=xm / 1e3 if xm else float("inf"),
        )
    inputs = ct_inputs(model)
    full_scale_a = model.ratings.current_full_scale_ma / 1000
    rated = tuple(number(f"ct_{n}_nominal") for n in inputs)
    return Constants(
        ratios,
        losses,
        tuple(max(a, 1) / full_scale_a for a in rated),
        tuple(_calibration(meter, n, max(a, 1)) for n, a in zip(inputs, rated, strict=True)),
    )


def ct_inputs(model: Model) -> tuple[int, ...]:
    """Numbers of the current inputs that have constants of their own."""
    names = (p.name for p in model.parameters)
    return tuple(
        int(name.split("_")[1]) for name in names if name.startswith("ct_") and "_nominal" in name
    )


def _octets(meter: Meter, name: str) -> bytes:
    parameter = parameter_named(meter.model, name)
    raw = None if parameter is None else meter.settings.get(_key(parameter.obis))
    return b"" if raw is None else bytes(axdr.decode(raw).value)


def _calibration(meter: Meter, channel: int, rated_a: float) -> Calibration | None:
    serial = _octets(meter, f"ct_{channel}_serial")
    points = curve_points(_octets(meter, f"ct_{channel}_constants"))
    if not serial or not points:
        return None
    return Calibration(serial.decode("ascii", "replace"), rated_a, points)


def curve_points(octets: bytes) -> tuple[CalibrationPoint, ...]:
    """The points of a transformer's errors from its octets; () where they are none."""
    return tuple(CalibrationPoint(*point) for point in unpack_curve(octets))


# --- what the source watches --------------------------------------------------------------------


def watched_by(model: Model) -> tuple[float, dict[Condition, Limit], VoltageEventRules]:
    """The current that conditions are judged by, at the terminals; limits; voltage events."""
    limits, ratings = model.limits, model.ratings
    reference_a = (ratings.current_full_scale_ma or ratings.i_ref_ma[-1]) / 1000
    most_a = (ratings.current_full_scale_ma * 1.2 or ratings.i_max_ma) / 1000
    watched = {c: DEFAULT_LIMITS[c] for c in CONDITION_NAMES}
    watched[Condition.OVERCURRENT] = Limit(100 * most_a / reference_a, 5.0)
    watched[Condition.VOLTAGE_UNBALANCE] = Limit(limits.u_asymmetry_permille / 10, 0.2, 5.0)
    watched[Condition.CURRENT_UNBALANCE] = Limit(limits.i_asymmetry_permille / 10, 5.0, 10.0)
    watched[Condition.THD_U] = Limit(limits.thd_u_permille / 10, 0.5, 10.0)
    if limits.overcurrent_ma:
        del watched[Condition.OVERCURRENT]  # the books judge it
    rules = VoltageEventRules(
        dip=limits.sag_permille / 1000,
        swell=limits.swell_permille / 1000,
        hysteresis=limits.hysteresis_permille / 1000,
    )
    return reference_a, watched, rules


def sampled_source(
    meter: Meter, feed: Feed, past: PastSource, *, ignored: frozenset[Condition] = frozenset()
) -> SampledSource:
    """A source for this meter: it measures with the meter's constants and watches what its model
    does, with the model's limits."""
    source = SampledSource(feed, past, ignored=ignored)
    adapt(source, meter)
    return source


def adapt(source: object, meter: Meter) -> None:
    """Let a source measure for this meter: by the constants that are set in it and, where it
    samples, by its model's limits."""
    connect(source, meter.constants)
    if isinstance(source, SampledSource):
        source.nominal_i_a, source.limits, source.rules = watched_by(meter.model)


def set_parameter(meter: Meter, name: str, value: int | bytes) -> None:
    """Set a parameter as the installer does; durable with the meter's next commit."""
    parameter = parameter_named(meter.model, name)
    if parameter is None:
        raise ValueError(f"{meter.model.name} has no parameter {name}")
    data = axdr.Data(axdr.DataType(parameter.data_type), value)
    meter.save_setting(_key(parameter.obis), axdr.encode(data))
    meter.parameter_changed(name)
