"""Checks values against the annotations of a dataclass, with messages for people."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_LARGEST = 2**63 - 1
"""The largest integer that tensors and arrays hold."""


def checked(cls: type, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a dataclass, each of the annotated type.

    Whole floats pass as integers (`1e5` is how people write steps), integers as floats, lists as tuples.

    Args:
        cls: a dataclass.
        name: its name in gin, for messages.
        arguments: field name to value.

    Returns:
        the arguments, converted where that loses nothing.

    Raises:
        TypeError: a value of another type.
    """
    hints = get_type_hints(cls)
    return {field: convert(value, hints[field], f"{name}.{field}") for field, value in arguments.items()}


def convert(value: Any, hint: Any, name: str) -> Any:
    """One value, of the annotated type.

    Args:
        value: what was given.
        hint: the annotation.
        name: what the value is called, for messages.

    Returns:
        the value, converted where that loses nothing.

    Raises:
        TypeError: a value of another type.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, name)
    if origin is Literal:
        if value not in get_args(hint):
            raise TypeError(f"{name} is {value!r}; allowed: {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(convert(item, get_args(hint)[0], name) for item in value)
    if origin is collections.abc.Sequence and isinstance(value, list | tuple):
        return [convert(item, get_args(hint)[0], name) for item in value]
    if origin is collections.abc.Mapping and isinstance(value, collections.abc.Mapping):
        key, item = get_args(hint)
        return {convert(k, key, name): convert(v, item, f"{name}[{k!r}]") for k, v in value.items()}
    if hint is Any:
        return value
    if isinstance(hint, type) and origin is None:
        converted = _convert_plain(value, hint)
        if hint is int and converted is not None and abs(converted) > _LARGEST:
            raise TypeError(f"{name} is {value!r}; integers go up to {_LARGEST:,}")
        if converted is not None or (hint is type(None) and value is None):
            return converted
    raise TypeError(f"{name} is {_show(value)}; expected {describe(hint)}")


def _convert_union(value: Any, hint: Any, name: str) -> Any:
    for choice in get_args(hint):
        if choice is type(None) and value is None:
            return None
        try:
            return convert(value, choice, name)
        except TypeError:
            continue
    raise TypeError(f"{name} is {_show(value)}; expected {describe(hint)}")


def _convert_plain(value: Any, hint: type) -> Any:
    if isinstance(value, bool) and hint is not bool:
        return None
    if hint is float and isinstance(value, int):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, hint) else None


def _show(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return f"a {type(value).__name__}"
    if callable(value):
        return f"@{value.__name__} without parentheses, a reference that is not called"
    return f"{value!r} ({type(value).__name__})"


def describe(hint: Any) -> str:
    """A type annotation in words for people."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(choice) for choice in get_args(hint))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin in (tuple, collections.abc.Sequence):
        return f"a tuple of {describe(get_args(hint)[0])}"
    if origin is collections.abc.Mapping:
        return f"a dictionary of {describe(get_args(hint)[0])} to {describe(get_args(hint)[1])}"
    if hint is Any:
        return "anything"
    if dataclasses.is_dataclass(hint):
        return f"{getattr(hint, '__name__', hint)}, called as in @name()"
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a text", type(None): "None"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))
