"""Single actions that are due, and the passive calendar's time: looked at every minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.cosem_time import CosemDateTime, date_of, time_of
from blathy.meter.classes.calendar import activate_planned
from blathy.meter.classes.scripts import own_authority, scripts_of
from blathy.meter.objects import setting_of
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

MINUTE_S: Final = 60
CATCH_UP_MINUTES: Final = 1440
"""Minutes that are looked through after a longer step; older moments have passed unused."""
_ROLES: Final = {bytes(Obis(0, 0, 10, 0, 107)): "image", bytes(Obis(0, 0, 10, 0, 108)): "push"}


def due_scripts(meter: Meter, before_true_s: int) -> Iterator[Callable[[], None]]:
    """What has to run for the minutes that began since `before_true_s` (true time)."""
    after_s = meter.ledger.now
    if before_true_s // MINUTE_S == after_s // MINUTE_S:
        return
    offset_s = meter.clock_offset_s()
    first = before_true_s // MINUTE_S + 1
    last = after_s // MINUTE_S
    minutes = range(max(first, last - CATCH_UP_MINUTES + 1), last + 1)
    for facility in meter.model.facilities:
        if facility.class_id == 20 and not meter.is_off(facility.obis):
            yield from _due_calendar(meter, facility.obis, after_s + offset_s)
        if facility.class_id != 22 or facility.role == "billing" or meter.is_off(facility.obis):
            continue
        times = setting_of(meter, facility.obis, 4)
        script = setting_of(meter, facility.obis, 2)
        if times is None or not times.value:
            continue
        if any(_matches(meter, times, minute * MINUTE_S + offset_s) for minute in minutes):
            yield _runner(meter, facility.role, script)


def _matches(meter: Meter, times: Data, utc_s: int) -> bool:
    local = meter.zone.civil(utc_s)
    second = local.hour * 3600 + local.minute * 60
    for entry in times.value:
        try:
            if time_of(entry.value[0]).matches(second) and date_of(entry.value[1]).matches(
                local.date()
            ):
                return True
        except AxdrError:
            continue
    return False


def _runner(meter: Meter, role: str, script: Data | None) -> Callable[[], None]:
    number = 1
    if script is not None:
        role = _ROLES.get(bytes(script.value[0].value), role)
        number = int(script.value[1].value)
    actions = scripts_of(meter.model, role).get(number, ())

    def run() -> None:
        who = own_authority(meter)
        for action in actions:
            meter.tree.run(meter, action, who)

    return run


def _due_calendar(meter: Meter, obis: Obis, utc_s: int) -> Iterator[Callable[[], None]]:
    planned = setting_of(meter, obis, 10)
    if planned is None:
        return
    try:
        moment = CosemDateTime.of(bytes(planned.value))
        if moment.is_unset or int(moment.utc(meter.zone)) > utc_s:
            return
    except AxdrError:
        return
    yield lambda: activate_planned(meter, obis)
