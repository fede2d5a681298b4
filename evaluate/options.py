"""Command-line options of the commands that decode, and the settings that they give."""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from common.errors import InputError
from common.files import STANDARD_INPUT, expand
from common.text_input import group_lines, read_all_lines, read_line_groups, read_lines
from evaluate.config import FORMULAS, BackendName, DecodeConfig, EnsembleMean, Feature, LengthPenalty, SampleConfig
from transformer.included_models import describe_included_models

_DECODE_HELP = {
    "beam": "number of hypotheses kept per sentence; 1 is greedy search",
    "alpha": "exponent of the length penalty",
    "length_penalty": "divisor of the log-probability of n tokens: "
    + ", ".join(f"{kind}: {formula}" for kind, formula in FORMULAS.items()),
    "min_length": "smallest number of output tokens, the end of the sentence included",
    "max_length": "largest number of output tokens, the end of the sentence included",
    "max_extra": "largest number of output tokens beyond the length of the source",
    "batch_tokens": "size of a batch: tokens of source and longest output, times beam. Lower it if memory runs out",
    "split_sentences": "translate the sentences of a line one by one, or the line as a whole",
    "translate_symbols": "translate text without a letter, such as 42, or copy it",
}
_SAMPLING: dict[str, tuple[type, str]] = {
    "temperature": (float, "sampling temperature: lower values give likelier text, 0 is greedy"),
    "top_k": (int, "sample from the k most likely tokens only"),
    "top_p": (float, "sample from the smallest set of most likely tokens whose probabilities add up to p"),
    "seed": (int, "random seed; the same seed gives the same samples of a text"),
}
_GENERATION: dict[str, tuple[type, str]] = {
    **_SAMPLING,
    "num_samples": (int, "number of continuations of each prompt"),
    "max_tokens": (int, "largest number of tokens in a continuation, if the model does not end the document earlier"),
}


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face Hub")


