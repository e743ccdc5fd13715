"""What can go wrong with a session: one small tree, each leaf with one meaning."""


class SessionError(Exception):
    """Base of every error that the session layer raises."""


class SessionNotLoaded(SessionError):
    """The session was touched before `await session.load()`; a mistake in the handler."""


class UnsupportedValue(SessionError, TypeError):
    """The value cannot be kept in a session; the message names the key. It was not set."""


class SessionTooLarge(SessionError):
    """The session would pass its size limit, both counted in bytes; the change was not saved."""

    def __init__(self, size: int, limit: int, largest: list[str]) -> None:
        self.size, self.limit, self.largest = size, limit, largest
        names = ", ".join(largest)
        super().__init__(
            f"The session would take {size} bytes and the limit is {limit}; its largest keys: {names}."
        )


class SessionEnded(SessionError):
    """The session was ended, or got a new id, after this request had loaded it; the change was not saved."""

    def __init__(self) -> None:
        super().__init__("This session was ended or rotated by another request; this change was not saved.")


class EndedKeyError(SessionEnded, KeyError):
    """The key is missing because the session was rotated; code that catches `KeyError` goes on."""

    __str__ = Exception.__str__  # a KeyError's own adds quotes


class SessionBusy(SessionError):
    """Other processes kept changing the session until the time-out; the change was not saved."""

    def __init__(self) -> None:
        super().__init__(
            "The session is being changed by too many requests at once; this change was not saved."
        )


class StoreUnavailable(SessionError):
    """The store refused, hung or failed. Whether the last write took effect is not known."""


class RecordTooLarge(StoreUnavailable):
    """The backend takes no record of this size; `limit` is in bytes of the record's data."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(f"The record has {size} bytes and the limit of the backend is {limit}.")


class UnreadableRecord(SessionError):
    """What the store holds is not a record: garbage, another version, or a lost key."""


class StoreNotSupported(SessionError):
    """The store lacks an ability that was asked of it, such as listing."""


class InvalidStoreURL(SessionError, ValueError):
    """The URL names no known store or has a part that the store does not take."""


class UnusableURL(StoreUnavailable, InvalidStoreURL):
    """Only when the driver was to connect it found that it cannot take the URL, however long one waits."""


class MissingDriver(SessionError, ImportError):
    """The package that talks to the store is not installed; the message has the line that installs it."""
