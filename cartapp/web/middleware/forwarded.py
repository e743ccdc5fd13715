"""The client's address and scheme from the headers of trusted proxies.

uvicorn's own middleware accepts neither a list of schemes nor IPv4-mapped IPv6 addresses, and ignores headers
silently.
"""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from ..errors import logger

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FOR, _PROTO = b"x-forwarded-for", b"x-forwarded-proto"
_NAMES = (_FOR, _PROTO)
_MAPPED = "::ffff:"
_IS_SECURE = {"http": False, "ws": False, "https": True, "wss": True}
_MAX_HOPS = 32  # proxies in a row; real chains have fewer than five


class ForwardedHeaders:
    """Sets the scope's `client` and `scheme`, for requests that come from one of the networks `trusted`.

    The client is the last address in `X-Forwarded-For` that is not a trusted proxy; earlier entries may be
    forged. The scheme is the one that the proxy next to the client saw. Proxies overwrite
    `X-Forwarded-Proto`, or append to it as to `X-Forwarded-For`. In lists of equal length the same index
    counts, otherwise the first scheme, which is the browser's. There a client can only lie about its own
    connection, and gets cookies that its browser does not send back.

    Headers from any other address are ignored and logged once.
    """

    def __init__(self, *, trusted: Collection[Network]) -> None:
        self._trusted = tuple(trusted)
        self._has_warned = False

    def apply(self, scope: Scope) -> None:
        """Set the client and the scheme of this request."""
        client = scope.get("client")
        if client and client[0].startswith(_MAPPED):
            scope["client"] = (str(parse_address(client[0]) or client[0]), client[1])
        for name, _ in scope["headers"]:
            if name in _NAMES:
                self._read(scope)
                return

    def _read(self, scope: Scope) -> None:
        peer = parse_address(scope["client"][0]) if scope.get("client") else None
        if not self._trusts(peer):
            self._warn(scope)
            return
        hops, schemes = _listed(scope, _FOR), _listed(scope, _PROTO)
        place, client = self._client(hops)
        if client is not None:
            scope["client"] = (str(client), 0)
        if schemes:
            scheme = schemes[place] if len(schemes) == len(hops) else schemes[0]
            _set_scheme(scope, scheme.lower())

    def _client(self, hops: Sequence[str]) -> tuple[int, Address | None]:
        """Return the client's index in `X-Forwarded-For`, and its address.

        For an entry that is not an address, return the proxy that added it.
        """
        place, client = 0, None
        for place in range(len(hops) - 1, max(-1, len(hops) - 1 - _MAX_HOPS), -1):
            address = parse_address(_without_port(hops[place]))
            client = address or client
            if not self._trusts(address):
                break
        return place, client

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _warn(self, scope: Scope) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        names = [name.decode().title() for name in _NAMES if _listed(scope, name)]
        logger.warning(
            "%s from %s ignored: CART_TRUSTED_PROXIES does not name that address. If it is your proxy's, "
            "name it there; until then all its visitors count as one network, and https counts as http. "
            "This is logged once.",
            " and ".join(names) or "A forwarded header",
            scope["client"][0] if scope.get("client") else "an unknown address",
        )


def parse_address(text: str) -> Address | None:
    """Parse an address, IPv4-mapped IPv6 (`::ffff:10.0.0.1`) as IPv4; None for any other text."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _listed(scope: Scope, name: bytes) -> list[str]:
    """Return the elements of a list header, which may span several lines."""
    lines = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return [element for element in (part.strip() for part in ",".join(lines).split(",")) if element]


def _without_port(hop: str) -> str:
    """Return the address in `10.0.0.1:4711`, `[2001:db8::1]:4711` and `[2001:db8::1]`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _set_scheme(scope: Scope, scheme: str) -> None:
    is_secure = _IS_SECURE.get(scheme)
    if is_secure is not None:
        plain, secure = ("ws", "wss") if scope["type"] == "websocket" else ("http", "https")
        scope["scheme"] = secure if is_secure else plain
