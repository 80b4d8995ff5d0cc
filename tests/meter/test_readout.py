"""IEC 62056-21 over the meter's port: the same values as over DLMS, in the form of its sheet."""

from __future__ import annotations

import re
import socket
import time

import pytest

from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.model import Level, Mechanism
from blathy.wire.iec62056_21 import command, parse_data_sets
from tests.meter.running import fed, get, made, served
from tests.meter.simple_load import ConstantLoad

SPEAKING = [
    key
    for key, table in MODELS.items()
    if any("iec62056-21" in port.protocols for port in table.ports)
]


class Line:
    """A bare socket: what a reading head would send and see."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 120)

    def exchange(self, data: bytes, until: bytes) -> bytes:
        self.socket.sendall(data)
        received = b""
        end = time.monotonic() + 120
        while until not in received and time.monotonic() < end:
            octets = self.socket.recv(65536)
            if not octets:
                break  # the meter has hung up
            received += octets
        return received

    def close(self) -> None:
        self.socket.close()


def readout(meter: Meter, request: bytes = b"/?!\r\n") -> tuple[str, str]:
    """The identification and the text of the standard readout."""
    with served(meter) as port:
        line = Line(port)
        try:
            answer = line.exchange(request, b"\r\n")
            if b"\x02" not in answer and answer[4:5].isdigit():
                answer += line.exchange(b"\x06000\r\n", b"\x03")
            elif b"\x03" not in answer:
                answer += line.exchange(b"", b"\x03")
        finally:
            line.close()
    head, _, rest = answer.partition(b"\r\n")
    text, _, _check = rest.partition(b"\x02")[2].partition(b"\x03")
    return head.decode(), text.decode()


@pytest.mark.parametrize("key", SPEAKING)
def test_the_readout_says_what_the_registers_say(key: str) -> None:
    modes = MODELS[key].iec62056_21  # a choice, where it is one
    options = MeterOptions(iec62056_21=modes[-1]) if modes else MeterOptions()
    meter = fed(key, 2, options=options)
    head, text = readout(meter)
    assert head.startswith("/" + meter.model.identity.identification[1:4])
    found = {line.address: line for line in parse_data_sets(text)}
    item = next(i for i in meter.model.readout if i.code == "1.8.0")
    value, (scaler, _unit) = (get(meter, 3, str(item.obis), n) for n in (2, 3))
    shown = float(found["1.8.0"].value.partition("*")[0])
    assert shown == pytest.approx(value * 10**scaler / 1000, abs=10 ** -item.digits[1])
    assert re.fullmatch(r"\d{6}", found["0.9.1"].value)


@pytest.mark.requirement("MT372-12")
def test_the_mt372_offers_mode_e_and_gives_its_readout_in_mode_c() -> None:
    meter = fed("mt372", 1)
    head, text = readout(meter)
    assert head == "/ISk5\\2MT372-1001"
    assert "1.8.0(0000086.400*kWh)" in text
    assert "F.F(00000000)" in text
    assert re.search(r"1\.6\.0\(003\.600\*kW\)\(0\d{10}\)", text)
    assert "0.0.0(12345678)" in text


def test_another_address_is_not_answered() -> None:
    meter = made("mt372")
    with served(meter) as port:
        line = Line(port)
        line.socket.settimeout(0.5)
        line.socket.sendall(b"/?87654321!\r\n")
        with pytest.raises(TimeoutError):
            line.socket.recv(100)
        line.close()


def _programming(line: Line) -> None:
    line.exchange(b"/?!\r\n", b"\r\n")
    assert b"P0" in line.exchange(b"\x06051\r\n", b"\x03")


@pytest.mark.requirement("MT372-19")
def test_single_codes_and_the_profile_are_read_and_nothing_is_written_without_password() -> None:
    meter = fed("mt372", 1)
    with served(meter) as port:
        line = Line(port)
        _programming(line)
        assert b"(0000086.400*kWh)" in line.exchange(command("R1", "1.8.0()"), b"\x03")
        assert b"ERROR05" in line.exchange(command("R1", "9.9.9()"), b"\x03")
        profile = line.exchange(command("R5", "P.01(2601011000;2601011100)"), b"\x03")
        assert profile.count(b"\r\n") == 5
        assert b"P.01(02601011000)" in profile
        assert b"(1.8.0)(kWh)(2.8.0)(kWh)" in profile
        assert b"ERROR07" in line.exchange(command("W1", "0.9.1(120000)"), b"\x03")
        line.close()


def test_the_password_of_the_reader_opens_programming_mode_and_a_wrong_one_is_logged() -> None:
    meter = made("esox")
    meter.advance(ConstantLoad(), meter.ledger.now + 60)
    password = meter.identity.passwords[Level.READER].decode()
    assert meter.mechanism_of(meter.model.associations[1]) is Mechanism.HLS_GMAC
    with served(meter) as port:
        line = Line(port)
        _programming(line)
        assert b"ERROR01" in line.exchange(command("P1", "(00000000)"), b"\x03")
        assert line.exchange(command("P1", f"({password})"), b"\x06") == b"\x06"
        line.close()
    meter.flush()
    assert [e.name for e in meter.books.logs["access"]] == ["authentication_failed", "local_access"]
