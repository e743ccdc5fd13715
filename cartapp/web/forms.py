"""Submitted forms, which are shown again with what is wrong."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from cartapp.messages import MessageError

from .body import read_fields
from .errors import APIError, as_api_error, validated
from .negotiation import is_json_client

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)


class Form(Generic[M]):
    """The fields of a form as they were submitted, and the error of a body that has none.

    Validation waits for `validated`, so that a handler can show its page again:

        try:
            body = form.validated()
            ...
        except API_ERRORS as error:
            return await cart_page(..., form.reject(error), form.fields)
    """

    def __init__(
        self, request: Request, model: type[M], fields: Mapping[str, Any], error: APIError | None = None
    ) -> None:
        self.fields = fields
        self._request, self._model, self._error = request, model, error

    def validated(self) -> M:
        """Return the fields as a model. Raises `APIError`."""
        return self.validated_as(self._model)

    def validated_as(self, model: type[N]) -> N:
        """Return the fields as another model. Raises `APIError`."""
        if self._error is not None:
            raise self._error
        return validated(model, self.fields)

    def reject(self, error: MessageError) -> APIError:
        """Discard the session's uncommitted changes and return what to show; raise it for a JSON client."""
        self._request.session.revert()  # type: ignore[attr-defined]
        if is_json_client(self._request.headers):
            raise error
        return as_api_error(error)


def form_reader(model: type[M]) -> Callable[[Request], Awaitable[Form[M]]]:
    """Return a dependency that reads the body."""

    async def read_form(request: Request) -> Form[M]:
        try:
            return Form(request, model, await read_fields(request))
        except APIError as error:
            return Form(request, model, {}, error)

    return read_form
