"""Pushes of meters, decoded with or without an object list, however they are wrapped.

HDLC UI frames (also segmented, also with the two-octet client addresses of the field), the wrapper,
M-Bus long frames and bare APDUs; general block transfer inside; general-glo-ciphering with the keys
of the originator, signed outside or inside of that. Without the authentication key or the meter's
public one, or with a counter that does not rise, the content is still handed out, and says so:
`authenticated`, `signature_checked` and `repeated`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from blathy.client.push_layers import bared, originator_of
from blathy.client.values import Value, plain_value
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import ScalerUnit
from blathy.cosem.selective import CaptureObject
from blathy.obis import Obis
from blathy.quantity import Unit
from blathy.transport.session import Endpoint, SessionFactory, Stage, Transmit
from blathy.wire import apdu, hdlc, wrapper
from blathy.wire.association_events import EventReport, Notification
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.octets import Reader
from blathy.wire.security import KeySet

APDU_SIZE_MAX: Final = 1 << 17
ORIGINATORS_MAX: Final = 100_000
CONFIRMED_SERVICE: Final = 0x4000_0000
"""The bit of a long-invoke-id-and-priority that asks for an answer."""
_MBUS_START: Final = 0x68
_WRAPPER_VERSION: Final = wrapper.VERSION.to_bytes(2, "big")
_STARTS: Final = {hdlc.FLAG: "hdlc", _MBUS_START: "mbus"}
_MBUS_LAST: Final = 0x10


@dataclass(frozen=True, slots=True)
class PushedValue:
    """One value; `obis` None where nothing in the push or in a list names it."""

    obis: Obis | None
    value: Value
    class_id: int | None = None
    attribute: int | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """One notification of a meter.

    `authenticated` is True only where a tag was checked with the authentication key, or a signature
    with the public key (`peer_signing`). `signed`: it bears a signature, checked or not; one that
    does not hold makes no push. `repeated`: its invocation counter is not above the last one seen
    of this meter.
    """

    body: Data
    values: tuple[PushedValue, ...]
    time: CosemDateTime | None = None
    originator: bytes = b""
    ciphered: bool = False
    authenticated: bool = False
    signed: bool = False
    signature_checked: bool = False
    repeated: bool = False
    counter: int = -1
    event: CaptureObject | None = None  # an event-notification names its attribute itself
    key_id: str = ""  # the fingerprint of the key that opened it, to keep counters by
    long_invoke: int = -1  # long-invoke-id-and-priority of a data-notification

    @property
    def wants_confirmation(self) -> bool:
        """Whether the meter asked for a data-notification-confirm (its service-class bit)."""
        return self.long_invoke >= 0 and bool(self.long_invoke & CONFIRMED_SERVICE)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A push that could not be read, and why; `originator` where it was told."""

    reason: str
    originator: bytes = b""
    octets: bytes = b""


KeysOf = Callable[[bytes], KeySet | None]
"""The keys of a meter by its system title; None where there are none."""
ObjectsOf = Callable[[bytes], Sequence[CaptureObject]]
"""The push object list of a meter by its system title; empty where it is not known."""


def _no_keys(_title: bytes) -> KeySet | None:
    return None


def _no_objects(_title: bytes) -> Sequence[CaptureObject]:
    return ()


