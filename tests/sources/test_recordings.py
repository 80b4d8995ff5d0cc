"""Recordings: every format gives the same volts and amperes, and bad files say what is wrong."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from blathy.sources.recordings import Layout, RecordingError, read_recording

RATE = 6400
T = np.arange(1280) / RATE
U = 325.0 * np.sin(2 * np.pi * 50 * T)
I = 14.0 * np.sin(2 * np.pi * 50 * T - 0.5)  # noqa: E741


def comtrade(folder: Path, *, secondary: bool = False) -> Path:
    """A COMTRADE 1999 ASCII pair with one voltage and one current."""
    scale_u, scale_i = 0.02, 0.001
    side = "S" if secondary else "P"
    cfg = [
        "bench,1,1999",
        "2,2A,0D",
        f"1,Ua,A,,V,{scale_u},0,0,-32767,32767,1,1,P",
        f"2,Ia,A,,A,{scale_i},0,0,-32767,32767,200,5,{side}",
        "50",
        "1",
        f"{RATE},{len(T)}",
        "01/02/2026,00:00:00.000000",
        "01/02/2026,00:00:00.000000",
        "ASCII",
        "1",
    ]
    path = folder / "r.cfg"
    path.write_text("\r\n".join(cfg) + "\r\n")
    rows = [
        f"{n + 1},{round(n * 1e6 / RATE)},{round(u / scale_u)},{round(i / scale_i)}"
        for n, (u, i) in enumerate(zip(U, I, strict=True))
    ]
    (folder / "r.dat").write_text("\r\n".join(rows) + "\r\n")
    return path


def test_comtrade_names_its_channels_and_rate(tmp_path: Path) -> None:
    found = read_recording(comtrade(tmp_path))
    assert found.sample_rate_hz == RATE
    assert found.nominal_hz == 50
    assert np.abs(found.samples["u1"] - U).max() < 0.02
    assert np.abs(found.samples["i1"] - I).max() < 0.001


def test_comtrade_secondary_values_become_primary(tmp_path: Path) -> None:
    found = read_recording(comtrade(tmp_path, secondary=True))
    assert np.abs(found.samples["i1"] - 40 * I).max() < 0.05


@pytest.mark.parametrize("width", [2, 3, 4])
def test_wav_with_any_sample_width(tmp_path: Path, width: int) -> None:
    counts = np.rint(np.stack([U / 0.02, I / 0.001], axis=1)).astype(np.int64)
    octets = b"".join(int(v).to_bytes(width, "little", signed=True) for v in counts.ravel())
    path = tmp_path / "r.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, width, RATE, 0, "NONE", ""))
        file.writeframes(octets)
    found = read_recording(path, Layout(("u1", "i1"), (0.02, 0.001)))
    assert np.abs(found.samples["u1"] - U).max() < 0.02
    assert found.sample_rate_hz == RATE


def test_csv_with_units_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = "\n".join(f"{t:.9f};{u / 1000:.9f};{i:.6f}" for t, u, i in zip(T, U, I, strict=True))
    path.write_text("t_s;U1 [kV];i_L1_a\n" + rows)
    found = read_recording(path)
    assert found.sample_rate_hz == pytest.approx(RATE, rel=1e-4)
    assert np.abs(found.samples["u1"] - U).max() < 1e-5
    assert np.abs(found.samples["i1"] - I).max() < 1e-5


def test_npy_with_columns_named_by_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "r.npy"
    np.save(path, np.stack([I / 0.01, U / 0.02], axis=1).astype(np.float32))
    found = read_recording(path, Layout(("i1", "u1"), (0.01, 0.02), RATE))
    assert np.abs(found.samples["u1"] - U).max() < 1e-3


def test_recorded_appliances_read(shared_data: Path) -> None:
    layout = Layout(("i1", "u1"), (1 / 41.4738, 1 / 21.3872), 6400)
    for path in sorted((shared_data / "appliance-waveforms").glob("*.npy")):
        found = read_recording(path, layout)
        assert found.duration_s == pytest.approx(3.0, abs=0.01)
        assert 100 < np.sqrt((found.samples["u1"] ** 2).mean()) < 260


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a recording is one of"),
        ("a.cfg", b"bench", "needs its data file"),
        ("a.wav", b"RIFFxxxx", "no PCM WAV"),
        ("a.npy", b"nothing", "no NumPy"),
        ("a.csv", b"u1,i1\n1,2\n3,4\n", "no time column"),
        ("a.csv", b"t_s,u1\n0,1\n1,x\n", "every row"),
        ("a.csv", b"t_s,u1\n0,1\n1,2\n9,3\n", "evenly"),
        ("a.csv", b"t_s,i1_a\n0,1\n1,2\n2,3\n", "no voltage"),
    ],
)
def test_a_bad_file_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        read_recording(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no file"):
        read_recording(tmp_path / "absent.wav")
