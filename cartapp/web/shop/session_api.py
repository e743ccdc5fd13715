"""Visit counter, preferences and the session itself, as JSON."""

from functools import partial
from typing import Annotated

from fastapi import Body, FastAPI, Request

from ..account import operations
from ..deps import AccountsDep, SessionDep
from ..hot_route import HotRoute
from ..json_response import MsgspecResponse
from ..schemas.requests import PreferenceNamePath, PreferencesUpdate
from ..schemas.responses import (
    ERRORS,
    MessageResponse,
    PreferencesResponse,
    PreferencesSavedResponse,
    VisitCountResponse,
)
from .session_data import count_visit, get_preferences, set_preferences

_FRENCH = {"language": "fr", "theme": "dark", "items_per_page": 50}


async def visit_counter(session: SessionDep) -> MsgspecResponse:
    """Count this visit; a prefetch returns the present count."""
    if not session.is_prefetch:
        count_visit(session)
        await session.save()
    count = session.get("visit_count", 0)
    times = "1 time" if count == 1 else f"{count} times"
    return MsgspecResponse({"visit_count": count, "message": f"You have visited this page {times}"})


async def save_preferences(
    session: SessionDep,
    preferences: Annotated[
        PreferencesUpdate, Body(openapi_examples={"french": {"value": _FRENCH}})
    ] = PreferencesUpdate(),
) -> MsgspecResponse:
    """Save all preferences; omitted ones get their defaults."""
    set_preferences(session, preferences)
    await session.save()
    return MsgspecResponse({"message": "Preferences saved", "preferences": get_preferences(session)})


async def show_preferences(session: SessionDep) -> MsgspecResponse:
    """Show the preferences, or their defaults."""
    return MsgspecResponse(get_preferences(session))


async def remove_preference(key: PreferenceNamePath, session: SessionDep) -> MsgspecResponse:
    """Reset a preference to its default."""
    session.delete(key)
    await session.save()
    return MsgspecResponse({"message": f"Preference '{key}' removed"})


async def clear_session(request: Request, session: SessionDep, accounts: AccountsDep) -> MsgspecResponse:
    """Clear the session, log out, and rotate the session ID."""
    await operations.clear_session(request, session, accounts)
    return MsgspecResponse({"message": "Session cleared"})


def register(app: FastAPI) -> None:
    """Add the routes to the application itself: an included router is matched twice a request."""
    add = partial(
        app.router.add_api_route,
        responses=ERRORS,
        tags=["Session"],
        route_class_override=HotRoute,
    )
    add("/visit-counter", visit_counter, methods=["GET"], response_model=VisitCountResponse)
    add("/api/preferences", show_preferences, methods=["GET"], response_model=PreferencesResponse)
    add("/api/preferences", save_preferences, methods=["POST"], response_model=PreferencesSavedResponse)
    add("/api/preferences/{key}", remove_preference, methods=["DELETE"], response_model=MessageResponse)
    add("/api/session/clear", clear_session, methods=["POST"], response_model=MessageResponse)
