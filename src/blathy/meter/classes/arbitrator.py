"""Arbitrator (class 68): which of several actors' requests is carried out.

An actor asks for actions, one bit each; what it is not permitted is left out, and what remains
stands as its request until it asks anew or the arbitrator is reset. Then the weights of all
standing requests are added up per action, and the script of the heaviest action runs. Actors and
actions count from 1.

Our choice where our sources say nothing: a request of which nothing is permitted is refused and
changes nothing; a request without any bit withdraws the actor's own; of equal weights the lower
action runs; without any weight none does, and last_outcome is 0. New actions, permissions or
weights clear the requests. Who may call the method may speak for any actor: the table of
associations knows no actors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.classes.scripts import require_script, run_script
from blathy.meter.classes.supply import DISCONNECT_SCRIPTS
from blathy.meter.objects import (
    ACTION_ITEM,
    BITS,
    U8,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    refused,
    require,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 68
ACTIONS: Final = 2
PERMISSIONS: Final = 3
WEIGHTS: Final = 4
REQUESTS: Final = 5
OUTCOME: Final = 6
ACTIONS_MAX: Final = 32
ACTORS_MAX: Final = 16
REQUEST: Final = structure_shape(U8, BITS)


def _item(selector: int) -> Data:
    return axdr.structure(axdr.octets(DISCONNECT_SCRIPTS), axdr.u16(selector))


DELIVERED: Final = {
    ACTIONS: axdr.array(_item(1), _item(2)),
    PERMISSIONS: axdr.array(axdr.bits("11"), axdr.bits("11"), axdr.bits("01")),
    WEIGHTS: axdr.array_of(
        axdr.array(axdr.u16(off), axdr.u16(on)) for off, on in ((200, 150), (100, 50), (0, 25))
    ),
}
"""Disconnecting and reconnecting: the utility before the account, both before the customer, who
may only ask to be connected."""
SHAPES: Final = {
    ACTIONS: array_shape(ACTION_ITEM),
    PERMISSIONS: array_shape(BITS),
    WEIGHTS: array_shape(array_shape(U16)),
}


class _Arbitrator:
    """What one object does; tables and requests are in the settings of the meter."""

    def __init__(self, obis: Obis) -> None:
        self._obis = bytes(obis)
        self._delivered = {number: axdr.encode(data) for number, data in DELIVERED.items()}

    def _key(self, number: int) -> bytes:
        return self._obis + bytes((number,))

    def _table(self, meter: Meter, number: int) -> Data:
        return axdr.decode(meter.settings.get(self._key(number), self._delivered[number]))

    def table(self, number: int) -> Attribute:
        """One of the three tables that are configured."""

        def get(meter: Meter) -> bytes:
            return meter.settings.get(self._key(number), self._delivered[number])

        def write(meter: Meter, data: Data, who: Requester) -> None:
            require(data, SHAPES[number])
            if len(data.value) > (ACTIONS_MAX if number == ACTIONS else ACTORS_MAX):
                raise AccessError(DataAccessResult.OTHER_REASON, "too many entries")
            for item in data.value if number == ACTIONS else ():
                require_script(meter, item, who)
            meter.save_setting(self._key(number), axdr.encode(data))
            self.forget(meter)

        return Attribute(get, personal_set=write)

    def forget(self, meter: Meter) -> None:
        for number in (REQUESTS, OUTCOME):
            meter.drop_settings(self._key(number))

    def requests(self, meter: Meter) -> list[str]:
        """The standing request of every actor, one bit per action."""
        raw = meter.settings.get(self._key(REQUESTS))
        if raw is not None:
            return [str(each.value) for each in axdr.decode(raw).value]
        actions = len(self._table(meter, ACTIONS).value)
        return ["0" * actions] * len(self._table(meter, PERMISSIONS).value)

    def requests_data(self, meter: Meter) -> bytes:
        return axdr.encode(axdr.array_of(axdr.bits(each) for each in self.requests(meter)))

    def outcome(self, meter: Meter) -> bytes:
        return meter.settings.get(self._key(OUTCOME), axdr.encode_u8(0))

    def request(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, REQUEST, "an actor and the actions it asks for")
        actor, asked = int(data.value[0].value), str(data.value[1].value)
        standing = self.requests(meter)
        if not 1 <= actor <= len(standing) or not asked or len(asked) != len(standing[actor - 1]):
            raise refused("there is no such actor, or not so many actions")
        row = str(self._table(meter, PERMISSIONS).value[actor - 1].value)
        permitted = row.ljust(len(asked), "0")[: len(asked)]
        kept = f"{int(asked, 2) & int(permitted, 2):0{len(asked)}b}"
        if "1" in asked and "1" not in kept:
            raise refused("this actor may ask for none of these actions")
        standing[actor - 1] = kept
        winner = self._winner(meter, standing)
        if winner:
            run_script(meter, self._table(meter, ACTIONS).value[winner - 1])
        requests = axdr.array_of(axdr.bits(each) for each in standing)
        meter.save_setting(self._key(REQUESTS), axdr.encode(requests))
        meter.save_setting(self._key(OUTCOME), axdr.encode_u8(winner))
        return b""

    def _winner(self, meter: Meter, standing: list[str]) -> int:
        """The heaviest action, from 1; 0 where nothing weighs anything."""
        weights = [[int(w.value) for w in row.value] for row in self._table(meter, WEIGHTS).value]
        actions = len(self._table(meter, ACTIONS).value)
        sums = [0] * actions
        for requested, row in zip(standing, weights, strict=False):
            for action, (bit, weight) in enumerate(zip(requested, row, strict=False)):
                sums[action] += weight * (bit == "1")
        heaviest = max(sums, default=0)
        return sums.index(heaviest) + 1 if heaviest else 0

    def reset(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        self.forget(meter)
        return b""


def arbitrator_object(facility: Facility) -> CosemObject:
    """Class 68, version 0."""
    one = _Arbitrator(facility.obis)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            *(one.table(number) for number in (ACTIONS, PERMISSIONS, WEIGHTS)),
            Attribute(one.requests_data),
            Attribute(one.outcome),
        ),
        (one.request, one.reset),
    )  # fmt: skip
