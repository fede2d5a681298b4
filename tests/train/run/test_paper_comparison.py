"""The table of what a run does otherwise than the paper."""

import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from common.settings import load_settings
from data_pipeline.batch_plan import Plan
from train.config import RunConfig
from train.run.paper_comparison import BASE, Ledger, compare, git_commit, nearest, tokens_planned
from transformer.config import ModelConfig

ROOT = Path(__file__).resolve().parents[3]
ALWAYS = {"attention biases", "parameters", "training data", "shared vocabulary", "BLEU"}
"""What even `configs/base.yaml` does otherwise, as docs/paper.md says."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    lengths = np.arange(2, 402) % 30 + 2
    return Plan(lengths, lengths + 1, tokens_per_update=2048, bricks=2, shapes=4, seed=1)


def differing(config: RunConfig, plan: Plan, parameters: int = 63_082_496) -> set[str]:
    return {row.name for row in compare(config, plan, parameters) if row.differs}


def test_base_differs_in_what_every_run_differs_in_alone(plan: Plan) -> None:
    assert differing(RunConfig(), plan) == ALWAYS


def test_big_is_compared_with_the_papers_big(plan: Plan) -> None:
    big = load_settings(RunConfig, ROOT / "configs/big.yaml")
    assert nearest(big).name == "big"
    assert differing(big, plan, 214_245_376) == ALWAYS
    assert nearest(RunConfig()).name == "base"


OTHER = {
    "model.n_layers=2": "layers",
    "model.d_model=256": "d_model",
    "model.n_heads=4": "heads",
    "model.n_kv_heads=2": "heads",
    "model.d_head=32": "heads",
    "model.d_ff=1024": "d_ff",
    "model.dropout=0.2": "dropout",
    "model.norm=pre": "norm",
    "model.norm_kind=rms": "kind of norm",
    "model.positions=rotary": "positions",
    "model.activation=swiglu": "activation",
    "model.tying=output": "shared matrices",
    "model.scale_embedding=false": "token embeddings",
    "model.init=gpt2": "first weights",
    "train.optimizer=adamw": "optimizer",
    "train.adam_beta1=0.8": "optimizer",
    "train.adam_beta2=0.99": "optimizer",
    "train.adam_eps=1e-8": "optimizer",
    "train.schedule=cosine": "learning rate",
    "train.schedule=wsd": "learning rate",
    "train.warmup_steps=100": "learning rate",
    "train.lr_scale=2": "learning rate",
    "train.tokens_per_update=4000": "tokens per update",
    "train.max_steps=10": "updates",
    "train.label_smoothing=0": "label smoothing",
    "train.clip_norm=1": "gradient clipping",
    "train.precision=bf16": "precision",
    "train.init_from=a/model": "starts from",
    "train.average_last=1": "checkpoints averaged",
    "train.checkpoint_every=10": "checkpoints averaged",
    "decode.beam=5": "beam",
    "decode.alpha=1": "length penalty",
    "decode.max_extra=10": "longest output",
}


@pytest.mark.parametrize(("override", "name"), OTHER.items())
def test_another_setting_is_a_difference_of_its_row(override: str, name: str, plan: Plan) -> None:
    config = load_settings(RunConfig, None, [override])
    assert name in differing(config, plan)


def test_every_field_of_the_model_is_in_a_row(plan: Plan) -> None:
    told = {key.split("=")[0].removeprefix("model.") for key in OTHER if key.startswith("model.")}
    beside = {"architecture", "vocab_size", "max_len"}  # a GPT, and rows that show them
    assert {field.name for field in fields(ModelConfig)} == told | beside


def test_the_plans_own_figure_stands_beside_what_was_asked(plan: Plan) -> None:
    rows = {row.name: row.ours for row in compare(RunConfig(), plan, 1)}
    assert rows["tokens per update"] == f"25,000 asked, {tokens_planned(plan)} in the mean"
    updates = [plan.update(i) for i in range(plan.updates_per_epoch)]
    mean = [sum(side) / len(updates) for side in zip(*((u.src_tokens, u.tgt_tokens) for u in updates), strict=True)]
    assert tokens_planned(plan) == " and ".join(f"{side:,.0f}" for side in mean)


def test_a_language_model_is_compared_in_what_applies_to_one(plan: Plan) -> None:
    model = replace(ModelConfig(), architecture="gpt")
    config = replace(RunConfig(), model=model, data=replace(RunConfig().data, kind="text"))
    rows = {row.name: row.differs for row in compare(config, plan, 1)}
    assert rows["architecture"]
    assert not rows["shared matrices"], "its only embedding is the output layer"
    assert not rows.keys() & {"beam", "BLEU", "shared vocabulary", "longest output", "training data"}


def test_the_terminal_sees_the_differences_and_the_file_everything(plan: Plan) -> None:
    config = load_settings(RunConfig, None, ["model.norm=pre"])
    rows = compare(config, plan, 1)
    ledger = Ledger(BASE, rows, {"device": "a | b"})
    shown = ledger.differences().splitlines()
    assert shown[-1] == "everything else as the paper's base"
    assert len(shown) == 2 + sum(row.differs for row in rows)
    assert all(f"| {row.name} |" in ledger.markdown() for row in rows)
    assert "| device | a \\| b |" in ledger.markdown()


def test_the_commit_is_that_of_a_checkout_and_of_nothing_around_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert git_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == f"{commit} and changes since"
    (tmp_path / "inside").mkdir()
    assert git_commit(tmp_path / "inside") is None
