"""The harness of the mutated frames finds what it is there to find, on a machine of any speed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.mutations import (
    PEAK_OCTETS_MAX,
    PUMPED,
    WATCHED,
    assert_lines_are_due,
    costs_as_its_parts,
    endure,
    lines_run,
)

KEPT: list[bytes] = []
SEEDS = [b"\x02\x03abc", b"\x01\x00", bytes(range(40))]


def linear(raw: bytes) -> int:
    total = 0
    for octet in raw:
        total += octet
    return total


def quadratic(raw: bytes) -> int:
    return sum(linear(raw[at:]) for at in range(len(raw)))


def endless(raw: bytes) -> None:
    while raw:
        try:
            linear(raw)
        except Exception:  # noqa: BLE001 - a parser that hides what goes wrong in it
            pass


def greedy(_raw: bytes) -> None:
    bytes(2 * PEAK_OCTETS_MAX)


def keeping(raw: bytes) -> None:
    KEPT.append(raw * 300)


def foreign(raw: bytes) -> None:
    if raw:
        raise KeyError(raw[0])


def test_a_linear_parser_endures_and_what_it_takes_is_counted() -> None:
    def even(raw: bytes) -> None:
        linear(raw)
        if len(raw) % 2:
            raise ValueError

    taken = endure("harness", even, SEEDS, 500, ValueError)
    assert 100 < taken < 400
    assert endure("harness", linear, SEEDS, 500) == 500


@pytest.mark.parametrize("parser", [quadratic, greedy, keeping, foreign])
def test_a_bad_parser_is_found_and_the_frame_is_told(parser: Callable[[bytes], object]) -> None:
    with pytest.raises(AssertionError, match="harness"):
        endure("harness", parser, SEEDS, 50)


def test_a_parser_that_never_ends_is_stopped_and_the_frame_is_told() -> None:
    with pytest.raises(AssertionError, match=b"endless".hex()):
        assert_lines_are_due("harness", endless, b"endless")


def test_the_end_of_the_time_of_a_test_tells_the_frame() -> None:
    def timed_out(_raw: bytes) -> None:
        pytest.fail("Timeout")

    with pytest.raises(pytest.fail.Exception) as ended:
        endure("harness", timed_out, [b"endless"], 1)
    assert ended.value.__notes__[0].startswith("harness: ")


def test_what_comes_again_is_parsed_once_where_nothing_is_kept() -> None:
    had: list[bytes] = []
    endure("harness", had.append, SEEDS, 2_000, forgets=True)
    parsed = had[: -PUMPED - WATCHED]
    assert len(set(parsed)) == len(parsed) < 2_000
    had.clear()
    endure("harness", had.append, SEEDS, 2_000)
    assert len(had) == 2_000 + PUMPED + WATCHED


def test_lines_are_counted_in_all_that_is_called() -> None:
    once = lines_run(lambda: linear(bytes(100)), 1_000)
    assert 200 <= once <= 220
    assert lines_run(lambda: quadratic(bytes(100)), 20_000) > 40 * once
    assert lines_run(lambda: sum(octet for octet in bytes(100)), 1_000) >= 100
    with pytest.raises(AssertionError, match="more than 50 lines"):
        lines_run(lambda: linear(bytes(100)), 50)


def test_work_that_grows_faster_than_the_input_shows_in_c_too() -> None:
    """A pattern without possessive quantifiers, tried anew at every place."""
    searched_anew = re.compile("a*b")
    assert not costs_as_its_parts(searched_anew.search, lambda size: "a" * size, 2_000)
    assert costs_as_its_parts(str.upper, lambda size: "a" * size)
