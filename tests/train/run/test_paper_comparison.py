"""The comparison of a run with the paper."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from common.settings import flatten_settings, load_settings
from data_pipeline.batch_plan import BatchPlan
from train.config import RunConfig
from train.run.paper_comparison import (
    FIELDS,
    PaperComparison,
    compare,
    nearest_model,
    public_names,
    read_comparison,
)
from transformer.config import ModelConfig

ROOT = Path(__file__).resolve().parents[3]
ALWAYS = {"attention biases", "parameters", "training data", "shared vocabulary", "BLEU"}
"""Differences of every run; docs/paper.md explains them."""


def differing(config: RunConfig, parameters: int = 63_082_496) -> set[str]:
    return {row.name for row in compare(config, parameters) if row.differs}


def test_base_differs_only_in_fixed_rows() -> None:
    assert differing(RunConfig()) == ALWAYS


def test_big_config_is_compared_with_big_model_of_paper() -> None:
    big = load_settings(RunConfig, ROOT / "configs/big.yaml")
    assert nearest_model(big) == "big"
    assert differing(big, 214_245_376) == ALWAYS
    assert nearest_model(RunConfig()) == "base"


def test_big_english_french_has_dropout_of_section_6_1() -> None:
    french = load_settings(RunConfig, ROOT / "configs/big.yaml", ["data.target_lang=fr", "model.dropout=0.1"])
    assert differing(french) == ALWAYS
    rows = {row.name: row.paper for row in compare(french, 1)}
    assert rows["training data"] == "WMT14, 36 million pairs"


def test_parser_is_compared_with_parser_of_paper() -> None:
    parser = load_settings(RunConfig, ROOT / "configs/parsing_wsj.yaml")
    assert nearest_model(parser) == "parsing"
    assert differing(parser) == ALWAYS - {"BLEU"}
    small = load_settings(RunConfig, ROOT / "configs/parsing_craft.yaml")
    rows = {row.name: row for row in compare(small, 1)}
    assert (rows["beam"].paper, rows["beam"].section, rows["beam"].differs) == ("21", "6.3", True)
    assert (rows["alpha"].paper, rows["alpha"].differs) == ("0.3", False)
    assert rows["dropout"].paper == "not stated"
    assert rows["training data"].paper == "WSJ, about 40,000 sentences"


OTHER = {
    "model.n_layers=2": "layers of each stack",
    "model.d_model=256": "d_model",
    "model.n_heads=4": "heads",
    "model.n_kv_heads=2": "heads of keys and values",
    "model.d_head=32": "size of a head",
    "model.d_ff=1024": "d_ff",
    "model.dropout=0.2": "dropout",
    "model.norm=pre": "place of the norm",
    "model.norm_kind=rms": "kind of norm",
    "model.positions=rotary": "positional encoding",
    "model.activation=swiglu": "activation",
    "model.tying=output": "shared matrices",
    "model.output_bias=true": "bias of the output layer",
    "model.scale_embedding=false": "embeddings multiplied by sqrt(d_model)",
    "model.init=gpt2": "initial weights",
    "optimizer.name=adamw": "optimizer",
    "optimizer.beta1=0.8": "beta1",
    "optimizer.beta2=0.99": "beta2",
    "optimizer.eps=1e-8": "epsilon",
    "schedule.name=cosine": "learning-rate schedule",
    "schedule.name=wsd": "share of the updates in the decay phase",
    "schedule.warmup_steps=100": "warm-up updates",
    "schedule.scale=2": "factor of Eq. 3",
    "batches.tokens_per_update=4000": "tokens per update, of each language",
    "train.max_steps=10": "updates",
    "train.label_smoothing=0": "label smoothing",
    "optimizer.clip_norm=1": "largest gradient norm",
    "train.precision=bf16": "precision",
    "train.init_from=a/model": "starts from the weights of",
    "checkpoints.average_last=1": "checkpoints averaged",
    "checkpoints.every=10": "updates between checkpoints",
    "decode.beam=5": "beam",
    "decode.alpha=1": "alpha",
    "decode.length_penalty=length": "length penalty",
    "decode.max_extra=10": "longest output: source tokens plus",
    "decode.max_length=10": "longest output in tokens",
    "decode.min_length=2": "shortest output in tokens",
}


@pytest.mark.parametrize(("override", "name"), OTHER.items())
def test_setting_that_differs_is_difference_in_its_row(override: str, name: str) -> None:
    assert name in differing(load_settings(RunConfig, None, [override]))


def test_equal_head_sizes_are_no_difference() -> None:
    assert differing(load_settings(RunConfig, None, ["model.d_head=64", "model.n_kv_heads=8"])) == ALWAYS


def test_unused_settings_are_not_compared() -> None:
    """The cosine schedule does not read the factor of Eq. 3, and Eq. 3 has no peak learning rate."""
    assert differing(load_settings(RunConfig, None, ["schedule.peak_lr=1", "optimizer.weight_decay=1"])) == ALWAYS
    cosine = {row.name for row in compare(load_settings(RunConfig, None, ["schedule.name=cosine"]), 1)}
    assert "peak learning rate" in cosine
    assert "factor of Eq. 3" not in cosine


def test_fields_contain_every_model_setting() -> None:
    not_compared = {"vocab_size", "max_len"}  # the first is in the row of the vocabulary
    names = {field.removeprefix("model.") for field in FIELDS if field.startswith("model.")}
    assert {field.name for field in fields(ModelConfig)} == names | not_compared
    assert FIELDS.keys() <= flatten_settings(RunConfig()).keys()


def test_mean_tokens_of_batch_plan_equals_mean_over_epoch() -> None:
    lengths = np.arange(2, 402) % 30 + 2
    plan = BatchPlan(lengths, lengths + 1, tokens_per_update=2048, per_update=2, max_buckets=4, seed=1)
    updates = [plan.update(i) for i in range(plan.updates_per_epoch)]
    tokens = zip(*((u.src_tokens, u.predicted_tokens) for u in updates), strict=True)
    source, target = (sum(counts) / len(updates) for counts in tokens)
    assert plan.mean_tokens() == f"{source:,.0f} source, {target:,.0f} target"


def test_gpt_is_compared_only_in_what_applies_to_gpt() -> None:
    model = replace(ModelConfig(), architecture="gpt", tying="output")
    config = replace(RunConfig(), model=model, data=replace(RunConfig().data, task="language_modelling"))
    rows = {row.name: row.differs for row in compare(config, 1)}
    assert rows["architecture"]
    assert not rows["shared matrices"], "its only embedding is the output layer"
    assert not rows.keys() & {"beam", "BLEU", "shared vocabulary", "updates", "training data"}


def test_comparison_prints_differences_and_saves_all_rows() -> None:
    rows = compare(load_settings(RunConfig, None, ["model.norm=pre"]), 1)
    comparison = PaperComparison("base", rows, {"device": "a | b"})
    printed = comparison.differences().splitlines()
    assert printed[-1] == "all other settings match the paper's base model"
    assert len(printed) == 2 + sum(row.differs for row in rows)
    assert all(f"| {row.name} |" in comparison.markdown() for row in rows)
    assert "| device | a &#124; b |" in comparison.markdown()


def test_comparison_has_no_local_paths(tmp_path: Path) -> None:
    files = [str(tmp_path / "my.en"), str(tmp_path / "my.de")]
    assert public_names([files, "wmt/wmt14:de-en", "grammar"]) == "[[my.en, my.de], wmt/wmt14:de-en, grammar]"
    overrides = [f"data.train=[{','.join(files)}]", f"train.init_from={tmp_path / 'old-run'}"]
    rows = compare(load_settings(RunConfig, None, overrides), 1)
    assert {row.run for row in rows} >= {"[my.en, my.de], filtered", "old-run"}
    assert str(tmp_path) not in PaperComparison("base", rows, {}).markdown()


def test_read_comparison_finds_file_of_older_run(tmp_path: Path) -> None:
    assert read_comparison(tmp_path) == ""
    (tmp_path / "ledger.md").write_text("old", encoding="utf-8")
    assert read_comparison(tmp_path) == "old"
    (tmp_path / "paper_comparison.md").write_text("new", encoding="utf-8")
    assert read_comparison(tmp_path) == "new"
