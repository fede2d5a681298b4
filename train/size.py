"""The settings of a run, with those that `size=auto` chooses.

The number of usable sentence pairs chooses a row of the rules (`train.size_rules`). When the data are prepared with its
vocabulary, the size and the number of updates follow. A setting that the user gives is never changed.
"""

import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
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
from train.initial_weights import FREE
from train.loop import prepare_once
from train.run.folder import has_begun
from train.setup import make_plan
from train.size_rules import RULES, RULES_VERSION, Machine, Rule, Settings, find_rule, schedule_settings
from transformer.pretrained import find_folder, load_pretrained

Load = Callable[[Settings], RunConfig]
"""Returns the user's settings, with other defaults."""
TOO_FEW_PAIRS = 2_000
"""Number of pairs below which most translations of a model are wrong: with 400 of Multi30k, BLEU is 8."""
FEW_PAIRS = 10_000
"""Number of pairs below which a model is of little use for sentences unlike those of its training text."""


def load_run(path: Path | None, overrides: list[str]) -> tuple[RunConfig, Path]:
    """Return the settings of a run and its run folder. `size=auto` is replaced by the settings that it chooses.

    A run that has begun keeps its size, also on another machine. Raises as `load_settings` and `prepare`.
    """
    load = partial(load_settings, RunConfig, path, overrides)
    config = load({})
    run_dir = expand(config.run_dir or f"runs/{path.stem if path else 'base'}")
    if config.size == "auto":
        if config.data.task != "translation":
            raise InputError(
                "size=auto is for data.task=translation. For a language model, set model.d_model and others"
            )
        config = _saved_size(load, run_dir) if has_begun(run_dir) else choose_size(load)
    return replace(config, size="given"), run_dir


def _saved_size(load: Load, run_dir: Path) -> RunConfig:
    """Return the user's settings with the size of the run in this folder."""
    if not (saved := run_dir / "config.yaml").is_file():
        return load({})  # training reports the missing file
    before = flatten_settings(load_saved_settings(RunConfig, saved))
    rule = RULES["cpu"][0]
    chosen = {**rule.settings(Machine("cpu", 1, False), 0), **rule.update_sizes()[0], **schedule_settings(1)}
    names = chosen.keys() | {"train.max_steps", "data.tokenizer"}
    return load({name: value for name, value in before.items() if name in names or name.startswith("model.")})


def choose_size(load: Load) -> RunConfig:
    """Return the user's settings with those that the rules choose, and print them."""
    given = load({})
    set_threads(given.train.threads)
    machine = Machine.here()
    pairs, vocab_size = corpus_size(load, machine)
    rule = find_rule(pairs, machine)
    if rule is None:
        _print(f"size        auto: {pairs:,} usable training pairs, {machine}: the paper's base model")
        return given
    chosen = rule.settings(machine, vocab_size)
    if given.train.init_from is not None:
        chosen |= _size_of(given.train.init_from) | _finetuning(rule)
    prepared = prepare_once(load(chosen))
    chosen |= _update_size(load, chosen, prepared, rule)
    config = load(chosen)
    plan = make_plan(config, prepared.train)
    assert not isinstance(plan, BlockPlan)
    per_epoch = plan.updates_per_epoch
    chosen["train.max_steps"] = rule.updates(per_epoch, config.batches.tokens_per_update, machine)
    chosen |= schedule_settings(load(chosen).train.max_steps)
    config = load(chosen)
    _print(describe_size(config, chosen, pairs, machine, config.train.max_steps / per_epoch))
    return config


def _size_of(name: str) -> Settings:
    """Return the sizes and the vocabulary of the model that a run starts from."""
    _, model = load_pretrained(find_folder(name))
    sizes = {f"model.{field}": value for field, value in asdict(model).items() if field not in FREE}
    return sizes | {"data.tokenizer": name}


def _finetuning(rule: Rule) -> Settings:
    """Return learning rates with which a trained model keeps most of what it has learned."""
    return {"schedule.peak_lr": rule.peak_lr / 5, "schedule.lowest_lr": rule.peak_lr / 500}


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


def describe_size(config: RunConfig, chosen: Settings, pairs: int, machine: Machine, epochs: float) -> str:
    """Return what was chosen, in words and as settings that the user can change."""
    now, base = flatten_settings(config), flatten_settings(RunConfig())
    settings = " ".join(f"{name}={value}" for name, value in chosen.items() if now[name] == value != base[name])
    expected = "most translations will be wrong" if pairs < TOO_FEW_PAIRS else "only text like that of training works"
    few = f"{pairs:,} pairs are few: {expected}. More pairs help most; train.init_from starts from another model"
    lines = [f"auto: {pairs:,} usable training pairs, {machine}, {epochs:.3g} epochs"]
    lines += textwrap.wrap(settings, 108, break_on_hyphens=False)
    lines += textwrap.wrap(few, 108) if pairs < FEW_PAIRS else []
    return "size        " + ("\n" + " " * 12).join(lines)


def _print(text: str) -> None:
    if local_rank() == 0:
        print(text, flush=True)
