"""The verbs that talk to meters, run as a user runs them, against a meter on a real port."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from blathy.cli import main
from blathy.client.cache import PROCESS_CACHE
from blathy.cosem.cosem_time import CosemDateTime
from blathy.transport.dlms_session import serve_dlms
from tests.client.small_meter import AK, EK, SmallMeter, device, lookup
from tests.free_ports import free_port
from tests.processes import start

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A meter on a port of its own thread."""
    loop = asyncio.new_event_loop()
    ready: list[int] = []
    started = threading.Event()

    async def serve() -> None:
        listener, number = await serve_dlms(lookup(device(SmallMeter())), port=0)
        ready.append(number)
        started.set()
        stop = asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await listener.stop()

    stops: list[Callable[[], object]] = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(120)
    yield ready[0]
    stops[0]()
    thread.join(120)
    loop.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command in this process: exit status, output, errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["blathy", *arguments])
        monkeypatch.setenv("BLATHY_STATE", str(tmp_path / "state"))
        PROCESS_CACHE._types.clear()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def secure(port: int) -> list[str]:
    return [f"dlms://127.0.0.1:{port}?auth=hls5", "--ek", EK.hex(), "--ak", AK.hex()]


def test_read_shows_value_unit_and_name(run: Run, port: int) -> None:
    status, out, _ = run("read", *secure(port), "1-0:1.8.0", "1-0:32.7.0", "0-0:1.0.0")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][0] == "1-0:1.8.0"
    assert "1 234.567 kWh" in out
    assert "active energy import" in out
    assert "230.1 V" in out
    assert "2026-03-10" in out


def test_read_json_and_raw_are_clean(run: Run, port: int) -> None:
    status, out, err = run("read", *secure(port), "1-0:1.8.0", "0-0:96.1.0", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found[0]["value"], found[0]["unit"], found[0]["obis"]) == (1234567, "Wh", "1-0:1.8.0")
    assert found[1]["value"] == b"00012345".hex()
    _, out, _ = run("read", *secure(port), "1-0:32.7.0/2", "--raw")
    assert out == "1-0:32.7.0\t12 08 fd\n"


def test_read_again_and_again_is_a_line_of_json_each_time(run: Run, port: int) -> None:
    again = ["--every", "0.01", "--count", "3"]
    wanted = ["read", *secure(port), "1-0:32.7.0", "1-0:32.7.0/3", *again]
    status, out, _ = run(*wanted, "--json")
    assert status == 0
    rounds = [json.loads(line) for line in out.splitlines()]
    assert len(rounds) == 3
    assert rounds[0]["time"].endswith("Z")
    for each in rounds:
        assert each["readings"]["1-0:32.7.0"]["value"] > 200
        assert each["readings"]["1-0:32.7.0"]["unit"] == "V"
        assert each["readings"]["1-0:32.7.0/3"]["attribute_name"] == "scaler_unit"
    _, out, _ = run(*wanted)
    assert out.count("voltage L1, scaler_unit") == 3


def test_a_long_value_stands_below_its_name_an_element_a_line(run: Run, port: int) -> None:
    status, out, _ = run("read", *secure(port), "1-0:1.8.0", "0-0:40.0.0")
    assert status == 0
    head, *elements = out.splitlines()[1:]
    assert head == "0-0:40.0.0  current association"
    assert len(elements) == 8
    assert all(line.startswith('  {"class_id"') for line in elements)


def test_hdlc_reads_the_same(run: Run, port: int) -> None:
    status, out, _ = run("read", f"dlms+hdlc://127.0.0.1:{port}?client=16", "1-0:1.8.0")
    assert status == 0
    assert "1 234.567 kWh" in out


def test_objects_lists_names_and_rights(run: Run, port: int) -> None:
    status, out, _ = run("objects", f"dlms://127.0.0.1:{port}")
    assert status == 0
    assert "8 objects" in out
    assert "Profile generic" in out
    _, out, _ = run("objects", f"dlms://127.0.0.1:{port}", "--class", "3", "--json")
    assert [entry["obis"] for entry in json.loads(out)] == ["1-0:1.8.0", "1-0:32.7.0"]


