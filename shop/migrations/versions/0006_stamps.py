"""The version stamps of the board and of the goods."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")


def upgrade() -> None:
    """Make the table, unless an interrupted run has; each first change makes its stamp."""
    if not sa.inspect(op.get_bind()).has_table("stamps"):
        op.create_table(
            "stamps",
            sa.Column("name", KEY, nullable=False),
            sa.Column("value", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("name", name="pk_stamps"),
        )
