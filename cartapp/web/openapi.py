"""What the OpenAPI document says beside what FastAPI finds out by itself."""

from typing import Any

from pydantic import BaseModel

from .body import FORM

FORM_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "It failed: JSON for a JSON client, else a page that says so.",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }
}
"""For routes that answer with pages."""

TO_LOGIN: dict[int | str, dict[str, Any]] = {303: {"description": "Nobody is logged in: on to the log-in"}}
"""For pages that are a user's own."""


def json_answer(model: type[BaseModel]) -> dict[str, Any]:
    """What a JSON client gets where others are sent on to a page."""
    return {
        "description": "Done, for a JSON client",
        "content": {"application/json": {"schema": model.model_json_schema()}},
    }


def form_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes a form or JSON."""
    media = {"schema": model.model_json_schema(), "examples": {"example": {"value": example}}}
    required = any(field.is_required() for field in model.model_fields.values())
    body = {"required": required, "content": {FORM: media, "application/json": media}}
    return {"requestBody": body}
