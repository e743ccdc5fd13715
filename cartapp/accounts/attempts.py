"""Attempts at passwords, counted in the database, so that all workers count together.

The generic cell rate algorithm (ITU-T I.371): a subject's `next_due` is the moment at which its next attempt
would be due if attempts came evenly. Each attempt moves it on by one step; one that would move it more than a
period ahead of now is refused. A full period's attempts can come at once; after that one a step. So no
`next_due` lies more than a period ahead, unless the clock was set back since: such a one lets one attempt
through, and from then on one a step.

What is counted is an account, whether there is one or not, and the client's network. An attempt that succeeds
is refunded; a registration stays counted for its network. So that guessing on purpose does not lock an owner
out, attempts from a network with a recent log-in to the account are counted apart from all others.
"""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from sqlalchemy import BigInteger, Connection, Select, case, cast, delete, insert, select, update

from .errors import TooManyAttempts
from .tables import ATTEMPTS

KNOWN_FOR: Final = 30 * 24 * 60 * 60 * 1000
"""Milliseconds for which a network is known to an account after a log-in."""

NETWORK_FACTOR: Final = 3
"""How many times an account's attempts a network has."""

CLOCK_SKEW: Final = 5000
"""Milliseconds by which the clocks of hosts that share the database may differ."""

_TRIES = 10
_BATCH = 1000  # rows that one step of a purge looks at
_MICROSECONDS = 1000  # in a millisecond; a step of 10000/second would not be a whole one


@dataclass(frozen=True, slots=True)
class Limit:
    """So many attempts in so many seconds."""

    count: int
    seconds: int

    @property
    def period(self) -> int:
        """In microseconds."""
        return self.seconds * 1_000_000

    @property
    def step(self) -> int:
        """Microseconds between two attempts that come evenly."""
        return self.period // self.count


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that was let through, with the subjects that it was counted for."""

    account: str
    network: str
    subjects: tuple[tuple[str, Limit], ...]
    """That of the account is the last."""
    place: str
    is_known: bool
    """Whether there was a log-in to the account from this network in the last `KNOWN_FOR`."""


def network_of(host: str) -> str:
    """The client's network, /24 of IPv4 and /64 of IPv6: what one subscriber or office has."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))


def count(
    connection: Connection,
    account: str,
    network: str,
    limit: Limit,
    now: int,
    *,
    is_known: bool,
    is_repeated: bool = False,
) -> Counted:
    """Count an attempt before it is made, so that of many at once no more than allowed are.

    `is_known`: whether the query `known` finds the network. With `is_repeated` the attempt is a registration
    that came before: from the network of that one it counts for the account alone, since its network has paid
    for it. Raises `TooManyAttempts`; what was counted in the same transaction is then to be rolled back.
    """
    place = _subject("place", account, network)
    own = (place if is_known else _subject("account", account), limit)
    wide = (_subject("network", network), Limit(limit.count * NETWORK_FACTOR, limit.seconds))
    # All take the network's row first, so that no two wait for each other.
    subjects = (own,) if is_repeated and is_known else (wide, own)
    for subject, allowed in subjects:
        _count_one(connection, subject, allowed, now)
    return Counted(account, network, subjects, place, is_known)


def known(account: str, network: str, now: int) -> Select[tuple[str]]:
    """The query that finds a row if there was a log-in to the account from this network lately."""
    # A time further ahead than a log-in sets it was set by a clock that was wrong.
    until = ATTEMPTS.c.known_until
    is_known = (until > now) & (until <= now + KNOWN_FOR + CLOCK_SKEW)
    return select(ATTEMPTS.c.subject).where(
        ATTEMPTS.c.subject == _subject("place", account, network), is_known
    )


def record_success(
    connection: Connection, counted: Counted, now: int, *, is_registration: bool = False
) -> None:
    """Refund an attempt, a registration for its account only; its network is known from now on."""
    _refund(connection, counted.subjects[-1:] if is_registration else counted.subjects)
    known = {"known_until": now + KNOWN_FOR}
    if not connection.execute(
        update(ATTEMPTS).where(ATTEMPTS.c.subject == counted.place).values(known)
    ).rowcount:
        connection.execute(insert(ATTEMPTS).values(subject=counted.place, next_due=0, **known))


def refund(connection: Connection, counted: Counted) -> None:
    """Take back an attempt that was not made after all."""
    _refund(connection, counted.subjects)


def forget(connection: Connection, account: str) -> None:
    """Let an account begin anew."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.subject == _subject("account", account)))


def purge(connection: Connection, now: int, after: str | None) -> tuple[int, str | None]:
    """Remove the rows that say nothing any more, of the next thousand subjects `after` one.

    Returns their number and the last subject, None at the end. Going through all subjects needs no index on
    times that every attempt would have to change.
    """
    idle = (ATTEMPTS.c.next_due <= now * _MICROSECONDS) & (ATTEMPTS.c.known_until <= now)
    batch = select(ATTEMPTS.c.subject, case((idle, 1), else_=0).label("is_idle"))
    ordered = batch.where(ATTEMPTS.c.subject > (after or "")).order_by(ATTEMPTS.c.subject).limit(_BATCH)
    rows = connection.execute(ordered).all()
    subjects = [row.subject for row in rows if row.is_idle]
    removed = 0
    if subjects:
        removed = connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.subject.in_(subjects), idle)).rowcount
    return removed, rows[-1].subject if len(rows) == _BATCH else None


def _refund(connection: Connection, subjects: tuple[tuple[str, Limit], ...]) -> None:
    for subject, limit in subjects:
        connection.execute(
            update(ATTEMPTS)
            .where(ATTEMPTS.c.subject == subject)
            .values(next_due=ATTEMPTS.c.next_due - limit.step)
        )


def _count_one(connection: Connection, subject: str, limit: Limit, now: int) -> None:
    at = now * _MICROSECONDS
    latest = at + limit.period - limit.step
    impossible = at + limit.period + CLOCK_SKEW * _MICROSECONDS
    due_before = case(
        (ATTEMPTS.c.next_due < at, cast(at, BigInteger)),
        (ATTEMPTS.c.next_due > impossible, cast(latest, BigInteger)),
        else_=ATTEMPTS.c.next_due,
    )
    next_due = due_before + limit.step
    in_time = (ATTEMPTS.c.next_due <= latest) | (ATTEMPTS.c.next_due > impossible)
    allowed = (ATTEMPTS.c.subject == subject) & in_time
    due_of_subject = select(ATTEMPTS.c.next_due).where(ATTEMPTS.c.subject == subject)
    for _ in range(_TRIES):
        if connection.execute(update(ATTEMPTS).where(allowed).values(next_due=next_due)).rowcount:
            return
        due = connection.execute(due_of_subject).scalar()
        if due is None:
            first = insert(ATTEMPTS).values(subject=subject, next_due=at + limit.step, known_until=0)
            connection.execute(first)
            return
        if latest < due <= impossible:
            raise TooManyAttempts(max(1, -((latest - due) // 1_000_000)))
        # Between the two statements another worker has committed the row: it can be counted now.
    raise TooManyAttempts(1)


def _subject(kind: str, *parts: str) -> str:
    """Of one length whatever was typed, and of no use to whoever reads the table."""
    return sha256("\0".join((kind, *parts)).encode()).hexdigest()