def test_profile_as_table_csv_json_parquet_and_plot(run: Run, port: int, tmp_path: Path) -> None:
    span = ["--from", "2026-03-10T00:15Z", "--to", "2026-03-10T02:00Z"]
    profile = ["profile", *secure(port), "1-0:99.1.0", *span]
    status, out, _ = run(*profile)
    assert status == 0
    assert "8 rows, every 900 s" in out
    assert "2026-03-10T00:15:00Z" in out
    _, out, _ = run(*profile, "--zone", "Europe/Budapest")
    assert "2026-03-10 01:15:00+0100" in out
    _, out, _ = run(*profile, "--csv")
    assert out.splitlines()[:2] == ["time_utc,1-0:1.8.0 [Wh]", "2026-03-10T00:15:00Z,1000000"]
    _, out, _ = run(*profile, "--json")
    found = json.loads(out)
    assert found["columns"][0]["unit"] == "Wh"
    assert found["rows"][0] == ["2026-03-10T00:15:00Z", 1000000.0]
    file = tmp_path / "lp.parquet"
    run(*profile, "--parquet", str(file))
    assert parquet.read_table(file).num_rows == 8
    _, out, _ = run(*profile, "--plot")
    assert "█" in out
    _, out, _ = run("profile", *secure(port), "1-0:99.1.0", "--entries", "1-3", "--csv")
    assert len(out.splitlines()) == 4


