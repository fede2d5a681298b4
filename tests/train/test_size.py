"""`size=auto`, and the time of a run: rules, settings that are given, and runs that are too long."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InputError
from common.settings import dump_settings, flatten_settings, load_settings
from docs.write_settings import PAGE
from tests import tiny_model
from tests.conftest import make_pairs, write_parallel
from train import size
from train.config import RunConfig, TrainConfig
from train.run_time import UpdateTime, check_time, describe_time
from train.size_rules import (
    FINETUNING,
    PARENT_SHARE,
    RULES,
    Machine,
    Rule,
    find_rule,
    finetuning_rule,
    schedule_settings,
)
from transformer.pretrained import load_pretrained

CPU, GPU = Machine("cpu", 2, bf16=True), Machine("gpu", 0, bf16=True)


@pytest.mark.parametrize("kind", RULES)
def test_rules_are_sorted_and_grow(kind: str) -> None:
    rows = RULES[kind]
    assert [row.below for row in rows] == sorted({row.below for row in rows})
    assert [row.vocab_size * row.d_model * row.n_layers for row in rows] == sorted(
        row.vocab_size * row.d_model * row.n_layers for row in rows
    )


def test_rule_depends_on_pairs_and_machine() -> None:
    assert find_rule(1_999, CPU) is RULES["cpu"][0]
    assert find_rule(2_000, CPU) is RULES["cpu"][1]
    assert find_rule(10**9, CPU) is RULES["cpu"][-1]
    assert find_rule(10**9, GPU) is None, "the paper's base model"


def test_finetuning_lowers_learning_rate_for_wide_models() -> None:
    rule = finetuning_rule(5_000, CPU, d_model=256)
    assert (rule.peak_lr, rule.epochs, rule.d_model) == (FINETUNING["peak_lr"], FINETUNING["epochs"], 256)
    assert finetuning_rule(5_000, CPU, d_model=1024).peak_lr == FINETUNING["peak_lr"] / 4
    assert finetuning_rule(10**9, GPU, d_model=512).tokens_per_update == RULES["gpu"][-1].tokens_per_update


def test_cpu_bounds_number_of_updates_by_its_cores() -> None:
    rule = RULES["cpu"][-1]
    of_one, of_eight = (rule.updates(10**6, 5000, replace(CPU, cores=n)) for n in (1, 8))
    assert (of_one, of_eight) == (rule.tokens_per_core // 5000, 8 * rule.tokens_per_core // 5000)
    assert rule.updates(10**6, 5000, GPU) == rule.epochs * 10**6


@pytest.mark.parametrize("updates", [1, 2, 9, 100, 10**6])
def test_schedule_settings_are_accepted(updates: int) -> None:
    settings = schedule_settings(updates)
    assert all(value >= 1 for value in settings.values())
    load_settings(RunConfig, None, None, settings)


@pytest.mark.parametrize("rule", {*RULES["cpu"], *RULES["gpu"]}, ids=str)
def test_every_rule_gives_valid_settings(rule: Rule) -> None:
    for update in rule.update_sizes():
        config = load_settings(RunConfig, None, None, rule.settings(CPU, rule.vocab_size) | update)
        assert config.model.d_model % config.model.n_heads == 0
        assert config.batches.tokens_per_update >= rule.tokens_per_update


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a run on 100 pairs, on a machine of two cores."""
    monkeypatch.setattr(Machine, "here", lambda: CPU)
    write_parallel(tmp_path, "a", make_pairs(100))
    return [
        f"data.train=[{tmp_path}/a.en,{tmp_path}/a.de]", f"data.cache_dir={tmp_path}/cache", "train.threads=1",
        f"run_dir={tmp_path}/run",
    ]  # fmt: skip


