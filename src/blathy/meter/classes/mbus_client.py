"""M-Bus client (class 72, version 1): a channel of the meter for a downstream device.

Its methods act on the bus at once and answer what came of it: temporary-failure where no device is
bound, none answers, or the one that does will not take it. A meter without a bus finds no device.

`mbus_port_reference` names the M-Bus master port of the meter (class 74), which has one bus; empty
means the same, and another port is refused. `capture_definition` names the record that goes into
the value object of the channel by its information blocks, which the device must send like that; a
channel has one value object, so it has one element at most. Without one the value is what the books
count, the first volume or energy. Identification, manufacturer, version and device type tell of the
device; written before one is installed they say which one is to be, 0 for any.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import UNSET, CosemDateTime
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult, Requester
from blathy.meter.objects import (
    ANY,
    I8,
    LN,
    OS,
    U8,
    U16,
    U32,
    Attribute,
    CosemObject,
    Method,
    array_shape,
    refused,
    require,
    scaler_unit,
    setting,
    setting_of,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.obis import Obis
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.mbus import (
    datetime_seconds_bytes,
    decode_records,
    record_bytes,
    require_information,
)

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

MASTER_PORT: Final = 74
PORT, CAPTURED = 2, 3
DEVICE: Final = range(6, 10)
"""Attributes that say which device it is."""
VALUES: Final = 1
"""Value objects of a channel."""
CAPTURE: Final = array_shape(structure_shape(OS, OS))
RECORDS: Final = array_shape(structure_shape(OS, OS, ANY))
NO_KEY, KEY_SET, KEY_TRANSFERRED, KEY_IN_USE = 0, 1, 2, 4
"""encryption_key_status; 3 is set and transferred."""
KEY_OCTETS: Final = 16
TRANSFERRED_OCTETS_MAX: Final = 64
SENT_OCTETS_MAX: Final = 252
"""Of the data records in one frame."""
CAPTURE_PERIOD_S: Final = 3600
"""capture_period as delivered."""
ADDRESS_MAX: Final = 250
NULL: Final = axdr.encode_null()


class Device(NamedTuple):
    """Which device it is, as its header says; 0 for any."""

    identification: int = 0
    manufacturer: int = 0
    version: int = 0
    device_type: int = 0

    def fits(self, other: Device) -> bool:
        """Whether the other is what this one asks for."""
        return all(mine in {0, its} for mine, its in zip(self, other, strict=True))


ANY_DEVICE: Final = Device()


class MbusPort(Protocol):
    """The M-Bus master of a meter, as its client objects use it. A channel is reached at the
    primary address of its client object, and what is read goes into the channel's objects."""

    def install(self, channel: int, address: int, taken: Collection[int], wanted: Device) -> int:
        """Find the wanted device and give it an address: this one, or with 0 any that is not
        `taken`; a device without an address is preferred. Its primary address; 0 for none."""

    def read(self, channel: int) -> bool:
        """Read the channel's device now; whether it has answered with a value."""

    def write(self, channel: int, records: bytes) -> bool:
        """Send data records to the channel's device; whether it has taken them."""


def _client(channel: int) -> Obis:
    return Obis(0, channel, 24, 1, 0)


def bound_address(meter: Meter, channel: int) -> int | None:
    """The primary address that a channel reads; 0 for none, None where none was ever set."""
    held = setting_of(meter, _client(channel), 5)
    return None if held is None else int(held.value)


def bind(meter: Meter, channel: int, address: int) -> None:
    """From now on the channel reads the device with this primary address."""
    _put(meter, _client(channel), 5, axdr.u8(address))


def capture_period_s(meter: Meter, channel: int) -> int:
    """Every so many seconds a channel is read; 0 for never."""
    held = setting_of(meter, _client(channel), 4)
    return CAPTURE_PERIOD_S if held is None else int(held.value)


def captured_information(meter: Meter, channel: int) -> bytes:
    """The information blocks of the record that a channel captures; empty: what the books count."""
    held = setting_of(meter, _client(channel), CAPTURED)
    return (
        b"".join(bytes(part.value) for part in held.value[0].value) if held and held.value else b""
    )


