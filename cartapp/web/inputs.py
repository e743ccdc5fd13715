"""What requests may say: one model for each body, and the parameters in paths."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from cartapp.cart import MAX_NAME, MAX_PRODUCT_ID, MAX_QUANTITY

from . import languages
from .fields import Email, LanguageTag, OneOf, Price, Secret, Text, Whole

THEMES = ("light", "dark", "auto")

_product_id = (1, MAX_PRODUCT_ID, "^[1-9][0-9]{0,14}$")

ProductId = Annotated[int, Whole(*_product_id)]
Quantity = Annotated[int, Whole(1, MAX_QUANTITY, "^[1-9][0-9]{0,3}$")]
QuantityOrNone = Annotated[int, Whole(0, MAX_QUANTITY, "^[0-9]{1,4}$")]
ItemsPerPage = Annotated[int, Whole(1, 100, "^[1-9][0-9]?$")]


class Input(BaseModel):
    """A body. A field that is null counts as left out; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)
    _required: ClassVar[list[str]] = []

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        cls._required = [name for name, field in cls.model_fields.items() if field.is_required()]

    @model_validator(mode="before")
    @classmethod
    def _check_required(cls, fields: dict[str, Any]) -> dict[str, Any]:
        present = {name: value for name, value in fields.items() if value is not None}
        required = cls._required
        if not all(map(present.__contains__, required)):
            said = {
                "sentence": f"{listed(required)} {'is' if len(required) == 1 else 'are'} required",
                "missing": [name for name in required if name not in present],
            }
            raise PydanticCustomError("required", "{sentence}", said)
        return present


def listed(names: list[str]) -> str:
    """The names as English lists them: "a", "a and b", "a, b, and c"."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


class NewItem(Input):
    """A product for the cart, as a client of the open API describes it."""

    product_id: ProductId
    name: Annotated[str, Text(MAX_NAME)]
    price: Annotated[int, Price()]
    """In cents once it is read."""
    quantity: Quantity = 1


class CatalogueItem(Input):
    """A product of the catalogue for the cart."""

    product_id: ProductId
    quantity: Quantity = 1
    once: Annotated[str, Text(64, blank=True)] = ""
    """The name of the form as it was rendered; the same form counts once."""


class NewQuantity(Input):
    """How many of a product; 0 is none."""

    quantity: QuantityOrNone


class Preferences(Input):
    """How a visitor likes the shop."""

    language: Annotated[str, LanguageTag()] = languages.DEFAULT
    theme: Annotated[str, OneOf(THEMES)] = "light"
    items_per_page: ItemsPerPage = 20


class LanguageChoice(Input):
    """The language for the cookie."""

    language: Annotated[str, LanguageTag()] = languages.DEFAULT


class Profile(Input):
    """Who a visitor is; what is left out stays as it was, and nothing is asked of a guest."""

    name: Annotated[str, Text(MAX_NAME, blank=True)] = ""
    email: Annotated[str, Email()] = ""
    current_password: Annotated[str, Secret()] = ""
    """Only in the form of a user."""


@dataclass(frozen=True)
class _ProductInPath(Whole):
    def sentence(self, field: str) -> str:
        return "Product not in cart"

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class _PreferenceInPath(OneOf):
    def sentence(self, field: str) -> str:
        return f"There is no such preference: it is {self.choice}"


ProductInPath = Annotated[
    int,
    _ProductInPath(*_product_id),
    Path(description="The product's number", openapi_examples={"keyboard": {"value": 1}}),
]
PreferenceInPath = Annotated[
    str,
    _PreferenceInPath(tuple(Preferences.model_fields)),
    Path(description="The preference's name", openapi_examples={"theme": {"value": "theme"}}),
]
