"""Waveforms all the way: samples through the engine into the books of a meter, read at its port."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from blathy.cosem import axdr
from blathy.metrology import LossParameters, Ratios
from blathy.models import MODELS
from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, INSTANT_INDEX, Block
from blathy.sources.measured import MeasuredSource
from blathy.sources.synthetic import LoadSpec
from blathy.terminals.led import pulse_edges_ms
from tests.meter.running import START_S, made
from tests.meter.test_promises_over_the_port import client, number

SECONDS = 60


@dataclass
class Load:
    """The same P [W] and Q [var] on every phase; it says nothing of energy: that is measured."""

    p_w: float
    q_var: float
    u_v: float = 230.0
    phases: int = 3
    spec: LoadSpec = field(init=False)

    def __post_init__(self) -> None:
        self.spec = LoadSpec(phases=self.phases, u_nominal_v=self.u_v)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        instant = np.zeros((n, len(INSTANT_COLUMNS)), np.int64)
        instant[:, INSTANT_INDEX["f_mhz", Phase.TOTAL]] = 50_010
        for phase in (Phase.L1, Phase.L2, Phase.L3)[: self.phases]:
            instant[:, INSTANT_INDEX["u_mv", phase]] = round(1000 * self.u_v)
            instant[:, INSTANT_INDEX["p_mw", phase]] = round(1000 * self.p_w)
            instant[:, INSTANT_INDEX["q_mvar", phase]] = round(1000 * self.q_var)
        energy = np.zeros((n, 4, len(ENERGY_MEASURES)), np.int64)
        supply = np.full(n, (1 << self.phases) - 1, np.uint8)
        return Block(start_utc_s, step_s, energy, instant, supply)


def measured(load: Load, **named: Any) -> MeasuredSource:
    return MeasuredSource(load, **named)


QUADRANTS = {  # registers that count, by quadrant
    (1, 1): {1, 3, 5, 9},
    (-1, 1): {2, 3, 6, 10},
    (-1, -1): {2, 4, 7, 10},
    (1, -1): {1, 4, 8, 9},
}
CODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


@pytest.mark.requirement("K-01", "ESOX-01")
@pytest.mark.parametrize("key", ["k382m", "esox"])
@pytest.mark.parametrize("signs", list(QUADRANTS))
def test_each_quadrant_of_the_samples_reaches_its_register(
    key: str, signs: tuple[int, int]
) -> None:
    # 36 kW and 27 kvar a phase for a minute: 1800 Wh, 1350 varh, 2250 VAh in all
    load = Load(36_000 * signs[0], 27_000 * signs[1])
    meter = made(key)
    meter.advance(measured(load, nominal_i_a=250.0), START_S + SECONDS, 1)
    b = 1 if key == "k382m" else 0
    rows = {str(row.obis) for row in meter.model.rows}
    codes = [code for code in CODES if f"1-{b}:{code}.8.0" in rows]
    assert set(codes) >= {1, 2, 3, 4}  # A+ A− R+ R−, and what else the model counts
    with client(meter) as port:
        read = {code: number(port.read(f"1-{b}:{code}.8.0")) for code in codes}
    wanted = {1: 1800, 2: 1800, 9: 2250, 10: 2250}
    for code in codes:
        due = wanted.get(code, 1350) if code in QUADRANTS[signs] else 0
        # the drawn voltage carries harmonics that the fundamental current has no power with
        assert read[code] == pytest.approx(due, rel=3e-3, abs=1.0), code


@pytest.mark.requirement("ESOX-03")
def test_losses_of_the_transformer_are_read_at_the_port() -> None:
    parameters = LossParameters(r_cu_ohm=0.02, x_s_ohm=0.1, r_fe_ohm=500.0, x_m_ohm=200.0)
    meter = made("esox")
    source = measured(Load(46_000, 0), nominal_i_a=250.0, losses=parameters)
    meter.advance(source, START_S + SECONDS, 1)
    hours = SECONDS / 3600
    amps = 46_000 / (230 / np.sqrt(1 + 0.012**2 + 0.008**2 + 0.004**2))
    i2h, u2h = 3 * amps**2 * hours, 3 * 230.0**2 * hours
    due = {3: 0.02 * i2h, 6: u2h / 500, 12: 0.1 * i2h, 15: u2h / 200, 19: u2h, 20: i2h}
    with client(meter) as port:
        read = {e: number(port.read(f"1-0:83.8.{e}")) for e in due}
    for e, value in due.items():
        assert read[e] == pytest.approx(value, rel=1e-4, abs=0.02), e


@pytest.mark.requirement("ESOX-06")
@pytest.mark.parametrize(
    ("ratios", "u_v", "p_w"),
    [
        (Ratios(), 230.0, 1_000.0),  # direct
        (Ratios(200, 5), 230.0, 36_000.0),  # semi-direct: current transformers
        (Ratios(100, 5, 20_000, 100), 11_547.0, 1_000_000.0),  # indirect: 20 kV
    ],
)
def test_the_meter_behind_transformers_shows_primary_values(
    ratios: Ratios, u_v: float, p_w: float
) -> None:
    load = Load(p_w, 0.0, u_v)
    secondary_a = p_w / u_v / ratios.current
    assert secondary_a < 6.0  # the transformers keep the meter within its range
    meter = made("esox")
    meter.advance(
        measured(load, ratios=ratios, nominal_i_a=5.0 * ratios.current), START_S + SECONDS, 1
    )
    with client(meter) as port:
        port.set("1-0:0.4.2", axdr.u16(round(ratios.current)))
        port.set("1-0:0.4.3", axdr.u16(round(ratios.voltage)))
        energy_wh = number(port.read("1-0:1.8.0"))
        volts = meter.books.instant[-1][INSTANT_INDEX["u_mv", Phase.L1]] / 1000
        amps = number(port.read("1-0:31.7.0"))
        ct, vt = (number(port.read(f"1-0:0.4.{n}")) for n in (2, 3))
    assert energy_wh == pytest.approx(3 * p_w / 60, rel=1e-3)
    assert volts == pytest.approx(u_v, rel=1e-4)
    assert amps == pytest.approx(p_w / u_v, rel=1e-3)
    # what stands on the secondary side follows from the ratios that the port tells
    assert amps / ct == pytest.approx(secondary_a, rel=1e-3)
    assert energy_wh / (ct * vt) == pytest.approx(3 * p_w / 60 / ratios.energy, rel=1e-3)


@pytest.mark.requirement("OMNI-11")
@pytest.mark.parametrize("key", ["omnipower", "k162m"])
@pytest.mark.parametrize("q_var", [0.0, 4_000.0])
def test_light_and_s0_pulse_in_step_with_the_register(key: str, q_var: float) -> None:
    meter = made(key)
    outputs = {output.key: output for output in MODELS[key].pulses}
    assert outputs.keys() >= {"led", "s0"}
    source = measured(Load(14_400.0, q_var, phases=1), nominal_i_a=100.0)
    edges: dict[str, list[tuple[int, int]]] = {name: [] for name in outputs}
    before = 0
    seconds = 150
    for second in range(seconds):
        meter.advance(source, START_S + second + 1, 1)
        after = meter.books.value(Source(Kind.ENERGY, Measure.A_IMPORT))
        for name, output in outputs.items():
            edges[name] += [
                (1000 * second + rise, 1000 * second + fall)
                for rise, fall in pulse_edges_ms(output, before, after, 1000)
            ]
        before = after
    with client(meter) as port:
        energy_wh = number(port.read("1-1:1.8.0"))
    for name, output in outputs.items():
        assert output.imp_per_kwh == 1000
        assert all(27 <= fall - rise <= 33 for rise, fall in edges[name])  # 30 ms ± 10 %
        assert abs(len(edges[name]) - energy_wh) <= 10  # the register shows whole 10 Wh
        assert len(edges[name]) == before // 1_000_000
        gaps = np.diff([rise for rise, _ in edges[name]])
        assert gaps.min() >= 240  # 4 kW s is 1.1 Wh: a pulse each 250 ms, evenly
        assert gaps.max() <= 260
    assert len(edges["led"]) == pytest.approx(600, abs=2)
