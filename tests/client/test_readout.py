"""Reading by IEC 62056-21: readout, programming mode, load profiles, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from blathy.cli import main
from blathy.client import AddressError, Garbled, Refused, TimedOut, Untrusted
from blathy.client.readout import TextMeter, parse_text_address
from blathy.transport.dlms_session import DlmsSession, serve_dlms
from blathy.transport.line import Line
from blathy.transport.memory import Faults, SessionLine
from blathy.transport.session import Endpoint
from blathy.wire.iec62056_21 import CommandRefused, Identification, Iec21Server, ServerSettings
from tests.waiting import run

ENDPOINT = Endpoint("optical port", 0, "reader", 0)
PROFILE = [
    "P.01(1261110001500)(00)(15)(2)(1.5)(kW)(2.5)(kW)",
    "(0.100)(0.000)",
    "(0.250)(0.000)",
]


class Register:
    def __init__(self) -> None:
        self.open = False

    def readout(self, table: str) -> Sequence[str]:
        return ["F.F(00000000)", "1.8.0(001234.567*kWh)", "1.6.1(0.482*kW)(2611120730)"]

    def password(self, level: int, answer: str, seed: str) -> bool:
        self.open = level == 2 and answer == "secret"
        return self.open

    def run(self, name: str, data: str) -> Sequence[str] | None:
        if name == "R5" and data.startswith("P.01("):
            return PROFILE
        if name == "R5" and data == "0.9.1()":
            return ["0.9.1(101415)"]
        if name == "W5" and self.open:
            return None
        raise CommandRefused("ERROR12")


def session(number: str = "12345678") -> DlmsSession:
    def sign_on(endpoint: Endpoint) -> Iec21Server:
        identification = Identification("ISK", "5", "MT372-V01", hdlc=True)
        return Iec21Server(ServerSettings(identification, number), Register())

    return DlmsSession(ENDPOINT, lambda _: None, lambda _e, _s, _p: None, sign_on=sign_on)


class Head(SessionLine):
    """An optical head: it stays while meters are opened and closed."""

    async def close(self) -> None:
        await Line.close(self)


def meter(query: str = "", timeout_s: int = 30, **faults: Any) -> TextMeter:
    line = Head(session(), Faults(**faults), Faults(**faults))
    return TextMeter.connect(f"iec62056-21://meter:1?timeout={timeout_s}{query}", line=line)


def test_readout_rows_with_units_over_a_cut_line() -> None:
    async def test() -> None:
        async with meter(chunk_octets=1) as one:
            rows = await one.readout()
            assert [(r.address, r.value, r.unit) for r in rows] == [
                ("F.F", "00000000", ""), ("1.8.0", "001234.567", "kWh"), ("1.6.1", "0.482", "kW"),
            ]  # fmt: skip
            assert rows[2].values[1] == "2611120730"
            assert one.identification is not None
            assert one.identification.manufacturer == "ISK"
            assert len(await one.readout()) == 3

    run(test)


def test_programming_mode_reads_profiles_and_writes_under_a_password() -> None:
    async def test() -> None:
        async with meter() as one:
            async with one.programming() as mode:
                assert (await mode.read("0.9.1"))[0].value == "101415"
                (block,) = await mode.profile("2611100000", "2611110000")
                assert block.rows == (("0.100", "0.000"), ("0.250", "0.000"))
                with pytest.raises(Refused, match="ERROR"):
                    await mode.write("0.9.1", "120000")
                with pytest.raises(Refused, match="ERROR12"):
                    await mode.read("9.9.9")
            async with one.programming("secret", 2) as mode:
                await mode.write("0.9.1", "120000")
            with pytest.raises(Untrusted, match="password"):
                async with one.programming("wrong", 2):
                    pass

    run(test)


def test_nobody_and_noise() -> None:
    async def test() -> None:
        async with meter("&address=99", timeout_s=1) as one:
            with pytest.raises(TimedOut, match="address="):
                await one.readout()
        async with meter(timeout_s=1, corruption=1.0, seed=4) as one:
            with pytest.raises((TimedOut, Garbled)):
                await one.readout()

    run(test)


@pytest.mark.parametrize(
    "url",
    ["dlms://x", "iec62056-21://", "iec62056-21://x?color=1", "iec62056-21://x?baud=fast",
     "iec62056-21://x?table=99", "iec62056-21://x:y"],
)  # fmt: skip
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(AddressError):
        parse_text_address(url)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def sign_on(endpoint: Endpoint) -> Iec21Server:
        return Iec21Server(ServerSettings(Identification("ISK", "5", "MT372")), Register())

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["blathy", "readout", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    async def test() -> None:
        listener, port = await serve_dlms(lambda _e, _s, _p: None, "127.0.0.1", 0, sign_on=sign_on)
        loop = asyncio.get_running_loop()
        url = f"iec62056-21://127.0.0.1:{port}"
        assert await loop.run_in_executor(None, call, url) == 0
        out = capsys.readouterr().out
        assert "ISK MT372" in out
        assert "active energy import" in out
        assert "001234.567 kWh" in out
        assert await loop.run_in_executor(None, call, url, "--json") == 0
        assert json.loads(capsys.readouterr().out)[1]["unit"] == "kWh"
        await listener.stop()
        assert await loop.run_in_executor(None, call, url) == 2
        assert capsys.readouterr().err.count("\n") == 1

    run(test)
