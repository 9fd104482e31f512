"""The version stamps of the board and of the goods."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")


def upgrade() -> None:
    """Make the table, unless an interrupted run has, and the stamps that are not there yet."""
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("stamps"):
        op.create_table(
            "stamps",
            sa.Column("name", KEY, nullable=False),
            sa.Column("value", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("name", name="pk_stamps"),
        )
    stamps = sa.table("stamps", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    there = set(connection.scalars(sa.select(stamps.c.name)))
    for name in ("board", "goods"):
        if name not in there:
            op.execute(stamps.insert().values(name=name, value=secrets.randbits(62)))
