"""A run folder small enough for every test: the model of `tiny_model` after one update, with one checkpoint."""

from pathlib import Path

import torch

from common.settings import dump_settings
from data_pipeline.config import DataConfig
from tests import tiny_model
from train.config import OptimizerConfig, RunConfig
from train.optimizer import make_optimizer
from train.run.checkpoints import Checkpoints, RunState
from transformer.pretrained import load_pretrained


def make_folder(folder: Path) -> Path:
    """Write a run folder, which is also a model folder. Return it."""
    tiny_model.make_folder(folder)
    model, model_config = load_pretrained(folder)
    config = RunConfig(model_config, DataConfig(train=["a.en", "a.de"], vocab_size=model_config.vocab_size))
    (folder / "config.yaml").write_text(dump_settings(config), encoding="utf-8")
    optimizer = make_optimizer(model, OptimizerConfig())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    metrics = '{"step": 1, "loss": 2.5}\n'
    (folder / "metrics.jsonl").write_text(metrics, encoding="utf-8")
    Checkpoints(folder / "checkpoints").save("regular", model, optimizer, RunState(step=1), metrics, keep=1)
    return folder