class PushReceiver:
    """Takes octets of one source, gives pushes. Total: any octets, any cut."""

    def __init__(self, keys: KeysOf = _no_keys, objects: ObjectsOf = _no_objects) -> None:
        self._keys = keys
        self._objects = objects
        self._framing = ""
        self._head = b""
        self._hdlc = hdlc.FrameDecoder()
        self._wrapper = wrapper.WrapperStream()
        self._segments: dict[bytes, bytearray] = {}
        self._mbus = bytearray()  # segments of an APDU
        self._mbus_octets = bytearray()  # of a frame
        self._blocks = bytearray()
        self._counters: dict[tuple[bytes, str], int] = {}
        self.frames = 0

    def receive(self, data: bytes, now: Instant) -> list[Push | Unreadable]:
        """The pushes that these octets complete."""
        found: list[Push | Unreadable] = []
        for body in self.apdus(data, now):
            made = self._take(body)
            if made is not None:
                found.append(made)
        return found

    def receive_datagram(self, data: bytes) -> list[Push | Unreadable]:
        """The push of one UDP datagram: in the wrapper, or bare."""
        made = self._take(self.apdu_of_datagram(data))
        return [] if made is None else [made]

    # --- framing

    def apdu_of_datagram(self, data: bytes) -> bytes:
        """The APDU of a datagram, without its wrapper where it has one."""
        self.frames += 1
        try:
            return wrapper.decode_datagram(data).apdu
        except RemoteProtocolError:
            return data

    def apdus(self, data: bytes, now: Instant) -> list[bytes]:
        """The APDUs that these octets complete, for a caller that reads them with `read_push`
        when it has the keys; blocks of general block transfer are still apart (`whole`)."""
        found = self._unframed(data, now)
        self.frames += len(found)
        return found

    @property
    def broken(self) -> bool:
        """Whether packets of the wrapper have lost their place: nothing more can be read, and the
        connection is to be closed, so that the meter begins anew."""
        return self._wrapper.failure is not None

    def _unframed(self, data: bytes, now: Instant) -> list[bytes]:
        if not self._framing:
            data = self._head + data
            self._framing = self._detect(data)
            self._head = b"" if self._framing else data
            if self._framing == "":
                return []
        if self._framing == "wrapper":
            return self._from_wrapper(data, now)
        if self._framing == "serial":
            data = self._from_start(data)
        if self._framing == "hdlc":
            return self._from_hdlc(self._hdlc.receive(data, now))
        return self._from_mbus(data) if self._framing == "mbus" else []

    @staticmethod
    def _detect(data: bytes) -> str:
        """A connection with the wrapper begins with its version, any other is searched for the
        start of a frame; undecided while less has come than the version."""
        if data[:2] == _WRAPPER_VERSION[: len(data)]:
            return "wrapper" if len(data) > 1 else ""
        return "serial"

    def _from_start(self, data: bytes) -> bytes:
        """The octets from the first that begins a frame; noise before it is not kept."""
        for at, octet in enumerate(data):
            if octet in _STARTS:
                self._framing = _STARTS[octet]
                return data[at:]
        return b""

    def _from_wrapper(self, data: bytes, now: Instant) -> list[bytes]:
        try:
            return [packet.apdu for packet in self._wrapper.receive(data, now)]
        except RemoteProtocolError:
            return []

    def _from_hdlc(self, frames: list[hdlc.Frame]) -> list[bytes]:
        found = []
        for frame in frames:
            if frame.kind not in {hdlc.FrameType.UI, hdlc.FrameType.I} or not frame.information:
                continue
            if len(self._segments) > 64:
                self._segments.clear()
            store = self._segments.setdefault(frame.source, bytearray())
            store += frame.information
            if len(store) > APDU_SIZE_MAX:
                store.clear()
            elif not frame.segmented:
                found.append(_without_llc(bytes(store)))
                store.clear()
        return found

    def _from_mbus(self, data: bytes) -> list[bytes]:
        buffer = self._mbus_octets
        buffer += data
        found = []
        while True:
            start = buffer.find(_MBUS_START)
            if start < 0:
                buffer.clear()
                break
            del buffer[:start]
            if len(buffer) < 6:
                break
            size = buffer[1]
            if buffer[2] != size or buffer[3] != _MBUS_START or size < 5:
                del buffer[0]
                continue
            if len(buffer) < size + 6:
                break
            body = bytes(buffer[4 : 4 + size])
            if sum(body) & 0xFF != buffer[4 + size] or buffer[5 + size] != 0x16:
                del buffer[0]
                continue
            del buffer[: size + 6]
            self._mbus += body[5:]
            if body[2] & _MBUS_LAST:
                found.append(bytes(self._mbus))
                self._mbus.clear()
            elif len(self._mbus) > APDU_SIZE_MAX:
                self._mbus.clear()
        return found

    # --- APDUs

    def _take(self, body: bytes) -> Push | Unreadable | None:
        try:
            whole = self.whole(body)
        except RemoteProtocolError as error:
            return Unreadable(str(error), octets=body[:64])
        if whole is None:
            return None
        title = originator_of(whole)
        keys = self._keys(title) if title is not None else None
        made = read_push(whole, () if keys is None else (keys,), self._objects)
        if not isinstance(made, Push) or made.counter < 0:
            return made
        at = made.originator, made.key_id
        last = self._counters.get(at, -1)
        if len(self._counters) >= ORIGINATORS_MAX:
            self._counters.clear()
        self._counters[at] = max(last, made.counter)
        return replace(made, repeated=made.counter <= last)

    def whole(self, body: bytes) -> bytes | None:
        """The APDU itself, joined where it comes in blocks; None while blocks are missing."""
        if body[:1] != b"\xe0":
            return body
        return self._join(apdu.decode_block_transfer(Reader(body, 1)))

    def _join(self, block: apdu.GeneralBlockTransfer) -> bytes | None:
        """Meters in the field stream without acknowledgement; only the last-block bit counts."""
        if block.block == 1:
            self._blocks.clear()
        self._blocks += block.data
        if len(self._blocks) > APDU_SIZE_MAX:
            self._blocks.clear()
            return None
        if not block.last:
            return None
        whole = bytes(self._blocks)
        self._blocks.clear()
        if whole[:1] == b"\xe0":
            raise RemoteProtocolError("a general block transfer inside another one")
        return whole


