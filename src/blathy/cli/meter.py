"""`blathy meter run`: one meter on real ports, with a load behind it."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.model import model_of
from blathy.cli.pulses import PulseLine
from blathy.cli.ready import Tell, connection, print_ready, ready_lines
from blathy.cli.recorded_meter import (
    RecordedDevice,
    load_recording,
    phases_of,
    serve_recorded,
)
from blathy.cli.recording_layout import parse_channels, parse_scale
from blathy.clock import Zone
from blathy.fleet.outgoing import Outgoing
from blathy.meter.classes.communication_setup import (
    has_physical_address,
    hdlc_speed,
    local_is_hdlc,
    local_speed,
)
from blathy.meter.classes.port_protection import PORTS
from blathy.meter.identity import head_end_keys
from blathy.meter.keeping import Keeper, StoreKeeper, VolatileKeeper
from blathy.meter.loads import LoadDevices, places_of
from blathy.meter.measuring import adapt, ct_inputs
from blathy.meter.meter import Meter, new_meter
from blathy.meter.plan import MeterOptions
from blathy.meter.power_file import LoadFileError, read_power_file
from blathy.meter.readout import mode_of, sign_on_server
from blathy.models import MODELS
from blathy.models.model import Association, Ciphering, Level, Mechanism, Model, ModelError
from blathy.registers.state import StateError
from blathy.sources.feed import DrawnInputs
from blathy.sources.measured import SampledSource
from blathy.sources.recorded_feed import recorded_source
from blathy.sources.recorded_point import Declared, point_of
from blathy.sources.recording_stream import open_recording
from blathy.sources.recordings import SUFFIXES, Layout, RecordingError
from blathy.sources.source import IntervalSource
from blathy.sources.synthetic import LoadSpec, SyntheticSource
from blathy.store.store import StorageError, Store, StoreDamagedError
from blathy.transport.dlms_session import (
    DlmsSession,
    Framing,
    Lookup,
    serve_dlms,
    serve_dlms_datagrams,
)
from blathy.transport.errors import MeterError
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.serial_line import SerialLine
from blathy.transport.serving import serve_port
from blathy.transport.session import Endpoint
from blathy.wire.acse import Mechanism as WireMechanism
from blathy.wire.association_events import ServerEvent
from blathy.wire.security import public_key_of
from blathy.wire.server import LogicalDevice

meter_app = typer.Typer(help="Run one meter.", no_args_is_help=True)
app.add_typer(meter_app, name="meter")

FRAMINGS: Final = {
    "dlms-tcp": Framing.DETECT, "dlms-hdlc": Framing.HDLC, "dlms-udp": Framing.WRAPPER,
}  # fmt: skip
OPTICAL: Final = "optical"
SERIAL: Final = ("serial", OPTICAL)
SCHEMES: Final = {
    "dlms-tcp": "dlms", "dlms-hdlc": "dlms+hdlc", "dlms-udp": "dlms+udp", "serial": "serial",
    "optical": "serial",
}  # fmt: skip
DATAGRAMS: Final = "dlms-udp"
AUTHENTICATIONS: Final = {
    "lls": Mechanism.LLS,
    "hls2": Mechanism.HLS,
    "hls3": Mechanism.HLS_MD5,
    "hls4": Mechanism.HLS_SHA1,
    "hls5": Mechanism.HLS_GMAC,
    "hls6": Mechanism.HLS_SHA256,
    "hls7": Mechanism.HLS_ECDSA,
}
URL_AUTHENTICATION: Final = {
    Mechanism.NONE: "none",
    **{mechanism: name for name, mechanism in AUTHENTICATIONS.items()},
}
_WITH_SECRET: Final = frozenset({
    Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256,
})  # fmt: skip
_WITH_KEYS: Final = frozenset({Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA})
HISTORY_STEP_S: Final = 60
YEAR_2026_S: Final = 1_767_225_600
TOKEN_GATEWAY: Final = 115
COUNTER_PER_S: Final = 8
"""A meter made anew begins its invocation counter by the calendar: above what one with the same
keys has used, unless that one answered more often than this. Wraps in 2034."""


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port that was asked for: `dlms-tcp:127.0.0.1:4059`, `optical:/dev/ttyUSB0`."""

    protocol: str
    host: str
    port: int


