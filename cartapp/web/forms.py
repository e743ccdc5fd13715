"""The way of a form: read it and act on it, or show a page again with what is wrong."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from cartapp.session import Session

from .body import read_fields
from .errors import REFUSALS, Refused, validated
from .pages import refusal

M = TypeVar("M", bound=BaseModel)
Page = Callable[[Request, Session, Refused | None, Mapping[str, Any] | None], Awaitable[Response]]


async def submitted(
    request: Request,
    session: Session,
    model: type[M],
    act: Callable[[M], Awaitable[Response]],
    *,
    again: Page,
) -> Response:
    """What `act` answers to the form; or the page `again`, with the problem and what was typed."""
    fields: Mapping[str, Any] = {}
    try:
        fields = await read_fields(request)
        return await act(validated(model, fields))
    except REFUSALS as error:
        session.revert()  # what the form had recorded until then is not done by showing it again
        return await again(request, session, refusal(request, error), fields)
