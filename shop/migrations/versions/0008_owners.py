"""The owners, their sessions, and what they did."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from shop.db import Key

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTF8: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    """Make the tables that an interrupted run has not made yet."""
    op.create_table(
        "owners",
        sa.Column("id", ID, nullable=False),
        sa.Column("email", Key(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("link_hash", Key(), nullable=True),
        sa.Column("link_ends_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
        sa.UniqueConstraint("email", name="uq_owners_email"),
        sa.UniqueConstraint("link_hash", name="uq_owners_link_hash"),
        if_not_exists=True,
        **UTF8,
    )
    op.create_table(
        "owner_sessions",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", Key(), nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("browser", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], "fk_owner_sessions_owner_id_owners"),
        sa.PrimaryKeyConstraint("id", name="pk_owner_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_owner_sessions_token_hash"),
        if_not_exists=True,
        **UTF8,
    )
    there = sa.inspect(op.get_bind()).get_indexes("owner_sessions")
    if "ix_owner_sessions_owner_id" not in {found["name"] for found in there}:
        op.create_index("ix_owner_sessions_owner_id", "owner_sessions", ["owner_id"])
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", Key(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        if_not_exists=True,
        **UTF8,
    )
