"""Prepayment as account (class 111) and credits (class 112), over the meter's own account.

Amounts are energy: the currency is kWh with a scale of -3, so that numbers are watt-hours. Closing
the account switches prepayment off and clears the credit, activating it begins from no credit.
All charges (class 113) are collected from the bought credit, and every token is booked to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blathy.control.controller import ControlRefusedError
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import UNSET
from blathy.cosem.service import Requester
from blathy.meter.classes.charge import debts_wh
from blathy.meter.control import ControlView
from blathy.meter.objects import I32, Attribute, CosemObject, Method, constant, refused, require
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


def _viewed(encode: Callable[[ControlView], bytes]) -> Attribute:
    """An attribute that follows from what the meter shows of its account."""
    return Attribute(lambda meter: encode(meter.control_view))


def _amount_of(of: Callable[[ControlView], int]) -> Attribute:
    return _viewed(lambda view: _amount(of(view)))


def _mode(view: ControlView) -> bytes:
    mode, status = (PREPAYMENT_MODE, ACTIVE) if view.prepaid else (CREDIT_MODE, CLOSED)
    return axdr.encode(axdr.structure(axdr.enum(mode), axdr.enum(status)))


def _credit_status(view: ControlView) -> bytes:
    """current_credit_status, in order of its bits."""
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
    return axdr.encode(axdr.bits("".join("01"[flag] for flag in flags)))


def _owed_wh(view: ControlView) -> int:
    """Emergency credit that was used and is to be cleared by the next purchase."""
    return max(0, -view.balance_wh) if view.emergency_taken else 0


def _charge_configuration(meter: Meter) -> bytes:
    rows = (
        axdr.structure(axdr.octets(TOKEN_CREDIT), axdr.octets(charge), axdr.bits(ALWAYS))
        for charge in _codes(meter, CHARGE)
    )
    return axdr.encode(axdr.array(*rows))


def _token_configuration(meter: Meter) -> bytes:
    whole = axdr.structure(axdr.octets(TOKEN_CREDIT), axdr.u8(100))
    return axdr.encode(axdr.array(*([whole] if _codes(meter, TOKEN_GATEWAY) else [])))


def _switching(*, on: bool) -> Method:
    def switch(meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.set_prepayment(enabled=on)
        return b""

    return switch


def account_object(facility: Facility) -> CosemObject:
    """Class 111."""
    credits_ = axdr.array(axdr.octets(TOKEN_CREDIT), axdr.octets(EMERGENCY_CREDIT))
    currency = axdr.structure(axdr.utf8("kWh"), axdr.i8(-3), axdr.enum(1))
    low_credit = _amount_of(lambda view: view.low_credit_wh)
    return CosemObject(
        111, 0, facility.obis, Group.PAYMENT, facility.title,
        (
            _viewed(_mode),
            _viewed(lambda view: axdr.encode_u8(int(view.emergency_taken))),
            _viewed(_credit_status),
            _amount_of(lambda view: view.available_wh),
            _amount_of(_owed_wh),
            constant(axdr.i32(0)),
            Attribute(lambda meter: _amount(_owed_wh(meter.control_view) + debts_wh(meter))),
            constant(credits_),
            Attribute(
                lambda meter: axdr.encode(axdr.array(*map(axdr.octets, _codes(meter, CHARGE))))
            ),
            Attribute(_charge_configuration),
            Attribute(_token_configuration),
            constant(_NEVER),
            constant(_NEVER),
            constant(currency),
            low_credit,
            low_credit,
            constant(axdr.u16(0)),
            constant(axdr.i32(0)),
        ),
        (_switching(on=True), _switching(on=False), None),
    )  # fmt: skip


def _update(meter: Meter, data: Data, _who: Requester) -> bytes:
    require(data, I32, "the amount is a double-long")
    return _booked(lambda: meter.add_credit(int(data.value) * UWH_PER_WH))


def _invoke(meter: Meter, _data: Data, _who: Requester) -> bytes:
    return _booked(meter.take_emergency_credit)


def _booked(act: Callable[[], None]) -> bytes:
    try:
        act()
    except ControlRefusedError as error:
        raise refused(str(error)) from error
    return b""


def credit_object(facility: Facility) -> CosemObject:
    """Class 112: the bought credit, or the emergency credit."""
    if facility.role == "emergency credit":
        return _credit(
            facility, kind=EMERGENCY, priority=2, configuration="01101",
            amount=lambda view: view.emergency_credit_wh if view.emergency_taken else 0,
            warning=lambda _view: 0,
            status=_emergency_status,
            preset=lambda view: view.emergency_credit_wh,
            methods=(None, None, _invoke),
        )  # fmt: skip
    return _credit(
        facility, kind=TOKEN, priority=1, configuration="10001",
        amount=lambda view: view.balance_wh,
        warning=lambda view: view.low_credit_wh,
        status=lambda view: IN_USE if view.balance_wh > 0 else CONSUMED,
        preset=lambda _view: 0,
        methods=(_update, None, None),
    )  # fmt: skip


def _emergency_status(view: ControlView) -> int:
    if view.emergency_taken:
        return CONSUMED if view.exhausted else IN_USE
    return SELECTABLE if view.emergency_offered else ENABLED


def _credit(
    facility: Facility, *, kind: int, priority: int, configuration: str,
    amount: Callable[[ControlView], int], warning: Callable[[ControlView], int],
    status: Callable[[ControlView], int], preset: Callable[[ControlView], int],
    methods: tuple[Method | None, ...],
) -> CosemObject:  # fmt: skip
    return CosemObject(
        112, 0, facility.obis, Group.PAYMENT, facility.title,
        (
            _amount_of(amount),
            constant(axdr.enum(kind)),
            constant(axdr.u8(priority)),
            _amount_of(warning),
            constant(axdr.i32(0)),
            constant(axdr.bits(configuration)),
            _viewed(lambda view: axdr.encode_enum(status(view))),
            _amount_of(preset),
            constant(axdr.i32(0)),
            constant(_NEVER),
        ),
        methods,
    )  # fmt: skip
