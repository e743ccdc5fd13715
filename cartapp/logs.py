"""How the server writes its log: plain lines, or one JSON object a line in production."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from .settings import Settings


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
        return json.dumps(entry, ensure_ascii=False)


def configuration(settings: Settings) -> dict[str, Any]:
    """For `logging.config.dictConfig`, and for uvicorn: everything goes to standard error."""
    plain = {"format": "%(asctime)s %(levelname)-8s %(name)s: %(message)s"}
    # At DEBUG, uvicorn's WebSocket library would write the Cookie header; so only our own loggers get there.
    others = "INFO" if settings.log_level == "DEBUG" else settings.log_level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter} if settings.production else plain},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": others},
        "loggers": {
            "cartapp": {"level": settings.log_level},
            "alembic": {"level": "WARNING"},  # it would tell at each start which engine it talks to
        },
    }
