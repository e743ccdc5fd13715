"""Column types of the tables, and their variants for each engine."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, LargeBinary, String, Unicode
from sqlalchemy.dialects import mssql, mysql

MYSQL_COLLATION: Final = "utf8mb4_bin"
_MSSQL_COLLATION: Final = "Latin1_General_100_BIN2"

# Keys and user IDs are case-sensitive, so their columns compare bytes.
KEY: Final = (
    String(22)
    .with_variant(String(22, collation="C"), "postgresql")
    .with_variant(mysql.VARCHAR(22, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    .with_variant(mssql.VARCHAR(22, collation=_MSSQL_COLLATION), "mssql")
)
NUMBER: Final = BigInteger()
NAME: Final = (
    Unicode(255)
    .with_variant(Unicode(255, collation="C"), "postgresql")
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation=MYSQL_COLLATION), "mysql", "mariadb")
    .with_variant(mssql.NVARCHAR(255, collation=_MSSQL_COLLATION), "mssql")
)
DATA: Final = (
    LargeBinary()
    .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")  # a BLOB holds 65,535 bytes
    .with_variant(mssql.VARBINARY("max"), "mssql")  # type: ignore[no-untyped-call]
)

TABLE_OPTIONS: Final[Mapping[str, Any]] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