def port_wish(text: str) -> PortWish:
    """Read a port; CommandError where it is none."""
    protocol, _, device = text.partition(":")
    if protocol in SERIAL and device:
        return PortWish(protocol, device, 0)
    parts = text.split(":")
    if len(parts) != 3 or parts[0] not in FRAMINGS or not parts[2].isdigit():
        ways = ", ".join(FRAMINGS)
        raise CommandError(
            f"{text!r} is no port; write PROTOCOL:HOST:PORT with one of {ways}, or serial:/dev/… "
            "or optical:/dev/…"
        )
    number = int(parts[2])
    if number > 65_535:
        raise CommandError(f"port {number} is too large; use 1 to 65535, or 0 for any free one")
    return PortWish(parts[0], parts[1], number)


def load_of(
    text: str, found: Model, seed: int, zone: str, layout: Layout | None = None
) -> IntervalSource:
    """The load behind the meter: a shape (`h0`, `h0:3500`), a file of powers or a recording."""
    return load_for(text, len(found.phases), seed, zone, layout)


def load_for(
    text: str, phases: int, seed: int, zone: str, layout: Layout | None = None
) -> IntervalSource:
    """The same for so many phases."""
    name, _, number = text.partition(":")
    if (path := Path(text)).exists():
        if is_recording(path):
            return _played(path, phases, layout)
        try:
            return read_power_file(path, phases)
        except LoadFileError as error:
            raise CommandError(str(error)) from error
    try:
        here = Zone(zone)
    except ValueError as error:
        raise CommandError(str(error)) from error
    try:
        annual_kwh = float(number) if number else 3000.0
        spec = LoadSpec(shape=name, annual_kwh=annual_kwh, phases=phases)
        source = SyntheticSource(spec, seed, 1, here)
        source.block(1_767_225_600, 1, 60)
    except ValueError as error:
        raise CommandError(
            f"{text!r} is no load: {error}; write a shape as h0:3500 (kWh a year) or a CSV file"
        ) from error
    return source