def read_push(
    whole: bytes, keys: Sequence[KeySet], objects: ObjectsOf = _no_objects
) -> Push | Unreadable:
    """One complete APDU as a push. Of several key sets the first that opens it is taken (a meter
    whose keys are being changed); nothing is remembered of its counter."""
    title = originator_of(whole) or b""
    reason = ""
    for each in keys or (None,):
        try:
            found = bared(whole, each)
        except (RemoteProtocolError, LocalProtocolError) as error:
            reason = str(error)
            continue
        frame = Push(
            axdr.null(), (), None, found.originator, ciphered=found.ciphered,
            authenticated=found.authenticated, signed=found.signed,
            signature_checked=found.signature_checked, counter=found.counter, key_id=found.key_id,
        )  # fmt: skip
        try:
            return _read(found.plain, frame, objects)
        except (RemoteProtocolError, AxdrError) as error:
            return Unreadable(str(error), title, whole[:64])
    return Unreadable(reason, title, whole[:64])


def _read(plain: bytes, frame: Push, objects: ObjectsOf) -> Push | Unreadable:
    message = apdu.decode(plain)
    if isinstance(message, apdu.DataNotification):
        body = axdr.decode(message.body)
        values = named_values(body, objects(frame.originator), tagged_time=message.tagged_time)
        made = _with(frame, body, values, message.time)
        return replace(made, long_invoke=message.long_invoke)
    if isinstance(message, apdu.EventNotification):
        ref = message.attribute
        value = axdr.decode(message.value)
        event = CaptureObject(ref.class_id, ref.obis, ref.attribute)
        one = PushedValue(ref.obis, plain_value(value), ref.class_id, ref.attribute)
        return _with(frame, value, (one,), message.time or b"", event)
    return Unreadable(f"an APDU {plain[0]:02X} is no notification", frame.originator)


