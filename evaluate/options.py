"""Command-line options of everything that decodes, and the run's own settings behind them."""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evaluate.config import DecodeConfig

Schema = TypeVar("Schema")

_HELP = {
    "beam": "hypotheses kept per sentence; 1 is greedy search",
    "alpha": "exponent of the length penalty ((5 + n) / 6)^alpha",
    "max_extra": "output is at most this many tokens longer than the source",
    "batch_tokens": "tokens of source and longest output, times beam, in one batch",
}


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    """--beam, --alpha, --max-extra and --batch-tokens; unset, the run's own settings hold."""
    for field in fields(DecodeConfig):
        kind = float if field.name == "alpha" else int
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=kind, help=f"{_HELP[field.name]} (default: the run's, or {field.default})")


def read_section(schema: type[Schema], folder: Path, section: str) -> Schema | None:
    """One section of the `config.yaml` that a run leaves in its model folder; None where there is no such file.

    The other sections are not looked at: a model may be used by a version that knows other settings of training.
    Raises ValueError for a section that cannot be read.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
        saved = (content.get(section) if isinstance(content, dict) else None) or {}
        if not isinstance(saved, dict):
            raise ValueError(f"{file} at {section}: {saved} is no section with settings")
        return cast(Schema, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), saved)))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        key = f"{section}.{getattr(error, 'full_key', None) or ''}".rstrip(".")
        raise ValueError(f"{file} at {key}: {str(error).splitlines()[0].rstrip('.')}") from error


def decode_config(args: argparse.Namespace, base: DecodeConfig) -> DecodeConfig:
    """`base` with the options that were given. Raises ValueError for one out of range."""
    given = {field.name: getattr(args, field.name) for field in fields(DecodeConfig)}
    return replace(base, **{name: value for name, value in given.items() if value is not None})
