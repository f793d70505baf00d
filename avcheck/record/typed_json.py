"""Parsed JSON -> dataclasses, by the types of their fields. Nothing is guessed or converted."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_Class = TypeVar("_Class")
_Reader = Callable[[Any], Any]


def read(kind: type[_Class], value: object, **otherwise: Any) -> _Class:
    """The dataclass that a JSON object was made of, less the keys that it has no field for.

    Args:
        kind: A dataclass whose fields are of JSON's own types, literals, tuples (JSON's lists),
            other such dataclasses, or unions of these.
        value: What `json.loads` gave.
        otherwise: Types to read some of its fields by, in place of their own.

    Raises:
        TypeError: A field has the wrong type, or one without a default is missing. A number that
            is not finite is none.
    """
    return cast(_Class, _object_reader(cast(type, kind), tuple(otherwise.items()))(value))


@lru_cache(maxsize=64)
def _object_reader(kind: type, otherwise: tuple[tuple[str, Any], ...] = ()) -> _Reader:
    hints: Mapping[str, Any] = {**get_type_hints(kind), **dict(otherwise)}
    fields = dataclasses.fields(kind)
    readers = [(field.name, _reader(hints[field.name])) for field in fields]
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def read_object(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"{kind.__name__} is no object")
        values = {}
        for name, reader in readers:
            if name in value:
                try:
                    values[name] = reader(value[name])
                except TypeError as error:
                    inner = str(error)
                    raise TypeError(inner or f"{name} is {value[name]!r:.60}") from None
        missing = [name for name in required if name not in values]
        if missing:
            raise TypeError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return kind(**values)

    return read_object


@lru_cache(maxsize=256)
def _reader(kind: Any) -> _Reader:
    """A function that reads a value of this type, and raises TypeError, mostly without a message,
    for any other.
    """
    if dataclasses.is_dataclass(kind):
        return _object_reader(cast(type, kind))
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of([_reader(each) for each in inner])
    if origin is tuple and inner[1:] == (...,):
        return _list_of(_reader(inner[0]))
    if origin is tuple:
        return _row_of([_reader(each) for each in inner])
    if origin is Literal:
        return _checked(lambda value: isinstance(value, str) and value in inner)
    if kind is float:
        return _checked(_is_number)
    if kind is int:
        return _checked(lambda value: isinstance(value, int) and not isinstance(value, bool))
    if kind in (str, bool, type(None)):
        return _checked(lambda value: isinstance(value, kind))
    raise NotImplementedError(f"no JSON is read as {kind}")


def _checked(is_right: Callable[[Any], bool]) -> _Reader:
    def read_value(value: Any) -> Any:
        if not is_right(value):
            raise TypeError
        return value

    return read_value


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _list_of(reader: _Reader) -> _Reader:
    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(map(reader, value))

    return read_list


def _row_of(readers: list[_Reader]) -> _Reader:
    def read_row(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise TypeError
        return tuple(reader(each) for reader, each in zip(readers, value, strict=True))

    return read_row


def _any_of(readers: list[_Reader]) -> _Reader:
    def read_any(value: Any) -> Any:
        said = ""
        for reader in readers:
            try:
                return reader(value)
            except TypeError as error:
                said = said or str(error)
        raise TypeError(said) if said and isinstance(value, dict) else TypeError

    return read_any
