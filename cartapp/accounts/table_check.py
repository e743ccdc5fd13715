"""Check that the tables of the accounts are readable and writable, without changing them."""

import secrets

from sqlalchemy import Connection, Table, delete, false, insert, select, update
from sqlalchemy.sql.dml import UpdateBase

from .tables import ATTEMPTS, LOGINS, REMEMBER_ME, USERS


def check_tables(connection: Connection, *, registration: bool) -> None:
    """Run statements that need every table and privilege that requests need.

    `registration`: whether requests insert users.

    Statements that match no row detect missing tables, missing privileges and a read-only server. A row is
    inserted and deleted as well, since only that detects a full disk.
    """
    for statement in (_REGISTRATION, *_WITHOUT_EFFECT) if registration else _WITHOUT_EFFECT:
        connection.execute(statement)
    row = {"subject": secrets.token_hex(32), "next_due": 0, "known_until": 0}
    connection.execute(insert(ATTEMPTS), row)
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.subject == row["subject"]))


def _insertion(table: Table) -> UpdateBase:
    return insert(table).from_select(table.c.keys(), select(table).where(false()))


def _update(table: Table) -> UpdateBase:
    (key,) = table.primary_key
    return update(table).where(false()).values({key: key})


_REGISTRATION = _insertion(USERS)

# Requests do not delete users.
_WITHOUT_EFFECT = (
    _update(USERS),
    *(
        statement
        for table in (LOGINS, REMEMBER_ME, ATTEMPTS)
        for statement in (_insertion(table), _update(table), delete(table).where(false()))
    ),
)
