"""Log formats of the server: plain lines, or one JSON object per line in production.

Both formatters escape all parts of a record, so that logging calls need not. A record is one line, which no
client can forge or color; the lines of a traceback are indented.
"""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING, Any

from cartapp.escapes import dump_json, escape_line, escape_lines

if TYPE_CHECKING:  # slow to import, and unused by `cart --help`
    from cartapp.settings import Settings


request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The ID of the request being handled."""


class LineFormatter(logging.Formatter):
    """Formatter of a record as one line, followed by an indented traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines without a trailing line feed."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [escape_line(self.formatMessage(record))]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(record.stack_info)
        return "\n".join([lines[0], *(indent(escape_lines(one), "    ") for one in lines[1:])])


class JsonFormatter(logging.Formatter):
    """Formatter of a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a trailing line feed."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if own_id := request_id.get():
            entry["request_id"] = own_id
        entry |= getattr(record, "fields", {})  # of a security event or a response
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return dump_json(entry)


def logging_config(settings: "Settings") -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`: log to standard error."""
    plain = {"()": LineFormatter, "fmt": "%(asctime)s %(levelname)-8s %(name)s: %(message)s"}
    # DEBUG applies to our own loggers: uvicorn's WebSocket library would log the Cookie header.
    others = "INFO" if settings.log_level == "DEBUG" else settings.log_level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter} if settings.production else plain},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": others},
        "loggers": {
            "cartapp": {"level": settings.log_level},
            "uvicorn.access": {"level": "WARNING"},  # see web/middleware/request_log.py
            "alembic": {"level": "WARNING"},  # INFO names the database engine at each start
        },
    }


def escape_warnings() -> None:
    """Escape the warnings that a process without logging configuration prints to standard error."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("%(message)s"))
