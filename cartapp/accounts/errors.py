"""Why an account does not do what was asked of it: one small tree, each leaf one sentence for the user."""


class AccountError(Exception):
    """Base of every refusal here."""


class InvalidCredentials(AccountError):
    """No such user, a disabled one, or the wrong password: nobody outside is told which."""

    def __init__(self) -> None:
        super().__init__("Invalid email or password")


class WrongPassword(AccountError):
    """The current password that a change asks for is wrong."""

    def __init__(self) -> None:
        super().__init__("The current password is wrong")


class WeakPassword(AccountError):
    """The new password breaks a rule, which the sentence names."""


class EmailTaken(AccountError):
    """There is a user with this address, whatever its capitals."""

    def __init__(self) -> None:
        super().__init__("There is an account with this e-mail address already")


class NoSuchUser(AccountError):
    """There is no user with this address."""

    def __init__(self, email: str) -> None:
        super().__init__(f"There is no user {email}.")


class TooManyAttempts(AccountError):
    """The limit of attempts is reached; `retry_after` whole seconds later one more is allowed."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        seconds = "1 second" if retry_after == 1 else f"{retry_after} seconds"
        super().__init__(f"Too many attempts; try again in {seconds}")


class TooBusy(AccountError):
    """Too many passwords wait to be hashed; `retry_after` whole seconds later there may be room."""

    def __init__(self) -> None:
        self.retry_after = 1
        super().__init__("Too many passwords are being checked at the moment; try again in 1 second")
