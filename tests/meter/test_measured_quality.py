"""What meters find in waveforms, read at their ports: network values, harmonics, events, outages.

The samples are sinusoids with known harmonics, so every expected value is a closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.meter.loads import Idle
from blathy.meter.measuring import sampled_source
from blathy.meter.meter import Meter
from blathy.metrology.conditions import Condition
from blathy.metrology.connection import Wiring
from blathy.models.model import Level
from tests.meter.running import START_S, made
from tests.meter.test_promises_over_the_port import client, number, tree
from tests.meter.waves import Frames, Wave, Waves, three_phase

ANGLES = (0.0, -120.0, -240.0)
L1, L2, L3 = 0, 1, 2


def run(
    meter: Meter, feed: Waves, until_s: int, ignored: frozenset[Condition] = frozenset()
) -> None:
    source = sampled_source(meter, feed, Idle(), ignored=ignored)
    while meter.ledger.now < START_S + until_s:
        meter.advance(source, min(meter.ledger.now + 60, START_S + until_s), 1)


def log_of(port: Any, obis: str) -> list[tuple[int, int]]:
    """(seconds after the beginning, code) of every entry."""
    rows = tree(port.read((obis, 2)))
    return [(int(CosemDateTime.of(row[0]).utc()) - START_S, row[1]) for row in rows]


# --- network values -------------------------------------------------------------------------------


@pytest.mark.requirement("ESOX-04")
def test_esox_tells_all_network_values_of_distorted_unbalanced_waves() -> None:
    harmonics_u = {5: (0.04, 20.0), 7: (0.03, -70.0)}
    harmonics_i = {3: (0.2, 10.0), 5: (0.1, 200.0), 39: (0.02, 0.0)}
    volts = (230.0, 225.0, 220.0)
    amperes = (4.0, 3.0, 1.0)
    lags = (0.0, 30.0, 60.0)
    voltages = tuple(Wave(u, a, harmonics_u) for u, a in zip(volts, ANGLES, strict=True))
    currents = tuple(
        Wave(i, a - lag, harmonics_i) for i, a, lag in zip(amperes, ANGLES, lags, strict=True)
    )
    feed = Waves((*voltages, *currents), hz=50.1, sample_rate_hz=10_000)
    meter = made("esox")
    run(meter, feed, 30)
    phasors = np.array(volts) * np.exp(1j * np.radians(ANGLES))
    turn = np.exp(2j * np.pi / 3)
    u2 = 100 * abs(phasors @ [1, turn**2, turn]) / abs(phasors @ [1, turn, turn**2])
    # the neutral carries the sum: fundamental phasors and, order by order, the harmonics
    order_1 = np.array(amperes) * np.exp(1j * np.radians(np.array(ANGLES) - lags))
    neutral = abs(order_1.sum()) ** 2 + sum(
        abs((np.array(amperes) * share).sum()) ** 2 for share, _ in harmonics_i.values()
    )
    with client(meter, Level.READER) as port:
        for phase, (u, i) in enumerate(zip(voltages, currents, strict=True)):
            c = 32 + 20 * phase
            assert number(port.read(f"1-0:{c}.7.0")) == pytest.approx(u.total_rms, abs=0.02)
            assert number(port.read(f"1-0:{c - 1}.7.0")) == pytest.approx(i.total_rms, abs=0.002)
            assert number(port.read(f"1-0:{c}.7.124")) == pytest.approx(5.0, abs=0.02)
            thd_i = 100 * np.sqrt(0.2**2 + 0.1**2 + 0.02**2)
            assert number(port.read(f"1-0:{c - 1}.7.124")) == pytest.approx(thd_i, abs=0.02)
            angle = number(port.read(f"1-0:81.7.{(4, 15, 26)[phase]}"))
            assert angle == pytest.approx(lags[phase], abs=0.1)
            for order in range(2, 41):
                due_u = 100 * harmonics_u.get(order, (0.0, 0.0))[0]
                due_i = 100 * harmonics_i.get(order, (0.0, 0.0))[0]
                assert number(port.read(f"1-0:{c}.7.{order}")) == pytest.approx(due_u, abs=0.02)
                assert number(port.read(f"1-0:{c - 1}.7.{order}")) == pytest.approx(due_i, abs=0.02)
        assert number(port.read("1-0:14.7.0")) == pytest.approx(50.1, abs=0.002)
        assert number(port.read("1-0:128.7.20")) == pytest.approx(u2, abs=0.02)
        mean = sum(i.total_rms for i in currents) / 3
        most = max(abs(i.total_rms - mean) for i in currents)
        assert number(port.read("1-0:128.7.21")) == pytest.approx(100 * most / mean, abs=0.2)
        measured = number(port.read("1-0:91.7.0"))
    assert measured == pytest.approx(np.sqrt(neutral), abs=0.003)


@pytest.mark.requirement("ESOX-01")
@pytest.mark.parametrize("sign", [1, -1])
def test_esox_with_three_wires_counts_what_two_elements_measure(sign: int) -> None:
    """Aron: two line voltages and two currents; the same energy as three phases would give."""
    u_line, amperes, lag = 100.0, 4.0, 30.0
    u12 = Wave(u_line, 30.0)
    u32 = Wave(u_line, 90.0)
    i1 = Wave(amperes, -lag + (0 if sign > 0 else 180))
    i3 = Wave(amperes, 120.0 - lag + (0 if sign > 0 else 180))
    feed = Waves((u12, u32, i1, i3), Wiring.THREE_PHASE_3_WIRE, u_line / np.sqrt(3))
    meter = made("esox")
    with client(meter) as port:
        port.set("1-0:0.4.2", axdr.u16(40))  # 200/5 A
        port.set("1-0:0.4.3", axdr.u16(150))  # 15 000/100 V
        run(meter, feed, 60)
        apparent_wh = np.sqrt(3) * u_line * amperes * 40 * 150 / 60
        active, reactive = apparent_wh * np.cos(np.radians(lag)), apparent_wh * 0.5
        read = {c: number(port.read(f"1-0:{c}.8.0")) for c in (1, 2, 3, 4, 9, 10)}
        volts = number(port.read("1-1:32.7.0"))  # secondary
    due = {1: active, 3: reactive, 9: apparent_wh} if sign > 0 else {
        2: active, 4: reactive, 10: apparent_wh
    }  # fmt: skip
    for code, value in read.items():
        assert value == pytest.approx(due.get(code, 0.0), rel=1e-3, abs=1.0), code
    assert volts == pytest.approx(u_line / np.sqrt(3), rel=1e-3)


@pytest.mark.requirement("ESOX-06")
@pytest.mark.parametrize(
    ("ct", "vt", "u_v", "i_a"),
    [(1, 1, 230.0, 4.0), (40, 1, 230.0, 4.0), (20, 200, 57.735, 2.5)],
    ids=["direct", "semi-direct", "indirect"],
)
def test_primary_and_secondary_values_by_the_ratios_that_are_set(
    ct: int, vt: int, u_v: float, i_a: float
) -> None:
    meter = made("esox")
    with client(meter) as port:
        port.set("1-0:0.4.2", axdr.u16(ct))
        port.set("1-0:0.4.3", axdr.u16(vt))
        run(meter, three_phase(u_v, i_a, 60.0, nominal_u_v=u_v), 60)
        energy = 3 * u_v * i_a * 0.5 / 60  # Wh on the secondary side
        for b, i_ratio, u_ratio in ((0, ct, vt), (1, 1, 1)):
            active = number(port.read(f"1-{b}:1.8.0"))
            reactive = number(port.read(f"1-{b}:3.8.0"))
            assert active == pytest.approx(energy * i_ratio * u_ratio, rel=1e-3)
            assert reactive == pytest.approx(np.sqrt(3) * energy * i_ratio * u_ratio, rel=1e-3)
            volts = number(port.read(f"1-{b}:52.7.0"))
            assert volts == pytest.approx(u_v * u_ratio, rel=1e-4)
            assert number(port.read(f"1-{b}:51.7.0")) == pytest.approx(i_a * i_ratio, rel=1e-3)
            power = number(port.read(f"1-{b}:1.7.0"))
            assert power == pytest.approx(1.5 * u_v * i_a * i_ratio * u_ratio, rel=1e-3)
        assert number(port.read("1-0:2.8.0")) == 0


@pytest.mark.requirement("MT372-02")
@pytest.mark.parametrize("phases", [(L1,), (L2,), (L1, L3), (L1, L2, L3)])
def test_mt372_measures_with_any_phases_connected(phases: tuple[int, ...]) -> None:
    on = [1.0 if p in phases else 0.0 for p in range(3)]
    voltages = tuple(Wave(230.0 * k, a) for k, a in zip(on, ANGLES, strict=True))
    currents = tuple(Wave(10.0 * k, a) for k, a in zip(on, ANGLES, strict=True))
    meter = made("mt372")
    run(meter, Waves((*voltages, *currents)), 36)
    with client(meter, Level.READER) as port:
        assert number(port.read("1-0:1.8.0")) == pytest.approx(23 * len(phases), abs=1)
        for phase in range(3):
            due = 230.0 * on[phase]
            assert number(port.read(f"1-0:{32 + 20 * phase}.7.0")) == pytest.approx(due, abs=0.1)


# --- events ---------------------------------------------------------------------------------------


def scaled(phases: tuple[int, ...], factor: float, first: int, last: int) -> Any:
    """A change of the voltages of these phases in the seconds `first` … `last` - 1."""

    def change(at_utc_s: int, frames: Frames) -> None:
        if first <= at_utc_s - START_S < last:
            frames[:, list(phases)] *= factor

    return change


def together(*changes: Any) -> Any:
    def change(at_utc_s: int, frames: Frames) -> None:
        for each in changes:
            each(at_utc_s, frames)

    return change


@pytest.mark.requirement("MT372-04")
def test_mt372_tells_voltages_currents_and_what_happens_to_them() -> None:
    feed = three_phase(231.0, 7.5, 40.0)
    feed.change = together(
        scaled((L2,), 0.80, 60, 180),  # under-voltage of L2: 184.8 V
        scaled((L3,), 1.18, 200, 320),  # over-voltage of L3: 272.6 V
        scaled((0, 1, 2, 3, 4, 5), 0.0, 400, 430),  # power down
    )
    meter = made("mt372")
    run(meter, feed, 50)
    with client(meter) as port:
        for phase in range(3):
            c = 32 + 20 * phase
            assert number(port.read(f"1-0:{c}.7.0")) == pytest.approx(231.0, abs=0.1)
            assert number(port.read(f"1-0:{c - 1}.7.0")) == pytest.approx(7.5, abs=0.01)
            factor = number(port.read(f"1-0:{c + 1}.7.0"))
            assert factor == pytest.approx(np.cos(np.radians(40)), abs=0.001)
        total = number(port.read("1-0:13.7.0"))
        assert total == pytest.approx(np.cos(np.radians(40)), abs=0.001)
        port.set("1-0:12.43.0", axdr.u16(10))
        run(meter, feed, 500)
        happened = [entry for entry in log_of(port, "0-0:99.98.0") if entry[1] != 0x8051]
        failures = number(port.read("0-0:96.7.0"))
    names = {0x8025: "under L2", 0x802D: "back L2", 0x8022: "over L3", 0x802A: "back L3",
             0x0080: "down", 0x0040: "up"}  # fmt: skip
    seen = [(at, names.get(code, hex(code))) for at, code in happened]
    assert [name for _, name in seen] == list(names.values())
    due = (70, 190, 210, 330, 400, 430)
    for (at, name), expected in zip(seen, due, strict=True):
        assert abs(at - expected) <= 2, name
    assert failures == 1


@pytest.mark.requirement("K-03")
@pytest.mark.parametrize("key", ["k162m", "k382m"])
def test_kamstrup_voltage_quality_by_phase_with_limits_that_are_set(key: str) -> None:
    meter = made(key)
    phases = len(meter.model.phases)
    voltages = tuple(Wave(230.0, a) for a in ANGLES[:phases])
    currents = tuple(Wave(5.0 + n, a) for n, a in enumerate(ANGLES[:phases]))
    feed = Waves(
        (*voltages, *currents), Wiring.THREE_PHASE_4_WIRE if phases == 3 else Wiring.ONE_PHASE
    )
    last = phases - 1
    feed.change = together(
        scaled((last,), 0.95, 30, 60),  # 218.5 V: under-voltage by the limit that is set
        scaled((0,), 1.06, 90, 120),  # 243.8 V: over-voltage by the limit that is set
        scaled((last,), 0.0, 150, 170),  # an outage of one phase (of all where there is one)
        scaled(tuple(range(phases)), 0.0, 200, 230),  # an outage of all
    )
    with client(meter) as port:
        run(meter, feed, 20)
        for phase in range(phases):
            c = 32 + 20 * phase
            amperes = 5.0 + phase
            assert number(port.read(f"1-1:{c}.7.0")) == pytest.approx(230.0, abs=1)
            assert number(port.read(f"1-1:{c - 1}.7.0")) == pytest.approx(amperes, abs=0.02)
            if phases == 3:
                power = number(port.read(f"1-1:{21 + 20 * phase}.7.0"))
                assert power == pytest.approx(230 * amperes, abs=2)
        if phases == 1:
            assert number(port.read("1-1:1.7.0")) == pytest.approx(1150, abs=2)
        port.set("1-1:12.31.0", axdr.u16(2250))  # 225.0 V
        port.set("1-1:12.35.0", axdr.u16(2400))  # 240.0 V
        port.set("1-1:12.43.0", axdr.u16(5))
        run(meter, feed, 600)
        rows = tree(port.read(("1-1:99.98.16", 2)))
        log = [(int(CosemDateTime.of(r[0]).utc()) - START_S, *r[1:]) for r in rows]

        table = tree(port.read(("1-1:99.133.0", 2)))[0]
    outage = [(150, 10, 0), (170, 11, 0)] if phases == 1 else [(150, 4, 3), (170, 5, 3)]
    due = [
        (35, 0, last + 1, 218.5),  # under-voltage: its phase and lowest voltage
        (65, 2, last + 1, 218.5),
        (95, 1, 1, 243.8),
        (125, 3, 1, 243.8),
        *((*entry, 0.0) for entry in outage),
        (200, 10, 0, 0.0),
        (230, 11, 0, 0.0),
    ]
    seen = [entry for entry in log if entry[1] not in {6, 7, 8, 9}]  # sags are told as well
    assert [entry[1:3] for entry in seen] == [entry[1:3] for entry in due]
    for entry, expected in zip(seen, due, strict=True):
        assert abs(entry[0] - expected[0]) <= 2
        assert entry[3] / 10 == pytest.approx(expected[3], abs=0.5)
    # the ten minutes keep the lowest and highest voltage of every phase
    assert table[2 + 3 * last + 1] / 10 < 219
    assert table[2 + 2] / 10 == pytest.approx(243.8, abs=0.5)


@pytest.mark.requirement("K-03")
def test_kamstrup_voltage_log_keeps_exactly_two_hundred() -> None:
    meter = made("k382m")
    feed = three_phase(230.0, 1.0)
    feed.sample_rate_hz = 4_000

    def flicker(at_utc_s: int, frames: Frames) -> None:
        if (at_utc_s - START_S) % 4 >= 2:
            frames[:, [0, 1, 2]] = 0.0

    feed.change = flicker
    run(meter, feed, 450)
    with client(meter, Level.READER) as port:
        assert number(port.read(("1-1:99.98.16", 7))) == 200
        assert number(port.read(("1-1:99.98.16", 8))) == 200
        entries = log_of(port, "1-1:99.98.16")
    assert len(entries) == 200
    assert entries[-1][0] >= 445


@pytest.mark.requirement("ESOX-05")
def test_esox_finds_every_event_of_the_sheet_in_the_waves() -> None:
    feed = three_phase(230.0, 4.0, 20.0)

    def spoil(at_utc_s: int, frames: Frames) -> None:
        t = at_utc_s - START_S
        if t == 20:
            frames[1600:3200, L1] *= 0.7  # sag of a quarter of a second
        elif t == 30:
            frames[1600:3200, L2] *= 1.15  # swell
        elif 40 <= t < 60:
            frames[:, L3] *= 0.9  # voltage asymmetry above 2 %
        elif 80 <= t < 110:
            frames[:, [3, 4]] *= 0.4  # current asymmetry above 30 %
        elif 130 <= t < 150:
            frames[:, L2] = 0.0  # current without voltage
        elif 170 <= t < 200:
            frames[:, 3] = 0.0  # no current in L1 while the others carry it
        elif 220 <= t < 300:
            frames[:, 3:] *= 1.6  # 6.4 A: the limit is 6 A
        elif 400 <= t < 590:
            frames[:] = 0.0  # an outage of more than three minutes

    feed.change = spoil
    meter = made("esox")
    run(meter, feed, 650)
    with client(meter, Level.READER) as port:
        supply, quality, current = (log_of(port, f"0-0:99.98.{n}") for n in (0, 1, 2))

    def found(log: list[tuple[int, int]], code: int) -> int:
        times = [at for at, c in log if c == code]
        assert times, (code, log)
        return times[0]

    assert abs(found(quality, 76) - 20) <= 1  # sag L1
    assert abs(found(quality, 33) - 20) <= 2
    assert abs(found(quality, 80) - 30) <= 1  # swell L2
    assert abs(found(quality, 37) - 30) <= 2
    assert 40 <= found(quality, 90) <= 50  # voltage asymmetry
    assert 60 <= found(quality, 92) <= 70
    assert 85 <= found(current, 127) <= 100  # current asymmetry
    assert 110 <= found(current, 128) <= 125
    assert 130 <= found(current, 119) <= 135  # current without voltage, L2
    assert 170 <= found(current, 121) <= 180  # no current, L1
    assert 200 <= found(current, 124) <= 210
    assert 270 <= found(current, 110) <= 290  # current limit, after its minute
    assert found(supply, 1) in {400, 401}
    assert abs(found(supply, 2) - 590) <= 1
    assert abs(found(supply, 3) - 590) <= 1  # long outage


@pytest.mark.requirement("OMNI-18")
@pytest.mark.parametrize(
    ("volts", "watts", "supply", "load"),
    [(158, 158.0, False, True), (162, 162.0, True, True), (230, 2.1, True, False),
     (230, 2.5, True, True)],
)  # fmt: skip
def test_omnipower_shows_supply_from_160_volts_and_load_from_2_3_watts(
    volts: float, watts: float, supply: bool, load: bool
) -> None:
    meter = made("omnipower")
    run(meter, Waves((Wave(volts), Wave(watts / volts)), Wiring.ONE_PHASE), 4)
    with client(meter, Level.READER) as port:
        face = tree(port.read("0-0:96.128.0"))
    shown = {symbol[0] for symbol in face[7] if symbol[2]}
    assert ("l1" in shown) is supply
    assert ("i1" in shown) is load
    assert (face[8][0][2] == "pulsing") is load


# --- the ten-minute profile -----------------------------------------------------------------------


@pytest.mark.requirement("OMNI-09")
def test_omnipower_keeps_ten_minute_values_of_its_supply() -> None:
    wave = Wave(228.0, 0.0, {5: (0.03, 0.0), 7: (0.04, 90.0)})
    feed = Waves((wave, Wave(5.0, -60.0)), Wiring.ONE_PHASE, hz=49.95, sample_rate_hz=5_000)

    def sag(at_utc_s: int, frames: Frames) -> None:
        if at_utc_s - START_S == 700:
            frames[1000:3000, 0] *= 0.6
        if at_utc_s - START_S == 800:
            frames[1000:3000, 0] *= 1.3

    feed.change = sag
    meter = made("omnipower")
    run(meter, feed, 1201)
    with client(meter, Level.READER) as port:
        rows = tree(port.read(("1-1:99.133.0", 2)))
        thd = number(port.read("1-1:32.7.124"))
        factor = number(port.read("1-1:13.7.0"))
        log = log_of(port, "1-1:99.98.16")
    assert len(rows) == 2
    _, _, mean, low, high, f_mean, f_low, f_high, thd_mean = rows[0]
    assert mean / 10 == pytest.approx(wave.total_rms, abs=0.1)
    assert (low, high) == (mean, mean)
    assert [f / 100 for f in (f_mean, f_low, f_high)] == pytest.approx([49.95] * 3, abs=0.01)
    assert thd_mean / 100 == pytest.approx(5.0, abs=0.02)
    assert thd == pytest.approx(5.0, abs=0.1)
    distortion = 1 / np.sqrt(1 + 0.05**2)
    assert factor == pytest.approx(0.5 * distortion, abs=0.01)
    assert rows[1][3] < mean - 100  # the sag pulls the lowest second down
    assert [code for _, code in log if code in {6, 7, 8, 9}] == [6, 7, 8, 9]