def push_of(event: Notification | EventReport) -> Push | Unreadable:
    """What a meter told on an open association, as the push that a listener would make of it."""
    frame = Push(
        axdr.null(), (), None, event.originator, ciphered=event.ciphered,
        authenticated=event.authenticated, counter=event.counter,
    )  # fmt: skip
    try:
        if isinstance(event, Notification):
            body = axdr.decode(event.body)
            made = _with(frame, body, named_values(body), event.time)
            return replace(made, long_invoke=event.long_invoke)
        value = axdr.decode(event.value)
    except AxdrError as error:
        return Unreadable(str(error), event.originator)
    ref = event.attribute
    if ref is None:  # by a short name, which only the meter's object list could resolve
        return _with(frame, value, (PushedValue(None, plain_value(value)),), event.time)
    one = PushedValue(ref.obis, plain_value(value), ref.class_id, ref.attribute)
    named = CaptureObject(ref.class_id, ref.obis, ref.attribute)
    return _with(frame, value, (one,), event.time, named)


def _with(
    frame: Push,
    body: Data,
    values: tuple[PushedValue, ...],
    time: bytes,
    event: CaptureObject | None = None,
) -> Push:
    stamp = None
    if len(time) == 12:
        try:
            stamp = CosemDateTime.of(time)
        except ValueError:
            stamp = None
    return replace(frame, body=body, values=values, time=stamp, event=event)


def _without_llc(data: bytes) -> bytes:
    """Blocks after the first one come without an LLC header from some meters."""
    try:
        return hdlc.strip_llc(data, b"\xe7\x00")
    except ValueError:
        return data


# --- naming values ------------------------------------------------------------------------------

_KAMSTRUP_UNITS: Final = {1: (1, Unit.WH), 31: (-2, Unit.A), 32: (0, Unit.V)}
_KAIFA: Final = {
    1: ("1-0:1.7.0",),
    9: ("", "", "", "1-0:1.7.0", "1-0:2.7.0", "1-0:3.7.0", "1-0:4.7.0", "1-0:31.7.0",
        "1-0:32.7.0"),
    13: ("", "", "", "1-0:1.7.0", "1-0:2.7.0", "1-0:3.7.0", "1-0:4.7.0", "1-0:31.7.0",
         "1-0:51.7.0", "1-0:71.7.0", "1-0:32.7.0", "1-0:52.7.0", "1-0:72.7.0"),
}  # fmt: skip
_KAIFA_ENERGIES: Final = ("0-0:1.0.0", "1-0:1.8.0", "1-0:2.8.0", "1-0:3.8.0", "1-0:4.8.0")
_POWERS: Final = ("1-0:1.7.0", "1-0:2.7.0", "1-0:3.7.0", "1-0:4.7.0")
_ISKRAEMECO: Final = {
    9: ("", "0-0:96.1.0", *_POWERS, "1-0:32.7.0", "", ""),
    12: ("", "0-0:96.1.0", "", "", "1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2", "1-0:2.8.0",
         "1-0:2.8.1", "1-0:2.8.2", "1-0:3.8.0", "1-0:4.8.0"),
    18: ("", "0-0:96.1.0", *_POWERS, "1-0:32.7.0", "1-0:52.7.0", "1-0:72.7.0", "1-0:31.7.0",
         "1-0:51.7.0", "1-0:71.7.0", "1-0:21.7.0", "1-0:41.7.0", "1-0:61.7.0", "1-0:22.7.0",
         "1-0:42.7.0", "1-0:62.7.0"),
}  # fmt: skip
"""Number of elements -> their codes. What recordings show bears them out: powers of the phases add
up to the total, registers of the rates too, and power is voltage times current at most."""


def named_values(
    body: Data, objects: Sequence[CaptureObject] = (), *, tagged_time: bool = False
) -> tuple[PushedValue, ...]:
    """The values of a push body with their codes and units, by the first way that fits.

    A list of the push objects in the body itself, the list given, a code before each value, or
    the fixed lists of makers that send neither. `tagged_time`: the notification carried its time
    as only Kaifa writes it, which is all that tells the shortest list of this maker.
    """
    elements = _elements(body)
    listed = _list_in_body(elements) or tuple(objects)
    if listed and len(listed) == len(elements):
        return tuple(_by_list(o, e) for o, e in zip(listed, elements, strict=True))
    flat = _by_code(elements)
    if flat:
        return flat
    known = _by_maker_list(elements, tagged_time=tagged_time)
    return known or tuple(PushedValue(None, plain_value(element)) for element in elements)


