"""Prepayment as account (class 111) and credits (class 112), over the meter's own account.

Amounts are energy: the currency is kWh with a scale of -3, so that numbers are watt-hours. Closing
the account switches prepayment off and clears the credit, activating it begins from no credit.
All charges (class 113) are collected from the bought credit, and every token is booked to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.control.controller import ControlRefusedError
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import UNSET
from blathy.cosem.service import Requester
from blathy.meter.classes.charge import debts_wh
from blathy.meter.objects import I32, Attribute, CosemObject, constant, refused, require
from blathy.models.model import Facility, Group
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

ACCOUNT: Final = Obis(0, 0, 19, 0, 0)
TOKEN_CREDIT: Final = Obis(0, 0, 19, 10, 0)
EMERGENCY_CREDIT: Final = Obis(0, 0, 19, 10, 1)
CREDIT_MODE, PREPAYMENT_MODE = 1, 2
ACTIVE, CLOSED = 2, 3
ENABLED, SELECTABLE, SELECTED, IN_USE, CONSUMED = range(5)
TOKEN, EMERGENCY = 0, 2
CHARGE, TOKEN_GATEWAY = 113, 115
ALWAYS: Final = "111"
"""Charges are collected while disconnected, while the load is limited and in friendly credit."""
_NEVER: Final = axdr.octets(UNSET.raw())
_LIMIT: Final = (1 << 31) - 1
UWH_PER_WH: Final = 1_000_000


def _amount(value: int) -> bytes:
    return axdr.encode_i32(max(-_LIMIT, min(_LIMIT, value)))


def _codes(meter: Meter, class_id: int) -> list[Obis]:
    """The meter's objects of a class."""
    return [f.obis for f in meter.model.facilities if f.class_id == class_id]


def account_object(facility: Facility) -> CosemObject:
    """Class 111."""

    def mode(meter: Meter) -> bytes:
        on = meter.control_view.prepaid
        return axdr.encode(
            axdr.structure(
                axdr.enum(PREPAYMENT_MODE if on else CREDIT_MODE),
                axdr.enum(ACTIVE if on else CLOSED),
            )
        )

    def in_use(meter: Meter) -> bytes:
        return axdr.encode_u8(1 if meter.control_view.emergency_taken else 0)

    def status(meter: Meter) -> bytes:
        view = meter.control_view
        flags = (
            view.balance_wh > 0,
            view.prepaid and view.balance_wh <= view.low_credit_wh,
            view.emergency_offered,
            view.emergency_offered,
            view.emergency_taken,
            view.emergency_taken and view.balance_wh <= 0,
            view.prepaid and view.exhausted,
            False,
        )
        return axdr.encode(axdr.bits("".join("1" if flag else "0" for flag in flags)))

    def available(meter: Meter) -> bytes:
        return _amount(meter.control_view.available_wh)

    def owed(meter: Meter) -> bytes:
        view = meter.control_view
        return _amount(-view.balance_wh if view.emergency_taken and view.balance_wh < 0 else 0)

    def low_threshold(meter: Meter) -> bytes:
        return _amount(meter.control_view.low_credit_wh)

    def activate(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.set_prepayment(enabled=True)
        return b""

    def close(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.set_prepayment(enabled=False)
        return b""

    def debt(meter: Meter) -> bytes:
        view = meter.control_view
        owed_wh = -view.balance_wh if view.emergency_taken and view.balance_wh < 0 else 0
        return _amount(owed_wh + debts_wh(meter))

    def charges(meter: Meter) -> bytes:
        return axdr.encode(axdr.array(*map(axdr.octets, _codes(meter, CHARGE))))

    def collected(meter: Meter) -> bytes:
        rows = (
            axdr.structure(axdr.octets(TOKEN_CREDIT), axdr.octets(charge), axdr.bits(ALWAYS))
            for charge in _codes(meter, CHARGE)
        )
        return axdr.encode(axdr.array(*rows))

    def shared_out(meter: Meter) -> bytes:
        whole = axdr.structure(axdr.octets(TOKEN_CREDIT), axdr.u8(100))
        return axdr.encode(axdr.array(*([whole] if _codes(meter, TOKEN_GATEWAY) else [])))

    credits_ = axdr.array(axdr.octets(TOKEN_CREDIT), axdr.octets(EMERGENCY_CREDIT))
    currency = axdr.structure(axdr.utf8("kWh"), axdr.i8(-3), axdr.enum(1))
    return CosemObject(
        111,
        0,
        facility.obis,
        Group.PAYMENT,
        facility.title,
        (
            Attribute(mode),
            Attribute(in_use),
            Attribute(status),
            Attribute(available),
            Attribute(owed),
            constant(axdr.i32(0)),
            Attribute(debt),
            constant(credits_),
            Attribute(charges),
            Attribute(collected),
            Attribute(shared_out),
            constant(_NEVER),
            constant(_NEVER),
            constant(currency),
            Attribute(low_threshold),
            Attribute(low_threshold),
            constant(axdr.u16(0)),
            constant(axdr.i32(0)),
        ),
        (activate, close, None),
    )


def credit_object(facility: Facility) -> CosemObject:
    """Class 112: the bought credit, or the emergency credit."""
    emergency = facility.role == "emergency credit"

    def amount(meter: Meter) -> bytes:
        view = meter.control_view
        if emergency:
            return _amount(view.emergency_credit_wh if view.emergency_taken else 0)
        return _amount(view.balance_wh)

    def status(meter: Meter) -> bytes:
        view = meter.control_view
        if not emergency:
            return axdr.encode_enum(IN_USE if view.balance_wh > 0 else CONSUMED)
        if view.emergency_taken:
            return axdr.encode_enum(CONSUMED if view.exhausted else IN_USE)
        return axdr.encode_enum(SELECTABLE if view.emergency_offered else ENABLED)

    def preset(meter: Meter) -> bytes:
        return _amount(meter.control_view.emergency_credit_wh if emergency else 0)

    def warning(meter: Meter) -> bytes:
        return _amount(0 if emergency else meter.control_view.low_credit_wh)

    def update(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, I32, "the amount is a double-long")
        try:
            meter.add_credit(int(data.value) * UWH_PER_WH)
        except ControlRefusedError as error:
            raise refused(str(error)) from error
        return b""

    def invoke(meter: Meter, _data: Data, _who: Requester) -> bytes:
        try:
            meter.take_emergency_credit()
        except ControlRefusedError as error:
            raise refused(str(error)) from error
        return b""

    return CosemObject(
        112,
        0,
        facility.obis,
        Group.PAYMENT,
        facility.title,
        (
            Attribute(amount),
            constant(axdr.enum(EMERGENCY if emergency else TOKEN)),
            constant(axdr.u8(2 if emergency else 1)),
            Attribute(warning),
            constant(axdr.i32(0)),
            constant(axdr.bits("01101" if emergency else "10001")),
            Attribute(status),
            Attribute(preset),
            constant(axdr.i32(0)),
            constant(_NEVER),
        ),
        (None if emergency else update, None, invoke if emergency else None),
    )
