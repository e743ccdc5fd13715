"""Session stores: the contract, the backends, and wrappers. `open_store` opens the store of a URL."""

from ..record import Record, RecordOrSummary, Summary, Version
from .backend import Backend, InvalidPart, URLParts, base_scheme
from .base import Countable, HostLocal, Indexed, Listable, Purgeable, Store
from .overview import Extent, Overview, Partitioned
from .queries import (
    BatchPurgeable,
    BulkDeletable,
    BulkLoadable,
    BulkWritable,
    Estimable,
    Order,
    Pageable,
    Pooled,
    Query,
    Queryable,
    Totals,
)
from .redis.own_client import redis_store
from .registry import BACKENDS, find_backend, get_backend, open_store
from .sql.own_engine import sql_store
from .urls import split_url
from .wrappers.circuit_breaker import CircuitBreakerStore
from .wrappers.encryption import EncryptedStore
from .wrappers.instrumentation import InstrumentedStore, OnCall, StoreCall

__all__ = [
    "BACKENDS",
    "Backend",
    "BatchPurgeable",
    "BulkDeletable",
    "BulkLoadable",
    "BulkWritable",
    "CircuitBreakerStore",
    "Countable",
    "EncryptedStore",
    "Estimable",
    "Extent",
    "HostLocal",
    "Indexed",
    "InstrumentedStore",
    "InvalidPart",
    "Listable",
    "OnCall",
    "Order",
    "Overview",
    "Pageable",
    "Partitioned",
    "Pooled",
    "Purgeable",
    "Query",
    "Queryable",
    "Record",
    "RecordOrSummary",
    "Store",
    "StoreCall",
    "Summary",
    "Totals",
    "URLParts",
    "Version",
    "base_scheme",
    "find_backend",
    "get_backend",
    "open_store",
    "redis_store",
    "split_url",
    "sql_store",
]
