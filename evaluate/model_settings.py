"""Settings that a model folder contains. Nothing in it is resolved or executed: the folder may be from anybody."""

from pathlib import Path
from typing import TypeVar

from common.settings import load_saved_section, parse_saved_section
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
        return parse_saved_section(DecodeConfig, "decode", about["decode"], str(folder / "config.json"))
    return read_section(DecodeConfig, folder, "decode") or DecodeConfig()


def read_section(schema: type[Schema], folder: Path, section: str) -> Schema | None:
    """Return one section of the `config.yaml` that training writes into its run folder; None without such a file.

    Other sections are ignored: another version may have other training settings. Raises InputError for a section that
    cannot be read.
    """
    file = folder / "config.yaml"
    return load_saved_section(schema, file, section) if file.is_file() else None
