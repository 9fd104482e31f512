"""Deliveries, addresses, and what the owner sets while the shop runs.

Every step looks first whether an interrupted run has taken it already.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from shop.db import Key

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTF8: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    """Add what is missing; orders that are there have no delivery."""
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("free_from_amount", sa.BigInteger(), nullable=True),
        sa.Column("countries", sa.Text(), nullable=False),
        sa.Column("tax_rate", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_deliveries_amount_not_negative")),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        if_not_exists=True,
        sqlite_autoincrement=True,
        **UTF8,
    )
    op.create_table(
        "addresses",
        sa.Column("order_id", ID, nullable=False, autoincrement=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in (
                "name", "line1", "line2", "city", "state", "postal_code", "country", "phone",
            )
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], "fk_addresses_order_id_orders"),
        sa.PrimaryKeyConstraint("order_id", name="pk_addresses"),
        if_not_exists=True,
        **UTF8,
    )  # fmt: skip
    op.create_table(
        "details",
        sa.Column("name", Key(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_details"),
        if_not_exists=True,
        **UTF8,
    )
    for column in (
        sa.Column("delivery_id", ID, nullable=True),
        sa.Column("delivery_name", sa.Text(), nullable=True),
        sa.Column("delivery_amount", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("delivery_tax_rate", sa.Integer(), nullable=False, server_default="0"),
        # Where it is sent; none where nothing is: MySQL has no default for a text.
        sa.Column("delivery_countries", sa.Text(), nullable=True),
    ):
        _add("orders", column)
    _add("attempts", sa.Column("slip_codes", sa.Text(), nullable=True))


def _add(table: str, column: Any) -> None:
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)
