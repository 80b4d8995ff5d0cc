"""`write`, `call`, `time`, `firmware`, `scan` and the ways of `read`, on real objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blathy.meter.identity import maker_private_key
from blathy.meter.meter import Meter as Served
from blathy.models import MODELS
from blathy.models.firmware import build_image
from blathy.transport.dlms_session import serve_dlms
from tests.cli.in_process import Done, blathy
from tests.meter.running import fed

MODEL = "omnipower"
WRONG = 2


@dataclass(frozen=True)
class OnAPort:
    """A meter that is served, and the URL of its management client without secrets."""

    meter: Served
    url: str
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def served() -> Iterator[OnAPort]:
    loop, started = asyncio.new_event_loop(), threading.Event()
    meter = fed(MODEL, days=1)
    ports: list[int] = []
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        device = meter.logical_device()
        listener, port = await serve_dlms(
            lambda _at, sap, _low: device if sap == 1 else None, port=0
        )
        stop = asyncio.Event()
        ports.append(port)
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        started.set()
        await stop.wait()
        await listener.stop()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(120)
    keys = ("--ek", meter.key("unicast").hex(), "--ak", meter.key("authentication").hex())
    yield OnAPort(meter, f"dlms://127.0.0.1:{ports[0]}?client=1&auth=hls5", keys)
    stops[0]()
    thread.join(120)
    loop.close()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path / "state"))


def run(served: OnAPort, verb: str, *more: object) -> Done:
    return blathy(verb, served.url, *more, *served.secrets)


def test_a_value_is_written_shown_old_and_new_and_read_back(served: OnAPort) -> None:
    done = run(served, "write", "0-0:1.0.0/time_zone", "-60", "--yes")
    assert done.status == 0, done.err
    assert done.out.rstrip().endswith("→ -60")
    done = run(served, "write", "0-0:1.0.0/3", "-120", "--yes", "--json")
    assert (done.json["old"], done.json["value"]) == (-60, -120)
    done = run(served, "read", "0-0:1.0.0/time_zone", "--json")
    assert [one["value"] for one in done.json] == [-120]
    run(served, "write", "0-0:1.0.0/time_zone", "-60", "--yes")


def test_nothing_is_written_unasked_or_without_a_fitting_value(served: OnAPort) -> None:
    done = run(served, "write", "0-0:1.0.0/time_zone", "-120")
    assert done.status == WRONG
    assert "-60 → -120. Write it? Say so with --yes" in done.err
    assert run(served, "read", "0-0:1.0.0/time_zone", "--json").json[0]["value"] == -60
    for code, value, says in (
        ("1-1:1.8.0", "5", "has no unit; write '50 Wh', or 'raw:5'"),
        ("1-1:1.8.0", "5 V", "'V' is not Wh"),
        ("1-1:1.8.0", "5 Wh", "finer than the step of 10 Wh"),
        ("1-1:1.8.0", "0.05 kWh", "client 1 has no right to it"),
        ("1-1:1.8.0", "50 Wh", "--yess"),
        ("0-0:1.0.0/time_zone", "soon", "'soon' is no number"),
        ("0-0:1.0.0/time_zone", "99999", "is no long; give -32768 to 32767"),
        ("0-0:15.0.0/4", "nonsense", 'write [{"time": …, "date": …}, …]'),
        ("0-0:15.0.0/4", '[["noon", "2026-11-21"]]', "'noon' is no time; write 10:15:00"),
        ("0-0:1.0.0/time_zone", "40000", "40000"),
        ("0-0:1.0.0/colour", "5", "has no attribute 'colour'; it has logical_name, time"),
        ("0-0:15.0.0/4", "[1,", "is no JSON"),
        ("1-0:1.x.0", "5", "not an OBIS code"),
    ):
        done = run(served, "write", code, value, says if says == "--yess" else "--yes")
        assert done.status == WRONG, (code, value, done.out)
        assert says in done.err
        assert done.err.count("\n") == 1


def test_methods_are_listed_and_run_by_name_and_number(served: OnAPort) -> None:
    assert (
        run(served, "call", "0-0:96.3.10", "list").out.replace("0-0", "")
        == "1 remote_disconnect\n2 remote_reconnect\n"
    )
    assert run(served, "call", "0-0:96.3.10", "remote_disconnect", "--yes").status == 0
    assert "disconnected" in run(served, "read", "0-0:96.3.10/control_state").out
    assert run(served, "call", "0-0:96.3.10", "2", "--yes", "--json").json["returned"] is None
    done = run(served, "call", "0-0:96.3.10", "explode", "--yes")
    assert "it has remote_disconnect, remote_reconnect" in done.err
    done = run(served, "call", "0-0:96.3.10", "remote_disconnect")
    assert "Say so with --yes" in done.err
    done = run(served, "call", "0-0:1.0.0", "shift_time", "soon", "--yes")
    assert (done.status, "'soon' is no number" in done.err) == (WRONG, True)


def test_a_method_without_its_parameter_is_told_so(served: OnAPort) -> None:
    done = run(served, "call", "0-0:1.0.0", "shift_time", "--yes")
    assert done.status == WRONG
    assert "method shift_time of " in done.err
    assert "this method wants a parameter" in done.err


def test_the_clock_is_shown_and_set(served: OnAPort) -> None:
    done = run(served, "time", "--set", "2026-11-21T10:00:00Z", "--yes", "--json")
    assert done.json["time"] == "2026-11-21T10:00:00Z"
    assert isinstance(done.json["ahead_s"], int)
    assert "this machine" in run(served, "time").out
    assert "Say so with --yes" in run(served, "time", "--set", "now").err
    assert "is no time; write now or " in run(served, "time", "--set", "soon", "--yes").err


def test_firmware_is_transferred_and_activated(served: OnAPort, tmp_path: Path) -> None:
    image = build_image(
        MODEL, "50981137 F1", bytes(range(256)) * 9, maker_private_key(MODELS[MODEL], "test")
    )
    file = tmp_path / "new.bin"
    file.write_bytes(image)
    done = run(served, "firmware", file, "--yes", "--no-activate", "--json")
    assert done.status == 0, done.err
    assert (done.json["octets"], done.json["activated"]) == (len(image), False)
    assert "50981137 F1" not in done.json["firmware"]
    done = run(served, "firmware", file, "--yes", "--fresh")
    assert done.status == 0, done.err
    assert "verified and activated; it runs 50981137 F1" in done.out
    file.write_bytes(image[:-1])
    done = run(served, "firmware", file, "--yes", "--fresh")
    assert (done.status, done.err.count("\n")) == (WRONG, 1)
    assert "check its name" in run(served, "firmware", tmp_path / "none.bin", "--yes").err
    assert "Say so with --yes" in run(served, "firmware", file).err


def test_a_scan_shows_who_is_known(served: OnAPort) -> None:
    place = served.url.split("?", maxsplit=1)[0]
    done = blathy("scan", place, "--clients", "16,1,90", "--servers", "1", "--pause", "0")
    assert done.status == 0, done.err
    assert "open without authentication" in done.out
    assert "1 of 3 pairs of addresses are not known to the meter" in done.out
    done = blathy("scan", place, "--clients", "16", "--servers", "1", "--json")
    assert done.json[0]["answer"] == "open"
    for more, says in (
        (("--clients", "x"), "write 1,2,16-20"),
        (("--clients", "1-600"), "between 1 and 256"),
        (("--pause", "-1"), "--pause takes a number from 0.0 to 60.0"),
    ):
        assert says in blathy("scan", place, *more).err
    assert "check the port" in blathy("scan", "dlms://127.0.0.1:1").err


def test_names_of_the_standard_are_shown_for_parts_and_enumerations(served: OnAPort) -> None:
    done = run(served, "read", "1-1:1.8.0/scaler_unit", "0-0:96.3.10/control_mode", "--json")
    assert done.json[0]["value"] == {"scaler": 1, "unit": "Wh"}
    assert done.json[1]["value"].startswith("mode_")
    assert '{"scaler": 1, "unit": "Wh"}' in run(served, "read", "1-1:1.8.0/3").out


def test_usage_lines_and_ranges_read_well() -> None:
    help_text = blathy("read", "--help").out
    assert "Usage: blathy read [OPTIONS] URL OBIS...\n" in help_text
    assert (
        "Usage: blathy call [OPTIONS] URL OBIS METHOD [PARAMETER]\n" in blathy("call", "--help").out
    )
    days = blathy("up", "--help").out
    assert "Days of history. (1 to 370, default 30)" in days
    for verb in ("up", "meter run", "read", "scan", "listen", "requirements"):
        text = blathy(*verb.split(), "--help").out
        assert not any(sign in text for sign in ("{", "<=", "[default", "[required", "[0"))
