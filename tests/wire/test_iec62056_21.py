"""IEC 62056-21: real readouts, a recorded programming session, and both cores on one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from blathy.clock import Instant
from blathy.wire.iec62056_21 import (
    ACK,
    BREAK,
    Accepted,
    Answer,
    BaudChange,
    Broken,
    ClientSettings,
    CommandRefused,
    DataSet,
    Event,
    HandOver,
    Identification,
    Identified,
    Iec21Client,
    Iec21Server,
    Mode,
    NoAnswer,
    PasswordRequest,
    Purpose,
    Readout,
    ServerSettings,
    ServerState,
    bcc,
    block,
    command,
    parse_data_sets,
    parse_profile,
)
from tests.mutations import IN_SUITE, ON_REQUEST, costs_as_its_parts, endure

T0 = Instant(0)
LINES = ["F.F(00000000)", "0.0.0(12345678)", "1.8.0(001234.567*kWh)", "1.8.1(000234.567*kWh)"]


class Register:
    """A meter with four lines, one password and one writable value."""

    def __init__(self) -> None:
        self.time = "101415"

    def readout(self, table: str) -> Sequence[str]:
        return LINES[:2] if table == "2" else LINES

    def password(self, level: int, answer: str, seed: str) -> bool:
        return level == 1 and answer == "00000000"

    def run(self, name: str, data: str) -> Sequence[str] | None:
        if name == "R5" and data == "0.9.1()":
            return [f"0.9.1({self.time})"]
        if name == "W5" and data.startswith("0.9.1("):
            self.time = data[6:-1]
            return None
        if name == "R6":
            return [f"P.01({index})" for index in range(7)]
        raise CommandRefused("ERROR02")


def meter(ident: str = "/ISK5\\2MT372-V01", **changes: object) -> Iec21Server:
    identification = Identification.parse(ident)
    assert identification is not None
    settings = ServerSettings(identification, "12345678", block_lines_max=3, **changes)  # type: ignore[arg-type]
    return Iec21Server(settings, Register())


def converse(one: Iec21Client, two: Iec21Server, out: bytes) -> list[Event]:
    """Carry octets to and fro, one at a time, until both are silent; the client's events."""
    events: list[Event] = []
    for _ in range(50):
        if not out:
            break
        back = b""
        for octet in out:
            two.receive(bytes((octet,)), T0)
            back += two.data_to_send()
        out = b""
        for octet in back:
            events += one.receive(bytes((octet,)), T0)
            out += one.data_to_send()
    return events


def test_mode_c_readout_with_both_cores() -> None:
    one, two = Iec21Client(), meter()
    events = converse(one, two, one.sign_on(T0))
    identified, change, readout = events
    assert isinstance(identified, Identified)
    assert identified.identification.mode is Mode.E
    assert identified.identification.reaction_ms == 200
    assert change == BaudChange(9600)
    assert isinstance(readout, Readout)
    sets = parse_data_sets(readout.text)
    assert DataSet("1.8.0", ("001234.567*kWh",)) in sets
    assert (sets[2].value, sets[2].unit) == ("001234.567", "kWh")


@pytest.mark.parametrize(("ident", "baud"), [("/KAM 382", 300), ("/ISkBMT171", 1200)])
def test_modes_a_and_b_read_out_without_being_asked(ident: str, baud: int) -> None:
    one, two = Iec21Client(), meter(ident)
    events = converse(one, two, one.sign_on(T0))
    assert isinstance(events[-1], Readout)
    assert (BaudChange(baud) in events) == (baud != 300)


def test_mode_e_hands_the_line_over() -> None:
    one, two = Iec21Client(ClientSettings(Purpose.HDLC)), meter()
    assert HandOver(9600) in converse(one, two, one.sign_on(T0))
    assert two.state is ServerState.HDLC


def test_a_request_for_another_address_stays_unanswered() -> None:
    one, two = Iec21Client(ClientSettings(address="999", repetitions=0)), meter()
    assert converse(one, two, one.sign_on(T0)) == []
    deadline = one.deadline()
    assert deadline is not None
    assert one.tick(deadline) == [NoAnswer(0)]
    right = Iec21Client(ClientSettings(address="0012345678", table="2"))
    readout = converse(right, two, right.sign_on(T0))[-1]
    assert isinstance(readout, Readout)
    assert len(parse_data_sets(readout.text)) == 2


