"""M-Bus client (class 72, version 1): a channel of the meter for a downstream device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.objects import (
    LN,
    OS,
    U8,
    U16,
    U32,
    Attribute,
    CosemObject,
    Method,
    array_shape,
    fits,
    refused,
    setting,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CAPTURE: Final = array_shape(structure_shape(OS, OS))
NO_KEY, KEY_SET = 0, 1


def _put(meter: Meter, obis: Obis, number: int, data: Data) -> None:
    meter.save_setting(bytes(obis) + bytes((number,)), axdr.encode(data))


def _methods(obis: Obis) -> tuple[Method | None, ...]:
    def install(meter: Meter, data: Data, _who: Requester) -> bytes:
        if data.type not in {U8, axdr.DataType.INTEGER} or not 0 <= data.value <= 250:
            raise AccessError(ActionResult.TYPE_UNMATCHED, "the primary address is 0 to 250")
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
        meter.mbus_command(obis, "capture", b"")
        return b""

    def reset_alarm(meter: Meter, _data: Data, _who: Requester) -> bytes:
        _put(meter, obis, 12, axdr.u8(0))
        return b""

    def synchronize(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.mbus_command(obis, "synchronize", meter.clock_raw())
        return b""

    def send(meter: Meter, data: Data, _who: Requester) -> bytes:
        if data.type is not axdr.DataType.ARRAY:
            raise AccessError(ActionResult.TYPE_UNMATCHED, "the data are an array")
        meter.mbus_command(obis, "send", axdr.encode(data))
        return b""

    def set_key(meter: Meter, data: Data, _who: Requester) -> bytes:
        if not fits(data, OS) or len(data.value) not in {0, 16}:
            raise refused("a key has 16 octets, or none to switch it off")
        meter.save_setting(_key_name(obis), bytes(data.value))
        _put(meter, obis, 14, axdr.enum(KEY_SET if data.value else NO_KEY))
        return b""

    def transfer_key(meter: Meter, data: Data, _who: Requester) -> bytes:
        if not fits(data, OS):
            raise AccessError(ActionResult.TYPE_UNMATCHED, "the wrapped key is an octet-string")
        meter.mbus_command(obis, "transfer key", bytes(data.value))
        return b""

    return (
        install, deinstall, capture, reset_alarm, synchronize, send, set_key, transfer_key,
    )  # fmt: skip


def _key_name(obis: Obis) -> bytes:
    return b"mbus-key:" + bytes(obis)


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
            held(5, axdr.u8(0), U8, writable=True),
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
