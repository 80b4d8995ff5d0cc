"""Charge (class 113): what is taken from the credit beside the energy that is used.

All amounts are in the currency of the account: energy, shown in Wh. A charge is collected while the
account is active, by its type:

- time based: once in each `period`, the price of the rate in force;
- consumption based: at the end of each `period`, the energy imported in it times the price of the
  rate under which it was;
- payment event based: of each purchase, `proportion` where the charge is percentage based, else
  the price; those of the lowest priority number first, never more than the purchase.

Without "continuous collection" it takes no more than `total_amount_remaining`, as the recovery of a
debt does; with it, it goes on when nothing remains, as a standing charge does. Periods run on the
meter's true time from when the account is activated, or the type or the period is written: no
setting of the clock makes one longer, and those that ended during an outage are collected when
power returns. A period of 0 collects nothing by itself. Collecting may bring the credit below zero;
then the supply is cut as when it is used up.

Types of the attributes stand in one source. Our reading where there was none to compare: a price is
`charge_per_unit` * 10^`price_scale` kWh for 10^`commodity_scale` Wh (or for one period, or one
purchase); the index of a price is empty (every rate that has none of its own) or one octet, the
rate; `update_unit_charge` puts prices into the passive table; `collect` collects now, whatever
`period` says; the commodity is the meter's A+.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import ChargeType
from blathy.cosem.cosem_time import UNSET, CosemDateTime, CosemTimeError
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.deciding import Decider, Span
from blathy.meter.objects import (
    BITS,
    ENUM,
    I8,
    I16,
    I32,
    OS,
    OS_DT,
    U8,
    U16,
    U32,
    VALUE_DEFINITION,
    Attribute,
    CosemObject,
    Method,
    array_shape,
    refused,
    require,
    setting,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.quantity import Kind, Measure, Source
from blathy.registers.block import Block
from blathy.registers.snapshot import Snapshot

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 113
TYPE, PRIORITY, ACTIVE, PASSIVE, ACTIVATION, PERIOD, CONFIGURATION, PROPORTION = (
    3, 4, 5, 6, 7, 8, 9, 13,
)  # fmt: skip
PRICES_MAX: Final = 16
PRICE_SCALES: Final = range(-9, 4)
COMMODITY_SCALES: Final = range(-6, 10)
WHOLE: Final = 10_000
"""100 % as a proportion."""
EVERY_RATE: Final = b""
_UWH_PER_WH: Final = 1_000_000
_KWH_EXPONENT: Final = 9
_WH_EXPONENT: Final = 6
"""10^9 and 10^6 µWh."""
_LIMIT: Final = (1 << 31) - 1
_PRICE: Final = structure_shape(OS, I16)
_PRICES: Final = array_shape(_PRICE)
_UNIT_CHARGE: Final = structure_shape(structure_shape(I8, I8), VALUE_DEFINITION, _PRICES)
_NOTHING: Final = axdr.structure(axdr.u16(0), axdr.octets(bytes(6)), axdr.i8(0))
_FREE: Final = axdr.structure(axdr.structure(axdr.i8(0), axdr.i8(-3)), _NOTHING, axdr.array())


@dataclass(frozen=True, slots=True)
class Tally:
    """What is remembered of the collections, in uWh. `due_s` is true time, 0 while it does not
    run; `since` are the registers at the last collection: A+ and that of each priced rate."""

    paid_uwh: int = 0
    remaining_uwh: int = 0
    last_uwh: int = 0
    last_utc_s: int = 0
    due_s: int = 0
    since: tuple[int, ...] = ()

    @classmethod
    def of(cls, raw: bytes) -> Self:
        cells = [
            int.from_bytes(raw[at : at + 8], "big", signed=True) for at in range(0, len(raw), 8)
        ]
        if not cells:
            return cls()
        paid, remaining, last, last_utc_s, due_s, *since = cells
        return cls(paid, remaining, last, last_utc_s, due_s, tuple(since))

    def octets(self) -> bytes:
        cells = (
            self.paid_uwh, self.remaining_uwh, self.last_uwh, self.last_utc_s, self.due_s,
            *self.since,
        )  # fmt: skip
        return b"".join(cell.to_bytes(8, "big", signed=True) for cell in cells)


@dataclass(frozen=True, slots=True)
class UnitCharge:
    """Prices by rate, each the uWh for 10^`commodity_exponent` uWh, a period or a purchase."""

    commodity_exponent: int
    prices: tuple[tuple[bytes, int], ...]

    @classmethod
    def of(cls, data: Data) -> Self:
        scales, _, table = data.value
        commodity, price = (int(scale.value) for scale in scales.value)
        factor = 10 ** (price + _KWH_EXPONENT)
        rows = ((bytes(row.value[0].value), int(row.value[1].value)) for row in table.value)
        return cls(commodity + _WH_EXPONENT, tuple((index, each * factor) for index, each in rows))

    def price(self, rate: int) -> int:
        prices = dict(self.prices)
        return prices.get(bytes((rate,)), prices.get(EVERY_RATE, 0))

    @property
    def rates(self) -> tuple[int, ...]:
        return tuple(index[0] for index, _ in self.prices if index)

    def registers(self, books: Snapshot) -> tuple[int, ...]:
        """A+ and what of it was under each priced rate; LookupError for a rate without register."""
        return tuple(
            books.value(Source(Kind.ENERGY, Measure.A_IMPORT, tariff=rate))
            for rate in (0, *self.rates)
        )

    def of_consumption(self, since: tuple[int, ...], until: tuple[int, ...]) -> int:
        total, *by_rate = (b - a for a, b in zip(since, until, strict=True))
        amount = (total - sum(by_rate)) * dict(self.prices).get(EVERY_RATE, 0)
        amount += sum(
            used * self.price(rate) for used, rate in zip(by_rate, self.rates, strict=True)
        )
        return int(amount // 10**self.commodity_exponent)


class Charge(Decider):
    """One charge; its state is in the settings of the meter."""

    def __init__(self, facility: Facility) -> None:
        self.obis = facility.obis
        self._tally = b"charge:" + bytes(facility.obis)
        kind = facility.values.get(TYPE, ChargeType.CONSUMPTION_BASED)
        assert isinstance(kind, int)
        self.defaults = {
            TYPE: axdr.enum(kind),
            PRIORITY: axdr.u8(1),
            ACTIVE: _FREE,
            PASSIVE: _FREE,
            ACTIVATION: axdr.octets(UNSET.raw()),
            PERIOD: axdr.u32(0),
            CONFIGURATION: axdr.bits("00"),
            PROPORTION: axdr.u16(0),
        }

    # --- what is set and remembered ---------------------------------------------------------------

    def _key(self, number: int) -> bytes:
        return bytes(self.obis) + bytes((number,))

    def value(self, meter: Meter, number: int) -> Data:
        raw = meter.settings.get(self._key(number))
        return self.defaults[number] if raw is None else axdr.decode(raw)

    def kind(self, meter: Meter) -> int:
        return int(self.value(meter, TYPE).value)

    def tally(self, meter: Meter) -> Tally:
        return Tally.of(meter.settings.get(self._tally, b""))

    def _keep(self, meter: Meter, tally: Tally) -> None:
        meter.save_setting(self._tally, tally.octets())

    def _active(self, meter: Meter) -> UnitCharge:
        return UnitCharge.of(self.value(meter, ACTIVE))

    def _configured(self, meter: Meter, bit: int) -> bool:
        return bool(self.value(meter, CONFIGURATION).value[bit] == "1")

    # --- deciding ---------------------------------------------------------------------------------

    def watching(self, meter: Meter) -> bool:
        return meter.control.prepayment.enabled or self._activates_s(meter) > 0

    def look(self, meter: Meter, block: Block) -> int:
        dues = [self.tally(meter).due_s, self._activates_s(meter)]
        ahead = [-(-(due - block.start_utc_s) // block.step_s) for due in dues if due]
        return max(1, min([len(block), *ahead]))

    def decide(self, meter: Meter, span: Span) -> None:
        del span
        self.parameters_set(meter)
        tally, now_s = self.tally(meter), meter.ledger.now
        if not tally.due_s or now_s < tally.due_s:
            return
        period_s = int(self.value(meter, PERIOD).value)
        periods = (now_s - tally.due_s) // period_s + 1
        self._keep(meter, replace(tally, due_s=tally.due_s + periods * period_s))
        self._collect(meter, periods)

    def parameters_set(self, meter: Meter) -> None:
        activates_s = self._activates_s(meter)
        if activates_s and activates_s <= meter.ledger.now:
            self.activate(meter)
        self._run(meter)

    def _activates_s(self, meter: Meter) -> int:
        """When the passive prices become active, in true time; 0 where that is not set."""
        raw = meter.settings.get(self._key(ACTIVATION))
        if raw is None:
            return 0
        try:
            moment = CosemDateTime.of(bytes(axdr.decode(raw).value))
            if moment.is_unset:
                return 0
            return max(1, meter.ledger.true_s_when(int(moment.utc(meter.zone))))
        except CosemTimeError:
            return 0

    def _run(self, meter: Meter) -> None:
        """Begin to run periods where they are to run, and end where not."""
        tally = self.tally(meter)
        period_s = int(self.value(meter, PERIOD).value)
        active = meter.control.prepayment.enabled
        by_period = active and self.kind(meter) != ChargeType.PAYMENT_EVENT_BASED and period_s > 0
        due_s = (tally.due_s or meter.ledger.now + period_s) if by_period else 0
        since = tally.since if active else ()
        if active and not since:
            since = self._active(meter).registers(meter.ledger.snapshot())
        if (due_s, since) != (tally.due_s, tally.since):
            self._keep(meter, replace(tally, due_s=due_s, since=since))

    def restart(self, meter: Meter, _data: Data | None = None) -> None:
        """Another type or period: collect for the old one no more, begin anew."""
        self._keep(meter, replace(self.tally(meter), due_s=0, since=()))
        self._run(meter)

    # --- collecting -------------------------------------------------------------------------------

    def _collect(self, meter: Meter, periods: int) -> None:
        """What so many units, or the consumption since the last time, cost now."""
        unit = self._active(meter)
        amount_uwh = periods * unit.price(meter.ledger.rate)
        if self.kind(meter) == ChargeType.CONSUMPTION_BASED:
            tally = self.tally(meter)
            until = unit.registers(meter.ledger.snapshot())
            amount_uwh = unit.of_consumption(tally.since or until, until)
            self._keep(meter, replace(tally, since=until))
        self._take(meter, amount_uwh)

    def _take(self, meter: Meter, amount_uwh: int) -> int:
        """Take it from the credit, or what remains to be taken; return how much that was."""
        tally = self.tally(meter)
        if not self._configured(meter, 1):
            amount_uwh = min(amount_uwh, max(0, tally.remaining_uwh))
        if amount_uwh <= 0:
            return 0
        meter.collect(amount_uwh)
        taken = replace(
            tally,
            paid_uwh=tally.paid_uwh + amount_uwh,
            remaining_uwh=tally.remaining_uwh - min(amount_uwh, max(0, tally.remaining_uwh)),
            last_uwh=amount_uwh,
            last_utc_s=meter.ledger.clock_utc_s,
        )
        self._keep(meter, taken)
        return amount_uwh

    def of_purchase(self, meter: Meter, energy_uwh: int, left_uwh: int) -> int:
        """Take the share of a purchase, not above `left_uwh`; return how much that was."""
        if self.kind(meter) != ChargeType.PAYMENT_EVENT_BASED:
            return 0
        share_uwh = self._active(meter).price(meter.ledger.rate)
        if self._configured(meter, 0):
            share_uwh = energy_uwh * int(self.value(meter, PROPORTION).value) // WHOLE
        return self._take(meter, min(share_uwh, left_uwh))

    def activate(self, meter: Meter) -> None:
        """The passive prices from now on; what was used until now costs what it did."""
        if meter.control.prepayment.enabled and self.kind(meter) == ChargeType.CONSUMPTION_BASED:
            self._run(meter)
            self._collect(meter, 0)
        meter.save_setting(self._key(ACTIVE), axdr.encode(self.value(meter, PASSIVE)))
        meter.save_setting(self._key(ACTIVATION), axdr.encode(self.defaults[ACTIVATION]))
        self._keep(meter, replace(self.tally(meter), since=()))
        self._run(meter)

    def collect(self, meter: Meter) -> None:
        """Now, whatever `period` says."""
        percentage = self._configured(meter, 0)
        if self.kind(meter) == ChargeType.PAYMENT_EVENT_BASED and percentage:
            raise refused("a percentage is of a purchase, and there is none")
        if not meter.control.prepayment.enabled:
            raise refused("nothing is collected while the account is not active")
        self._run(meter)
        self._collect(meter, 1)

    # --- prices and debts -------------------------------------------------------------------------

    def require_prices(self, meter: Meter, data: Data) -> None:
        """AccessError unless these are prices that can be collected."""
        require(data, _UNIT_CHARGE)
        scales, commodity, table = data.value
        indices = [bytes(row.value[0].value) for row in table.value]
        fine = (
            int(scales.value[0].value) in COMMODITY_SCALES
            and int(scales.value[1].value) in PRICE_SCALES
            and len(set(indices)) == len(indices) <= PRICES_MAX
            and all(len(index) <= 1 and index != b"\0" for index in indices)
            and all(int(row.value[1].value) >= 0 for row in table.value)
            and (commodity == _NOTHING or _is_import(meter, commodity))
        )
        if not fine:
            raise AccessError(DataAccessResult.OTHER_REASON, "such prices are not collected")
        try:
            UnitCharge.of(data).registers(meter.books)
        except (LookupError, ValueError) as error:
            raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error

    def write_passive(self, meter: Meter, data: Data) -> None:
        self.require_prices(meter, data)
        meter.save_setting(self._key(PASSIVE), axdr.encode(data))

    def update(self, meter: Meter, data: Data) -> None:
        """Put these prices into the passive table."""
        require(data, _PRICES, "prices are indices and longs")
        scales, commodity, table = self.value(meter, PASSIVE).value
        rows = {bytes(row.value[0].value): row for row in (*table.value, *data.value)}
        self.write_passive(meter, axdr.structure(scales, commodity, axdr.array(*rows.values())))

    def change_remaining(self, meter: Meter, data: Data, *, by: bool) -> None:
        """Make it this amount, or change it by that."""
        require(data, I32, "the amount is a double-long")
        tally = self.tally(meter)
        base_uwh = tally.remaining_uwh if by else 0
        remaining_uwh = base_uwh + int(data.value) * _UWH_PER_WH
        if not 0 <= remaining_uwh <= _LIMIT * _UWH_PER_WH:
            raise refused("what remains is an amount from 0 to 2^31 - 1")
        self._keep(meter, replace(tally, remaining_uwh=remaining_uwh))


def _is_import(meter: Meter, commodity: Data) -> bool:
    class_id, name, attribute = (field.value for field in commodity.value)
    row = next((r for r in meter.model.rows if bytes(r.obis) == name), None)
    wanted = Source(Kind.ENERGY, Measure.A_IMPORT)
    return row is not None and (class_id, attribute) == (row.class_id, 2) and row.source == wanted


def charges_of(meter: Meter) -> list[Charge]:
    """The meter's charges, the first to be collected first."""
    found = [each.decider for each in meter.tree.deciding if isinstance(each.decider, Charge)]
    return sorted(found, key=lambda charge: int(charge.value(meter, PRIORITY).value))


