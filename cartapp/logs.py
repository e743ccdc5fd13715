"""How the server writes its log: plain lines, or one JSON object a line in production.

Both formatters escape whatever a record holds, so that no logging call has to: a record is one line that no
client can forge or colour, and further lines that belong to it, such as a traceback's, are indented.
"""

import logging
from datetime import UTC, datetime
from textwrap import indent
from typing import TYPE_CHECKING, Any

from .escapes import json_text, printable, printable_lines

if TYPE_CHECKING:  # it takes long to import, and `cart --help` does without
    from .settings import Settings


class LineFormatter(logging.Formatter):
    """One log record as one line, and indented below it the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines, without the last one's end."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [printable(self.formatMessage(record))]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(record.stack_info)
        return "\n".join([lines[0], *(indent(printable_lines(one), "    ") for one in lines[1:])])


class JsonFormatter(logging.Formatter):
    """One log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})  # of a structured event
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json_text(entry)


class WithoutQuery(logging.Filter):
    """Takes the query string, which may hold what a visitor typed, out of uvicorn's access log.

    uvicorn's arguments are the client, the method, the path with its query, the HTTP version and the status.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; every record passes."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *others = record.args
            record.args = (client, method, str(path).partition("?")[0], *others)
        return True


def configuration(settings: "Settings") -> dict[str, Any]:
    """For `logging.config.dictConfig`, and for uvicorn: everything goes to standard error."""
    plain = {"()": LineFormatter, "fmt": "%(asctime)s %(levelname)-8s %(name)s: %(message)s"}
    # At DEBUG, uvicorn's WebSocket library would write the Cookie header; so only our own loggers get there.
    others = "INFO" if settings.log_level == "DEBUG" else settings.log_level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter} if settings.production else plain},
        "filters": {"without query": {"()": WithoutQuery}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": others},
        "loggers": {
            "cartapp": {"level": settings.log_level},
            "uvicorn.access": {"filters": ["without query"]},
            "alembic": {"level": "WARNING"},  # it would tell at each start which engine it talks to
        },
    }


def escape_warnings() -> None:
    """Escape what a process logs that configures no logging: its warnings, on standard error."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("%(message)s"))
