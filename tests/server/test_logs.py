"""Log formats of the server."""

import json
import logging
import logging.config
import sys

import pytest

from cartapp.logs import logging_config
from cartapp.settings import Settings


def test_production_logs_one_json_object_per_line() -> None:
    made = logging_config(Settings(env="production"))
    formatter = made["formatters"]["line"]["()"]()
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        record = logging.LogRecord("cartapp", logging.ERROR, __file__, 1, "%s\nü", ("a",), sys.exc_info())
    line = formatter.format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "cartapp", "a\nü")
    assert "ValueError: bad\nnews" in entry["exception"]


@pytest.mark.parametrize(("level", "others"), [("DEBUG", "INFO"), ("INFO", "INFO"), ("ERROR", "ERROR")])
def test_debug_level_applies_to_our_loggers_only(level: str, others: str) -> None:
    made = logging_config(Settings.model_validate({"log_level": level}))
    logging.config.DictConfigurator(made)  # raises for an invalid configuration
    assert made["loggers"]["cartapp"]["level"] == level
    assert made["root"]["level"] == others
