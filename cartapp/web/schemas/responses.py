"""Response bodies, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ..preference_cookies import THEMES

Money = Annotated[float, Field(ge=0, examples=[79.99])]


class ErrorResponse(BaseModel):
    """An error."""

    error: Annotated[str, Field(description="One sentence", examples=["Product not in cart"])]
    details: Annotated[list[Any], Field(description="All errors, if there are several")] = []


class CartItemResponse(BaseModel):
    """A line of the cart."""

    product_id: int
    name: str
    price: Money
    quantity: int
    subtotal: Money


class CartResponse(BaseModel):
    """The whole cart."""

    items: list[CartItemResponse]
    item_count: int
    unique_items: int
    total: Money


class VisitCountResponse(BaseModel):
    """The number of this visitor's visits."""

    visit_count: int
    message: str


class MessageResponse(BaseModel):
    """A confirmation."""

    message: str


class PreferencesResponse(BaseModel):
    """The visitor's preferences."""

    language: str
    theme: Annotated[str, Field(json_schema_extra={"enum": list(THEMES)})]
    items_per_page: int


class PreferencesSavedResponse(BaseModel):
    """The saved preferences."""

    message: str
    preferences: PreferencesResponse


class LanguageResponse(BaseModel):
    """The language in the cookie."""

    language: str


class UserResponse(BaseModel):
    """The logged-in user."""

    id: str
    name: str


class LoginResponse(BaseModel):
    """A successful login or registration."""

    message: str
    user: UserResponse


class SessionResponse(BaseModel):
    """One of the user's sessions."""

    handle: str
    browser: str
    created: str
    last_seen: str
    current: bool


class SessionListResponse(BaseModel):
    """The user's sessions; `note` explains why some may be missing."""

    sessions: list[SessionResponse]
    note: str | None = None


class HealthResponse(BaseModel):
    """The process is alive (`ok`) or ready."""

    status: Literal["ok", "ready"]


ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorResponse, "description": "Error"}}
"""`responses` of routes; replaces the 422 that FastAPI documents by itself."""
