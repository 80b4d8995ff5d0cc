"""IEC 62056-21 as a view of the model's rows: readout, single codes, load profile, passwords.

What the readout shows is what the registers say, cut to its own digits. Codes come as the model's
readout table has them, with one leading `1-0:` kept away as the data sheets print them; a maximum
carries its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from blathy.meter.classes.communication_setup import as_set_up, local_address, local_password
from blathy.meter.classes.values import row_value
from blathy.meter.objects import setting_of
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Model, ModelError, ReadoutItem, Row
from blathy.quantity import SYMBOL, Kind, Source, base_of
from blathy.terminals.display import ENERGY_UNITS, POWER_UNITS, format_number
from blathy.wire.iec62056_21 import (
    CommandRefused,
    Identification,
    Iec21Server,
    ServerSettings,
)

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

PROFILE_COMMAND: Final = "R5"
READ_COMMANDS: Final = frozenset({"R1", "R2"})
LEVELS: Final = {1: Level.READER, 2: Level.MANAGEMENT}
"""P1 opens with the reader's password, P2 with that of the management."""
PROFILE_ROWS_MAX: Final = 1000


def stamp(local: datetime) -> str:
    """A time as ZSTs10: season digit, then YYMMDDhhmm."""
    return f"{int(bool(local.dst()))}{local:%y%m%d%H%M}"


