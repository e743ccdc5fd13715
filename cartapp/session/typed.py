"""The typed view: session data as attributes of a class with typed fields and defaults.

    class Shop:
        username: str = "guest"
        visits: int = 0

    request.session.data.visits += 1

Reading a key that is not there gives the class's default; a value of another type is refused, both ways.
"""

from collections.abc import Hashable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints
from uuid import UUID

import msgspec

from . import codec
from .mapping import RecordingDict

T = TypeVar("T")

_JSON = (str, int, float, bool, type(None))
_BEYOND_JSON = (datetime, date, Decimal, bytes, UUID)  # of which msgspec would otherwise take text as well


def typed_view(view: type[T], session: RecordingDict) -> T:
    """An instance of `view` whose fields live in the session. The class is used as it stands."""
    bound = object.__new__(_bound(cast(Hashable, view)))
    object.__setattr__(bound, "_session", session)
    return cast(T, bound)


@cache
def _bound(view: Any) -> type[Any]:
    fields = {name: _Field(view, name, kind) for name, kind in get_type_hints(view).items()}
    extras = {"__setattr__": _refuse_unknown, "__module__": view.__module__}
    return type(view.__name__, (view,), {**fields, **extras})


def _refuse_unknown(bound: Any, name: str, value: object) -> None:
    if not isinstance(getattr(type(bound), name, None), _Field):
        raise AttributeError(f"{type(bound).__name__} has no field {name!r}.")
    object.__setattr__(bound, name, value)


class _Field:
    def __init__(self, view: type[Any], name: str, kind: Any) -> None:
        self.view, self.name, self.kind = view, name, kind

    def __get__(self, bound: Any, owner: type[Any]) -> Any:
        if bound is None:
            return self
        if self.name not in bound._session:
            return self._default(bound)
        return self._checked(bound._session[self.name])

    def __set__(self, bound: Any, value: Any) -> None:
        # In its stored form, as it will be read: there a key of a dict is a string, for example.
        self._checked(value if type(value) in _JSON else self._stored(value))
        bound._session[self.name] = value

    def __delete__(self, bound: Any) -> None:
        del bound._session[self.name]

    def _default(self, bound: Any) -> Any:
        if not hasattr(self.view, self.name):
            raise AttributeError(f"{self.view.__name__}.{self.name} has no value yet and no default.")
        default = getattr(self.view, self.name)
        if not isinstance(default, (list, dict)):
            return default
        return bound._session.borrow(self.name, default)

    def _checked(self, value: Any) -> Any:
        try:
            self._convert(value)
        except msgspec.ValidationError:
            self._check_stored(value)  # msgspec takes no subclass of datetime, which is stored as a datetime
        return value

    def _check_stored(self, value: Any) -> None:
        try:
            self._convert(self._stored(value))
        except msgspec.ValidationError as error:
            raise TypeError(f"{self.view.__name__}.{self.name}: {error}.") from None

    def _convert(self, value: Any) -> None:
        msgspec.convert(value, self.kind, builtin_types=_BEYOND_JSON)

    def _stored(self, value: Any) -> Any:
        """Return the value as it comes back from the store. Raises `UnsupportedValue`."""
        return codec.decode(codec.encode(self.name, value))
