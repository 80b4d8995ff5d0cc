"""Token gateway (class 115) and STS attributes (class 116).

The meter has no STS security module. It takes credit tokens of our own form (`wire.credit_token`)
and books them into the account. Every token gets a status, as the class has it: format failure for
what is no token, authentication failure for one that is forged or of another meter, validation
failure for one that was taken before or is older than the `NUMBERS_KEPT` last ones, execution
failure where the account does not take it (prepayment is off, or the credit would not fit its
register: it may be tried again), else execution OK with the Wh that were booked. The number of a
token and its credit become durable in one commit, so no power cut books one twice or loses one.

What the class leaves open and we chose: `enter` succeeds as a method whatever becomes of the token
and returns its status; data_value is the booked energy in Wh as 32 bits, else empty; the
description is lines of ASCII; delivery is remote, as every port of this meter is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.control.controller import ControlRefusedError
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import TokenDelivery, TokenStatus
from blathy.cosem.cosem_time import UNSET
from blathy.cosem.service import Requester
from blathy.meter.objects import OS, Attribute, CosemObject, constant, require
from blathy.models.model import Facility
from blathy.obis import Obis
from blathy.wire.credit_token import CreditToken, ForgedTokenError, open_token
from blathy.wire.errors import RemoteProtocolError

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NUMBERS_KEPT: Final = 64
TOKEN_OCTETS_MAX: Final = 64
"""So much of what was entered is shown again."""
UWH_PER_WH: Final = 1_000_000
_NUMBER_OCTETS: Final = 8
TOKEN, TIME, DESCRIPTION, DELIVERY, STATUS = range(2, 7)


def _status(code: TokenStatus, booked_wh: int = 0) -> Data:
    bits = f"{booked_wh:032b}" if booked_wh else ""
    return axdr.structure(axdr.enum(code), axdr.bits(bits))


class _TokenGateway:
    """What one object does; its state is in the settings of the meter."""

    def __init__(self, obis: Obis) -> None:
        self._obis = obis
        self._numbers = b"tokens:" + bytes(obis)

    def shown(self, number: int, nothing: Data) -> Attribute:
        key, default = bytes(self._obis) + bytes((number,)), axdr.encode(nothing)

        def get(meter: Meter) -> bytes:
            return meter.settings.get(key, default)

        return Attribute(get)

    def enter(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, OS, "a token is an octet-string")
        octets = bytes(data.value)
        status, *lines = self._take(meter, octets)
        shown = {
            TOKEN: axdr.octets(octets[:TOKEN_OCTETS_MAX]),
            TIME: axdr.octets(meter.clock_raw()),
            DESCRIPTION: axdr.array(*(axdr.octets(line.encode()) for line in lines)),
            DELIVERY: axdr.enum(TokenDelivery.REMOTE),
            STATUS: status,
        }
        for number, value in shown.items():
            meter.save_setting(bytes(self._obis) + bytes((number,)), axdr.encode(value))
        return axdr.encode(status)

    def _take(self, meter: Meter, octets: bytes) -> tuple[Data, *tuple[str, ...]]:
        """Book it, if it can be; its status and description."""
        try:
            token = open_token(octets, meter.key("master"), meter.identity.system_title)
        except ForgedTokenError as error:
            meter.record("access_refused")
            return _status(TokenStatus.AUTHENTICATION_FAILURE), str(error)
        except RemoteProtocolError as error:
            return _status(TokenStatus.FORMAT_FAILURE), str(error)
        said = ("credit", f"number {token.number}", f"{token.energy_wh} Wh")
        spent = self._spent(meter)
        if token.number in spent or (len(spent) == NUMBERS_KEPT and token.number < spent[0]):
            return _status(TokenStatus.VALIDATION_FAILURE), *said, "used before, or too old"
        try:
            meter.add_credit(token.energy_wh * UWH_PER_WH)
        except ControlRefusedError as error:
            return _status(TokenStatus.EXECUTION_FAILURE), *said, str(error)
        self._spend(meter, spent, token)
        return _status(TokenStatus.EXECUTION_OK, token.energy_wh), *said

    def _spent(self, meter: Meter) -> list[int]:
        """The highest numbers that were taken, in order."""
        raw = meter.settings.get(self._numbers, b"")
        cuts = (raw[at : at + _NUMBER_OCTETS] for at in range(0, len(raw), _NUMBER_OCTETS))
        return [int.from_bytes(cut, "big") for cut in cuts]

    def _spend(self, meter: Meter, spent: list[int], token: CreditToken) -> None:
        kept = sorted([*spent, token.number])[-NUMBERS_KEPT:]
        packed = b"".join(number.to_bytes(_NUMBER_OCTETS, "big") for number in kept)
        meter.save_setting(self._numbers, packed)


def token_gateway_object(facility: Facility) -> CosemObject:
    """Class 115; before the first token it shows that nothing was received."""
    one = _TokenGateway(facility.obis)
    return CosemObject(
        115, 0, facility.obis, facility.group, facility.title,
        (
            one.shown(TOKEN, axdr.octets(b"")),
            one.shown(TIME, axdr.octets(UNSET.raw())),
            one.shown(DESCRIPTION, axdr.array()),
            one.shown(DELIVERY, axdr.enum(TokenDelivery.REMOTE)),
            one.shown(STATUS, _status(TokenStatus.FORMAT_OK)),
        ),
        (one.enter,),
    )  # fmt: skip


def luhn_digit(digits: str) -> int:
    """The check digit of a primary account number (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 - place % 2)
        total += number // 10 + number % 10
    return -total % 10


def sts_attributes_object(facility: Facility) -> CosemObject:
    """Class 116. A meter without an STS security module takes no STS token: no carrier, no
    algorithm, no supply group, no key; the account number has no issuer and is the serial number.
    The class has no methods, and nothing of it may be written: only key change tokens would."""

    def account(meter: Meter) -> bytes:
        serial = meter.identity.serial
        check = luhn_digit(f"{0:06d}{serial:011d}")
        return axdr.encode(axdr.structure(axdr.u32(0), axdr.u64(serial), axdr.u8(check)))

    nothing = constant(axdr.u8(0))
    return CosemObject(
        116, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(account),
            constant(axdr.visible("electricity")),
            constant(axdr.array()),
            nothing,
            constant(axdr.u32(0)),
            nothing,
            nothing,
            nothing,
            nothing,
            nothing,
            constant(axdr.visible("")),
        ),
    )  # fmt: skip