def is_recording(path: Path) -> bool:
    """Whether a file of a load holds a waveform, not powers over time."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    if path.suffix.lower() != ".csv":
        return True
    with path.open("rb") as file:
        return b"power_w" not in file.readline(4096)


def _played(path: Path, phases: int, layout: Layout | None) -> IntervalSource:
    try:
        point = point_of(open_recording(path, layout), Declared())
        if point.connection.phases > phases:
            raise CommandError(
                f"{path.name} holds {point.connection.phases} phases, the meter has {phases}"
            )
        return recorded_source(point)
    except RecordingError as error:
        raise CommandError(str(error)) from error


def _options(
    found: Model,
    zone: str,
    auth: str,
    period_s: int,
    layout: str,
    suite: int,
    *,
    sn: bool,
) -> MeterOptions:
    mechanisms: tuple[tuple[Level, Mechanism], ...] = ()
    if auth:
        if auth not in AUTHENTICATIONS:
            ways = ", ".join(AUTHENTICATIONS)
            raise CommandError(f"{auth!r} is no way to authenticate; use one of {ways}")
        chosen = AUTHENTICATIONS[auth]
        mechanisms = tuple((a.level, chosen) for a in found.associations)
    return MeterOptions(
        zone=zone, mechanisms=mechanisms, period_s=period_s, layout=layout, suite=suite,
        short_names=sn,
    )  # fmt: skip


def connection_lines(
    meter: Meter, places: Sequence[tuple[str, int]], seed: str = "", schemes: Sequence[str] = (),
    line: str = "",
) -> list[str]:  # fmt: skip
    """How to connect: an address for every client, with its secrets; `seed` is the one that the
    meter was made from, for the keys of the client of a meter with signatures. `schemes` are those
    of the places where not all of them are `dlms`; `line` says how a serial port is set up."""
    return ready_lines({
        "system_title": meter.identity.system_title.hex(),
        "connections": _connections(meter, places, seed, schemes, line),
    })  # fmt: skip


def _connections(
    meter: Meter, places: Sequence[tuple[str, int]], seed: str, schemes: Sequence[str] = (),
    line: str = "",
) -> list[dict[str, Any]]:  # fmt: skip
    """The same as records, a client at a place each; no `port` at a serial line."""
    found = []
    for number, (host, port) in enumerate(places):
        scheme = schemes[number] if schemes else "dlms"
        place = f"{scheme}://{host}" if line else f"{scheme}://{host}:{port}"
        for association in meter.model.associations:
            if association.pre_established or association.needs_open_seal:
                continue
            url = _url(meter, association, place, seed) + line
            found.append(connection(association.level.value, host, None if line else port, url))
    return found


def _url(meter: Meter, association: Association, place: str, seed: str) -> str:
    mechanism = meter.mechanism_of(association)
    url = f"{place}?client={association.client_sap}&auth={URL_AUTHENTICATION[mechanism]}"
    if mechanism is Mechanism.LLS:
        url += f"&password={meter.secret_of(association).decode('ascii', 'replace')}"
    elif mechanism in _WITH_SECRET:
        url += f"&password=0x{meter.secret_of(association).hex()}"
    if meter.options.short_names:
        url += "&sn=1"
    if meter.identity.suite and mechanism is not Mechanism.NONE:
        url += _elliptic_keys(meter, seed)
    required = association.ciphering is Ciphering.REQUIRED
    asked = bool(meter.policy) and association.ciphering is Ciphering.ALLOWED
    if asked and mechanism not in _WITH_KEYS:
        url += "&protect=both"
    if mechanism in _WITH_KEYS or required or asked:
        url += f"&ek={meter.key('unicast').hex()}&ak={meter.key('authentication').hex()}"
    if association.level is Level.MANAGEMENT and _sells_tokens(meter):
        url += f"&kek={meter.key('master').hex()}"
    return url


def _sells_tokens(meter: Meter) -> bool:
    """Whether somebody who manages the meter makes tokens for it, with the master key."""
    return any(facility.class_id == TOKEN_GATEWAY for facility in meter.model.facilities)


def _elliptic_keys(meter: Meter, seed: str) -> str:
    """Suite, the client's own keys, and those of the meter to check and to agree with."""
    suite = meter.identity.suite
    signing, agreement = head_end_keys(seed, suite)
    return (
        f"&suite={suite}&signing_key={signing.hex()}&agreement_key={agreement.hex()}"
        f"&meter_signing_key={public_key_of(meter.key('signing'), suite).hex()}"
        f"&meter_agreement_key={public_key_of(meter.key('agreement'), suite).hex()}"
    )


def counter_base(now_s: float) -> int:
    """Where the invocation counters of a meter made at this moment begin."""
    return max(0, int((now_s - YEAR_2026_S) * COUNTER_PER_S)) & 0x7FFF_FFFF


def _keeper(data: Path | None, name: str) -> tuple[Keeper, Store | None]:
    if data is None:
        return VolatileKeeper(), None
    try:
        store = Store.open(data / "meter.sqlite")
    except (StoreDamagedError, OSError) as error:
        raise CommandError(f"{data} cannot be opened: {error}") from error
    return StoreKeeper(store, name), store


