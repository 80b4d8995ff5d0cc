"""A load from a file: power over time as CSV, repeated for ever.

Columns: `time_s` (seconds from the beginning, in order), `power_w` (import positive), and
optionally `reactive_var` (inductive positive). A value holds until the next line. Three-phase
meters see a third on every phase. Energies are exact: what is cut off in one interval is carried.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, INSTANT_INDEX, Block

LINES_MAX: Final = 1_000_000
U_MV: Final = 230_000


class LoadFileError(ValueError):
    """The file is no load; the sentence says which line."""


@dataclass(frozen=True, slots=True, eq=False)
class PowerFileSource:
    """`IntervalSource` over the steps of a file; the last line's time is the length of a round."""

    starts_s: NDArray[np.int64]
    power_mw: NDArray[np.int64]
    reactive_mvar: NDArray[np.int64]
    round_s: int
    phases: int
    replayable: bool = True

    def _mean(self, values: NDArray[np.int64], edges_s: NDArray[np.int64]) -> NDArray[np.int64]:
        """Milliwatt-seconds from the beginning of time up to each of the edges."""
        lengths = np.diff(np.append(self.starts_s, self.round_s))
        cumulated = np.concatenate([[0], np.cumsum(values * lengths)])
        rounds, rest = np.divmod(edges_s, self.round_s)
        at = np.searchsorted(self.starts_s, rest, side="right") - 1
        inside = cumulated[at] + values[at] * (rest - self.starts_s[at])
        total: NDArray[np.int64] = rounds * cumulated[-1] + inside
        return total

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """`n` intervals of `step_s` seconds."""
        edges = start_utc_s + step_s * np.arange(n + 1, dtype=np.int64)
        per_phase = self.phases
        # 1 mWs is 1/3.6 uWh: cut the running sums, so that nothing is lost between intervals.
        energy_u = np.diff(self._mean(self.power_mw, edges) * 5 // (18 * per_phase))
        reactive_u = np.diff(self._mean(self.reactive_mvar, edges) * 5 // (18 * per_phase))
        energy = np.zeros((n, 4, len(ENERGY_MEASURES)), np.int64)
        p_mw = energy_u * 18 // (5 * step_s)
        q_mvar = reactive_u * 18 // (5 * step_s)
        apparent_u = np.hypot(energy_u, reactive_u).astype(np.int64)
        importing, inductive = energy_u >= 0, reactive_u >= 0
        quadrant = np.where(inductive, np.where(importing, 2, 3), np.where(importing, 5, 4))
        rows = np.arange(n)
        for phase in range(1, per_phase + 1):
            energy[rows, phase, np.where(importing, 0, 1)] = np.abs(energy_u)
            energy[rows, phase, quadrant] = np.abs(reactive_u)
            energy[rows, phase, np.where(importing, 6, 7)] = apparent_u
        energy[:, 0] = energy[:, 1 : 1 + per_phase].sum(axis=1)
        instant = np.zeros((n, len(INSTANT_COLUMNS)), np.int64)
        s_mva = np.hypot(p_mw, q_mvar).astype(np.int64)
        factor = np.where(s_mva > 0, np.abs(p_mw) * 1000 // np.maximum(s_mva, 1), 1000)
        for phase in range(per_phase + 1):
            many = per_phase if phase == 0 else 1
            columns = (
                ("u_mv", np.full(n, U_MV)), ("i_ma", s_mva * 1000 // U_MV), ("p_mw", p_mw * many),
                ("q_mvar", q_mvar * many), ("s_mva", s_mva * many), ("pf_milli", factor),
            )  # fmt: skip
            for name, values in columns:
                instant[:, INSTANT_INDEX[name, phase]] = values  # type: ignore[index]
        instant[:, INSTANT_INDEX["f_mhz", 0]] = 50_000  # type: ignore[index]
        supply = np.full(n, (1 << per_phase) - 1, np.uint8)
        return Block(start_utc_s, step_s, energy, instant, supply)


def read_power_file(path: Path, phases: int) -> PowerFileSource:
    """Read a load; raise LoadFileError for anything that is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoadFileError(f"{path} cannot be read: {error}") from error
    if not 2 <= len(rows) <= LINES_MAX or not {"time_s", "power_w"} <= set(rows[0]):
        raise LoadFileError(f"{path} needs a header time_s,power_w and at least two lines")
    try:
        times = np.array([int(row["time_s"]) for row in rows], np.int64)
        power = np.array([round(float(row["power_w"]) * 1000) for row in rows], np.int64)
        reactive = np.array(
            [round(float(row.get("reactive_var") or 0) * 1000) for row in rows], np.int64
        )
    except (TypeError, ValueError) as error:
        raise LoadFileError(f"{path} holds something that is no number: {error}") from error
    if times[0] != 0 or (np.diff(times) <= 0).any():
        raise LoadFileError(f"the times in {path} must begin with 0 and go up")
    return PowerFileSource(times[:-1], power[:-1], reactive[:-1], int(times[-1]), phases)
