"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Not imported from the models: they change, and this step does not.
KEY = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables and indexes that an interrupted run has not made yet."""
    op.create_table(
        "orders",
        sa.Column("id", ID, nullable=False),
        sa.Column("token", KEY, nullable=False),
        sa.Column("uid", KEY, nullable=False),
        sa.Column("mode", KEY, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("currency", KEY, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("visitor", KEY, nullable=False),
        sa.Column("cart_id", KEY, nullable=True),
        sa.Column("open_key", KEY, nullable=True),
        sa.Column("holds_stock", sa.Boolean(), nullable=False),
        sa.Column("language", KEY, nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("paid", sa.DateTime(), nullable=True),
        sa.CheckConstraint("amount > 0", name="ck_orders_amount_positive"),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("open_key", name="uq_orders_open_key"),
        sa.UniqueConstraint("token", name="uq_orders_token"),
        sa.UniqueConstraint("uid", name="uq_orders_uid"),
        if_not_exists=True,
    )
    _index("ix_orders_cart_id", "orders", ["cart_id"])
    _index("ix_orders_mode_holds_stock", "orders", ["mode", "holds_stock"])
    _index("ix_orders_state_created", "orders", ["state", "created"])
    _index("ix_orders_visitor", "orders", ["visitor"])

    op.create_table(
        "products",
        sa.Column("id", ID, nullable=False),
        sa.Column("slug", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("unit_amount", sa.BigInteger(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("stock >= 0", name="ck_products_stock_not_negative"),
        sa.CheckConstraint("unit_amount > 0", name="ck_products_unit_amount_positive"),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
        sa.UniqueConstraint("slug", name="uq_products_slug"),
        if_not_exists=True,
    )
    op.create_table(
        "stripe_events",
        sa.Column("id", KEY, nullable=False),
        sa.Column("type", KEY, nullable=False),
        sa.Column("object_id", KEY, nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stripe_events"),
        if_not_exists=True,
    )
    _index("ix_stripe_events_received", "stripe_events", ["received"])

    op.create_table(
        "throttles",
        sa.Column("id", KEY, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("ends", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_throttles"),
        if_not_exists=True,
    )
    _index("ix_throttles_ends", "throttles", ["ends"])

    op.create_table(
        "topics",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("reply_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_topics"),
        if_not_exists=True,
    )
    op.create_table(
        "attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("open_order_id", ID, nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("stripe_id", KEY, nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("outcome", KEY, nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("checked", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_attempts_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("key", name="uq_attempts_key"),
        sa.UniqueConstraint("open_order_id", name="uq_attempts_open_order_id"),
        sa.UniqueConstraint("order_id", "number", name="uq_attempts_order_id_number"),
        sa.UniqueConstraint("stripe_id", name="uq_attempts_stripe_id"),
        if_not_exists=True,
    )
    op.create_table(
        "ledger",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("stripe_id", KEY, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", KEY, nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_ledger_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
        sa.UniqueConstraint("stripe_id", name="uq_ledger_stripe_id"),
        if_not_exists=True,
    )
    _index("ix_ledger_order_id", "ledger", ["order_id"])

    op.create_table(
        "mails",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("language", KEY, nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.Column("leased_until", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_mails_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_mails"),
        sa.UniqueConstraint("order_id", "kind", name="uq_mails_order_id_kind"),
        if_not_exists=True,
    )
    _index("ix_mails_due", "mails", ["due"])

    op.create_table(
        "order_lines",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("product_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0", name="ck_order_lines_quantity_positive"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_lines_order_id_orders"),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name="fk_order_lines_product_id_products"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_order_lines"),
        if_not_exists=True,
    )
    _index("ix_order_lines_order_id", "order_lines", ["order_id"])
    _index("ix_order_lines_product_id", "order_lines", ["product_id"])

    op.create_table(
        "replies",
        sa.Column("id", ID, nullable=False),
        sa.Column("topic_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["topic_id"], ["topics.id"], name="fk_replies_topic_id_topics", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_replies"),
        if_not_exists=True,
    )
    _index("ix_replies_topic_id", "replies", ["topic_id"])

    op.create_table(
        "timeline",
        sa.Column("id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_timeline_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_timeline"),
        if_not_exists=True,
    )
    _index("ix_timeline_order_id", "timeline", ["order_id"])


def _index(name: str, table: str, columns: list[str]) -> None:
    # MySQL knows no CREATE INDEX IF NOT EXISTS.
    if name not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)
