"""Selling energy to a prepayment meter by credit tokens (Token gateway, class 115).

token = new_token(meter, energy_wh=5000)     # octets; hand them over, or
answer = await enter_token(meter, token)     # enter them at once
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from blathy.client.meter import Meter
from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.classes.enumerations import TokenStatus
from blathy.transport.errors import Garbled, Refused
from blathy.wire.credit_token import CreditToken, make_token
from blathy.wire.errors import LocalProtocolError

GATEWAY: Final = "0-0:19.40.0"
_MEANING: Final = {
    TokenStatus.FORMAT_FAILURE: "it is no token",
    TokenStatus.AUTHENTICATION_FAILURE: "it is forged, or was made for another meter",
    TokenStatus.VALIDATION_FAILURE: "it was used before, or is too old",
    TokenStatus.EXECUTION_FAILURE: "prepayment is off, or the account full; try it again then",
}


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the meter said of a token, and what it booked."""

    status: TokenStatus
    booked_wh: int = 0

    @property
    def booked(self) -> bool:
        return self.status is TokenStatus.EXECUTION_OK

    @property
    def meaning(self) -> str:
        if self.booked:
            return f"{self.booked_wh} Wh are booked"
        return _MEANING.get(self.status, "it is not booked yet")


def new_token(meter: Meter, energy_wh: int, number: int | None = None) -> bytes:
    """A token for this meter, under the master key of its address. `number` None: milliseconds of
    now, so that whoever sells more than once in one must count by themselves."""
    address = meter.address
    title = meter.system_title or address.meter_title
    chosen = time.time_ns() // 1_000_000 if number is None else number
    try:
        return make_token(CreditToken(chosen, energy_wh), address.keys.master, title)
    except LocalProtocolError as error:
        raise Refused(
            f"{address.place}: {error}", "give kek= and, unciphered, meter_title="
        ) from error


async def enter_token(meter: Meter, token: bytes, code: str = GATEWAY) -> TokenAnswer:
    """Enter a token at the meter; what became of it."""
    answer = await meter.action(code, "enter", axdr.octets(token))
    if not isinstance(answer, Data) or not _is_status(answer):
        raise Garbled(
            f"{meter.address.place}: {code} tells no token status", "read its attribute 6"
        )
    status, bits = (field.value for field in answer.value)
    return TokenAnswer(TokenStatus(status), int(bits, 2) if bits else 0)


def _is_status(answer: Data) -> bool:
    if answer.type is not DataType.STRUCTURE or len(answer.value) != 2:
        return False
    status, bits = answer.value
    return status.value in set(TokenStatus) and bits.type is DataType.BIT_STRING
