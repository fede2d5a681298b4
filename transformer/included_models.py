"""The translation models that the package includes: model folders in `included`, named after their direction.

This module imports no PyTorch, so that listing the models is fast.
"""

import json
import math
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError
from common.files import read_json, read_small

FOLDER = Path(__file__).resolve().parent / "included"
DEFAULT = ("en", "de")
"""Source and target language if no language is given."""


def included_models() -> dict[tuple[str, str], Path]:
    """Return the model folders by source and target language, in alphabetical order."""
    folders = sorted(path.parent for path in FOLDER.glob("*/config.json"))
    abouts = [read_json(folder / "config.json") for folder in folders]
    return {(about["source_lang"], about["target_lang"]): folder for about, folder in zip(abouts, folders, strict=True)}


def find_included_model(source_lang: str | None = None, target_lang: str | None = None) -> Path:
    """Return the folder of the included model that translates between these languages.

    Without any language it is the model from `DEFAULT[0]` to `DEFAULT[1]`; with one of them, the only model that has
    it. Raises InputError if there is no such model, or several.
    """
    if source_lang is None and target_lang is None:
        source_lang, target_lang = DEFAULT
    models = included_models()
    found = [(s, t) for s, t in models if source_lang in (None, s) and target_lang in (None, t)]
    if len(found) == 1:
        return models[found[0]]
    if found:
        raise InputError(f"several included models fit: {_directions(found)}. Give both --from and --to.")
    wanted = " ".join(
        f"{word} {lang}" for word, lang in (("from", source_lang), ("to", target_lang)) if lang is not None
    )
    raise InputError(
        f"no included model translates {wanted}; there are: {_directions(models)}. Give a model folder (--model), "
        "train one (README.md), or convert one (python -m transformer.convert --from marian)."
    )


def describe_included_models() -> list[str]:
    """Return one line for each included model: direction, parameters, size on disk, licence, folder."""
    return [
        f"{source} to {target}: {count_stored(folder / 'model.safetensors'):,} parameters, "
        f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB, {_describe_licence(folder)}, {folder}"
        for (source, target), folder in included_models().items()
    ]


def count_stored(file: Path) -> int:
    """Return the number of weights in a safetensors file, the scales of 8-bit weights excluded."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return sum(
        math.prod(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and not name.endswith(".scale")
    )


def read_licence(folder: Path) -> str | None:
    """Return the licence that the card of a model folder names, such as `mit`; None if there is none."""
    card = folder / "README.md"
    text = read_small(card).decode("utf-8", "replace") if card.is_file() else ""
    line = re.search(r"^licen[cs]e: *(\S.*?) *$", text, re.MULTILINE | re.IGNORECASE)
    return line[1] if line else None


def _describe_licence(folder: Path) -> str:
    licence = read_licence(folder)
    return f"licence {licence}" if licence else "licence: see its README.md"


def _directions(models: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{source} to {target}" for source, target in models) or "none"
