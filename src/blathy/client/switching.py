"""The supply breaker and load relays of a meter (class 70): state, off, on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.client.items import parse_obis
from blathy.client.meter import Meter
from blathy.cosem.classes.enumerations import ControlState
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.transport.errors import Garbled, Refused

DISCONNECT_CONTROL: Final = 70
SUPPLY: Final = Obis(0, 0, 96, 3, 10)


@dataclass(frozen=True, slots=True)
class SwitchState:
    """`closed`: current may flow. `ready`: somebody has to press the button at the meter."""

    obis: Obis
    closed: bool
    control_state: ControlState
    control_mode: int

    @property
    def ready(self) -> bool:
        return self.control_state is ControlState.READY_FOR_RECONNECTION


async def switches(meter: Meter) -> list[Obis]:
    """The codes of the breaker and the relays that the meter has for us."""
    return [e.obis for e in await meter.objects() if e.class_id == DISCONNECT_CONTROL]


async def switch_state(meter: Meter, obis: str | Obis | None = None) -> SwitchState:
    """How a switch stands: the supply breaker, or the one named."""
    code = await _code(meter, obis)
    closed, state, mode = [
        (await meter.read_many([AttributeRef(DISCONNECT_CONTROL, code, n)]))[0].get()
        for n in (2, 3, 4)
    ]
    if not isinstance(state, int) or not isinstance(mode, int):
        raise Garbled(f"{meter.address.place}: {code} tells no state", "see it with --raw")
    try:
        return SwitchState(code, bool(closed), ControlState(state), mode)
    except ValueError as error:
        raise Garbled(f"{meter.address.place}: {code}: {error}", "see it with --raw") from error


async def disconnect(meter: Meter, obis: str | Obis | None = None) -> SwitchState:
    """Open a switch; how it stands then."""
    return await _switched(meter, obis, "remote_disconnect")


async def reconnect(meter: Meter, obis: str | Obis | None = None) -> SwitchState:
    """Close a switch, or where its mode wants a hand at the meter, make it ready for that."""
    return await _switched(meter, obis, "remote_reconnect")


async def _switched(meter: Meter, obis: str | Obis | None, method: str) -> SwitchState:
    code = await _code(meter, obis)
    await meter.call(code, method)
    return await switch_state(meter, code)


async def _code(meter: Meter, obis: str | Obis | None) -> Obis:
    if obis is not None:
        named = parse_obis(obis) if isinstance(obis, str) else obis
        return (await meter.find(named, DISCONNECT_CONTROL)).obis
    found = await switches(meter)
    if SUPPLY in found or len(found) == 1:
        return SUPPLY if SUPPLY in found else found[0]
    if not found:
        raise Refused(
            f"{meter.address.place} has no switch for client {meter.address.client}",
            "use another client=, or it has no breaker",
        )
    raise Refused(
        f"{meter.address.place} has several switches", f"name one: {', '.join(map(str, found))}"
    )
