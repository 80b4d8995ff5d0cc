"""Recorded conversations as turns, and the words for what differs when they are given back."""

from __future__ import annotations

from blathy.client.capture import Chunk, from_octets, from_record
from blathy.client.turns import Turn, conversations_of, difference, has_said_all
from tests.client.test_capture import PACKET, pcap, tcp

ANSWER = bytes.fromhex("0001000100100009 C401C1000600000539".replace(" ", ""))


def test_octets_that_came_in_pieces_are_one_turn() -> None:
    text = "> 0102\n> 03\n< 04\n< 05\n> 06\n2> 07\n2< 08\n"
    first, second = conversations_of(from_record(text))
    assert first == [Turn(False, b"\1\2\3"), Turn(True, b"\4\5"), Turn(False, b"\6")]
    assert second == [Turn(False, b"\7"), Turn(True, b"\x08")]


def test_sides_of_a_capture_are_told_by_port_or_by_who_begins() -> None:
    for port, ends in ((4059, (1, 2)), (5000, (2, 1))):
        packets = [tcp(50000, port, 100, PACKET), tcp(port, 50000, 9, ANSWER, ends=ends)]
        (turns,) = conversations_of(from_octets(pcap(packets, 101)))
        assert turns == [Turn(False, PACKET), Turn(True, ANSWER)]
    assert conversations_of([Chunk("", b"")]) == []


def test_differences_are_told_in_octets_and_in_words() -> None:
    turn = Turn(True, ANSWER)
    assert list(difference(turn, ANSWER)) == []
    (silent,) = difference(turn, b"")
    assert "the meter was silent" in silent
    text = "\n".join(difference(turn, ANSWER[:-1] + b"\x3a"))
    assert "differs from octet 16 on" in text
    assert "record: value: double-long-unsigned 1337" in text
    assert "now: value: double-long-unsigned 1338" in text


def test_a_shorter_answer_is_complete_with_its_frame() -> None:
    turn = Turn(True, ANSWER)
    other = bytes.fromhex("0001000100100003D80101")
    assert has_said_all(turn, ANSWER)
    assert has_said_all(turn, other)
    for part in (b"", ANSWER[:-1], other[:-1], ANSWER[:3]):
        assert not has_said_all(turn, part)