def collect_of_purchase(meter: Meter, energy_uwh: int) -> None:
    """Payment event based charges take their share of what was just bought."""
    left_uwh = energy_uwh
    for charge in charges_of(meter):
        left_uwh -= charge.of_purchase(meter, energy_uwh, left_uwh)


def debts_wh(meter: Meter) -> int:
    """What remains of all charges."""
    return sum(charge.tally(meter).remaining_uwh for charge in charges_of(meter)) // _UWH_PER_WH


def charge_object(facility: Facility) -> CosemObject:
    """Class 113. As delivered it is free, and `values` says of which type."""
    one = Charge(facility)

    def amount(of: str) -> Attribute:
        def get(meter: Meter) -> bytes:
            return axdr.encode_i32(min(_LIMIT, getattr(one.tally(meter), of) // _UWH_PER_WH))

        return Attribute(get)

    def collected(meter: Meter) -> bytes:
        tally = one.tally(meter)
        moment = UNSET
        if tally.last_utc_s:
            moment = CosemDateTime.from_utc(tally.last_utc_s, meter.zone)
        return axdr.encode(axdr.date_time(moment.raw()))

    def held(
        number: int, shape: axdr.DataType, highest: int, *, restarts: bool = False
    ) -> Attribute:
        return setting(
            facility.obis, number, one.defaults[number], shape,
            check=lambda data: int(data.value) <= highest,
            after=one.restart if restarts else None,
        )  # fmt: skip

    def prices(number: int) -> Attribute:
        def get(meter: Meter) -> bytes:
            return axdr.encode(one.value(meter, number))

        return Attribute(get, one.write_passive if number == PASSIVE else None)

    def method(name: str, act: Callable[[Meter, Data], None]) -> Method:
        def invoke(meter: Meter, data: Data, who: Requester) -> bytes:
            act(meter, data)
            meter.ledger.note(f"client {who.client_sap}", name, f"{facility.obis}")
            return b""

        return invoke

    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            amount("paid_uwh"),
            held(TYPE, ENUM, max(ChargeType), restarts=True),
            held(PRIORITY, U8, 0xFF),
            prices(ACTIVE),
            prices(PASSIVE),
            setting(facility.obis, ACTIVATION, one.defaults[ACTIVATION], OS_DT),
            held(PERIOD, U32, 0xFFFF_FFFF, restarts=True),
            setting(
                facility.obis, CONFIGURATION, one.defaults[CONFIGURATION], BITS,
                check=lambda data: len(data.value) == 2,
            ),
            Attribute(collected),
            amount("last_uwh"),
            amount("remaining_uwh"),
            held(PROPORTION, U16, WHOLE),
        ),
        (
            method("update unit charge", one.update),
            method("activate unit charge", lambda meter, _: one.activate(meter)),
            method("collect charge", lambda meter, _: one.collect(meter)),
            method("change debt", lambda meter, data: one.change_remaining(meter, data, by=True)),
            method("set debt", lambda meter, data: one.change_remaining(meter, data, by=False)),
        ),
        one,
    )  # fmt: skip
