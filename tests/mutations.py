"""Mutated frames by the million, and what every parser owes to each of them.

A run follows from its name alone: a failure shows the frame, and comes again at the same place.
Effort is judged by the lines of Python that run, which are the same on any machine, and never by a
clock; a hang is ended by the timeout of the test, which shows the frame too.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import TraceFunction

IN_SUITE = 100_000
ON_REQUEST = 1_000_000
LINES_MAX = 10_000
LINES_PER_OCTET_MAX = 100
"""So many lines may run for any frame, and so many more for each of its octets."""
PEAK_OCTETS_MAX = 2_000_000
WATCHED = 500
"""So many frames more, while lines are counted and memory is traced, which is slow."""
PUMPED = 12
"""So many frames more with a piece repeated to PUMPED_OCTETS: what takes quadratic time shows."""
PUMPED_OCTETS = 6_000
PARTS, ALIKE, TRIES = 16, 4, 20

Made = TypeVar("Made")


class _StoppedError(BaseException):
    """Of no kind that a parser may catch."""


OCTETS = [bytes((octet,)) for octet in range(256)]
EDGES = [
    OCTETS[octet]
    for octet in (0, 1, 2, 4, 9, 0x13, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA0, 0xE0, 0xFE, 0xFF)
]
ROUNDS = (range(1), range(2), range(3))
Refusal = type[Exception] | tuple[type[Exception], ...]


def mutations(name: str, seeds: Sequence[bytes], longest: int = 4096) -> Iterator[bytes]:
    """Seeds cut, flipped, stretched, shortened and spliced, one to three times, for ever.

    One draw of `random()` decides several things: drawing each of them costs more than parsing.
    """
    draw = Random(name).random
    many = len(seeds)
    while True:
        raw = seeds[int(draw() * many)]
        for _ in ROUNDS[int(draw() * 3)]:
            dice = draw() * 7
            kind = int(dice)
            share = dice - kind
            place = int(draw() * (len(raw) + 1))
            if kind == 0:
                raw = raw[:place]
            elif kind == 1:
                raw = raw[:place] + EDGES[int(share * len(EDGES))] + raw[place + 1 :]
            elif kind == 2:
                if place < len(raw):
                    flipped = raw[place] ^ 1 << int(share * 8)
                    raw = raw[:place] + OCTETS[flipped] + raw[place + 1 :]
            elif kind == 3:
                raw = raw[:place] + raw[place + 1 + int(share * 8) :]
            elif kind == 4:
                inserted = int(share * (1 << 40)).to_bytes(5, "big")
                raw = raw[:place] + inserted[: 1 + int(draw() * 5)] + raw[place:]
            elif kind == 5:
                other = seeds[int(share * many)]
                raw = raw[:place] + other[int(draw() * len(other)) :]
            elif place < len(raw):
                raw = raw[:place] + OCTETS[int(share * 256)] + raw[place + 1 :]
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
    *,
    forgets: bool = False,
) -> int:
    """Parse `count` mutations of the seeds, and some more; return how many were not refused.

    Nothing but `refusal` may be raised, no frame may make more lines run than are its due, none
    may make the parser allocate or keep more than PEAK_OCTETS_MAX. A parser that `forgets` keeps
    nothing from one frame to the next: what comes again among its mutations is parsed once.
    """
    frames = mutations(name, seeds)
    asked = islice(frames, count)
    taken = _parsed(name, parse, _without_repeats(asked) if forgets else asked, refusal)
    assert taken, f"{name}: no mutation leaves a frame that is taken; they test nothing"
    for raw in islice(pumped(name, seeds), PUMPED):
        assert_lines_are_due(f"{name}, pumped", parse, raw, refusal)
    _watched(f"{name}, watched", parse, islice(frames, WATCHED), refusal)
    return taken


def lines_run(act: Callable[[], object], most: int) -> int:
    """How many lines of Python `act` runs, in all that it calls; it is stopped after `most`."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal count
        if event == "line":
            count += 1
            if count > most:
                raise _StoppedError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except _StoppedError:
        pass
    finally:
        sys.settrace(before)
    assert count <= most, f"more than {most} lines run"
    return count


def assert_lines_are_due(
    name: str, parse: Callable[[bytes], object], raw: bytes, refusal: Refusal = ()
) -> None:
    """`parse` runs no more lines than are due to so many octets: its work is linear."""
    due = LINES_MAX + LINES_PER_OCTET_MAX * len(raw)
    _parsed(name, lambda frame: lines_run(lambda: parse(frame), due), (raw,), refusal)


def costs_as_its_parts(
    act: Callable[[Made], object], make: Callable[[int], Made], size: int = 200_000
) -> bool:
    """Whether one made of `size` costs about what PARTS of a share of it cost: for what runs in C,
    where no lines count. Quadratic work costs PARTS times as much, however slow the machine.

    Both are done in turns until a pair of them is alike, so that no load on the machine tells.
    """
    whole, part = make(size), make(size // PARTS)
    for _ in range(TRIES):
        began = time.process_time()
        for _ in range(PARTS):
            act(part)
        between = time.process_time()
        act(whole)
        if time.process_time() - between <= ALIKE * (between - began):
            return True
    return False


def _without_repeats(frames: Iterable[bytes]) -> Iterator[bytes]:
    had: set[int] = set()
    for raw in frames:
        key = hash(raw)
        if key not in had:
            had.add(key)
            yield raw


def _parsed(
    name: str, parse: Callable[[bytes], object], frames: Iterable[bytes], refusal: Refusal
) -> int:
    taken = 0
    raw = b""
    try:
        for raw in frames:
            try:
                parse(raw)
            except refusal:
                continue
            taken += 1
    except Exception as error:
        raise AssertionError(f"{name}: {raw.hex()}") from error
    except BaseException as stopped:  # the end of the test's time
        stopped.add_note(f"{name}: {raw.hex()}")
        raise
    return taken


def _watched(
    name: str, parse: Callable[[bytes], object], frames: Iterable[bytes], refusal: Refusal
) -> None:
    tracemalloc.start()
    try:
        for raw in frames:
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            assert_lines_are_due(name, parse, raw, refusal)
            peak = tracemalloc.get_traced_memory()[1] - held
            assert peak < PEAK_OCTETS_MAX, f"{name} takes {peak} octets for {raw.hex()}"
        assert tracemalloc.get_traced_memory()[0] < PEAK_OCTETS_MAX, f"{name} keeps what it read"
    finally:
        tracemalloc.stop()
