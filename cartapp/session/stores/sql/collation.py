"""Give the column of user IDs of an older table the collation of a new one, which compares bytes.

Tables of MySQL and MariaDB had the server's default before, in which `ann` equals `Ann` and `änn`.
"""

from typing import Final

from sqlalchemy import Connection, Table

from .columns import MYSQL_COLLATION

_COLLATION: Final = """
SELECT collation_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = %s AND column_name = 'user_id'
"""

_UPGRADE: Final = f"""
ALTER TABLE {{table}}
MODIFY user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {MYSQL_COLLATION}
""".strip()


def collation_upgrade(table: Table) -> str:
    """Return the statement for a table of an older version in MySQL or MariaDB."""
    return _UPGRADE.format(table=table.name)


def apply_collation(table: Table, connection: Connection) -> None:
    """Change the collation of a table of an older version, which rewrites it."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    if connection.exec_driver_sql(_COLLATION, (table.name,)).scalar_one() != MYSQL_COLLATION:
        connection.exec_driver_sql(collation_upgrade(table))
