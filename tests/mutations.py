"""Mutated frames by the million, and what every parser owes to each of them.

A run follows from its name alone: a failure shows the frame, and comes again at the same place.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

IN_SUITE = 100_000
ON_REQUEST = 1_000_000
FRAME_S_MAX = 0.1
SLOWEST_S_MAX = 2.0
"""For what is much longer than any frame."""
PEAK_OCTETS_MAX = 2_000_000
WATCHED = 1_000
"""So many frames more, while memory is traced, which is slow."""
PUMPED = 20
"""So many frames more with a piece repeated to PUMPED_OCTETS: what takes quadratic time shows."""
PUMPED_OCTETS = 30_000

EDGES = bytes((0, 1, 2, 4, 9, 0x13, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA0, 0xE0, 0xFE, 0xFF))
Refusal = type[Exception] | tuple[type[Exception], ...]


def mutations(name: str, seeds: Sequence[bytes], longest: int = 4096) -> Iterator[bytes]:
    """Seeds cut, flipped, stretched, shortened and spliced, one to three times, for ever.

    One draw of `random()` decides several things: drawing each of them costs more than parsing.
    """
    draw = Random(name).random
    while True:
        raw = seeds[int(draw() * len(seeds))]
        for _ in range(1 + int(draw() * 3)):
            dice = draw() * 7
            kind = int(dice)
            share = dice - kind
            place = int(draw() * (len(raw) + 1))
            if kind == 0:
                raw = raw[:place]
            elif kind == 1:
                edge = int(share * len(EDGES))
                raw = raw[:place] + EDGES[edge : edge + 1] + raw[place + 1 :]
            elif kind == 2 and place < len(raw):
                flipped = raw[place] ^ 1 << int(share * 8)
                raw = raw[:place] + bytes((flipped,)) + raw[place + 1 :]
            elif kind == 3:
                raw = raw[:place] + raw[place + 1 + int(share * 8) :]
            elif kind == 4:
                inserted = int(share * (1 << 40)).to_bytes(5, "big")
                raw = raw[:place] + inserted[: 1 + int(draw() * 5)] + raw[place:]
            elif kind == 5:
                other = seeds[int(share * len(seeds))]
                raw = raw[:place] + other[int(draw() * len(other)) :]
            elif kind == 6 and place < len(raw):
                raw = raw[:place] + bytes((int(share * 256),)) + raw[place + 1 :]
        yield raw[:longest]


def pumped(name: str, seeds: Sequence[bytes]) -> Iterator[bytes]:
    """Seeds in which a piece is repeated until they are PUMPED_OCTETS long."""
    draw = Random(f"{name}, pumped")
    while True:
        raw = draw.choice(seeds)
        begin = draw.randrange(len(raw))
        piece = raw[begin : begin + draw.choice((1, 2, 3, 9, len(raw)))]
        whole = raw[:begin] + piece * (PUMPED_OCTETS // len(piece))
        yield whole + draw.choice((b"", raw[begin:]))


def endure(
    name: str,
    parse: Callable[[bytes], object],
    seeds: Sequence[bytes],
    count: int,
    refusal: Refusal = (),
) -> int:
    """Parse `count` mutations of the seeds, and some more; return how many were not refused.

    Nothing but `refusal` may be raised, no frame may take long (in CPU time: a busy machine is no
    fault), none may make the parser allocate or keep more than PEAK_OCTETS_MAX.
    """
    frames = mutations(name, seeds)
    taken = _in_time(name, parse, islice(frames, count), refusal, FRAME_S_MAX)
    assert taken, f"{name}: no mutation leaves a frame that is taken; they test nothing"
    long = islice(pumped(name, seeds), PUMPED)
    _in_time(f"{name}, pumped", parse, long, refusal, SLOWEST_S_MAX)
    _in_memory(name, parse, islice(frames, WATCHED), refusal)
    return taken


def _in_time(
    name: str,
    parse: Callable[[bytes], object],
    frames: Iterator[bytes],
    refusal: Refusal,
    longest_s: float,
) -> int:
    taken = 0
    now = time.process_time()
    for number, raw in enumerate(frames):
        before = now
        taken += _is_taken(name, number, parse, raw, refusal)
        now = time.process_time()
        if now - before > longest_s:
            # The collector's pauses fall on any frame; what takes long takes long again.
            before = time.process_time()
            _is_taken(name, number, parse, raw, refusal)
            now = time.process_time()
            assert now - before < longest_s, (
                f"{name}, frame {number}, {now - before:.1f} s: {raw.hex()}"
            )
    return taken


def _in_memory(
    name: str, parse: Callable[[bytes], object], frames: Iterator[bytes], refusal: Refusal
) -> None:
    tracemalloc.start()
    try:
        for number, raw in enumerate(frames):
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            _is_taken(f"{name}, watched", number, parse, raw, refusal)
            peak = tracemalloc.get_traced_memory()[1] - held
            assert peak < PEAK_OCTETS_MAX, f"{name} takes {peak} octets for {raw.hex()}"
        assert tracemalloc.get_traced_memory()[0] < PEAK_OCTETS_MAX, f"{name} keeps what it read"
    finally:
        tracemalloc.stop()


def _is_taken(
    name: str, number: int, parse: Callable[[bytes], object], raw: bytes, refusal: Refusal
) -> bool:
    try:
        parse(raw)
    except refusal:
        return False
    except Exception as error:
        raise AssertionError(f"{name}, frame {number}: {raw.hex()}") from error
    return True
