"""When an order was packed, who brings it, and the number by which it is followed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns that an interrupted run has not added yet."""
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns("orders")}
    for column in (
        sa.Column("packed_at", sa.DateTime(), nullable=True),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("tracking", sa.Text(), nullable=True),
    ):
        if column.name not in there:
            op.add_column("orders", column)
    name = "ix_orders_shipped_at_state"
    if name not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes("orders")}:
        op.create_index(name, "orders", ["shipped_at", "state"])
