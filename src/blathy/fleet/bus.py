"""The M-Bus behind a meter: it is the master, sub-meters are slaves, and they speak in real frames.

The meter reads its bus at every full hour, and a channel when its client object is told to. What
it has read goes into the objects of the channel, and what has been counted since the last full hour
into the books, like pulses behind the real inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.meter.classes.mbus_client import CAPTURE_COMMAND as CAPTURE
from blathy.meter.classes.mbus_client import MbusReading
from blathy.meter.classes.mbus_diagnostic import Exchange
from blathy.meter.meter import Meter
from blathy.quantity import Kind, Source, Unit
from blathy.registers.block import Block
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.mbus import MbusMaster, MbusSlave, Reading, manufacturer_code

PERIOD_S: Final = 3600
EXCHANGES_MAX: Final = 64
_UNITS: Final = {"m³": Unit.CUBIC_METRE, "Wh": Unit.WH}


@dataclass(slots=True)
class Channel:
    """A slave on the bus. `records(utc_s)` gives the data records it answers with then."""

    number: int
    primary_address: int
    slave: MbusSlave
    at_utc_s: list[int]


@dataclass(slots=True)
class Bus:
    """The master's side of one meter's M-Bus."""

    meter: Meter
    channels: list[Channel] = field(default_factory=list)
    silent: set[int] = field(default_factory=set)

    def attach(self, number: int, make_slave: Callable[[Callable[[], int]], MbusSlave]) -> Channel:
        """Connect a slave to a channel. `make_slave` gets a function that tells the time."""
        at = [0]
        slave = make_slave(lambda: at[0])
        channel = Channel(number, slave.primary_address, slave, at)
        self.channels.append(channel)
        return channel

    def feed(self, block: Block) -> Block:
        """The block with what the sub-meters have counted, read at the full hours inside it;
        channels that are to be read now are read at its beginning."""
        if block.supply[0]:
            self._capture(block.start_utc_s)
        first = -(-block.start_utc_s // PERIOD_S) * PERIOD_S
        hours = range(first, block.end_utc_s, PERIOD_S)
        if not hours or not self.channels:
            return block
        inputs = self.meter.model.pulse_inputs()
        width = inputs + self.meter.model.mbus_channels()
        pulses = np.zeros((len(block), width), dtype=np.int64)
        if block.pulses is not None:
            pulses[:, : block.pulses.shape[1]] = block.pulses
        for channel in self.channels:
            column = inputs + channel.number - 1
            counted = self._counted(column + 1)
            for hour in hours:
                row = (hour - block.start_utc_s) // block.step_s
                reading = self.read(channel, hour) if block.supply[row] else None
                if reading is None:
                    continue
                more = reading.mantissa - counted
                if more > 0:
                    pulses[row, column] += more
                    counted = reading.mantissa
        return replace(block, pulses=pulses)

    def _capture(self, utc_s: int) -> None:
        """Read the channels whose client object was told to capture (class 72, method 3)."""
        outbox = self.meter.outbox
        told = {c.client[1] for c in outbox.mbus if c.name == CAPTURE}
        if not told:
            return
        outbox.mbus = [c for c in outbox.mbus if c.name != CAPTURE]
        for channel in self.channels:
            if channel.number in told:
                self.read(channel, utc_s)

    def _counted(self, number: int) -> int:
        return self.meter.ledger.snapshot().value(Source(Kind.COUNTER, name=f"pulses_{number}"))

    def read(self, channel: Channel, utc_s: int) -> MbusReading | None:
        """Read one slave over the wire; None where it keeps silent."""
        channel.at_utc_s[0] = utc_s
        master = MbusMaster()
        now = Instant(0)
        sent = received = 0
        reading: Reading | None = None
        try:
            master.read(channel.primary_address, now)
            for _ in range(EXCHANGES_MAX):
                request = master.to_send()
                sent += bool(request)
                for answer in channel.slave.receive(request, now):
                    events = master.receive(answer, now)
                    received += 1
                    reading = next((e for e in events if isinstance(e, Reading)), reading)
                due = master.deadline()
                if reading is not None or due is None:
                    break
                if master.waiting:  # nothing to send and no answer: the slave kept silent
                    now = Instant(max(int(due), now + NANOSECONDS_PER_S))
                    if master.tick(now):
                        break
            exchange = Exchange(sent, received)
        except RemoteProtocolError:
            exchange = Exchange(sent, received, 1)
        self.meter.keep_mbus_exchange(channel.number, exchange)
        if reading is not None:
            return self._keep(channel, reading, utc_s)
        self.silent.add(channel.number)
        return None

    def _keep(self, channel: Channel, reading: Reading, utc_s: int) -> MbusReading | None:
        value = next((r for r in reading.records if r.vif.unit in _UNITS), None)
        if value is None or not isinstance(value.value, int) or reading.header is None:
            return None
        self.silent.discard(channel.number)
        header = reading.header
        kept = MbusReading(
            value.value,
            value.vif.scaler,
            _UNITS[value.vif.unit],
            utc_s,
            header.identification,
            manufacturer_code(header.manufacturer),
            header.version,
            header.medium,
            header.access_number,
            header.status,
        )
        self.meter.keep_mbus_reading(channel.number, kept)
        return kept
