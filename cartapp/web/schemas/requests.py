"""Request bodies, one model each, and path parameters."""

from typing import Annotated, Any, ClassVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_validator

from cartapp.cart import MAX_LINES, MAX_PRODUCT_ID, MAX_QUANTITY
from cartapp.messages import FieldNames, _

from ..i18n import languages
from ..preference_cookies import THEMES
from .types import (
    Cents,
    GuestName,
    LanguageTag,
    OptionalEmail,
    Password,
    ProductName,
    field_error,
    json_list,
    list_schema,
    number_schema,
    one_of,
    parse_int,
    text,
    text_schema,
    validator,
    whole_number,
)

ProductId = Annotated[
    int, whole_number(1, MAX_PRODUCT_ID), number_schema(1, MAX_PRODUCT_ID, "^[1-9][0-9]{0,14}$")
]
Quantity = Annotated[int, whole_number(1, MAX_QUANTITY), number_schema(1, MAX_QUANTITY, "^[1-9][0-9]{0,3}$")]
QuantityOrZero = Annotated[int, whole_number(0, MAX_QUANTITY), number_schema(0, MAX_QUANTITY, "^[0-9]{1,4}$")]
ItemsPerPage = Annotated[int, whole_number(1, 100), number_schema(1, 100, "^[1-9][0-9]?$")]
Theme = Annotated[
    str,
    one_of(_("{field} must be light, dark, or auto"), THEMES),
    WithJsonSchema({"type": "string", "enum": list(THEMES)}),
]


class RequestModel(BaseModel):
    """A request body. Null counts as missing; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)
    _required: ClassVar[FieldNames] = FieldNames()

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        cls._required = FieldNames(name for name, field in cls.model_fields.items() if field.is_required())

    @model_validator(mode="before")
    @classmethod
    def _check_required(cls, fields: dict[str, Any]) -> dict[str, Any]:
        present = {name: value for name, value in fields.items() if value is not None}
        required = cls._required
        missing = [name for name in required if name not in present]
        if not missing:
            return present
        if len(required) == 1:
            raise field_error(_("{field} is required"), field=required[0])
        raise field_error(_("{fields} are required"), fields=required, missing=FieldNames(missing))


class CartItemCreate(RequestModel):
    """A product for the cart, as a client of the open API describes it."""

    product_id: ProductId
    name: ProductName
    price: Cents
    quantity: Quantity = 1


class CatalogueItemCreate(RequestModel):
    """A product of the catalogue for the cart."""

    product_id: ProductId
    quantity: Quantity = 1
    idempotency_key: Annotated[str, text(64), text_schema(64)] = ""
    """A form submitted twice with the same key counts once."""


class RemovedItem(CartItemCreate):
    """A line that was removed, and its position in the cart."""

    position: Annotated[int, whole_number(0, MAX_LINES), number_schema(0, MAX_LINES, "^[0-9]{1,2}$")] = (
        MAX_LINES
    )


class CartRestore(RequestModel):
    """Removed lines to put back into the cart. A form sends them as JSON text."""

    items: Annotated[
        tuple[RemovedItem, ...],
        json_list(MAX_LINES),
        list_schema(RemovedItem.model_json_schema(), MAX_LINES),
    ]
    idempotency_key: Annotated[str, text(64), text_schema(64)] = ""
    """A form submitted twice with the same key counts once."""


class QuantityUpdate(RequestModel):
    """A line's quantity; 0 removes the line."""

    quantity: QuantityOrZero


class PreferencesUpdate(RequestModel):
    """A visitor's preferences."""

    language: LanguageTag = languages.DEFAULT
    theme: Theme = "light"
    items_per_page: ItemsPerPage = 20


class LanguageUpdate(RequestModel):
    """The language for the cookie."""

    language: LanguageTag = languages.DEFAULT


class ProfileUpdate(RequestModel):
    """A guest's profile; missing fields stay unchanged."""

    name: GuestName = ""
    email: OptionalEmail = ""
    current_password: Password = ""
    """Sent by a user's form only."""


_KEYBOARD = Path(description="The product's number", openapi_examples={"keyboard": {"value": 1}})
_ID_SCHEMA = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PRODUCT_ID})


def _id_validator(message: str) -> Any:
    return validator(lambda value: parse_int(value, 1, MAX_PRODUCT_ID), message)


ProductIdPath = Annotated[int, _id_validator(_("Product not in cart")), _ID_SCHEMA, _KEYBOARD]
CatalogueIdPath = Annotated[int, _id_validator(_("Product not in the catalogue")), _ID_SCHEMA, _KEYBOARD]

_PREFERENCES = tuple(PreferencesUpdate.model_fields)
PreferenceNamePath = Annotated[
    str,
    one_of(_("Unknown preference: expected language, theme, or items_per_page"), _PREFERENCES),
    WithJsonSchema({"type": "string", "enum": list(_PREFERENCES)}),
    Path(description="The preference's name", openapi_examples={"theme": {"value": "theme"}}),
]
