"""The settings of a run, with those that `size=auto` chooses.

The number of usable sentence pairs chooses a row of the rules (`train.size_rules`). When the data are prepared with its
vocabulary, the size and the number of updates follow. A setting that the user gives is never changed.
"""

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import expand, read_json, write_json
from common.processes import local_rank, set_threads
from common.settings import flatten_settings, load_saved_settings, load_settings
from data_pipeline.block_plan import BlockPlan
from data_pipeline.fingerprint import fingerprint
from data_pipeline.prepare_pairs import count_usable_pairs
from data_pipeline.prepared_data import PreparedData
from data_pipeline.tokenizers.sentence_piece import VocabularySizeError
from train.config import RunConfig
from train.initial_weights import size_of
from train.loop import prepare_once
from train.run.folder import has_begun
from train.setup import make_plan
from train.size_rules import (
    PARENT_SHARE,
    RULES,
    RULES_VERSION,
    Machine,
    Rule,
    Settings,
    find_rule,
    finetuning_rule,
    schedule_settings,
)

Load = Callable[[Settings], RunConfig]
"""Returns the user's settings, with other defaults."""
NO_SETTINGS: Settings = {}
TOO_FEW_PAIRS = 2_000
"""Number of pairs below which most translations of a model are wrong: with 400 of Multi30k, BLEU is 8."""
FEW_PAIRS = 10_000
"""Number of pairs below which a model is of little use for sentences unlike those of its training text."""


@dataclass(frozen=True)
class Choice:
    """What the rules choose for a text on a machine."""

    config: RunConfig
    """The user's settings with those that the rules choose."""
    settings: Settings
    """What the rules choose, by name. `config` has other values for the settings that the user gives."""
    pairs: int
    """Number of usable training pairs."""
    machine: Machine
    rule: Rule | None
    """Row of the rules. None: the paper's base model."""
    prepared: PreparedData

    @property
    def shown_settings(self) -> Settings:
        """The chosen settings that differ from the paper's base model and are not given by the user."""
        now, base = flatten_settings(self.config), flatten_settings(RunConfig())
        return {name: value for name, value in self.settings.items() if now[name] == value != base[name]}

    @property
    def epochs(self) -> float:
        """Number of times that training reads the text."""
        plan = make_plan(self.config, self.prepared.train)
        assert not isinstance(plan, BlockPlan)
        return self.config.train.max_steps / plan.updates_per_epoch


def load_run(path: Path | None, overrides: list[str], defaults: Settings = NO_SETTINGS) -> tuple[RunConfig, Path]:
    """Return the settings of a run and its run folder. `size=auto` is replaced by the settings that it chooses.

    `defaults` are used for settings that neither the file nor an override gives. A run that has begun keeps its size,
    also on another machine. Raises as `load_settings` and `prepare`.
    """
    load = make_load(path, overrides, defaults)
    config = load({})
    run_dir = expand(config.run_dir or f"runs/{path.stem if path else 'base'}")
    if config.size == "auto":
        if has_begun(run_dir):
            config = _saved_size(load, run_dir)
        else:
            choice = choose_size(load)
            _print(describe_size(choice))
            config = choice.config
    return replace(config, size="given"), run_dir


def make_load(path: Path | None, overrides: list[str], defaults: Settings = NO_SETTINGS) -> Load:
    """Return a function that returns the settings of a file and of overrides, with other defaults."""
    return lambda chosen: load_settings(RunConfig, path, overrides, {**chosen, **defaults})


def _saved_size(load: Load, run_dir: Path) -> RunConfig:
    """Return the user's settings with the size of the run in this folder."""
    if not (saved := run_dir / "config.yaml").is_file():
        return load({})  # training reports the missing file
    before = flatten_settings(load_saved_settings(RunConfig, saved))
    rule = RULES["cpu"][0]
    chosen = {**rule.settings(Machine("cpu", 1, False), 0), **rule.update_sizes()[0], **schedule_settings(1)}
    names = chosen.keys() | {"train.max_steps", "data.tokenizer", "checkpoints.parent_share"}
    return load({name: value for name, value in before.items() if name in names or name.startswith("model.")})


