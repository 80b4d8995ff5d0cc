"""The M-Bus behind a meter: it is the master, sub-meters are slaves, and they speak in real frames.

Every channel that has a primary address is read once in its capture period (an hour as delivered),
and when its client object is told to. What the meter has read goes into the objects of the channel,
and what has been counted since into the books, like pulses behind the real inputs; another device
at a channel counts on from where the one before has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.meter.classes.mbus_client import (
    ADDRESS_MAX,
    ANY_DEVICE,
    Device,
    MbusReading,
    bind,
    bound_address,
    capture_period_s,
    captured_information,
    key_in_use,
    key_was_used,
    user_key,
)
from blathy.meter.classes.mbus_diagnostic import Exchange
from blathy.meter.meter import Meter
from blathy.quantity import SYMBOL, Kind, Source, Unit
from blathy.registers.block import Block
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.mbus import (
    Acknowledged,
    Header,
    MasterEvent,
    MbusMaster,
    MbusSlave,
    NoAnswer,
    Reading,
    Record,
    manufacturer_code,
    record_bytes,
)

EXCHANGES_MAX: Final = 64
_COUNTED_UNITS: Final = {"m³", "Wh"}
_CODES: Final = {symbol: unit for unit, symbol in reversed(SYMBOL.items())}
_COUNTED: Final = b"mbus-counted:"


@dataclass(slots=True)
class Channel:
    """A slave on the bus, and the time that it goes by."""

    number: int
    slave: MbusSlave
    at_utc_s: list[int]


@dataclass(slots=True)
class Bus:
    """The master's side of one meter's M-Bus."""

    meter: Meter
    channels: list[Channel] = field(default_factory=list)
    silent: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.meter.mbus = self

    def attach(self, number: int, make_slave: Callable[[Callable[[], int]], MbusSlave]) -> Channel:
        """Wire a slave, and install it at this channel where nothing was ever installed or
        deinstalled there. `make_slave` gets a function that tells the time."""
        at = [self.meter.ledger.now]
        channel = Channel(number, make_slave(lambda: at[0]), at)
        self.channels.append(channel)
        if bound_address(self.meter, number) is None:
            bind(self.meter, number, channel.slave.primary_address)
        return channel

    def feed(self, block: Block) -> Block:
        """The block with what the sub-meters have counted, read when their periods end in it."""
        due = self._due(block)
        if not due:
            return block
        inputs = self.meter.model.pulse_inputs()
        width = inputs + self.meter.model.mbus_channels()
        pulses = np.zeros((len(block), width), dtype=np.int64)
        if block.pulses is not None:
            pulses[:, : block.pulses.shape[1]] = block.pulses
        for channel, moments in due.items():
            column = inputs + channel - 1
            counted = self._counted(column + 1)
            for moment in moments:
                row = (moment - block.start_utc_s) // block.step_s
                reading = self._read(channel, moment) if block.supply[row] else None
                if reading is None or reading.count is None:
                    continue
                more = reading.count + self._begun_at(channel, reading, counted) - counted
                if more > 0:
                    pulses[row, column] += more
                    counted += more
        return replace(block, pulses=pulses)

    def _due(self, block: Block) -> dict[int, range]:
        """When each channel is to be read in the block; at most once in a step."""
        if not self.channels:
            return {}
        found: dict[int, range] = {}
        for channel in range(1, self.meter.model.mbus_channels() + 1):
            period_s = capture_period_s(self.meter, channel)
            if not period_s or not bound_address(self.meter, channel):
                continue
            period_s = max(period_s, block.step_s)
            first = -(-block.start_utc_s // period_s) * period_s
            if moments := range(first, block.end_utc_s, period_s):
                found[channel] = moments
        return found

    def _counted(self, number: int) -> int:
        return self.meter.ledger.snapshot().value(Source(Kind.COUNTER, name=f"pulses_{number}"))

    def _begun_at(self, channel: int, reading: MbusReading, counted: int) -> int:
        """What the channel's counter is ahead of the device's register: 0 for the first device."""
        name = _COUNTED + bytes((channel,))
        device = reading.device.identification.to_bytes(4, "big")
        device += reading.device.manufacturer.to_bytes(2, "big")
        kept = self.meter.settings.get(name, b"")
        if kept.startswith(device):
            return int.from_bytes(kept[len(device) :], "big", signed=True)
        ahead = counted - (reading.count or 0) if kept else 0
        self.meter.save_setting(name, device + ahead.to_bytes(8, "big", signed=True))
        return ahead

    # --- what the client objects ask for (MbusPort) -----------------------------------------------

    def install(self, channel: int, address: int, taken: Collection[int], wanted: Device) -> int:
        """As MbusPort says."""
        line = _Line(self, self.meter.ledger.now)
        try:
            if address and line.has(address, wanted):
                return address
            if line.has(0, wanted):
                free = (n for n in range(1, ADDRESS_MAX + 1) if n not in taken)
                chosen = address or next((n for n in free if not line.answers(n)), 0)
                return chosen if chosen and line.write(0, record_bytes(0x01, [0x7A], chosen)) else 0
            known = (n for n in range(1, ADDRESS_MAX + 1) if n not in taken and not address)
            return next((n for n in known if line.has(n, wanted)), 0)
        finally:
            self.meter.keep_mbus_exchange(channel, line.traffic)

    def read(self, channel: int) -> bool:
        """As MbusPort says."""
        reading = self._read(channel, self.meter.ledger.now)
        return reading is not None and reading.mantissa is not None

    def write(self, channel: int, records: bytes) -> bool:
        """As MbusPort says."""
        line = _Line(self, self.meter.ledger.now)
        taken = line.write(bound_address(self.meter, channel) or 0, records)
        self.meter.keep_mbus_exchange(channel, line.traffic)
        return taken

    def _read(self, channel: int, utc_s: int) -> MbusReading | None:
        """Read a channel over the wire; None where its device keeps silent, or sends in the clear
        although its key is in use."""
        line = _Line(self, utc_s)
        address = bound_address(self.meter, channel) or 0
        reading = line.read(address, user_key(self.meter, channel))
        self.meter.keep_mbus_exchange(channel, line.traffic)
        in_clear = reading is not None and not reading.encrypted
        if (
            reading is None
            or reading.header is None
            or (in_clear and key_in_use(self.meter, channel))
        ):
            self.silent.add(channel)
            return None
        self.silent.discard(channel)
        kept = _reading_of(reading, utc_s, captured_information(self.meter, channel))
        self.meter.keep_mbus_reading(channel, kept)
        if reading.encrypted and kept.mantissa is not None:
            key_was_used(self.meter, channel)
        return kept


def _reading_of(reading: Reading, utc_s: int, wanted: bytes) -> MbusReading:
    """The header, the record that is counted (the first in a unit that a channel counts), and the
    one that is wanted: with these information blocks, or else the same."""
    header = reading.header
    assert header is not None
    numbers = [r for r in reading.records if isinstance(r.value, int)]
    counted = next((r for r in numbers if r.vif.unit in _COUNTED_UNITS), None)
    found = next((r for r in numbers if r.information == wanted), None) if wanted else counted
    return MbusReading(
        _number(found),
        found.vif.scaler if found is not None else 0,
        _unit_of(found),
        utc_s,
        _device_of(header),
        header.access_number,
        header.status,
        header.signature,
        _number(counted),
    )


def _number(record: Record | None) -> int | None:
    return record.value if record is not None and isinstance(record.value, int) else None


def _unit_of(record: Record | None) -> int:
    """Its unit as scaler_unit has it; `other` where that has none."""
    if record is None or not record.vif.unit:
        return Unit.COUNT
    return _CODES.get(record.vif.unit, Unit.OTHER)


def _device_of(header: Header) -> Device:
    maker = manufacturer_code(header.manufacturer)
    return Device(header.identification, maker, header.version, header.medium)


@dataclass(slots=True)
class _Line:
    """The wires for the time of one task, at one moment of the slaves."""

    bus: Bus
    utc_s: int
    traffic: Exchange = field(default_factory=lambda: Exchange(0, 0))

    def answers(self, address: int) -> bool:
        return self.read(address) is not None

    def read(self, address: int, key: bytes = b"") -> Reading | None:
        master = MbusMaster()
        master.read(address, Instant(0), key)
        event = self._exchange(master)
        return event if isinstance(event, Reading) else None

    def has(self, address: int, wanted: Device) -> bool:
        """Whether a device answers at this address, and it is the wanted one."""
        found = self.read(address)
        if found is None:
            return False
        return wanted.fits(ANY_DEVICE if found.header is None else _device_of(found.header))

    def write(self, address: int, records: bytes) -> bool:
        master = MbusMaster()
        master.write(address, records, Instant(0))
        return isinstance(self._exchange(master), Acknowledged)

    def _exchange(self, master: MbusMaster) -> MasterEvent | None:
        """Until the master is done; None where an answer broke the standard. Devices that answer
        at the same time are not understood."""
        for channel in self.bus.channels:
            channel.at_utc_s[0] = self.utc_s
        now = Instant(0)
        for _ in range(EXCHANGES_MAX):
            request = master.to_send()
            self._count(sent=bool(request))
            answers = [a for c in self.bus.channels for a in c.slave.receive(request, now)]
            if len(answers) > 1:
                self._count(garbled=1)
            elif answers:
                try:
                    events = master.receive(answers[0], now)
                except RemoteProtocolError:
                    self._count(garbled=1)
                    return None
                self._count(received=1)
                if events:
                    return events[0]
            due = master.deadline()
            if due is not None and master.waiting:  # nothing to send and no answer
                now = Instant(max(int(due), now + NANOSECONDS_PER_S))
                if events := master.tick(now):
                    return events[0]
        return NoAnswer(0)

    def _count(self, sent: int = 0, received: int = 0, garbled: int = 0) -> None:
        t = self.traffic
        self.traffic = Exchange(t.sent + sent, t.received + received, t.garbled + garbled)
