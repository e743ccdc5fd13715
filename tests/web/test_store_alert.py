"""The alert that the session store is down, on the metrics of a shop without requests of visitors."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.metrics import Metrics, get_metrics
from tests.support.polling import poll_until
from tests.support.servers.process import Server
from tests.support.servers.redis import redis_binary, running
from tests.support.shop import KEYBOARD
from tests.support.shop_server import ROOT, running_shop

pytestmark = pytest.mark.anyio


def fires(metrics: Metrics, alert: str) -> bool:
    """Evaluate an alert that compares one metric with a number."""
    (group,) = yaml.safe_load((ROOT / "deploy/prometheus-rules.yaml").read_text())["groups"]
    (expression,) = (rule["expr"] for rule in group["rules"] if rule["alert"] == alert)
    compared = re.fullmatch(r"(\w+) == (\d)", expression)
    assert compared is not None
    (value,) = (sample.value for sample in metrics.samples if sample.name == compared[1])
    return value == int(compared[2])


@pytest.mark.parametrize(("fail", "repair"), [(Server.kill, Server.revive), (Server.pause, Server.resume)])
async def test_alert_while_the_store_is_down(
    tmp_path: Path, fail: Callable[[Server], None], repair: Callable[[Server], None]
) -> None:
    """A shop that is not ready gets no requests, so the alert must not need any."""
    with running(redis_binary()) as redis:
        settings = {"CART_SESSION_URL": redis.url, "CART_METRICS": "true"}
        with running_shop(tmp_path, settings, workers=1) as shop:
            async with shop.client() as client:

                async def alert() -> bool:
                    return fires(await get_metrics(client), "CartSessionStoreDown")

                async def no_alert() -> bool:
                    return not await alert()

                assert (await client.post("/api/cart/add", json=KEYBOARD)).status_code == 200
                assert await no_alert()
                fail(redis.server)
                assert await alert()
                repair(redis.server)
                await poll_until(no_alert)
