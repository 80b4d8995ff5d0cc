"""Sample rates outside what is measured directly, brought into it by a whole factor.

Sound cards and fast recorders (44.1, 48, 96 kS/s) are filtered and thinned out, relays (800 S/s to
4 kS/s) are filled up by interpolation. Both use one windowed-sinc filter of linear phase for all
channels: nothing is moved against anything else, and what lies in the band that both rates carry
keeps its size within 1e-4.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_KAISER_BETA: Final = 9.0
_LOBES: Final = 48
"""Zero crossings of the sinc on either side, counted at the lower rate: the steepness."""
_PASS: Final = 0.92
"""Middle of the filter's edge as a part of half the lower rate."""
FLAT: Final = 0.85
"""Part of half the lower rate that passes unchanged."""


def factors(rate_hz: float, lowest_hz: float, highest_hz: float) -> tuple[int, int]:
    """(fill up by, thin out by): whole factors, one of them 1, that lead into the range."""
    if rate_hz < lowest_hz:
        return ceil(lowest_hz / rate_hz), 1
    return 1, ceil(rate_hz / highest_hz)


class Resampler:
    """A stream of frames at `up` / `down` times its rate; any cut gives the same samples.

    The output begins at the instant of the first input sample. `finish` gives the last ones.
    """

    def __init__(self, up: int, down: int, channels: int) -> None:
        self.up, self.down = up, down
        slower = max(up, down)
        self._half = _LOBES * slower
        place = np.arange(-self._half, self._half + 1)
        taps = np.sinc(_PASS * place / slower) * np.kaiser(len(place), _KAISER_BETA)
        self._taps: Floats = taps * (up / taps.sum())
        # The first and the last sample last on outside the record: no step at either end.
        self._line: Floats = np.zeros((0, channels))
        self._place = 0
        self._begun = False

    def process(self, frames: NDArray[Any]) -> Floats:
        """The output that is settled after these frames."""
        if not len(frames):
            return np.zeros((0, self._line.shape[1]))
        if not self._begun:
            self._begun = True
            ahead = ceil(self._half / self.up)
            self._line = np.tile(self._filled(frames[:1]), (ahead, 1))
            self._place = ahead * self.up - self._half
        self._line = np.concatenate([self._line, self._filled(frames)])
        return self._drain()

    def finish(self) -> Floats:
        """What the end of the filter still holds, with the last frame lasting."""
        if not self._begun:
            return self._line
        last = self._line[-self.up : len(self._line) - self.up + 1]
        ahead = ceil(self._half / self.up)
        self._line = np.concatenate([self._line, np.tile(self._filled(last), (ahead, 1))])
        return self._drain()

    def _filled(self, frames: NDArray[Any]) -> Floats:
        """Frames with `up` - 1 zeros after each."""
        out = np.zeros((len(frames) * self.up, frames.shape[1]))
        out[:: self.up] = frames
        return out

    def _drain(self) -> Floats:
        width = len(self._taps)
        usable = len(self._line) - width - self._place
        if usable < 0:
            return np.zeros((0, self._line.shape[1]))
        line = self._line[self._place :]
        channels = [np.convolve(line[:, c], self._taps, "valid") for c in range(line.shape[1])]
        out = np.stack(channels, axis=1)[:: self.down]
        used = self._place + len(out) * self.down
        keep = min(used, len(self._line))
        self._line, self._place = self._line[keep:], used - keep
        return out
