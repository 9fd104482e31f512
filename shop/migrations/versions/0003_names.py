"""Times that end in `_at`, names that the field uses, mails with a subject, and a table of values.

MySQL and MariaDB commit every statement that alters a table. So each step looks first whether an
interrupted run has taken it already.
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
UNIQUE_KEYS = (
    ("orders", "uq_orders_uid", "uq_orders_client_reference", ["client_reference"]),
    ("orders", "uq_orders_open_key", "uq_orders_dedup_key", ["dedup_key"]),
)
# Alembic put the prefix before names that had it already.
CHECKS = (
    ("orders", "ck_orders_amount_positive", "amount > 0"),
    ("products", "ck_products_unit_amount_positive", "unit_amount > 0"),
    ("products", "ck_products_stock_not_negative", "stock >= 0"),
    ("order_lines", "ck_order_lines_quantity_positive", "quantity > 0"),
)


def upgrade() -> None:
    """Rename columns, indexes, keys and checks, move the mails, then add and drop the rest."""
    for table, old, new in COLUMNS:
        if old in _columns(table):
            # Alembic's own rename loses NOT NULL and the collation on MySQL and MariaDB.
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for table, old, new, columns in INDEXES:
        if old not in _indexes(table):
            continue
        if _dialect() == "sqlite":
            op.drop_index(old, table)
            op.create_index(new, table, columns)
        else:
            _rename_index(table, old, new)
    for table, old, new, columns in UNIQUE_KEYS:
        if old not in _unique_keys(table):
            continue
        if _dialect() == "sqlite":
            with op.batch_alter_table(table) as batch:
                batch.drop_constraint(old, type_="unique")
                batch.create_unique_constraint(new, columns)
        else:
            _rename_index(table, old, new)
    for table, name, condition in CHECKS:
        _rename_check(table, f"ck_{table}_{name}", name, condition)
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
    if "told" in _columns("ledger"):
        with op.batch_alter_table("ledger") as ledger:
            ledger.drop_column("told")


def _rename_index(table: str, old: str, new: str) -> None:
    """Rename an index, or the index of a unique key, on a server."""
    if _dialect() == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    else:
        op.execute(f"ALTER TABLE {table} RENAME INDEX {old} TO {new}")


def _rename_check(table: str, old: str, new: str, condition: str) -> None:
    if old not in {found["name"] for found in _inspect().get_check_constraints(table)}:
        return
    if _dialect() == "sqlite":
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(op.f(old), type_="check")
            batch.create_check_constraint(op.f(new), sa.text(condition))
    else:
        # One statement, so the table is never without its check.
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {old}, ADD CONSTRAINT {new} CHECK ({condition})"
        )


def _move_mails() -> None:
    """Replace a mail's order and kind `customer_refunded-2` by a subject, a kind and `about`."""
    for name in ("subject", "about"):
        if name not in _columns("mails"):
            op.add_column("mails", sa.Column(name, KEY, nullable=False, server_default=""))
    if "order_id" in _columns("mails"):
        _fill_mails()
        _replace_key_of_mails()
    _cut_numbers_off()
    with op.batch_alter_table("mails") as mails:
        for name in ("subject", "about"):
            mails.alter_column(
                name, existing_type=KEY, existing_nullable=False, server_default=None
            )
        if "order_id" in _columns("mails"):
            mails.drop_column("order_id")


def _fill_mails() -> None:
    """Write the subject of every mail, and `about` where the kind has a number."""
    mails = _mails()
    subject = sa.literal("order-") + sa.cast(mails.c.order_id, sa.String(20))
    op.execute(mails.update().where(mails.c.subject == "").values(subject=subject))
    for mail_id, kind in _numbered_mails():
        mail = mails.update().where(mails.c.id == mail_id)
        op.execute(mail.values(about=kind.partition("-")[2]))


def _replace_key_of_mails() -> None:
    """Replace the unique key, while kinds still have their numbers, and let the order go."""
    with op.batch_alter_table("mails") as mails:
        if "uq_mails_subject_kind_about" not in _unique_keys("mails"):
            mails.create_unique_constraint(
                "uq_mails_subject_kind_about", ["subject", "kind", "about"]
            )
        # MySQL and MariaDB keep an index that a foreign key needs.
        if "fk_mails_order_id_orders" in _foreign_keys("mails"):
            mails.drop_constraint("fk_mails_order_id_orders", type_="foreignkey")
        if "uq_mails_order_id_kind" in _unique_keys("mails"):
            mails.drop_constraint("uq_mails_order_id_kind", type_="unique")


def _cut_numbers_off() -> None:
    """Turn the kind `customer_refunded-2` into `customer_refunded`."""
    mails = _mails()
    for mail_id, kind in _numbered_mails():
        mail = mails.update().where(mails.c.id == mail_id)
        op.execute(mail.values(kind=kind.partition("-")[0]))


def _numbered_mails() -> list[tuple[int, str]]:
    mails = _mails()
    numbered = sa.select(mails.c.id, mails.c.kind).where(mails.c.kind.like("%-%"))
    return [(mail_id, kind) for mail_id, kind in op.get_bind().execute(numbered)]


def _mails() -> sa.TableClause:
    return sa.table(
        "mails",
        sa.column("id", sa.BigInteger),
        sa.column("order_id", sa.BigInteger),
        sa.column("subject", sa.String),
        sa.column("kind", sa.String),
        sa.column("about", sa.String),
    )


def _columns(table: str) -> set[str]:
    return {found["name"] for found in _inspect().get_columns(table)}


def _indexes(table: str) -> set[str]:
    return {str(found["name"]) for found in _inspect().get_indexes(table)}


def _unique_keys(table: str) -> set[str]:
    return {str(found["name"]) for found in _inspect().get_unique_constraints(table)}


def _foreign_keys(table: str) -> set[str]:
    return {str(found["name"]) for found in _inspect().get_foreign_keys(table)}


def _inspect() -> sa.Inspector:
    return sa.inspect(op.get_bind())


def _dialect() -> str:
    return str(op.get_bind().dialect.name)
