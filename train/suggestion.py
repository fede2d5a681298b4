"""Settings for a text: what the rules of `size=auto` choose, how long training takes, and what to expect."""

import math
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError
from common.files import expand, write_text
from common.settings import flatten_settings
from data_pipeline.micro_batches import choose_split
from data_pipeline.sources.filters import LABELS, FilterReason
from evaluate.test_sets import Languages
from train.config import RunConfig
from train.distributed import make_accelerator
from train.finetuning import Parent
from train.loop import load_trainer
from train.own_text import SETTINGS, corpus_override, corpus_settings, describe_languages, find_languages
from train.run_time import UpdateTime, describe_time, duration, measure_update
from train.setup import make_setup
from train.size import Choice, choose_size, describe_few, make_load
from train.size_rules import RULES, Rule, Settings
from transformer.included_models import included_models

MEASURED = {400: 7.7, 5_000: 21.1, 29_000: 38.5}
"""BLEU of size=auto by number of pairs of Multi30k, English to German (benchmarks/results/own_text.json)."""
FINETUNED = (23.8, 29.2, 43.9, 39.3)
"""BLEU of the included model en-de before and after 5,000 pairs of Multi30k: on such captions, and on the test split of
its own corpus (benchmarks/results/finetune_included.json)."""
WIDTH = 108
INDENT = " " * 12
COLUMNS: dict[str, str] = {
    "below": "pairs below",
    "vocab_size": "vocabulary",
    "d_model": "d_model",
    "n_layers": "layers",
    "n_heads": "heads",
    "d_ff": "d_ff",
    "dropout": "dropout",
    "tokens_per_update": "tokens per update",
    "epochs": "epochs",
    "peak_lr": "peak learning rate",
}
"""For each field of a rule, the heading of its column."""


@dataclass(frozen=True)
class Suggestion:
    """What a text is, and how to train on it."""

    corpus: Sequence[str]
    """The names on the command line. Empty if the settings name the corpus."""
    overrides: Sequence[str]
    """The settings on the command line."""
    config_file: Path | None
    languages: Languages
    found: str
    """A clause: how the languages were found."""
    choice: Choice
    timing: UpdateTime | None
    """Time of an update; None if it does not fit into memory."""
    parent: str | None = None
    """Name of the included model of these languages, such as `en-de`; None if there is none."""
    finetuning: Choice | None = None
    """What the rules choose for a run that starts from that model."""
    finetuning_timing: UpdateTime | None = None
    no_finetuning: str = ""
    """Why that model does not fit the given settings."""

    def lines(self) -> list[str]:
        """Return the whole suggestion."""
        shown = self.choice.shown_settings
        settings = " ".join(f"{name}={value}" for name, value in shown.items()) or "those of the paper's base model"
        return [
            *self._about_text(),
            *_rules(self.choice),
            *_entry("settings", settings),
            *_time(self.choice, self.timing),
            *_entry("expect", _expectation(self.choice.pairs)),
            "train       a new model:",
            INDENT + self.training_command(),
            *self._about_finetuning(),
        ]

    def training_command(self, yaml_file: Path | None = None) -> str:
        """Return the command that starts training, with the settings of a file if there is one."""
        own = ["run_dir=runs/mine"] if self.choice.config.run_dir is None else []
        if yaml_file is not None:
            given = [word for word in self.overrides if word.startswith("run_dir=")]
            return _command("accelerate launch train/train.py", ["--config", str(yaml_file), *own, *given])
        return _command("accelerate launch train/train.py", ["size=auto", *own, *self._words(settings_only=True)])

    def changed_settings(self) -> Settings:
        """Return all settings that differ from those of the paper's base model."""
        now, base = flatten_settings(replace(self.choice.config, size="given", run_dir=None)), RunConfig()
        return {name: value for name, value in now.items() if value != flatten_settings(base)[name]}

    def _about_text(self) -> list[str]:
        prepared = self.choice.prepared
        counts, train = prepared.report["train"], prepared.train
        dropped = {LABELS[reason]: counts[LABELS[reason]] for reason in FilterReason if counts.get(LABELS[reason])}
        kept = dropped.pop(LABELS[FilterReason.KEPT])
        others = "".join(f"; {label}: {number:,}" for label, number in dropped.items())
        tokens = f"{train.src_lengths.sum():,} source and {train.tgt_lengths.sum():,} target tokens"
        return [
            *_entry("text", f"{counts['read']:,} pairs, {kept:,} for training{others}"),
            *_entry("tokens", f"{tokens} with a vocabulary of {prepared.config.vocab_size:,}"),
            *_entry("languages", f"{describe_languages(self.languages)}, {self.found}"),
            *_entry("machine", str(self.choice.machine)),
        ]

    def _about_finetuning(self) -> list[str]:
        if self.parent is None or self.finetuning is None:
            missing = f"no included model translates {describe_languages(self.languages)}"
            return _entry(
                "finetune",
                f"{self.no_finetuning or missing}. Any model folder of these languages can be given with --from",
            )
        about = f"the included model {self.parent}, which has these languages"
        if (timing := self.finetuning_timing) is not None:
            about += (
                f"; about {duration(timing.alone.hours(self.finetuning.config.train.max_steps))}, without validation"
            )
        if self.choice.pairs < MOST_FOR_FINETUNING:
            before, after, other_before, other_after = FINETUNED
            about += (
                ". For this number of pairs, it is better than a new model. Measured with 5,000 captions: "
                f"BLEU {before} before and {after} after on captions, {other_before} and {other_after} on other text"
            )
        command = _command(f"python -m train.finetune --from {self.parent}", self._words(settings_only=False))
        return [*_entry("finetune", about), INDENT + command]

    def _words(self, settings_only: bool) -> list[str]:
        """Return the arguments of the command line again."""
        corpus = corpus_settings(self.corpus)
        words = ["--config", str(self.config_file)] if self.config_file else []
        if settings_only:
            words += [corpus_override(corpus["data.train"])] if corpus else []
            given = [word.partition("=")[0] for word in self.overrides]
            pairs = zip(SETTINGS, self.languages, ("en", "de"), strict=True)
            words += [f"{name}={value}" for name, value, usual in pairs if value != usual and name not in given]
        else:
            words += self.corpus
        return [*words, *self.overrides]


