"""When the person was erased who had ordered: what Stripe says of them later is not kept again."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, unless an interrupted run has."""
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns("orders")}
    if "erased_at" not in there:
        op.add_column("orders", sa.Column("erased_at", sa.DateTime(), nullable=True))
