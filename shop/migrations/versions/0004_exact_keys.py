"""On MySQL and MariaDB: keys that are compared exactly, and every text in utf8mb4.

A database that was made as latin1 or utf8mb3 loses what customers write, and `utf8mb4_bin` takes a
key with a space behind it for the key. The columns are changed by name: CONVERT, which changes a
whole table, would make keys case-insensitive and TEXT larger. A table is changed by one statement,
and a table that an interrupted run has changed already is left as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The database may have tables of other programs too.
TABLES = (
    "alembic_version attempts disputes key_values ledger mails order_lines orders products replies "
    "stripe_events throttles timeline topics"
).split()
FIND_TABLES = sa.text(
    "SELECT table_name, table_collation FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name IN :tables"
).bindparams(sa.bindparam("tables", TABLES, expanding=True))
FIND_COLUMNS = sa.text(
    "SELECT table_name, column_name, column_type, is_nullable, character_set_name, collation_name"
    " FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name IN :tables"
    " AND collation_name IS NOT NULL ORDER BY ordinal_position"
).bindparams(sa.bindparam("tables", TABLES, expanding=True))


def upgrade() -> None:
    """Change what is not right yet; other databases compare exactly and have one encoding."""
    connection = op.get_bind()
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    exact = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
    changes: dict[str, list[str]] = {}
    for table, collation in connection.execute(FIND_TABLES):
        if not collation.startswith("utf8mb4"):
            changes[table] = ["DEFAULT CHARACTER SET utf8mb4"]
    for table, name, kind, nullable, charset, collation in connection.execute(FIND_COLUMNS):
        is_key = kind == "varchar(255)"
        if charset == "utf8mb4" and (collation == exact or not is_key):
            continue
        collate = f" COLLATE {exact}" if is_key else ""
        null = "NULL" if nullable == "YES" else "NOT NULL"
        change = f"MODIFY `{name}` {kind} CHARACTER SET utf8mb4{collate} {null}"
        changes.setdefault(table, []).append(change)
    for table in sorted(changes):
        op.execute(f"ALTER TABLE {table} {', '.join(changes[table])}")
