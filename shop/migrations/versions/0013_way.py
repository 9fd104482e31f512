"""By which way what happened to an order became known."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, unless an interrupted run has."""
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns("timeline")}
    if "way" not in there:
        op.add_column("timeline", sa.Column("way", sa.Text(), nullable=True))
