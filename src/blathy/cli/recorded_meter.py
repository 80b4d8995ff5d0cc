"""`blathy meter run FILE`: a meter that `blathy clone` has read, served on real ports."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blathy.cli.app import CommandError
from blathy.cli.ready import Tell, connection
from blathy.client.address import AUTHENTICATION
from blathy.client.counters import FileCounterStore
from blathy.meter.recorded import PUBLIC_CLIENT, Key, RecordedObjects, derived_secret
from blathy.models.recorded import RecordedMeter, RecordingError, read_recording
from blathy.obis import Obis
from blathy.sources.source import IntervalSource
from blathy.transport.dlms_session import Framing, serve_dlms, serve_dlms_datagrams
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint
from blathy.wire.acse import Mechanism
from blathy.wire.security import (
    CounterStore,
    InvocationCounters,
    KeySet,
    SecurityPolicy,
    VolatileCounterStore,
)
from blathy.wire.server import AssociationProfile, LogicalDevice

YEAR_2020_S: Final = 1_577_836_800
_VALUES: Final = "values.json"


@dataclass(frozen=True, slots=True)
class Place:
    """A port that was bound, and the URL scheme that reaches it."""

    scheme: str
    host: str
    port: int


def load_recording(path: Path) -> RecordedMeter:
    """The recorded meter of a file; CommandError where it is none."""
    try:
        return read_recording(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}; check its name") from error
    except (RecordingError, UnicodeError) as error:
        raise CommandError(
            f"{path} is no recorded meter: {error}; make one with `blathy clone URL`"
        ) from error


class _FreshCounters(VolatileCounterStore):
    """Counters that begin with the time: the keys follow from the seed, and a number must not be
    used twice under one key when the meter is run again."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self._base = base
        self._highest = 0

    def reserve(self, name: str, count: int) -> int:
        return super().reserve(name, count) + self._base

    def advance(self, name: str, at_least: int) -> None:
        super().advance(name, max(0, at_least - self._base))

    def accept(self, name: str, lowest: int) -> None:
        super().accept(name, lowest)
        self._highest = max(self._highest, lowest - 1)

    def highest_received(self) -> int:
        """The largest number that any client has used."""
        return self._highest


class RecordedDevice:
    """A recorded meter with keys of its own, ready to be served."""

    def __init__(
        self, recorded: RecordedMeter, seed: int, data: Path | None, auth: Mechanism | None = None
    ) -> None:
        self.recorded = recorded
        self.title = recorded.system_title or derived_secret(b"", seed, recorded.place, 8)
        self.mechanism = auth if auth is not None else _mechanism(recorded.authentication)
        self.ciphered = recorded.ciphered or self.mechanism is Mechanism.HLS_GMAC
        unicast = derived_secret(self.title, seed, "ek", 16)
        self.keys = KeySet(0, unicast, derived_secret(self.title, seed, "ak", 16))
        self.password = derived_secret(self.title, seed, "password", 8).hex()[:8]
        self._data = data
        store = self._store(data)
        self.objects = RecordedObjects(
            recorded, time.time, kept=self._kept(), keep=self._keep,
            received_counter=store.highest_received,
        )  # fmt: skip
        self.device = LogicalDevice(
            self._profiles(), self.objects, self.title, secrets.token_bytes,
            InvocationCounters(store), server_sap=recorded.server,
        )  # fmt: skip

    @staticmethod
    def _store(data: Path | None) -> Any:
        store: CounterStore
        if data is None:
            store = _FreshCounters(int(time.time()) - YEAR_2020_S)
        else:
            store = FileCounterStore(data / "counters", alone=True)
        return store

    def _profiles(self) -> dict[int, AssociationProfile]:
        both = SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED
        keys = self.keys if self.ciphered else None
        found = {
            self.recorded.client: AssociationProfile(
                self.recorded.client, self.mechanism,
                b"" if self.mechanism is Mechanism.NONE else self.password.encode(),
                keys, both if self.recorded.ciphered else SecurityPolicy.NONE,
            )
        }  # fmt: skip
        found.setdefault(PUBLIC_CLIENT, AssociationProfile(PUBLIC_CLIENT))
        return found

    def _kept(self) -> dict[Key, bytes]:
        if self._data is None or not (self._data / _VALUES).exists():
            return {}
        try:
            plain = json.loads((self._data / _VALUES).read_text(encoding="utf-8"))
            return {
                (int(row["class"]), Obis.parse(row["obis"]), int(row["attribute"])):
                    bytes.fromhex(row["value"])
                for row in plain
            }  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(
                f"{self._data / _VALUES} can't be understood; choose another --data"
            ) from error

    def _keep(self, values: Mapping[Key, bytes]) -> None:
        if self._data is None:
            return
        rows = [
            {"class": key[0], "obis": str(key[1]), "attribute": key[2], "value": value.hex()}
            for key, value in values.items()
        ]
        fresh = self._data / f"{_VALUES}.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._data / _VALUES)

    def url(self, place: Place) -> str:
        """How the recorded client connects, with the secrets of the simulation."""
        auth = next(name for name, value in AUTHENTICATION.items() if value is self.mechanism)
        client, server = self.recorded.client, self.recorded.server
        text = f"{place.scheme}://{place.host}:{place.port}?client={client}&auth={auth}"
        if server != 1:
            text += f"&server={server}"
        if self.mechanism not in {Mechanism.NONE, Mechanism.HLS_GMAC}:
            text += f"&password={self.password}"
        if self.ciphered:
            text += f"&ek={self.keys.unicast.hex()}&ak={self.keys.authentication.hex()}"
            if self.mechanism is not Mechanism.HLS_GMAC:
                text += "&protect=both"
        return text

    def ready(self, places: Sequence[Place]) -> dict[str, Any]:
        """How to connect, for people and programs."""
        connections = []
        for place in places:
            at = (place.host, place.port)
            connections.append(connection("recorded", *at, self.url(place)))
            if self.recorded.client != PUBLIC_CLIENT:
                public = f"{place.scheme}://{place.host}:{place.port}?client=16&auth=none"
                connections.append(connection("public", *at, public))
        return {
            "recorded": self.recorded.place, "objects": len(self.recorded.objects),
            "system_title": self.title.hex(), "connections": connections,
        }  # fmt: skip


