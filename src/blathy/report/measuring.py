"""A recording measured: all quantities of its whole length, its course, spectrum and events.

`measure` runs the measuring engine over a recording block by block. What it keeps does not grow
with the length of the recording: sums of half cycles (exact for any quantity that half cycles add
up to), mean squares of the spectrum, a course of at most `TREND_BINS` points, the first
`EVENTS_MAX` events and a short piece of the waveform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S
from blathy.metrology.conditions import DEFAULT_LIMITS, Condition, ConditionChange
from blathy.metrology.connection import Wiring
from blathy.metrology.engine import Engine, FlickerValue, Measured, Measuring
from blathy.metrology.half_cycle import COASTING, PARTIAL, HalfCycles
from blathy.metrology.quantities import Quantities, merge
from blathy.metrology.spectrum import ORDER_MAX, Spectra
from blathy.metrology.voltage_events import FLAGGED, VoltageEvent, VoltageEventKind
from blathy.sources.recorded_point import RecordedPoint, Watch

Floats = NDArray[np.float64]

TREND_BINS: Final = 1024
EVENTS_MAX: Final = 1000
EXCERPT_CYCLES: Final = 4
BLOCK_S: Final = 2.0
PST_S: Final = 600
THD_ORDER: Final = 40
OF_CURRENT: Final = frozenset(
    (
        Condition.OVERCURRENT, Condition.CURRENT_WITHOUT_VOLTAGE, Condition.MISSING_CURRENT,
        Condition.REVERSED_CURRENT, Condition.CURRENT_UNBALANCE,
    )
)  # fmt: skip
SIZED_BY_CURRENT: Final = frozenset((Condition.OVERCURRENT,))
"""Conditions that mean nothing without the nominal current."""


@dataclass(frozen=True, slots=True)
class PhaseValues:
    """One phase over the whole recording. None: not measured or without meaning."""

    name: str
    u_v: float
    u_dc_v: float
    u_min_v: float
    u_max_v: float
    angle_u_deg: float | None
    thd_u_percent: float | None
    crest_u: float | None
    i_a: float | None
    i_dc_a: float | None
    i_max_a: float | None
    angle_i_deg: float | None
    thd_i_percent: float | None
    crest_i: float | None
    k_factor: float | None
    p_w: float | None
    q1_var: float | None
    s_va: float | None
    power_factor: float | None
    cos_phi1: float | None
    q_budeanu_var: float | None
    q_fryze_var: float | None
    q_quarter_period_var: float | None


@dataclass(frozen=True, slots=True)
class TotalValues:
    """The system over the whole recording."""

    frequency_hz: float | None
    p_w: float | None
    q1_var: float | None
    s_arithmetic_va: float | None
    s_vector_va: float | None
    s_effective_va: float | None
    power_factor: float | None
    i_neutral_a: float | None
    i_neutral_measured_a: float | None
    i_residual_a: float | None
    u_line_v: tuple[float, ...]
    u2_percent: float | None
    u0_percent: float | None
    i2_percent: float | None
    i0_percent: float | None
    sequence: str


@dataclass(frozen=True, slots=True)
class EnergyValues:
    """Registers over the whole recording in Wh, varh and VAh."""

    name: str
    a_import_wh: float
    a_export_wh: float
    r1_varh: float
    r2_varh: float
    r3_varh: float
    r4_varh: float
    e_import_vah: float
    e_export_vah: float


@dataclass(frozen=True, slots=True)
class Harmonic:
    """One order of one phase: subgroups of U and I, power and where it flows."""

    phase: str
    order: int
    u_v: float
    u_percent: float | None
    i_a: float | None
    i_percent: float | None
    p_w: float | None
    q_var: float | None
    direction: str


@dataclass(frozen=True, slots=True)
class Interharmonic:
    """The centred subgroup between the harmonics `order` and `order` + 1."""

    phase: str
    order: int
    u_v: float
    i_a: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """An event or condition. Times in s from the first sample; None for what was still there at
    the end. `extreme` in `unit`."""

    name: str
    phases: str
    start_s: float
    duration_s: float | None
    extreme: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Severity:
    """Pst of ten minutes or Plt of two hours, per phase."""

    name: str
    start_s: float
    values: tuple[float | None, ...]
    flagged: bool


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One-cycle values over time in at most `TREND_BINS` bins: (bins,), (bins, phases) each."""

    at_s: Floats
    u_v: Floats
    u_min_v: Floats
    u_max_v: Floats
    i_a: Floats
    i_max_a: Floats
    p_w: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """A piece of the waveform in V and A: (n,), (n, channels)."""

    at_s: Floats
    samples: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that was found in one recording."""

    name: str
    duration_s: float
    start_utc_ns: int | None
    sample_rate_hz: float
    wiring: str
    nominal_u_v: float
    nominal_hz: int
    currents: bool
    phases: tuple[PhaseValues, ...]
    total: TotalValues
    energies: tuple[EnergyValues, ...]
    harmonics: tuple[Harmonic, ...]
    interharmonics: tuple[Interharmonic, ...]
    order_max: int
    flicker: tuple[Severity, ...]
    events: tuple[Found, ...]
    notes: tuple[str, ...]
    course: Course
    excerpt: Excerpt
    event_excerpt: Excerpt | None


def measure(point: RecordedPoint, each: Callable[[Measured], None] | None = None) -> Measurement:
    """Measure a recording; `each` sees every piece of the engine's results as it comes."""
    return _Run(point, each).measurement()