def choose_size(load: Load) -> Choice:
    """Return the settings that the rules choose. Raises InputError for a language model, and as `prepare`."""
    given = load({})
    if given.data.task != "translation":
        raise InputError("size=auto is for data.task=translation. For a language model, set model.d_model and others")
    set_threads(given.train.threads)
    machine = Machine.here()
    pairs, vocab_size = corpus_size(load, machine)
    rule = find_rule(pairs, machine)
    if given.train.init_from is not None:
        size = size_of(given.train.init_from)
        rule = finetuning_rule(pairs, machine, size["model.d_model"])
        chosen = rule.settings(machine, vocab_size) | size
        chosen["checkpoints.parent_share"] = PARENT_SHARE
        del chosen["data.vocab_size"]
    elif rule is not None:
        chosen = rule.settings(machine, vocab_size)
    if rule is None:
        return Choice(given, {}, pairs, machine, None, prepare_once(given))
    prepared = prepare_once(load(chosen))
    chosen |= _update_size(load, chosen, prepared, rule)
    config = load(chosen)
    plan = make_plan(config, prepared.train)
    assert not isinstance(plan, BlockPlan)
    chosen["train.max_steps"] = rule.updates(plan.updates_per_epoch, config.batches.tokens_per_update, machine)
    chosen |= schedule_settings(load(chosen).train.max_steps)
    return Choice(load(chosen), chosen, pairs, machine, rule, prepared)


def corpus_size(load: Load, machine: Machine) -> tuple[int, int]:
    """Return the number of usable pairs, and the size of their vocabulary: that of the rule, or the nearest possible.

    One process per host finds them and writes them to the cache, and the others wait for the file.
    """
    data = load({}).data
    cache = expand(data.cache_dir)
    file = cache / f"{fingerprint(data)}.{machine.kind}.size-{RULES_VERSION}.json"
    while local_rank() > 0 and not file.is_file():  # if the first process fails, the launcher ends this one
        time.sleep(0.2)
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        pairs = count_usable_pairs(data, cache)
        rule = find_rule(pairs, machine)
        vocab_size = data.vocab_size if rule is None else _possible_vocabulary(load, machine, rule)
        write_json(file, {"pairs": pairs, "vocab_size": vocab_size})
    size = read_json(file)
    return size["pairs"], size["vocab_size"]


def _possible_vocabulary(load: Load, machine: Machine, rule: Rule) -> int:
    """Return the vocabulary size of a rule, or the nearest one that the text allows."""
    config = load(rule.settings(machine, rule.vocab_size))
    if config.train.init_from is not None:  # its vocabulary is used
        return rule.vocab_size
    try:
        prepare_once(config)
    except VocabularySizeError as error:
        if config.data.vocab_size != rule.vocab_size:  # the user chose it
            raise
        return error.possible
    return rule.vocab_size


def _update_size(load: Load, chosen: Settings, prepared: PreparedData, rule: Rule) -> Settings:
    """Return the smallest size of an update that fits the longest sentence. Raises InputError if none does."""
    *smaller, largest = rule.update_sizes()
    for size in smaller:
        try:
            make_plan(load(chosen | size), prepared.train)
            return size
        except InputError:
            continue
    return largest


def describe_size(choice: Choice) -> str:
    """Return what was chosen, in words and as settings that the user can change."""
    about = f"auto: {choice.pairs:,} usable training pairs, {choice.machine}"
    if choice.rule is None:
        return f"size        {about}: the paper's base model"
    lines = [f"{about}, {choice.epochs:.3g} epochs"]
    settings = " ".join(f"{name}={value}" for name, value in choice.shown_settings.items())
    lines += textwrap.wrap(settings, 108, break_on_hyphens=False)
    if choice.config.train.init_from is None:
        lines += textwrap.wrap(describe_few(choice.pairs), 108)
    return "size        " + ("\n" + " " * 12).join(lines)


def describe_few(pairs: int) -> str:
    """Return a warning if a text has few pairs; otherwise ""."""
    if pairs >= FEW_PAIRS:
        return ""
    expected = "most translations will be wrong" if pairs < TOO_FEW_PAIRS else "only text like that of training works"
    return (
        f"{pairs:,} pairs are few: {expected}. More pairs help most; python -m train.finetune starts from another model"
    )


def _print(text: str) -> None:
    if local_rank() == 0:
        print(text, flush=True)
