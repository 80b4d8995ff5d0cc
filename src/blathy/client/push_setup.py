"""What a meter pushes, where to and how stubbornly (class 40)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from blathy.client.items import Item, parse_obis
from blathy.client.meter import Meter
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import TransportService
from blathy.cosem.service import AttributeRef
from blathy.transport.errors import Garbled

PUSH_SETUP: Final = "0-0:25.9.0"
PUSH_CLASS: Final = 40


@dataclass(frozen=True, slots=True)
class PushSetup:
    """`destination` is host:port for TCP and UDP. `repetition_delay_s` is between two tries."""

    objects: tuple[AttributeRef, ...]
    service: TransportService
    destination: str
    randomisation_s: int
    retries: int
    repetition_delay_s: int


async def push_setup(meter: Meter, obis: str = PUSH_SETUP) -> PushSetup:
    """How the meter is set to push."""
    listed, method, spread, retries, delay = [
        await meter.get_data(_ref(obis, number)) for number in (2, 3, 5, 6, 7)
    ]
    try:
        service, destination, _message = method.value
        first = delay.value[0].value if delay.type is axdr.DataType.STRUCTURE else delay.value
        return PushSetup(
            tuple(_object(element) for element in listed.value),
            TransportService(service.value),
            bytes(destination.value).decode("utf-8", "replace"),
            int(spread.value), int(retries.value), int(first),
        )  # fmt: skip
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise Garbled(f"{meter.address.place}: {obis} has an odd form: {error}", "use get") from (
            error
        )


async def set_push(
    meter: Meter,
    *,
    destination: str = "",
    service: TransportService = TransportService.TCP,
    objects: Sequence[Item] = (),
    randomisation_s: int | None = None,
    retries: int | None = None,
    obis: str = PUSH_SETUP,
) -> None:
    """Set what is given and leave the rest."""
    version = (await meter.find(parse_obis(obis), PUSH_CLASS)).version
    if objects:
        refs = [await meter.reference(item) for item in objects]
        elements = [_element(ref, version) for ref in refs]
        await meter.set(_ref(obis, 2), axdr.array(*elements))
    if destination:
        to = axdr.structure(
            axdr.enum(int(service)), axdr.octets(destination.encode()), axdr.enum(0)
        )
        await meter.set(_ref(obis, 3), to)
    if randomisation_s is not None:
        await meter.set(_ref(obis, 5), axdr.u16(randomisation_s))
    if retries is not None:
        await meter.set(_ref(obis, 6), axdr.u8(retries))


async def push_now(meter: Meter, obis: str = PUSH_SETUP) -> None:
    """Let the meter push at once."""
    await meter.action(obis, "push")


def _ref(obis: str, attribute: int) -> AttributeRef:
    return AttributeRef(PUSH_CLASS, parse_obis(obis), attribute)


def _object(element: Data) -> AttributeRef:
    class_id, obis, attribute = element.value[:3]
    code: Any = obis.value
    return AttributeRef(class_id.value, parse_obis(".".join(map(str, code))), attribute.value)


def _element(ref: AttributeRef, version: int) -> Data:
    """A push object: the whole attribute; from version 1 on without restriction."""
    fields = [
        axdr.u16(ref.class_id), axdr.octets(ref.obis), axdr.i8(ref.attribute), axdr.u16(0),
    ]  # fmt: skip
    if version >= 1:
        fields.append(axdr.structure(axdr.enum(0), axdr.null()))
    if version >= 2:
        fields.append(axdr.array())
    return axdr.structure(*fields)
