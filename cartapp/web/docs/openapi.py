"""Parts of the OpenAPI document that FastAPI cannot derive."""

from typing import Any

from pydantic import BaseModel

from ..body import FORM

FORM_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Error: JSON for a JSON client, else a page",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}},
        },
    }
}
"""For routes that return pages."""

TO_LOGIN: dict[int | str, dict[str, Any]] = {303: {"description": "Login required: redirect to the log-in"}}
"""For pages that need a user."""
LOGGED_IN: dict[int | str, dict[str, Any]] = {303: {"description": "Already logged in: redirect"}}
"""For pages that a logged-in user does not need."""


def json_response(model: type[BaseModel]) -> dict[str, Any]:
    """Return the response of a JSON client, where a browser is redirected."""
    return {
        "description": "Success, for a JSON client",
        "content": {"application/json": {"schema": model.model_json_schema()}},
    }


def form_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes a form or JSON."""
    media = {"schema": model.model_json_schema(), "examples": {"example": {"value": example}}}
    required = any(field.is_required() for field in model.model_fields.values())
    body = {"required": required, "content": {FORM: media, "application/json": media}}
    return {"requestBody": body}
