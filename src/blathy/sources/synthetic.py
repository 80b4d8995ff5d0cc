"""Synthetic loads: deterministic intervals of one metering point for any time, from a seed.

The clock of the model is the UTC minute: mean P and Q per phase are drawn per minute of a UTC day
from a standard load shape, the appliances in use, a photovoltaic roof, a car charger, machines.
Inside a minute the power moves by a fixed pattern of the point whose sum is exactly zero in
integers, so the sixty seconds of a minute add up to the minute to the last uWh and history may be
stepped in minutes, quarter-hours or seconds with the same result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import SECONDS_PER_DAY, Zone, datetime_of
from blathy.metrology.spectrum import ORDER_MAX
from blathy.quantity import Loss
from blathy.registers.block import (
    ENERGY_MEASURES,
    INSTANT_COLUMNS,
    INSTANT_INDEX,
    PHASES,
    Block,
    Incident,
)
from blathy.sources.appliances import APPLIANCES, ORDERS, Appliance
from blathy.sources.background import U_HARMONICS
from blathy.sources.connection import LoadConnection
from blathy.sources.constants import Constants
from blathy.sources.load_shapes import load_shape
from blathy.sources.weather import MINUTES_PER_DAY, clearness, smooth_noise, sun_elevation_sin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UWH_PER_W_MINUTE: Final = 1_000_000 / 60
_SHARES: Final = 1 << 20  # a minute's energy is dealt to its seconds in 2^-20 shares
_DAYS_KEPT: Final = 2
_HEAD_TABLES_KEPT: Final = 6
ORDERS_KEPT: Final = ORDER_MAX + 1
LATITUDE_DEG: Final = 46.9
LONGITUDE_DEG: Final = 18.0
ENERGY_SHAPE: Final = (4, len(ENERGY_MEASURES))


@dataclass(frozen=True, slots=True)
class Charger:
    """A car charger: power per phase used, phases, share of the evenings it is used."""

    power_w: float = 11_000.0
    phases: int = 3
    share_of_days: float = 0.45


@dataclass(frozen=True, slots=True)
class Machines:
    """Motors of a workshop: rated power, power factor of a part-loaded induction motor, local
    hours."""

    power_w: float = 9_000.0
    power_factor: float = 0.68
    hours: tuple[int, int] = (7, 16)


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What stands behind one metering point.

    `annual_kwh` is spread over the year by `shape` (see load_shapes). `phases` is 1 or 3;
    `u_nominal_v` the phase voltage; `pv_peak_w` the roof. `base_power_factor` holds for the shape's
    share.
    """

    shape: str = "h0"
    annual_kwh: float = 3_000.0
    phases: int = 1
    phase_of_single: int = 1
    u_nominal_v: float = 230.0
    appliances: tuple[str, ...] = ()
    pv_peak_w: float = 0.0
    charger: Charger | None = None
    machines: Machines | None = None
    base_power_factor: float = 0.95
    line_ohm: float = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class DayTable:
    """One UTC day of a point, a row a minute: what `Block` needs, before supply interruptions."""

    energy_u: Ints  # (1440, 4, 8)
    instant: Ints  # (1440, columns)
    harmonics_a: NDArray[np.complex64]  # (1440, 3, orders): of the currents, rms


class Supply:
    """The grid in front of a point: when it was off, and what else happened. Deterministic."""

    def outages(self, day_utc: int) -> Sequence[tuple[int, int]]:
        """(first minute, minute after the last) of the UTC day without supply."""
        del day_utc
        return ()

    def incidents(self, day_utc: int) -> Sequence[Incident]:
        """Everything else that happens on the UTC day."""
        del day_utc
        return ()

    def voltage_factor(self, day_utc: int) -> Floats | None:
        """Factor on the nominal voltage per minute, (1440,) or (1440, 3); None for 1."""
        del day_utc
        return None


