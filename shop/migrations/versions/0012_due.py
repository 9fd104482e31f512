"""Until when a dispute is answered, who did what to an order, and indexes of the owner's lists.

SQLite took the index that began with the mode, which all orders of a shop share, for every
question with a mode in it, and read the whole table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do what an interrupted run has not done yet."""
    inspector = sa.inspect(op.get_bind())
    for table, column in (
        ("disputes", sa.Column("due_at", sa.DateTime(), nullable=True)),
        ("timeline", sa.Column("who", sa.Text(), nullable=True)),
    ):
        if column.name not in {found["name"] for found in inspector.get_columns(table)}:
            op.add_column(table, column)
    there = {found["name"] for found in inspector.get_indexes("orders")}
    for columns in (["holds_stock", "mode"], ["state", "id"]):
        name = f"ix_orders_{'_'.join(columns)}"
        if name not in there:
            op.create_index(name, "orders", columns)
    if "ix_orders_mode_holds_stock" in there:
        op.drop_index("ix_orders_mode_holds_stock", "orders")
    # Without it the deletion of a payment looks through all refunds.
    if "ix_ledger_payment_id" not in {found["name"] for found in inspector.get_indexes("ledger")}:
        op.create_index("ix_ledger_payment_id", "ledger", ["payment_id"])
