"""The server's log."""

import json
import logging
import logging.config
import sys

import pytest

from cartapp.logs import configuration
from cartapp.settings import Settings


def test_production_logs_are_one_json_object_a_line() -> None:
    made = configuration(Settings(env="production"))
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


@pytest.mark.parametrize("production", [True, False])
def test_h11_the_access_log_has_no_query_strings(
    production: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.config.dictConfig(configuration(Settings(env="production" if production else "development")))
    # As uvicorn's protocols log a request.
    args = ("127.0.0.1:1", "GET", "/login?next=%2Fcart&token=secret", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *args)
    line = capsys.readouterr().err
    assert "secret" not in line
    assert "GET /login HTTP/1.1" in line


@pytest.mark.parametrize(("level", "others"), [("DEBUG", "INFO"), ("INFO", "INFO"), ("ERROR", "ERROR")])
def test_only_our_own_loggers_go_to_debug(level: str, others: str) -> None:
    made = configuration(Settings.model_validate({"log_level": level}))
    logging.config.DictConfigurator(made)  # raises for a configuration that is none
    assert made["loggers"]["cartapp"]["level"] == level
    assert made["root"]["level"] == others