def user_key(meter: Meter, channel: int) -> bytes:
    """What opens the readings of the channel's device; empty for none."""
    return meter.settings.get(_key_name(_client(channel)), b"")


def key_in_use(meter: Meter, channel: int) -> bool:
    """Whether readings of the channel's device come encrypted, and no others are taken."""
    return _key_status(meter, _client(channel)) == KEY_IN_USE


def key_was_used(meter: Meter, channel: int) -> None:
    """The channel's key has opened a reading."""
    if not key_in_use(meter, channel):
        _put(meter, _client(channel), 14, axdr.enum(KEY_IN_USE))


def _failed(reason: str) -> AccessError:
    return AccessError(ActionResult.TEMPORARY_FAILURE, reason)


def _port(meter: Meter, obis: Obis) -> MbusPort:
    """The bus, where the channel has a device on it."""
    if meter.mbus is None or not bound_address(meter, obis[1]):
        raise _failed("no device is installed at this channel")
    return meter.mbus


def _write(meter: Meter, obis: Obis, records: bytes) -> None:
    if not _port(meter, obis).write(obis[1], records):
        raise _failed("the device does not answer, or does not take it")


def _record_of(item: Data) -> bytes:
    """One data record of {DIB, VIB, value}; LocalProtocolError where the value does not fit."""
    dib, vib = (bytes(part.value) for part in item.value[:2])
    value = item.value[2].value
    if not dib or not vib:
        raise LocalProtocolError("a record has a data and a value information block")
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    elif value is None:
        value = b""
    if not isinstance(value, int | bytes):
        raise LocalProtocolError("an M-Bus record carries a number or octets")
    return dib + vib + record_bytes(dib[0] & 0x0F, [0], value)[2:]


def _put(meter: Meter, obis: Obis, number: int, data: Data) -> None:
    meter.save_setting(bytes(obis) + bytes((number,)), axdr.encode(data))


def _installing(obis: Obis) -> tuple[Method, Method]:
    """slave_install and slave_deinstall."""
    channel = obis[1]

    def install(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, ("either", U8, I8), "the primary address is an unsigned")
        if not 0 <= data.value <= ADDRESS_MAX:
            raise refused("a primary address is 0 to 250")
        if bound_address(meter, channel):
            raise refused("a device is installed at this channel; deinstall it first")
        clients = (f.obis[1] for f in meter.model.facilities if f.class_id == 72)
        taken = {bound_address(meter, each) or 0 for each in clients}
        if data.value and data.value in taken:
            raise refused("another channel has the device with this address")
        wanted = Device(*(int((setting_of(meter, obis, n) or axdr.u8(0)).value) for n in DEVICE))
        found = meter.mbus.install(channel, int(data.value), taken, wanted) if meter.mbus else 0
        if not found:
            raise _failed("no device answers on the bus")
        bind(meter, channel, found)
        _port(meter, obis).read(channel)
        return b""

    def deinstall(meter: Meter, _data: Data, _who: Requester) -> bytes:
        if meter.mbus is not None and bound_address(meter, channel):
            meter.mbus.write(channel, record_bytes(0x01, [0x7A], 0))  # a lost device stays lost
        for number, value in (
            (5, axdr.u8(0)), (6, axdr.u32(0)), (7, axdr.u16(0)), (8, axdr.u8(0)), (9, axdr.u8(0)),
            (10, axdr.u8(0)), (11, axdr.u8(0)), (12, axdr.u8(0)), (13, axdr.u16(0)),
            (14, axdr.enum(NO_KEY)),
        ):  # fmt: skip
            _put(meter, obis, number, value)
        meter.save_setting(_key_name(obis), b"")
        meter.save_setting(_value_name(_value(channel)), b"")
        return b""

    return install, deinstall


