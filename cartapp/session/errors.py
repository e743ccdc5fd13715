"""Errors of the session library.

SessionError
    SessionNotLoaded
    UnsupportedValue (TypeError)
    SessionTooLarge
    SessionEnded
        EndedKeyError (KeyError)
    SessionBusy
    StoreUnavailable
        RecordTooLarge
        UnusableURL (also InvalidStoreURL)
    UnreadableRecord
    StoreNotSupported
    InvalidStoreURL (ValueError)
    MissingDriver (ImportError)
"""


class SessionError(Exception):
    """Base class of all errors of the session library."""


class SessionNotLoaded(SessionError):
    """The session was accessed before `await session.load()`: a bug in the handler."""


class UnsupportedValue(SessionError, TypeError):
    """The value cannot be stored in a session; the message names the key. It was not set."""


class SessionTooLarge(SessionError):
    """The session would exceed its size limit; the change was not saved. Sizes in bytes."""

    def __init__(self, size: int, limit: int, largest: list[str]) -> None:
        self.size: int = size
        self.limit: int = limit
        self.largest: list[str] = largest
        names = ", ".join(largest)
        super().__init__(
            f"The session would take {size} bytes and the limit is {limit}; its largest keys: {names}."
        )


class SessionEnded(SessionError):
    """The session was ended or rotated after this request had loaded it; the change was not saved."""

    def __init__(self) -> None:
        super().__init__("This session was ended or rotated by another request; this change was not saved.")


class EndedKeyError(SessionEnded, KeyError):
    """The key is missing because the session was rotated; an `except KeyError` catches it."""

    def __str__(self) -> str:
        """Return the message; `KeyError` would add quotes."""
        return Exception.__str__(self)


class SessionBusy(SessionError):
    """Other requests kept changing the session until the timeout; the change was not saved."""

    def __init__(self) -> None:
        super().__init__(
            "The session is being changed by too many requests at once; this change was not saved."
        )


class StoreUnavailable(SessionError):
    """The store rejected an operation, failed or timed out. The outcome of a write is unknown."""


class StoreTimeout(StoreUnavailable):
    """The store did not respond within its timeout."""


class RecordTooLarge(StoreUnavailable):
    """The record exceeds the size limit of the backend; both in bytes of the record's data."""

    def __init__(self, size: int, limit: int) -> None:
        self.size: int = size
        self.limit: int = limit
        super().__init__(f"The record has {size} bytes and the limit of the backend is {limit}.")


class UnreadableRecord(SessionError):
    """The stored data is not a record: corrupt, of another version, or encrypted with a lost key."""


class StoreNotSupported(SessionError):
    """The store does not support an operation, such as listing."""


class InvalidStoreURL(SessionError, ValueError):
    """The URL has an unknown scheme, or a part that the store does not support."""


class UnusableURL(StoreUnavailable, InvalidStoreURL):
    """The driver rejected the URL when it connected; a retry cannot succeed."""


class MissingDriver(SessionError, ImportError):
    """The driver of the store is not installed; the message contains the install command."""
