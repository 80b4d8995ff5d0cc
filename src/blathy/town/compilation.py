"""The measuring engine compiled ahead, in a process of its own.

The first start on a machine compiles the engine's kernels, which takes a core some twenty seconds
and holds the interpreter: in a thread of the town it would hold up the meters, their ports and the
portal. It is begun when the town is ready, so that nobody waits for it. The other process leaves
what it compiled in numba's cache on disk, from which the town then loads it. Run as
`python -m blathy.town.compilation`; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

import structlog

from blathy.registers.block import Block
from blathy.sources.measured import MeasuredSource
from blathy.sources.synthetic import LoadSpec, SyntheticSource

WAIT_S = 0.2
NICENESS = 5
"""Where there is one core only, the town comes first."""

log = structlog.get_logger("blathy.town")
_loaded = threading.Event()


@dataclass(slots=True)
class SampledWhenReady:
    """`IntervalSource` of a place with waveforms: its live seconds are measured from samples, but
    while `ready` is False (the engine is being compiled) they come from the `point` as its past
    does."""

    point: SyntheticSource
    measured: MeasuredSource
    ready: bool = True

    @property
    def replayable(self) -> bool:
        return self.measured.replayable

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """As IntervalSource."""
        source = self.measured if self.ready else self.point
        return source.block(start_utc_s, n, step_s)


def load_engine() -> None:
    """Measure some seconds of a point of its own, so that every kernel is compiled or loaded."""
    if not _loaded.is_set():
        MeasuredSource(SyntheticSource(LoadSpec(phases=3), 1, 1)).block(1_767_225_600, 3, 1)
        _loaded.set()


class Compilation:
    """A compilation that runs; nothing runs where the engine has been loaded already."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if not _loaded.is_set():
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    async def loaded(self) -> None:
        """Return when the engine is ready in this process. Where the other process failed (no
        memory, a cache that cannot be written) this one compiles for itself."""
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(WAIT_S)
        try:
            await asyncio.to_thread(load_engine)
        except Exception:
            log.exception("the measuring engine cannot be loaded: no place measures waveforms")
            raise

    def stop(self) -> None:
        """End the other process, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Compile, unless whoever started this goes away."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    load_engine()


if __name__ == "__main__":
    main()
