"""Pushes, alarm registers, keys that are being changed, clock history, credit sold"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _meter(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column("meter_id", _id(), nullable=False),
        sa.ForeignKeyConstraint(["meter_id"], ["meter.id"], name=op.f(f"fk_{table}_meter_id")),
    )


def upgrade() -> None:
    op.add_column("meter_key", sa.Column("described", sa.String(length=64)))
    op.add_column("event", sa.Column("pushed_at", sa.BigInteger()))
    op.add_column("event", sa.Column("push_clock", sa.BigInteger()))
    op.create_table(
        "pending_key",
        *_meter("pending_key"),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("change_id", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("meter_id", "purpose", name=op.f("pk_pending_key")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_pending_key_fingerprint")),
    )
    op.create_table(
        "push_counter",
        *_meter("push_counter"),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("meter_id", "key_id", name=op.f("pk_push_counter")),
    )
    op.create_table(
        "push_message",
        sa.Column("id", _id(), nullable=False),
        *_meter("push_message"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("transport", sa.String(length=8), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_message")),
    )
    op.create_index("ix_push_message_meter_id_id", "push_message", ["meter_id", "id"])
    op.create_table(
        "alarm_register",
        *_meter("alarm_register"),
        sa.Column("obis", sa.String(length=32), nullable=False),
        sa.Column("bits", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("meter_id", "obis", name=op.f("pk_alarm_register")),
    )
    op.create_table(
        "clock_record",
        sa.Column("id", _id(), nullable=False),
        *_meter("clock_record"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("before_s", sa.Integer(), nullable=False),
        sa.Column("after_s", sa.Integer()),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock_record")),
    )
    op.create_index("ix_clock_record_meter_id_at", "clock_record", ["meter_id", "at"])
    op.create_table(
        "credit_sale",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("point_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("energy_wh", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("before_wh", sa.BigInteger()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["point_id"], ["point.id"], name=op.f("fk_credit_sale_point_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_sale")),
    )
    op.create_index("ix_credit_sale_point_id_at", "credit_sale", ["point_id", "at"])


def downgrade() -> None:
    for table in (
        "credit_sale", "clock_record", "alarm_register", "push_message", "push_counter",
        "pending_key",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_column("event", "push_clock")
    op.drop_column("event", "pushed_at")
    op.drop_column("meter_key", "described")
