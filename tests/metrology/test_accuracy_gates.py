"""The gates: the error of the algorithms alone, on random clean signals, against closed forms.

Method: draw sample rate, frequency, level and a distorted unsymmetrical system from a seed; all
expected values are sums over the spectrum that was drawn.
"""

from __future__ import annotations

import numpy as np
import pytest

from blathy.metrology import Connection, HalfCycleMeter, Quantities, Wiring
from blathy.metrology.half_cycle import HalfCycles
from blathy.metrology.quantities import merge, u_half_cycle_v
from blathy.metrology.spectrum import measure_spectra, order_limit
from blathy.metrology.symmetry import unbalance_of_lines_percent
from tests.metrology.signals import FloatArray, System, Tones, random_system

RATES = (
    (10_000, 50), (6_400, 50), (8_000, 60), (12_800, 50), (20_000, 60), (32_000, 50), (4_000, 50),
    (4_000, 60),
)  # fmt: skip
CASES = [(rate, nominal, seed) for seed, (rate, nominal) in enumerate([*RATES, *RATES, *RATES])]
LOW, HIGH = {50: 42.5, 60: 51.0}, {50: 57.5, 60: 69.0}


def drawn(
    rate: int, nominal: int, seed: int, order_max: int | None = None
) -> tuple[Connection, System, HalfCycles, HalfCycleMeter]:
    rng = np.random.default_rng(seed)
    f_hz = rng.uniform(LOW[nominal], HIGH[nominal])
    level = 10 ** rng.uniform(-3, np.log10(1.5))  # 0.1 % to 150 % of range
    if order_max is None:
        order_max = min(50, int(0.8 * rate / 2 / f_hz))
    system = random_system(rng, f_hz, 3, order_max, 230.0 * level, 5.0 * level)
    connection = Connection(rate, Wiring.THREE_PHASE_4_WIRE, nominal, 230.0, 5.0)
    meter = HalfCycleMeter(connection)
    half = meter.push_slice(meter.checked(system.frames(rate, 0.25))[:8192])
    tables = [half.table.copy()]
    frames = meter.checked(system.frames(rate, 1.0, 0.25))
    tables += [meter.push_slice(part).table.copy() for part in meter.slices(frames)]
    return connection, system, meter.half_cycles(np.concatenate(tables)), meter


def rms_of(tones: list[Tones]) -> FloatArray:
    return np.array([x.rms() for x in tones])


@pytest.mark.parametrize(("rate", "nominal", "seed"), CASES)
def test_rms_power_and_reactive_power_hold_their_gates(rate: int, nominal: int, seed: int) -> None:
    connection, system, half, _ = drawn(rate, nominal, seed)
    q = Quantities.of(half[2:], 2 * connection.cycles_per_block)
    pairs = list(zip(system.voltages, system.currents, strict=True))
    power = np.array([u.power(i) for u, i in pairs])
    fundamental = np.array([u.phasor() * i.phasor().conjugate() for u, i in pairs])
    assert len(q) >= 3
    assert np.abs(q.u_v / rms_of(system.voltages) - 1).max() < 1e-5
    assert np.abs(q.i_a / rms_of(system.currents) - 1).max() < 1e-5
    # Of the reading, down to a power factor below which it is a difference of large powers.
    factor = 0.01 if rate >= 10_000 else 0.1 if rate > 4_000 else 0.25
    floor = np.maximum(np.abs(power), factor * np.abs(fundamental))
    assert (np.abs(q.p_w - power) / floor).max() < 1e-5
    assert (np.abs(q.q1_var - fundamental.imag) / np.abs(fundamental)).max() < 1e-5
    assert np.abs(q.frequency_hz / system.f_hz - 1).max() < 1e-6


@pytest.mark.parametrize(("rate", "nominal", "seed"), CASES)
def test_urms_half_cycle_holds_its_gate(rate: int, nominal: int, seed: int) -> None:
    _, system, half, _ = drawn(rate, nominal, seed)
    values = u_half_cycle_v(half[2:])
    assert len(values) > 60
    assert np.abs(values / rms_of(system.voltages) - 1).max() < 2e-5


@pytest.mark.parametrize(("rate", "nominal", "seed"), CASES)
def test_harmonics_to_the_fiftieth_hold_their_gate(rate: int, nominal: int, seed: int) -> None:
    top = order_limit(rate, nominal)
    connection, system, half, meter = drawn(rate, nominal, seed, top)
    cycles = connection.cycles_per_block
    q = Quantities.of(half[len(half) - 2 * cycles - 3 :], 2 * cycles)
    start, end = q.windows.start - meter.base, q.windows.end - meter.base
    spectra = measure_spectra(meter.samples, start, end, cycles, 3, float(rate))
    tones = [*system.voltages, *system.currents]
    orders = [h for h in range(1, top + 1) if h in tones[0].parts]
    assert len(orders) == top == {4_000: {50: 31, 60: 26}}.get(rate, {}).get(nominal, 50)
    expected = np.array([[x.parts[h][0] for h in orders] for x in tones])
    assert np.abs(spectra.harmonic[0][:, orders] / expected - 1).max() < 1e-3
    # what is not in the signal: only what the resampling makes of the harmonics that are
    assert np.nanmax(spectra.interharmonic[0] / expected[:, :1]) < 1e-5
    power = np.array(
        [
            [u.parts[h][0] * i.parts[h][0] * np.cos(u.parts[h][1] - i.parts[h][1]) for h in orders]
            for u, i in zip(system.voltages, system.currents, strict=True)
        ]
    )
    apparent = expected[:3] * expected[3:]
    measured = spectra.complex_power_va[0].real[:, orders]
    assert (np.abs(measured - power) < 2e-3 * apparent).all()
    clear = np.abs(power) > 1e-2 * apparent
    assert np.array_equal(spectra.direction[0][:, orders][clear], np.sign(power)[clear])


