"""What the verbs that talk to a meter share: opening, times, how values are written."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import typer

from blathy.cli.app import CommandError
from blathy.client.address import MeterAddress, parse_address
from blathy.client.cache import FileObjectCache
from blathy.client.counters import FileCounterStore, FileKeyStore, StoreError
from blathy.client.items import Item, parse_obis
from blathy.client.meter import Meter
from blathy.client.values import Reading, Value
from blathy.clock import Zone, iso_utc
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.classes import interface_class
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.names import obis_name
from blathy.quantity import SYMBOL, Quantity
from blathy.transport.errors import MeterError
from blathy.wire.acse import Mechanism
from blathy.wire.security import CounterStore, VolatileCounterStore

T = TypeVar("T")
COUNTER_WAIT_S: Final = 5.0


def state_directory() -> Path:
    """Where the command keeps what has to survive, e.g. invocation counters."""
    named = os.environ.get("BLATHY_STATE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "blathy"


def _counters(address: MeterAddress, path: str) -> CounterStore:
    if not address.keys.unicast and address.mechanism is not Mechanism.HLS_GMAC:
        return VolatileCounterStore()
    return counter_file(path)


def counter_file(path: str) -> FileCounterStore:
    """The file that keeps our invocation counters; the usual one where `path` is empty."""
    file = Path(path) if path else state_directory() / "counters"
    until = time.monotonic() + COUNTER_WAIT_S
    while True:
        try:
            return FileCounterStore(file)
        except StoreError as error:
            if "another process" not in error.message or time.monotonic() > until:
                raise
            time.sleep(0.05)


def with_meter(
    url: str,
    work: Callable[[Meter], Awaitable[T]],
    *,
    password: str = "",
    ek: str = "",
    ak: str = "",
    keys: str = "",
    counters: str = "",
    zone: str = "",
) -> T:
    """Open the meter, do the work, close it; every failure becomes one sentence."""

    async def run() -> T:
        secrets = {"password": password, "ek": ek, "ak": ak}
        address = parse_address(url, secrets)
        key_store = FileKeyStore(keys) if keys else None
        cache = FileObjectCache(state_directory() / "objects")
        meter = Meter.connect(address, keys=key_store, zone=parse_zone(zone), cache=cache)
        place = meter.address.place
        if keys and not (meter.address.keys.unicast or meter.address.password):
            raise CommandError(f'{keys} holds nothing for this meter; add a table ["{place}"]')
        store = _counters(meter.address, counters)
        meter.use_counters(store)
        try:
            async with meter:
                return await work(meter)
        finally:
            if isinstance(store, FileCounterStore):
                store.close()

    try:
        return asyncio.run(run())
    except MeterError as error:
        raise CommandError(str(error)) from error


def parse_zone(name: str) -> Zone | None:
    """The zone of an option; None where it is not given."""
    if not name:
        return None
    try:
        return Zone(name)
    except ValueError as error:
        raise CommandError(str(error)) from error


_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)
_AGO = re.compile(r"-(\d{1,5})([mhd])", re.ASCII)
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_moment(text: str, zone: Zone | None) -> datetime | None:
    """`2026-11`, `2026-11-20`, `2026-11-20T10:15`, `…Z`, `today`, `yesterday`, `now`, `-7d`."""
    if not text:
        return None
    here = zone.tzinfo if zone is not None else datetime.now().astimezone().tzinfo
    now = datetime.now(here)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if text in words:
        return words[text]
    if match := _AGO.fullmatch(text):
        return now - int(match[1]) * _UNITS[match[2]]
    try:
        moment = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
    except ValueError:
        raise CommandError(
            f"{text!r} is no date; write 2026-11, 2026-11-20, 2026-11-20T10:15, yesterday or -7d"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=here)


def shown(value: Value) -> str:
    """A value for people."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return text_or_hex(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(shown(element) for element in value) + ")"
    return str(value)


def subject(reading: Reading) -> str:
    """What was read: `clock`, or `clock, time_zone` where it is not the value itself."""
    ref, name = reading.ref, obis_name(reading.obis)
    return name if ref.attribute == 2 else f"{name}, {_attribute_name(reading)}"


def _attribute_name(reading: Reading) -> str:
    try:
        kind = interface_class(reading.ref.class_id, reading.version)
        return kind.attribute(reading.ref.attribute).name
    except KeyError:
        return f"attribute {reading.ref.attribute}"


def told(reading: Reading) -> str:
    """The value of a reading for people, with the names that the standard gives its parts."""
    if reading.error is not None:
        return "(not readable)"
    named = reading.named()
    if isinstance(named, dict | list):
        return json.dumps(named, ensure_ascii=False)
    if isinstance(named, str) and isinstance(reading.value, int):
        return named
    return shown(reading.value)


def plain_reading(reading: Reading) -> dict[str, Any]:
    """A reading for JSON."""
    found: dict[str, Any] = {
        "obis": str(reading.obis),
        "name": obis_name(reading.obis),
        "class": reading.ref.class_id,
        "attribute": reading.ref.attribute,
        "attribute_name": _attribute_name(reading),
    }
    if reading.error is not None:
        return found | {"error": str(reading.error)}
    value = plain(reading.value)
    if isinstance(value, dict):
        return found | value
    named = reading.named()
    if isinstance(named, dict | list) or (isinstance(named, str) and isinstance(value, int)):
        value = named
    return found | {"value": value, "unit": None}


def parse_item(code: str) -> Item:
    """An OBIS code, one with `/3` or `/scaler_unit`; one sentence for all else."""
    text, slash, attribute = code.partition("/")
    try:
        parse_obis(text)
    except MeterError as error:
        raise CommandError(str(error)) from error
    number = int(attribute) if attribute.isascii() and attribute.isdigit() else 2
    if (slash and not attribute) or not 0 < number < 128:
        raise CommandError(f"{code!r} names no attribute; write {text}/2 or {text}/value")
    return code


def ask(question: str) -> None:
    """Go on only when the user says yes."""
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Say so with --yes; there is nobody here to ask")
    if not typer.confirm(question):
        raise CommandError("nothing was done")


def text_or_hex(value: bytes) -> str:
    """Octets as text where they are printable."""
    if value and all(32 <= octet < 127 for octet in value):
        return value.decode("ascii")
    return value.hex(" ") if value else "(empty)"


def plain(value: Any) -> Any:
    """A value for JSON: quantities as number and unit, times as ISO 8601 UTC, octets as hex."""
    if isinstance(value, Quantity):
        return {"value": _number(value), "unit": SYMBOL[value.unit]}
    if isinstance(value, CosemDateTime):
        try:
            return iso_utc(value.utc())
        except AxdrError:
            return str(value)
    if isinstance(value, Data):
        return axdr.encode(value).hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [plain(element) for element in value]
    return value


def _number(value: Quantity) -> int | float:
    return value.mantissa * 10**value.scaler if value.scaler >= 0 else float(value.decimal_text())


def utc_text(utc_s: int, zone: Zone | None) -> str:
    """A time stamp in the meter's zone where it is known, else in UTC."""
    if zone is None:
        return iso_utc(utc_s)
    return zone.civil(utc_s).strftime("%Y-%m-%d %H:%M:%S%z")
