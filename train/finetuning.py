"""Finetune a translation model on your own text, and measure what the text gains and what is forgotten."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.directions import refuse_directions
from common.errors import InputError
from common.files import expand, make_folder, write_json, write_text
from common.notes import print_note
from common.text import show_controls
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import PreparedData
from data_pipeline.tokenizers import SentencePiecePair, open_translation_tokenizer
from evaluate.config import DecodeConfig
from evaluate.evaluation import file_stems, translate_lines, write_translations
from evaluate.metrics.bleu_tokenizer import choose_tokenizer
from evaluate.metrics.metric_choice import bleu_key
from evaluate.metrics.significance import Baseline
from evaluate.model_folders import read_decode_config, refuse_language_model, refuse_parser
from evaluate.report.report import make_report, plain_signature
from evaluate.test_sets import Languages, TestSet, everyday_sentences, from_files, model_languages
from evaluate.translator import Translator
from train.config import RunConfig
from train.loop import prepare_once, train
from train.own_text import check_languages, corpus_settings
from train.run.checkpoints import Checkpoints, read_state
from train.run.model_folder import write_model_folder
from train.size import load_run
from train.size_rules import Settings
from transformer.included_models import find_included_model
from transformer.pretrained import find_folder, load_pretrained, read_about

FIGURES = "finetuning.json"
"""File with the gains, in the folder `eval` of the run."""
CARD = "README.md"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Parent:
    """The model that finetuning starts from."""

    name: str
    folder: Path
    languages: Languages

    @property
    def source(self) -> str:
        """Folder of the model, or its name on the Hub."""
        return self.name if "/" in self.name and not expand(self.name).is_dir() else str(self.folder)

    def settings(self) -> Settings:
        """Return the settings of a run that starts from the model."""
        _, model = load_pretrained(self.folder)
        about = read_about(self.folder)
        decode = asdict(read_decode_config(self.folder))
        return {
            "train.init_from": self.source,
            "data.source_lang": self.languages[0],
            "data.target_lang": self.languages[1],
            "data.normalize_unicode": about.get("normalize_unicode") is not False,
            "data.max_length": min(model.max_len, DataConfig.max_length or model.max_len),
            "size": "auto",
            "run_dir": f"runs/finetuned-{Path(self.name).name}",
        } | {f"decode.{name}": value for name, value in decode.items()}


@dataclass(frozen=True)
class Gain:
    """BLEU of the translations of a test set before and after finetuning."""

    test_set: str
    is_own: bool
    """True for the user's own kind of text, False for general text."""
    lines: int
    before: float
    after: float
    p: float
    """p of paired bootstrap resampling."""
    signature: str

    @property
    def change(self) -> float:
        """Difference of BLEU."""
        return self.after - self.before


@dataclass(frozen=True)
class TestSets:
    """What is translated before and after finetuning."""

    own: TestSet | None
    """The user's kind of text. None: the held-out part of the training text."""
    general: TestSet | None
    """Other text. None: there is none for these languages."""
    is_default: bool
    """True if `general` was not given by the user."""


def finetune(
    model: str,
    corpus: Sequence[str],
    overrides: list[str],
    config_file: Path | None = None,
    own: Sequence[Path] | None = None,
    general: Sequence[Path] | None = None,
) -> int | None:
    """Train, and print BLEU before and after.

    Args:
        model: see `find_parent`.
        corpus: two files, or one name that `data.train` accepts, or [] if a setting gives the corpus.
        own: source and reference of the user's kind of text. None: the held-out pairs.
        general: source and reference of other text. None: everyday sentences, if there are some.

    Returns:
        The number of the signal that ended the run early, otherwise None.

    Raises as `find_parent`, `check_run` and `train`.
    """
    parent = find_parent(model)
    check_languages(corpus, parent.languages, model)
    sets = read_test_sets(own, general, parent.languages)
    config, run_dir = load_run(config_file, overrides, corpus_settings(corpus) | parent.settings())
    check_run(config, parent)
    stopped_by = train(config, run_dir)
    if Checkpoints(run_dir / "checkpoints").last_step() < config.train.max_steps:  # the trainer has printed why
        return stopped_by
    print(choose_weights(run_dir, config), flush=True)
    gains = measure_gains(parent, run_dir, config, sets, prepare_once(config))
    add_to_card(run_dir, gains)
    print(describe_gains(gains, sets, parent, run_dir))
    print(f'python -m transformer.translate --model {run_dir} "A sentence."')
    return None


