"""What a push says, in the head-end's words: alarms by their register bits, registers, a time.

A push that names its values, or whose object list is known, is understood for any meter; names of
alarm bits come from the model's table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blathy.client.push import Push, PushedValue
from blathy.clock import Zone
from blathy.cosem.axdr import AxdrError
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import CaptureObject
from blathy.headend.collection.conversation import LoggedEvent
from blathy.headend.inventory.registry import Meter
from blathy.headend.operations.events import PUSH_LOG
from blathy.models import MODELS
from blathy.models.model import Model
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity

DEVICE_NAME: Final = Obis(0, 0, 42, 0, 0)
EVENT_CODE: Final = Obis(0, 0, 96, 11, 0)
ALARM_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class PushedReading:
    """A register that a push carried."""

    obis: str
    mantissa: int
    scaler: int
    unit: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """`at`: the time that the push carries, UTC seconds; None where it has none."""

    at: int | None
    alarm_registers: dict[str, int]
    codes: tuple[LoggedEvent, ...]
    """Events that name themselves: an event-notification of an event code."""
    readings: tuple[PushedReading, ...]


def device_name_of(push: Push) -> bytes:
    """The logical device name in a push; empty where it has none."""
    for value in push.values:
        if value.obis == DEVICE_NAME and isinstance(value.value, bytes | str):
            name = value.value
            return name if isinstance(name, bytes) else name.encode()
    return b""


def usual_objects(model: Model) -> tuple[CaptureObject, ...]:
    """What a meter of the tables pushes unless it was set otherwise: clock, name, event code, alarm
    registers."""
    rows = {row.obis: row.class_id for row in model.rows}
    wanted = [DEVICE_NAME, EVENT_CODE, *(o for o in rows if is_alarm_register(o))]
    clock = CaptureObject(8, model.clock.obis, 2)
    return (clock, *(CaptureObject(rows[o], o, 2) for o in wanted if o in rows))


def is_alarm_register(obis: Obis) -> bool:
    """0-b:97.98.0 to 0-b:97.98.9 (IEC 62056-6-1)."""
    return obis.a == 0 and (obis.c, obis.d) == (97, 98) and obis.e < 10


def meaning_of_push(push: Push, meter: Meter) -> Meaning:
    """What a verified push of this meter says. Total: a value of another shape says nothing."""
    registers = {}
    codes: list[LoggedEvent] = []
    readings: list[PushedReading] = []
    at = _time_of(push, meter.zone)
    for value in push.values:
        if value.obis is None:
            continue
        number = value.value
        if is_alarm_register(value.obis):
            if isinstance(number, int) and 0 <= number < 1 << 63:
                registers[str(value.obis)] = number
        elif push.event is not None and (value.obis.c, value.obis.d) == (96, 11):
            if isinstance(number, int) and at is not None:
                codes += _events_of_code(meter, value.obis, number, at)
        else:
            readings += _reading_of(value, meter)
    return Meaning(at, registers, tuple(codes), tuple(readings))


def _time_of(push: Push, zone: Zone) -> int | None:
    """The clock among the values: it stands when the event did, also when a push is repeated."""
    stamps = [v.value for v in push.values if v.class_id == 8]
    for stamp in (*stamps, push.time):
        if isinstance(stamp, CosemDateTime) and not stamp.is_unset:
            try:
                return int(stamp.utc(zone))
            except (AxdrError, ValueError):
                continue
    return None


def _reading_of(value: PushedValue, meter: Meter) -> Iterator[PushedReading]:
    obis, number = str(value.obis), value.value
    if isinstance(number, Quantity):
        yield PushedReading(obis, number.mantissa, number.scaler, SYMBOL.get(number.unit, ""))
        return
    channel = next((c for c in meter.channels if c.obis == obis and c.attribute == 2), None)
    whole = isinstance(number, int) and not isinstance(number, bool)
    if channel is not None and channel.cumulative and whole and value.attribute in {None, 2}:
        assert isinstance(number, int)
        if abs(number) < 1 << 62:
            yield PushedReading(obis, number, channel.scaler, channel.unit)


# -- alarm bits and event codes --------------------------------------------------------------------


def alarms_of(meter: Meter, register: str, bits: int, at: int) -> list[LoggedEvent]:
    """The events that these bits of an alarm register stand for."""
    found = []
    names = _bit_names(MODELS.get(meter.model), register)
    for bit in range(ALARM_BITS):
        if bits >> bit & 1:
            name, phase = names.get(bit, ("alarm_reported", None))
            number = Obis.parse(register).e * ALARM_BITS + bit
            found.append(LoggedEvent(PUSH_LOG, at, number, name, phase))
    return found


def _bit_names(model: Model | None, register: str) -> dict[int, tuple[str, int | None]]:
    """Bit -> neutral name and phase. Events whose codes differ by phase have a bit for each."""
    if model is None:
        return {}
    source = next((r.source.name for r in model.rows if str(r.obis) == register), "")
    number = source.removeprefix("alarm_register_")
    mine = {name: bit for name, (n, bit) in model.alarms.items() if str(n) == number}
    names: dict[int, tuple[str, int | None]] = {bit: (name, None) for name, bit in mine.items()}
    for name, bit in mine.items():
        if isinstance(_code_of(model, name), tuple):
            names[bit] = (name, 1)
            for phase in (2, 3):
                names.setdefault(bit + phase - 1, (name, phase))
    return names


def _code_of(model: Model, name: str) -> int | tuple[int, ...]:
    return next((log.codes[name] for log in model.logs if name in log.codes), 0)


def _events_of_code(meter: Meter, obis: Obis, code: int, at: int) -> list[LoggedEvent]:
    """The event of a code, looked for in the log of the object's number first. Of a code that no
    table knows nothing is said here: the logs are read."""
    model = MODELS.get(meter.model)
    logs = model.logs if model is not None else ()
    for log in sorted(logs, key=lambda each: each.obis.e != obis.e):
        for name, codes in log.codes.items():
            if code == codes:
                return [LoggedEvent(PUSH_LOG, at, code, name)]
            if isinstance(codes, tuple) and code in codes:
                phase = codes.index(code) + 1 if len(set(codes)) > 1 else None
                return [LoggedEvent(PUSH_LOG, at, code, name, phase)]
    return []


def spent(counter: int, highest: int, below: int, window: int) -> tuple[int, int] | None:
    """The window after this counter: (highest, below); None where the counter is spent already.

    Pushes travel on connections of their own and may overtake each other, so the last `window`
    numbers are known one by one; everything lower is spent.
    """
    if counter > highest:
        shift = counter - highest
        moved = (below << shift | 1 << (shift - 1)) if shift <= window else 0
        return counter, moved & ((1 << window) - 1)
    behind = highest - counter
    if behind == 0 or behind > window or below >> (behind - 1) & 1:
        return None
    return highest, below | 1 << (behind - 1)