def test_a_clock_without_deviation_asks_for_the_zone(
    run: Run, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CosemDateTime.raw

    def bare(self: CosemDateTime) -> bytes:
        return whole(self)[:9] + b"\x80\x00" + whole(self)[11:]

    monkeypatch.setattr(CosemDateTime, "raw", bare)
    profile = ["profile", *secure(port), "1-0:99.1.0", "--entries", "1-2"]
    _, out, err = run(*profile, "--csv")
    assert "give the meter's --zone" in err
    assert out.splitlines()[1] == ",1000000"
    _, out, err = run(*profile, "--zone", "UTC", "--csv")
    assert err == ""
    assert out.splitlines()[1] == "2026-03-10T00:15:00Z,1000000"


WRONG = [
    (["read", "dlms://{}", "1-0:1.x.0"], "1-0:1.8.0"),
    (["read", "dlms://{}", "١-0:1.8.0"], "OBIS"),
    (["read", "dlms://{}", "1-0:99.99.9"], "no such object"),
    (["read", "dlms://{}", "0-0:96.1.9"], "denied"),
    (["read", "dlms://{}?client=2&auth=lls", "--password", "no", "1-0:1.8.0"], "password"),
    (["read", "dlms://{}?auth=hls5", "--ek", "00" * 16, "--ak", "11" * 16, "1-0:1.8.0"], "key"),
    (["read", "dlms://{}?auth=hls5", "--ek", "00" * 16, "1-0:1.8.0"], "ak="),
    (["read", "dlms://{}?auth=hls5", "--ek", "0011", "1-0:1.8.0"], "16"),
    (["clone", "dlms://{}?client=99"], "client"),
    (["clone", "dlms://{}", "--rows", "few"], "96"),
    (["read", "dlms://{}?auth=hls5", "--ek", "xyz", "1-0:1.8.0"], "hex"),
    (["read", "dlms://{}?auth=hls9", "1-0:1.8.0"], "hls5"),
    (["read", "dlms://{}?colour=red", "1-0:1.8.0"], "colour"),
    (["read", "dlms://{}?client=99", "1-0:1.8.0"], "client"),
    (["read", "http://{}", "1-0:1.8.0"], "dlms://"),
    (["read", "tcp://{}", "1-0:1.8.0"], "dlms+hdlc:// for HDLC over TCP"),
    (["read", "iec62056-21://{}", "1-0:1.8.0"], "blathy readout"),
    (["read", "/dev/no-such-port", "1-0:1.8.0"], "cable"),
    (["read", "serial:///dev/null", "1-0:1.8.0"], "is no serial port"),
    (["read", "dlms://{}?auth=hls5", "--ek", "0x12 34", "1-0:1.8.0"], "ek has 2 octets"),
    (["read", "dlms://{}?auth=hls5", "--keys", __file__, "1-0:1.8.0"], "key file"),
    (["read", "dlms://{}&client=2", "1-0:1.8.0"], "options after a ?"),
    (["read", "dlms://{}?pasword=x", "1-0:1.8.0"], "did you mean password=?"),
    (["read", "dlms://{}?client=2&auth=lls", "1-0:1.8.0"], "none was given: set password="),
    (["read", "dlms://{}?client=2"], "put a URL with & in it in quotes"),
    (["time", "dlms://{}", "--set", "10:00", "--yes"], "write now or 2026-11-21T10:00+01:00"),
    (["read", "dlms://127.0.0.1:1", "1-0:1.8.0"], "port"),
    (["read", "dlms://no.such.meter.invalid", "1-0:1.8.0"], "host name"),
    (["read", "serial:///dev/no-such-port", "1-0:1.8.0"], "cable"),
    (["profile", "dlms://{}", "1-0:99.1.0", "--from", "20-11-2026"], "date; write 2026-11, "),
    (["profile", "dlms://{}", "1-0:99.1.0", "--csv", "--plot"], "give one of them"),
    (["profile", "dlms://{}", "1-0:99.1.0", "--to", "now", "--entries", "1-2"], "one of the two"),
    (["profile", "dlms://{}", "1-0:99.1.0", "--from", "today", "--to", "-3d"], "after"),
    (["profile", "dlms://{}", "1-0:99.1.0", "--zone", "Mars/Base"], "time zone"),
    (["profile", "dlms://{}", "1-0:99.1.0", "--entries", "9-1"], "1-96"),
    (["profile", "dlms://{}", "1-0:1.8.0"], "1-0:1.8.0"),
    (["read", "dlms://{}", "--keys", "/no/such/file", "1-0:1.8.0"], "key file"),
    (["read", "dlms://{}", "--password", "env:NO_SUCH_NAME", "1-0:1.8.0"], "NO_SUCH_NAME"),
    (["read", "dlms://{}", "--password", "@/no/such/file", "1-0:1.8.0"], "file"),
    (["explain", "C0zz"], "hex"),
    (["explain", "/no/such/file"], "file"),
    (["replay", "/no/such/file"], "check its name"),
    (["record", "nowhere:x", "/tmp/x"], "HOST:PORT"),
    (["requirements", "--meter", "toaster"], "omnipower"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "hint"), WRONG)
def test_what_is_wrong_is_one_sentence_and_status_2(
    run: Run, port: int, arguments: list[str], hint: str
) -> None:
    status, out, err = run(*(a.replace("{}", f"127.0.0.1:{port}") for a in arguments))
    assert status == 2, out + err
    assert err.startswith("blathy: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert hint in err
    assert "00" * 16 not in err


def test_counters_of_the_command_survive_from_call_to_call(run: Run, port: int) -> None:
    for _ in range(3):
        status, _, err = run("read", *secure(port), "1-0:1.8.0")
        assert status == 0, err


def test_a_key_file_is_used_and_never_shown(run: Run, port: int, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'["127.0.0.1:{port}"]\nek = "{EK.hex()}"\nak = "{AK.hex()}"\n')
    url = f"dlms://127.0.0.1:{port}?auth=hls5"
    status, out, err = run("read", url, "--keys", str(file), "1-0:1.8.0")
    assert status == 0, err
    assert EK.hex() not in out + err


def test_doctor_knows_this_machine(run: Run) -> None:
    _, out, _ = run("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert findings["Python"]["verdict"] == "ok"
    assert findings["packages"]["verdict"] == "ok"
    assert all(f["advice"] for f in findings.values() if f["verdict"] == "missing")


def test_requirements_prints_every_promise(run: Run) -> None:
    status, out, _ = run("requirements", "--json")
    assert status == 0
    rows = json.loads(out)
    assert len(rows) == 111
    assert len({row["id"] for row in rows}) == 111
    assert "promises" in run("requirements", "--meter", "esox")[1]
    assert "| ESOX-01 |" in run("requirements", "--markdown")[1]


def test_the_installed_command_ends_with_status_2_and_no_traceback() -> None:
    command = [sys.executable, "-c", "from blathy.cli import main; main()"]
    ended = subprocess.run(
        [*command, "read", "dlms://127.0.0.1:1", "1-0:1.8.0"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    version = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, timeout=240, check=False
    )
    assert version.returncode == 0
    assert version.stdout.startswith("blathy ")


def test_a_conversation_is_recorded_explained_and_given_back(
    run: Run, port: int, tmp_path: Path
) -> None:
    file = tmp_path / "talk.txt"
    free = free_port()
    here = ("--listen", f"127.0.0.1:{free}", "--once")
    with start("record", f"127.0.0.1:{port}", file, *here) as recorder:
        assert "recording" in recorder.output.readline()
        assert run("read", f"dlms://127.0.0.1:{free}?client=16", "1-0:1.8.0")[0] == 0
        assert recorder.wait() == 0
    _, out, _ = run("explain", str(file))
    assert "AARQ" in out
    assert "1-0:1.8.0 value (active energy import" in out
    with start("replay", file, *here) as player:
        assert "answering" in player.output.readline()
        status, out, _ = run("read", f"dlms://127.0.0.1:{free}?client=16&cache=off", "1-0:1.8.0")
        assert status == 0
        assert "1 234.567 kWh" in out
        assert player.wait() == 0
    status, out, _ = run("replay", str(file), "--against", f"127.0.0.1:{port}")
    assert status == 0, out
