"""Settings that a model folder contains. Nothing in it is resolved or executed: the folder may be from anybody."""

from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import InputError
from common.settings import translate_old_names
from evaluate.config import DecodeConfig
from transformer.pretrained import read_about

Schema = TypeVar("Schema")


def read_decode_config(folder: Path) -> DecodeConfig:
    """Return the decoding settings of a model folder.

    They are the section `decode` of `config.json`. A folder of an older version has none: then they are the section
    `decode` of the run's `config.yaml`, or else the defaults. Raises InputError for settings that cannot be read.
    """
    about = read_about(folder)
    if "decode" in about:
        return settings_from(DecodeConfig, about["decode"], f"{folder / 'config.json'} at decode")
    return read_section(DecodeConfig, folder, "decode") or DecodeConfig()


def read_section(schema: type[Schema], folder: Path, section: str) -> Schema | None:
    """Return one section of the `config.yaml` that training writes into its run folder; None without such a file.

    Other sections are ignored: another version may have other training settings. Raises InputError for a section that
    cannot be read.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(f"{file} at {section}: {str(error).splitlines()[0].rstrip('.')}") from error
    saved = (content.get(section) if isinstance(content, dict) else None) or {}
    return settings_from(schema, saved, f"{file} at {section}")


def settings_from(schema: type[Schema], saved: Any, where: str) -> Schema:
    """Return a settings dataclass made of the saved values, with defaults for the others.

    A value with `${...}` is refused: it is text from somebody else and is never resolved. Raises InputError, which
    begins with `where`, for anything that `schema` cannot take.
    """
    if not isinstance(saved, dict):
        raise InputError(f"{where}: {saved} is no section with settings")
    for name, value in saved.items():
        if "${" in str(value):
            raise InputError(f"{where}.{name}: {value} is a reference, which is not resolved. Write the value.")
    try:
        saved = translate_old_names(OmegaConf.create(saved), schema)
        return cast(Schema, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), saved)))
    except OmegaConfBaseException as error:
        key = f"{where}.{getattr(error, 'full_key', None) or ''}".rstrip(".")
        raise InputError(f"{key}: {str(error).splitlines()[0].rstrip('.')}") from error
