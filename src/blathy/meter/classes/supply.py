"""Disconnect control (class 70) and limiter (class 71) over the meter's switches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.control.breaker import State
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult, Requester
from blathy.meter.control import SwitchView
from blathy.meter.objects import (
    ACTION_ITEM,
    ENUM,
    OS_DT,
    U16,
    U32,
    VALUE_DEFINITION,
    Attribute,
    CosemObject,
    array_shape,
    refused,
    require,
    setting,
    setting_of,
    structure_shape,
)
from blathy.models.model import Breaker, Group, Model
from blathy.obis import Obis
from blathy.quantity import Kind, Measure

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

DISCONNECT_SCRIPTS: Final = Obis(0, 0, 10, 0, 106)


def disconnect_object(obis: Obis, title: str, modes: tuple[int, ...]) -> CosemObject:
    """Class 70. `output_state` is the contact, `control_state` the logic; no modes to choose from
    (a load relay): the mode is fixed. A command that leaves things as they are, though they are not
    as it asks, is refused: it is not remembered."""

    def standing(meter: Meter) -> SwitchView:
        with meter.as_written():
            return meter.control_view.switches[obis]

    def output(meter: Meter) -> bytes:
        return axdr.encode_boolean(meter.control_view.switches[obis].closed)

    def state(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.control_view.switches[obis].state)

    def mode(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.control_view.switches[obis].mode)

    def set_mode(meter: Meter, data: Data) -> None:
        require(data, ENUM)
        if data.value not in modes:
            raise AccessError(DataAccessResult.OTHER_REASON, "this meter has no such control mode")
        meter.set_breaker_mode(int(data.value))

    def disconnect(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.remote_disconnect(obis)
        if standing(meter).closed:
            raise refused("the control mode permits no remote disconnection")
        return b""

    def reconnect(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.remote_reconnect(obis)
        if standing(meter).state == State.DISCONNECTED:
            reason = "mode, credit or the time since it opened do not permit to reconnect"
            raise AccessError(ActionResult.TEMPORARY_FAILURE, reason)
        return b""

    return CosemObject(
        70,
        0,
        obis,
        Group.CONTROL,
        title,
        (Attribute(output), Attribute(state), Attribute(mode, set_mode if modes else None)),
        (disconnect, reconnect),
    )


EMERGENCY: Final = structure_shape(U16, OS_DT, U32)
EMERGENCY_GROUPS_MAX: Final = 64


def limiter_object(model: Model, breaker: Breaker) -> CosemObject:
    """Class 71 on the active import power, in watts."""
    assert breaker.limiter_obis is not None
    obis = breaker.limiter_obis
    monitored = next(
        (
            row
            for row in model.rows
            if row.source.kind is Kind.INSTANT
            and row.source.measure is Measure.A_IMPORT
            and row.source.phase == 0
        ),
        None,
    )
    assert monitored is not None
    value = axdr.structure(axdr.u16(monitored.class_id), axdr.octets(monitored.obis), axdr.i8(2))
    actions = axdr.structure(
        axdr.structure(axdr.octets(DISCONNECT_SCRIPTS), axdr.u16(1)),
        axdr.structure(axdr.octets(DISCONNECT_SCRIPTS), axdr.u16(2)),
    )
    limit = axdr.u32(breaker.limit_w)
    emergency = axdr.structure(axdr.u16(0), axdr.octets(b"\xff" * 9 + b"\x80\x00\xff"), axdr.u32(0))

    def active(meter: Meter) -> bytes:
        return axdr.encode_u32(meter.control_view.limit_active_w)

    def emergency_active(meter: Meter) -> bytes:
        return axdr.encode_boolean(meter.control_view.emergency_active)

    def renew(meter: Meter, _data: Data) -> None:
        meter.limits_changed()

    return CosemObject(
        71,
        0,
        obis,
        Group.CONTROL,
        "limiter",
        (
            setting(obis, 2, value, VALUE_DEFINITION, writable=False),
            Attribute(active),
            setting(obis, 4, limit, U32, after=renew),
            setting(obis, 5, axdr.u32(breaker.limit_w // 4), U32, after=renew),
            setting(obis, 6, axdr.u32(60), U32, after=renew),
            setting(obis, 7, axdr.u32(60), U32, after=renew),
            setting(obis, 8, emergency, EMERGENCY, after=renew),
            setting(
                obis,
                9,
                axdr.array(axdr.u16(0)),
                array_shape(U16),
                after=renew,
                check=lambda data: len(data.value) <= EMERGENCY_GROUPS_MAX,
            ),
            Attribute(emergency_active),
            setting(obis, 11, actions, structure_shape(ACTION_ITEM, ACTION_ITEM), writable=False),
        ),
    )


def limiter_number(meter: Meter, obis: Obis, number: int, default: int) -> int:
    """A threshold or duration of the limiter as it stands."""
    data = setting_of(meter, obis, number)
    return default if data is None else int(data.value)
