"""The type tests in software: every load point and influence quantity of a meter's accuracy
classes.

Signals with known energy go through a sensor model and the measuring engine, as they would through
a meter on a bench; the percentage error of the energy counted in whole seconds is held against the
class's limits (`accuracy_limits`). Influence quantities are judged by the variation against the
same load without them. Starting current, no-load and the meter constant are tested on the registers
and the pulse output.

The true energy of sinusoidal loads is the closed form; of chopped and half-wave loads it is the
mean of the true samples' product, which for periodic samples is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.accuracy_limits import (
    AccuracyClass,
    Energy,
    Factor,
    no_load_minutes,
)
from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.energy import (
    A_EXPORT,
    A_IMPORT,
    R1,
    R2,
    R3,
    R4,
    EnergyCounter,
    EnergyRules,
    PulseOutput,
    creep_threshold_w,
)
from blathy.metrology.half_cycle import HalfCycleMeter
from blathy.metrology.sensors import REFERENCE_C, Calibration, Sensor, calibrate

Floats = NDArray[np.float64]
SETTLE_S: Final = 1
MEASURE_S: Final = 2
TAIL_S: Final = 1
RECORD_S: Final = SETTLE_S + MEASURE_S + TAIL_S
NO_LOAD_MINUTES_MAX: Final = 30.0
UWH_PER_J: Final = 1e6 / 3600.0
_SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_TEMPERATURES_C: Final = (REFERENCE_C - 30.0, REFERENCE_C + 30.0)


@dataclass(frozen=True, slots=True)
class TypeTestPlan:
    """The meter on the bench. `i_ref_a` is Ib (direct) or In (through transformers); sensors see
    primary values of the meter's own terminals."""

    name: str
    phases: int
    un_v: float
    i_ref_a: float
    i_max_a: float
    active: AccuracyClass
    reactive: AccuracyClass | None
    voltage_sensor: Sensor
    current_sensor: Sensor
    imp_per_kwh: int
    calibrated: bool = True
    nominal_hz: int = 50
    sample_rate_hz: float = 16_000.0
    starting_a: float = 0.0
    seed: int = 1

    @property
    def starting_current_a(self) -> float:
        """The starting current to prove: the model's own or the class's."""
        return self.starting_a or self.active.starting_share * self.i_ref_a


@dataclass(frozen=True, slots=True)
class TypeTestPoint:
    """One row of the report. `error_percent` is an error or, for influences, a variation;
    `limit_percent` None where the result is a plain yes or no (`passed`)."""

    group: str
    test: str
    energy: Energy
    current_a: float
    factor: str
    error_percent: float | None
    limit_percent: float | None
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class TypeTestReport:
    """All points of one meter."""

    plan: TypeTestPlan
    points: tuple[TypeTestPoint, ...]

    @property
    def passed(self) -> bool:
        """True when no limit is broken."""
        return all(point.passed for point in self.points)


@dataclass(frozen=True, slots=True)
class Load:
    """A bench setting: rms values, angle of the current (positive lags) and what is unusual about
    it.

    `connected` are the phases whose current flows, `energised` those that have voltage. `shape`
    names the current's form: sine, fifth, half_wave, fired, burst.
    """

    current_a: float
    angle_deg: float = 0.0
    u_v: float = 0.0
    frequency_hz: float = 0.0
    connected: tuple[int, ...] = (0, 1, 2)
    energised: tuple[int, ...] = (0, 1, 2)
    reversed_sequence: bool = False
    shape: str = "sine"
    temperature_c: float = REFERENCE_C


@dataclass(frozen=True, slots=True)
class Reading:
    """Energies of the measured seconds in uWh (uvarh), measured and true."""

    active_u: int
    reactive_u: int
    true_active_u: float
    true_reactive_u: float


