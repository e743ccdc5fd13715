"""The typed view: session data as attributes of a class with typed fields and defaults.

    class Shop:
        username: str = "guest"
        visits: int = 0

    request.session.data.visits += 1

The class is a plain one, a dataclass, a `msgspec.Struct` or a Pydantic model. A `TypedDict` is a view too:
the session itself, for a type checker.

Reading a missing key returns the default of the class. A value of another type raises TypeError, both on
reading and on writing. A field of a type that a session does not return, such as a tuple, a set or a nested
class, raises it on the first use of the view.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from copy import deepcopy
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import FunctionType
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import msgspec

from . import codec
from .mapping import RecordingDict

T = TypeVar("T")

_JSON = (str, int, float, bool, type(None))
_BEYOND_JSON = (datetime, date, Decimal, bytes, UUID)  # or msgspec would accept text for them
_MEMBERS = (FunctionType, property, classmethod, staticmethod)

_OTHERWISE_STORED = (tuple, Set, deque, bytearray)  # as a list, or not at all

_Default = Callable[[], Any]


def typed_view(view: type[T], session: RecordingDict) -> T:
    """Return an object with the fields of `view`, which read and write the session.

    It is an instance of a plain class or a dataclass. Instances of a `Struct` and of a Pydantic model
    keep their own values, so for these it is another object with their methods and properties. For a
    `TypedDict` it is the session.
    """
    if is_typeddict(view):
        return cast(T, session)
    instance = object.__new__(_bind(cast(Hashable, view)))
    object.__setattr__(instance, "_session", session)
    return cast(T, instance)


@cache
def _bind(view: Any) -> type[Any]:
    kinds, defaults = _type_hints(view), _defaults(view)
    for name, kind in kinds.items():
        _check_kind(view, name, kind)
    fields = {name: _Field(view, name, kind, defaults.get(name)) for name, kind in kinds.items()}
    extras = {"__setattr__": _set_known_field, "__module__": view.__module__}
    if _is_struct(view) or _is_pydantic(view):
        return type(view.__name__, (), {**_members(view), **fields, **extras})
    return type(view.__name__, (view,), {**fields, **extras})


def _check_kind(view: type[Any], name: str, kind: Any) -> None:
    """Raise TypeError for a field of a type that a session stores otherwise, or not at all."""
    part = _unsupported_part(kind)
    if part is not None:
        raise TypeError(
            f"{view.__name__}.{name}: expected a type that a session returns, such as str, list, dict or a "
            f"TypedDict, got {part if get_args(part) else part.__name__}."
        )


def _unsupported_part(kind: Any, outer: tuple[Any, ...] = ()) -> Any:
    """Return the first part of a type that a session stores otherwise; `outer` are the TypedDicts around."""
    origin = get_origin(kind) or kind
    if is_typeddict(origin):
        parts = () if origin in outer else (*get_type_hints(origin).values(),)
        outer = (*outer, origin)
    elif isinstance(origin, type) and (issubclass(origin, _OTHERWISE_STORED) or _is_object(origin)):
        return kind
    else:
        parts = get_args(kind)[:1] if origin is Annotated else get_args(kind)
    return next(filter(None, (_unsupported_part(part, outer) for part in parts)), None)


def _is_object(kind: type[Any]) -> bool:
    """Return whether instances are neither JSON values nor of another type that a session returns."""
    if issubclass(kind, Enum):
        return not issubclass(kind, (*_JSON, *_BEYOND_JSON))
    return dataclasses.is_dataclass(kind) or _is_struct(kind) or _is_pydantic(kind)


def _is_struct(view: type[Any]) -> bool:
    return issubclass(view, msgspec.Struct)


def _is_pydantic(view: type[Any]) -> bool:
    return hasattr(view, "model_fields")


def _type_hints(view: type[Any]) -> Mapping[str, Any]:
    """Return the type of each field."""
    if _is_pydantic(view):
        return {name: field.annotation for name, field in view.model_fields.items()}
    hints = get_type_hints(view, include_extras=True)
    return {name: kind for name, kind in hints.items() if ClassVar not in (kind, get_origin(kind))}


def _defaults(view: Any) -> Mapping[str, _Default]:
    """Return a function for the default of each field that has one."""
    if _is_pydantic(view):
        fields = view.model_fields.items()
        return {
            name: partial(field.get_default, call_default_factory=True)
            for name, field in fields
            if not field.is_required()
        }
    if _is_struct(view):
        return _declared_defaults(msgspec.structs.fields(view), msgspec.NODEFAULT)
    if dataclasses.is_dataclass(view):
        return _declared_defaults(dataclasses.fields(view), dataclasses.MISSING)
    return {name: partial(getattr, view, name) for name in get_type_hints(view) if hasattr(view, name)}


def _declared_defaults(fields: Iterable[Any], missing: object) -> Mapping[str, _Default]:
    """Return the defaults of fields that have a `default` or a `default_factory`."""
    defaults: dict[str, _Default] = {}
    for field in fields:
        if field.default_factory is not missing:
            defaults[field.name] = field.default_factory
        elif field.default is not missing:
            defaults[field.name] = partial(deepcopy, field.default)
    return defaults


def _members(view: type[Any]) -> dict[str, Any]:
    """Return the methods and properties of a class, without those of its framework."""
    own = [base for base in reversed(view.__mro__) if base.__module__.partition(".")[0] not in _FRAMEWORKS]
    return {
        name: member
        for base in own
        for name, member in vars(base).items()
        if isinstance(member, _MEMBERS) and not name.startswith("__")
    }


_FRAMEWORKS = ("builtins", "msgspec", "pydantic")


def _set_known_field(instance: Any, name: str, value: object) -> None:
    if not isinstance(getattr(type(instance), name, None), _Field):
        raise AttributeError(f"{type(instance).__name__} has no field {name!r}.")
    object.__setattr__(instance, name, value)


class _Field:
    def __init__(self, view: type[Any], name: str, kind: Any, default: _Default | None) -> None:
        self.view, self.name, self.kind, self.default = view, name, kind, default
        self._check_type = _pydantic_check(view, name) if _is_pydantic(view) else self._convert

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None:
            return self
        if self.name not in instance._session:
            return self._default(instance)
        value = instance._session[self.name]
        self._check(value)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        # In its stored form, as it will be read: the keys of a dict become strings, for example.
        self._check(value if type(value) in _JSON else self._as_stored(value))
        instance._session[self.name] = value

    def __delete__(self, instance: Any) -> None:
        del instance._session[self.name]

    def _default(self, instance: Any) -> Any:
        if self.default is None:
            raise AttributeError(f"{self.view.__name__}.{self.name} has no value yet and no default.")
        default = self.default()
        if isinstance(default, (list, dict)):
            return instance._session.get_or_default(self.name, default)
        codec.encode(self.name, default)  # of another mutable object, changes would be lost
        return default

    def _check(self, value: Any) -> None:
        try:
            self._check_type(value)
        except msgspec.ValidationError:
            self._check_stored(value)  # msgspec rejects subclasses of datetime, which are stored as datetime

    def _check_stored(self, value: Any) -> None:
        try:
            self._check_type(self._as_stored(value))
        except msgspec.ValidationError as error:
            raise TypeError(f"{self.view.__name__}.{self.name}: {error}.") from None

    def _convert(self, value: Any) -> None:
        msgspec.convert(value, self.kind, builtin_types=_BEYOND_JSON)

    def _as_stored(self, value: Any) -> Any:
        """Return the value as the store would return it. Raises `UnsupportedValue`."""
        return codec.decode(codec.encode(self.name, value))


def _pydantic_check(view: Any, name: str) -> Callable[[Any], None]:
    """Return a function that raises `msgspec.ValidationError` unless the model accepts a value as it is."""
    from pydantic import TypeAdapter, ValidationError

    field = view.model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, Annotated)[field.annotation, field])

    def check(value: Any) -> None:
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise msgspec.ValidationError(error.errors()[0]["msg"]) from None

    return check