def _using(obis: Obis) -> tuple[Method, ...]:
    """capture, reset_alarm, synchronize_clock and data_send."""
    channel = obis[1]

    def capture(meter: Meter, _data: Data, _who: Requester) -> bytes:
        if not _port(meter, obis).read(channel):
            raise _failed("the device does not answer with a value")
        return b""

    def reset_alarm(meter: Meter, _data: Data, _who: Requester) -> bytes:
        _put(meter, obis, 12, axdr.u8(0))
        return b""

    def synchronize(meter: Meter, _data: Data, _who: Requester) -> bytes:
        now = meter.zone.civil(meter.clock_utc_s())
        _write(meter, obis, record_bytes(0x06, [0x6D], datetime_seconds_bytes(now)))
        return b""

    def send(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, RECORDS, "data are an array of DIB, VIB and value")
        try:
            records = b"".join(_record_of(item) for item in data.value)
            decode_records(records)
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error
        if not 0 < len(records) <= SENT_OCTETS_MAX:
            raise refused(f"data records have 1 to {SENT_OCTETS_MAX} octets together")
        _write(meter, obis, records)
        return b""

    return capture, reset_alarm, synchronize, send


def _keying(obis: Obis) -> tuple[Method, Method]:
    """set_encryption_key and transfer_key."""

    def set_key(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, OS, "a key is an octet-string")
        if len(data.value) not in {0, KEY_OCTETS}:
            raise refused("a key has 16 octets, or none to switch it off")
        meter.save_setting(_key_name(obis), bytes(data.value))
        kept = _key_status(meter, obis) & KEY_TRANSFERRED | KEY_SET
        _put(meter, obis, 14, axdr.enum(kept if data.value else NO_KEY))
        return b""

    def transfer_key(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, OS, "the wrapped key is an octet-string")
        if not KEY_OCTETS <= len(data.value) <= TRANSFERRED_OCTETS_MAX:
            raise refused(f"a wrapped key has {KEY_OCTETS} to {TRANSFERRED_OCTETS_MAX} octets")
        _write(meter, obis, record_bytes(0x0D, [0xFD, 0x19], bytes(data.value)))
        kept = _key_status(meter, obis) & KEY_SET | KEY_TRANSFERRED
        _put(meter, obis, 14, axdr.enum(kept))
        return b""

    return set_key, transfer_key


def _key_status(meter: Meter, obis: Obis) -> int:
    held = setting_of(meter, obis, 14)
    return NO_KEY if held is None else int(held.value)


def _key_name(obis: Obis) -> bytes:
    return b"mbus-key:" + bytes(obis)


@dataclass(frozen=True, slots=True)
class MbusReading:
    """What a downstream device answered: the captured value and the header (EN 13757-3).
    `mantissa` None: that value was not in it, or not as a whole number, or our key does not open
    it. `count`: what the books count on by."""

    mantissa: int | None
    scaler: int
    unit: int
    at_utc_s: int
    device: Device = ANY_DEVICE
    access_number: int = 0
    status: int = 0
    configuration: int = 0
    count: int | None = None


def _value(channel: int) -> Obis:
    return Obis(0, channel, 24, 2, 1)


def _value_name(obis: Obis) -> bytes:
    return b"mbus-value:" + bytes(obis)


def keep_reading(meter: Meter, channel: int, reading: MbusReading) -> None:
    """Put what the port has read of a channel into its value and client objects."""
    if reading.mantissa is not None:
        numbers = (reading.mantissa, reading.scaler, reading.unit, reading.at_utc_s)
        value = axdr.encode(axdr.array_of(map(axdr.i64, numbers)))
        meter.save_setting(_value_name(_value(channel)), value)
    client = _client(channel)
    device = reading.device
    header = (
        (6, axdr.u32(device.identification)), (7, axdr.u16(device.manufacturer)),
        (8, axdr.u8(device.version)), (9, axdr.u8(device.device_type)),
        (10, axdr.u8(reading.access_number)), (11, axdr.u8(reading.status)),
        (13, axdr.u16(reading.configuration)),
    )  # fmt: skip
    for number, data in header:
        _put(meter, client, number, data)


