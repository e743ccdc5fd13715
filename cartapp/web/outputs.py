"""What answers look like, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from .inputs import THEMES

Money = Annotated[float, Field(ge=0, examples=[79.99])]


class Problem(BaseModel):
    """Every failure."""

    error: Annotated[str, Field(description="One sentence", examples=["Product not in cart"])]
    details: Annotated[list[Any], Field(description="What is wrong, where that is more than one thing")] = []


class LineAnswer(BaseModel):
    """A line of the cart."""

    product_id: int
    name: str
    price: Money
    quantity: int
    subtotal: Money


class CartAnswer(BaseModel):
    """The whole cart."""

    items: list[LineAnswer]
    item_count: int
    unique_items: int
    total: Money


class Visits(BaseModel):
    """How often this visitor was here."""

    visit_count: int
    message: str


class Message(BaseModel):
    """What was done."""

    message: str


class PreferencesAnswer(BaseModel):
    """How this visitor likes the shop."""

    language: str
    theme: Annotated[str, Field(json_schema_extra={"enum": list(THEMES)})]
    items_per_page: int


class SavedPreferences(BaseModel):
    """What was saved."""

    message: str
    preferences: PreferencesAnswer


class LanguageAnswer(BaseModel):
    """The language of the cookie."""

    language: str


class UserAnswer(BaseModel):
    """Who is logged in."""

    id: str
    name: str


class Entered(BaseModel):
    """A log-in or a registration."""

    message: str
    user: UserAnswer


class OwnSessionAnswer(BaseModel):
    """One of the user's sessions."""

    handle: str
    browser: str
    created: str
    last_seen: str
    current: bool


class OwnSessionsAnswer(BaseModel):
    """The user's sessions; the note says why some may be missing."""

    sessions: list[OwnSessionAnswer]
    note: str | None = None


class Health(BaseModel):
    """The process runs, or is ready."""

    status: Literal["ok", "ready"]


PROBLEMS: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "It failed."}}
"""For routes that can fail; it also keeps FastAPI from documenting its own 422."""
