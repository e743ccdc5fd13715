"""Rate limit for password attempts, in the database and so shared by all workers.

Generic cell rate algorithm (ITU-T I.371): `next_due` of a subject is the time at which the next of evenly
spaced attempts would be due. Each attempt advances it by one step. An attempt that would advance it by more
than a period from now is rejected. The attempts of a full period may come in a burst, then one per step.
`next_due` is more than a period ahead only if the clock was set back; then one attempt is allowed, and one
per step from there on.

Subjects are the account, whether or not it exists, and the network of the client. A successful attempt is
refunded, except that of a registration for its network. Attempts from a network with a recent log-in to the
account are counted separately, so that guessing from elsewhere does not lock the owner out.
"""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from sqlalchemy import BigInteger, Connection, Select, case, cast, delete, insert, select, update

from .errors import TooManyAttempts
from .tables import ATTEMPTS

KNOWN_NETWORK_LIFETIME: Final = 30 * 24 * 60 * 60 * 1000
"""Milliseconds for which a network counts as known to an account after a log-in."""

NETWORK_FACTOR: Final = 3
"""Limit of a network as a multiple of an account's limit."""

CLOCK_SKEW: Final = 5000
"""Maximum difference of the clocks of hosts that share the database, in milliseconds."""

_MAX_TRIES = 10
_BATCH = 1000  # rows read in one step of a purge
_MICROSECONDS = 1000  # per millisecond; a step of 10000/second is below a millisecond


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Number of attempts in a number of seconds."""

    count: int
    seconds: int

    @property
    def period(self) -> int:
        """Length of the period in microseconds."""
        return self.seconds * 1_000_000

    @property
    def step(self) -> int:
        """Microseconds between evenly spaced attempts."""
        return self.period // self.count


@dataclass(frozen=True, slots=True)
class CountedAttempt:
    """An allowed attempt and the subjects it was counted for."""

    account: str
    network: str
    subjects: tuple[tuple[str, RateLimit], ...]
    """The account's is the last."""
    place: str
    is_known: bool
    """Whether the network is known to the account."""


def network_from_host(host: str) -> str:
    """Return the network of a host: /24 for IPv4 and /64 for IPv6, a typical subscriber or office."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))


def count_attempt(
    connection: Connection,
    account: str,
    network: str,
    limit: RateLimit,
    now: int,
    *,
    is_known: bool,
    is_repeated: bool = False,
) -> CountedAttempt:
    """Count an attempt before it is made, so that the limit holds for concurrent attempts.

    `is_known`: whether the query `select_known_network` finds the network. `is_repeated`: the attempt repeats
    a registration. From the same network it counts for the account alone: the network was charged the first
    time. Raises `TooManyAttempts`; roll the transaction back then.
    """
    place = _subject("place", account, network)
    own = (place if is_known else _subject("account", account), limit)
    wide = (_subject("network", network), RateLimit(limit.count * NETWORK_FACTOR, limit.seconds))
    # The network's row comes first in every transaction, which prevents deadlocks.
    subjects = (own,) if is_repeated and is_known else (wide, own)
    for subject, allowed in subjects:
        _count_one(connection, subject, allowed, now)
    return CountedAttempt(account, network, subjects, place, is_known)


def select_known_network(account: str, network: str, now: int) -> Select[tuple[str]]:
    """Return the query that finds a row if the network is known to the account."""
    # A time further ahead was set by a wrong clock.
    until = ATTEMPTS.c.known_until
    is_known = (until > now) & (until <= now + KNOWN_NETWORK_LIFETIME + CLOCK_SKEW)
    return select(ATTEMPTS.c.subject).where(
        ATTEMPTS.c.subject == _subject("place", account, network), is_known
    )


def record_success(
    connection: Connection, counted: CountedAttempt, now: int, *, is_registration: bool = False
) -> None:
    """Refund an attempt, for a registration the account's part only, and remember the network."""
    _refund(connection, counted.subjects[-1:] if is_registration else counted.subjects)
    known = {"known_until": now + KNOWN_NETWORK_LIFETIME}
    if not connection.execute(
        update(ATTEMPTS).where(ATTEMPTS.c.subject == counted.place).values(known)
    ).rowcount:
        connection.execute(insert(ATTEMPTS).values(subject=counted.place, next_due=0, **known))


def refund(connection: Connection, counted: CountedAttempt) -> None:
    """Refund an attempt that was not made."""
    _refund(connection, counted.subjects)


def reset(connection: Connection, account: str) -> None:
    """Reset the limit of an account."""
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.subject == _subject("account", account)))


def purge(connection: Connection, now: int, after: str | None) -> tuple[int, str | None]:
    """Remove the expired rows among the next thousand subjects after `after`.

    Return their number, and the last subject or None at the end. Iteration by subject needs no index on
    times, which every attempt would have to update.
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


def _refund(connection: Connection, subjects: tuple[tuple[str, RateLimit], ...]) -> None:
    for subject, limit in subjects:
        connection.execute(
            update(ATTEMPTS)
            .where(ATTEMPTS.c.subject == subject)
            .values(next_due=ATTEMPTS.c.next_due - limit.step)
        )


def _count_one(connection: Connection, subject: str, limit: RateLimit, now: int) -> None:
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
    for _ in range(_MAX_TRIES):
        if connection.execute(update(ATTEMPTS).where(allowed).values(next_due=next_due)).rowcount:
            return
        due = connection.execute(due_of_subject).scalar()
        if due is None:
            first = insert(ATTEMPTS).values(subject=subject, next_due=at + limit.step, known_until=0)
            connection.execute(first)
            return
        if latest < due <= impossible:
            raise TooManyAttempts(max(1, -((latest - due) // 1_000_000)))
        # Another worker committed the row between the two statements: retry.
    raise TooManyAttempts(1)


def _subject(kind: str, *parts: str) -> str:
    """Return the key of a subject: a hash, of fixed length."""
    return sha256("\0".join((kind, *parts)).encode()).hexdigest()
