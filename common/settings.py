"""Settings: defaults of dataclasses, then a YAML file, then `section.field=value`, merged into one frozen dataclass.

OmegaConf checks names ("did you mean"), types and the values of `Literal` fields. No setting is known here by its name.
"""

import re
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import InputError

Schema = TypeVar("Schema")


def load_settings(
    schema: type[Schema],
    path: str | Path | None = None,
    overrides: list[str] | None = None,
    defaults: dict[str, Any] | None = None,
) -> Schema:
    """Return the settings of a YAML file (None: the defaults) with `overrides`, each `section.field=value`.

    `defaults`, {"section.field": value}, are used for settings that neither the file nor an override gives.

    A schema may have a class variable `RENAMED`, a dictionary from old to new names: `"train.shapes":
    "batches.buckets"`, or with a value, `"data.kind=text": "data.task=language_modelling"`.

    Raises InputError for an unknown or renamed setting, a wrong type, a reference such as `${x}` or unreadable YAML,
    and FileNotFoundError for a missing file.
    """
    changed = OmegaConf.create({})
    for name, value in (defaults or {}).items():
        OmegaConf.update(changed, name, value, force_add=True)
    config = OmegaConf.merge(OmegaConf.structured(schema), changed)
    return cast(Schema, OmegaConf.to_object(_load(config, _renamed(schema), path, overrides)))


def load_section(
    schema: type[Schema], section: str, path: str | Path | None = None, overrides: list[str] | None = None
) -> Schema:
    """Return one section of a YAML file with `overrides`. The other sections of the file are ignored.

    Raises as `load_settings`, and InputError for an override of another section.
    """
    for override in overrides or []:
        if "." in override.partition("=")[0] and not override.startswith(f"{section}."):
            raise InputError(f"{override}: this command only has settings of the section `{section}`")
    config = OmegaConf.create({section: OmegaConf.structured(schema)})
    renamed = {f"{section}.{old}": f"{section}.{new}" for old, new in _renamed(schema).items()}
    loaded = _load(config, renamed, path, overrides, only=section)
    return cast(Schema, OmegaConf.to_object(loaded[section]))


def _load(
    config: Any, renamed: dict[str, str], path: str | Path | None, overrides: list[str] | None, only: str | None = None
) -> Any:
    OmegaConf.set_struct(config, True)
    if path is not None:
        content = _read(Path(path))
        if only is not None:
            content = OmegaConf.create({name: value for name, value in content.items() if name == only})
        _refuse_references(content, f"config {path}: ")
        _refuse_old_names(content, renamed, f"config {path}: ")
        config = _merge(config, content, str(path))
    for override in overrides or []:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r} is not a setting. Write section.field=value without spaces")
        change = _parse(override)
        _refuse_references(change)
        _refuse_old_names(change, renamed)
        config = _merge(config, change, override)
    return config


def load_saved_settings(schema: type[Schema], path: str | Path) -> Schema:
    """Return the settings of a file that `dump_settings` wrote, also if an earlier version used other names.

    Raises InputError for a reference such as `${x}`: `dump_settings` writes none, and a run may be from anybody.
    """
    content = _read(Path(path))
    _refuse_references(content, f"config {path}: ")
    content = translate_old_names(content, schema)
    return cast(Schema, OmegaConf.to_object(_merge(OmegaConf.structured(schema), content, str(path))))


def load_saved_section(schema: type[Schema], path: str | Path, section: str) -> Schema:
    """Return one section of a file that `dump_settings` wrote. The other sections of the file are ignored.

    Raises InputError as `parse_saved_section`, and for unreadable YAML.
    """
    content = OmegaConf.to_container(_read(Path(path)))
    assert isinstance(content, dict)
    return parse_saved_section(schema, section, content.get(section) or {}, str(path))


