"""The request's body: one JSON object, or the fields of a form."""

from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from cartapp.cart import parse_decimal
from cartapp.messages import Message, _

from .errors import FIELDS, APIError
from .headers import get_header
from .negotiation import media_type

FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 100
_NEITHER = Message(_("The body must be a form ({form}) or JSON ({json})"), form=FORM, json="application/json")

# Floats become Decimal, so that 79.999 is refused for what was sent and not for its nearest double. The
# decoder takes no NaN, no byte order mark, no invalid UTF-8, no lone surrogate and no unbounded integer.
_decoder = msgspec.json.Decoder(float_hook=parse_decimal)


async def read_json(request: Request) -> tuple[dict[str, Any], bytes]:
    """The body as one JSON object, and as it came; nothing at all is an empty object.

    Raises `APIError` with 415 for another content type and 400 for anything else that is wrong.
    """
    body = await _read(request.receive)
    if not body:
        return {}, body
    if media_type(get_header(request.scope, b"content-type")) != "application/json":
        raise APIError(415, _("The body must be JSON, sent with Content-Type: application/json"))
    return _object(body), body


async def read_fields(request: Request) -> dict[str, Any]:
    """The body as a form's fields or one JSON object, whichever its content type says. Raises as above.

    The fields stay in the scope, for a second call and for an error page that submits the form again.
    """
    if FIELDS not in request.scope:
        request.scope[FIELDS] = _parse(request, await _read(request.receive))
    fields: dict[str, Any] | APIError = request.scope[FIELDS]
    if isinstance(fields, APIError):
        raise fields
    return fields


async def keep_fields(request: Request) -> None:
    """Read a form before the session, which may be unavailable: the error page then has its fields."""
    if request.method == "POST":
        with suppress(APIError):  # the handler's own call raises it again
            await read_fields(request)


def _parse(request: Request, body: bytes) -> dict[str, Any] | APIError:
    try:
        return _parse_fields(request, body)
    except APIError as error:
        return error


def _parse_fields(request: Request, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    match media_type(get_header(request.scope, b"content-type")):
        case "application/json":
            return _object(body)
        case type_ if type_ == FORM:
            return _form(body)
    raise APIError(415, _NEITHER)


async def _read(receive: Receive) -> bytes:
    """The whole body, which mostly comes in one piece; a layer has limited its size."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(bytes(message.get("body", b"")))
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise APIError(400, _("The body is not valid JSON")) from None
    if not isinstance(value, dict):
        raise APIError(400, _("The body must be one JSON object"))
    return value


def _form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:  # UnicodeDecodeError is one, and so is the complaint about too many fields
        raise APIError(400, _("The form is not valid UTF-8, or it has too many fields")) from None
    return dict(pairs)