@meter_app.command("run")
def run_meter(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE", help="See `blathy model list`; or what `blathy clone` wrote."
        ),
    ],
    port: Annotated[
        list[str],
        typer.Option(
            help="dlms-tcp:HOST:PORT, dlms-hdlc: or dlms-udp:HOST:PORT; serial:/dev/… (HDLC) or "
            "optical:/dev/… (IEC 62056-21 and HDLC), as the meter's setup objects say. "
            "May be repeated."
        ),
    ] = ["dlms-tcp:127.0.0.1:4059"],  # noqa: B006 - typer copies it
    load: Annotated[
        str,
        typer.Option(
            help="A load shape such as h0:3500 (a model's is h0), a CSV file of time_s,power_w, or "
            "a recording (.cfg, .cff, .wav, .csv, .npy), which is measured and played on."
        ),
    ] = "",
    further_load: Annotated[
        list[str],
        typer.Option(help="Loads 2, 3 … of a device with several current inputs. May be repeated."),
    ] = [],  # noqa: B006 - typer copies it
    channels: Annotated[str, typer.Option(help="Of a recording, as for `measure`.")] = "",
    scale: Annotated[str, typer.Option(help="Of a recording, as for `measure`.")] = "",
    sample_rate: Annotated[float, typer.Option(help="Of a recording, as for `measure`.")] = 0.0,
    pulses: Annotated[
        str, typer.Option(help="HOST:PORT that tells the edges of light and S0, one a line.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="Directory that keeps the meter.")] = None,
    seed: Annotated[int, typer.Option(help="Decides load, keys and clock drift.")] = 1,
    serial: Annotated[int, typer.Option(help="Serial number, up to 8 digits.")] = 12_345_678,
    auth: Annotated[
        str, typer.Option(help="lls, hls2 … hls7; the model's own way if left out.")
    ] = "",
    suite: Annotated[int, typer.Option(min=0, max=2, help="Security suite of the keys.")] = 0,
    sn: Annotated[bool, typer.Option(help="Answer to short names, not to logical ones.")] = False,
    encryption: Annotated[
        bool, typer.Option(help="Whether it was ordered with its model's interface encryption.")
    ] = True,
    iec: Annotated[
        str, typer.Option("--iec62056-21", help="A, C or none, where the model leaves the choice.")
    ] = "",
    zone: Annotated[str, typer.Option(help="Time zone of the meter.")] = "Europe/Budapest",
    days: Annotated[int, typer.Option(min=0, max=4000, help="Days of history to begin with.")] = 1,
    period: Annotated[int, typer.Option(help="Load profile period in seconds.")] = 0,
    layout: Annotated[str, typer.Option(help="Load profile columns, e.g. 'A+/A-'.")] = "",
    outside: Annotated[bool, typer.Option(help="Allow other machines to connect.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="How to connect as a line of JSON, when it is ready.")
    ] = False,
) -> None:
    """Run one meter until Ctrl-C; print how to connect to it."""
    wishes = [port_wish(text) for text in port]
    tell = partial(print_ready, as_json=as_json)
    if Path(name).is_file() or name.endswith(".json"):
        _run_recorded(Path(name), wishes, load, data, seed, auth, zone, tell, outside=outside)
        return
    found = model_of(name)
    if not 0 < serial < 10**8:
        raise CommandError(f"serial number {serial} does not fit; use 1 to 99999999")
    try:
        options = replace(
            _options(found, zone, auth, period, layout, suite, sn=sn),
            encryption=encryption, iec62056_21=iec,
        )  # fmt: skip
        mode_of(found, options)
        played = Layout(parse_channels(channels), parse_scale(scale), sample_rate)
        source = load_of(load or "h0", found, seed, zone, played)
        further = tuple(
            load_of(text, found, seed + n, zone) for n, text in enumerate(further_load, 1)
        )
        keeper, store = _keeper(data, f"{found.key}-{serial}")
        start = int(time.time()) // 60 * 60 - days * 86_400
        meter = new_meter(
            found, serial, f"meter/{seed}", start_utc_s=start, entropy=secrets.token_bytes,
            options=options, keeper=keeper, counter_base=counter_base(time.time()),
        )  # fmt: skip
    except (ModelError, ValueError) as error:
        if isinstance(error, StateError):
            raise CommandError(
                f"{data} holds a meter with other options ({error}); choose another --data"
            ) from error
        raise CommandError(str(error)) from error
    except StorageError as error:
        raise CommandError(f"nothing can be kept in {data}: {error}") from error
    try:
        run = _runs(meter, source, further, f"meter/{seed}", store)
        asyncio.run(_serve(run, wishes, f"meter/{seed}", pulses, tell, outside=outside))
    except MeterError as error:
        raise CommandError(str(error)) from error
    finally:
        meter.switch_off()
        if store is not None:
            store.close()


def _run_recorded(
    path: Path, wishes: Sequence[PortWish], load: str, data: Path | None, seed: int, auth: str,
    zone: str, tell: Tell, *, outside: bool,
) -> None:  # fmt: skip
    """A meter that `blathy clone` has read; without a load its registers stand still."""
    recorded = load_recording(path)
    if auth and auth not in AUTHENTICATIONS:
        ways = ", ".join(AUTHENTICATIONS)
        raise CommandError(f"{auth!r} is no way to authenticate; use one of {ways}")
    chosen = WireMechanism(int(AUTHENTICATIONS[auth])) if auth else None
    source = load_for(load, phases_of(recorded), seed, zone) if load else None
    if any(w.protocol in SERIAL for w in wishes):
        raise CommandError("a recorded meter has no serial ports; give it dlms-hdlc:HOST:PORT")
    ports = [(SCHEMES[w.protocol], w.host, w.port, FRAMINGS[w.protocol]) for w in wishes]
    try:
        one = RecordedDevice(recorded, seed, data, chosen)
        asyncio.run(serve_recorded(one, ports, source, tell, outside=outside))
    except MeterError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"nothing can be kept in {data}: {error.strerror}") from error


@dataclass(slots=True)
class _Run:
    """One meter, or a device with several loads, and how it goes on."""

    meter: Meter
    source: IntervalSource
    loads: LoadDevices | None = None

    def history(self, until_utc_s: int) -> None:
        """What was before anybody looked."""
        self.meter.advance(self.source, until_utc_s // HISTORY_STEP_S * HISTORY_STEP_S)
        if isinstance(self.source, SampledSource):
            self.source.block(self.meter.ledger.now, 1, 1)  # compiles, before any port is open
        if self.loads is not None:
            self.loads.advance(self.meter.ledger.now + 1)
        for one in (self.meter, *(meter for _, meter, _ in self.further())):
            one.outbox.forget()

    def further(self) -> list[tuple[int, Meter, LogicalDevice]]:
        """The meters of further loads, each at a server address of its own."""
        if self.loads is None:
            return []
        meters, devices = self.loads.meters, self.loads.devices
        return [(n, meters[n], devices[n]) for n in sorted(meters) if meters[n] is not self.meter]

    def told(self, device: LogicalDevice, event: ServerEvent) -> None:
        """What happened to an association, for the log of the meter that it is with."""
        found = (meter for _, meter, own in self.further() if own is device)
        next(found, self.meter).associations_event(event)

    def device(self, server: int) -> LogicalDevice | None:
        """The logical device at a server address."""
        if server in {1, 16}:
            return self.meter.logical_device()
        return self.loads.devices.get(server) if self.loads is not None else None

    def lookup(self, own: LogicalDevice) -> Lookup:
        """The devices behind one port; `own`: the meter as it stands there."""

        def found(_endpoint: Endpoint, server: int, physical: int | None) -> LogicalDevice | None:
            if not has_physical_address(self.meter, physical):
                return None
            return own if server in {1, 16} else self.device(server)

        return found

    def live(self, now_utc_s: int) -> None:
        """Measure up to now and commit."""
        meter = self.meter
        if self.loads is not None:
            self.loads.advance(now_utc_s)
            return
        while (left := now_utc_s - meter.ledger.now) > 0:
            to_minute = -meter.ledger.now % 60
            coarse = left >= 120 and not to_minute
            step_s = 60 if coarse else 1
            n = min(left, to_minute or left) // step_s
            meter.step(self.source.block(meter.ledger.now, n, step_s))
        meter.commit()


def _runs(
    meter: Meter, source: IntervalSource, further: Sequence[IntervalSource], seed: str,
    store: Store | None,
) -> _Run:  # fmt: skip
    adapt(source, meter)
    if not further:
        return _Run(meter, source)
    points = [p for p in (source, *further) if isinstance(p, SyntheticSource)]
    if not ct_inputs(meter.model) or len(points) != 1 + len(further):
        raise CommandError(
            f"{meter.model.name} takes one load here; --further-load is for the current inputs of "
            "mpta-1 and mpta-3, with load shapes such as h0:3500"
        )
    feed = DrawnInputs(tuple(points), len(meter.model.phases), lambda: places_of(meter))
    name = f"{meter.model.key}-{meter.identity.serial_text}"
    keeper_of = (lambda n: StoreKeeper(store, f"{name}-load-{n}")) if store is not None else None
    models = {1: MODELS["mpta-1"], 3: MODELS["mpta-3"]}
    return _Run(meter, source, LoadDevices(meter, feed, models, seed, keeper_of, points[0]))


async def _serve(
    run: _Run, wishes: Sequence[PortWish], seed: str, pulses: str, tell_ready: Tell, *,
    outside: bool,
) -> None:  # fmt: skip
    meter = run.meter
    devices = {w.protocol: meter.logical_device(ports=PORTS[w.protocol]) for w in wishes}

    def on_event(_endpoint: Endpoint, device: LogicalDevice, event: ServerEvent) -> None:
        run.told(device, event)

    run.history(int(time.time()))
    listeners: list[TcpListener | UdpListener] = []
    places: list[tuple[str, int]] = []
    outgoing = Outgoing(outside=outside)
    links = outgoing.open_links
    called = meter.logical_device(ports=PORTS["dlms-tcp"])
    line = PulseLine(meter)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serial_ports = _SerialPorts(meter, wishes)
    networks = [wish for wish in wishes if wish.protocol not in SERIAL]
    try:
        lookups = {protocol: run.lookup(device) for protocol, device in devices.items()}
        await serial_ports.open(lookups, on_event=on_event, open_links=links)
        for wish in networks:
            listener, bound = await _listen(
                meter, wish, lookups[wish.protocol], on_event=on_event, open_links=links,
                outside=outside,
            )  # fmt: skip
            listeners.append(listener)
            places.append((wish.host, bound))
        schemes = [SCHEMES[w.protocol] for w in networks]
        ready = {
            "model": meter.model.key,
            "serial": meter.identity.serial_text,
            "system_title": meter.identity.system_title.hex(),
            "connections": [
                *_connections(meter, places, seed, schemes), *serial_ports.connections(seed),
            ],
            "loads": _load_connections(run, places[:1], seed),
            "pulses": None,
        }  # fmt: skip
        if pulses:
            host = pulses.rpartition(":")[0]
            ready["pulses"] = f"{host}:{await line.start(pulses, outside=outside)}"
        tell_ready(f"{meter.model.name} {meter.identity.serial_text} runs.", ready)

        def tell() -> None:
            outgoing.collect(meter, called, *devices.values())
            for _, one, device in run.further():
                outgoing.collect(one, device)
            if pulses:
                line.tell()

        await _live(run, stop, tell)
    finally:
        await line.stop()
        await outgoing.stop()
        await serial_ports.stop()
        for listener in listeners:
            await listener.stop()


def _load_connections(
    run: _Run, places: Sequence[tuple[str, int]], seed: str
) -> list[dict[str, Any]]:
    """How to reach the further loads of a device, each at a server address of its own."""
    found = []
    for sap, one, _ in run.further():
        connections = _connections(one, places, seed)
        for each in connections:
            each["url"] += f"&server={sap}"
        title = one.identity.system_title.hex()
        found.append({"server": sap, "system_title": title, "connections": connections})
    return found


async def _listen(
    meter: Meter, wish: PortWish, lookup: Lookup, **options: Any
) -> tuple[TcpListener | UdpListener, int]:
    if wish.protocol == DATAGRAMS:
        return await serve_dlms_datagrams(lookup, wish.host, wish.port, **options)
    return await serve_dlms(
        lookup, wish.host, wish.port, framing=FRAMINGS[wish.protocol],
        sign_on=lambda _endpoint: sign_on_server(meter), **options,
    )  # fmt: skip


class _SerialPorts:
    """The ports of a meter on serial lines, each as its setup object says when a link begins."""

    def __init__(self, meter: Meter, wishes: Sequence[PortWish]) -> None:
        self._meter = meter
        self._wishes = [wish for wish in wishes if wish.protocol in SERIAL]
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, lookups: Mapping[str, Lookup], **options: Any) -> None:
        """Serve them, by protocol; CommandError where a device can't be opened."""
        for wish in self._wishes:
            try:
                line = await SerialLine.connect(wish.host)
            except MeterError as error:
                raise CommandError(str(error)) from error
            make = partial(self._session, wish, line, lookups[wish.protocol], **options)
            served = self._serve(wish, line, make)
            self._tasks.append(asyncio.get_running_loop().create_task(served))

    async def _serve(
        self, wish: PortWish, line: SerialLine, make: Callable[[], DlmsSession]
    ) -> None:
        """One port until its line ends, for instance by a speed that it can't do."""
        why = await serve_port(line, make)
        typer.echo(f"blathy: {wish.protocol}:{wish.host} is served no more: {why}", err=True)

    def _session(
        self, wish: PortWish, line: SerialLine, lookup: Lookup, **options: Any
    ) -> DlmsSession:
        meter, signs_on = self._meter, self._signs_on(wish)
        return DlmsSession(
            Endpoint(wish.host, 0, "reader", 0), line.send, lookup,
            framing=Framing.DETECT if signs_on else Framing.HDLC,
            sign_on=(lambda _endpoint: sign_on_server(meter)) if signs_on else None,
            speed=self._speed(wish), **options,
        )  # fmt: skip

    def _signs_on(self, wish: PortWish) -> bool:
        return wish.protocol == OPTICAL and not local_is_hdlc(self._meter)

    def _speed(self, wish: PortWish) -> tuple[int, bool]:
        return local_speed(self._meter) if wish.protocol == OPTICAL else hdlc_speed(self._meter)

    def connections(self, seed: str) -> list[dict[str, Any]]:
        """How to connect at the other ends of the lines."""
        found: list[dict[str, Any]] = []
        for wish in self._wishes:
            how = "&mode=e" if self._signs_on(wish) else f"&baud={self._speed(wish)[0]}"
            found += _connections(self._meter, [(wish.host, 0)], seed, ["serial"], how)
        return found

    async def stop(self) -> None:
        """Leave them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _live(run: _Run, stop: asyncio.Event, tell: Callable[[], None]) -> None:
    """Step the meter once a second, and send what it pushes and tells, until it is to stop."""
    while not stop.is_set():
        run.live(int(time.time()))
        tell()
        try:
            await asyncio.wait_for(stop.wait(), 1.0 - time.time() % 1.0)
        except TimeoutError:
            continue


__all__ = ["connection_lines", "load_for", "load_of", "port_wish", "run_meter"]
