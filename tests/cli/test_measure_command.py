"""`blathy measure`: closed forms in every format, faults reported, and twelve real appliances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.cli.in_process import Done, blathy
from tests.cli.made_recordings import (
    RATE,
    harmonic_wave,
    three_phase,
    write_comtrade,
    write_csv,
    write_wav,
)

U_V = 230.0 * np.sqrt(1 + 0.03**2)
I_A = 10.0 * np.sqrt(1 + 0.2**2)
P_W = 2300.0 * np.cos(np.radians(30))
Q_VAR = 2300.0 * np.sin(np.radians(30))
K_FACTOR = (1 + 9 * 0.04) / (1 + 0.04)


def measured(*arguments: object) -> Any:
    done = blathy("measure", *arguments, "--json")
    assert done.status == 0, done.err
    return done.json


def refused(done: Done, words: str) -> None:
    """One sentence on standard error and exit status 2."""
    assert done.status == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 6


def check_three_phase(found: Any, within: float) -> None:
    for phase in found["phases"]:
        assert phase["u_v"] == pytest.approx(U_V, rel=within)
        assert phase["i_a"] == pytest.approx(I_A, rel=within)
        assert phase["p_w"] == pytest.approx(P_W, rel=within)
        assert phase["q1_var"] == pytest.approx(Q_VAR, rel=2 * within)
        assert phase["s_va"] == pytest.approx(U_V * I_A, rel=within)
        assert phase["power_factor"] == pytest.approx(P_W / (U_V * I_A), rel=within)
        assert phase["cos_phi1"] == pytest.approx(np.cos(np.radians(30)), rel=within)
        assert phase["thd_u_percent"] == pytest.approx(3.0, abs=0.01)
        assert phase["thd_i_percent"] == pytest.approx(20.0, abs=0.02)
        assert phase["k_factor"] == pytest.approx(K_FACTOR, rel=2e-3)
    total = found["total"]
    assert total["p_w"] == pytest.approx(3 * P_W, rel=within)
    assert total["i_neutral_a"] == pytest.approx(6.0, rel=2e-3)  # the third harmonics add up
    assert total["u2_percent"] == pytest.approx(0.0, abs=0.01)
    assert total["frequency_hz"] == pytest.approx(50.0, abs=1e-3)
    assert total["sequence"] == "L1 L2 L3"
    energy = found["energies"][0]
    assert energy["a_import_wh"] == pytest.approx(3 * P_W * found["duration_s"] / 3600, rel=1e-3)
    assert energy["r1_varh"] == pytest.approx(3 * Q_VAR * found["duration_s"] / 3600, rel=1e-3)
    assert energy["a_export_wh"] == energy["r3_varh"] == 0


@pytest.mark.requirement("MPTA-01")
@pytest.mark.parametrize("form", ["csv", "npy", "cfg"])
def test_three_phases_as_the_closed_form_says(form: str, tmp_path: Path) -> None:
    samples, path = three_phase(), tmp_path / f"three.{form}"
    options: list[object] = []
    if form == "csv":
        write_csv(path, samples)
    elif form == "npy":
        np.save(path, samples.astype(np.float32))
        options = ["--sample-rate", RATE]
    else:
        write_comtrade(path, samples)
    found = measured(path, *options)
    check_three_phase(found, 1e-5 if form != "cfg" else 2e-4)
    assert not found["events"]
    if form == "cfg":
        assert found["start"] == "2026-03-01T12:00:00Z"
        assert found["nominal_hz"] == 50


@pytest.mark.requirement("MPTA-01")
def test_one_phase_from_a_sound_card(tmp_path: Path) -> None:
    t = np.arange(48_000 * 2) / 48_000
    u, i = harmonic_wave(t, 120.0, hz=60.0), harmonic_wave(t, 5.0, -45.0, 60.0, h3=0.1)
    counts = np.round(np.stack([u / 0.01, i / 0.001], axis=1)).astype(np.int16)
    path = write_wav(tmp_path / "one.wav", counts, 48_000)
    found = measured(path, "--scale", "0.01,1/1000")
    (phase,) = found["phases"]
    assert found["nominal_hz"] == 60
    assert found["nominal_u_v"] == 120.0
    assert phase["u_v"] == pytest.approx(120.0, rel=1e-4)
    assert phase["p_w"] == pytest.approx(600 * np.cos(np.pi / 4), rel=2e-4)
    assert phase["q1_var"] == pytest.approx(-600 * np.sin(np.pi / 4), rel=2e-4)
    assert phase["thd_i_percent"] == pytest.approx(10.0, abs=0.02)
    assert any("resampled from 48000" in note for note in found["notes"])


def test_a_slow_relay_recording_is_measured_to_the_order_it_carries(tmp_path: Path) -> None:
    path = write_comtrade(tmp_path / "relay.cfg", three_phase(2.0, 1600), 1600)
    found = measured(path)
    assert found["phases"][0]["p_w"] == pytest.approx(P_W, rel=1e-3)
    assert found["phases"][0]["thd_u_percent"] == pytest.approx(3.0, abs=0.02)
    assert 7 <= max(row["order"] for row in found["harmonics"]) <= 12
    assert any("carries harmonics to order" in note for note in found["notes"])


def test_harmonic_powers_have_a_direction(tmp_path: Path) -> None:
    t = np.arange(RATE * 2) / RATE
    u = harmonic_wave(t, 230.0, h5=0.05)
    i = harmonic_wave(t, 10.0, h5=-0.2, h7=0.1)
    found = measured(write_csv(tmp_path / "x.csv", np.stack([u, i], axis=1), "t_s,u_v,i_a"))
    rows = {row["order"]: row for row in found["harmonics"]}
    assert rows[1]["direction"] == "to load"
    assert rows[5]["p_w"] == pytest.approx(-11.5 * 2.0, rel=1e-3)
    assert rows[5]["direction"] == "to grid"
    assert rows[7]["i_percent"] == pytest.approx(10.0, rel=1e-3)
    assert rows[7]["direction"] == ""


def test_dips_swells_and_interruptions_with_their_times(tmp_path: Path) -> None:
    samples = three_phase(6.0)
    samples[20_000:22_000, 1] *= 0.6
    samples[35_000:36_000, :3] *= 1.2
    samples[45_000:47_000, :3] *= 0.0
    path = tmp_path / "dips.npy"
    np.save(path, samples.astype(np.float32))
    page = tmp_path / "dips.html"
    found = measured(path, "--sample-rate", RATE, "--nominal-u", 230, "--html", page)
    events = {e["name"]: e for e in found["events"]}
    first = next(e for e in found["events"] if e["name"] == "voltage dip")
    assert first["phases"] == "L2"
    assert first["start_s"] == pytest.approx(2.0, abs=0.02)
    assert first["duration_s"] == pytest.approx(0.2, abs=0.02)
    assert first["extreme"] == pytest.approx(0.6 * U_V, rel=2e-3)
    assert events["voltage swell"]["start_s"] == pytest.approx(3.5, abs=0.02)
    assert events["voltage swell"]["extreme"] == pytest.approx(1.2 * U_V, rel=2e-3)
    assert events["interruption"]["duration_s"] == pytest.approx(0.2, abs=0.021)
    assert "Waveform around the first event" in page.read_text()


def test_faults_are_reported_and_nothing_crashes(tmp_path: Path) -> None:
    samples = three_phase(8.0)
    samples[:, 1] = 0.0  # a missing phase
    samples[:, 5] *= -1.0  # a current transformer turned round
    samples[:, 3] += 2.0  # a direct current
    text = write_csv(tmp_path / "faults.csv", samples)
    lines = text.read_text().splitlines()
    for row in (1000, 2000, 3000):
        lines[row] = lines[row].rsplit(",", 1)[0] + ","  # an empty cell
    text.write_text("\n".join(lines) + "\n")
    found = measured(text)
    notes = "\n".join(found["notes"])
    assert "L2 has no voltage" in notes
    assert "L3: power flows against the other phases" in notes
    assert "L1: d.c. of 2 A in the current" in notes
    assert "i3: 3 samples are no numbers" in notes
    assert found["phases"][0]["i_dc_a"] == pytest.approx(2.0, rel=1e-3)
    assert found["phases"][0]["i_a"] == pytest.approx(np.hypot(I_A, 2.0), rel=1e-3)
    assert found["phases"][1]["thd_u_percent"] is None
    assert {"phase lost", "reversed current", "current without voltage"} <= {
        e["name"] for e in found["events"]
    }
    mended = measured(text, "--channels", "u1,u2,u3,i1,i2,i3", "--scale", "1,1,1,1,1,-1")
    assert mended["phases"][2]["p_w"] == pytest.approx(P_W, rel=1e-2)


def test_saturation_silence_and_pure_direct_voltage(tmp_path: Path) -> None:
    t = np.arange(RATE * 2) / RATE
    u = np.clip(harmonic_wave(t, 230.0) / 0.009, -32_768, 32_767)
    path = tmp_path / "clipped.npy"
    np.save(path, np.stack([u, u / 10], axis=1).astype(np.int16))
    found = measured(path, "--sample-rate", RATE, "--scale", "0.009")
    assert any("u1" in note and "saturated" in note for note in found["notes"])
    assert not any("i1" in note and "saturated" in note for note in found["notes"])
    for level in (0.0, 325.0):
        np.save(path, np.full((RATE, 2), level, np.float32))
        found = measured(path, "--sample-rate", RATE)
        assert any("no usable voltage" in note for note in found["notes"])
        assert found["total"]["frequency_hz"] is None
        np.save(path, np.full((RATE, 2), np.nan, np.float32))
    assert any("10000 samples are no numbers" in n for n in measured(path, "--sample-rate", RATE)
               ["notes"])  # fmt: skip


def test_recordings_shorter_than_a_second_and_than_a_cycle(tmp_path: Path) -> None:
    path = tmp_path / "short.npy"
    np.save(path, three_phase(0.13))
    found = measured(path, "--sample-rate", RATE)
    assert found["phases"][0]["u_v"] == pytest.approx(U_V, rel=1e-3)
    assert found["phases"][0]["thd_u_percent"] is None
    assert any("no spectrum" in note for note in found["notes"])
    np.save(path, three_phase(0.004))
    found = measured(path, "--sample-rate", RATE)
    assert found["phases"][0]["u_v"] is None
    assert any("shorter than one whole cycle" in note for note in found["notes"])
    assert blathy("measure", path, "--sample-rate", RATE, "--html", tmp_path / "s.html").status == 0


def test_a_calibration_by_serial_number_is_applied(tmp_path: Path) -> None:
    t = np.arange(RATE * 4) / RATE
    lead_deg = 90.0 / 60.0
    u = harmonic_wave(t, 230.0)
    i = 0.985 * harmonic_wave(t, 10.0, 60.0 - lead_deg)  # what a transformer of poor class shows
    path = write_csv(tmp_path / "ct.csv", np.stack([u, i], axis=1), "t_s,u1_v,i1_a")
    point = {"share": 1.0, "ratio": 0.985, "phase_min": 90.0}
    constants = {"CT-0017": {"channel": "i1", "rated_a": 10, "points": [point]}}
    file = tmp_path / "ct.json"
    file.write_text(json.dumps(constants))
    true_w = 2300.0 * np.cos(np.radians(60))
    raw = measured(path)["phases"][0]["p_w"]
    corrected = measured(path, "--calibration", file)["phases"][0]["p_w"]
    assert abs(raw / true_w - 1) > 0.02
    assert corrected == pytest.approx(true_w, rel=1e-3)
    file.write_text('{"CT-0017": {"channel": "i1"}}')
    refused(blathy("measure", path, "--calibration", file), "is no calibration")


def test_two_elements_measure_three_wires(tmp_path: Path) -> None:
    samples = three_phase(2.0)
    u1, u2, u3, i1, i2, i3 = samples.T
    third = (i1 + i2 + i3) / 3  # three wires carry no zero sequence
    path = tmp_path / "aron.npy"
    np.save(path, np.stack([u1 - u2, u3 - u2, i1 - third, i3 - third], axis=1))
    found = measured(path, "--sample-rate", RATE, "--channels", "u12,u32,i1,i3", "--wiring", "3x3")
    assert found["nominal_u_v"] == 230.0
    assert found["total"]["p_w"] == pytest.approx(3 * P_W, rel=1e-4)
    assert found["total"]["u_line_v"][0] == pytest.approx(np.sqrt(3) * U_V, rel=1e-3)


def test_voltage_alone_has_no_powers(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "u.csv", three_phase()[:, :1], "t_s,u1_v")
    found = measured(path)
    assert found["phases"][0]["u_v"] == pytest.approx(U_V, rel=1e-5)
    assert found["phases"][0]["p_w"] is None
    assert found["energies"] == []
    assert any("no current was recorded" in note for note in found["notes"])


def test_tables_report_and_parquet(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "three.csv", three_phase(3.0))
    html, pdf, table = tmp_path / "r.html", tmp_path / "r.pdf", tmp_path / "t.parquet"
    done = blathy("measure", path, "--html", html, "--parquet", table)
    assert done.status == 0, done.err
    for words in ("Active power P", "1991.9", "Harmonics of L3", "A+ [Wh]", "20.000"):
        assert words in done.out
    text = html.read_text()
    assert text.count("<svg") >= 10
    assert "Phasors of the fundamental" in text
    assert "<script" not in text
    assert blathy("measure", path, "--html", pdf).status == 0
    assert pdf.read_bytes().startswith(b"%PDF-")
    rows = pq.read_table(table).to_pydict()
    assert len(rows["u_l1_v"]) == 14
    assert rows["p_l2_w"][5] == pytest.approx(P_W, rel=1e-5)


def test_flicker_needs_ten_minutes_and_has_them(tmp_path: Path) -> None:
    t = np.arange(4_000 * 605) / 4_000
    change = np.where(np.floor(t / (60 / 39)) % 2 == 0, 1 + 0.00894 / 2, 1 - 0.00894 / 2)
    path = tmp_path / "long.npy"
    np.save(path, (harmonic_wave(t, 230.0) * change)[:, None].astype(np.float32))
    found = measured(path, "--sample-rate", 4_000, "--channels", "u1")
    (pst,) = found["flicker"]
    assert pst["name"] == "Pst"
    assert pst["values"][0] == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channels", "u1,i1"], "has 6 columns, --channels names 2"),
        (["--channels", "u1,u1,u3,i1,i2,i3"], "twice"),
        (["--channels", "u1,u2,u3,x,i2,i3"], "'x' is not known"),
        (["--channels", "-,-,-,i1,i2,i3"], "holds no voltage"),
        (["--scale", "nine"], "write 0.05 or 1/20"),
        (["--scale", "0"], "other than 0"),
        (["--wiring", "5"], "there is no wiring"),
        (["--nominal-hz", "40"], "50 or 60"),
        (["--start", "yesterday"], "is no time"),
        (["--html", "x.doc"], ".html or .pdf"),
        (["--calibration", "nowhere.json"], "cannot be read"),
        (["--sample-rate", "100"], "cannot be measured"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: list[str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "three.npy"
    np.save(path, three_phase(0.5))
    rate = [] if "--sample-rate" in options else ["--sample-rate", "10000"]
    refused(blathy("measure", path, *rate, *options), words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "holds no samples"),
        ("a.csv", b"t_s,u1_v\n0,1\n", "does not rise"),
        ("a.csv", b"t_s,u1_v\n0,1\n0.0001,2\n0.0002,3,4\n", "not as many columns"),
        ("a.csv", b"t_s,u1_v\n0,1\n0.0001,2\n0.0009,3\n0.0010,3\n", "not evenly spaced"),
        ("a.csv", b"u1_v,i1_a\n1,2\n3,4\n", "--sample-rate"),
        ("a.csv", b"\xff\xfe\x00\x01\n", "UTF-8"),
        ("a.wav", b"RIFF", "no PCM WAV"),
        ("a.npy", b"\x93NUMPY\x01\x00garbage", "no NumPy"),
        ("a.cfg", b"not a configuration", "needs its data file"),
        ("a.cff", b"--- file type: CFG ---\nnonsense\n", "no readable COMTRADE"),
        ("a.txt", b"", "a recording is one of"),
    ],
)
def test_a_bad_file_is_one_sentence(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(blathy("measure", path), words)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    refused(blathy("measure", tmp_path / "no.npy"), "there is no file")


# Power factor, cos φ1, THD of I in percent with their tolerances, strongest harmonic of I.
APPLIANCES = {
    "air-conditioner": (0.988, 0.988, 4.2, 5),
    "desktop-computer": (0.369, 0.493, 51.6, 2),
    "induction-cooker": (0.709, 0.985, 3.2, 2),
    "kettle": (1.000, 1.000, 1.8, 7),
    "laptop": (0.826, 0.906, 40.8, 3),
    "range-hood": (0.995, 0.999, 6.6, 5),
    "refrigerator": (0.679, 0.683, 11.4, 3),
    "rice-cooker": (1.000, 1.000, 1.5, 7),
    "television": (0.990, 0.991, 3.7, 5),
    "washing-machine": (0.986, 0.990, 8.6, 5),
    "water-dispenser": (1.000, 1.000, 3.1, 5),
    "water-heater": (1.000, 1.000, 2.5, 5),
}
SCALE = ("--channels", "i1,u1", "--scale", "1/41.4738,1/21.3872", "--sample-rate", "6400")


@pytest.mark.requirement("MPTA-01")
@pytest.mark.parametrize("name", sorted(APPLIANCES))
def test_real_appliances(name: str, shared_data: Path) -> None:
    path = shared_data / "appliance-waveforms" / f"{name}.npy"
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not here")
    factor, cos_phi, thd_percent, strongest = APPLIANCES[name]
    found = measured(path, *SCALE)
    (phase,) = found["phases"]
    assert 165 < phase["u_v"] < 185
    assert phase["p_w"] > 0
    assert phase["power_factor"] == pytest.approx(factor, abs=0.005)
    assert phase["cos_phi1"] == pytest.approx(cos_phi, abs=0.005)
    assert phase["thd_i_percent"] == pytest.approx(thd_percent, rel=0.05)
    assert 1.0 < phase["thd_u_percent"] < 5.0
    rows = [row for row in found["harmonics"] if row["order"] > 1]
    assert max(rows, key=lambda row: row["i_a"])["order"] == strongest
    assert found["total"]["frequency_hz"] == pytest.approx(50.0, abs=0.1)
    assert not found["events"]


def test_the_induction_cooker_hides_its_distortion_between_the_harmonics(shared_data: Path) -> None:
    path = shared_data / "appliance-waveforms" / "induction-cooker.npy"
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not here")
    done = blathy("measure", path, *SCALE)
    assert "Interharmonics of L1" in done.out
    between = {row["order"]: row["i_a"] for row in measured(path, *SCALE)["interharmonics"]}
    assert between[0] == pytest.approx(2.49, rel=0.05)  # 25 Hz
    assert between[1] == pytest.approx(1.61, rel=0.05)  # 75 Hz
