"""The compared training programs do the same work, and the results are computed as described."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.pictures import shares
from benchmarks.programs import marian, torch_transformer, train_paper_transformer
from benchmarks.programs.torch_transformer import PlainTransformer
from benchmarks.programs.train_paper_transformer import PARTS
from benchmarks.programs.training import TrainTask, Work, load_work, plain_loop, save_work
from benchmarks.tables import render
from benchmarks.training import (
    OTHERS,
    PAPER_TRANSFORMER,
    Batches,
    make_tables,
    make_tasks,
    random_ids,
    split,
    summarise,
)
from data_pipeline.micro_batches import MicroBatch, Update
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from transformer.config import ModelConfig
from transformer.model import build, count_parameters

TINY = ModelConfig(vocab_size=30, d_model=16, n_layers=1, n_heads=2, d_ff=32, max_len=16)


@pytest.fixture
def work(tmp_path: Path) -> list[Work]:
    lengths = np.array([3, 5, 2, 6]), np.array([4, 4, 2, 5])
    batch = random_ids(lengths, TINY.vocab_size, tmp_path).batch(MicroBatch(np.arange(4), 6, 5, dropout_seed=3))
    return [(Update(7, (), 16, 15), [batch])]


def task() -> TrainTask:
    return TrainTask("no", "no", asdict(TINY), "", "", "cpu")


def test_random_ids_have_given_lengths(tmp_path: Path) -> None:
    ids = random_ids((np.array([3, 1]), np.array([2, 4])), 30, tmp_path)
    assert ids.src.lengths.tolist() == [3, 1]
    assert ids.tgt.lengths.tolist() == [2, 4]
    assert ids.tgt[1][-1] == EOS_ID
    assert (ids.tgt[1][:-1] > EOS_ID).all()


def test_load_work_returns_saved_work(work: list[Work], tmp_path: Path) -> None:
    save_work(work, tmp_path / "work")
    ((update, (batch,)),) = load_work(str(tmp_path / "work"))
    assert (update.step, update.src_tokens, update.predicted_tokens, batch.dropout_seed) == (7, 16, 15, 3)
    assert torch.equal(batch.labels_BL, work[0][1][0].labels_BL)
    assert all(torch.equal(a, b) for a, b in zip(batch.inputs, work[0][1][0].inputs, strict=True))


def test_torch_transformer_has_our_parameters_and_two_more_norms() -> None:
    assert count_parameters(PlainTransformer(TINY)) == count_parameters(build(TINY)) + 2 * 2 * TINY.d_model


def test_marian_has_our_parameters() -> None:
    model, _ = marian.model_and_logits(TINY)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) - count_parameters(build(TINY)) in (
        0,
        2 * TINY.max_len * TINY.d_model,  # a version that counts its table of positions
    )


@pytest.mark.parametrize("make", [marian.model_and_logits, torch_transformer.model_and_logits])
def test_compared_models_ignore_padding_and_later_target_tokens(make: Any, work: list[Work]) -> None:
    model, logits = make(TINY)
    model.eval()
    src_BM, mask_BM, tgt_BL = work[0][1][0].inputs
    other_BL, other_BM = tgt_BL.clone(), src_BM.masked_fill(~mask_BM, 9)
    other_BL[:, 3:] = 8
    with torch.no_grad():
        first, second = logits(src_BM, mask_BM, tgt_BL), logits(other_BM, mask_BM, other_BL)
    assert first.shape == (4, 5, TINY.vocab_size)
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3:], second[:, 3:])


def test_split_measures_all_parts_of_update(work: list[Work]) -> None:
    _, requests = train_paper_transformer.load(task())
    answer = requests["split"](work)
    assert set(answer["parts"]) == set(PARTS)
    assert 0 < sum(answer["parts"].values()) <= answer["seconds"]


def test_profile_returns_shares_of_slowest_operations(work: list[Work]) -> None:
    _, requests = train_paper_transformer.load(task())
    operations = requests["profile"](work)["operations"]
    assert not operations.keys() & set(PARTS)
    assert sum(operations.values()) <= 1.001
    assert len(operations) == 15


def test_split_returns_rest_of_update() -> None:
    passes = [{"seconds": 1.0, "parts": {"forward": 0.3, "loss": 0.1, "backward": 0.4, "optimizer": 0.1}}]
    assert split(passes)["rest"] == pytest.approx(0.1)


def answers(seconds: list[float]) -> list[dict[str, Any]]:
    return [{"seconds": own, "peak_mb": 10.0, "recompiles": 1, "start": 2.0} for own in seconds]


def test_summarise_compares_programs_round_by_round() -> None:
    batches = Batches(Path(), Path(), Path(), 60, 40, {})
    told = {PAPER_TRANSFORMER: answers([1.0, 2.0, 1.0]), "other": answers([2.0, 2.0, 3.0])}
    result = summarise(told, batches, 1e9, {"first": 2.0, "best": 4.0})
    assert result["other"]["speed_up"] == [2.0, 1.0, 3.0]
    assert result[PAPER_TRANSFORMER]["median"] == 100.0
    assert result[PAPER_TRANSFORMER]["target_tokens_per_second"] == 40.0
    assert result[PAPER_TRANSFORMER]["mfu"] == 0.25
    assert result[PAPER_TRANSFORMER]["share_of_the_first_product"] == 0.5
    assert result[PAPER_TRANSFORMER]["recompiles"] == 1


def test_training_tables_have_row_for_every_program() -> None:
    batches = Batches(Path(), Path(), Path(), 60, 40, {})
    cell = summarise({PAPER_TRANSFORMER: answers([1.0]), "other": answers([2.0])}, batches, 1e9, {"first": 2.0})
    cell |= {"limits": {"first": 2.0}, "operations": {"aten::mm": 0.5}}
    cell["seconds_of_an_update"] = dict.fromkeys((*PARTS, "rest", "data", "update"), 0.1)
    about = {"tokens_per_update": 50, "buckets": 3, "padding_of_an_epoch": 0.05}
    size = {"model": asdict(TINY), "batches": about, "bf16": cell}
    result = {"lengths": "of a corpus", "threads": 2, "small": size}
    tables = {name: render(parts) for name, parts in make_tables(result).items()}
    assert "| small | bf16 | other | 50 | 20 | 2.00 (2.00 to 2.00) |" in tables["training"]
    assert "| small | bf16 | 0.100 | 100.0% |" in tables["training_split"]
    assert "`aten::mm` 50.0%" in tables["training_operations"]
    assert shares(result)["small, bf16 (0.10 s)"]["forward"] == 1.0, "the picture has the shares of the table"


@pytest.mark.parametrize("bf16_weights", [False, True])
def test_plain_loop_updates_weights(work: list[Work], bf16_weights: bool) -> None:
    model = PlainTransformer(TINY)
    before = [weight.clone() for weight in model.parameters()]
    own = replace(task(), precision="bf16", bf16_weights=bf16_weights)
    learn, _ = plain_loop(own, lambda _: (model, model))
    learn(work[0])
    after = list(model.parameters())
    assert {weight.dtype for weight in after} == {torch.bfloat16 if bf16_weights else torch.float32}
    assert any(not torch.equal(new, old.to(new.dtype)) for new, old in zip(after, before, strict=True))


def test_make_tasks_has_row_for_every_program_and_way() -> None:
    args = argparse.Namespace(others=OTHERS[:1], compile=[PAPER_TRANSFORMER], shapes=["dynamic", "fixed"], device="cpu")
    batches = Batches(Path("timed"), Path("first"), Path("every_shape"), 60, 40, {})
    tasks = {name: own for name, (_, own) in make_tasks(args, "bf16", TINY, batches).items()}
    ours = [PAPER_TRANSFORMER, f"{PAPER_TRANSFORMER}, compiled (dynamic)", f"{PAPER_TRANSFORMER}, compiled (fixed)"]
    assert list(tasks) == [*ours, "MarianMTModel", "MarianMTModel, bf16 weights"]
    assert [own.warm_up for own in tasks.values()] == ["first", "every_shape", "every_shape", "first", "first"]
    assert list(make_tasks(args, "no", TINY, batches)) == [*ours, "MarianMTModel"]
