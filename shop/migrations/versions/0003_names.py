"""Times that end in `_at`, names that the field uses, and mails that are about anything.

Every step looks first whether it was taken: MySQL and MariaDB keep each one at once, so a run that
is killed half-way begins again in the middle.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")

COLUMNS = (
    ("topics", "created", "created_at"),
    ("replies", "created", "created_at"),
    ("orders", "uid", "client_reference"),
    ("orders", "open_key", "dedup_key"),
    ("orders", "created", "created_at"),
    ("orders", "paid", "paid_at"),
    ("orders", "shipped", "shipped_at"),
    ("attempts", "created", "created_at"),
    ("attempts", "expires", "expires_at"),
    ("attempts", "checked", "checked_at"),
    ("ledger", "created", "created_at"),
    ("disputes", "opened", "opened_at"),
    ("disputes", "closed", "closed_at"),
    ("stripe_events", "received", "received_at"),
    ("timeline", "created", "created_at"),
    ("mails", "due", "due_at"),
    ("mails", "leased_until", "lease_expires_at"),
    ("mails", "created", "created_at"),
    ("throttles", "ends", "ends_at"),
)
INDEXES = (
    ("orders", "ix_orders_state_created", "ix_orders_state_created_at", ["state", "created_at"]),
    ("ledger", "ix_ledger_created", "ix_ledger_created_at", ["created_at"]),
    (
        "stripe_events",
        "ix_stripe_events_received",
        "ix_stripe_events_received_at",
        ["received_at"],
    ),
    ("mails", "ix_mails_due", "ix_mails_due_at", ["due_at"]),
    ("throttles", "ix_throttles_ends", "ix_throttles_ends_at", ["ends_at"]),
)
UNIQUE = (
    ("orders", "uq_orders_uid", "uq_orders_client_reference", ["client_reference"]),
    ("orders", "uq_orders_open_key", "uq_orders_dedup_key", ["dedup_key"]),
)


def upgrade() -> None:
    """Rename columns and indexes one by one, then move the mails, then add and drop the rest."""
    for table, old, new in COLUMNS:
        if old in _columns(table):
            # Alembic's own way on MySQL, CHANGE, loses NOT NULL and the collation.
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for table, old, new, columns in INDEXES:
        if op.get_bind().dialect.name != "sqlite":
            _rename_index(table, old, new)
            continue
        op.create_index(new, table, columns, if_not_exists=True)
        op.drop_index(old, table, if_exists=True)
    for table, old, new, columns in UNIQUE:
        if op.get_bind().dialect.name != "sqlite":
            _rename_index(table, old, new)
        elif old in _unique_keys(table):
            with op.batch_alter_table(table) as batch:
                batch.drop_constraint(old, type_="unique")
                batch.create_unique_constraint(new, columns)
    _move_mails()
    if "told" in _columns("ledger"):
        op.drop_column("ledger", "told")
    op.create_table(
        "key_values",
        sa.Column("name", KEY, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_key_values"),
        if_not_exists=True,
    )


def _rename_index(table: str, old: str, new: str) -> None:
    """Rename an index or a unique key on a server."""
    there = {found["name"] for found in _inspect().get_indexes(table)} | _unique_keys(table)
    if old not in there:
        return
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    else:
        op.execute(f"ALTER TABLE {table} RENAME INDEX {old} TO {new}")


def _move_mails() -> None:
    """Turn the order and the kind `customer_refunded-2` of a mail into subject, kind and about."""
    for name in ("subject", "about"):
        if name not in _columns("mails"):
            op.add_column("mails", sa.Column(name, KEY, nullable=False, server_default=""))
    mails = sa.table(
        "mails",
        sa.column("id", sa.BigInteger),
        sa.column("order_id", sa.BigInteger),
        sa.column("subject", sa.String),
        sa.column("kind", sa.String),
        sa.column("about", sa.String),
    )
    connection = op.get_bind()
    numbered = sa.select(mails.c.id, mails.c.kind).where(mails.c.kind.like("%-%"))
    if "order_id" in _columns("mails"):
        order = sa.literal("order-") + sa.cast(mails.c.order_id, sa.String(20))
        connection.execute(mails.update().where(mails.c.subject == "").values(subject=order))
        for mail_id, kind in connection.execute(numbered).all():
            mine = mails.update().where(mails.c.id == mail_id)
            connection.execute(mine.values(about=kind.partition("-")[2]))
        # The new key stands before the old one goes: two refunds of an order are two mails.
        with op.batch_alter_table("mails") as batch:
            if "uq_mails_subject_kind_about" not in _unique_keys("mails"):
                batch.create_unique_constraint(
                    "uq_mails_subject_kind_about", ["subject", "kind", "about"]
                )
            if "fk_mails_order_id_orders" in _foreign_keys("mails"):
                batch.drop_constraint("fk_mails_order_id_orders", type_="foreignkey")
            if "uq_mails_order_id_kind" in _unique_keys("mails"):
                batch.drop_constraint("uq_mails_order_id_kind", type_="unique")
    for mail_id, kind in connection.execute(numbered).all():
        mine = mails.update().where(mails.c.id == mail_id)
        connection.execute(mine.values(kind=kind.partition("-")[0]))
    with op.batch_alter_table("mails") as batch:
        for name in ("subject", "about"):
            batch.alter_column(
                name, existing_type=KEY, existing_nullable=False, server_default=None
            )
        if "order_id" in _columns("mails"):
            batch.drop_column("order_id")


def _columns(table: str) -> set[str]:
    return {found["name"] for found in _inspect().get_columns(table)}


def _unique_keys(table: str) -> set[str]:
    return {str(found["name"]) for found in _inspect().get_unique_constraints(table)}


def _foreign_keys(table: str) -> set[str]:
    return {str(found["name"]) for found in _inspect().get_foreign_keys(table)}


def _inspect() -> sa.Inspector:
    return sa.inspect(op.get_bind())
