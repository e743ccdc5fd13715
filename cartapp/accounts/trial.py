"""Whether the tables of the accounts can be used: what requests do with them, without an effect."""

import secrets

from sqlalchemy import Connection, Table, delete, false, insert, select, update
from sqlalchemy.sql.dml import UpdateBase

from .tables import ATTEMPTS, LOGINS, REMEMBER_ME, USERS


def try_tables(connection: Connection) -> None:
    """Need every table and right that requests need, and a transaction that writes.

    A statement that finds no row already needs a table, a right and a server that takes writes; a full disk
    shows only in rows, so one is added and removed.
    """
    for statement in _WITHOUT_EFFECT:
        connection.execute(statement)
    row = {"subject": secrets.token_hex(32), "next_due": 0, "known_until": 0}
    connection.execute(insert(ATTEMPTS), row)
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.subject == row["subject"]))


def _insertion(table: Table) -> UpdateBase:
    return insert(table).from_select(table.c.keys(), select(table).where(false()))


def _update(table: Table) -> UpdateBase:
    (key,) = table.primary_key
    return update(table).where(false()).values({key: key})


# Users are added where registration is open, and removed only by the operator.
_WITHOUT_EFFECT = (
    _update(USERS),
    *(
        statement
        for table in (LOGINS, REMEMBER_ME, ATTEMPTS)
        for statement in (_insertion(table), _update(table), delete(table).where(false()))
    ),
)