MOST_FOR_FINETUNING = 100_000
"""Number of pairs below which a suggestion prefers to finetune."""


def make_suggestion(corpus: Sequence[str], overrides: list[str], config_file: Path | None) -> Suggestion:
    """Return the suggestion for a corpus: two files or one name, or [] if a setting names it.

    Raises as `choose_size`.
    """
    found, how = find_languages(corpus)
    defaults = corpus_settings(corpus) | {"size": "auto"}
    if found is not None:
        defaults |= dict(zip(SETTINGS, found, strict=True))
    load = make_load(config_file, overrides, defaults)
    if load({}).data.has_directions:
        raise InputError("train.suggest is for one direction. Name the corpus of one; size=auto is for several, too")
    choice = choose_size(load)
    data = choice.config.data
    languages = data.languages
    if languages != found:
        how = "as given" if found else f"{how}: set data.source_lang and data.target_lang if these are wrong"
    suggestion = Suggestion(corpus, overrides, config_file, languages, how, choice, _measure(choice))
    if languages not in included_models() or choice.config.train.init_from is not None:
        return suggestion
    parent = Parent("-".join(languages), included_models()[languages], languages)
    try:
        finetuning = choose_size(make_load(config_file, overrides, corpus_settings(corpus) | parent.settings()))
        timing = _measure(finetuning)
    except InputError as error:  # a setting that only a new model can have
        return replace(suggestion, no_finetuning=f"the included model does not fit these settings ({error})")
    return replace(suggestion, parent=parent.name, finetuning=finetuning, finetuning_timing=timing)


def write_yaml(suggestion: Suggestion, path: str) -> Path:
    """Write the settings of a suggestion as a YAML file. Raises InputError if it exists."""
    file = expand(path)
    if file.exists():
        raise InputError(f"{file} exists. Give --yaml another name, or delete it")
    sections: dict[str, dict[str, Any]] = {}
    for name, value in suggestion.changed_settings().items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    command = suggestion.training_command(file)
    about = f"# {suggestion.choice.pairs:,} usable pairs, {suggestion.choice.machine}\n#\n#   {command}\n"
    write_text(file, about + yaml.safe_dump(sections, allow_unicode=True, sort_keys=False))
    return file


def _measure(choice: Choice) -> UpdateTime | None:
    config = replace(choice.config, train=replace(choice.config.train, log_with="none"))
    setup = make_setup(config, choice.prepared)
    accelerator = make_accelerator(setup.config.train, expand(config.data.cache_dir))
    trainer, _ = load_trainer(setup.config, setup.prepared, None, accelerator)
    split = choose_split(setup.plan.shapes, setup.plan.per_update, 1, config.batches.micro_tokens)
    return measure_update(trainer, setup, split)


def _rules(choice: Choice) -> list[str]:
    """Return the rules for this machine as a table, the row that was used with a mark."""
    kind = choice.machine.kind
    table = [list(COLUMNS.values())] + [[_cell(rule, name) for name in COLUMNS] for rule in RULES[kind]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
    marks = [" ", *(">" if rule is choice.rule else " " for rule in RULES[kind])]
    more = " More pairs get the paper's base model." if kind == "gpu" else ""
    head = (
        f"size=auto uses the first row of a {kind.upper()} that has more pairs than the text (docs/own-text.md).{more}"
    )
    return [*_entry("rules", head), *(f"  {mark} {'  '.join(row)}" for mark, row in zip(marks, rows, strict=True))]


def _cell(rule: Rule, name: str) -> str:
    value = getattr(rule, name)
    return "any" if value == math.inf else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _time(choice: Choice, timing: UpdateTime | None) -> list[str]:
    if timing is None:
        return _entry("time", "not measured: an update does not fit into memory. Lower batches.micro_tokens")
    return [describe_time(choice.config, timing, 0)]


def _expectation(pairs: int) -> str:
    measured = ", ".join(f"{bleu} with {number:,} pairs" for number, bleu in MEASURED.items())
    few = f". {describe_few(pairs)}" if describe_few(pairs) else ""
    return (
        f"BLEU of such runs on captions of images, English to German: {measured} (Multi30k, docs/own-text.md). These "
        f"captions are short and alike. Text that is more varied gets less, and only your own test set shows it{few}"
    )


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH + len(INDENT), initial_indent=f"{name:<12}", subsequent_indent=INDENT)


def _command(start: str, words: Sequence[str]) -> str:
    return f"{start} {shlex.join(words)}"
