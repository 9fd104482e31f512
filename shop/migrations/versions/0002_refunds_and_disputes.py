"""Refunds in the ledger, disputes, the time of shipping, and a short address to search by."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns, the table and the indexes that an interrupted run has not added yet."""
    _add("orders", sa.Column("email_key", KEY, nullable=True))
    _add("orders", sa.Column("shipped", sa.DateTime(), nullable=True))
    _index("ix_orders_email_key", "orders", ["email_key"])
    # An address may be longer than a key.
    key = "lower(substr(trim(email), 1, 255))"
    op.execute(f"UPDATE orders SET email_key = {key} WHERE email IS NOT NULL")  # noqa: S608
    _widen_ledger()
    op.create_table(
        "disputes",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("stripe_id", KEY, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", KEY, nullable=False),
        sa.Column("reason", KEY, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("opened", sa.DateTime(), nullable=False),
        sa.Column("closed", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_disputes_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_disputes"),
        sa.UniqueConstraint("stripe_id", name="uq_disputes_stripe_id"),
        if_not_exists=True,
    )
    _index("ix_disputes_order_id", "disputes", ["order_id"])


def _widen_ledger() -> None:
    _add("ledger", sa.Column("state", KEY, nullable=False, server_default="succeeded"))
    _add("ledger", sa.Column("key", KEY, nullable=True))
    _add("ledger", sa.Column("told", sa.Boolean(), nullable=False, server_default=sa.true()))
    _add("ledger", sa.Column("payment_id", ID, nullable=True))
    there = {found["name"] for found in _inspect().get_unique_constraints("ledger")}
    there |= {found["name"] for found in _inspect().get_foreign_keys("ledger")}
    with op.batch_alter_table("ledger") as ledger:
        ledger.alter_column("stripe_id", existing_type=KEY, nullable=True)
        ledger.alter_column("state", existing_type=KEY, nullable=False, server_default=None)
        ledger.alter_column(
            "told", existing_type=sa.Boolean(), existing_nullable=False, server_default=None
        )
        if "uq_ledger_key" not in there:
            ledger.create_unique_constraint("uq_ledger_key", ["key"])
        if "fk_ledger_payment_id_ledger" not in there:
            ledger.create_foreign_key(
                "fk_ledger_payment_id_ledger", "ledger", ["payment_id"], ["id"]
            )
    _index("ix_ledger_created", "ledger", ["created"])


def _add(table: str, column: sa.Column) -> None:  # type: ignore[type-arg]
    if column.name not in {found["name"] for found in _inspect().get_columns(table)}:
        op.add_column(table, column)


def _index(name: str, table: str, columns: list[str]) -> None:
    # MySQL knows no CREATE INDEX IF NOT EXISTS.
    if name not in {found["name"] for found in _inspect().get_indexes(table)}:
        op.create_index(name, table, columns)


def _inspect() -> sa.Inspector:
    return sa.inspect(op.get_bind())
