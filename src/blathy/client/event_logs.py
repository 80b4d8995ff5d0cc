"""Event logs of a meter: profiles of a time and a code, with what else the log captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from blathy.client.items import Moment
from blathy.client.meter import Meter
from blathy.cosem.names import obis_name
from blathy.obis import Obis
from blathy.transport.errors import Refused

STANDARD_LOG: Final = "0-0:99.98.0"
PROFILE: Final = 7


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """`utc_s` is None where the meter's time stamp says nothing. What a code means stands in the
    companion standard or the manual of the meter."""

    utc_s: int | None
    code: int
    more: dict[str, Any]


async def event_logs(meter: Meter) -> dict[Obis, str]:
    """The logs that the meter has for us, with their names."""
    entries = [e for e in await meter.objects() if e.class_id == PROFILE]
    return {e.obis: obis_name(e.obis) for e in entries if e.obis[2:4] == b"\x63\x62"}


async def read_events(
    meter: Meter, log: str = STANDARD_LOG, since: Moment | None = None, until: Moment | None = None
) -> list[MeterEvent]:
    """The records of a log, the oldest first as the meter keeps them."""
    reading = await meter.profile(log, since, until)
    columns = [c for c in reading.columns if not c.capture.is_clock]
    code = next((c for c in columns if c.values.dtype.kind in "iu"), None)
    if code is None:
        raise Refused(f"{log} captures no event code", "read it as a profile")
    times, listed = reading.times, {str(c.capture.obis): c.to_list() for c in columns}
    own = str(code.capture.obis)
    return [
        MeterEvent(
            int(times.utc_s[row]) if times.valid[row] else None,
            int(code.values[row]),
            {name: values[row] for name, values in listed.items() if name != own},
        )
        for row in range(len(reading))
    ]
