"""Selling energy to prepayment meters: noted before the meter is told, found out after a failure.

Booking is not idempotent, so a sale is never repeated by itself: where the answer was lost, the
balance tells whether the meter has it. A sale that nobody can tell of stays uncertain and visible.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import sqlalchemy as sa

from blathy.clock import iso_utc
from blathy.headend.collection.conversation import ConversationError, Outcome, SupplyState
from blathy.headend.inventory.registry import Point
from blathy.headend.operations.desk import Desk
from blathy.headend.schema import credit_sale

TELLABLE_S: Final = 3600
"""So long after a sale its balance still tells whether it was booked."""
SALES_SHOWN: Final = 50
STARTED, SOLD, FAILED, UNCERTAIN = "started", "sold", "failed", "uncertain"


class CreditSales:
    """The till."""

    def __init__(self, desk: Desk) -> None:
        self._database = desk.database
        self._collector = desk.collector
        self._now = desk.now

    def open(self) -> None:
        """What was under way when the process died is uncertain."""
        table = credit_sale
        change = sa.update(table).where(table.c.state == STARTED).values(state=UNCERTAIN)
        self._database.write_now(lambda c: c.execute(change).rowcount)

    async def sell(self, user: str, point: Point, energy_wh: int) -> dict[str, object]:
        """Book a purchase in the meter; return its account as read back."""
        await self.settle(point)
        state = await self._collector.supply(point)
        if state.prepaid is False:
            raise ConversationError(
                Outcome.REFUSED,
                "pays-by-bill",
                "This place pays by bill: its meter books no credit.",
                "Switch prepayment on in the meter first.",
            )
        before = state.balance_wh
        if before is None:
            raise ConversationError(
                Outcome.REFUSED,
                "no-account",
                "The meter shows no account.",
                "Switch prepayment on in the meter first.",
            )
        sale = secrets.token_hex(8)
        row = {
            "id": sale, "point_id": point.id, "at": int(self._now()), "user_name": user,
            "energy_wh": energy_wh, "state": STARTED, "before_wh": before, "detail": "",
        }  # fmt: skip
        await self._database.write(lambda c: c.execute(sa.insert(credit_sale).values(row)).rowcount)
        try:
            after = await self._collector.add_credit(point, energy_wh)
        except ConversationError as error:
            refused = error.outcome in {Outcome.REFUSED, Outcome.UNREACHABLE}
            await self._end(sale, FAILED if refused else UNCERTAIN, str(error))
            if not refused:
                await self._try_settle(point)
            raise
        await self._end(sale, SOLD, "")
        return {
            "sale": sale,
            "balance_wh": after.balance_wh,
            "available_wh": after.available_wh,
        }

    async def _try_settle(self, point: Point) -> None:
        try:
            await self.settle(point)
        except ConversationError:
            return  # it is found out when the meter answers again

    async def settle(self, point: Point) -> None:
        """Find out about the uncertain sales of a point by its balance, while that can tell."""
        table = credit_sale
        mine = (table.c.point_id == point.id, table.c.state == UNCERTAIN)
        recent = table.c.at >= int(self._now()) - TELLABLE_S
        open_ = await self._database.read(
            lambda c: list(c.execute(sa.select(table).where(*mine, recent)))
        )
        if not open_:
            return
        balance = (await self._collector.supply(point)).balance_wh
        for row in open_:
            if balance is None or row.before_wh is None:
                continue
            booked = balance - row.before_wh > row.energy_wh // 2
            how = f"found out by the balance: {balance} Wh after {row.before_wh} Wh"
            await self._end(row.id, SOLD if booked else FAILED, how)

    async def _end(self, sale: str, state: str, detail: str) -> None:
        change = (
            sa.update(credit_sale)
            .where(credit_sale.c.id == sale)
            .values(state=state, detail=detail[:500])
        )
        await self._database.write(lambda c: c.execute(change).rowcount)

    async def as_json(self, point: Point) -> dict[str, Any]:
        """The supply of a point as its meter has it now, with the latest sales."""
        state: SupplyState = await self._collector.supply(point)
        table = credit_sale
        query = (
            sa.select(table)
            .where(table.c.point_id == point.id)
            .order_by(table.c.at.desc(), table.c.id)
            .limit(SALES_SHOWN)
        )
        sales = await self._database.read(lambda c: list(c.execute(query)))
        return {
            "at": iso_utc(int(self._now())),
            "output_state": state.output_state,
            "control_state": state.control_state,
            "limit_w": state.limit_w,
            "active_limit_w": state.active_limit_w,
            "prepaid": state.prepaid,
            "balance_wh": state.balance_wh,
            "available_wh": state.available_wh,
            "sales": [
                {
                    "id": r.id,
                    "at": iso_utc(r.at),
                    "user": r.user_name,
                    "energy_wh": r.energy_wh,
                    "state": r.state,
                    "detail": r.detail,
                }
                for r in sales
            ],
        }