def _mechanism(name: str) -> Mechanism:
    """As recorded; signatures would need the meter's certificate, so hls7 becomes hls5."""
    found = AUTHENTICATION.get(name)
    if found is None:
        raise CommandError(f"the recording's authentication {name!r} is not known")
    return Mechanism.HLS_GMAC if found is Mechanism.HLS_ECDSA else found


def phases_of(recorded: RecordedMeter) -> int:
    """Three where a voltage or current of L2 is recorded, else one."""
    second = {(32 + 20, 7), (31 + 20, 7), (21 + 20, 8)}
    return 3 if any((o.obis.c, o.obis.d) in second for o in recorded.objects) else 1


async def serve_recorded(
    one: RecordedDevice,
    ports: Sequence[tuple[str, str, int, Framing]],
    source: IntervalSource | None,
    tell: Tell,
    *,
    outside: bool,
) -> None:
    """Serve until SIGINT or SIGTERM; `ports` are scheme, host, port and framing. `tell` is called
    when they are open."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def lookup(_endpoint: Endpoint, server: int, _physical: int | None) -> LogicalDevice | None:
        return one.device if server == one.recorded.server else None

    listeners: list[TcpListener | UdpListener] = []
    places = []
    try:
        for scheme, host, port, framing in ports:
            listener: TcpListener | UdpListener
            if scheme == "dlms+udp":
                listener, bound = await serve_dlms_datagrams(lookup, host, port, outside=outside)
            else:
                listener, bound = await serve_dlms(
                    lookup, host, port, framing=framing, outside=outside
                )
            listeners.append(listener)
            places.append(Place(scheme, host, bound))
        count = len(one.recorded.objects)
        tell(f"{count} objects of {one.recorded.place} run.", one.ready(places))
        await _live(one, source, stop)
    finally:
        for listener in listeners:
            await listener.stop()
        one.objects.settle()


async def _live(one: RecordedDevice, source: IntervalSource | None, stop: asyncio.Event) -> None:
    at = int(time.time())
    while not stop.is_set():
        now = int(time.time())
        if source is not None and now > at:
            one.objects.advance(source.block(at, now - at, 1))
        at = now
        try:
            await asyncio.wait_for(stop.wait(), 1.0 - time.time() % 1.0)
        except TimeoutError:
            continue


__all__ = ["RecordedDevice", "load_recording", "phases_of", "serve_recorded"]
