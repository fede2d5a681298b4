"""Settings: defaults of dataclasses, then a YAML file, then `section.field=value`, merged into one frozen dataclass.

The dataclass decides names, types and the values of `Literal` fields. No setting is known here by its name.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from common.errors import InputError
from common.files import expand
from common.setting_types import build, convert, field_types
from common.typed_values import Typed, from_json, parse_list, parse_section, parse_value, read_yaml

Schema = TypeVar("Schema")


def load_settings(
    schema: type[Schema],
    path: str | Path | None = None,
    overrides: list[str] | None = None,
    defaults: dict[str, Any] | None = None,
) -> Schema:
    """Return the settings of a YAML file (None: the defaults) with `overrides`, each `section.field=value`.

    `defaults`, {"section.field": value}, are used for settings that neither the file nor an override gives.

    If an override is given twice, the last one counts; commands refuse it (`settings_parser`). A field that is text
    gets what was typed: `run_dir=007` is the folder 007. A schema may have a class variable `RENAMED`, a dictionary
    from old to new names: `"train.shapes": "batches.buckets"`, or with a value, `"data.kind=text":
    "data.task=language_modelling"`.

    Raises InputError for an unknown or renamed setting, a wrong type, a reference such as `${x}` or unreadable YAML,
    and FileNotFoundError for a missing file.
    """
    return _load(schema, "", path, overrides, defaults)


def load_section(
    schema: type[Schema], section: str, path: str | Path | None = None, overrides: list[str] | None = None
) -> Schema:
    """Return one section of a YAML file with `overrides`. The other sections of the file are ignored.

    Raises as `load_settings`, and InputError for an override of another section.
    """
    for override in overrides or []:
        key = override.partition("=")[0]
        if "." in key and not key.startswith(f"{section}."):
            raise InputError(f"{override}: this command only has settings of the section `{section}`")
    return _load(schema, section, path, overrides)


def load_saved_settings(schema: type[Schema], path: str | Path) -> Schema:
    """Return the settings of a file that `dump_settings` wrote, also if an earlier version used other names.

    Raises InputError for a reference such as `${x}`: `dump_settings` writes none, and a run may be from anybody.
    """
    saved = _translate_old_names(read_yaml(Path(path)), _renamed(schema))
    return cast(Schema, build(schema, _convert_all(schema, "", saved, f"config {path}")))


def load_saved_section(schema: type[Schema], path: str | Path, section: str) -> Schema:
    """Return one section of a file that `dump_settings` wrote. The other sections of the file are ignored.

    Raises InputError as `parse_saved_section`, and for unreadable YAML.
    """
    return _parse_saved(schema, section, read_yaml(Path(path)), f"config {path}")


def parse_saved_section(schema: type[Schema], section: str, saved: Any, where: str) -> Schema:
    """Return the settings of one saved section, also if an earlier version used other names.

    Raises InputError, which begins with `where`, for an unknown setting, a wrong type or a reference such as `${x}`.
    """
    if not isinstance(saved, dict):
        raise InputError(f"{where} at {section}: {saved} is not a section with settings")
    return _parse_saved(schema, section, from_json(saved, section), where)


def _parse_saved(schema: type[Schema], section: str, saved: dict[str, Typed], where: str) -> Schema:
    own = _only(saved, section)
    values = _convert_all(schema, section, _translate_old_names(own, _renamed(schema, section)), where)
    return cast(Schema, build(schema, values, f"{section}."))


def dump_settings(config: Any) -> str:
    """Return all settings as YAML, in the order of the fields."""
    return yaml.safe_dump(asdict(config), default_flow_style=False, allow_unicode=True, sort_keys=False)


def flatten_settings(config: Any) -> dict[str, Any]:
    """Return {"section.field": value} of a settings dataclass, to compare two of them name by name."""
    return {name: reduce(getattr, name.split("."), config) for name in field_types(type(config))}


def last_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the last override of each setting. Programs use it that add their settings to those of the user."""
    return list({override.partition("=")[0]: override for override in overrides}.values())


def repeated_override(overrides: list[str]) -> str | None:
    """Return a message if two overrides name the same setting, or a section and a setting in it; otherwise None."""
    for at, later in enumerate(overrides):
        for earlier in overrides[:at]:
            keys = sorted([earlier.partition("=")[0], later.partition("=")[0]], key=len)
            if keys[0] == keys[1] or keys[1].startswith(f"{keys[0]}."):
                return f"{keys[1]} is given twice, as {earlier} and as {later}. Keep one of them"
    return None


def check_positive(section: str, config: object, *names: str) -> None:
    """Raise InputError if one of the fields is 0 or less; None is allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise InputError(f"{section}.{name} is {value}; it must be above 0")


def check_not_negative(section: str, config: object, *names: str) -> None:
    """Raise InputError if one of the fields is below 0."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise InputError(f"{section}.{name} is {getattr(config, name)}; it must be 0 or more")


def check_at_most(section: str, config: object, **largest: float) -> None:
    """Raise InputError if a field is above its limit; None is allowed. The limits are far beyond any sensible use."""
    for name, limit in largest.items():
        value = getattr(config, name)
        if value is not None and value > limit:
            raise InputError(f"{f'{section}.' if section else ''}{name} is {value}; it must be at most {limit:,}")


def check_language(where: str, value: object) -> None:
    """Raise InputError, which begins with `where`, unless the value is a language: letters, digits, - and _."""
    if not isinstance(value, str) or not re.fullmatch(r"[^\W_][\w-]*", value):
        raise InputError(f"{where} is {value!r:.60}; a language is letters, digits, - and _, such as en or zh_Hans")


