"""The visitor who wrote a post: a form that is sent twice is one post. Older posts have none."""

import sqlalchemy as sa
from alembic import op

from shop.db import Key

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and indexes that an interrupted run has not added yet."""
    for table in ("topics", "replies"):
        there = sa.inspect(op.get_bind())
        if "visitor" not in {found["name"] for found in there.get_columns(table)}:
            op.add_column(table, sa.Column("visitor", Key(), nullable=True))
        name = f"ix_{table}_visitor_created_at"
        if name not in {found["name"] for found in there.get_indexes(table)}:
            op.create_index(name, table, ["visitor", "created_at"])
