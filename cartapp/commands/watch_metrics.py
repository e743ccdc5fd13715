"""Rates from a server's `/metrics`, for `cart sessions watch --metrics`."""

from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPException
from math import isinf
from time import monotonic
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

_TIMEOUT: Final = 2.0  # seconds
_LARGEST: Final = 4 << 20  # bytes of a response
_STORE: Final = "cart_session_store_operation_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates since the last reading, None at the first. Operations on the session store are `calls`."""

    requests_per_second: float | None = None
    errors_per_second: float | None = None
    conflicts_per_second: float | None = None
    calls_per_second: float | None = None
    slowest_call_ms: float | None = None
    """The bound of the highest histogram bucket with a new call; a call may be slower than the last bound."""


class MetricsUnavailable(Exception):
    """The metrics cannot be read; the message is the reason."""


def is_http_url(url: str) -> bool:
    """Return whether the text is an http or https URL that can be requested, without a user name."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_clean = url.isascii() and url.isprintable() and not {" ", "@"} & set(url.partition("?")[0])
    return has_host and is_clean and parts.scheme in ("http", "https")


class MetricsReader:
    """Reads one URL repeatedly. Raises `ValueError` for a URL other than http(s)."""

    def __init__(self, url: str) -> None:
        if not is_http_url(url):
            raise ValueError("expected an http or https URL")
        self._request = Request(url, headers={"Accept": "text/plain"})  # noqa: S310 - checked above
        self._before: tuple[float, dict[str, float], dict[float, float]] | None = None

    def read(self) -> Rates:
        """Return the rates since the last call. Raises `MetricsUnavailable`."""
        try:
            sums, buckets = _parse(self._fetch())
        except (OSError, HTTPException, ValueError, LookupError) as error:
            raise MetricsUnavailable(_reason(error)) from error
        now = monotonic()
        before, self._before = self._before, (now, sums, buckets)
        if before is None:
            return Rates()
        seconds = now - before[0]
        rates = {name: max(0, value - before[1].get(name, 0)) / seconds for name, value in sums.items()}
        return Rates(
            rates.get("requests", 0),
            rates.get("errors", 0),
            rates.get("conflicts", 0),
            rates.get("calls", 0),
            _slowest(buckets, before[2]),
        )

    def _fetch(self) -> str:
        with urlopen(self._request, timeout=_TIMEOUT) as response:  # noqa: S310 - http(s), see above
            return str(response.read(_LARGEST), "utf-8")


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the response has status {error.code}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return f"no response within {_TIMEOUT:g} seconds"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, HTTPException):
        return "the response is incomplete or not HTTP"
    return "the response is not in the text format of Prometheus"


def _parse(text: str) -> tuple[dict[str, float], dict[float, float]]:
    """Return sums of counters, and the calls of the store up to each bound in seconds."""
    from prometheus_client.parser import text_string_to_metric_families

    sums: dict[str, float] = defaultdict(float)
    buckets: dict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "cart_http_requests_total":
                sums["requests"] += sample.value
                sums["errors"] += sample.value if sample.labels.get("status", "").startswith("5") else 0
            elif sample.name == "cart_session_conflicts_total":
                sums["conflicts"] += sample.value
            elif sample.name == _STORE:
                buckets[float(sample.labels["le"])] += sample.value
    sums["calls"] = buckets.get(float("inf"), 0)
    return sums, buckets


def _slowest(buckets: dict[float, float], before: dict[float, float]) -> float | None:
    """Return the bound of the highest bucket with a new call, in milliseconds; None without any."""
    slowest, counted, largest = None, 0.0, 0.0
    for bound in sorted(buckets):
        largest = largest if isinf(bound) else bound
        new = buckets[bound] - before.get(bound, 0)
        if new > counted:
            slowest = largest * 1000
        counted = max(counted, new)
    return slowest
