"""Text that a program gives to the Python API: any iterable of strings, and what is none."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from common.errors import InputError

Item = TypeVar("Item")


def string_list(lines: Iterable[str], name: str = "lines", first_line: int = 1) -> list[str]:
    """Return the strings of a list, a generator, an array, a column of a table or any other iterable.

    Raises InputError for a single string, and for an item that is no text. `name` is the name of the argument, and
    `first_line` the number of its first item.
    """
    found = listed(lines, name)
    for number, line in enumerate(found, first_line):
        check_string(line, f"line {number}")
    return found


def listed(items: Iterable[Item], name: str) -> list[Item]:
    """Return the items of an argument that must be a list of strings. Raises InputError if it cannot be one."""
    if isinstance(items, str | bytes):
        raise InputError(f'`{name}` must be a list of strings, not one string. Write ["A sentence."].')
    if isinstance(items, Mapping) or not isinstance(items, Iterable):
        raise InputError(f'`{name}` must be a list of strings, not {type(items).__name__}. Write ["A sentence."].')
    return list(items)


def check_string(text: object, where: str) -> None:
    """Raise InputError unless `text` is a string that can be written as UTF-8."""
    if not isinstance(text, str):
        raise InputError(f"{where} is {text!r:.40}; it must be a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} contains {text[error.start]!r}, a byte or half of a character that is not UTF-8. Repair the text"
        ) from error
