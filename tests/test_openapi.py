"""The OpenAPI document: its examples work when sent, and nothing that it allows or forbids breaks a handler.

`CART_TEST_EXAMPLES` says how many requests schemathesis makes of each operation.
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

from .shop import ALICE, KEYBOARD, shop, shop_app

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
    """The values of the examples of a parameter or a body."""
    return [example["value"] for example in described["examples"].values()]


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
async def test_every_example_works(method: str, path: str, operation: dict[str, Any]) -> None:
    """In a new shop, to the user of the examples, with something in the cart."""
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
                answer = await client.request(method.upper(), path, **sent)
                assert str(answer.status_code) in operation["responses"]
                assert answer.is_success or answer.is_redirect, answer.text


def test_what_the_document_must_say() -> None:
    documented = {status for item in OPERATIONS for status in item.values[2]["responses"]}
    assert documented == {"200", "201", "303", "default"}  # and never FastAPI's own 422
    assert "ValidationError" not in DOCUMENT["components"]["schemas"]
    assert {item.values[1] for item in OPERATIONS} >= {"/api/cart/add", "/visit-counter", "/profile/update"}


@pytest.fixture
def cookies() -> dict[str, str]:
    """Those of a visitor with something in the cart."""
    client = TestClient(APP)
    client.post("/api/cart/add", json=KEYBOARD)
    return dict(client.cookies)


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_request_breaks_a_handler(case: schemathesis.Case[Any], cookies: dict[str, str]) -> None:
    case.call_and_validate(checks=CHECKS, cookies=cookies)
