"""Four-quadrant energy: from half cycles to whole micro-watt-hours per second of UTC.

The sign of P and of Q1 comes from one and the same window of whole cycles (one cycle unless the
rules say more), beginning at an upward crossing. Energy of a window that spans the turn of a
second is divided in proportion to time; every register carries its own remainder below 1 uWh, so
the seconds add up to the total exactly and nothing is lost between windows.

Reactive energy is that of the fundamental alone (Q1), as IEC 62053-24 counts it.

Creep is judged over the base interval of 10 or 12 cycles: a phase whose |P| and |Q1| both stay
below their thresholds has P, Q, S and I equal to zero together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology import synchronisation as sync
from blathy.metrology.connection import Connection
from blathy.metrology.half_cycle import (
    C_END,
    C_FLAGS,
    C_PHASES,
    C_START,
    CROSS_COLUMNS,
    I2,
    PHASE_COLUMNS,
    HalfCycles,
)
from blathy.metrology.kernels import kernel, part

MEASURES: Final = 8
A_IMPORT, A_EXPORT, R1, R2, R3, R4, E_IMPORT, E_EXPORT = range(MEASURES)
"""Last axis of every energy array, in uWh, uvarh, uVAh."""

# Columns of a second: per phase the sums of a half cycle with u² in one, then Q and S.
S_U2, S_I2, S_P, S_US, S_UC, S_IS, S_IC, S_U0, S_I0, S_Q, S_S, S_UMIN, S_UMAX, S_IMAX = range(14)
SECOND_PHASE_COLUMNS: Final = 14
# Columns after the phases: total P, Q, S, the cross products, time, cycles, flags.
T_P, T_Q, T_S, T_CROSS, T_TIME, T_CYCLES, T_FLAGS = 0, 1, 2, 3, 9, 10, 11
SECOND_TOTAL_COLUMNS: Final = 12


class Netting(IntEnum):
    """What decides import or export, and the quadrant, of the totals."""

    TOTAL = 0  # the sum of P and the sum of Q1 over the phases
    PER_PHASE = 1  # each phase for itself; the totals are the sums of the phase registers


class Apparent(IntEnum):
    """Which apparent power the total registers count (IEEE 1459)."""

    ARITHMETIC = 0  # sum of U I over the phases
    VECTOR = 1  # sqrt(P² + Q1² + D²) with the phases' P, Q1 and distortion added up
    EFFECTIVE = 2  # 3 Ue Ie


@dataclass(frozen=True, slots=True)
class EnergyRules:
    """How a meter counts. Creep thresholds are per phase; if either is 0, everything counts."""

    netting: Netting = Netting.TOTAL
    apparent: Apparent = Apparent.ARITHMETIC
    netting_cycles: int = 1
    creep_p_w: float = 0.0
    creep_q_var: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.netting_cycles <= 50:
            raise ValueError("netting works over 1 to 50 cycles")
        if self.creep_p_w < 0 or self.creep_q_var < 0:
            raise ValueError("a creep threshold cannot be negative")


@dataclass(frozen=True, slots=True, eq=False)
class Seconds:
    """Consecutive seconds of UTC, the first beginning at `start_utc_s`.

    `energy_u` (n, 4, 8): total, L1, L2, L3 by A+ A- R1 R2 R3 R4 E+ E- in uWh uvarh uVAh; phases
    that are not connected stay 0. `sums`: integrals over the second (see the column names of this
    module), `time_s` is below 1 only in the first and the last second of a record.
    """

    start_utc_s: int
    energy_u: NDArray[np.int64]
    sums: NDArray[np.float64]
    phases: int

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def per_phase(self) -> NDArray[np.float64]:
        end = SECOND_PHASE_COLUMNS * self.phases
        return self.sums[:, :end].reshape(len(self), self.phases, SECOND_PHASE_COLUMNS)

    @property
    def totals(self) -> NDArray[np.float64]:
        return self.sums[:, SECOND_PHASE_COLUMNS * self.phases :]

    @property
    def time_s(self) -> NDArray[np.float64]:
        return self.totals[:, T_TIME]

    @property
    def flags(self) -> NDArray[np.int64]:
        return self.totals[:, T_FLAGS].astype(np.int64)


class EnergyCounter:
    """Counts half cycles, in order and without omission, into the seconds of UTC.

    `start_utc_ns` is the UTC of the first sample. `total_u` holds the registers (4, 8) up to the
    last window counted.
    """

    def __init__(
        self, connection: Connection, rules: EnergyRules | None = None, start_utc_ns: int = 0
    ) -> None:
        self.connection = connection
        self.rules = rules if rules is not None else EnergyRules()
        phases = connection.phases
        self.total_u = np.zeros((4, MEASURES), np.int64)
        self._remainder = np.zeros((4, MEASURES))
        self._counted = np.zeros((4, MEASURES), np.int64)
        columns = SECOND_PHASE_COLUMNS * phases + SECOND_TOTAL_COLUMNS
        self._second = np.zeros(columns)
        self._second[S_UMIN : SECOND_PHASE_COLUMNS * phases : SECOND_PHASE_COLUMNS] = np.inf
        table = C_PHASES + PHASE_COLUMNS * phases + CROSS_COLUMNS
        self._pending = np.zeros((0, table))
        self._q_last = np.zeros(phases)
        self._quiet = np.zeros(phases, np.bool_)
        part, extra = np.zeros((phases, SECOND_PHASE_COLUMNS)), np.zeros(SECOND_TOTAL_COLUMNS)
        self._work = (part, extra, np.zeros((4, MEASURES)))
        self._second_utc_s = start_utc_ns // 1_000_000_000
        self._place = np.array([start_utc_ns % 1_000_000_000 * 1e-9, 1.0])
        self._block = 2 * _block_cycles(connection, self.rules)

    def add(self, half_cycles: HalfCycles) -> Seconds:
        """The seconds that are complete after these half cycles."""
        return self._count(half_cycles.table, final=False)

    def finish(self, half_cycles: HalfCycles | None = None) -> Seconds:
        """The remaining seconds; the last one ends where the record ends."""
        rows = half_cycles.table if half_cycles is not None else self._pending[:0]
        return self._count(rows, final=True)

    def _count(self, table: NDArray[np.float64], *, final: bool) -> Seconds:
        rows = np.concatenate([self._pending, table]) if len(self._pending) else table
        rate = float(self.connection.sample_rate_hz)  # an integer would be compiled for anew
        span = (rows[-1, C_END] - rows[0, C_START]) / rate if len(rows) else 0.0
        n_max = int(span) + 4
        energy = np.zeros((n_max, 4, MEASURES), np.int64)
        sums = np.zeros((n_max, len(self._second)))
        rules = self.rules
        used, done = _count_rows(
            rows, self.connection.phases, rate, self._block, 2 * rules.netting_cycles,
            rules.creep_p_w, rules.creep_q_var, int(rules.netting), int(rules.apparent),
            self.total_u, self._remainder, self._counted, self._q_last, self._second, self._place,
            energy, sums, self._quiet, self._work, final,
        )  # fmt: skip
        self._pending = rows[used:].copy()
        start = self._second_utc_s
        self._second_utc_s += done
        return Seconds(start, energy[:done], sums[:done], self.connection.phases)


class PulseOutput:
    """LED or S0 output: pulses from the energy that a register has counted.

    `imp_per_k` is the meter constant in pulses per kWh (kvarh, kVAh). At a meter that counts
    secondary energy the constant on the primary side is divided by the transformer ratios.
    """

    def __init__(self, imp_per_k: int) -> None:
        if imp_per_k <= 0:
            raise ValueError("a meter constant is above zero")
        self.imp_per_k = imp_per_k
        self._remainder = 0  # in uWh x imp/kWh; one pulse is 10^9 of them

    def pulses(self, energy_u: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pulses emitted in each of these consecutive intervals; exact for any cut."""
        before = self._remainder
        # Python integers: a year of energy times the constant leaves 64 bits.
        counts = []
        for energy in energy_u.tolist():
            total = before + energy * self.imp_per_k
            counts.append(total // 1_000_000_000)
            before = total % 1_000_000_000
        self._remainder = before
        return np.array(counts, np.int64)

    def instants_s(self, energy_u: int, duration_s: float) -> NDArray[np.float64]:
        """Pulse instants within one interval of even power, in s after its beginning."""
        before = self._remainder
        count = int(self.pulses(np.array([energy_u], np.int64))[0])
        if count == 0:
            return np.zeros(0)
        due = (np.arange(1, count + 1) * 1_000_000_000 - before) / self.imp_per_k
        return np.asarray(due * (duration_s / energy_u))


def sums_of(energy_u: NDArray[Any], which: str) -> NDArray[Any]:
    """Derived registers of an energy array (..., 8): "A+" "A-" "R+" "R-" "|A|" "net" "E+" "E-"."""
    parts = {
        "A+": (A_IMPORT,),
        "A-": (A_EXPORT,),
        "R+": (R1, R2),
        "R-": (R3, R4),
        "|A|": (A_IMPORT, A_EXPORT),
        "E+": (E_IMPORT,),
        "E-": (E_EXPORT,),
    }
    if which == "net":
        return np.asarray(energy_u[..., A_IMPORT] - energy_u[..., A_EXPORT])
    return np.asarray(energy_u[..., parts[which]].sum(axis=-1))


def creep_threshold_w(
    nominal_u_v: float, starting_current_a: float, *, ratio: float = 0.5
) -> float:
    """Per-phase creep threshold: `ratio` (0.5 … 1) of the power at the starting current."""
    return ratio * nominal_u_v * starting_current_a


def _block_cycles(connection: Connection, rules: EnergyRules) -> int:
    """Cycles per creep decision: the base interval, rounded up to whole netting windows."""
    cycles, window = connection.cycles_per_block, rules.netting_cycles
    return -(-cycles // window) * window


@part()
def _clear_second(second: Any, phases: Any) -> Any:
    for j in range(len(second)):
        second[j] = 0.0
    for p in range(phases):
        second[SECOND_PHASE_COLUMNS * p + S_UMIN] = np.inf


@kernel()
def _count_rows(
    rows: Any,
    phases: Any,
    rate: Any,
    block: Any,
    window: Any,
    creep_p: Any,
    creep_q: Any,
    netting: Any,
    apparent: Any,
    total: Any,
    remainder: Any,
    counted: Any,
    q_last: Any,
    second: Any,
    place: Any,
    energy: Any,
    sums: Any,
    quiet: Any,
    work: Any,
    final: Any,
) -> Any:
    """Whole blocks first; at the end of a record what remains. Returns (rows used, seconds)."""
    at = np.int64(0)  # a bare 0 has a type of its own, and all below would be compiled twice
    done = np.int64(0)
    count = len(rows)
    part, extra, joules = work
    while at < count:
        # A block begins at an upward crossing; rows before it (the partial one) belong to it.
        lead = at
        while lead < count and not _begins_cycle(rows, lead):
            lead += 1
        stop = lead + block
        if stop > count:
            if not final:
                break
            stop = count
        if creep_p > 0.0 and creep_q > 0.0:
            _judge_creep(rows, at, stop, phases, rate, creep_p, creep_q, part, quiet)
        while at < stop:
            first_whole = at
            while first_whole < stop and not _begins_cycle(rows, first_whole):
                first_whole += 1
            last = min(first_whole + window, stop)
            # A tail shorter than a window joins the one before it.
            if final and stop == count and stop - last < window and stop - last > 0:
                last = stop
            done = _count_window(
                rows, at, first_whole, last, phases, rate, quiet, netting, apparent, part,
                extra, joules, total, remainder, counted, q_last, second, place, energy, sums, done,
            )  # fmt: skip
            at = last
    if final and second[SECOND_PHASE_COLUMNS * phases + T_TIME] > 0.0:
        done = _close_second(phases, counted, second, place, energy, sums, done)
    return at, done


@part()
def _begins_cycle(rows: Any, n: Any) -> Any:
    flags = int(rows[n, C_FLAGS])
    return flags & sync.UPWARD != 0 and flags & sync.PARTIAL == 0


@part()
def _gather(rows: Any, first: Any, last: Any, phases: Any, part: Any) -> Any:
    """Sums of the half cycles [first, last), per phase."""
    for p in range(phases):
        for j in range(S_Q):
            part[p, j] = 0.0
    for n in range(first, last):
        for p in range(phases):
            at = C_PHASES + PHASE_COLUMNS * p
            part[p, S_U2] += rows[n, at] + rows[n, at + 1] + rows[n, at + 2]
            for j in range(8):
                part[p, S_I2 + j] += rows[n, at + I2 + j]


@part()
def _reactive(part: Any, p: Any, time_s: Any) -> Any:
    """Q1 of a phase, in var, from its sums over whole cycles."""
    product = part[p, S_UC] * part[p, S_IS] - part[p, S_US] * part[p, S_IC]
    return 2.0 * product / (time_s * time_s)


@part()
def _judge_creep(
    rows: Any,
    first: Any,
    last: Any,
    phases: Any,
    rate: Any,
    creep_p: Any,
    creep_q: Any,
    part: Any,
    quiet: Any,
) -> Any:
    time_s = (rows[last - 1, C_END] - rows[first, C_START]) / rate
    _gather(rows, first, last, phases, part)
    for p in range(phases):
        low = abs(part[p, S_P] / time_s) < creep_p
        quiet[p] = low and abs(_reactive(part, p, time_s)) < creep_q


@part()
def _count_window(
    rows: Any,
    first: Any,
    first_whole: Any,
    last: Any,
    phases: Any,
    rate: Any,
    quiet: Any,
    netting: Any,
    apparent: Any,
    part: Any,
    extra: Any,
    joules: Any,
    total: Any,
    remainder: Any,
    counted: Any,
    q_last: Any,
    second: Any,
    place: Any,
    energy: Any,
    sums: Any,
    done: Any,
) -> Any:
    """P, Q1 and S of one window, into the registers and the running second."""
    begin, end = rows[first, C_START], rows[last - 1, C_END]
    time_s = (end - begin) / rate
    # Q1 comes from the whole cycles of the window; where there is none, the last Q1 goes on.
    n_last = first_whole + (last - first_whole) // 2 * 2
    complete = n_last > first_whole
    for j in range(SECOND_TOTAL_COLUMNS):
        extra[j] = 0.0
    flags = 0
    whole = 0
    span = 0.0
    for n in range(first, last):
        flags |= int(rows[n, C_FLAGS])
        if int(rows[n, C_FLAGS]) & sync.PARTIAL == 0:
            whole += 1
            span += rows[n, C_END] - rows[n, C_START]
        elif first_whole <= n < n_last:
            complete = False
        for j in range(CROSS_COLUMNS):
            extra[T_CROSS + j] += rows[n, C_PHASES + PHASE_COLUMNS * phases + j]
    if complete:
        _gather(rows, first_whole, n_last, phases, part)
        whole_s = (rows[n_last - 1, C_END] - rows[first_whole, C_START]) / rate
        for p in range(phases):
            q_last[p] = _reactive(part, p, whole_s)
    _gather(rows, first, last, phases, part)
    for p in range(phases):
        part[p, S_Q] = q_last[p] * time_s
        part[p, S_UMIN] = np.sqrt(max(part[p, S_U2] / time_s, 0.0))
        if quiet[p]:
            for column in (S_I2, S_P, S_IS, S_IC, S_I0, S_Q):
                part[p, column] = 0.0
        part[p, S_S] = np.sqrt(max(part[p, S_U2] * part[p, S_I2], 0.0))
        part[p, S_IMAX] = np.sqrt(max(part[p, S_I2] / time_s, 0.0))
        extra[T_P] += part[p, S_P]
        extra[T_Q] += part[p, S_Q]
    extra[T_S] = _total_apparent(part, extra, phases, apparent)
    extra[T_TIME] = time_s
    # A partial half cycle is given the frequency of its neighbours.
    extra[T_CYCLES] = 0.5 * whole * (end - begin) / span if span > 0.0 else 0.0
    extra[T_FLAGS] = flags & ~sync.UPWARD
    _spread_measures(part, extra, phases, netting, joules)
    return _divide(
        begin / rate, time_s, part, extra, joules, phases, total, remainder, counted, second,
        place, energy, sums, done,
    )  # fmt: skip


@part()
def _total_apparent(part: Any, extra: Any, phases: Any, apparent: Any) -> Any:
    """Apparent energy of the system over the window, in VAs."""
    arithmetic = 0.0
    for p in range(phases):
        arithmetic += part[p, S_S]
    if apparent == 0 or phases == 1:
        return arithmetic
    if apparent == 1:
        distortion = 0.0
        for p in range(phases):
            rest = part[p, S_S] ** 2 - part[p, S_P] ** 2 - part[p, S_Q] ** 2
            distortion += np.sqrt(max(rest, 0.0))
        return np.sqrt(extra[T_P] ** 2 + extra[T_Q] ** 2 + distortion**2)
    squares = 0.0
    currents = 0.0
    for p in range(phases):
        squares += part[p, S_U2]
        currents += part[p, S_I2]
    cross = extra[T_CROSS] + extra[T_CROSS + 1] + extra[T_CROSS + 2]
    lines = 3.0 * squares - (squares + 2.0 * cross)
    u_e = (3.0 * squares + lines) / 18.0
    i_e = (currents + extra[T_CROSS + 3]) / 3.0
    return 3.0 * np.sqrt(max(u_e * i_e, 0.0))


@part()
def _quadrants(p: Any, q: Any, s: Any, out: Any) -> Any:
    for j in range(MEASURES):
        out[j] = 0.0
    out[A_IMPORT] = max(p, 0.0)
    out[A_EXPORT] = max(-p, 0.0)
    importing = p >= 0.0
    if q >= 0.0:
        out[R1 if importing else R2] = q
    else:
        out[R4 if importing else R3] = -q
    out[E_IMPORT if importing else E_EXPORT] = s


@part()
def _spread_measures(part: Any, extra: Any, phases: Any, netting: Any, joules: Any) -> Any:
    for p in range(phases):
        _quadrants(part[p, S_P], part[p, S_Q], part[p, S_S], joules[1 + p])
    if netting == 0:
        _quadrants(extra[T_P], extra[T_Q], extra[T_S], joules[0])
        return
    for j in range(MEASURES):
        joules[0, j] = 0.0
        for p in range(phases):
            joules[0, j] += joules[1 + p, j]


@part()
def _divide(
    begin_s: Any,
    time_s: Any,
    part: Any,
    extra: Any,
    joules: Any,
    phases: Any,
    total: Any,
    remainder: Any,
    counted: Any,
    second: Any,
    place: Any,
    energy: Any,
    sums: Any,
    done: Any,
) -> Any:
    """Put a window into the second it lies in, or in proportion to time into two or more."""
    left = 1.0
    at = begin_s
    end = begin_s + time_s
    while True:
        turn = place[1] - place[0]
        inside = end < turn
        share = left if inside else min(max((turn - at) / time_s, 0.0), left)
        _into_second(part, extra, phases, share, second)
        for row in range(phases + 1):
            for j in range(MEASURES):
                if joules[row, j] == 0.0:
                    continue
                # 1 J is 10^6 / 3600 uWh
                amount = remainder[row, j] + joules[row, j] * share * (1e6 / 3600.0)
                whole = np.floor(amount)
                remainder[row, j] = amount - whole
                counted[row, j] += np.int64(whole)
                total[row, j] += np.int64(whole)
        if inside:
            return done
        done = _close_second(phases, counted, second, place, energy, sums, done)
        left -= share
        at = turn


@part()
def _into_second(part: Any, extra: Any, phases: Any, share: Any, second: Any) -> Any:
    for p in range(phases):
        at = SECOND_PHASE_COLUMNS * p
        for j in range(S_UMIN):
            second[at + j] += share * part[p, j]
        if share > 0.5:
            second[at + S_UMIN] = min(second[at + S_UMIN], part[p, S_UMIN])
            second[at + S_UMAX] = max(second[at + S_UMAX], part[p, S_UMIN])
            second[at + S_IMAX] = max(second[at + S_IMAX], part[p, S_IMAX])
    at = SECOND_PHASE_COLUMNS * phases
    for j in range(T_FLAGS):
        second[at + j] += share * extra[j]
    if share > 0.0:
        second[at + T_FLAGS] = float(int(second[at + T_FLAGS]) | int(extra[T_FLAGS]))


@part()
def _close_second(
    phases: Any, counted: Any, second: Any, place: Any, energy: Any, sums: Any, done: Any
) -> Any:
    for j in range(len(second)):
        sums[done, j] = second[j]
    for row in range(4):
        for j in range(MEASURES):
            energy[done, row, j] = counted[row, j]
            counted[row, j] = 0
    _clear_second(second, phases)
    place[1] += 1.0
    return done + 1