def parse_saved_section(schema: type[Schema], section: str, saved: Any, where: str) -> Schema:
    """Return the settings of one saved section, also if an earlier version used other names.

    Raises InputError, which begins with `where`, for an unknown setting, a wrong type or a reference such as `${x}`.
    """
    if not isinstance(saved, dict):
        raise InputError(f"{where} at {section}: {saved} is not a section with settings")
    content = OmegaConf.create({section: saved})
    _refuse_references(content, f"{where}: ")
    content[section] = translate_old_names(content[section], schema)
    config = OmegaConf.create({section: OmegaConf.structured(schema)})
    return cast(Schema, OmegaConf.to_object(_merge(config, content, where)[section]))


def translate_old_names(content: Any, schema: type[Any]) -> Any:
    """Return saved settings under the names that the schema has now."""
    result, renamed = OmegaConf.create({}), _renamed(schema)
    for key, value in _flatten(OmegaConf.to_container(content)).items():
        name, equals, new_value = (_new_name(key, value, renamed) or key).partition("=")
        OmegaConf.update(result, name, new_value if equals else value, force_add=True)
    return result


def dump_settings(config: Any) -> str:
    """Return all settings as YAML, in the order of the fields."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def flatten_settings(config: Any) -> dict[str, Any]:
    """Return {"section.field": value} of a settings dataclass, to compare two of them name by name."""
    return _flatten(OmegaConf.to_container(OmegaConf.structured(config)))


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    dot = "." if prefix else ""
    return {k: v for name, child in node.items() for k, v in _flatten(child, f"{prefix}{dot}{name}").items()}


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


def _renamed(schema: type[Any]) -> dict[str, str]:
    return dict(getattr(schema, "RENAMED", {}))


def _new_name(key: str, value: Any, renamed: dict[str, str]) -> str | None:
    return renamed.get(f"{key}={value}", renamed.get(key))


def _refuse_old_names(content: Any, renamed: dict[str, str], where: str = "") -> None:
    found = []
    for key, value in _flatten(OmegaConf.to_container(content)).items():
        if (new := _new_name(key, value, renamed)) is not None:
            found.append(f"{key}={value} is now {new}" if "=" in new else f"{key} is now {new}")
    if found:
        raise InputError(f"{where}{'; '.join(found)}. Use the new name")


def _refuse_references(content: Any, where: str = "") -> None:
    """Raise InputError for `${x}`: OmegaConf would replace it by another setting or an environment variable."""
    for key, value in _flatten(OmegaConf.to_container(content)).items():
        if "${" in str(value):
            raise InputError(f"{where}{key}={value} is a reference, and references are not supported. Write the value")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"config {path} does not exist. The folder configs/ has examples")
    try:
        content = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not OmegaConf.is_dict(content):
        raise InputError(
            f"config {path} has no sections such as `model:`. Indent each `field: value` below a `section:`"
        )
    return content


def _parse(override: str) -> Any:
    try:
        return OmegaConf.from_dotlist([override])
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(
            f"{override!r} cannot be read: {' '.join(str(error).split())}. Write a list without spaces: [a,b]"
        ) from error


def _merge(config: Any, change: Any, where: str) -> Any:
    try:
        return OmegaConf.merge(config, _words(config, change))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        reason = _explain(str(error).split("\n", 1)[0].rstrip("."))
        at = f" at {key}" if key and str(key) not in where else ""
        raise InputError(f"{where}{at}: {reason}") from error


def _explain(reason: str) -> str:
    """Return OmegaConf's message without the names of classes, and with a hint if it has no suggestion."""
    explained = re.sub(r"^Key '(.+?)' not in '\w+'", r"there is no setting '\1'", reason)
    hint = explained != reason and "Did you mean" not in explained
    return f"{explained}. docs/settings.md lists all settings" if hint else explained


def _words(config: Any, change: Any) -> Any:
    """Return `change` with words that YAML reads as booleans, such as `no` in `train.precision=no`, as words again."""
    for name, value in change.items() if OmegaConf.is_dict(change) else ():
        known = OmegaConf.select(config, str(name), throw_on_missing=False)
        if OmegaConf.is_dict(value) and OmegaConf.is_dict(known):
            change[name] = _words(known, value)
        elif isinstance(value, bool) and isinstance(known, str):
            change[name] = "yes" if value else "no"
    return change