def _elements(body: Data) -> tuple[Data, ...]:
    if body.type in {DataType.STRUCTURE, DataType.ARRAY}:
        return tuple(body.value)
    if body.type is DataType.COMPACT_ARRAY:
        return tuple(body.value.elements)
    return (body,)


def _list_in_body(elements: tuple[Data, ...]) -> tuple[CaptureObject, ...]:
    for element in elements[:3]:
        if element.type is not DataType.ARRAY or len(element.value) < 2:
            continue
        try:
            found = tuple(_push_object(each) for each in element.value)
        except (AxdrError, ValueError):
            continue
        if len(found) == len(elements):
            return found
    return ()


def _push_object(data: Data) -> CaptureObject:
    """A push object: later versions append restriction and columns to the four elements."""
    if data.type is not DataType.STRUCTURE or len(data.value) < 4:
        raise AxdrError("a push object is a structure of at least 4 elements")
    return CaptureObject.of(Data(DataType.STRUCTURE, data.value[:4]))


def _by_list(item: CaptureObject, element: Data) -> PushedValue:
    value = plain_value(element)
    if item.is_clock and element.type is DataType.OCTET_STRING:
        value = _time_or(element.value, value)
    return PushedValue(item.obis, value, item.class_id, item.attribute)


def _time_or(raw: bytes, otherwise: Value) -> Value:
    try:
        return CosemDateTime.of(raw)
    except ValueError:
        return otherwise


def _is_code(data: Data) -> bool:
    return data.type is DataType.OCTET_STRING and len(data.value) == 6 and data.value[5] == 0xFF


def _by_code(elements: tuple[Data, ...]) -> tuple[PushedValue, ...]:
    """Codes before values: each pair in a structure of its own, or all in one row."""
    found: list[PushedValue] = []
    maker = next((str(e.value) for e in elements if e.type is DataType.VISIBLE_STRING), "")
    position = 0
    while position < len(elements):
        element = elements[position]
        if element.type is DataType.STRUCTURE and element.value and _is_code(element.value[0]):
            found += _by_code(tuple(element.value))
            position += 1
        elif _is_code(element) and position + 1 < len(elements):
            unit = _unit_after(elements, position + 2)
            code = Obis.of(element.value)
            found.append(_valued(code, elements[position + 1], unit or _maker_unit(maker, code)))
            position += 2 if unit is None else 3
        else:
            position += 1
    return tuple(found)


def _unit_after(elements: tuple[Data, ...], position: int) -> ScalerUnit | None:
    if position >= len(elements):
        return None
    data = elements[position]
    if data.type is not DataType.STRUCTURE or len(data.value) != 2:
        return None
    if data.value[1].type is not DataType.ENUM:
        return None
    try:
        return ScalerUnit.of(data)
    except AxdrError:
        return None


def _maker_unit(maker: str, code: Obis) -> ScalerUnit | None:
    """Kamstrup sends no scaler: 1 V, 0.01 A, 1 W and 10 Wh, whatever group B says."""
    if not maker.startswith("Kamstrup"):
        return None
    if code.d == 8:
        return ScalerUnit(1, Unit.VARH if code.c in {3, 4} else Unit.WH)
    phase_free = (code.c - 1) % 20 + 1 if 21 <= code.c <= 80 else code.c
    if code.d == 7 and phase_free in {11, 12}:
        scaler, unit = _KAMSTRUP_UNITS[31 if phase_free == 11 else 32]
        return ScalerUnit(scaler, unit)
    if code.d == 7 and phase_free in {1, 2, 3, 4}:
        return ScalerUnit(0, Unit.VAR if phase_free in {3, 4} else Unit.W)
    return None


