"""Command-line options of everything that decodes, and the run's own settings behind them."""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import InputError
from common.settings import translate_old_names
from evaluate.config import FORMULAS, DecodeConfig, LengthPenalty, SampleConfig
from transformer.pretrained import read_about

Schema = TypeVar("Schema")

_HELP = {
    "beam": "hypotheses kept per sentence; 1 is greedy search",
    "alpha": "exponent of the length penalty",
    "length_penalty": "by what the log-probability of n tokens is divided: "
    + ", ".join(f"{kind}: {formula}" for kind, formula in FORMULAS.items()),
    "min_length": "output has at least so many tokens, the end counted",
    "max_length": "output has at most so many tokens, the end counted",
    "max_extra": "output is at most this many tokens longer than the source",
    "batch_tokens": "tokens of source and longest output, times beam, in one batch",
}


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    """An option for every field of `DecodeConfig`; unset, the run's own settings hold."""
    for field in fields(DecodeConfig):
        flag = "--" + field.name.replace("_", "-")
        default = "the model's limit" if field.default is None else field.default
        text = f"{_HELP[field.name]} (default: the run's, or {default})"
        if field.name == "length_penalty":
            parser.add_argument(flag, choices=get_args(LengthPenalty), help=text)
        else:
            parser.add_argument(flag, type=float if field.name == "alpha" else int, help=text)


def add_compute_type(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--compute-type."""
    parser.add_argument(
        "--compute-type",
        default="float32",
        help=f"numbers to compute in: float32, bfloat16, or float16 on a GPU{more} (default: float32)",
    )


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


def read_decode_config(folder: Path) -> DecodeConfig:
    """Return the decoding settings of a model folder.

    They are the section `decode` of `config.json`. A folder of an older version has none: then they are the section
    `decode` of the run's `config.yaml`, or else the defaults. Raises InputError for settings that cannot be read.
    """
    about = read_about(folder)
    if "decode" in about:
        return settings_from(DecodeConfig, about["decode"], f"{folder / 'config.json'} at decode")
    return read_section(DecodeConfig, folder, "decode") or DecodeConfig()


def decode_config(args: argparse.Namespace, base: DecodeConfig) -> DecodeConfig:
    """`base` with the options that were given. Raises ValueError for one out of range."""
    given = {field.name: getattr(args, field.name) for field in fields(DecodeConfig)}
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """--samples, and how they are drawn: --temperature, --top-k, --top-p and --seed."""
    parser.add_argument(
        "--samples", type=int, metavar="N", help="draw N translations of a sentence at random instead of searching"
    )
    parser.add_argument("--temperature", type=float, help="below 1 surer, above 1 more varied (default: 1)")
    parser.add_argument("--top-k", type=int, help="draw among the k likeliest tokens only")
    parser.add_argument(
        "--top-p", type=float, help="draw among the fewest likeliest tokens whose probabilities add up to p"
    )
    parser.add_argument("--seed", type=int, help="the same seed gives a sentence the same samples (default: 1)")


def sample_config(args: argparse.Namespace) -> SampleConfig | None:
    """What `add_sampling_options` read; None without --samples. Raises ValueError for a setting out of range."""
    given = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "seed")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.samples is None:
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} is for sampling: give --samples too")
        return None
    return SampleConfig(num_samples=args.samples, **given)