def _reading(meter: Meter, obis: Obis) -> tuple[int, int, int, int] | None:
    raw = meter.settings.get(_value_name(obis))
    if not raw:
        return None
    mantissa, scaler, unit, at_utc_s = (int(item.value) for item in axdr.decode(raw).value)
    return mantissa, scaler, unit, at_utc_s


def mbus_value_object(facility: Facility) -> CosemObject:
    """Class 4: the last value of a channel; null-data until the device has answered."""
    obis = facility.obis

    def value(meter: Meter) -> bytes:
        found = _reading(meter, obis)
        if found is None:
            return NULL
        fits = 0 <= found[0] < 1 << 32
        return axdr.encode_u32(found[0]) if fits else axdr.encode_i64(found[0])

    def unit(meter: Meter) -> bytes:
        found = _reading(meter, obis) or (0, 0, 255, 0)
        return scaler_unit(found[1], found[2])

    def captured(meter: Meter) -> bytes:
        found = _reading(meter, obis)
        if found is None:
            return axdr.encode_octets(UNSET.raw())
        return axdr.encode_octets(CosemDateTime.from_utc(found[3], meter.zone).raw())

    return CosemObject(
        4,
        0,
        obis,
        facility.group,
        facility.title,
        (Attribute(value), Attribute(unit), Attribute(NULL), Attribute(captured)),
        (None,),
    )


def _port_attribute(obis: Obis) -> Attribute:
    """The reference to a master port."""
    held = setting(obis, PORT, axdr.octets(bytes(6)), LN)

    def write(meter: Meter, data: Data) -> None:
        name = require(data, LN, "a port is named by six octets").value
        port = meter.tree.objects.get(bytes(name))
        if bytes(name) != bytes(6) and (port is None or port.class_id != MASTER_PORT):
            raise AccessError(DataAccessResult.OTHER_REASON, "this meter has no such M-Bus port")
        assert held.set is not None
        held.set(meter, data)

    return Attribute(held.get, write)


def _is_definition(data: Data) -> bool:
    try:
        for item in data.value:
            require_information(*(bytes(part.value) for part in item.value))
    except RemoteProtocolError:
        return False
    return len(data.value) <= VALUES


def _device_attribute(obis: Obis, number: int, default: Data, shape: axdr.DataType) -> Attribute:
    """One of those that say which device it is, or is to be."""
    held = setting(obis, number, default, shape)

    def write(meter: Meter, data: Data) -> None:
        if bound_address(meter, obis[1]) and data != setting_of(meter, obis, number):
            raise AccessError(DataAccessResult.OTHER_REASON, "it tells of the device there is")
        assert held.set is not None
        held.set(meter, data)

    return Attribute(held.get, write)


def mbus_client_object(facility: Facility) -> CosemObject:
    """Class 72. What a device reports of itself is filled in by the port that reads it."""
    obis = facility.obis
    value_name = _value_name(_value(obis[1]))

    def forget(meter: Meter, _data: Data) -> None:
        meter.save_setting(value_name, b"")

    def held(number: int, default: Data, shape: axdr.DataType) -> Attribute:
        return setting(obis, number, default, shape, writable=False)

    return CosemObject(
        72,
        facility.version,
        obis,
        facility.group,
        facility.title,
        (
            _port_attribute(obis),
            setting(obis, CAPTURED, axdr.array(), CAPTURE, check=_is_definition, after=forget),
            setting(obis, 4, axdr.u32(CAPTURE_PERIOD_S), U32),
            setting(obis, 5, axdr.u8(0), U8, check=lambda d: int(d.value) <= ADDRESS_MAX),
            _device_attribute(obis, 6, axdr.u32(0), U32),
            _device_attribute(obis, 7, axdr.u16(0), U16),
            _device_attribute(obis, 8, axdr.u8(0), U8),
            _device_attribute(obis, 9, axdr.u8(0), U8),
            held(10, axdr.u8(0), U8),
            held(11, axdr.u8(0), U8),
            held(12, axdr.u8(0), U8),
            held(13, axdr.u16(0), U16),
            held(14, axdr.enum(NO_KEY), axdr.DataType.ENUM),
        ),
        (*_installing(obis), *_using(obis), *_keying(obis)),
    )
