"""Run the code that CONTRIBUTING.md shows."""

import re
from typing import Any

import pytest

import cartapp.app
from tests.support.shop_server import ROOT

pytestmark = pytest.mark.anyio

GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


async def test_route_and_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    (section,) = re.findall(r"^## Add a route\n(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)
    route, test = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {"__name__": "cartapp.web.shop.count_api", "__package__": "cartapp.web.shop"}
    exec(route, names)
    monkeypatch.setattr(cartapp.app, "ROUTERS", (*cartapp.app.ROUTERS, names["router"]))
    exec(test, names)
    await names["test_items_are_counted"]()
