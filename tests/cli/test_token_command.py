"""`blathy token` against a meter on a real port."""

from __future__ import annotations

from pathlib import Path

import pytest

from blathy.cli.meter import connection_lines
from blathy.meter.meter import Meter
from blathy.models.model import Level
from tests.cli.in_process import blathy
from tests.meter.running import call, get, made, served

WRONG = 2


def url_of(meter: Meter, port: int) -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test")
    return next(line.split()[1] for line in lines if line.startswith(Level.MANAGEMENT.value))


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path))


def credit_wh(meter: Meter) -> int:
    return int(get(meter, 112, "0-0:19.10.0", 2))


def test_a_token_is_made_entered_and_not_taken_twice() -> None:
    meter = made("reference")
    call(meter, 111, "0-0:19.0.0", 1)
    with served(meter) as port:
        url = url_of(meter, port)
        assert f"kek={meter.key('master').hex()}" in url
        only_made = blathy("token", url, 5000, "--number", 1)
        assert (only_made.status, len(only_made.out.strip())) == (0, 50)
        assert credit_wh(meter) == 0
        entered = blathy("token", url, 5000, "--number", 1, "--enter")
        assert entered.status == 0
        assert entered.out.splitlines() == [only_made.out.strip(), "5000 Wh are booked"]
        assert credit_wh(meter) == 5000
        again = blathy("token", url, 5000, "--number", 1, "--enter")
        assert again.status == WRONG
        assert "it was used before" in again.err
        by_time = blathy("token", url, 1500, "--enter", "--json")
        assert by_time.json["status"] == "execution_ok"
        assert credit_wh(meter) == 6500


def test_what_is_missing_is_said_in_one_sentence() -> None:
    meter = made("reference")
    with served(meter) as port:
        url = url_of(meter, port)
        closed = blathy("token", url, 5000, "--enter")
        assert "prepayment is off" in closed.err
        without_key = blathy("token", url.split("&kek=")[0], 5000)
        assert "kek=" in without_key.err
        other_key = blathy("token", url.split("&kek=")[0] + f"&kek={'00' * 16}", 5, "--enter")
        assert "made for another meter" in other_key.err
        assert {each.status for each in (closed, without_key, other_key)} == {WRONG}


def test_a_meter_without_a_gateway_says_so() -> None:
    meter = made("omnipower")
    with served(meter) as port:
        refused = blathy("token", f"{url_of(meter, port)}&kek={'00' * 16}", 5, "--enter")
    assert refused.status == WRONG
    assert refused.err.count("\n") == 1
