"""Errors of accounts: one small tree, each leaf with one message for the user."""

from datetime import timedelta

from cartapp.messages import MessageError, _


class AccountError(MessageError):
    """Base of all errors of accounts."""


class InvalidCredentials(AccountError):
    """No such user, a disabled one, or the wrong password: the message does not tell which."""

    def __init__(self) -> None:
        super().__init__(_("Invalid email or password"))


class WrongPassword(AccountError):
    """The current password that a change requires is wrong."""

    def __init__(self) -> None:
        super().__init__(_("The current password is wrong"))


class WeakPassword(AccountError):
    """The new password breaks a rule; the message names it."""


class EmailTaken(AccountError):
    """A user with this address exists; letter case does not matter."""

    def __init__(self) -> None:
        super().__init__(_("An account with this email address already exists"))


class NoSuchUser(AccountError):
    """No user has this address."""

    def __init__(self, email: str) -> None:
        super().__init__("There is no user {email}", email=email)  # commands print it, in English


class TooManyAttempts(AccountError):
    """The limit of attempts is reached; one more is allowed after `retry_after` whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(_("Too many attempts; try again in {time}"), time=timedelta(seconds=retry_after))
        self.retry_after = retry_after


class TooBusy(AccountError):
    """Too many passwords wait to be hashed; retry after `retry_after` whole seconds."""

    def __init__(self) -> None:
        self.retry_after = 1
        super().__init__(
            _("The server is busy checking passwords; try again in {time}"),
            time=timedelta(seconds=self.retry_after),
        )