class Bench:
    """Feeds loads through sensors and engine and reads the registers back."""

    def __init__(self, plan: TypeTestPlan) -> None:
        self.plan = plan
        wiring = Wiring.THREE_PHASE_4_WIRE if plan.phases == 3 else Wiring.ONE_PHASE
        self.connection = Connection(
            plan.sample_rate_hz, wiring, plan.nominal_hz, plan.un_v, plan.i_ref_a
        )
        creep = creep_threshold_w(plan.un_v, plan.starting_current_a)
        self.rules = EnergyRules(creep_p_w=creep, creep_q_var=creep)
        self._rng = np.random.default_rng(plan.seed)

        self._readings: dict[Load, Reading] = {}
        self._constants = self._adjust() if plan.calibrated else None

    def _adjust(self) -> tuple[Calibration, Calibration]:
        """Adjust the meter as a factory does: constants of both sensors from a quiet reference."""
        plan = self.plan
        turns = plan.nominal_hz * np.arange(round(plan.sample_rate_hz)) / plan.sample_rate_hz
        wave = np.sqrt(2.0) * np.sin(2 * np.pi * turns)

        def constants(
            sensor: Sensor, name: str, nominal: float, shares: list[float]
        ) -> Calibration:
            runs = []
            for share in shares:
                true = share * nominal * wave
                seen = sensor.apply(true, plan.sample_rate_hz, nominal_hz=plan.nominal_hz)
                runs.append((true, seen))
            return calibrate(name, nominal, runs, plan.sample_rate_hz, plan.nominal_hz)

        top = plan.i_max_a / plan.i_ref_a
        shares = [0.05, 0.2, 1.0, *([top] if top > 1.0 else [])]
        return (
            constants(plan.voltage_sensor, "U", plan.un_v, [0.8, 1.0, 1.2]),
            constants(plan.current_sensor, "I", plan.i_ref_a, shares),
        )

    def run(self, load: Load) -> Reading:
        """Energies over MEASURE_S whole seconds of a steady load; one seen before is remembered."""
        reading = self._readings.get(load)
        if reading is None:
            reading = self._readings[load] = self._measure(load)
        return reading

    def _measure(self, load: Load) -> Reading:
        true_u, true_i = self.signals(load, self._period_s(load))
        frames = self._repeated(self.sensed(true_u, true_i, load), RECORD_S)
        meter, counter = HalfCycleMeter(self.connection), EnergyCounter(self.connection, self.rules)
        parts = [counter.add(meter.push(frames)), counter.finish(meter.finish())]
        energy = np.concatenate([p.energy_u for p in parts])[SETTLE_S : SETTLE_S + MEASURE_S, 0]
        power_w = float((true_u * true_i).sum(axis=0).mean())
        reactive = energy[:, R1] + energy[:, R2] - energy[:, R3] - energy[:, R4]
        return Reading(
            int((energy[:, A_IMPORT] - energy[:, A_EXPORT]).sum()),
            int(reactive.sum()),
            power_w * MEASURE_S * UWH_PER_J,
            self._true_reactive(load) * MEASURE_S * UWH_PER_J,
        )

    def _true_reactive(self, load: Load) -> float:
        u_v = load.u_v or self.plan.un_v
        live = [k for k in self._phases(load.connected) if k in load.energised]
        return len(live) * u_v * load.current_a * float(np.sin(np.radians(load.angle_deg)))

    def _period_s(self, load: Load) -> int:
        """Whole seconds after which the load repeats: frequencies are fifths of a hertz."""
        if load.shape == "burst":
            return 2
        return 1 if float(load.frequency_hz or self.plan.nominal_hz).is_integer() else 5

    def _repeated(self, frames: Floats, seconds: int) -> Floats:
        """So many seconds of frames that repeat, noise and all."""
        rows = round(self.plan.sample_rate_hz) * seconds
        return np.tile(frames, (-(-rows // len(frames)), 1))[:rows]

    def record(self, load: Load, seconds: int) -> Floats:
        """So many seconds of frames of a load."""
        frames = self.sensed(*self.signals(load, self._period_s(load)), load)
        return self._repeated(frames, seconds)

    def _phases(self, wanted: tuple[int, ...]) -> list[int]:
        return [k for k in wanted if k < self.plan.phases]

    def signals(self, load: Load, seconds: int) -> tuple[Floats, Floats]:
        """True voltages and currents (phases, samples)."""
        plan = self.plan
        frequency = load.frequency_hz or plan.nominal_hz
        n = round(plan.sample_rate_hz) * seconds
        turns: Floats = frequency * np.arange(n, dtype=np.float64) / plan.sample_rate_hz
        u, i = np.zeros((plan.phases, n)), np.zeros((plan.phases, n))
        order = (0, 2, 1) if load.reversed_sequence else (0, 1, 2)
        for k in range(plan.phases):
            theta: Floats = 2 * np.pi * (turns - order[k] / 3.0)
            if k in load.energised:
                u[k] = np.sqrt(2.0) * (load.u_v or plan.un_v) * _voltage(theta, load.shape)
            if k in load.connected:
                lagging = theta - np.radians(load.angle_deg)
                i[k] = (
                    np.sqrt(2.0)
                    * load.current_a
                    * _current(lagging, turns - order[k] / 3.0, load.shape)
                )
        return u, i

    def sensed(self, u: Floats, i: Floats, load: Load) -> Floats:
        """Frames (samples, channels) as the converter delivers them.

        A sensor works on whole seconds: the steady state of each is what it is told it is.
        """
        plan, warm = self.plan, load.temperature_c
        channels: list[Floats] = []
        for kind, sensor, rows in ((0, plan.voltage_sensor, u), (1, plan.current_sensor, i)):
            for row in rows:
                seen = sensor.apply(
                    row,
                    plan.sample_rate_hz,
                    nominal_hz=plan.nominal_hz,
                    temperature_c=warm,
                    rng=self._rng,
                )
                if self._constants and seen.any():
                    constants = self._constants[kind]
                    seen = constants.correct(seen, plan.sample_rate_hz, plan.nominal_hz)
                channels.append(seen)
        return np.stack(channels, axis=1)


def _voltage(theta: Floats, shape: str) -> Floats:
    wave = np.sin(theta)
    return wave + 0.1 * np.sin(5 * theta) if shape == "fifth" else wave


def _current(theta: Floats, turns: Floats, shape: str) -> Floats:
    wave = np.sin(theta)
    if shape == "fifth":
        return wave + 0.4 * np.sin(5 * theta)
    if shape == "half_wave":
        return np.maximum(wave, 0.0)
    if shape == "fired":
        return np.where((turns * 2 % 1.0) >= 0.5, wave, 0.0)
    if shape == "burst":
        return np.where((np.floor(turns) % 4) < 2, wave, 0.0)
    return wave


# --- the programme ---


def type_test(
    plan: TypeTestPlan, progress: Callable[[str, int, int], None] | None = None
) -> TypeTestReport:
    """Run the whole programme. `progress(what, done, total)` is called before every point."""
    bench = Bench(plan)
    steps = list(_programme(plan))
    points: list[TypeTestPoint] = []
    for done, (what, step) in enumerate(steps):
        if progress:
            progress(what, done, len(steps))
        points += step(bench)
    return TypeTestReport(plan, tuple(points))


Step = Callable[[Bench], list[TypeTestPoint]]


def _programme(plan: TypeTestPlan) -> Iterator[tuple[str, Step]]:
    for accuracy in (plan.active, plan.reactive):
        if accuracy is None:
            continue
        for single in (None, *range(plan.phases)) if plan.phases > 1 else (None,):
            for share, current in _currents(plan):
                for factor in Factor:
                    limit = accuracy.limit_percent(share, factor, single_phase=single is not None)
                    if limit is not None:
                        yield (
                            "load points",
                            _load_step(plan, accuracy, current, factor, single, limit),
                        )
        for name in accuracy.influence:
            if plan.phases == 1 and name in {"phase_sequence", "voltage_unbalance"}:
                continue
            yield f"influence of {name.replace('_', ' ')}", _influence_step(plan, accuracy, name)
    yield "starting current", _starting
    yield "no-load", _no_load
    yield "meter constant", _meter_constant


def _currents(plan: TypeTestPlan) -> list[tuple[float, float]]:
    """(share of the reference current, amperes), up to Imax."""
    top = plan.i_max_a / plan.i_ref_a
    shares = [s for s in _SHARES if s < top]
    shares += [s for s in (0.5 * top, top) if s not in shares]
    return [(s, s * plan.i_ref_a) for s in sorted(shares)]


def _angle_deg(accuracy: AccuracyClass, factor: Factor) -> float:
    value, sign = factor.value
    if accuracy.energy is Energy.ACTIVE:
        return sign * float(np.degrees(np.arccos(value)))
    return sign * float(np.degrees(np.arcsin(value)))


def _factor_text(accuracy: AccuracyClass, factor: Factor) -> str:
    value, sign = factor.value
    name = "cos φ" if accuracy.energy is Energy.ACTIVE else "sin φ"
    return f"{name} {value:g}" + ("" if value == 1 else " ind" if sign > 0 else " cap")


def _error_percent(plan: TypeTestPlan, reading: Reading, accuracy: AccuracyClass) -> float:
    active = accuracy.energy is Energy.ACTIVE
    seen = reading.active_u if active else reading.reactive_u
    true = reading.true_active_u if active else reading.true_reactive_u
    full_scale = plan.phases * plan.un_v * plan.i_ref_a * MEASURE_S * UWH_PER_J
    return (seen - true) / (full_scale if accuracy.of_full_scale else true) * 100.0


def _load_step(
    plan: TypeTestPlan,
    accuracy: AccuracyClass,
    current_a: float,
    factor: Factor,
    single: int | None,
    limit_percent: float,
) -> Step:
    def step(bench: Bench) -> list[TypeTestPoint]:
        connected = (0, 1, 2) if single is None else (single,)
        load = Load(current_a, _angle_deg(accuracy, factor), connected=connected)
        error = _error_percent(plan, bench.run(load), accuracy)
        group = "balanced load" if single is None else f"load on L{single + 1} only"
        if plan.phases == 1:
            group = "load"
        return [
            TypeTestPoint(
                group, "error", accuracy.energy, current_a, _factor_text(accuracy, factor),
                error, limit_percent, abs(error) <= limit_percent,
            )
        ]  # fmt: skip

    return step


def _variations(plan: TypeTestPlan, name: str) -> list[tuple[str, Load, Load]]:
    """(what, load with the influence, the same without), currents as the standards choose them."""
    ref, half, top = plan.i_ref_a, 0.5 * plan.i_max_a, plan.i_max_a
    if name == "voltage":
        return [
            (f"U {percent:+d} %", Load(ref, u_v=plan.un_v * (1 + percent / 100)), Load(ref))
            for percent in (-10, 10)
        ]
    if name == "frequency":
        return [
            (
                f"f {percent:+d} %",
                Load(ref, frequency_hz=plan.nominal_hz * (1 + percent / 100)),
                Load(ref),
            )
            for percent in (-2, 2)
        ]
    if name == "phase_sequence":
        share = 0.1 * ref
        return [("reversed phase sequence", Load(share, reversed_sequence=True), Load(share))]
    if name == "voltage_unbalance":
        return [
            ("L3 without voltage", Load(ref, energised=(0, 1)), Load(ref)),
            ("L2 and L3 without voltage", Load(ref, energised=(0,)), Load(ref)),
        ]
    if name == "fifth_harmonic":
        return [("U 10 %, I 40 % of 5th harmonic", Load(half, shape="fifth"), Load(half))]
    if name == "half_wave":
        return [("half-wave current", Load(top / np.sqrt(2.0), shape="half_wave"), Load(top / 2))]
    if name == "fired_load":
        return [("current fired at 90°", Load(half, shape="fired"), Load(half))]
    if name == "burst":
        return [("two cycles on, two off", Load(half, shape="burst"), Load(half))]
    assert name == "temperature_per_k"
    return [(f"{t:+.0f} °C", Load(ref, temperature_c=t), Load(ref)) for t in _TEMPERATURES_C]


def _influence_step(plan: TypeTestPlan, accuracy: AccuracyClass, name: str) -> Step:
    def step(bench: Bench) -> list[TypeTestPoint]:
        points = []
        factors = [Factor.UNITY]
        if name in {"voltage", "frequency", "temperature_per_k"}:
            factors.append(Factor.HALF_INDUCTIVE)
        for factor in factors:
            limit = accuracy.influence[name][factor is Factor.HALF_INDUCTIVE]
            angle = _angle_deg(accuracy, factor)
            for what, load, without in _variations(plan, name):
                turned = _turned(load, angle), _turned(without, angle)
                errors = [_error_percent(plan, bench.run(one), accuracy) for one in turned]
                variation = errors[0] - errors[1]
                if name == "temperature_per_k":
                    variation /= abs(load.temperature_c - REFERENCE_C)
                points.append(
                    TypeTestPoint(
                        "influence", what, accuracy.energy, load.current_a,
                        _factor_text(accuracy, factor), variation, limit, abs(variation) <= limit,
                        "% per K" if name == "temperature_per_k" else "variation",
                    )
                )  # fmt: skip
        return points

    return step


def _turned(load: Load, angle_deg: float) -> Load:
    return Load(
        load.current_a, angle_deg, load.u_v, load.frequency_hz, load.connected, load.energised,
        load.reversed_sequence, load.shape, load.temperature_c,
    )  # fmt: skip


def _starting(bench: Bench) -> list[TypeTestPoint]:
    """At the starting current the meter starts and goes on registering."""
    plan = bench.plan
    reading = bench.run(Load(plan.starting_current_a))
    share = reading.active_u / reading.true_active_u
    return [
        TypeTestPoint(
            "starting and no-load", "starts and registers", Energy.ACTIVE,
            plan.starting_current_a, "cos φ 1", (share - 1) * 100, None, 0.5 <= share <= 1.5,
        )
    ]  # fmt: skip


def _no_load(bench: Bench) -> list[TypeTestPoint]:
    """At 1.15 Un without current at most one pulse in the standard's time."""
    plan = bench.plan
    u_test = 1.15 * plan.un_v
    minutes = no_load_minutes(
        plan.active, plan.imp_per_kwh, plan.phases, u_test, plan.i_max_a, plan.starting_current_a
    )
    minutes = min(minutes, NO_LOAD_MINUTES_MAX)
    load = Load(0.0, u_v=u_test, connected=())
    chunk_s = 10
    frames = bench.record(load, chunk_s)
    meter, counter = HalfCycleMeter(bench.connection), EnergyCounter(bench.connection, bench.rules)
    output, pulses = PulseOutput(plan.imp_per_kwh), 0
    for _ in range(int(np.ceil(minutes * 60 / chunk_s))):
        seconds = counter.add(meter.push(frames))
        energy = seconds.energy_u[:, 0, A_IMPORT] + seconds.energy_u[:, 0, A_EXPORT]
        pulses += int(output.pulses(energy).sum())
    return [
        TypeTestPoint(
            "starting and no-load", "no-load", Energy.ACTIVE, 0.0, "I = 0, 1.15 Un",
            None, None, pulses <= 1, f"{pulses} pulses in {minutes:.1f} min",
        )
    ]  # fmt: skip


def _meter_constant(bench: Bench) -> list[TypeTestPoint]:
    """The pulses of the test output agree with the register to less than one pulse."""
    plan = bench.plan
    load = Load(plan.i_max_a)
    frames = bench.record(load, 10)
    meter, counter = HalfCycleMeter(bench.connection), EnergyCounter(bench.connection, bench.rules)
    output, pulses, energy = PulseOutput(plan.imp_per_kwh), 0, 0
    for _ in range(6):
        seconds = counter.add(meter.push(frames))
        pulses += int(output.pulses(seconds.energy_u[:, 0, A_IMPORT]).sum())
        energy += int(seconds.energy_u[:, 0, A_IMPORT].sum())
    expected = energy * plan.imp_per_kwh / 1e9
    return [
        TypeTestPoint(
            "meter constant", f"{plan.imp_per_kwh} imp/kWh", Energy.ACTIVE, plan.i_max_a, "cos φ 1",
            None, None, 0 <= expected - pulses < 1, f"{pulses} pulses, register {expected:.3f}",
        )
    ]  # fmt: skip