def check_fraction(section: str, config: object, *names: str) -> None:
    """Raise InputError if one of the fields is below 0, or 1 and above."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{section}.{name} is {getattr(config, name)}; it must be at least 0 and below 1")


def _load(
    schema: type[Schema],
    section: str,
    path: str | Path | None,
    overrides: list[str] | None,
    defaults: dict[str, Any] | None = None,
) -> Schema:
    renamed, values = _renamed(schema, section), {**(defaults or {})}
    if path is not None:
        given = read_yaml(expand(path))
        given = _only(given, section) if section else given
        _refuse_old_names(given, renamed, f"config {path}: ")
        _update(values, _convert_all(schema, section, given, f"config {path}"))
    for override in overrides or []:
        change = _parse_override(schema, section, override)
        _refuse_old_names(change, renamed)
        _update(values, _convert_all(schema, section, change))
    return cast(Schema, build(schema, values, f"{section}." if section else ""))


def _update(values: dict[str, Any], change: dict[str, Any]) -> None:
    """Set the changed values. Of a setting with values by name, only those that are given change."""
    for name, value in change.items():
        before = values.get(name)
        values[name] = before | value if isinstance(before, dict) and isinstance(value, dict) else value


def _parse_override(schema: type[Any], section: str, override: str) -> dict[str, Typed]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r} is not a setting. Write section.field=value without spaces")
    if not value.strip():
        raise InputError(f"{override} has no value. Write {key}=null if you mean none")
    known = _types(schema, section)
    any_type = _setting_of(key, known) is not None
    if any(name.startswith(f"{key}.") for name in known) or (any_type and value.strip().startswith("{")):
        return parse_section(key, value)
    try:
        return {key: parse_list(value) if any_type else parse_value(value)}
    except (InputError, RecursionError) as error:
        reason = "brackets are nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{override[:80]!r} cannot be read: {reason}") from error


def _convert_all(schema: type[Any], section: str, given: dict[str, Typed], where: str | Path = "") -> dict[str, Any]:
    known, values = _types(schema, section), dict[str, Any]()
    for name, typed in _join_named(given, known).items():
        place = f"{where}, line {typed.line}: " if typed.line else f"{where}: " if where else ""
        if "${" in str(typed):
            raise InputError(f"{place}{name}={typed} is a reference, and references are not supported. Write the value")
        inside = [other for other in known if other.startswith(f"{name}.")]
        if inside and typed.value is None:  # a section without settings
            continue
        if inside:
            raise InputError(f"{place}{name} is a section, not a setting. Write for example {inside[0]}")
        if name not in known:
            raise InputError(f"{place}there is no setting {name!r}. {_suggest(name, list(known))}")
        try:
            values[name] = convert(name, *known[name], typed)
        except InputError as error:
            raise InputError(f"{place}{error}") from error
    return values


def _join_named(given: dict[str, Typed], known: dict[str, tuple[Any, Any]]) -> dict[str, Typed]:
    """Return the values, with `data.train.en-de` and `data.train.en-fr` as one value of `data.train`, by name."""
    joined: dict[str, Typed] = {}
    for name, typed in given.items():
        setting = _setting_of(name, known)
        if setting is None or setting == name:
            joined[name] = typed
            continue
        before = joined.get(setting, Typed({}, typed.line))
        items = before.value if isinstance(before.value, dict) else {}
        joined[setting] = Typed({**items, name.removeprefix(f"{setting}."): typed}, before.line)
    return joined


def _setting_of(name: str, known: dict[str, tuple[Any, Any]]) -> str | None:
    """Return the setting of type Any that has this name, or whose values by name include it; None if there is none."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next((prefix for prefix in prefixes if known.get(prefix, (None,))[0] is Any), None)


def _types(schema: type[Any], section: str) -> dict[str, tuple[Any, Any]]:
    return field_types(schema, f"{section}." if section else "")


def _only(given: dict[str, Typed], section: str) -> dict[str, Typed]:
    return {name: typed for name, typed in given.items() if name == section or name.startswith(f"{section}.")}


def _suggest(name: str, known: list[str]) -> str:
    """Return a sentence with the settings that the user may have meant."""
    field = name.rpartition(".")[2]
    similar = [other for other in known if other.rpartition(".")[2] == field]
    similar += get_close_matches(name, known, n=2, cutoff=0.8)
    found = list(dict.fromkeys(similar))[:3]
    return f"Did you mean {' or '.join(found)}?" if found else "docs/settings.md lists all settings"


def _renamed(schema: type[Any], section: str = "") -> dict[str, str]:
    names = dict(getattr(schema, "RENAMED", {}))
    return {f"{section}.{old}": f"{section}.{new}" for old, new in names.items()} if section else names


def _new_name(key: str, value: Typed, renamed: dict[str, str]) -> str | None:
    return renamed.get(f"{key}={value}", renamed.get(key))


def _translate_old_names(saved: dict[str, Typed], renamed: dict[str, str]) -> dict[str, Typed]:
    """Return saved settings under the names that the schema has now."""
    result = {}
    for key, value in saved.items():
        name, equals, new_value = (_new_name(key, value, renamed) or key).partition("=")
        result[name] = Typed(new_value) if equals else value
    return result


def _refuse_old_names(given: dict[str, Typed], renamed: dict[str, str], where: str = "") -> None:
    found = []
    for key, value in given.items():
        if (new := _new_name(key, value, renamed)) is not None:
            found.append(f"{key}={value} is now {new}" if "=" in new else f"{key} is now {new}")
    if found:
        raise InputError(f"{where}{'; '.join(found)}. Use the new name")