def add_ensemble(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add --model, which may be repeated: `args.model` is the first one, `args.others` the further ones; and
    --ensemble-mean."""
    several = "repeated, models with one vocabulary are averaged"
    parser.add_argument(
        "--model",
        action=_Models,
        required=required,
        help=f"model folder, or a name on the Hugging Face Hub; {several}",
    )
    add_ensemble_mean(parser)


def add_ensemble_mean(parser: argparse.ArgumentParser) -> None:
    """Add --ensemble-mean, and `args.others` for the further models of an ensemble."""
    parser.set_defaults(others=[])
    parser.add_argument(
        "--ensemble-mean",
        choices=get_args(EnsembleMean),
        default="log-probabilities",
        help="what several models average (default: %(default)s)",
    )


class _Models(argparse.Action):
    """Stores the first model in `model`, and further ones in `others`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if namespace.model is None:
            namespace.model = values
        elif not hasattr(namespace, "others"):
            parser.error("give --model once")
        else:
            namespace.others = [*namespace.others, values]


def add_decode_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add an option for every field of `DecodeConfig` but those of `without`."""
    for field in fields(DecodeConfig):
        if field.name in without:
            continue
        default = "the model's limit" if field.default is None else field.default
        text = f"{_DECODE_HELP[field.name]} (default: the setting in the model folder, or {default})"
        if field.name == "length_penalty":
            parser.add_argument(_flag(field.name), choices=get_args(LengthPenalty), help=text)
        elif isinstance(field.default, bool):
            parser.add_argument(_flag(field.name), action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(_flag(field.name), type=float if field.name == "alpha" else int, help=text)


def add_parser_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add --model, --ensemble-mean, --compute-type and the settings of decoding that apply to trees."""
    add_ensemble(parser, required)
    add_compute_type(parser, "float32")
    add_decode_options(parser, without=("min_length", "split_sentences", "translate_symbols"))


def decode_config(args: argparse.Namespace, base: DecodeConfig) -> DecodeConfig:
    """Return `base` with the given options. Raise InputError for an option out of range."""
    return replace(base, **_given(args, (field.name for field in fields(DecodeConfig) if hasattr(args, field.name))))


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add --backend."""
    parser.add_argument(
        "--backend",
        choices=get_args(BackendName),
        default="torch",
        help="ctranslate2 is faster on a CPU; it uses an export that is created on first use, see docs/export.md "
        "(default: torch)",
    )


def add_compute_type(parser: argparse.ArgumentParser, default: str, more: str = "") -> None:
    """Add --compute-type; `more` is a note on other types."""
    parser.add_argument(
        "--compute-type",
        default=default,
        help="number format of the computations: float32, bfloat16, int8 on a CPU, float16 on a GPU, or auto, which is "
        f"bfloat16 if it is faster on this machine, else float32{more} (default: {default})",
    )


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `SampleConfig`."""
    _add_sample_fields(parser, _GENERATION)


def generation_config(args: argparse.Namespace) -> SampleConfig:
    """Return the settings of `add_generation_options`. Raise InputError for an option out of range."""
    return SampleConfig(**_given(args, _GENERATION))


def add_translation_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `transformer.translate` for model, segments, prefixes, sampling, backend and output."""
    add_direction(parser)
    add_ensemble_mean(parser)
    parser.add_argument(
        "--documents",
        action="store_true",
        help="split lines into sentences, and keep the white space at both ends of a line",
    )
    parser.add_argument(
        "--format",
        choices=("text", "html", "srt"),
        default="text",
        help="text: every line gives one line; html: keep tags, attributes, scripts and code; srt: subtitles, keep "
        "numbers, times and lines (default: text)",
    )
    parser.add_argument(
        "--no-protect",
        dest="protect",
        action="store_false",
        help="leave addresses, {placeholders}, %%s, `code`, tags, emoji and lost numbers to the model",
    )
    parser.add_argument(
        "--glossary",
        type=expand,
        metavar="FILE",
        help="text file with a source term, a tab and a target term per line: translations of sentences with a source "
        "term contain its target term",
    )
    parser.add_argument(
        "--prefix", type=expand, metavar="FILE", help="text file whose line n begins the translation of line n"
    )
    parser.add_argument(
        "--n-best",
        type=int,
        default=1,
        metavar="N",
        help="print the N best translations of each sentence, one per line: line number, score, text (tab-separated; "
        "default: 1)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per line: source, and translations with scores"
    )
    parser.add_argument("--token-scores", action="store_true", help="with --json: add each token's log-probability")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="with --json: add for each token of a translation the weights on the source tokens, the mean over the "
        "heads of the last layer",
    )
    add_backend(parser)
    parser.add_argument(
        "--samples", type=int, metavar="N", help="sample N translations of each sentence instead of searching"
    )
    _add_sample_fields(parser, _SAMPLING)
    parser.add_argument(
        "--mbr",
        choices=("chrf", "bleu"),
        help="with --samples: print the sample that is most like all samples in this metric (minimum Bayes risk)",
    )
    parser.add_argument(
        "--reverse",
        metavar="MODEL",
        help="model of the reverse direction: print the hypothesis of the beam from which it gets the source back best",
    )
    parser.add_argument(
        "--reverse-weight",
        type=float,
        default=1.0,
        metavar="W",
        help="weight of the reverse model beside the model (default: %(default)s)",
    )


def add_direction(parser: argparse.ArgumentParser) -> None:
    """Add --model, --from and --to."""
    parser.add_argument(
        "--model",
        action=_IncludedOrOwn,
        help="model folder, or a name on the Hugging Face Hub; list prints the included models (default: the included "
        "model of --from and --to)",
    )
    add_languages(parser, " (default without --model: en)", " (default without --model: de)")


def add_languages(parser: argparse.ArgumentParser, default_from: str = "", default_to: str = "") -> None:
    """Add --from and --to, which choose one of the directions of a model; with notes on their defaults."""
    parser.add_argument("--from", dest="source_lang", metavar="LANG", help=f"source language{default_from}")
    parser.add_argument("--to", dest="target_lang", metavar="LANG", help=f"target language{default_to}")


class _IncludedOrOwn(_Models):
    """Stores models; the value list prints the included models and ends the command."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if values == "list" and not Path("list").exists():  # a folder of this name is a model folder
            print("\n".join(describe_included_models()) or "no included models")
            parser.exit()
        super().__call__(parser, namespace, values, option)


def check_translation_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 if options of `transformer.translate` exclude each other."""
    from evaluate.translator import BACKENDS  # imports PyTorch, which --help does not need

    needed: dict[Feature, tuple[str, Any]] = {
        "sampling": ("--samples", args.samples),
        "prefix": ("--prefix", args.prefix),
        "token scores": ("--token-scores", args.token_scores),
        "attention": ("--attention", args.attention),
        "glossary": ("--glossary", args.glossary),
    }
    if args.sentences and args.input:
        parser.error("give either sentences or --input")
    if args.prefix and not (args.sentences or args.input):
        parser.error("--prefix needs sentences or --input")
    if (args.token_scores or args.attention) and not args.json:
        parser.error("--token-scores and --attention need --json")
    if args.documents and (args.prefix or args.token_scores or args.attention):
        parser.error("--prefix, --token-scores and --attention are for single sentences, without --documents")
    if args.documents and args.split_sentences is False:
        parser.error("give either --documents or --no-split-sentences")
    supported = BACKENDS[args.backend].supports
    if missing := [option for feature, (option, used) in needed.items() if used and feature not in supported]:
        parser.error(f"--backend {args.backend} does not support {', '.join(missing)}. Use --backend torch.")
    if args.samples is not None and args.n_best != 1:
        parser.error("give either --samples or --n-best")
    if args.mbr and (args.samples is None or args.reverse):
        parser.error("--mbr needs --samples, and is without --reverse")
    if args.reverse and args.samples is not None:
        parser.error("--reverse chooses among the beam, without --samples")
    if args.samples is not None and args.glossary:
        parser.error("give either --samples or --glossary")
    lines_only = {"--samples": args.samples, "--n-best": args.n_best != 1, "--json": args.json, "--prefix": args.prefix}
    lines_only["--reverse"] = args.reverse
    if args.format != "text" and any(lines_only.values()):
        parser.error(f"--format {args.format} gives one document, without {', '.join(lines_only)}")


def translation_input(args: argparse.Namespace) -> Iterator[list[str]] | None:
    """Return the lines to translate in groups that fit in memory; with --prefix, all together. None: ask at a terminal.

    The first lines of --input are read at once, so that a mistake shows before a model is loaded.
    """
    if args.sentences:
        return iter([args.sentences])
    if args.input and args.prefix:
        return iter([read_all_lines(args.input)])
    if args.input is None or args.input == STANDARD_INPUT:
        return None if args.input is None and at_terminal() else read_standard_input(args.input is None)
    groups = group_lines(read_lines(args.input), len)
    return chain([next(groups, [])], groups)


def at_terminal() -> bool:
    """Return True if standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_standard_input(may_be_closed: bool) -> Iterator[list[str]]:
    """Return the lines of standard input in groups, as they arrive; none if it is closed and may be."""
    return iter(()) if may_be_closed and sys.stdin is None else read_line_groups(STANDARD_INPUT)


def translation_sampling(args: argparse.Namespace) -> SampleConfig | None:
    """Return the sampling settings of --samples, None without it. Raise InputError for an option out of range."""
    given = _given(args, _SAMPLING)
    if args.samples is None:
        if given:
            raise InputError(f"{_flag(next(iter(given)))} is for sampling. Give --samples too.")
        return None
    return SampleConfig(num_samples=args.samples, **given)


def _add_sample_fields(parser: argparse.ArgumentParser, options: dict[str, tuple[type, str]]) -> None:
    for name, (kind, text) in options.items():
        default = getattr(SampleConfig, name)
        shown = "all tokens" if default is None else default
        parser.add_argument(_flag(name), type=kind, help=f"{text} (default: {shown})")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
