"""What users type as values of settings, in YAML or as `section.field=value`, before a schema gives it a type.

A value stays the text that was typed. So `2024_11_26`, `007`, `1e3` and `no` can still be names of folders and of
languages; YAML itself would read them as numbers and as false.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError
from common.files import STANDARD_INPUT
from common.text_input import read_whole_text

YAML_CHARACTERS = 10_000_000
"""Largest number of characters in a YAML file."""
DEPTH = 20
"""Largest number of sections and lists inside each other."""
NULL = "tag:yaml.org,2002:null"
QUOTES = "Put a value in quotes if it begins with one of [ { * & ! % @ ` or contains ': ' or ' #'"


@dataclass(frozen=True)
class Typed:
    """A value as it was typed."""

    value: str | list["Typed"] | dict[str, "Typed"] | None
    """Text, a list, values by name, or None for null."""
    line: int | None = None
    """Line of the YAML file, counted from 1."""

    def __str__(self) -> str:
        if isinstance(self.value, list):
            return f"[{', '.join(map(str, self.value))}]"
        if isinstance(self.value, dict):
            return f"{{{', '.join(f'{name}: {item}' for name, item in self.value.items())}}}"
        return "null" if self.value is None else self.value


def read_yaml(file: Path) -> dict[str, Typed]:
    """Return the values of a YAML file by their dotted names, such as `data.train`.

    Raises InputError with the line if the file is not valid YAML, gives a setting twice, or uses YAML's aliases, and
    FileNotFoundError if it is missing.
    """
    if not file.exists() and file != STANDARD_INPUT:
        raise FileNotFoundError(f"config {file} does not exist. The folder configs/ has examples")
    return _parse_yaml(read_whole_text(file, YAML_CHARACTERS), f"config {file}")


def parse_value(raw: str) -> Typed:
    """Return the value of `section.field=value`: text, without one pair of quotes around it; `null` is None."""
    text = raw.strip()
    if text[:1] in ("'", '"') and len(text) > 1 and text[-1] == text[0] and text[0] not in text[1:-1]:
        return Typed(text[1:-1])
    return Typed(None if text == "null" else text)


def parse_list(raw: str) -> Typed:
    """Return the value of `section.field=[a,b]`. An item such as `corpus [2024]/x.en` may contain pairs of brackets.

    Text that does not begin and end with a bracket is returned as `parse_value` does. Raises InputError if a bracket
    has no partner.
    """
    text = raw.strip()
    if not text.startswith("[") or (not text.endswith("]") and "]" in text):
        return parse_value(text)
    items, depth, start, quote = [], 0, 1, ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not text[start:at].strip():
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
            if depth == 0 and at < len(text) - 1:
                return parse_value(text)  # a path such as [a]/x[1]
        elif character == "," and depth == 1:
            items.append(text[start:at])
            start = at + 1
    if depth or quote:
        missing = f"the quotation mark {quote}" if quote else "a bracket"
        raise InputError(f"{missing} has no partner. Write a list without spaces: [a,b]")
    items.append(text[start:-1])
    return Typed([parse_list(item) for item in items if item.strip()])


def parse_section(section: str, raw: str) -> dict[str, Typed]:
    """Return the values of `section={field: value}`. Raises InputError if the text is something else."""
    if not raw.strip().startswith("{"):
        raise InputError(f"{section} is a section. Write {section}.field=value")
    return _parse_yaml(raw, section, section)


def from_json(content: Any, name: str) -> dict[str, Typed]:
    """Return values from a JSON file by their dotted names, which begin with `name`."""
    if isinstance(content, dict):
        return {k: v for key, child in content.items() for k, v in from_json(child, _join(name, str(key))).items()}
    return {name: _from_item(content)}


def _from_item(item: Any) -> Typed:
    if isinstance(item, list):
        return Typed([_from_item(child) for child in item])
    return Typed(None if item is None else str(item))


def _parse_yaml(text: str, where: str, name: str = "") -> dict[str, Typed]:
    try:
        _check_events(text, where)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return _collect(root, where, name)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise InputError(f"{where}{line}: this is not valid YAML ({error.problem}). {QUOTES}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: this is not valid YAML ({' '.join(str(error).split())})") from error


def _check_events(text: str, where: str) -> None:
    """Raise InputError for deep nesting, and for aliases, with which a small file can stand for values of any size."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        place = f"{where}, line {event.start_mark.line + 1}"
        if depth > DEPTH:
            raise InputError(f"{place}: brackets or sections are nested too deeply, in more than {DEPTH} levels")
        if getattr(event, "anchor", None) is not None:
            raise InputError(
                f"{place}: anchors and aliases of YAML are not supported. Put a value that begins with * or & in quotes"
            )


def _collect(root: Any, where: str, name: str) -> dict[str, Typed]:
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{where} has no sections such as `model:`. Indent each `field: value` below a `section:`")
    found: dict[str, Typed] = {}
    for key, value in _pairs(root, where, name):
        if key in found:
            raise InputError(
                f"{where}, line {value.line}: {key} is given twice, as {found[key]} (line {found[key].line}) and as "
                f"{value}. Keep one of them"
            )
        found[key] = value
    return found


def _pairs(node: Any, where: str, name: str) -> Iterator[tuple[str, Typed]]:
    if not isinstance(node, yaml.MappingNode):
        yield name, _typed(node, where)
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{where}, line {key.start_mark.line + 1}: the name of a setting must be text")
        yield from _pairs(value, where, _join(name, key.value))


def _typed(node: Any, where: str) -> Typed:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        raise InputError(f"{where}, line {line}: a list contains `field: value`. {QUOTES}")
    if isinstance(node, yaml.SequenceNode):
        return Typed([_typed(item, where) for item in node.value], line)
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise InputError(f"{where}, line {line}: tags such as {node.tag} are not supported. {QUOTES}")
    return Typed(None if node.tag == NULL else node.value, line)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