def find_parent(name: str) -> Parent:
    """Return the model of a folder, an included model such as `en-de`, or a model of the Hub.

    Raises FileNotFoundError if there is no such model, and InputError for a language model or a parser.
    """
    included = re.fullmatch(r"[A-Za-z]{2,3}-[A-Za-z]{2,3}", name) and not expand(name).is_dir()
    folder = find_included_model(*name.split("-")) if included else find_folder(name)
    refuse_language_model(folder)
    refuse_parser(folder)
    refuse_directions(name, read_about(folder), "train.finetune")
    languages = model_languages(folder)
    if languages is None:
        raise InputError(f"{folder / 'config.json'} names no languages. Add source_lang and target_lang")
    tokenizer = open_translation_tokenizer(folder / "tokenizer.model")
    if isinstance(tokenizer, SentencePiecePair):
        raise InputError(
            f"{name} has two SentencePiece models, as Marian has, and training needs one for both languages. "
            "Give another model"
        )
    return Parent(name, folder, languages)


def check_run(config: RunConfig, parent: Parent) -> None:
    """Raise InputError if the settings of a run do not fit its parent, or if there are several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "train.finetune runs in one process. With accelerate launch, use train/train.py with the settings that "
            "train.finetune prints"
        )
    if config.data.has_directions:
        raise InputError("train.finetune is for one direction, and data.train names directions. Name one corpus")
    languages = config.data.languages
    if languages != parent.languages:
        raise InputError(
            f"{parent.name} translates from {' to '.join(parent.languages)}, not {' to '.join(languages)}. "
            "Give another model (--from), or leave out data.source_lang and data.target_lang"
        )
    if config.train.init_from != parent.source:
        raise InputError("train.init_from and --from name different models. Leave out train.init_from")
    if config.data.tokenizer != config.train.init_from:
        raise InputError(
            f"finetuning needs the vocabulary of {parent.name}; data.tokenizer is {config.data.tokenizer or 'null'}. "
            "Leave out data.tokenizer and size"
        )


def read_test_sets(own: Sequence[Path] | None, general: Sequence[Path] | None, languages: Languages) -> TestSets:
    """Read the test sets before training, so that an error shows at once. Raises as `from_files`."""
    return TestSets(
        _read_files(own, languages) if own else None,
        _read_files(general, languages) if general else everyday_sentences(languages),
        is_default=not general,
    )


def _read_files(files: Sequence[Path], languages: Languages) -> TestSet:
    """Return a test set whose name has no folder, because the model card contains it."""
    test_set = from_files(files[0], files[1:], languages)
    return replace(test_set, name=Path(test_set.name).name)


def choose_weights(run_dir: Path, config: RunConfig) -> str:
    """Write the model again from the best checkpoint if the validation loss rose after it. Return what was chosen."""
    best = Checkpoints(run_dir / "checkpoints").best()
    step = read_state(best[0]).step if best else config.train.max_steps
    if step < config.train.max_steps:
        return f"the validation loss rose after update {step:,}: {write_model_folder(run_dir, best=True)}"
    return "the validation loss fell to the end: the mean of the last checkpoints"


def measure_gains(parent: Parent, run_dir: Path, config: RunConfig, sets: TestSets, data: PreparedData) -> list[Gain]:
    """Translate the test sets with both models; write translations, reports and figures into the run folder."""
    own = sets.own or TestSet("held-out pairs", *_held_out(data), languages=parent.languages)
    chosen = [own] if sets.general is None else [own, sets.general]
    output = run_dir / "eval"
    make_folder(output)
    translators = [_translator(folder, config.decode) for folder in (parent.folder, run_dir)]
    stems = file_stems([test_set.name for test_set in chosen])
    gains = [
        _measure(test_set, test_set is own, translators, output / stem)
        for test_set, stem in zip(chosen, stems, strict=True)
    ]
    write_json(output / FIGURES, {"parent": parent.name, "gains": [asdict(gain) for gain in gains]})
    return gains


def _held_out(data: PreparedData) -> tuple[list[str], list[list[str]]]:
    sources, targets = data.valid_text()
    return sources, [targets]


def _translator(folder: Path, decode: DecodeConfig) -> Translator:
    return Translator.from_pretrained(folder, decode, None, "float32")  # figures do not depend on the machine


def _measure(test_set: TestSet, is_own: bool, translators: Sequence[Translator], file: Path) -> Gain:
    """Return the gain of a test set. `file` is the path of its report without a suffix."""
    assert test_set.sources is not None
    print_note(f"translating {show_controls(test_set.name)} with both models")
    progress = sys.stderr.isatty()
    (before, _), (after, info) = (translate_lines(one, test_set.sources, progress) for one in translators)
    write_translations(file.parent, f"{file.name}.before", before)
    write_translations(file.parent, file.name, after)
    tokenizer = choose_tokenizer(None, test_set.target_language, test_set.references)
    report = make_report(test_set, after, info, Baseline(f"{file.name}.before.hyp", before), tokenizer)
    write_json(file.with_name(f"{file.name}.json"), report.as_json())
    assert report.comparison is not None
    bleu = report.comparison.differences[bleu_key(report.tokenizer)]
    signature = plain_signature(report.bleu.signature)
    return Gain(test_set.name, is_own, len(after), bleu.baseline, bleu.score, bleu.p_bootstrap, signature)


def describe_gains(gains: Sequence[Gain], sets: TestSets, parent: Parent, run_dir: Path) -> str:
    """Return a table of BLEU before and after, and what follows from it."""
    head = ["BLEU", "lines", "before", "after", "change", "p"]
    rows = [head, *([*_cells(gain)] for gain in gains)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [f"  {_align(row, widths)}" for row in rows]
    return "\n".join([f"{parent.name} before, {run_dir} after finetuning", *table, *_remarks(gains, sets, parent)])


def _cells(gain: Gain) -> list[str]:
    kind = "your text" if gain.is_own else "other text"
    scores = f"{gain.before:.1f}", f"{gain.after:.1f}", f"{gain.change:+.1f}"
    return [f"{show_controls(gain.test_set)} ({kind})", f"{gain.lines:,}", *scores, f"{gain.p:.4f}"]


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers])


def _remarks(gains: Sequence[Gain], sets: TestSets, parent: Parent) -> list[str]:
    """Return sentences about the figures."""
    own, *general = gains
    remarks = [f"  {own.signature}; p: paired bootstrap resampling of sentences"]
    if sets.own is None:
        remarks.append("  Held-out pairs also chose the checkpoint. --test SOURCE REFERENCE measures on other text.")
    if own.change <= 0 or own.p > SIGNIFICANT:
        remarks.append(
            f"  No certain gain on your text: more pairs are needed, or {parent.name} is as good as it gets."
        )
    for gain in general:
        lost = f"lost {-gain.change:.1f} BLEU" if gain.change < 0 else "lost nothing that BLEU shows"
        remarks.append(f"  On other text, the model {lost} (forgetting): no other text was mixed in.")
        if sets.is_default:
            remarks.append(
                f"  {gain.lines} sentences show only large changes. --general SOURCE REFERENCE takes others."
            )
    if not general:
        remarks.append("  How much was forgotten was not measured: give other text with --general SOURCE REFERENCE.")
    return remarks


def add_to_card(run_dir: Path, gains: Sequence[Gain]) -> None:
    """Append the figures to the model card."""
    card = (run_dir / CARD).read_text(encoding="utf-8")
    rows = [f"| {' | '.join(cell.replace('|', ' ') for cell in _cells(gain))} |" for gain in gains]
    section = [
        "## Before and after finetuning",
        "",
        f"BLEU of the parent model and of this one. `{gains[0].signature}`; p: paired bootstrap resampling.",
        "",
        "| test set | lines | before | after | change | p |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    write_text(run_dir / CARD, card.rstrip() + "\n\n" + "\n".join(section) + "\n")
