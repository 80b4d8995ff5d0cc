"""The client as the documentation shows it, over every way to a meter; its synchronous twin; what
it asks on the line, and what it does not ask again.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import tomllib
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from blathy.client import (
    FileCounterStore,
    FileObjectCache,
    KeySet,
    Meter,
    ObjectCache,
    ObjectRefused,
    Refused,
    SyncMeter,
    VolatileCounterStore,
    switches,
)
from blathy.client.address import AUTHENTICATION
from blathy.cosem import axdr
from blathy.cosem.objectlist import ScalerUnit, ShortName, build_short_names
from blathy.cosem.service import AttributeRef, Requester
from blathy.obis import Obis
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import serve_dlms, serve_dlms_datagrams
from blathy.transport.serving import serve_line
from blathy.wire.security import SecurityPolicy
from blathy.wire.server import AssociationProfile, LogicalDevice
from tests.client.small_meter import (
    AK,
    DAY_START,
    EK,
    PASSWORD,
    SHORT_NAMES,
    TITLE,
    SmallMeter,
    address,
    device,
    line,
    lookup,
)
from tests.client.small_meter import ENERGY as ENERGY_CODE
from tests.client.test_optical_port import PseudoTerminal, optical
from tests.virtual_time import run_in_virtual_time
from tests.wire.association_pair import key_pair

METERS = 1000
ROOT = Path(__file__).resolve().parents[2]
ENERGY = Quantity(1_234_567, 0, Unit.WH)
START = datetime.fromtimestamp(DAY_START, UTC)
HOUR_LATER = START + timedelta(hours=1)
FIRMWARE = Obis.parse("1-0:0.2.0")


def keys_of(case: str) -> tuple[KeySet | None, KeySet | None]:
    """What meter and client hold: for `hls5-1` suite 1 with HLS-GMAC."""
    if case[:4] not in {"hls5", "hls7"}:
        return None, None
    return key_pair(int(case[-1]))


CASES = ("none", "lls", "hls3", "hls4", "hls6", "hls5-0", "hls5-1", "hls5-2", "hls7-1", "hls7-2")
LINES = ("dlms", "dlms+hdlc", "dlms+udp", "serial", "serial-e")


@asynccontextmanager
async def served(kind: str, model: SmallMeter, case: str) -> AsyncIterator[str]:
    """A meter on a real port: the beginning of its URL."""
    found = device(model)
    theirs, _ = keys_of(case)
    mechanism = AUTHENTICATION[case[:4]]
    policy = SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED if theirs else SecurityPolicy.NONE
    secret = PASSWORD if theirs is None and case != "none" else b""
    found.profiles = {1: AssociationProfile(1, mechanism, secret, keys=theirs, policy=policy)}
    if kind.startswith("serial"):
        async with on_a_pseudo_terminal(found) as name:
            yield f"serial://{name}?{'mode=e&' if kind.endswith('e') else ''}"
        return
    listener: Any
    if kind == "dlms+udp":
        listener, port = await serve_dlms_datagrams(lookup(found), port=0)
    else:
        listener, port = await serve_dlms(lookup(found), port=0)
    yield f"{kind}://127.0.0.1:{port}?"
    await listener.stop()


@asynccontextmanager
async def on_a_pseudo_terminal(found: LogicalDevice) -> AsyncIterator[str]:
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    port = PseudoTerminal(master)
    serving = asyncio.create_task(serve_line(port, optical(found)))
    yield os.ttyname(slave)
    await port.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("case", CASES)
def test_it_works_as_it_is_written_over_every_line_with_every_authentication(
    kind: str, case: str, tmp_path: Path
) -> None:
    async def test() -> None:
        _, keys = keys_of(case)
        secret = "" if keys is not None or case == "none" else f"&password={PASSWORD.decode()}"
        counters = FileCounterStore(tmp_path / "counters")
        async with served(kind, SmallMeter(rows=8), case) as place:
            url = (
                f"{place}client=1&auth={case[:4]}&title=4D4D4D0000000001&timeout=60{secret}&ic=off"
            )
            async with Meter.connect(url, keys=keys, counters=counters) as meter:
                energy = await meter.read("1-0:1.8.0")
                profile = await meter.profile("1-0:99.1.0", since=START, until=HOUR_LATER)
        assert energy == ENERGY
        assert str(energy) == "1 234.567 kWh"
        assert profile["1-0:1.8.0"].tolist() == [1_000_000.0, 1_000_100, 1_000_200, 1_000_300]
        assert next(row["1-0:1.8.0"] for row in profile) == Quantity(1_000_000, 0, Unit.WH)
        counters.close()

    asyncio.run(asyncio.wait_for(test(), 240))


def test_a_profile_is_columns_rows_arrow_pandas_and_parquet(tmp_path: Path) -> None:
    async def test() -> None:
        async with small(SmallMeter(extra_column=True)) as meter:
            profile = await meter.profile("1-0:99.1.0", since=START, until=HOUR_LATER)
            narrow = await meter.profile("1-0:99.1.0", since=START, columns=["1-0:32.7.0"])
        first = next(iter(profile))
        assert (first.time, first["1-0:32.7.0"]) == (
            START + timedelta(minutes=15), Quantity(2300, -1, Unit.V),
        )  # fmt: skip
        assert profile["1-0:32.7.0"].tolist() == [230.0] * 4
        with pytest.raises(KeyError):
            _ = profile["1-0:99.9.9"]
        arrow = profile.to_arrow()
        assert arrow.column_names == ["time_utc", "1-0:1.8.0", "1-0:32.7.0"]
        assert arrow.schema.field("1-0:32.7.0").metadata == {b"scaler": b"-1", b"unit": b"V"}
        frame = profile.to_pandas()
        assert frame["1-0:32.7.0 [V]"].tolist() == [230.0] * 4
        assert frame.index[0] == START + timedelta(minutes=15)
        profile.to_parquet(tmp_path / "day.parquet")
        table = parquet.read_table(tmp_path / "day.parquet")
        assert table.column_names == ["time_utc", "1-0:1.8.0 [Wh]", "1-0:32.7.0 [V]"]
        assert table["1-0:1.8.0 [Wh]"][0].as_py() == 1_000_000
        assert table["1-0:32.7.0 [V]"].to_pylist() == [230.0] * 4
        lines = profile.to_csv().splitlines()
        assert lines[:2] == [
            "time_utc,1-0:1.8.0 [Wh],1-0:32.7.0 [V]", "2026-03-10T00:15:00Z,1000000,230.0",
        ]  # fmt: skip
        assert [str(c.capture.obis) for c in narrow.columns] == ["1-0:32.7.0"]
        assert len(narrow) == 96

    asyncio.run(asyncio.wait_for(test(), 240))


def small(
    model: SmallMeter, query: str = "client=2&auth=lls&password=12345678", **more: Any
) -> Meter:
    more.setdefault("cache", ObjectCache())
    return Meter.connect(address(query), line=line(device(model)), **more)


@pytest.mark.parametrize("query", ["client=2&auth=lls&password=12345678", "client=4"])
def test_plain_values_are_written_and_methods_called_by_name(query: str) -> None:
    async def test() -> None:
        model = SmallMeter()
        async with small(model, query) as meter:
            await meter.write("0-0:96.1.0", "AB12")
            assert model.serial == b"AB12"
            await meter.write("0-0:96.1.0/value", "0x0102")
            assert model.serial == b"\x01\x02"
            await meter.write("0-0:1.0.0", "2026-03-10T12:00+01:00")
            assert (await meter.clock()).utc() == DAY_START + 11 * 3600
            assert await meter.call("0-0:96.3.10", "remote_disconnect") is None
            assert await meter.read("0-0:96.3.10/output_state") is False
            taken = await meter.set_many([
                ("0-0:96.1.0", axdr.octets(b"Z")), ("1-0:1.8.0", axdr.u32(5)),
            ])  # fmt: skip
            assert taken[0] is None
            assert isinstance(taken[1], ObjectRefused)
            assert model.serial == b"Z"
            (scaler,) = await meter.read_many(["1-0:32.7.0/scaler_unit"])
            assert scaler.named() == {"scaler": -1, "unit": "V"}

    asyncio.run(asyncio.wait_for(test(), 240))


def test_every_coroutine_of_the_meter_has_its_twin() -> None:
    ours = {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(Meter, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert {"read", "write", "profile", "call", "set_clock", "next_push"} <= set(ours)
    for name, signature in ours.items():
        twin = getattr(SyncMeter, name, None)
        assert twin is not None, f"SyncMeter has no {name}"
        assert not inspect.iscoroutinefunction(twin)
        theirs = inspect.signature(twin)
        assert [(p.name, p.kind, p.default, p.annotation) for p in theirs.parameters.values()] == [
            (p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()
        ], name
        assert theirs.return_annotation == signature.return_annotation, name


def test_type_checkers_of_users_see_the_annotations() -> None:
    assert (resources.files("blathy") / "py.typed").is_file()
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert built["targets"]["wheel"]["packages"] == ["src/blathy"]  # with all that is in it


def test_without_await_from_opening_to_an_operation() -> None:
    async def start() -> None:
        listener, port = await serve_dlms(lookup(device(SmallMeter())), port=0)
        await asyncio.get_running_loop().run_in_executor(None, use, port)
        await listener.stop()

    def use(port: int) -> None:
        url = f"dlms://127.0.0.1:{port}?client=2&auth=lls"
        meter = SyncMeter(Meter.connect(url, password=PASSWORD))
        with pytest.raises(Refused, match="not connected"):
            meter.read("1-0:1.8.0")
        with meter:
            assert meter.quantity("1-0:32.7.0").unit is Unit.V
            with pytest.raises(Refused, match="no value with a unit"):
                meter.quantity("0-0:96.1.0")
            assert meter.run(switches) == [Obis.parse("0-0:96.3.10")]
            assert meter.read("1-0:1.8.0") == ENERGY
            assert abs(meter.clock_offset_s()) > 0
        with pytest.raises(Refused, match="not connected"):
            meter.read("1-0:1.8.0")
        with meter:
            assert meter.read("1-0:1.8.0") == ENERGY

    asyncio.run(asyncio.wait_for(start(), 240))


# --- what is asked on the line, and what is not asked again --------------------------------------


@dataclass
class Versioned(SmallMeter):
    """Tells which firmware it runs; another one measures with another scaler."""

    firmware: bytes = b"1.0"

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if ref.obis == FIRMWARE:
            self.asked.append(ref)
            return axdr.encode_octets(self.firmware)
        if (ref.class_id, ref.attribute) == (12, 2):
            self.asked.append(ref)
            return build_short_names((*SHORT_NAMES, ShortName(0x7000, 1, 0, FIRMWARE)))
        found = super().get(ref, who)
        if (ref.class_id, ref.attribute, ref.obis) == (
            3,
            3,
            ENERGY_CODE,
        ) and self.firmware != b"1.0":
            return ScalerUnit(-1, Unit.WH).encode()
        return found

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        return {**super().short_names(who), 0x7000: (1, FIRMWARE)}

    def count(self, class_id: int, attribute: int) -> int:
        return sum((ref.class_id, ref.attribute) == (class_id, attribute) for ref in self.asked)


async def read_once(model: SmallMeter, cache: ObjectCache, **more: Any) -> Quantity:
    async with small(model, cache=cache, **more) as meter:
        value = await meter.read("1-0:1.8.0")
    assert isinstance(value, Quantity)
    return value


def test_a_type_and_firmware_is_learned_once_for_all_its_meters() -> None:
    async def test() -> None:
        cache, models = ObjectCache(), [Versioned() for _ in range(5)]
        for model in models * 2:
            assert await read_once(model, cache, type_key="small") == ENERGY
        lists = [model.count(15, 2) for model in models]
        scalers = [model.count(3, 3) for model in models]
        assert (lists, scalers) == ([1, 0, 0, 0, 0], [1, 0, 0, 0, 0])
        assert [len(model.asked) for model in models][1:] == [4] * 4  # firmware and value, twice

    asyncio.run(asyncio.wait_for(test(), 240))


@pytest.mark.parametrize(
    "query", ["client=2&auth=lls&password=12345678", "client=4", "client=5&sn=1"]
)
@pytest.mark.parametrize("type_key", ["", "small"])
def test_another_firmware_begins_with_an_empty_page(query: str, type_key: str) -> None:
    async def test() -> None:
        cache, model = ObjectCache(), Versioned()
        assert await read_once(model, cache, query=query, type_key=type_key) == ENERGY
        model.firmware = b"2.0"
        wanted = Quantity(1_234_567, -1, Unit.WH)
        assert await read_once(model, cache, query=query, type_key=type_key) == wanted
        lists = model.count(15, 2) + model.count(12, 2)
        assert lists >= 2 or query.startswith("client=2")
        model.firmware = b"1.0"
        assert await read_once(model, cache, query=query, type_key=type_key) == ENERGY
        again = model.count(15, 2) + model.count(12, 2)
        assert again == lists  # what was known of the first firmware still holds

    asyncio.run(asyncio.wait_for(test(), 240))


def test_the_next_run_of_the_program_asks_for_no_list(tmp_path: Path) -> None:
    async def test() -> None:
        model = Versioned()
        for _ in range(3):
            assert await read_once(model, FileObjectCache(tmp_path / "objects")) == ENERGY
        assert model.count(15, 2) == 1
        assert model.count(3, 3) == 1

    asyncio.run(asyncio.wait_for(test(), 240))


def _cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _other_scaler(raw: bytes) -> bytes:
    return raw.replace(b'"0202', b'"0203', 1) if b'"0202' in raw else raw.replace(b"0", b"1", 1)


def _no_objects(raw: bytes) -> bytes:
    return json.dumps({**json.loads(raw), "objects": "0100"}).encode()


@pytest.mark.parametrize(
    "damage",
    [_cut, _other_scaler, _no_objects, lambda _: b"", lambda _: b"\xff\x00[", lambda _: b"[" * 9999,
     lambda _: b"[]", lambda _: b'{"check": 1}'],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    async def test() -> None:
        model = Versioned()
        await read_once(model, FileObjectCache(tmp_path))
        files = list(tmp_path.glob("*.json"))
        for file in files:
            file.write_bytes(damage(file.read_bytes()))
        assert files
        assert await read_once(model, FileObjectCache(tmp_path)) == ENERGY
        assert model.count(15, 2) == 2
        assert await read_once(model, FileObjectCache(tmp_path)) == ENERGY
        assert model.count(15, 2) == 2  # it was written anew

    asyncio.run(asyncio.wait_for(test(), 240))


def test_a_folder_that_cannot_be_written_costs_requests_and_nothing_else(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "file").write_text("no folder")
        model = Versioned()
        for _ in range(2):
            assert await read_once(model, FileObjectCache(tmp_path / "file")) == ENERGY
        assert model.count(15, 2) == 2

    asyncio.run(asyncio.wait_for(test(), 240))


def test_a_thousand_meters_on_one_loop() -> None:
    """All of them associated at once, each with its own keys' counters, read and released."""

    async def test() -> None:
        cache, counters = ObjectCache(), VolatileCounterStore()
        gate, inside = asyncio.Event(), 0
        query = f"client=1&auth=hls5&ek={EK.hex()}&ak={AK.hex()}"

        async def session(number: int) -> None:
            nonlocal inside
            model = SmallMeter(serial=b"%08d" % number, rows=4)
            found = device(model)
            found.system_title = TITLE[:4] + number.to_bytes(4, "big")
            meter = Meter.connect(
                address(query), line=line(found), cache=cache, counters=counters,
                type_key="small",
            )  # fmt: skip
            async with meter:
                assert await meter.read("0-0:96.1.0") == b"%08d" % number
                inside += 1
                if inside == METERS:
                    gate.set()
                await gate.wait()
                assert await meter.read("1-0:1.8.0") == ENERGY

        await asyncio.gather(*map(session, range(METERS)))
        assert inside == METERS

    run_in_virtual_time(test)
