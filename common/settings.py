"""Dataclass defaults → YAML → dotted overrides → one frozen dataclass. Knows no field by name.

The schema is any frozen dataclass; OmegaConf checks keys ("did you mean"), types and `Literal` choices.
"""

from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import InputError

Schema = TypeVar("Schema")


def load_settings(schema: type[Schema], path: str | Path | None = None, overrides: list[str] | None = None) -> Schema:
    """Read a config. `path` None means the defaults; `overrides` are `section.field=value`.

    Raises ValueError with one sentence for an unknown key, a wrong type or unreadable YAML, and
    FileNotFoundError for a missing file.
    """
    config = OmegaConf.structured(schema)
    if path is not None:
        config = _merge(config, _read(Path(path)), str(path))
    for override in overrides or []:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r} is not an override; write section.field=value, without spaces")
        config = _merge(config, _parse(override), override)
    return cast(Schema, OmegaConf.to_object(config))


def dump_settings(config: Any) -> str:
    """The whole config as YAML, in the order of its fields."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def flatten_settings(config: Any) -> dict[str, Any]:
    """{"section.field": value} of a config dataclass, to compare two of them key by key."""

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {prefix: node}
        return {k: v for name, child in node.items() for k, v in walk(child, f"{prefix}.{name}").items()}

    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {k: v for name, child in plain.items() for k, v in walk(child, str(name)).items()}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"config {path} does not exist; the ones that come with this are in configs/")
    try:
        content = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not OmegaConf.is_dict(content):
        raise InputError(f"config {path} must hold sections such as `model:`, not a list or a single value")
    return content


def _parse(override: str) -> Any:
    try:
        return OmegaConf.from_dotlist([override])
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{override!r} cannot be read: {' '.join(str(error).split())}") from error


def _merge(config: Any, change: Any, where: str) -> Any:
    try:
        return OmegaConf.merge(config, _words(config, change))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        reason = str(error).split("\n", 1)[0].rstrip(".")
        at = f" at {key}" if key and str(key) not in where else ""
        raise InputError(f"{where}{at}: {reason}") from error


def _words(config: Any, change: Any) -> Any:
    """YAML reads `no` as false: where the schema has a word, it is one, as in `train.precision=no`."""
    for name, value in change.items() if OmegaConf.is_dict(change) else ():
        known = OmegaConf.select(config, str(name), throw_on_missing=False)
        if OmegaConf.is_dict(value) and OmegaConf.is_dict(known):
            change[name] = _words(known, value)
        elif isinstance(value, bool) and isinstance(known, str):
            change[name] = "yes" if value else "no"
    return change
