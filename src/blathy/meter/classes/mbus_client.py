"""M-Bus client (class 72, version 1): a channel of the meter for a downstream device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import UNSET, CosemDateTime
from blathy.cosem.service import Requester
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

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CAPTURE: Final = array_shape(structure_shape(OS, OS))
RECORDS: Final = array_shape(structure_shape(OS, OS, ANY))
NO_KEY, KEY_SET, KEY_TRANSFERRED = 0, 1, 2
"""encryption_key_status; 3 is set and transferred."""
KEY_OCTETS: Final = 16
CAPTURE_COMMAND: Final = "capture"
ADDRESS_MAX: Final = 250
NULL: Final = axdr.encode_null()


def _put(meter: Meter, obis: Obis, number: int, data: Data) -> None:
    meter.save_setting(bytes(obis) + bytes((number,)), axdr.encode(data))


def _methods(obis: Obis) -> tuple[Method | None, ...]:
    def install(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, ("either", U8, I8), "the primary address is an unsigned")
        if not 0 <= data.value <= ADDRESS_MAX:
            raise refused("a primary address is 0 to 250")
        _put(meter, obis, 5, axdr.u8(int(data.value)))
        meter.mbus_command(obis, "install", b"")
        return b""

    def deinstall(meter: Meter, _data: Data, _who: Requester) -> bytes:
        for number, value in (
            (5, axdr.u8(0)), (6, axdr.u32(0)), (7, axdr.u16(0)), (8, axdr.u8(0)),
            (9, axdr.u8(0)), (14, axdr.enum(NO_KEY)),
        ):  # fmt: skip
            _put(meter, obis, number, value)
        meter.save_setting(_key_name(obis), b"")
        meter.mbus_command(obis, "deinstall", b"")
        return b""

    def capture(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.mbus_command(obis, CAPTURE_COMMAND, b"")
        return b""

    def reset_alarm(meter: Meter, _data: Data, _who: Requester) -> bytes:
        _put(meter, obis, 12, axdr.u8(0))
        return b""

    def synchronize(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.mbus_command(obis, "synchronize", meter.clock_raw())
        return b""

    def send(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, RECORDS, "data are an array of DIB, VIB and value")
        meter.mbus_command(obis, "send", axdr.encode(data))
        return b""

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
        meter.mbus_command(obis, "transfer key", bytes(data.value))
        _put(meter, obis, 14, axdr.enum(_key_status(meter, obis) | KEY_TRANSFERRED))
        return b""

    return (
        install, deinstall, capture, reset_alarm, synchronize, send, set_key, transfer_key,
    )  # fmt: skip


def _key_status(meter: Meter, obis: Obis) -> int:
    held = setting_of(meter, obis, 14)
    return NO_KEY if held is None else int(held.value)


def _key_name(obis: Obis) -> bytes:
    return b"mbus-key:" + bytes(obis)


@dataclass(frozen=True, slots=True)
class MbusReading:
    """What a downstream device answered: its value and its header (EN 13757-3)."""

    mantissa: int
    scaler: int
    unit: int
    at_utc_s: int
    identification: int = 0
    manufacturer: int = 0
    version: int = 0
    device_type: int = 0
    access_number: int = 0
    status: int = 0


def _value_name(obis: Obis) -> bytes:
    return b"mbus-value:" + bytes(obis)


def keep_reading(meter: Meter, channel: int, reading: MbusReading) -> None:
    """Put what the port has read of a channel into its value and client objects."""
    value = Obis(0, channel, 24, 2, 1)
    numbers = (reading.mantissa, reading.scaler, reading.unit, reading.at_utc_s)
    meter.save_setting(_value_name(value), axdr.encode(axdr.array_of(map(axdr.i64, numbers))))
    client = Obis(0, channel, 24, 1, 0)
    header = (
        (6, axdr.u32(reading.identification)), (7, axdr.u16(reading.manufacturer)),
        (8, axdr.u8(reading.version)), (9, axdr.u8(reading.device_type)),
        (10, axdr.u8(reading.access_number)), (11, axdr.u8(reading.status)),
    )  # fmt: skip
    for number, data in header:
        _put(meter, client, number, data)


def _reading(meter: Meter, obis: Obis) -> tuple[int, int, int, int] | None:
    raw = meter.settings.get(_value_name(obis))
    if raw is None:
        return None
    mantissa, scaler, unit, at_utc_s = (int(item.value) for item in axdr.decode(raw).value)
    return mantissa, scaler, unit, at_utc_s


def mbus_value_object(facility: Facility) -> CosemObject:
    """Class 4: the last value of a channel; null-data until the device has answered."""
    obis = facility.obis

    def value(meter: Meter) -> bytes:
        found = _reading(meter, obis)
        return NULL if found is None else axdr.encode_u32(found[0] & 0xFFFF_FFFF)

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


def mbus_client_object(facility: Facility) -> CosemObject:
    """Class 72. What a device reports of itself is filled in by the port that reads it."""
    obis = facility.obis

    def held(number: int, default: Data, shape: axdr.DataType, *, writable: bool) -> Attribute:
        return setting(obis, number, default, shape, writable=writable)

    return CosemObject(
        72,
        facility.version,
        obis,
        facility.group,
        facility.title,
        (
            setting(obis, 2, axdr.octets(bytes(6)), LN),
            setting(obis, 3, axdr.array(), CAPTURE, check=lambda d: len(d.value) <= 16),
            held(4, axdr.u32(3600), U32, writable=True),
            setting(obis, 5, axdr.u8(0), U8, check=lambda d: int(d.value) <= ADDRESS_MAX),
            held(6, axdr.u32(0), U32, writable=True),
            held(7, axdr.u16(0), U16, writable=True),
            held(8, axdr.u8(0), U8, writable=True),
            held(9, axdr.u8(0), U8, writable=True),
            held(10, axdr.u8(0), U8, writable=False),
            held(11, axdr.u8(0), U8, writable=False),
            held(12, axdr.u8(0), U8, writable=False),
            held(13, axdr.u16(0), U16, writable=False),
            held(14, axdr.enum(NO_KEY), axdr.DataType.ENUM, writable=False),
        ),
        _methods(obis),
    )
