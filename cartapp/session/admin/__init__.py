"""Sessions outside a request: list, find, end, purge, copy, inspect, and check a store."""

from ..stores.queries import Order, Query
from .copy import CopyResult, copy_sessions
from .health_check import StepTiming, ping, round_trip
from .inspector import SessionInspector, SessionReport, Value
from .queries import (
    AmbiguousHandle,
    HandleNotFound,
    Snapshot,
    Statistics,
    count_sessions,
    estimate,
    resolve_handle,
    statistics,
    take_snapshot,
    top_sessions,
)
from .selection import ByHandle, ByIdleness, ByUser, Selection
from .sessions import SessionInfo, Sessions
from .sweeper import Sweeper

__all__ = [
    "AmbiguousHandle",
    "ByHandle",
    "ByIdleness",
    "ByUser",
    "CopyResult",
    "HandleNotFound",
    "Order",
    "Query",
    "Selection",
    "SessionInfo",
    "SessionInspector",
    "SessionReport",
    "Sessions",
    "Snapshot",
    "Statistics",
    "StepTiming",
    "Sweeper",
    "Value",
    "copy_sessions",
    "count_sessions",
    "estimate",
    "ping",
    "resolve_handle",
    "round_trip",
    "statistics",
    "take_snapshot",
    "top_sessions",
]
