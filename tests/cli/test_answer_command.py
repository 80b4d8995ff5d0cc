"""`blathy answer` as people call it: meters that call home are told by name, and read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from blathy.cli.meter import connection_lines
from blathy.fleet.call_home import CallHome
from blathy.meter.meter import Meter
from blathy.models.model import Level
from tests.cli.in_process import Done, Watched, blathy
from tests.fleet.test_call_home import AUTO_CONNECT, WHEN_TOLD, calling
from tests.free_ports import free_port
from tests.meter.running import call

NAME = "0-0:42.0.0"


def answered(meter: Meter, *arguments: object) -> Done:
    """What `answer` says of a meter that calls as soon as somebody is there."""
    waiting, over = threading.Event(), threading.Event()
    messages = Watched("Waiting for calls", lambda _line: waiting.set())

    async def be_called() -> None:
        home = CallHome()
        call(meter, 29, AUTO_CONNECT, 1)
        home.collect(meter, meter.logical_device())
        await asyncio.to_thread(over.wait, 240)
        await home.stop()

    def run() -> None:
        assert waiting.wait(240)
        asyncio.run(be_called())

    thread = threading.Thread(target=run)
    thread.start()
    done = blathy("answer", *arguments, "--count", 1, stderr=messages)
    over.set()
    thread.join(240)
    return Done(done.status, done.out, messages.getvalue())


def options_of(meter: Meter, level: Level) -> str:
    lines = connection_lines(meter, [("127.0.0.1", 4059)], "test")
    return next(line.split()[1] for line in lines if line.startswith(level.value)).split("?")[1]


@pytest.fixture(scope="module")
def caller() -> tuple[Meter, int]:
    port = free_port()
    return calling(port, WHEN_TOLD), port


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path / "state"))


def test_a_meter_that_calls_is_told_by_name_and_read_with_the_keys_of_that_name(
    caller: tuple[Meter, int], tmp_path: Path
) -> None:
    meter, port = caller
    name = meter.identity.ldn.decode()
    secrets = {k: v[0] for k, v in parse_qs(options_of(meter, Level.MANAGEMENT)).items()}
    file = tmp_path / "keys.toml"
    file.write_text(f'["{name}"]\nek = "{secrets["ek"]}"\nak = "{secrets["ak"]}"\n')
    url = f"dlms://127.0.0.1:{port}?client=1&auth=hls5"
    done = answered(meter, url, NAME, "1-1:1.8.0", "--keys", file)
    assert (done.status, done.err) == (
        0, f"Waiting for calls on 127.0.0.1:{port}. Ctrl-C ends it.\n"
    )  # fmt: skip
    first, *rows = done.out.splitlines()
    assert name in first
    assert f"system title {meter.identity.system_title.hex()}" in first
    assert [row.split()[0] for row in rows] == [NAME, "1-1:1.8.0"]
    assert rows[0].endswith(name)
    assert rows[1].endswith("Wh")


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_json_has_a_line_a_call_and_the_objects_where_asked_for(
    caller: tuple[Meter, int], scheme: str
) -> None:
    meter, port = caller
    url = f"{scheme}://127.0.0.1:{port}?client=16"
    done = answered(meter, url, NAME, "--objects", "--json")
    (line,) = done.out.splitlines()
    record = json.loads(line)
    assert record["name"] == meter.identity.ldn.decode()
    assert record["readings"][NAME]["value"]
    assert {"class": 1, "obis": NAME}.items() <= next(
        each for each in record["objects"] if each["obis"] == NAME
    ).items()


def test_a_meter_without_keys_is_named_with_the_remedy(
    caller: tuple[Meter, int], tmp_path: Path
) -> None:
    meter, port = caller
    file = tmp_path / "keys.toml"
    file.write_text('["SOMEBODY"]\nek = "00112233445566778899aabbccddeeff"\n')
    url = f"dlms://127.0.0.1:{port}?client=1&auth=hls5"
    done = answered(meter, url, NAME, "--keys", file)
    assert done.status == 2
    name = meter.identity.ldn.decode()
    assert f'{name}: the key file holds nothing for this meter; add a table ["{name}"]' in done.err


def test_a_register_that_the_meter_has_not_ends_with_2(caller: tuple[Meter, int]) -> None:
    meter, port = caller
    done = answered(meter, f"dlms://127.0.0.1:{port}", "1-0:1.8.77", NAME)
    assert done.status == 2
    assert "1-0:1.8.77" in done.err
    assert meter.identity.ldn.decode() in done.out  # the rest was read all the same


def test_ctrl_c_ends_it_with_0() -> None:
    ctrl_c = Watched("Waiting for calls", lambda _line: os.kill(os.getpid(), signal.SIGINT))
    done = blathy("answer", "dlms://127.0.0.1:0", stderr=ctrl_c)
    assert (done.status, done.out) == (0, "")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("serial:///dev/ttyUSB0", "do not call by serial://"),
        ("dlms+udp://127.0.0.1:4059", "do not call by dlms+udp://"),
        ("dlms://192.0.2.1:4059", "--outside"),
        ("dlms://127.0.0.1:4059?oops=1", "oops"),
    ],
)
def test_a_wrong_place_is_one_sentence(url: str, says: str) -> None:
    done = blathy("answer", url)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
