"""The recorded appliances' current shapes: as the table says, and as a town's meter is fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blathy.metrology.transformer import LossParameters
from blathy.quantity import Loss
from blathy.registers.block import INSTANT_INDEX, PHASES
from blathy.sources.appliances import APPLIANCES, ORDERS
from blathy.sources.constants import Constants
from blathy.sources.feed import DrawnFeed
from blathy.sources.measured import MeasuredSource
from blathy.sources.recordings import Layout, read_recording
from blathy.sources.synthetic import LoadSpec, SyntheticSource
from blathy.town.streets import STREETS

RATE = 6_400
START = 20_600 * 86_400
CYCLES = 10


def spectrum(voltage: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Current harmonics ORDERS over the fundamental, angles against the voltage's."""
    u, i = np.fft.rfft(voltage), np.fft.rfft(current)
    turn = np.angle(u[CYCLES])
    shares = [i[CYCLES * h] / abs(i[CYCLES]) * np.exp(-1j * h * turn) for h in ORDERS]
    return np.array(shares)


def test_all_twelve_appliances_are_used_in_the_town() -> None:
    used = {name for street in STREETS for point in street for name in point.load.appliances}
    assert used == set(APPLIANCES)
    assert len(APPLIANCES) == 12


@pytest.mark.parametrize("name", sorted(APPLIANCES))
def test_the_table_holds_the_spectra_of_the_recordings(name: str, shared_data: Path) -> None:
    layout = Layout(("i1", "u1"), (1 / 41.4738, 1 / 21.3872), RATE)
    found = read_recording(shared_data / "appliance-waveforms" / f"{name}.npy", layout)
    table = np.array([r * np.exp(1j * np.radians(a)) for r, a in APPLIANCES[name].harmonics])
    window = CYCLES * RATE // 50
    far = []
    for first in range(0, found.length - window + 1, window):
        part = slice(first, first + window)
        seen = spectrum(found.samples["u1"][part], found.samples["i1"][part])
        far.append(np.abs(seen - table).max())
    assert min(far) < 0.02  # one of the ten-cycle windows is the one that was taken


@pytest.mark.parametrize("name", ["laptop", "refrigerator", "washing-machine"])
def test_a_live_point_is_drawn_with_the_shape_of_what_is_switched_on(name: str) -> None:
    appliance = APPLIANCES[name]
    point = SyntheticSource(LoadSpec(annual_kwh=1.0, appliances=(name,)), 1, 5)
    strength = np.abs(point.day_table(START // 86_400).harmonics_a[:, 0, :]).max(axis=1)
    minute = int(np.argmax(strength))
    assert strength[minute] > 0
    at = START + 60 * minute + 30
    frames, _ = DrawnFeed(point, RATE).second(at)
    window = slice(0, CYCLES * RATE // 50)
    seen = spectrum(frames[window, 0], frames[window, 1])
    table = np.array([r * np.exp(1j * np.radians(a)) for r, a in appliance.harmonics])
    # what else runs has no harmonics and takes little: the shape is the appliance's
    keep = np.abs(table) > 0.01
    assert np.abs(seen[keep] / table[keep] - 1).max() < 0.25
    block = MeasuredSource(point).block(at, 3, 1)
    assert block.harmonics is not None
    shares = block.harmonics[1, 0, list(ORDERS)] / 10_000
    assert shares == pytest.approx(np.abs(seen), abs=0.03)


def test_losses_of_a_point_follow_from_its_own_currents_and_voltages() -> None:
    parameters = LossParameters(r_cu_ohm=0.02, x_s_ohm=0.1, r_fe_ohm=500.0, x_m_ohm=200.0)
    point = SyntheticSource(LoadSpec("g3", 50_000, 3), 1, 9)
    point.constants = lambda: Constants(losses=parameters)
    minutes = point.block(START + 9 * 3600, 60, 60)
    seconds = point.block(START + 9 * 3600, 3600, 1)
    assert minutes.loss_u is not None
    assert seconds.loss_u is not None
    assert (minutes.loss_u.sum(axis=0) == seconds.loss_u.sum(axis=0)).all()
    amps = minutes.instant[:, [INSTANT_INDEX["i_ma", p] for p in PHASES[1:]]] / 1000
    volts = minutes.instant[:, [INSTANT_INDEX["u_mv", p] for p in PHASES[1:]]] / 1000
    i2h, u2h = (amps**2).sum() / 60, (volts**2).sum() / 60
    due = {
        Loss.OLA: 0.02 * i2h, Loss.NLA: u2h / 500, Loss.OLR: 0.1 * i2h, Loss.NLR: u2h / 200,
        Loss.U2H: u2h, Loss.I2H: i2h,
    }  # fmt: skip
    for place, loss in enumerate(Loss):
        counted = minutes.loss_u[:, place].sum() / 1e6
        assert counted == pytest.approx(due[loss], rel=1e-5), loss
