"""Model folders: find the one that a user names, refuse a model that does something else, read its settings.

Nothing in a folder is resolved or executed: it may be from anybody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from common.directions import describe, match_directions, model_directions
from common.errors import InputError
from common.settings import load_saved_section, parse_saved_section
from data_pipeline.trees import TREE_LANG
from evaluate.config import DecodeConfig
from transformer.included_models import find_included_model
from transformer.pretrained import find_folder, read_about

Schema = TypeVar("Schema")


def find_model(name: str | Path | None, source_lang: str | None, target_lang: str | None) -> Path:
    """Return the folder of a translation model; the name None is the included model of the two languages.

    Raises FileNotFoundError if there is no such folder, InputError if the model has other languages.
    """
    if name is None:
        return find_included_model(source_lang, target_lang)
    folder = find_folder(name)
    if directions := model_directions(read_about(folder)):
        match_directions(folder, directions, source_lang, target_lang)
    return folder


def find_models(
    names: str | Path | Sequence[str | Path] | None, source_lang: str | None, target_lang: str | None
) -> list[Path]:
    """Return the folders of one model, or of the models of an ensemble.

    Raises as `find_model`, and InputError if a model is a language model, or has other languages or another tokenizer
    than the first one.
    """
    several = [names] if names is None or isinstance(names, str | Path) else names
    folders = [find_model(name, source_lang, target_lang) for name in several]
    if not folders:
        raise InputError("there is no model. Give at least one model folder.")
    directions = [model_directions(read_about(folder)) for folder in folders]
    for folder, own in zip(folders, directions, strict=True):
        refuse_language_model(folder)
        if target_lang != TREE_LANG:
            refuse_parser(folder)
        if own != directions[0]:
            both = " and ".join(describe(found) or "unknown languages" for found in (directions[0], own))
            raise InputError(f"{folders[0]} and {folder} are models of two directions, {both}. Give models of one.")
        if (folder / "tokenizer.model").read_bytes() != (folders[0] / "tokenizer.model").read_bytes():
            raise InputError(
                f"{folder} has another tokenizer than {folders[0]}. The models of an ensemble need one vocabulary: "
                "train them on the same prepared data, or set data.tokenizer."
            )
    return folders


def refuse_language_model(folder: Path) -> None:
    """Raise InputError if the model folder contains a language model."""
    if is_language_model(folder):
        raise InputError(f"{folder} contains a language model (GPT), which cannot translate. Use transformer.generate.")


def refuse_parser(folder: Path) -> None:
    """Raise InputError if the model folder contains a parser."""
    if is_parser(folder):
        raise InputError(f"{folder} contains a parser, which cannot translate. Use transformer.parse.")


def is_parser(folder: Path) -> bool:
    """Return True if the model folder contains a model that writes trees."""
    return read_about(folder).get("target_lang") == TREE_LANG


def is_language_model(folder: Path) -> bool:
    """Return True if the model folder contains a GPT."""
    model = read_about(folder).get("model")
    return isinstance(model, dict) and model.get("architecture") == "gpt"


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
