"""Variants under products, tax, sending and order of the goods, their pictures, the tax of lines.

Every step looks first whether an interrupted run has taken it already.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from flask import current_app
from sqlalchemy.dialects.mysql import MEDIUMBLOB

from shop.db import Key

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTF8: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    """Add what is missing; goods that are there keep their order and need sending."""
    for column in (
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("tax_rate", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("needs_shipping", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("position", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
    ):
        _add("products", column)
    _add("order_lines", sa.Column("tax_rate", sa.Integer(), nullable=False, server_default="0"))
    _let_variants_be()
    op.execute("UPDATE products SET position = id WHERE position = 0")
    if current_app.config["SHOP_CURRENCY"] == "jpy":
        op.execute("UPDATE products SET tax_rate = 1000 WHERE tax_rate = 0")
        op.execute("UPDATE order_lines SET tax_rate = 1000 WHERE tax_rate = 0")
    _index("ix_products_parent_id_position", "products", ["parent_id", "position"])
    op.create_table(
        "pictures",
        sa.Column("id", ID, nullable=False),
        sa.Column("product_id", ID, nullable=False),
        sa.Column("hash", Key(), nullable=False),
        sa.Column("alt", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], "fk_pictures_product_id_products"),
        sa.PrimaryKeyConstraint("id", name="pk_pictures"),
        if_not_exists=True,
        **UTF8,
    )
    _index("ix_pictures_product_id_position", "pictures", ["product_id", "position"])
    op.create_table(
        "picture_files",
        sa.Column("name", Key(), nullable=False),
        sa.Column(
            "data",
            sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name="pk_picture_files"),
        if_not_exists=True,
        **UTF8,
    )


def _let_variants_be() -> None:
    """Allow products without an address and without a price of their own, under another one."""
    there = sa.inspect(op.get_bind())
    nullable = {found["name"]: found["nullable"] for found in there.get_columns("products")}
    keys = {found["name"] for found in there.get_foreign_keys("products")}
    name = "fk_products_parent_id_products"
    with op.batch_alter_table("products") as products:
        if not nullable["slug"]:
            products.alter_column("slug", existing_type=Key(), nullable=True)
        if not nullable["unit_amount"]:
            products.alter_column("unit_amount", existing_type=sa.BigInteger(), nullable=True)
        if name not in keys:
            products.create_foreign_key(name, "products", ["parent_id"], ["id"])


def _add(table: str, column: Any) -> None:
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)


def _index(name: str, table: str, columns: list[str]) -> None:
    if name not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)
