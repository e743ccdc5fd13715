"""The servers that a store's URL names."""

from urllib.parse import SplitResult

from ..errors import InvalidStoreURL

WRONG_PORT = "A store's URL has a port that is no number from 1 to 65535."


def hosts_in(text: str, port: int) -> tuple[tuple[str, int], ...]:
    """Name and port of each server in `host[:port][,host[:port]…]`; `port` is for those that have none.

    Raises `InvalidStoreURL`.
    """
    parts = text.split(",")
    if len(parts) > 1 and "" in parts:
        raise InvalidStoreURL("A store's URL has a comma with no server beside it.")
    try:
        return tuple(_host(SplitResult("", part, "", "", ""), port) for part in parts)
    except ValueError:
        raise InvalidStoreURL(WRONG_PORT) from None


def _host(part: SplitResult, port: int) -> tuple[str, int]:
    given = port if part.port is None else part.port
    if given == 0:
        raise ValueError
    return part.hostname or "localhost", given