def limits_of(point: RecordedPoint) -> dict[Condition, Any]:
    """The conditions that can be judged in this recording."""
    left_out: frozenset[Condition] = frozenset()
    if not point.nominal_i_known:
        left_out |= SIZED_BY_CURRENT
    if not point.currents:
        left_out |= OF_CURRENT
    return {c: limit for c, limit in DEFAULT_LIMITS.items() if c not in left_out}


class _Run:
    """One pass over a recording."""

    def __init__(self, point: RecordedPoint, each: Callable[[Measured], None] | None) -> None:
        connection = point.connection
        self.point = point
        self.each = each
        self.watch = Watch(point.stream.full_scale)
        conditions = limits_of(point)
        self.engine = Engine(
            connection,
            Measuring(conditions=conditions, keep_half_cycles=True),
            point.start_utc_ns or 0,
        )
        self.whole = _Whole(connection.phases, connection.sample_rate_hz)
        self.undisturbed = _SpectrumMean(connection.phases)
        self.flagged = _SpectrumMean(connection.phases)
        self.events = _Events(connection.wiring is Wiring.THREE_PHASE_3_WIRE)
        self.energy_u = np.zeros((4, 8), np.int64)
        self.flicker: list[FlickerValue] = []
        self.pushed = 0
        self.excerpts = _Excerpts(point)
        self.order_max = int(min(ORDER_MAX, point.carried_hz // (connection.nominal_hz + 7.5)))

    @property
    def spectrum(self) -> _SpectrumMean:
        """The mean without dips, swells and interruptions; with them where nothing else is."""
        return self.undisturbed if self.undisturbed.blocks else self.flagged

    def measurement(self) -> Measurement:
        point, rate = self.point, self.point.connection.sample_rate_hz
        block = max(64, round(BLOCK_S * point.stream.sample_rate_hz))
        for frames in point.frames(self.watch, block):
            if len(frames):
                self.excerpts.see(frames, self.pushed)
                self.pushed += len(frames)
                self._take(self.engine.push(frames))
        self._take(self.engine.finish())
        phases = self._phases()
        return Measurement(
            point.stream.name, self.watch.frames / point.stream.sample_rate_hz,
            point.start_utc_ns, rate, point.connection.wiring.name.lower().replace("_", " "),
            point.connection.nominal_u_v, point.connection.nominal_hz, point.currents,
            phases, self._total(), self._energies(), self._harmonics(), self._interharmonics(),
            min(self.order_max, self.spectrum.order_max), self._severities(),
            self.events.found(), self._notes(), self.whole.course(), self.excerpts.first(),
            self.excerpts.of_event,
        )  # fmt: skip

    def _take(self, measured: Measured) -> None:
        if self.each is not None:
            self.each(measured)
        if measured.half_cycles is not None:
            self.whole.add(measured.half_cycles)
        if measured.blocks is not None:
            touched = measured.blocks.flags & FLAGGED != 0
            self.undisturbed.add(measured.blocks.spectra, ~touched, self.order_max)
            self.flagged.add(measured.blocks.spectra, touched, self.order_max)
        self.energy_u += measured.seconds.energy_u.sum(axis=0)
        if len(self.flicker) < EVENTS_MAX:
            self.flicker += measured.flicker
        for event in measured.voltage_events:
            if self.events.add_voltage(event):
                self.excerpts.see_event(event)
        for change in measured.conditions:
            self.events.add_condition(change, self.engine.connection.sample_rate_hz)

    def _phases(self) -> tuple[PhaseValues, ...]:
        q, s, w = self.whole.quantities(), self.spectrum, self.whole
        currents = self.point.currents
        fryze = np.asarray(q.q_fryze_var)
        out = []
        for k in range(self.point.connection.phases):
            channel = self.point.connection.phases + k
            power = (
                (q.p_w[0, k], q.q1_var[0, k], q.s_va[0, k], q.power_factor[0, k],
                 q.cos_phi1[0, k], s.q_budeanu(k), fryze[0, k], s.q_quarter(k))
                if currents else (None,) * 8
            )  # fmt: skip
            current = (
                (q.i_a[0, k], q.i_dc_a[0, k], w.i_max_a[k], _angle(q.angle_i_deg[0, k]),
                 s.thd(channel), s.crest(channel), s.k_factor(k))
                if currents else (None,) * 7
            )  # fmt: skip
            voltage = (
                q.u_v[0, k], q.u_dc_v[0, k], w.u_min_v[k], w.u_max_v[k],
                _angle(q.angle_u_deg[0, k]), s.thd(k), s.crest(k),
            )  # fmt: skip
            out.append(
                PhaseValues(f"L{k + 1}", *(_figure(v) for v in (*voltage, *current, *power)))  # type: ignore[arg-type]
            )
        return tuple(out)

    def _total(self) -> TotalValues:
        q, connection = self.whole.quantities(), self.point.connection
        three = connection.phases == 3
        measured = connection.neutral_measured
        currents = self.point.currents
        u = q.u_components if three else None
        i = q.i_components if three and currents else None
        sums = (
            q.p_total_w, q.q1_total_var, q.s_arithmetic_va, q.s_vector_va, q.s_effective_va,
            q.power_factor_total,
        )  # fmt: skip
        p, q1, arithmetic, vector, effective, factor = (
            _figure(v[0]) if currents else None for v in sums
        )
        sequence = {1: "L1 L2 L3", -1: "L1 L3 L2 (reversed)", 0: "none"}
        return TotalValues(
            _figure(q.frequency_hz[0]) if self.whole.synchronised else None,
            p, q1, arithmetic, vector, effective, factor,
            _figure(q.i_neutral_a[0]) if currents and connection.phases > 1 else None,
            _figure(q.i_neutral_measured_a[0]) if measured else None,
            _figure(q.i_residual_a[0]) if measured else None,
            tuple(float(v) for v in q.u_line_v[0]),
            _figure(u.negative_percent[0]) if u is not None else None,
            _figure(u.zero_percent[0]) if u is not None else None,
            _figure(i.negative_percent[0]) if i is not None else None,
            _figure(i.zero_percent[0]) if i is not None else None,
            sequence[int(u.sequence[0])] if u is not None else "",
        )  # fmt: skip

    def _energies(self) -> tuple[EnergyValues, ...]:
        if not self.point.currents:
            return ()
        rows = self.energy_u[: self.point.connection.phases + 1] / 1e6
        names = ("total", "L1", "L2", "L3")
        made = [EnergyValues(n, *map(float, row)) for n, row in zip(names, rows, strict=False)]
        return tuple(made if self.point.connection.phases > 1 else made[:1])

    def _harmonics(self) -> tuple[Harmonic, ...]:
        mean, phases = self.spectrum, self.point.connection.phases
        out = []
        for k in range(phases):
            for order in range(min(self.order_max, mean.order_max) + 1):
                u, i = mean.rms(k, order), mean.rms(phases + k, order)
                power = complex(mean.power[k, order])
                shown = self.point.currents
                out.append(
                    Harmonic(
                        f"L{k + 1}", order, u, _share(u, mean.rms(k, 1)),
                        i if shown else None,
                        _share(i, mean.rms(phases + k, 1)) if shown else None,
                        power.real if shown else None, power.imag if shown else None,
                        _direction(power.real, u * i) if shown else "",
                    )
                )  # fmt: skip
        return tuple(out)

    def _interharmonics(self) -> tuple[Interharmonic, ...]:
        mean, phases = self.spectrum, self.point.connection.phases
        return tuple(
            Interharmonic(
                f"L{k + 1}", order, mean.between(k, order),
                mean.between(phases + k, order) if self.point.currents else None,
            )
            for k in range(phases)
            for order in range(min(self.order_max, mean.order_max))
        )  # fmt: skip

    def _severities(self) -> tuple[Severity, ...]:
        start_ns = self.engine.start_utc_ns
        out = []
        for value in self.flicker:
            whole = 7200 if value.long_term else PST_S
            if value.end_utc_ns - value.start_utc_ns >= (whole - 1) * NANOSECONDS_PER_S:
                out.append(
                    Severity(
                        "Plt" if value.long_term else "Pst",
                        (value.start_utc_ns - start_ns) / NANOSECONDS_PER_S,
                        tuple(_figure(v) for v in value.severity),
                        value.flagged,
                    )
                )
        return tuple(out)

    def _notes(self) -> tuple[str, ...]:
        notes = list(self.point.notes)
        for index, name in enumerate(self.point.stream.channels):
            for counts, words in (
                (self.watch.invalid, "are no numbers and counted as 0"),
                (self.watch.saturated, "are at the end of the range: the channel is saturated"),
            ):
                if len(counts) and counts[index]:
                    notes.append(f"{name}: {counts[index]} samples {words}")
        notes += self.whole.notes(self.point)
        if not self.spectrum.blocks:
            needed = self.point.connection.cycles_per_block
            notes.append(f"no spectrum: it needs {needed} whole cycles")
        elif not self.undisturbed.blocks:
            notes.append("every interval was touched by a dip, swell or interruption")
        elif self.order_max < ORDER_MAX:
            top = min(self.order_max, self.spectrum.order_max)
            notes.append(f"the sample rate carries harmonics to order {top} only")
        if self.watch.frames / self.point.stream.sample_rate_hz < PST_S:
            notes.append("no flicker: Pst needs ten minutes")
        return tuple(notes + self.events.notes())


class _Whole:
    """Adds up half cycles in pairs (cycles), for the whole recording and for its course."""

    def __init__(self, phases: int, rate_hz: float) -> None:
        self._phases, self._rate = phases, rate_hz
        self._carry: Floats | None = None
        self._sum: Floats | None = None
        self._cycles = 0
        self._coasted = 0
        self._flags = 0
        self.u_min_v = np.full(phases, np.inf)
        self.u_max_v = np.zeros(phases)
        self.i_max_a = np.zeros(phases)
        self._bins: list[Floats] = []
        self._per_bin = 1
        self._open: list[Floats] = []

    @property
    def synchronised(self) -> bool:
        """Whether any cycle was measured on a voltage, not on the last frequency."""
        return self._cycles > self._coasted

    def add(self, half: HalfCycles) -> None:
        rows = half.table[half.flags & PARTIAL == 0]
        if self._carry is not None:
            rows = np.concatenate([self._carry, rows])
        even = len(rows) - len(rows) % 2
        self._carry = rows[even:].copy()
        if not even:
            return
        cycles = merge(HalfCycles(rows[:even], self._phases, self._rate), np.arange(0, even, 2), 2)
        flags = cycles.flags
        self._cycles += len(cycles)
        self._coasted += int((flags & COASTING != 0).sum())
        self._flags |= int(np.bitwise_or.reduce(flags))
        total = cycles.table.sum(axis=0)
        total[0] = cycles.table[0, 0] if self._sum is None else self._sum[0]
        if self._sum is not None:
            total[3:] += self._sum[3:]
        total[1] = cycles.table[-1, 1]
        self._sum = total
        self._follow(Quantities(cycles, 2))

    def quantities(self) -> Quantities:
        """One window: the recording from its first to its last whole cycle; NaN without any."""
        if self._sum is None:
            empty = np.full((1, 3 + 11 * self._phases + 6), np.nan)
            empty[0, :3] = 0.0, self._rate, 0.0
            return Quantities(HalfCycles(empty, self._phases, self._rate), 2)
        table = self._sum[None, :].copy()
        table[0, 2] = 0
        return Quantities(HalfCycles(table, self._phases, self._rate), 2 * self._cycles)

    def _follow(self, q: Quantities) -> None:
        self.u_min_v = np.minimum(self.u_min_v, q.u_v.min(axis=0))
        self.u_max_v = np.maximum(self.u_max_v, q.u_v.max(axis=0))
        self.i_max_a = np.maximum(self.i_max_a, q.i_a.max(axis=0))
        middle = 0.5 * (q.windows.start + q.windows.end) / self._rate
        rows = np.concatenate(
            [
                np.ones((len(q), 1)), middle[:, None], q.u_v**2, q.i_a**2, q.p_w,
                q.u_v, q.u_v, q.i_a,
            ],
            axis=1,
        )  # fmt: skip
        for row in rows:
            self._open.append(row)
            if len(self._open) == self._per_bin:
                self._bins.append(self._joined(self._open))
                self._open = []
            if len(self._bins) == TREND_BINS:
                self._bins = [self._joined(self._bins[n : n + 2]) for n in range(0, TREND_BINS, 2)]
                self._per_bin *= 2

    def _joined(self, rows: list[Floats]) -> Floats:
        """Sums of all columns but the last three groups: least U, largest U, largest I."""
        p = self._phases
        table = np.stack(rows)
        out = table.sum(axis=0)
        edge = 2 + 3 * p
        weight = table[:, 0]
        out[1] = (table[:, 1] * weight).sum() / weight.sum()
        out[edge : edge + p] = table[:, edge : edge + p].min(axis=0)
        out[edge + p :] = table[:, edge + p :].max(axis=0)
        return np.asarray(out)

    def course(self) -> Course:
        rows = self._bins + ([self._joined(self._open)] if self._open else [])
        p = self._phases
        table = np.stack(rows) if rows else np.zeros((0, 2 + 6 * p))
        count = table[:, :1]
        parts = [table[:, 2 + k * p : 2 + (k + 1) * p] for k in range(6)]
        return Course(
            table[:, 1], np.sqrt(parts[0] / count), parts[3], parts[4],
            np.sqrt(np.maximum(parts[1], 0.0) / count), parts[5], parts[2] / count,
        )  # fmt: skip

    def notes(self, point: RecordedPoint) -> list[str]:
        if self._sum is None:
            return ["shorter than one whole cycle of a voltage: nothing can be measured"]
        out = []
        q, nominal = self.quantities(), point.connection.nominal_u_v
        if not self.synchronised:
            out.append("no usable voltage: cycles are those of the nominal frequency")
        elif self._coasted:
            out.append(f"{self._coasted} cycles in a dip or without voltage: last frequency kept")
        for k in range(self._phases):
            u, i = float(q.u_v[0, k]), float(q.i_a[0, k])
            if u < 0.05 * nominal:
                out.append(f"L{k + 1} has no voltage")
            if abs(float(q.u_dc_v[0, k])) > 0.01 * max(u, 1e-9) and u > 0.05 * nominal:
                out.append(f"L{k + 1}: d.c. of {float(q.u_dc_v[0, k]):.3g} V in the voltage")
            if abs(float(q.i_dc_a[0, k])) > 0.05 * i and i > 1e-6:
                out.append(f"L{k + 1}: d.c. of {float(q.i_dc_a[0, k]):.3g} A in the current")
        if point.currents and self._phases > 1:
            out += _reversed(q)
        return out


def _reversed(q: Quantities) -> list[str]:
    """Phases whose power flows against that of the others, as a turned transformer's does."""
    p, s = q.p_w[0], q.s_va[0]
    against = [
        k for k in range(len(p))
        if p[k] < -0.05 * s[k] and s[k] > 0 and p.sum() - p[k] > 0.05 * (s.sum() - s[k])
    ]  # fmt: skip
    return [
        f"L{k + 1}: power flows against the other phases; is its current transformer reversed?"
        for k in against
    ]


class _SpectrumMean:
    """Mean squares of subgroups, mean harmonic powers and mean crest factors."""

    def __init__(self, phases: int) -> None:
        self.phases = phases
        self.blocks = 0
        self.order_max = ORDER_MAX
        self._harmonic: Floats = np.zeros((0, 0))
        self._between: Floats = np.zeros((0, 0))
        self._power = np.zeros((phases, ORDER_MAX + 1), np.complex128)
        self._budeanu = np.zeros(phases)
        self._quarter = np.zeros(phases)
        self._crest: Floats = np.zeros(0)
        self._crests: Floats = np.zeros(0)

    def add(self, every: Spectra | None, rows: NDArray[np.bool_], order_max: int) -> None:
        """Count these rows of the spectra in."""
        if every is None or not rows.any():
            return
        s = every
        if not rows.all():
            s = Spectra(
                every.lines[rows], every.cycles, every.phases, every.order_max, every.peak[rows]
            )
        channels = s.lines.shape[1]
        if not self.blocks:
            self._harmonic = np.zeros((channels, ORDER_MAX + 1))
            self._between = np.zeros((channels, ORDER_MAX))
            self._crest, self._crests = np.zeros(channels), np.zeros(channels)
        self.blocks += len(s)
        self.order_max = min(self.order_max, s.order_max, order_max)
        self._harmonic += np.nan_to_num(s.harmonic_square).sum(axis=0)
        self._between += np.nan_to_num(s.interharmonic_square).sum(axis=0)
        power = s.complex_power_va.sum(axis=0)
        self._power[:, : power.shape[1]] += power
        self._budeanu += s.q_budeanu_var.sum(axis=0)
        self._quarter += s.q_quarter_period_var().sum(axis=0)
        self._add_crest(s)

    def _add_crest(self, s: Spectra) -> None:
        crest = s.crest_factor()
        usable = np.isfinite(crest)
        self._crest += np.where(usable, crest, 0.0).sum(axis=0)
        self._crests += usable.sum(axis=0)

    @property
    def power(self) -> NDArray[np.complex128]:
        return np.asarray(self._power / max(self.blocks, 1))

    def rms(self, channel: int, order: int) -> float:
        """Rms of a subgroup; NaN without any block."""
        if not self.blocks:
            return float("nan")
        return float(np.sqrt(self._harmonic[channel, order] / self.blocks))

    def between(self, channel: int, order: int) -> float:
        if not self.blocks:
            return float("nan")
        return float(np.sqrt(self._between[channel, order] / self.blocks))

    def thd(self, channel: int) -> float | None:
        if not self.blocks or self.rms(channel, 1) < 1e-6:
            return None
        square = self._harmonic[channel]
        top = min(THD_ORDER, self.order_max)
        return float(100.0 * np.sqrt(square[2 : top + 1].sum() / square[1]))

    def crest(self, channel: int) -> float | None:
        if not self.blocks or not self._crests[channel] or self.rms(channel, 1) < 1e-6:
            return None
        return float(self._crest[channel] / self._crests[channel])

    def k_factor(self, phase: int) -> float | None:
        if not self.blocks or self.rms(self.phases + phase, 1) < 1e-6:
            return None
        square = self._harmonic[self.phases + phase, 1 : self.order_max + 1]
        order = np.arange(1, self.order_max + 1)
        return float((square * order**2).sum() / square.sum())

    def q_budeanu(self, phase: int) -> float | None:
        return float(self._budeanu[phase] / self.blocks) if self.blocks else None

    def q_quarter(self, phase: int) -> float | None:
        return float(self._quarter[phase] / self.blocks) if self.blocks else None


class _Events:
    """Beginnings and ends of events joined to one entry each."""

    def __init__(self, lines: bool) -> None:
        self._names = ("U12", "U23", "U31") if lines else ("L1", "L2", "L3")
        self._kept: list[Found] = []
        self._open: dict[tuple[str, str], int] = {}
        self._more = 0

    def add_voltage(self, event: VoltageEvent) -> bool:
        """Take an event; True at its first report."""
        name = _EVENT_NAMES[event.kind]
        phases = " ".join(n for bit, n in enumerate(self._names) if event.phases >> bit & 1)
        found = Found(
            name, phases, max(event.start, 0.0) / event.sample_rate_hz,
            event.duration_s if event.ended else None,
            _figure(event.extreme_v), "V",
        )  # fmt: skip
        return self._put((name, ""), found, ended=event.ended)

    def add_condition(self, change: ConditionChange, rate_hz: float) -> None:
        name, unit = _CONDITION_NAMES[change.condition]
        phases = self._names[change.phase - 1] if change.phase else ""
        at = change.at / rate_hz - (0.0 if change.began else change.duration_s)
        found = Found(
            name, phases, max(at, 0.0), None if change.began else change.duration_s,
            _figure(change.figure), unit,
        )  # fmt: skip
        self._put((name, phases), found, ended=not change.began)

    def _put(self, key: tuple[str, str], found: Found, *, ended: bool) -> bool:
        place = self._open.pop(key, None) if ended else None
        if place is not None:
            if place >= 0:
                self._kept[place] = found
            return False
        if len(self._kept) >= EVENTS_MAX:
            self._more += 1
            if not ended:
                self._open[key] = -1
            return True
        if not ended:
            self._open[key] = len(self._kept)
        self._kept.append(found)
        return True

    def found(self) -> tuple[Found, ...]:
        return tuple(sorted(self._kept, key=lambda f: f.start_s))

    def notes(self) -> list[str]:
        return [f"{self._more} more events are not listed"] if self._more else []


_EVENT_NAMES: Final = {
    VoltageEventKind.DIP: "voltage dip",
    VoltageEventKind.SWELL: "voltage swell",
    VoltageEventKind.INTERRUPTION: "interruption",
    VoltageEventKind.RAPID_CHANGE: "rapid voltage change",
}
_CONDITION_NAMES: Final = {
    Condition.PHASE_LOST: ("phase lost", "% of Un"),
    Condition.UNDERVOLTAGE: ("undervoltage", "% of Un"),
    Condition.OVERVOLTAGE: ("overvoltage", "% of Un"),
    Condition.OVERCURRENT: ("over-current", "% of In"),
    Condition.CURRENT_WITHOUT_VOLTAGE: ("current without voltage", "% of In"),
    Condition.MISSING_CURRENT: ("missing current", "% of the largest"),
    Condition.REVERSED_CURRENT: ("reversed current", "P in % of S"),
    Condition.WRONG_SEQUENCE: ("wrong phase sequence", "% u2"),
    Condition.VOLTAGE_UNBALANCE: ("voltage unbalance", "% u2"),
    Condition.CURRENT_UNBALANCE: ("current unbalance", "% of the mean"),
    Condition.NEUTRAL_BROKEN: ("neutral fault", "% u0"),
    Condition.THD_U: ("voltage distortion", "% THD"),
}


class _Excerpts:
    """A few cycles from the middle of the recording, and those around the first event."""

    def __init__(self, point: RecordedPoint) -> None:
        connection = point.connection
        self._point = point
        self._scale = connection.scale_per_channel()
        self._cycle = connection.sample_rate_hz / connection.nominal_hz
        frames = point.stream.frames
        self._wanted = 0.0 if frames is None else frames * point.up / point.down / 2
        self._before: tuple[int, NDArray[Any]] = (0, np.zeros((0, len(self._scale))))
        self._now = self._before
        self._kept: Excerpt | None = None
        self.of_event: Excerpt | None = None

    def see(self, frames: NDArray[Any], first: int) -> None:
        self._before, self._now = self._now, (first, np.array(frames))
        length = int(EXCERPT_CYCLES * self._cycle)
        enough = self._kept is None or len(self._kept.at_s) < length
        if enough or first <= self._wanted:
            start = int(np.clip(self._wanted, first, max(first, first + len(frames) - length)))
            self._kept = self._cut(start, start + length)

    def see_event(self, event: VoltageEvent) -> None:
        if self.of_event is None:
            start = int(event.start - 2 * self._cycle)
            self.of_event = self._cut(start, int(start + 2.5 * EXCERPT_CYCLES * self._cycle))

    def first(self) -> Excerpt:
        return self._kept or Excerpt(np.zeros(0), np.zeros((0, 0)), self._point.names)

    def _cut(self, start: int, end: int) -> Excerpt:
        first = self._before[0]
        joined = np.concatenate([self._before[1], self._now[1]])
        if len(self._before[1]) == 0:
            first = self._now[0]
        low, high = max(start - first, 0), max(end - first, 0)
        piece = joined[low:high].astype(np.float64) * self._scale
        at = (first + low + np.arange(len(piece))) / self._point.connection.sample_rate_hz
        return Excerpt(at, piece, self._point.names)


def _figure(value: Any) -> float | None:
    """A plain number; None for what is not finite."""
    if value is None:
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _angle(lag_deg: float) -> float:
    """0 … 360 with 360 itself, which rounding makes, as 0."""
    return 0.0 if 360.0 - lag_deg < 1e-9 else lag_deg


def _share(part: float, whole: float) -> float | None:
    return 100.0 * part / whole if whole > 1e-9 else None


def _direction(p_w: float, apparent_va: float) -> str:
    """Where a harmonic's power flows; no word for what is lost in the noise."""
    if not abs(p_w) > 0.02 * apparent_va or not abs(p_w) > 1e-6:
        return ""
    return "to load" if p_w > 0 else "to grid"


@dataclass(slots=True)
class TableCollector:
    """The 10-cycle (12-cycle) values as rows of a table, for a column file."""

    point: RecordedPoint
    names: list[str] = field(default_factory=list)

    def columns(self, measured: Measured) -> dict[str, NDArray[Any]]:
        """Columns of the base intervals in this piece; empty when there are none."""
        blocks = measured.blocks
        if blocks is None or not len(blocks):
            return {}
        q, s = blocks.quantities, blocks.spectra
        out: dict[str, NDArray[Any]] = {
            "start_utc_ns": blocks.start_utc_ns,
            "duration_s": q.windows.duration_s,
            "f_hz": q.frequency_hz,
        }
        thd = s.thd_percent(THD_ORDER) if s is not None else None
        phases = self.point.connection.phases
        for k in range(phases):
            name = f"l{k + 1}"
            out |= {
                f"u_{name}_v": q.u_v[:, k], f"i_{name}_a": q.i_a[:, k],
                f"p_{name}_w": q.p_w[:, k], f"q1_{name}_var": q.q1_var[:, k],
                f"s_{name}_va": q.s_va[:, k], f"pf_{name}": q.power_factor[:, k],
            }  # fmt: skip
            if thd is not None:
                out[f"thd_u_{name}_percent"] = thd[:, k]
                out[f"thd_i_{name}_percent"] = thd[:, phases + k]
        if phases == 3:
            out["u2_percent"] = q.u_components.negative_percent
            out["u0_percent"] = q.u_components.zero_percent
        out["flags"] = blocks.flags
        return out
