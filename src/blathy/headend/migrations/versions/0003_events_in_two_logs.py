"""Events that a meter keeps in two logs: both are kept, one is shown"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event", sa.Column("twin", sa.SmallInteger(), nullable=False, server_default="0"))
    event = sa.table(
        "event",
        *(sa.column(name) for name in ("id", "point_id", "log", "at", "name", "phase", "twin")),
        sa.column("occurrence"),
    )
    first = event.alias("first")
    op.execute(
        sa.update(event)
        .values(twin=1)
        .where(
            sa.exists().where(
                first.c.point_id == event.c.point_id,
                first.c.at == event.c.at,
                first.c.name == event.c.name,
                first.c.log != event.c.log,
                sa.func.coalesce(first.c.phase, 0) == sa.func.coalesce(event.c.phase, 0),
                first.c.occurrence == event.c.occurrence,
                first.c.id < event.c.id,
            )
            | (event.c.name == "clock_adjusted_old")
            & sa.exists().where(
                first.c.point_id == event.c.point_id,
                first.c.log == event.c.log,
                first.c.name == "clock_adjusted_new",
            )
        )
    )


def downgrade() -> None:
    op.drop_column("event", "twin")
