"""The version stamps of the board and of the goods."""

import sqlalchemy as sa
from alembic import op

from shop.db import Key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, unless an interrupted run has; each first change makes its stamp."""
    if not sa.inspect(op.get_bind()).has_table("stamps"):
        op.create_table(
            "stamps",
            sa.Column("name", Key(), nullable=False),
            sa.Column("value", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("name", name="pk_stamps"),
            mysql_charset="utf8mb4",
            mariadb_charset="utf8mb4",
        )