def _valued(code: Obis, data: Data, unit: ScalerUnit | None) -> PushedValue:
    value = plain_value(data)
    if unit is not None and data.type in axdr.NUMERIC_FORMATS:
        value = unit.quantity(data)
    elif data.type is DataType.OCTET_STRING and len(data.value) == 12:
        value = _time_or(data.value, value)
    return PushedValue(code, value)


def _by_maker_list(elements: tuple[Data, ...], *, tagged_time: bool) -> tuple[PushedValue, ...]:
    """Kaifa and Iskraemeco name nothing: maker and number of elements tell which list it is."""
    count = len(elements)
    maker = _maker(elements[0]) if elements else ""
    if maker == "ISK":
        codes, current_scaler = _ISKRAEMECO.get(count, ()), -2
    elif maker == "KFM" or (count == 1 and tagged_time):
        codes, current_scaler = _kaifa_codes(count), -3
    else:
        return ()
    if not codes:
        return ()
    found = []
    for code, element in zip(codes, elements, strict=True):
        obis = Obis.parse(code) if code else None
        if obis is None:
            found.append(PushedValue(None, plain_value(element)))
        else:
            found.append(_valued(obis, element, _fixed_unit(obis, current_scaler)))
    return tuple(found)


def _kaifa_codes(count: int) -> tuple[str, ...]:
    codes = _KAIFA.get(count, ())
    if not codes and count - 5 in _KAIFA and count > 6:
        codes = _KAIFA[count - 5] + _KAIFA_ENERGIES
    return codes


def _maker(element: Data) -> str:
    """The letters at the beginning of the name that stands first in the list."""
    value = element.value
    if isinstance(value, bytes):
        return value[:3].decode("ascii", "replace")
    return value[:3] if isinstance(value, str) else ""


def _fixed_unit(code: Obis, current_scaler: int) -> ScalerUnit | None:
    """1 W, 1 var, 1 Wh, 1 varh, 0.1 V, and what the maker takes for currents."""
    if code.a == 0:
        return None
    if code.d == 8:
        return ScalerUnit(0, Unit.VARH if code.c in {3, 4} else Unit.WH)
    if code.c in {31, 51, 71}:
        return ScalerUnit(current_scaler, Unit.A)
    if code.c in {32, 52, 72}:
        return ScalerUnit(-1, Unit.V)
    return ScalerUnit(0, Unit.VAR if code.c in {3, 4} else Unit.W)


# --- listening ----------------------------------------------------------------------------------

PushSink = Callable[[Endpoint, "Push | Unreadable"], None]


@dataclass(slots=True)
class PushSession:
    """The head-end's side of a connection that a meter opens to push on."""

    endpoint: Endpoint
    receiver: PushReceiver
    sink: PushSink
    datagrams: bool = False

    @property
    def closing(self) -> bool:
        return self.receiver.broken

    @property
    def stage(self) -> Stage:
        return Stage.ASSOCIATED if self.receiver.frames else Stage.CONNECTED

    @property
    def frames(self) -> int:
        return self.receiver.frames

    def receive(self, data: bytes, now: Instant) -> None:
        take = self.receiver.receive_datagram
        for push in take(data) if self.datagrams else self.receiver.receive(data, now):
            self.sink(self.endpoint, push)

    def data_to_send(self) -> bytes:
        return b""

    def deadline(self) -> Instant | None:
        return None

    def tick(self, now: Instant) -> None:
        """Nothing is ever due: the listener keeps the idle time."""

    def lost(self) -> None:
        """A push that was not complete is lost with its connection."""


def push_sessions(
    sink: PushSink,
    keys: KeysOf = _no_keys,
    objects: ObjectsOf = _no_objects,
    *,
    datagrams: bool = False,
) -> SessionFactory:
    """For a TcpListener, or with `datagrams` for a UdpListener: every push goes to `sink`."""

    def make(endpoint: Endpoint, _transmit: Transmit) -> PushSession:
        return PushSession(endpoint, PushReceiver(keys, objects), sink, datagrams=datagrams)

    return make
