"""The changes of the trainer for measurements are those of their authors; recipes are trained once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.nn import functional as F

from benchmarks import recipes
from benchmarks.experiments import EMA, MEAN_OF, MEANS, R_DROP, Means, RDrop
from benchmarks.launch import TINY
from benchmarks.recipes import RECIPES, Recipe, make_tables, settings, train
from common.settings import load_settings
from data_pipeline.examples import IGNORE, Batch
from train.config import RunConfig, TrainConfig
from train.distributed import make_accelerator, seed_dropout
from train.optimizer import make_optimizer
from train.trainer import Trainer
from transformer.config import ModelConfig
from transformer.model import build

MakeTrainer = Callable[[type[Trainer]], Trainer]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def batch() -> Batch:
    """Two pairs, the second of them padded."""
    src_BM = torch.tensor([[4, 5, 6], [7, 8, 0]])
    tgt_BL, labels_BL = torch.tensor([[1, 9, 10], [1, 11, 0]]), torch.tensor([[9, 10, 2], [11, 2, IGNORE]])
    return Batch((src_BM, src_BM != 0, tgt_BL), labels_BL)


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """A trainer of a tiny model with dropout, in double precision."""

    def make(kind: type[Trainer]) -> Trainer:
        model = ModelConfig(vocab_size=12, d_model=16, n_layers=1, n_heads=2, d_ff=32, dropout=0.3)
        config = RunConfig(model=model, train=TrainConfig(max_steps=40, precision="float64", log_with="none"))
        torch.manual_seed(1)
        built = build(config.model).double()
        return kind(built, make_optimizer(built, config.optimizer), make_accelerator(config.train, tmp_path), config)

    return make


def test_r_drop_adds_both_losses_and_both_divergences(make_trainer: MakeTrainer, batch: Batch) -> None:
    trainer = make_trainer(RDrop)
    seed_dropout(5, torch.device("cpu"))
    trainer.backward(batch, weight=0.5)
    made = [parameter.grad.clone() for parameter in trainer.model.parameters() if parameter.grad is not None]
    trainer.clear_gradient()
    seed_dropout(5, torch.device("cpu"))
    logits = trainer.model(*(torch.cat([x, x]) for x in batch.inputs))
    one, two = (part[batch.labels_BL != IGNORE].log_softmax(-1) for part in logits.chunk(2))
    labels = batch.labels_BL[batch.labels_BL != IGNORE]
    nll = sum(F.cross_entropy(logp, labels, reduction="sum", label_smoothing=0.1) for logp in (one, two))
    divergence = (one.exp() * (one - two)).sum() + (two.exp() * (two - one)).sum()
    assert divergence.item() > 1e-3, "the two halves have the same dropout"
    # Equation 4: the losses of both, and alpha times the mean of the divergences; here all of it halved.
    (0.5 * 0.5 * (nll + R_DROP * 0.5 * divergence)).backward()
    for parameter, gradient in zip(trainer.model.parameters(), made, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_means_follow_weights_and_do_not_change_training(make_trainer: MakeTrainer, batch: Batch) -> None:
    plain, trainer = make_trainer(Trainer), make_trainer(Means)
    assert isinstance(trainer, Means)
    seen = [[parameter.detach().clone() for parameter in trainer.model.parameters()]]
    for step in range(40):
        for one in (plain, trainer):
            seed_dropout(step, torch.device("cpu"))
            one.backward(batch, weight=0.2)
            one._apply(0.01, one.gradient_norm())
            one.clear_gradient()
        seen.append([parameter.detach().clone() for parameter in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), plain.model.parameters(), strict=True))
    means = trainer.means()
    last = [
        torch.stack(copies).mean(0) for copies in zip(*seen[-MEAN_OF * trainer.every :: trainer.every], strict=True)
    ]
    assert trainer.every == 1
    for weight, expected in zip(means[MEANS[1]], last, strict=True):
        torch.testing.assert_close(weight, expected)
    expected = seen[0][0]
    for step, weights in enumerate(seen[1:], start=1):
        share = min(EMA, step / (step + 10))
        expected = share * expected + (1 - share) * weights[0]
    torch.testing.assert_close(means[MEANS[0]][0], expected)
    own = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.put(means[MEANS[0]])
    trainer.put(own)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), own, strict=True))


def test_recipes_are_valid_settings() -> None:
    for name, recipe in RECIPES.items():
        config = load_settings(RunConfig, Path("configs/multi30k.yaml"), settings(recipe, 2, 700, 2))
        assert config.train.seed == 2
        assert config.train.max_steps == round(700 * recipe.updates)
        assert (config.schedule.warmup_steps == 1000) == (name == "paper")


def test_train_reads_finished_run_and_restarts_interrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def run(command: list[str], **_: Any) -> Any:
        started.append(command)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(recipes.subprocess, "run", run)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("{}\n")
    train(Recipe(), folder, TINY)
    assert len(started) == 1
    assert not (folder / "metrics.jsonl").exists()
    (folder / "model.safetensors").touch()
    train(Recipe(), folder, TINY)
    assert len(started) == 1


def test_train_fails_with_name_of_log(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its output is in"):
        train(Recipe(), tmp_path / "run", ["data.train=grammar", "no.such=1"])


def test_table_of_recipes_has_row_for_each_mean_of_weights() -> None:
    one = {"seed": 1, "updates": 10, "minutes": 2.0, "valid_loss": 3.0, "valid_bleu": 10.0}
    means = {"ema 0.98 valid_loss": 2.5, "ema 0.98 valid_bleu": 12.0}
    result = {
        "paper": {"runs": [one | means]},
        "other": {"runs": [one | {"minutes": 4.0}, one | {"seed": 2, "minutes": 4.0, "valid_bleu": 14.0}]},
    }
    (table,) = make_tables(json.loads(json.dumps({"recipes": result})))["recipes"]
    assert table["rows"] == [
        ["paper", "10", "1", "3.000", "10.0", "1.00"],
        ["paper; ema 0.98", "10", "1", "2.500", "12.0", ""],
        ["other", "10", "2", "3.000", "12.0 (10.0 to 14.0)", "2.00"],
    ]
