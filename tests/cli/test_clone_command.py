"""`blathy clone` of a running meter, and `blathy meter run` of what it wrote."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blathy.client import Meter, ObjectCache, ObjectRefused, VolatileCounterStore
from blathy.cosem import axdr
from blathy.cosem.objectlist import AccessRight
from blathy.cosem.service import AttributeRef, Requester
from blathy.meter.power_file import read_power_file
from blathy.meter.recorded import RecordedObjects
from blathy.models.model import Level
from blathy.models.recorded import read_recording, write_recording
from tests.cli.in_process import blathy
from tests.meter.running import fed, gurux, served
from tests.meter.test_interop_gurux import BY_GURUX_ITSELF, job_of
from tests.processes import start

MOVING = {8}  # classes whose values go on: the clock
NUMBERS = axdr.INTEGER_TYPES
Values = dict[tuple[int, str, int], bytes | int]


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLATHY_STATE", str(tmp_path / "state"))


@contextmanager
def running(file: Path, *options: str) -> Iterator[str]:
    """`blathy meter run FILE` in a process of its own; the URL of its recorded client."""
    words = ("meter", "run", file, "--port", "dlms-tcp:127.0.0.1:0", "--json", *options)
    with start(*words) as ran:
        ready = json.loads(ran.output.readline())
        assert ready["connections"][0]["level"] == "recorded"
        yield ready["connections"][0]["url"]
        ran.terminate()
        assert ran.wait() == 0


async def everything(url: str) -> tuple[list[Any], Values]:
    """The object list with its rights, and every attribute that it grants."""
    counters = VolatileCounterStore()
    async with Meter.connect(url, cache=ObjectCache(), counters=counters) as one:
        objects = await one.objects()
        refs = [
            AttributeRef(entry.class_id, entry.obis, row.index)
            for entry in objects
            for row in entry.attributes
            if row.right & AccessRight.READ
        ]
        octets = await one.read_octets(refs)
    keys = [(ref.class_id, str(ref.obis), ref.attribute) for ref in refs]
    return list(objects), dict(zip(keys, octets, strict=True))


def url_of(job: dict[str, Any]) -> str:
    secrets = "".join(f"&{name}={job[name]}" for name in ("password", "ek", "ak") if name in job)
    return f"dlms://127.0.0.1:{job['port']}?client={job['client']}&auth={job['auth']}{secrets}"


def test_a_client_that_the_meter_does_not_know_is_told_what_to_try() -> None:
    with served(fed("mt372", 1)) as port:
        done = blathy("clone", f"dlms://127.0.0.1:{port}?client=77")
    assert done.status
    assert "client 77" in done.err
    assert "try client=16 or client=1" in done.err
    assert "diagnostic" not in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_clone_answers_as_its_original(tmp_path: Path) -> None:
    file = tmp_path / "clone.json"
    original = fed("mt372", 2)
    with served(original) as port:
        url = url_of(job_of(original, Level.MANAGEMENT, port))
        done = blathy("clone", url, "--output", file, "--rows", "all", "--json")
        assert done.status == 0, done.err
        assert done.json["refused"] == 0
        objects, values = asyncio.run(everything(url))
    assert done.json["objects"] == len(objects)
    text = file.read_text()
    assert write_recording(read_recording(text)) == text
    for secret in re.findall(r"(?:password|ek|ak)=([^&]+)", url):
        assert secret not in text
    with running(file) as again:
        cloned_objects, cloned = asyncio.run(everything(again))
        job = {"walk": True, "clock": original.model.clock.obis.dotted(), "counter": 5000}
        for name, value in re.findall(r"(client|auth|password|ek|ak)=([^&]+)", again):
            job[name] = int(value) if name == "client" else value
        job["port"] = int(again.split(":")[2].split("?")[0])
        found = gurux(job)
    assert cloned_objects == objects
    counters = {key for key in values if ":43.1." in key[1]}
    assert cloned.keys() == values.keys()
    differing = {
        key for key in values
        if key[0] not in MOVING and key not in counters and cloned[key] != values[key]
    }  # fmt: skip
    assert differing == set()
    assert [row[:2] for row in found["objects"]] == [
        [entry.class_id, entry.obis.dotted()] for entry in objects
    ]
    assert [row for row in found["wrong"] if (row[0], row[2]) not in BY_GURUX_ITSELF] == []


class CuttingProxy:
    """Passes octets on to a meter; each of the first connections ends after so many of them."""

    def __init__(self, port: int, octets: int, cuts: int) -> None:
        self.meter = port
        self.left = octets
        self.cuts = cuts
        self.connections = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                self.connections += 1
                cut = self.connections <= self.cuts
                threading.Thread(target=self._relay, args=(client, cut), daemon=True).start()

    def _relay(self, client: socket.socket, cut: bool) -> None:
        passed = 0
        with (
            contextlib.suppress(OSError), client,
            socket.create_connection(("127.0.0.1", self.meter)) as meter,
        ):  # fmt: skip
            while True:
                for ready in select.select([client, meter], [], [])[0]:
                    data = ready.recv(4096)
                    passed += len(data)
                    if not data or (cut and passed > self.left):
                        return
                    (meter if ready is client else client).sendall(data)

    def close(self) -> None:
        self.server.close()


def test_a_clone_goes_on_where_its_connection_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fed("mpta-1", 1)
    whole, file = tmp_path / "whole.json", tmp_path / "clone.json"
    with served(original) as port:
        url = url_of(job_of(original, Level.MANAGEMENT, port))
        assert blathy("clone", url, "-o", whole, "--rows", "4").status == 0
        proxy = CuttingProxy(port, 12_000, cuts=2)
        through = url.replace(f":{port}", f":{proxy.port}")
        done = blathy("clone", through, "-o", file, "--rows", "4")
        assert done.status == 0, done.err
        assert "once more" in done.err
        assert list(tmp_path.glob("*.part")) == []
        proxy.close()
        # lost for good: what was read is kept, and the next call goes on from it
        proxy = CuttingProxy(port, 12_000, cuts=1)
        through = url.replace(f":{port}", f":{proxy.port}")
        other = tmp_path / "other.json"
        monkeypatch.setattr("blathy.cli.clone.CONNECTIONS_MAX", 1)
        assert blathy("clone", through, "-o", other, "--rows", "4").status == 2
        assert list(tmp_path.glob("other.json.*part"))
        done = blathy("clone", through, "-o", other, "--rows", "4")
        assert done.status == 0
        assert "objects are there from before" in done.err
        assert list(tmp_path.glob("*.part")) == []
        proxy.close()
    values = [
        {(o.class_id, o.obis, a.index): a.value for o in read_recording(path.read_text()).objects
         for a in o.attributes if o.class_id not in MOVING and (o.obis.c, o.obis.d) != (43, 1)}
        for path in (whole, file, other)
    ]  # fmt: skip
    assert values[0] == values[1] == values[2]


def test_a_clone_lives_clock_writes_and_rows(tmp_path: Path) -> None:
    file, data = tmp_path / "clone.json", tmp_path / "data"
    data.mkdir()
    original = fed("mt372", 2)
    with served(original) as port:
        url = url_of(job_of(original, Level.MANAGEMENT, port))
        assert blathy("clone", url, "-o", file, "--rows", "20").status == 0

    async def work(there: str) -> None:
        async with Meter.connect(there, cache=ObjectCache()) as one:
            before = (await one.clock()).utc()
            await one.set_clock(before + 5000)
            assert 5000 <= (await one.clock()).utc() - before <= 5003
            objects = await one.objects()
            wanted = AccessRight.READ | AccessRight.WRITE
            plain = [e for e in objects if e.class_id == 1 and e.attribute_right(2) == wanted]
            refs = [AttributeRef(1, entry.obis, 2) for entry in plain]
            kinds = [(await one.get_data(ref)).type for ref in refs]
            writable = next(e for e, kind in zip(plain, kinds, strict=True) if kind in NUMBERS)
            await one.set(str(writable.obis), 7)
            assert await one.read(str(writable.obis)) == 7
            with pytest.raises(ObjectRefused):
                await one.set("1-0:1.8.0", 7)
            whole = await one.profile("1-0:99.1.0")
            assert len(whole) == 20
            first, last = (int(whole.times.utc_s[n]) for n in (5, 9))
            part = await one.profile("1-0:99.1.0", since=first, until=last)
            assert part.columns[2].to_list() == whole.columns[2].to_list()[5:10]
            some = await one.profile("1-0:99.1.0", entries=(2, 3))
            assert some.columns[2].to_list() == whole.columns[2].to_list()[1:3]
            kept.append((str(writable.obis), before))

    kept: list[tuple[str, int]] = []
    with running(file, "--data", str(data)) as there:
        asyncio.run(work(there))

    async def later(there: str) -> None:
        code, before = kept[0]
        async with Meter.connect(there, cache=ObjectCache()) as one:
            assert await one.read(code) == 7
            assert 5000 <= (await one.clock()).utc() - before < 5060

    with running(file, "--data", str(data)) as there:
        asyncio.run(later(there))


def test_a_load_moves_the_registers_of_a_clone(tmp_path: Path) -> None:
    file, csv = tmp_path / "clone.json", tmp_path / "load.csv"
    csv.write_text("time_s,power_w\n0,3600000\n100000,0\n")
    original = fed("mt372", 1)
    with served(original) as port:
        assert blathy("clone", url_of(job_of(original, Level.MANAGEMENT, port)), "-o", file,
                      ).status == 0  # fmt: skip
    recorded = read_recording(file.read_text())
    found = RecordedObjects(recorded, lambda: recorded.read_at_utc_s + 60.0)
    who = Requester(recorded.client, 1, original.model.associations[0].obis)
    ref = AttributeRef(3, recorded.objects[0].obis.parse("1-0:1.8.0"), 2)
    before = axdr.decode(found.get(ref, who)).value
    source = read_power_file(csv, 3)
    for second in range(10):  # 3.6 MW are 1 kWh a second, in steps of 1 Wh
        found.advance(source.block(1000 + second, 1, 1))
    counted = axdr.decode(found.get(ref, who)).value - before
    assert counted in {9_999, 10_000}  # what is less than a step is carried on


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[]", "format"),
        ('{"format": "blathy recorded meter 1"}', "missing"),
    ],
)
def test_a_file_that_is_no_clone_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "clone.json"
    file.write_text(text)
    done = blathy("meter", "run", file)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_damaged_value_names_its_object(tmp_path: Path) -> None:
    original = fed("mpta-1", 0)
    file = tmp_path / "clone.json"
    with served(original) as port:
        url = url_of(job_of(original, Level.MANAGEMENT, port))
        assert blathy("clone", url, "-o", file).status == 0
    plain = json.loads(file.read_text())
    plain["objects"][3]["attributes"][1]["value"] = "0202"
    file.write_text(json.dumps(plain))
    done = blathy("meter", "run", file)
    assert done.status == 2
    assert plain["objects"][3]["obis"] in done.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--rows", "many"], "96"),
        (["-o", "/no/such/folder/x.json"], "folder"),
        ([], "listens"),
    ],
)
def test_what_is_wrong_with_a_clone_is_one_sentence(options: list[str], says: str) -> None:
    done = blathy("clone", "dlms://127.0.0.1:1", *options)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1