@dataclass(slots=True)
class SyntheticSource:
    """`IntervalSource` of one point. `seed` and `key` fix every number it will ever deliver."""

    spec: LoadSpec
    seed: int
    key: int
    zone: Zone = field(default_factory=Zone)
    supply: Supply = field(default_factory=Supply)
    replayable: bool = True
    constants: Callable[[], Constants] | None = None
    """Those of the meter: the parameters of its power transformer give the losses."""
    connection: LoadConnection = field(default_factory=LoadConnection)
    """What the meter's breaker did. The intervals are what the site wants whatever it says; the
    head of its feeder counts only what could be drawn."""
    _days: OrderedDict[int, DayTable] = field(default_factory=OrderedDict, repr=False)
    _shares: Ints = field(init=False, repr=False)
    _pattern: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng((self.seed, self.key, 0x60))
        weights = 1.0 + 0.04 * smooth_noise(rng, 60, 5)
        cumulative = np.floor(np.concatenate([[0.0], weights.cumsum()]) / weights.sum() * _SHARES)
        cumulative[-1] = _SHARES
        self._shares = cumulative.astype(np.int64)
        self._pattern = np.diff(self._shares) * 60.0 / _SHARES

    def harmonics_a(self, at_utc_s: int) -> NDArray[np.complex64]:
        """(3, orders) rms of the currents' harmonics in that minute: the appliances in use."""
        day, second = divmod(at_utc_s, SECONDS_PER_DAY)
        return np.asarray(self.day_table(day).harmonics_a[second // 60])

    # -- the intervals ---------------------------------------------------------------------------

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """`n` intervals of `step_s` s; see IntervalSource."""
        if step_s >= 60 and step_s % 60 == 0 and start_utc_s % 60 == 0:
            return self._minutes(start_utc_s, n, step_s)
        if 60 % step_s == 0 and start_utc_s % step_s == 0:
            return self._seconds(start_utc_s, n, step_s)
        msg = f"a step of {step_s} s from {start_utc_s} does not fit the minute; use 1, 60, 900 …"
        raise ValueError(msg)

    def _minutes(self, start_utc_s: int, n: int, step_s: int) -> Block:
        first = start_utc_s // 60
        minutes = n * step_s // 60
        energy, instant, alive = self._minute_rows(first, minutes)
        per = step_s // 60
        width = len(INSTANT_COLUMNS)
        low = np.floor(instant * self._pattern.min()).astype(np.int64)
        high = np.ceil(instant * self._pattern.max()).astype(np.int64)
        steady = _STEADY
        low[:, steady] = instant[:, steady]
        high[:, steady] = instant[:, steady]
        low, high = np.minimum(low, high), np.maximum(low, high)
        loss = self._losses(instant)
        if per > 1:
            loss = loss.reshape(n, per, len(Loss)).sum(axis=1)
            energy = energy.reshape(n, per, *ENERGY_SHAPE).sum(axis=1)
            low = low.reshape(n, per, width).min(axis=1)
            high = high.reshape(n, per, width).max(axis=1)
            instant = instant.reshape(n, per, width).sum(axis=1) // per
            alive = alive.reshape(n, per).max(axis=1)
        return Block(
            start_utc_s,
            step_s,
            energy,
            instant,
            alive.astype(np.uint8),
            loss,
            instant_min=low,
            instant_max=high,
            incidents=self._incidents(start_utc_s, start_utc_s + n * step_s),
            harmonics=self._harmonics(first + minutes - 1, instant[-1]),
        )

    def _seconds(self, start_utc_s: int, n: int, step_s: int) -> Block:
        first = start_utc_s // 60
        last = (start_utc_s + n * step_s - 1) // 60
        energy, instant, alive = self._minute_rows(first, last - first + 1)
        seconds = start_utc_s + step_s * np.arange(n) - first * 60
        row, at = seconds // 60, seconds % 60
        begin = (energy[row] * self._shares[at, None, None]) >> 20
        end = (energy[row] * self._shares[at + step_s, None, None]) >> 20
        factor = (self._shares[at + step_s] - self._shares[at]) * 60.0 / (_SHARES * step_s)
        values = instant[row]
        moved = np.rint(values * factor[:, None]).astype(np.int64)
        moved[:, _STEADY] = values[:, _STEADY]
        loss = self._losses(instant)[row]
        return Block(
            start_utc_s,
            step_s,
            end - begin,
            moved,
            alive[row].astype(np.uint8),
            _dealt(loss, self._shares[at + step_s]) - _dealt(loss, self._shares[at]),
            harmonics=self._harmonics(last, instant[-1]),
            incidents=self._incidents(start_utc_s, start_utc_s + n * step_s),
        )

    def _losses(self, instant: Ints) -> Ints:
        """(minutes, 6) in the order of quantity.Loss, uWh uvarh uV²h uA²h of each minute."""
        found = np.zeros((len(instant), len(Loss)), dtype=np.int64)
        u2h = (instant[:, _COLUMNS["u_mv"]] ** 2).sum(axis=1) // 60  # mV² h = uV² h
        i2h = (instant[:, _COLUMNS["i_ma"]] ** 2).sum(axis=1) // 60
        found[:, 4], found[:, 5] = u2h, i2h
        p = self.constants().losses if self.constants is not None else None
        if p is not None:
            per_phase = (
                (0, i2h * p.r_cu_ohm), (1, u2h / p.r_fe_ohm),
                (2, i2h * p.x_s_ohm), (3, u2h / p.x_m_ohm),
            )  # fmt: skip
            for place, amount in per_phase:
                found[:, place] = np.rint(amount).astype(np.int64)
        return found

    def _harmonics(self, minute: int, instant: Ints) -> Ints:
        """As `Block.harmonics`: the voltages' usual background, the currents' appliances."""
        out = np.zeros((2, 3, ORDERS_KEPT), dtype=np.int64)
        day, row = divmod(minute, MINUTES_PER_DAY)
        currents = np.abs(self.day_table(day).harmonics_a[row])
        background = np.array([ratio for _, ratio, _ in U_HARMONICS])
        for k in range(3):
            volts, amps = instant[_COLUMNS["u_mv"][k]], instant[_COLUMNS["i_ma"][k]] / 1000.0
            if volts <= 0:
                continue
            out[:, k, 1] = 10_000
            thd = instant[_COLUMNS["thd_u_milli_percent"][k]] / 10.0
            shares = background / np.hypot.reduce(background) * thd
            out[0, k, [order for order, _, _ in U_HARMONICS]] = np.rint(shares)
            distortion = float(np.hypot.reduce(currents[k]))
            fundamental = np.sqrt(max(amps * amps - distortion * distortion, 0.0))
            if fundamental > 1e-3:
                share = np.minimum(currents[k] / fundamental, 6.0)
                out[1, k, list(ORDERS)] = np.rint(1e4 * share)
        return out

    def _incidents(self, start_utc_s: int, end_utc_s: int) -> tuple[Incident, ...]:
        days = range(start_utc_s // SECONDS_PER_DAY, (end_utc_s - 1) // SECONDS_PER_DAY + 1)
        found = (i for day in days for i in self.supply.incidents(day))
        return tuple(sorted(i for i in found if start_utc_s <= i.at_utc_s < end_utc_s))

    def _minute_rows(self, first: int, n: int) -> tuple[Ints, Ints, Ints]:
        """Energy, instants and supply mask of `n` minutes from the minute `first` since 1970."""
        parts_energy, parts_instant, parts_alive = [], [], []
        mask = 0b111 if self.spec.phases == 3 else 1 << (self.spec.phase_of_single - 1)
        while n > 0:
            day, minute = divmod(first, MINUTES_PER_DAY)
            take = min(n, MINUTES_PER_DAY - minute)
            table = self.day_table(day)
            rows = slice(minute, minute + take)
            alive = np.full(take, mask, dtype=np.int64)
            energy, instant = table.energy_u[rows], table.instant[rows]
            for off, on in self.supply.outages(day):
                a, b = max(off - minute, 0), min(on - minute, take)
                if a < b:
                    if energy.base is table.energy_u or energy is table.energy_u:
                        energy, instant = energy.copy(), instant.copy()
                    energy[a:b], instant[a:b], alive[a:b] = 0, 0, 0
            parts_energy.append(energy)
            parts_instant.append(instant)
            parts_alive.append(alive)
            first, n = first + take, n - take
        if len(parts_energy) == 1:
            return parts_energy[0], parts_instant[0], parts_alive[0]
        return (
            np.concatenate(parts_energy),
            np.concatenate(parts_instant),
            np.concatenate(parts_alive),
        )

    # -- the day ---------------------------------------------------------------------------------

    def day_table(self, day_utc: int) -> DayTable:
        """The UTC day's minutes, computed once and kept for as long as they are likely to be
        asked."""
        table = self._days.get(day_utc)
        if table is None:
            table = self._compute(day_utc)
            self._days[day_utc] = table
            while len(self._days) > _DAYS_KEPT:
                self._days.popitem(last=False)
        return table

    def forget_days(self) -> None:
        """Compute the days anew: the supply has changed."""
        self._days.clear()

    def _compute(self, day_utc: int) -> DayTable:
        spec = self.spec
        phases = [0, 1, 2] if spec.phases == 3 else [spec.phase_of_single - 1]
        power = np.zeros((MINUTES_PER_DAY, 3))
        reactive = np.zeros((MINUTES_PER_DAY, 3))
        harmonics = np.zeros((MINUTES_PER_DAY, 3, len(ORDERS)), dtype=np.complex128)
        rng = np.random.default_rng((self.seed, self.key, day_utc))
        self._add_shape(day_utc, rng, phases, power, reactive)
        for index, name in enumerate(spec.appliances):
            phase = phases[index % len(phases)]
            self._add_appliance(APPLIANCES[name], rng, day_utc, phase, power, reactive, harmonics)
        if spec.machines:
            self._add_machines(spec.machines, rng, day_utc, phases, power, reactive, harmonics)
        if spec.charger:
            self._add_charger(spec.charger, rng, day_utc, phases, power, reactive)
        if spec.pv_peak_w:
            sun = np.maximum(sun_elevation_sin(day_utc, LATITUDE_DEG, LONGITUDE_DEG), 0.0)
            roof = spec.pv_peak_w * sun**1.15 * clearness(self.seed, day_utc)
            power[:, phases] -= (roof / len(phases))[:, None]
        voltage = self._voltage(day_utc, rng, power)
        return table_of(power, reactive, harmonics, voltage, phases)

    def _local_quarter(self, day_utc: int) -> tuple[Ints, Floats]:
        """Local minute of the day for each UTC minute, and the shape's power at it in W / 1 000
        kWh."""
        start = day_utc * SECONDS_PER_DAY
        shape = load_shape(self.spec.shape)
        offsets = np.fromiter(
            (self.zone.offset_s(start + h * 3600) for h in range(24)), dtype=np.int64, count=24
        )
        local = np.arange(MINUTES_PER_DAY) + np.repeat(offsets // 60, 60)
        first = datetime_of(start).date()
        days = np.concatenate([shape.day(first + timedelta(days=d)) for d in (-1, 0, 1)])
        position = (local + MINUTES_PER_DAY) / 15.0 - 0.5
        return local % MINUTES_PER_DAY, np.interp(position, np.arange(len(days)), days)

    def _add_shape(
        self,
        day_utc: int,
        rng: np.random.Generator,
        phases: list[int],
        power: Floats,
        reactive: Floats,
    ) -> None:
        _, watts = self._local_quarter(day_utc)
        share = 0.35 if self.spec.appliances else 1.0
        lively = 0.30 if self.spec.shape == "h0" else 0.12
        scale = self.spec.annual_kwh / 1000.0 * share * rng.lognormal(0.0, 0.12)
        for weight, phase in zip(rng.dirichlet([8.0] * len(phases)), phases, strict=True):
            course = watts * scale * weight * np.exp(lively * smooth_noise(rng, MINUTES_PER_DAY, 7))
            power[:, phase] += course
            reactive[:, phase] += course * np.tan(np.arccos(self.spec.base_power_factor))

    def _add_appliance(
        self,
        appliance: Appliance,
        rng: np.random.Generator,
        day_utc: int,
        phase: int,
        power: Floats,
        reactive: Floats,
        harmonics: NDArray[np.complex128],
    ) -> None:
        on = np.zeros(MINUTES_PER_DAY)
        offset_min = self.zone.offset_s(day_utc * SECONDS_PER_DAY + 43_200) // 60
        starts, shortest, longest = appliance.uses
        count = (
            1 if shortest >= MINUTES_PER_DAY else rng.poisson(starts * self._habit(appliance.name))
        )
        for _ in range(int(count)):
            lasts = int(rng.integers(shortest, longest + 1))
            begin = int(rng.integers(appliance.hours[0] * 60, appliance.hours[1] * 60)) - offset_min
            begin = 0 if shortest >= MINUTES_PER_DAY else begin
            span = np.arange(max(begin, 0), min(begin + lasts, MINUTES_PER_DAY))
            if appliance.cycles:
                run, rest = appliance.cycles
                span = span[(span + int(rng.integers(0, run + rest))) % (run + rest) < run]
            on[span] = 1.0
        watts = on * appliance.power_w
        angle = np.radians(appliance.angle_deg)
        power[:, phase] += watts
        reactive[:, phase] -= watts * np.tan(angle)
        amps = watts / (self.spec.u_nominal_v * np.cos(angle))
        spectrum = np.array([r * np.exp(1j * np.radians(a)) for r, a in appliance.harmonics])
        harmonics[:, phase, :] += amps[:, None] * spectrum

    def _habit(self, name: str) -> float:
        """How keen on that appliance this point's people are: 0.5 … 1.5, for ever the same."""
        rng = np.random.default_rng((self.seed, self.key, sum(name.encode())))
        return float(rng.uniform(0.5, 1.5))

    def _add_machines(
        self,
        machines: Machines,
        rng: np.random.Generator,
        day_utc: int,
        phases: list[int],
        power: Floats,
        reactive: Floats,
        harmonics: NDArray[np.complex128],
    ) -> None:
        local, _ = self._local_quarter(day_utc)
        weekend = (day_utc + 3) % 7 >= 5
        running = (local >= machines.hours[0] * 60) & (local < machines.hours[1] * 60)
        level = 0.0 if weekend else 1.0
        course = np.clip(0.6 + 0.35 * smooth_noise(rng, MINUTES_PER_DAY, 9), 0.15, 1.2)
        watts = machines.power_w * course * running * level / len(phases)
        power[:, phases] += watts[:, None]
        reactive[:, phases] += (watts * np.tan(np.arccos(machines.power_factor)))[:, None]
        amps = watts / (self.spec.u_nominal_v * machines.power_factor)
        sixpulse = np.array([0.0, 0.08, 0.05, 0.0, 0.03, 0.02], dtype=np.complex128)
        for phase in phases:
            harmonics[:, phase, :] += amps[:, None] * sixpulse

    def _add_charger(
        self,
        charger: Charger,
        rng: np.random.Generator,
        day_utc: int,
        phases: list[int],
        power: Floats,
        reactive: Floats,
    ) -> None:
        if rng.random() >= charger.share_of_days:
            return
        offset_min = self.zone.offset_s(day_utc * SECONDS_PER_DAY + 43_200) // 60
        begin = int(rng.normal(18.5 * 60, 55)) - offset_min
        lasts = int(rng.uniform(80, 240))
        used = phases[: charger.phases]
        rows = slice(max(begin, 0), max(0, min(begin + lasts, MINUTES_PER_DAY)))
        each = charger.power_w / len(used)
        for phase in used:
            power[rows, phase] += each
            reactive[rows, phase] -= 0.04 * each

    def _voltage(self, day_utc: int, rng: np.random.Generator, power: Floats) -> Floats:
        nominal = self.spec.u_nominal_v
        slow = smooth_noise(rng, MINUTES_PER_DAY, 45) * 0.004
        drop = self.spec.line_ohm * power / (nominal * nominal)
        relative = (1.012 + slow)[:, None] - drop + rng.normal(0, 0.0006, power.shape)
        factor = self.supply.voltage_factor(day_utc)
        if factor is not None:
            relative = relative * (factor if factor.ndim == 2 else factor[:, None])
        return np.asarray(nominal * relative)


def table_of(
    power_w: Floats,
    reactive_var: Floats,
    harmonics_a: NDArray[np.complex128],
    voltage_v: Floats,
    phases: list[int],
) -> DayTable:
    """Energies and instants of minutes from mean P and Q per phase (n, 3), harmonic currents in A
    rms (n, 3, orders) and voltages (n, 3); `phases` are the indices present. Totals are netted over
    the phases (vector sum of P and Q)."""
    n = len(power_w)
    present = np.zeros(3)
    present[phases] = 1.0
    voltage = voltage_v * present
    per_phase = np.concatenate([power_w.sum(axis=1, keepdims=True), power_w], axis=1)
    reactive = np.concatenate([reactive_var.sum(axis=1, keepdims=True), reactive_var], axis=1)
    distortion_a = np.sqrt((np.abs(harmonics_a) ** 2).sum(axis=2))
    safe = np.where(voltage > 0, voltage, 1.0)
    fundamental_a = np.hypot(power_w, reactive_var) / safe * present
    current = np.hypot(fundamental_a, distortion_a)
    apparent = np.empty((n, 4))
    apparent[:, 1:] = voltage * current
    total_distortion = np.sqrt(((voltage * distortion_a) ** 2).sum(axis=1))
    apparent[:, 0] = np.hypot(np.hypot(per_phase[:, 0], reactive[:, 0]), total_distortion)
    return DayTable(
        _energies(per_phase, reactive, apparent),
        _instants(per_phase, reactive, apparent, voltage, current, fundamental_a, distortion_a),
        harmonics_a.astype(np.complex64),
    )


def _dealt(amounts: Ints, shares: Ints) -> Ints:
    """What of a minute's amounts belongs to the first `shares` of it, without overflow."""
    whole, rest = np.divmod(amounts, _SHARES)
    each = shares[:, None]
    return np.asarray(whole * each + ((rest * each) >> 20), dtype=np.int64)


def _energies(power_w: Floats, reactive_var: Floats, apparent_va: Floats) -> Ints:
    """(n, 4, 8) in uWh per minute, in the order of ENERGY_MEASURES."""
    n = len(power_w)
    energy = np.zeros((n, *ENERGY_SHAPE), dtype=np.int64)
    active = np.rint(np.abs(power_w) * UWH_PER_W_MINUTE).astype(np.int64)
    react = np.rint(np.abs(reactive_var) * UWH_PER_W_MINUTE).astype(np.int64)
    appar = np.rint(apparent_va * UWH_PER_W_MINUTE).astype(np.int64)
    imports, lags = power_w >= 0, reactive_var >= 0
    energy[..., 0] = np.where(imports, active, 0)
    energy[..., 1] = np.where(imports, 0, active)
    energy[..., 2] = np.where(imports & lags, react, 0)
    energy[..., 3] = np.where(~imports & lags, react, 0)
    energy[..., 4] = np.where(~imports & ~lags, react, 0)
    energy[..., 5] = np.where(imports & ~lags, react, 0)
    energy[..., 6] = np.where(imports, appar, 0)
    energy[..., 7] = np.where(imports, 0, appar)
    return energy


def _instants(
    power_w: Floats,
    reactive_var: Floats,
    apparent_va: Floats,
    voltage_v: Floats,
    current_a: Floats,
    fundamental_a: Floats,
    distortion_a: Floats,
) -> Ints:
    n = len(power_w)
    values = np.zeros((n, len(INSTANT_COLUMNS)))
    at = INSTANT_INDEX
    phase0 = INSTANT_COLUMNS[0][1]
    present = voltage_v > 0
    count = np.maximum(present.sum(axis=1), 1)

    def fill(name: str, total: Floats, each: Floats) -> None:
        first = at[(name, phase0)]
        values[:, first] = total
        values[:, first + 1 : first + 4] = each

    fill("u_mv", voltage_v.sum(axis=1) / count * 1000, voltage_v * 1000)
    fill("i_ma", current_a.max(axis=1) * 1000, current_a * 1000)
    fill("p_mw", power_w[:, 0] * 1000, power_w[:, 1:] * 1000)
    fill("q_mvar", reactive_var[:, 0] * 1000, reactive_var[:, 1:] * 1000)
    fill("s_mva", apparent_va[:, 0] * 1000, apparent_va[:, 1:] * 1000)
    factor = np.divide(power_w, apparent_va, out=np.ones_like(power_w), where=apparent_va > 1e-9)
    factor = np.clip(np.abs(factor), 0.0, 1.0) * 1000
    fill("pf_milli", factor[:, 0], factor[:, 1:])
    lag = np.degrees(np.arctan2(reactive_var[:, 1:], power_w[:, 1:]))
    shift = np.array([0.0, 120.0, 240.0])
    turned = np.exp(-1j * np.radians(lag + shift))
    if np.count_nonzero(present.any(axis=0)) == 3:
        neutral = np.abs((fundamental_a * turned).sum(axis=1)) + distortion_a.mean(axis=1)
    else:
        neutral = current_a.max(axis=1)
    values[:, at[("i_n_ma", phase0)]] = neutral * 1000
    rng = np.random.default_rng(int(abs(power_w[:, 0]).sum()) % (1 << 32))
    values[:, at[("f_mhz", phase0)]] = 50_000 + 12 * smooth_noise(rng, n, 3)
    phases = [column[1] for column in INSTANT_COLUMNS if column[0] == "thd_u_milli_percent"]
    safe = np.where(fundamental_a > 1e-6, fundamental_a, 1.0)
    thd_i = np.where(fundamental_a > 1e-6, distortion_a / safe, 0.0) * 100_000
    thd_u = present * (1600 + 12 * np.clip(distortion_a, 0, 40) * 10)
    for k, phase in enumerate(phases):
        values[:, at[("thd_u_milli_percent", phase)]] = thd_u[:, k]
        values[:, at[("thd_i_milli_percent", phase)]] = np.clip(thd_i[:, k], 0, 400_000)
        values[:, at[("angle_u_mdeg", phase)]] = present[:, k] * (shift[k] * 1000)
        values[:, at[("angle_i_mdeg", phase)]] = (
            present[:, k] * ((lag[:, k] + shift[k]) % 360) * 1000
        )
    if np.count_nonzero(present.any(axis=0)) == 3:
        turn = np.exp(2j * np.pi / 3 * np.arange(3))
        positive = np.abs((voltage_v * present).sum(axis=1))
        negative = np.abs((voltage_v * present * turn).sum(axis=1))
        share = np.divide(negative, positive, out=np.zeros(n), where=positive > 0)
        values[:, at[("u2_milli_percent", phase0)]] = 100_000 * share
    return np.rint(values).astype(np.int64)


_STEADY: Final = np.array(
    [
        index
        for index, (name, _) in enumerate(INSTANT_COLUMNS)
        if name in {"u_mv", "f_mhz", "pf_milli", "u2_milli_percent"}
        or name.startswith(("thd", "angle"))
    ],
    dtype=np.int64,
)
"""Columns that do not move with the load inside a minute."""


@dataclass(slots=True)
class FeederSource(SyntheticSource):
    """The head of a feeder: the sum of its points plus the line's losses, I²R on the total current.

    The head stays energised while its points are off. Losses are drawn per minute from the summed
    minutes, so the result does not depend on the cut either. `resistance_ohm` is per phase.
    """

    parts: tuple[SyntheticSource, ...] = ()
    resistance_ohm: float = 0.01
    _off: frozenset[int] = frozenset()
    _tables: OrderedDict[tuple[int, frozenset[int]], DayTable] = field(
        default_factory=OrderedDict, repr=False
    )

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """As IntervalSource; the meters of the points have gone on at least to its end.

        It is cut where a breaker opened or closed, so that each piece has one set of loads.
        """
        end = start_utc_s + n * step_s
        changes = {at for part in self.parts for at in part.connection.changes(start_utc_s, end)}
        pieces, begin = [], start_utc_s
        for change in (*sorted(changes), end):
            whole = start_utc_s + (change - start_utc_s) // step_s * step_s
            if whole > begin:
                pieces.append(self._piece(begin, (whole - begin) // step_s, step_s))
                begin = whole
            if change > begin:  # inside an interval, which is then made of its seconds
                pieces.append(self._mixed(begin, step_s))
                begin += step_s
        return pieces[0] if len(pieces) == 1 else chained(pieces)

    def _piece(self, start_utc_s: int, n: int, step_s: int) -> Block:
        parts = enumerate(self.parts)
        self._off = frozenset(k for k, p in parts if not p.connection.connected(start_utc_s))
        return SyntheticSource.block(self, start_utc_s, n, step_s)

    def _mixed(self, start_utc_s: int, step_s: int) -> Block:
        """One interval within which loads came or went."""
        seconds = self.block(start_utc_s, step_s, 1)
        mean = seconds.instant.sum(axis=0, keepdims=True) // step_s
        loss = seconds.loss_u
        return replace(
            seconds,
            step_s=step_s,
            energy_u=seconds.energy_u.sum(axis=0, keepdims=True),
            instant=mean,
            supply=seconds.supply.max(axis=0, keepdims=True),
            loss_u=None if loss is None else loss.sum(axis=0, keepdims=True),
            instant_min=seconds.instant.min(axis=0, keepdims=True),
            instant_max=seconds.instant.max(axis=0, keepdims=True),
        )

    def day_table(self, day_utc: int) -> DayTable:
        """The minutes of the day as if the same loads were connected all day."""
        key = (day_utc, self._off)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._compute(day_utc)
            while len(self._tables) > _HEAD_TABLES_KEPT:
                self._tables.popitem(last=False)
        return table

    def forget_days(self) -> None:
        """As SyntheticSource."""
        self._tables.clear()

    def _compute(self, day_utc: int) -> DayTable:
        shape = (MINUTES_PER_DAY, 3)
        power, reactive, distortion = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for number, part in enumerate(self.parts):
            if number in self._off:
                continue
            instant = part.day_table(day_utc).instant
            live = np.ones((MINUTES_PER_DAY, 1))
            for off, on in part.supply.outages(day_utc):
                live[off:on] = 0.0
            p, q, i = (
                instant[:, _COLUMNS[name]] / 1000.0 * live for name in ("p_mw", "q_mvar", "i_ma")
            )
            thd = instant[:, _COLUMNS["thd_i_milli_percent"]] / 100_000.0
            power += p
            reactive += q
            distortion += 0.5 * i * thd / np.sqrt(1 + thd * thd)
        nominal = self.spec.u_nominal_v
        rng = np.random.default_rng((self.seed, self.key, day_utc))
        sway = 1.012 + 0.003 * smooth_noise(rng, MINUTES_PER_DAY, 45)
        voltage = np.repeat(nominal * sway[:, None], 3, axis=1)
        current = np.hypot(power, reactive) / voltage
        power += self.resistance_ohm * current**2
        harmonics = np.zeros((*shape, len(ORDERS)), dtype=np.complex128)
        harmonics[:, :, 1] = distortion
        return table_of(power, reactive, harmonics, voltage, [0, 1, 2])


_COLUMNS: Final = {
    name: [INSTANT_INDEX[(name, phase)] for phase in PHASES[1:]]
    for name in ("u_mv", "p_mw", "q_mvar", "i_ma", "thd_u_milli_percent", "thd_i_milli_percent")
}
"""Where the three phases of an instant stand."""


def chained(pieces: Sequence[Block]) -> Block:
    """Blocks of one step that follow each other, as one."""
    first = pieces[0]
    loss = [p.loss_u for p in pieces if p.loss_u is not None]
    lows = [p.instant if p.instant_min is None else p.instant_min for p in pieces]
    highs = [p.instant if p.instant_max is None else p.instant_max for p in pieces]
    extremes = any(p.instant_min is not None for p in pieces)
    return replace(
        first,
        energy_u=np.concatenate([p.energy_u for p in pieces]),
        instant=np.concatenate([p.instant for p in pieces]),
        supply=np.concatenate([p.supply for p in pieces]),
        loss_u=np.concatenate(loss) if len(loss) == len(pieces) else None,
        instant_min=np.concatenate(lows) if extremes else None,
        instant_max=np.concatenate(highs) if extremes else None,
        incidents=tuple(i for p in pieces for i in p.incidents),
        harmonics=pieces[-1].harmonics,
    )
