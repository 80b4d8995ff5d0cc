"""Recordings block by block: the same samples for any block, every width of WAV, other commas."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.sources.recording_stream import open_recording
from blathy.sources.recordings import Layout, RecordingError
from blathy.sources.resampling import Resampler, factors


@pytest.mark.parametrize(("width", "top"), [(1, 127), (2, 32_767), (3, 8_388_607), (4, 2**31 - 1)])
def test_every_width_of_wav_keeps_its_counts_and_its_end(
    width: int, top: int, tmp_path: Path
) -> None:
    counts = np.array([[top, -5], [-top, 7], [3, 0]], np.int64)
    raw = b"".join(
        int(v + 128 if width == 1 else v).to_bytes(width, "little", signed=width > 1)
        for v in counts.reshape(-1)
    )
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(8_000)
        file.writeframes(raw)
    stream = open_recording(path, Layout(factors=(0.5, 2.0)))
    for block in (1, 2, 100):
        assert np.array_equal(np.concatenate(list(stream.blocks(block))), counts)
    assert stream.channels == ("u1", "i1")
    assert stream.scales == (0.5, 2.0)
    assert stream.full_scale == top


def test_a_table_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time [ms];U1 [kV];I1 [mA]\n0,0;0,23;5\n0,1;-0,23;\n0,2;0,5;-1,5\n")
    stream = open_recording(path)
    assert stream.sample_rate_hz == 10_000.0
    assert stream.scales == (1000.0, 0.001)
    table = np.concatenate(list(stream.blocks(2)))
    assert np.array_equal(table, [[0.23, 5], [-0.23, np.nan], [0.5, -1.5]], equal_nan=True)


def test_columns_without_a_header_are_named_by_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n4,5,6\n")
    stream = open_recording(path, Layout(("i1", "-", "u1"), (2.0, 1.0, 3.0), 8_000.0))
    assert stream.channels == ("i1", "u1")
    assert stream.scales == (2.0, 3.0)
    assert np.array_equal(next(stream.blocks(10)), [[1, 3], [4, 6]])


def test_a_gap_after_many_samples_is_found_and_placed(tmp_path: Path) -> None:
    t = np.arange(20_000) / 8_000
    t[15_000:] += 1.0
    path = tmp_path / "gap.csv"
    np.savetxt(path, np.column_stack([t, t]), delimiter=",", header="t_s,u1_v", comments="")
    stream = open_recording(path)
    with pytest.raises(RecordingError, match=r"after t = 1\.87"):
        list(stream.blocks(4_096))


@pytest.mark.parametrize("rate", [800, 1_000, 3_200, 44_100, 48_000, 96_000])
def test_resampling_keeps_what_both_rates_carry(rate: int) -> None:
    up, down = factors(rate, 4_000, 32_768)
    hz = (50.0, 250.0, 0.4 * min(rate, rate * up / down))

    def signal(instants: np.ndarray) -> np.ndarray:
        return np.asarray(sum(np.sin(2 * np.pi * f * instants + f) for f in hz))

    resampler = Resampler(up, down, 1)
    frames = signal(np.arange(rate // 2) / rate)[:, None]
    out = np.concatenate([resampler.process(frames), resampler.finish()])[:, 0]
    at = np.arange(len(out)) * down / up / rate
    middle = slice(len(out) // 5, -len(out) // 5)
    assert 4_000 <= rate * up / down <= 32_768
    assert len(out) == -(-len(frames) * up // down)
    assert np.abs(out - signal(at))[middle].max() < 1e-4


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20), st.sampled_from([(3, 1), (1, 2)]))
def test_resampling_is_the_same_for_any_cut(cuts: list[int], by: tuple[int, int]) -> None:
    frames = np.random.default_rng(5).normal(size=(sum(cuts), 2))
    whole, parts = Resampler(*by, 2), Resampler(*by, 2)
    expected = np.concatenate([whole.process(frames), whole.finish()])
    pieces = [parts.process(piece) for piece in np.split(frames, np.cumsum(cuts)[:-1])]
    assert np.allclose(np.concatenate([*pieces, parts.finish()]), expected, atol=1e-12)