@pytest.mark.parametrize(("wiring", "floor"), [("ONE_PHASE", 1e-6), ("THREE_PHASE_4_WIRE", 1e-8)])
@pytest.mark.parametrize(("rate", "nominal"), RATES)
def test_a_harmonic_of_a_ten_thousandth_is_not_buried_by_the_fundamental(
    rate: int, nominal: int, wiring: str, floor: float
) -> None:
    """A pure fundamental leaves nothing on other orders; a single phase is synchronised less well,
    because the image of its one voltage turns against it.
    """
    connection = Connection(rate, Wiring[wiring], nominal)
    phases, cycles, top = connection.phases, connection.cycles_per_block, order_limit(rate, nominal)
    turn = [-2 * np.pi / 3 * k for k in range(phases)]
    tones = [Tones({1: (230.0, a + 0.3), top - 1: (0.023, a)}) for a in turn]
    currents = [Tones({1: (5.0, a + 0.1)}) for a in turn]
    meter = HalfCycleMeter(connection)
    half = meter.push(System(tones, currents, nominal * 1.0137).frames(rate, 0.6))
    q = Quantities(merge(half, np.array([len(half) - 2 * cycles]), 2 * cycles), 2 * cycles)
    spectra = measure_spectra(
        meter.samples, q.windows.start, q.windows.end, cycles, phases, float(rate), meter.base
    )
    harmonic = spectra.harmonic[0, :, : top + 1]
    assert np.abs(harmonic[:phases, top - 1] / 0.023 - 1).max() < 1e-3
    others = [h for h in range(top + 1) if h not in {1, top - 1}]
    assert (harmonic[:phases, others] / 230.0).max() < floor
    assert (harmonic[phases:, 2:] / 5.0).max() < floor


@pytest.mark.parametrize(("rate", "nominal"), [(rate, f) for rate, f in RATES if rate > 5_000])
def test_what_lies_above_the_fiftieth_order_does_not_fold_onto_it(rate: int, nominal: int) -> None:
    """Voltages between the fiftieth order and half the sample rate, as IEC 61000-4-7 asks."""
    f_hz = nominal * 0.9963
    cycles = 10 if nominal == 50 else 12
    tone = Tones({1: (230.0, 0.3)})
    for order in np.arange(51.5, 0.97 * rate / 2 / f_hz, 7.0):  # on a line: no leakage
        meter = HalfCycleMeter(Connection(rate, Wiring.ONE_PHASE, nominal))
        tone.parts = {1: (230.0, 0.3), order: (23.0, 1.0)}
        half = meter.push(System([tone], [Tones({1: (5.0, 0.1)})], f_hz).frames(rate, 0.6))
        end = half.end[-1:]
        start = end - cycles * rate / f_hz
        spectra = measure_spectra(meter.samples, start, end, cycles, 1, float(rate), meter.base)
        assert spectra.harmonic[0, 0, 2:].max() < 23.0 * 10 ** (-50 / 20), order


@pytest.mark.parametrize(("rate", "nominal", "seed"), CASES)
def test_unbalance_holds_its_gate(rate: int, nominal: int, seed: int) -> None:
    connection, system, half, _ = drawn(rate, nominal, seed)
    q = Quantities.of(half[2:], 2 * connection.cycles_per_block)
    a = np.exp(2j * np.pi / 3)
    x = [u.phasor() for u in system.voltages]
    positive = (x[0] + a * x[1] + a * a * x[2]) / 3
    u2 = 100 * abs((x[0] + a * a * x[1] + a * x[2]) / 3 / positive)
    u0 = 100 * abs(sum(x) / 3 / positive)
    assert np.abs(q.u_components.negative_percent - u2).max() < 1e-3
    assert np.abs(q.u_components.zero_percent - u0).max() < 1e-3


def test_unbalance_from_line_voltages_alone_is_that_of_the_standard_example() -> None:
    assert unbalance_of_lines_percent(np.array([400.0, 390.0, 410.0])) == pytest.approx(
        2.888031, abs=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_four_kilosamples_still_hold_the_gates_within_their_bandwidth(seed: int) -> None:
    """At 4 kS/s the products of high orders fold; with orders to 20 the gates hold as elsewhere."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, rng.uniform(42.5, 57.5), 3, 20)
    meter = HalfCycleMeter(Connection(4_000.0))
    half = meter.push(system.frames(4_000, 1.0))
    q = Quantities.of(half[2:], 20)
    assert np.abs(q.u_v / rms_of(system.voltages) - 1).max() < 1e-5
    assert np.abs(q.i_a / rms_of(system.currents) - 1).max() < 1e-5
    assert np.abs(u_half_cycle_v(half[2:]) / rms_of(system.voltages) - 1).max() < 2e-5
    pairs = list(zip(system.voltages, system.currents, strict=True))
    power = np.array([u.power(i) for u, i in pairs])
    fundamental = np.array([u.phasor() * i.phasor().conjugate() for u, i in pairs])
    floor = np.maximum(np.abs(power), np.abs(fundamental) / 10)
    assert (np.abs(q.p_w - power) / floor).max() < 1e-5
    assert (np.abs(q.q1_var - fundamental.imag) / np.abs(fundamental)).max() < 1e-5