def test_auto_keeps_settings_that_are_given(text: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = size.load_run(None, [*text, "size=auto", "model.d_model=64", "train.max_steps=30"])
    assert (config.model.d_model, config.train.max_steps, config.size) == (64, 30, "given")
    assert (config.model.norm, config.schedule.warmup_steps, config.validation.every) == ("pre", 3, 3)
    shown = capsys.readouterr().out
    assert "usable training pairs, 2 CPU cores with bf16" in shown
    assert "model.n_layers=2" in shown
    assert "model.d_model=" not in shown, "the rule did not choose it"


def test_printed_settings_without_auto_give_same_run(text: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    chosen, _ = size.load_run(None, [*text, "size=auto"])
    printed = [word for word in capsys.readouterr().out.split() if "." in word and "=" in word]
    assert size.load_run(None, [*text, *printed])[0] == chosen


def test_auto_lowers_vocabulary_that_text_does_not_allow(text: list[str]) -> None:
    config, _ = size.load_run(None, [*text, "size=auto"])
    assert config.data.vocab_size < RULES["cpu"][0].vocab_size
    with pytest.raises(InputError, match="gives at most"):
        size.load_run(None, [*text, "size=auto", "data.vocab_size=9000", "data.seed=2"])


def test_auto_counts_each_pair_once(text: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language in ("en", "de"):
        file = tmp_path / f"a.{language}"
        file.write_text(file.read_text(encoding="utf-8") * 30, encoding="utf-8")
    config, _ = size.load_run(None, [*text, "size=auto"])
    assert config.model.d_model == RULES["cpu"][0].d_model, "3,000 lines, but at most 100 different pairs"


def test_auto_fits_update_to_longest_sentence(text: list[str], tmp_path: Path) -> None:
    pairs = make_pairs(100)
    pairs[7] = tuple(" ".join(sentence for pair in pairs[:12] for sentence in pair) for _ in "ab")  # type: ignore[assignment]
    write_parallel(tmp_path, "a", [(source, target + " ja") for source, target in pairs])
    config, _ = size.load_run(None, [*text, "size=auto"])
    assert config.batches.tokens_per_update > RULES["cpu"][0].tokens_per_update


def test_resumed_run_keeps_its_size(text: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, run_dir = size.load_run(None, [*text, "size=auto"])
    (run_dir / "checkpoints/regular-00000001").mkdir(parents=True)
    (run_dir / "config.yaml").write_text(dump_settings(first), encoding="utf-8")
    monkeypatch.setattr(Machine, "here", lambda: GPU)
    monkeypatch.setattr(size, "choose_size", lambda _: pytest.fail("the size is known"))
    assert size.load_run(None, [*text, "size=auto"])[0] == first


def test_auto_takes_size_of_model_that_run_starts_from(text: list[str], tmp_path: Path) -> None:
    model = tiny_model.make_folder(tmp_path / "model")
    config, _ = size.load_run(None, [*text, "size=auto", f"train.init_from={model}"])
    _, other = load_pretrained(model)
    assert replace(config.model, dropout=other.dropout, init=other.init) == other
    assert config.data.tokenizer == str(model)
    assert config.schedule.peak_lr < RULES["cpu"][0].peak_lr


def test_auto_rejects_language_model() -> None:
    with pytest.raises(InputError, match=r"size=auto is for data\.task=translation"):
        size.load_run(None, ["size=auto", "data.task=language_modelling", "model.architecture=gpt"])


def test_new_run_of_more_than_two_days_needs_decision() -> None:
    config, day = RunConfig(train=TrainConfig(max_steps=100)), UpdateTime(24 * 36.0, 1.0)
    check_time(replace(config, train=replace(config.train, max_steps=199)), day, "cpu")
    for allowed in ({"long_run": True}, {"max_hours": 48.0}):
        check_time(replace(config, train=replace(config.train, max_steps=1000, **allowed)), day, "cpu")
    for changes in ({}, {"max_hours": 49.0}):
        longer = replace(config, train=replace(config.train, max_steps=17_250, **changes))
        check_time(longer, UpdateTime(day.seconds, 0.01), "cpu")  # without other programs it would be short
        with pytest.raises(InputError, match=r"about 172\.5 days on this cpu \(17,250 updates x 864 s\).*size=auto"):
            check_time(longer, day, "cpu")


def test_describe_time_names_limit_and_other_programs() -> None:
    config = RunConfig(train=TrainConfig(max_steps=100, max_hours=1.5))
    line = describe_time(config, UpdateTime(144.0, 0.5), done=50)
    assert "about 2.0 hours: 50 updates x 144 s" in line
    assert "train.max_hours=1.5 ends it earlier" in line
    assert line.endswith("about 1.0 hours if no other program used the CPU")
    assert describe_time(config, UpdateTime(1.0, 1.0), done=0).endswith("without validation")


def test_page_shows_rules() -> None:
    """docs/own-text.md has a row for each rule."""
    page = (PAGE.parent / "own-text.md").read_text(encoding="utf-8")
    for kind, rows in RULES.items():
        for row in rows:
            below = "more" if math.isinf(row.below) else f"{row.below:,}"
            assert f"| {below} |" in page, kind
            model = f"| {row.vocab_size:,} | {row.d_model} | {row.n_layers} | {row.n_heads} | {row.d_ff:,} |"
            assert f"{model} {row.dropout:g} | {row.tokens_per_update:,} | {row.epochs} | {row.peak_lr:g} |" in page
    assert f"{Rule.tokens_per_core:,} target tokens" in page
    assert f"all rows have {FINETUNING['epochs']} epochs, dropout {FINETUNING['dropout']}" in page
    assert f"peak learning rate of {FINETUNING['peak_lr']} " in page
    assert f"{FINETUNING['tokens_per_core']:,} target tokens" in page
    assert f"checkpoints.parent_share={PARENT_SHARE}" in page


def test_chosen_settings_are_in_schema() -> None:
    names = flatten_settings(RunConfig())
    assert {*RULES["cpu"][0].settings(CPU, 1), *RULES["cpu"][0].update_sizes()[0], *schedule_settings(1)} <= {*names}