class ReadoutDevice:
    """`wire.iec62056_21.Device` of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._rows = {row.obis: row for row in meter.model.rows}
        self._items = {item.code: item for item in meter.model.readout}

    def readout(self, table: str) -> Sequence[str]:
        """All data sets of the list; every table digit gives the standard one."""
        del table
        meter = self._meter
        if meter.catch_up is not None:
            meter.catch_up()
        local = meter.zone.civil(meter.clock_utc_s())
        lines = [self._line(item) for item in meter.model.readout]
        lines += [f"0.9.1({local:%H%M%S})", f"0.9.2({int(bool(local.dst()))}{local:%y%m%d})"]
        return lines

    def _line(self, item: ReadoutItem) -> str:
        return f"{item.code}{self._value(item)}"

    def _value(self, item: ReadoutItem) -> str:
        row = self._rows.get(item.obis)
        unit = f"*{item.unit}" if item.unit else ""
        if row is None:
            return f"({self._parameter(item)})"
        if row.source.kind is Kind.TEXT:
            return f"({self._meter.text(row.source.name).decode('ascii', 'replace')})"
        if item.code == "F.F":
            return f"({row_value(row)(self._meter) or 0:08X})"
        value = row_value(row)(self._meter)
        if value is None:
            return "()"
        scaler = row.scaler - 3 if item.unit.startswith("k") else row.scaler
        before, after = item.digits
        text = format_number(value, scaler, before, after, leading_zeros=True)
        moment = self._moment(item) if item.with_time else ""
        return f"({text}{unit}){moment}"

    def _moment(self, item: ReadoutItem) -> str:
        books = self._meter.books
        try:
            utc_s = books.time_of(self._rows[item.obis].source)
        except LookupError:
            utc_s = None
        return "()" if utc_s is None else f"({stamp(self._meter.zone.civil(utc_s))})"

    def _parameter(self, item: ReadoutItem) -> str:
        parameter = next(p for p in self._meter.model.parameters if p.obis == item.obis)
        data = setting_of(self._meter, parameter.obis, 2)
        return str(parameter.default if data is None else data.value)

    def password(self, level: int, answer: str, seed: str) -> bool:
        """Whether this is the password of the level."""
        del seed
        meter = self._meter
        wanted = LEVELS.get(level)
        association = next((a for a in meter.model.associations if a.level is wanted), None)
        if association is None:
            return False
        secret = meter.identity.passwords.get(association.level, b"")
        own = local_password(meter, level)
        override = own or meter.settings.get(b"secret:" + bytes((association.client_sap,)))
        if compare_digest(answer.encode("utf-8"), override or secret):
            meter.record("local_access")
            return True
        meter.record("authentication_failed", value=association.client_sap)
        return False

    def run(self, name: str, data: str) -> Sequence[str] | None:
        """R1 and R2 read one code, R5 the load profile (`P.01(from;to)`); parameters are written
        over DLMS only."""
        code, _, rest = data.partition("(")
        if name in READ_COMMANDS:
            found = self._items.get(code.strip())
            if found is None:
                raise CommandRefused("ERROR05")
            return [self._value(found)]
        if name == PROFILE_COMMAND and code.strip() == "P.01":
            return self._profile(rest.rstrip(")"))
        raise CommandRefused("ERROR08" if name[:1] == "R" else "ERROR07")

    def _profile(self, span: str) -> list[str]:
        """The load profile as text: a head with status, period and codes, then the values."""
        meter = self._meter
        profile = meter.model.profiles[0]
        view = meter.books.profiles[profile.key]
        newest = view.rows(max(0, len(view) - PROFILE_ROWS_MAX))
        first, _, last = span.partition(";")
        rows = [
            row
            for row in newest.tolist()
            if _within(stamp(meter.zone.civil(int(row[0]))), first, last)
        ]
        if not rows:
            raise CommandRefused("ERROR05")
        kept = meter.ledger.plan.profiles
        columns = next(p.columns for p in kept if p.name == profile.key)
        named = [r for source in columns for r in meter.model.rows if r.source == source]
        minutes = view.period_s // 60
        codes = "".join(f"({str(row.obis).partition(':')[2]})({_unit(row)})" for row in named)
        begin = stamp(meter.zone.civil(int(rows[0][0])))
        lines = [f"P.01({begin})({int(rows[0][1]):02X})({minutes})({len(named)}){codes}"]
        for row in rows:
            cells = zip(columns, row[2:], strict=True)
            lines.append("".join(f"({_cell(source, value)})" for source, value in cells))
        return lines


def _is_kilo(source: Source) -> bool:
    return source.kind is not Kind.COUNTER and base_of(source)[0] in ENERGY_UNITS | POWER_UNITS


def _cell(source: Source, value: int) -> str:
    """A stored value in its unit, energies and powers in k units, three decimals."""
    scaler = base_of(source)[1] - (3 if _is_kilo(source) else 0)
    return format_number(value, scaler, 7, 3, leading_zeros=True)


def _unit(row: Row) -> str:
    return ("k" if _is_kilo(row.source) else "") + SYMBOL[row.shown_unit]


def _within(moment: str, first: str, last: str) -> bool:
    """Whether a stamp lies in the span; season digits do not count."""
    return (not first or moment[1:] >= first[-10:]) and (not last or moment[1:] <= last[-10:])


def identification_of(meter: Meter) -> Identification:
    """What the meter answers to a sign-on request; ValueError where the model has no such port."""
    ordered = mode_of(meter.model, meter.options)
    found = Identification.parse(meter.model.identity.identification)
    if found is None:
        msg = f"{meter.model.name} does not speak IEC 62056-21"
        raise ValueError(msg)
    found = replace(found, baud_character=" ", hdlc=False) if ordered == "A" else found
    return as_set_up(meter, found)


def mode_of(model: Model, options: MeterOptions) -> str:
    """The mode that was ordered or is delivered: A, C, none, or "" for what the identification
    says; ModelError where it cannot be ordered."""
    if not options.iec62056_21:
        return model.iec62056_21[0] if model.iec62056_21 else ""
    if options.iec62056_21 not in model.iec62056_21:
        choice = ", ".join(model.iec62056_21) or "none: its identification fixes the mode"
        msg = f"{model.name} leaves the choice of {choice}, not of {options.iec62056_21!r}"
        raise ModelError(msg)
    return options.iec62056_21


def sign_on_server(meter: Meter) -> Iec21Server | None:
    """The IEC 62056-21 side of a connection; None where the model has no such port."""
    speaks = any("iec62056-21" in port.protocols for port in meter.model.ports)
    if not speaks or mode_of(meter.model, meter.options) == "none":
        return None
    serial = meter.identity.serial_text
    address = local_address(meter) or serial
    settings = ServerSettings(identification_of(meter), address=address, seed=serial)
    return Iec21Server(settings, ReadoutDevice(meter))
