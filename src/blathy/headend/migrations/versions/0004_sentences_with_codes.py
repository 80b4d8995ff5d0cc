"""Codes and values beside stored sentences, so that the portal can say them in other languages"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS: Final = (
    ("job", "title_words"),
    ("job", "message_words"),
    ("meter", "last_error_words"),
    ("push_message", "detail_words"),
)


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))


def downgrade() -> None:
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column)