def programming() -> tuple[Iec21Client, Iec21Server]:
    one, two = Iec21Client(ClientSettings(Purpose.PROGRAMMING)), meter()
    assert converse(one, two, one.sign_on(T0))[-1] == PasswordRequest("")
    return one, two


def test_programming_mode_reads_writes_and_refuses() -> None:
    one, two = programming()
    assert converse(one, two, one.send_command("R5", "0.9.1()", T0)) == [Answer("0.9.1(101415)")]
    denied = converse(one, two, one.send_command("W5", "0.9.1(120000)", T0))[0]
    assert isinstance(denied, Answer)
    assert denied.error == "ERROR07"
    assert converse(one, two, one.send_password(1, "00000000", T0)) == [Accepted()]
    assert converse(one, two, one.send_command("W5", "0.9.1(120000)", T0)) == [Accepted()]
    assert converse(one, two, one.send_command("R5", "0.9.1()", T0)) == [Answer("0.9.1(120000)")]
    refused = converse(one, two, one.send_command("R5", "9.9.9()", T0))[0]
    assert isinstance(refused, Answer)
    assert refused.error == "ERROR02"


def test_partial_blocks_are_joined() -> None:
    one, two = programming()
    answer = converse(one, two, one.send_command("R6", "P.01()", T0))[0]
    assert isinstance(answer, Answer)
    assert answer.text.count("P.01") == 7


def test_three_wrong_passwords_end_in_a_break() -> None:
    one, two = programming()
    for _ in range(2):
        answer = converse(one, two, one.send_password(1, "guess", T0))[0]
        assert isinstance(answer, Answer)
    assert converse(one, two, one.send_password(1, "guess", T0)) == [Broken()]
    assert two.state is ServerState.IDLE


def test_damaged_command_is_asked_for_again() -> None:
    one, two = programming()
    sent = bytearray(one.send_command("R5", "0.9.1()", T0))
    sent[5] ^= 1
    assert converse(one, two, bytes(sent)) == [Answer("0.9.1(101415)")]


def test_silent_programming_session_is_broken_off() -> None:
    _, two = programming()
    deadline = two.deadline()
    assert deadline is not None
    assert Broken() in two.tick(deadline)
    assert two.data_to_send() == BREAK


def test_parity_bits_and_wake_up_do_not_disturb() -> None:
    one, two = Iec21Client(ClientSettings(wake_up=True)), meter()

    def with_parity(data: bytes) -> bytes:
        return bytes(o | (0x80 if o.bit_count() & 1 else 0) for o in data)

    two.receive(with_parity(one.sign_on(T0)), T0)
    events = one.receive(with_parity(two.data_to_send()), T0)
    assert isinstance(events[0], Identified)


def test_break_octets_of_the_standard() -> None:
    assert BREAK == b"\x01B0\x03q"
    assert bcc(b"B0\x03") == b"q"


SENT = [
    b"/?!\r\n", ACK + b"051\r\n", ACK + b"252\r\n", command("P1", "(00000000)"),
    command("R5", "0.9.1()"), command("R6", "P.01()"), BREAK, b"\x15", b"\x06",
    block("".join(LINES)), b"/ISK5\\2MT372\r\n",
]  # fmt: skip
PROFILE = b"P.01(1260101000000)(08)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(1.25)(0.00)\r\n(1.50)(0.25)\r\n"


CUT_ONE_IN = 4


def _in_any_cut(data: bytes) -> None:
    whole = meter()
    whole.receive(data, T0)
    if data and data[-1] % CUT_ONE_IN:
        return
    pieces = meter()
    size = (1, 7, 19, 31)[len(data) % 4] + len(data) // 300
    for at in range(0, len(data), size):
        pieces.receive(data[at : at + size], T0)
    assert (whole.state, whole.data_to_send()) == (pieces.state, pieces.data_to_send())


def _by_a_client(data: bytes) -> None:
    one = Iec21Client(ClientSettings(list(Purpose)[len(data) % 3]))
    one.sign_on(T0)
    one.receive(data, T0)
    one.tick(Instant(10**12))


PARSERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "server": (_in_any_cut, SENT + [SENT[0] + SENT[1] + each for each in SENT]),
    "client": (_by_a_client, SENT + [SENT[-1] + each for each in SENT]),
    "data sets": (lambda raw: parse_data_sets(raw.decode("latin-1")), [SENT[9], PROFILE]),
    "profile": (lambda raw: parse_profile(raw.decode("latin-1")), [PROFILE, SENT[9]]),
}


@pytest.mark.parametrize(("head", "repeated"), [("", "a"), ("1(", "a"), ("", "("), ("", "a(")])
def test_a_text_without_data_sets_is_searched_once(head: str, repeated: str) -> None:
    def text(octets: int) -> str:
        return head + repeated * (octets // len(repeated))

    assert parse_data_sets(text(200_000)) == []
    assert costs_as_its_parts(parse_data_sets, text)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(PARSERS))
def test_fuzz_a_million_times(name: str) -> None:
    endure(f"IEC 62056-21, {name}", *PARSERS[name], ON_REQUEST, forgets=True)


@pytest.mark.parametrize("name", list(PARSERS))
def test_any_octets_in_any_cut_give_the_same_and_never_an_exception(name: str) -> None:
    endure(f"IEC 62056-21, {name}", *PARSERS[name], IN_SUITE, forgets=True)


def telegrams(shared_data: Path, kind: str) -> list[dict[str, object]]:
    found = [
        t for t in json.loads((shared_data / "telegrams.json").read_text()) if t["kind"] == kind
    ]
    assert found
    return found


def test_recorded_readouts_give_the_expected_lines(shared_data: Path) -> None:
    for telegram in telegrams(shared_data, "iec62056-21-readout"):
        text = str(telegram["data"])
        expected: dict[str, object] = telegram["expected"]  # type: ignore[assignment]
        ident = Identification.parse(text.split("\r\n")[0])
        assert ident is not None
        named: dict[str, str] = expected["ident"]  # type: ignore[assignment]
        assert ident.manufacturer == named["manufacturer"]
        assert ident.baud_character == named["baud_char"]
        assert ident.hdlc == (named["mode_seq"] == "\\2")
        lines: list[dict[str, object]] = expected["lines"]  # type: ignore[assignment]
        wanted = [line["address"] for line in lines if line["address"]]
        body = text.split("\r\n", 1)[1].lstrip("\x02")
        got = [s.address for s in parse_data_sets(body) if s.address]
        assert [a for a in wanted if a not in got] == [], telegram["name"]


def test_recorded_programming_session_replays(shared_data: Path) -> None:
    for telegram in telegrams(shared_data, "iec62056-21-session"):
        steps: list[list[str]] = json.loads(str(telegram["data"]))
        one = Iec21Client(ClientSettings(Purpose.PROGRAMMING))
        assert one.sign_on(T0) == steps[0][1].encode("latin-1")
        for _side, text in steps:
            raw = text.encode("latin-1")
            if raw[:1] in {b"\x01", b"\x02"}:
                assert bcc(raw[1:-1]) == raw[-1:]
        events: list[Event] = []
        for side, text in steps[1:]:
            raw = text.encode("latin-1")
            if side == "meter":
                events += one.receive(raw, T0)
            elif raw[:2] == b"\x01P":
                assert one.send_password(1, "00000000", T0) == raw
            elif raw[:1] == b"\x01" and raw[:3] != b"\x01B0":
                name, _, data = raw[1:-2].decode().partition("\x02")
                assert one.send_command(name, data, T0) == raw
            elif raw[:1] == b"\x06":
                assert one.data_to_send() == raw
        answers = [e.text for e in events if isinstance(e, Answer)]
        assert f"0.9.2({telegram['expected']['date']})" in answers  # type: ignore[index]


def test_recorded_load_profiles(shared_data: Path) -> None:
    for telegram in telegrams(shared_data, "iec62056-21-load-profile"):
        expected: dict[str, object] = telegram["expected"]  # type: ignore[assignment]
        (profile,) = parse_profile(str(telegram["data"]))
        assert profile.status == expected["status"]
        assert profile.interval_min == expected["interval_min"]
        assert [dict(zip(("code", "unit"), c, strict=True)) for c in profile.columns] == (
            expected["channels"]
        )
        assert [list(row) for row in profile.rows] == expected["rows"]
