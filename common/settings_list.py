"""The list of all settings of a schema: names, types, defaults and meanings, read from its dataclasses."""

import ast
import inspect
import re
import textwrap
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

PAPER = re.compile(r"(?<!\d, )\b[Ss]ection \d[\d.]*\d|Table \d(?: \([A-E]\))?|Eq\. \d")
"""Place in the paper. `Radford et al., 2019, section 2.3` is in another paper."""


@dataclass(frozen=True)
class Setting:
    """One setting, as the settings page and `train/train.py --help` print it."""

    name: str
    """`section.field`, as users type it."""
    kind: str
    """Its type in words, such as `integer or null`, or the values that it may have."""
    default: str
    """Its default as users type it; null stands for None."""
    meaning: str
    """Its docstring in one line."""

    @property
    def values(self) -> list[str]:
        """The values that it may have, as users type them; [] if they cannot be listed."""
        words = re.findall(r"`([^`]+)`|\b(true|false|null)\b", self.kind)
        found = [value or word for value, word in words]
        return [] if found == ["null"] else found

    @property
    def paper(self) -> str:
        """Places of the paper that the meaning names, such as `section 3.1, Eq. 2`."""
        return ", ".join(dict.fromkeys(place.replace("Section", "section") for place in PAPER.findall(self.meaning)))


def list_settings(schema: type[Any], section: str = "") -> list[Setting]:
    """Return the settings of a dataclass and of the dataclasses inside it, in the order of their fields."""
    hints, texts, found = get_type_hints(schema), _field_docstrings(schema), []
    for field in fields(schema):
        name = f"{section}.{field.name}" if section else field.name
        if is_dataclass(hints[field.name]):
            found += list_settings(hints[field.name], name)
        else:
            found.append(Setting(name, describe_type(hints[field.name]), _default(field), texts.get(field.name, "")))
    return found


def section_meaning(schema: type[Any], section: str) -> str:
    """Return the first sentence of the docstring of a section's dataclass."""
    text = inspect.getdoc(get_type_hints(schema)[section]) or ""
    return " ".join(re.split(r"(?<=\.)\s", text, maxsplit=1)[0].split())


def describe_type(hint: Any) -> str:
    """Return a type in words: `integer or null`, or the values of a Literal."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if options := [option for option in get_args(hint) if option is not type(None)]:
        null = " or null" if type(None) in get_args(hint) else ""
        return " or ".join(describe_type(option) for option in options) + null
    words = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "name or list"}
    return words.get(hint, str(hint))


def _default(field: Field[Any]) -> str:
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


def _field_docstrings(schema: type[Any]) -> dict[str, str]:
    """Return the string below each field, in one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(schema))).body
    assert isinstance(definition, ast.ClassDef)
    texts, last = {}, None
    for node in definition.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last is not None:
            texts[last] = " ".join(str(node.value.value).split())
        last = node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else None
    return texts
