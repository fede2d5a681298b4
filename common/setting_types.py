"""The type of a setting: from what was typed to the value of a dataclass field."""

import re
import types
import unicodedata
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from common.errors import InputError
from common.typed_values import Typed

TRUE, FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")
INTEGER = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    Any: "a name, a list of names, or one of these for each direction",
}
Value = str | list[Typed] | dict[str, Typed] | None
"""What `Typed.value` may be."""
SHOWN = 80
"""Characters of a wrong value that a message shows."""


def field_types(schema: type[Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return {"section.field": (type, default)} of a dataclass and of the dataclasses inside it."""
    hints, found = get_type_hints(schema), dict[str, tuple[Any, Any]]()
    for field in fields(schema):
        name = f"{prefix}{field.name}"
        if is_dataclass(hints[field.name]):
            found |= field_types(hints[field.name], f"{name}.")
        else:
            found[name] = (hints[field.name], None if field.default is MISSING else field.default)
    return found


def build(schema: type[Any], values: dict[str, Any], prefix: str = "") -> Any:
    """Return an instance of a dataclass with `values` by their dotted names; the other fields have their defaults."""
    hints, arguments = get_type_hints(schema), {}
    for field in fields(schema):
        name = f"{prefix}{field.name}"
        if is_dataclass(hints[field.name]):
            arguments[field.name] = build(hints[field.name], values, f"{name}.")
        elif name in values:
            arguments[field.name] = values[name]
    return schema(**arguments)


def convert(name: str, hint: Any, default: Any, typed: Typed) -> Any:
    """Return a typed value as the type of its setting. Raises InputError with what it must be."""
    kinds = [kind for kind in _members(hint) if kind is not type(None)]
    if typed.value is None and (Any in kinds or type(None) in _members(hint)):
        return None
    for kind in kinds:
        if (value := _convert(kind, typed.value)) is not None:
            _check_characters(name, value)
            return value
    raise InputError(f"{name} is {_show(typed)}; it must be {_describe(hint, kinds, default)}")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _show(typed: Typed) -> str:
    if typed.value is None or str(typed) == "":
        return "empty" if str(typed) == "" else "null"
    shown = repr(str(typed))
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def _describe(hint: Any, kinds: list[Any], default: Any) -> str:
    words = [word for kind in kinds for word in (get_args(kind) if get_origin(kind) is Literal else [KINDS[kind]])]
    text = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    if type(None) in _members(hint):
        return f"{text} or null" + (f", such as {default}" if default is not None and str not in kinds else "")
    if hint in (int, float):
        return f"{text}, such as {default}"
    return f'{text}. In quotes, "null" is the word' if hint is str else text


def _convert(kind: Any, value: Value) -> Any:
    """Return the value, or None if it is not of this kind."""
    if kind is Any:
        return _plain(value) or None
    if not isinstance(value, str):
        return None
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if kind is str:
        return value or None
    if kind is bool:
        return True if value.lower() in TRUE else False if value.lower() in FALSE else None
    return _number(kind, value)


def _number(kind: Any, value: str) -> int | float | None:
    if kind is int and not INTEGER.fullmatch(value.strip()):
        return None
    try:
        number = kind(value)
    except ValueError:
        return None
    return number if kind is int or abs(number) < float("inf") else None


def _plain(value: Value) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item.value) for name, item in value.items()}
    return [_plain(item.value) for item in value] if isinstance(value, list) else value


def _check_characters(name: str, value: Any) -> None:
    """Raise InputError for text that no file name, column or language has: control characters, bytes not UTF-8."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list):
            _check_characters(name, item)
        elif odd := [c for c in str(item) if unicodedata.category(c) in ("Cc", "Cs")]:
            raise InputError(f"{name} contains the character {odd[0]!r}, which no name may contain. Remove it")
