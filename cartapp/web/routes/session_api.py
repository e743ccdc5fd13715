"""Visits, preferences, and the session itself, as JSON."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from cartapp.session.fastapi import SessionDep

from ..answers import JSONAnswer
from ..inputs import PreferenceInPath, Preferences
from ..outputs import PROBLEMS, Message, PreferencesAnswer, SavedPreferences, Visits
from ..routing import JSONRoute
from ..users import end
from ..visitor import count_visit, preferences_of, set_preferences

router = APIRouter(route_class=JSONRoute, strict_content_type=False, tags=["Session"], responses=PROBLEMS)

_FRENCH = {"language": "fr", "theme": "dark", "items_per_page": 50}


@router.get("/visit-counter", response_model=Visits)
async def visit_counter(session: SessionDep) -> JSONAnswer:
    """Count this visit; a browser that prefetches the page learns the count so far."""
    if not session.is_prefetch:
        count_visit(session)
        await session.save()
    count = session.get("visit_count", 0)
    times = "1 time" if count == 1 else f"{count} times"
    return JSONAnswer({"visit_count": count, "message": f"You have visited this page {times}"})


@router.post("/api/preferences", response_model=SavedPreferences)
async def save_preferences(
    session: SessionDep,
    preferences: Annotated[
        Preferences, Body(openapi_examples={"french": {"value": _FRENCH}})
    ] = Preferences(),
) -> JSONAnswer:
    """Save all preferences; those that are left out get their defaults."""
    set_preferences(session, preferences)
    await session.save()
    return JSONAnswer({"message": "Preferences saved", "preferences": preferences_of(session)})


@router.get("/api/preferences", response_model=PreferencesAnswer)
async def show_preferences(session: SessionDep) -> JSONAnswer:
    """The preferences, with the defaults of those that were never saved."""
    return JSONAnswer(preferences_of(session))


@router.delete("/api/preferences/{key}", response_model=Message)
async def remove_preference(key: PreferenceInPath, session: SessionDep) -> JSONAnswer:
    """Back to the default of one preference."""
    session.delete(key)
    await session.save()
    return JSONAnswer({"message": f"Preference '{key}' removed"})


@router.post("/api/session/clear", response_model=Message)
async def clear_session(request: Request, session: SessionDep) -> JSONAnswer:
    """Forget everything, the log-in too, and renew the id."""
    await end(request, session)
    session.clear()
    session.regenerate()
    await session.save()
    return JSONAnswer({"message": "Session cleared"})
