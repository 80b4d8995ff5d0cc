"""`blathy model` and `blathy meter run` as a user calls them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from blathy.models import MODELS
from tests.cli.in_process import Watched, blathy
from tests.processes import start


def test_the_list_names_every_model() -> None:
    done = blathy("model", "list", "--json")
    assert done.status == 0, done.err
    assert [row["key"] for row in done.json] == list(MODELS)


def test_a_model_shows_its_name_plate_and_what_is_assumed() -> None:
    done = blathy("model", "show", "mt372")
    assert done.status == 0, done.err
    for expected in ("IP 54", "1.3 kg", "18240", "380", "1-0:1.8.4", "Assumed", "client 16"):
        assert expected in done.out
    found = blathy("model", "show", "mt372", "--json").json
    assert {"obis": "1-0:1.8.4", "scaler": 0, "unit": "Wh"}.items() <= next(
        row.items() for row in found["registers"] if row["obis"] == "1-0:1.8.4"
    )
    assert [each["client"] for each in found["associations"]][:4] == [16, 2, 1, 3]
    assert found["assumed"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("model", "show", "mt999"), "there is no model 'mt999'"),
        (("meter", "run", "mt999"), "there is no model 'mt999'"),
        (("meter", "run", "mt372", "--port", "4059"), "is no port"),
        (("meter", "run", "mt372", "--port", "ftp:127.0.0.1:1"), "is no port"),
        (("meter", "run", "mt372", "--load", "zz"), "is no load"),
        (("meter", "run", "mt372", "--auth", "psk"), "is no way to authenticate"),
        (("meter", "run", "mt372", "--period", "77"), "profiles every"),
        (("meter", "run", "mt372", "--zone", "Mars/One"), "is not a time zone"),
        (("meter", "run", "mt372", "--serial", "0"), "does not fit"),
        (("meter", "run", "mt372", "--port", "dlms-tcp:0.0.0.0:0"), "outside"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = blathy(*arguments)
    assert done.status == 2, done.out + done.err
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1


def test_a_script_gets_the_ports_in_a_line_of_json() -> None:
    """As soon as they are open, and nothing else on standard output."""
    opened: list[int] = []

    def look(text: str) -> None:
        port = json.loads(text)["connections"][0]["port"]
        with socket.create_connection(("127.0.0.1", port)):
            opened.append(port)
        signal.raise_signal(signal.SIGINT)

    out = Watched("connections", look)
    master, slave = os.openpty()
    device = os.ttyname(slave)
    try:
        ports = ("dlms-tcp:127.0.0.1:0", "dlms-udp:127.0.0.1:0", f"optical:{device}")
        options = [word for port in ports for word in ("--port", port)]
        done = blathy("meter", "run", "mt372", "--days", 0, "--json", *options,
                      "--pulses", "127.0.0.1:0", stdout=out)  # fmt: skip
    finally:
        os.close(master)
        os.close(slave)
    assert (done.status, done.err) == (0, "")
    ready = json.loads(out.getvalue())
    assert (ready["model"], ready["serial"], ready["loads"]) == ("mt372", "12345678", [])
    assert len(bytes.fromhex(ready["system_title"])) == 8
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", ready["pulses"])
    readers = [each for each in ready["connections"] if each["level"] == "reader"]
    assert len(readers) == len(ports)
    for each, scheme in zip(readers, ("dlms", "dlms+udp"), strict=False):
        assert each["url"].startswith(f"{scheme}://127.0.0.1:{each['port']}?client=2&auth=lls&")
    assert readers[0]["port"] == opened[0]
    assert (readers[2]["host"], readers[2]["port"]) == (device, None)
    assert readers[2]["url"].startswith(f"serial://{device}?client=2&auth=lls&")
    assert readers[2]["url"].endswith("&mode=e")


def reading_of(tmp_path: Path) -> float:
    """Run the meter, read its energy with our own client over its port, stop it in order."""
    words = ("meter", "run", "omnipower", "--port", "dlms-tcp:127.0.0.1:0")
    with start(*words, "--data", tmp_path / "m", with_errors=True) as process:
        text = "".join(process.until("Ctrl-C"))
        match = re.search(r"reader\s+(dlms://\S+)", text)
        assert match, text
        done = blathy("read", match[1], "1-1:1.8.0", "--json")
        process.send_signal(signal.SIGINT)
        told = process.rest()
        assert process.returncode == 0, told
    assert done.status == 0, done.err
    return float(done.json[0]["value"])


def test_a_kept_meter_goes_on_after_a_stop(tmp_path: Path) -> None:
    first = reading_of(tmp_path)
    assert first > 0
    assert reading_of(tmp_path) >= first
