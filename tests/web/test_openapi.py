"""The OpenAPI document: its examples work, and no request breaks a handler.

`CART_TEST_EXAMPLES` is the number of requests that schemathesis generates for each operation.
"""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from cartapp.settings.types import OTHER_COOKIES
from tests.support.shop import ALICE, KEYBOARD, cookie_names, shop, shop_app

EXAMPLES = int(os.environ.get("CART_TEST_EXAMPLES", "50"))
METHODS = ("get", "put", "post", "delete", "patch")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]

APP = shop_app()
DOCUMENT: dict[str, Any] = APP.openapi()
OPERATIONS: list[Any] = [
    pytest.param(method, path, operation, id=f"{method} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
]

schema = schemathesis.openapi.from_asgi("/openapi.json", APP)


def examples(described: dict[str, Any]) -> list[Any]:
    """Return the example values of a parameter or body."""
    return [example["value"] for example in described["examples"].values()]


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
async def test_every_example_works(method: str, path: str, operation: dict[str, Any]) -> None:
    """In a new shop, as the user of the examples with an item in the cart."""
    bodies = operation.get("requestBody", {"content": {"": {"examples": {"none": {"value": None}}}}})
    for type_, described in bodies["content"].items():
        for body in examples(described):
            async with shop() as client:
                await client.post("/api/cart/add", json=KEYBOARD)
                here = {}
                if path != "/register":
                    await client.post("/register", json=ALICE)
                    ((session,),) = (await client.get("/account/sessions")).json().values()
                    here = {"handle": session["handle"]}
                for parameter in operation.get("parameters", []):
                    (value,) = examples(parameter)
                    path = path.replace(f"{{{parameter['name']}}}", str(here.get(parameter["name"], value)))
                kind = "data" if type_.endswith("urlencoded") else "json"
                sent = {kind: body} if body is not None else {}
                response = await client.request(method.upper(), path, **sent)
                assert str(response.status_code) in operation["responses"]
                assert response.is_success or response.is_redirect, response.text
                assert cookie_names(response) <= {"cart_session", *OTHER_COOKIES}


def test_document_has_expected_statuses_and_paths() -> None:
    documented = {status for item in OPERATIONS for status in item.values[2]["responses"]}
    assert documented == {"200", "201", "303", "default"}  # without FastAPI's own 422
    assert "ValidationError" not in DOCUMENT["components"]["schemas"]
    assert {item.values[1] for item in OPERATIONS} >= {"/api/cart/add", "/visit-counter", "/profile/update"}


@pytest.fixture
def cookies() -> dict[str, str]:
    """Return the cookies of a visitor with an item in the cart."""
    client = TestClient(APP)
    client.post("/api/cart/add", json=KEYBOARD)
    return dict(client.cookies)


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_request_breaks_a_handler(case: schemathesis.Case[Any], cookies: dict[str, str]) -> None:
    case.call_and_validate(checks=CHECKS, cookies=cookies)
