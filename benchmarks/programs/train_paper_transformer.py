"""paper-transformer: its model and its trainer, with all checks."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import train.trainer as trainer_module
from benchmarks.programs.training import SMOOTHING, Learn, Requests, TrainTask, Work, answer_with
from benchmarks.runner import Answer, synchronise
from train.config import RunConfig, TrainConfig
from train.distributed import make_accelerator
from train.optimizer import make_optimizer
from train.trainer import Trainer
from transformer.config import ModelConfig
from transformer.model import build

PARTS = ("forward", "loss", "backward", "optimizer")
"""Parts of an update, in order."""
OPERATIONS = 15
"""Number of operations that `profile` returns, the slowest ones."""
Around = Callable[[str], AbstractContextManager[Any]]
"""Returns a context for a named part of an update."""


def start(task: TrainTask) -> Answer:
    """Load the model."""
    return answer_with(task, load)


def load(task: TrainTask) -> tuple[Learn, Requests]:
    """Return the trainer's update, and the requests `split` and `profile`."""
    settings = TrainConfig(
        precision=task.precision, compile=task.compiled != "no", label_smoothing=SMOOTHING, log_with="none"
    )
    config = RunConfig(model=ModelConfig(**task.config), train=settings)
    accelerator = make_accelerator(settings, Path())
    model = build(config.model).to(accelerator.device)
    trainer = Trainer(model, make_optimizer(model, config.optimizer), accelerator, config)

    def learn(work: Work) -> None:
        outcome = trainer.step(*work, lambda: (False, False))
        assert outcome.kind == "updated"

    requests: Requests = {
        "split": lambda work: split(trainer, learn, work, task.device),
        "profile": lambda work: profile(trainer, learn, work[0], task.device),
    }
    return learn, requests


def split(trainer: Trainer, learn: Learn, work: list[Work], device: str) -> dict[str, Any]:
    """Return the mean seconds of an update and of its parts."""
    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        synchronise(device)
        started = time.perf_counter()
        yield
        synchronise(device)
        spent[part] += time.perf_counter() - started

    with around_parts(trainer, timed), timed("all"):
        for one in work:
            learn(one)
    seconds = {part: total / len(work) for part, total in spent.items()}
    return {"seconds": seconds.pop("all"), "parts": seconds}


def profile(trainer: Trainer, learn: Learn, work: Work, device: str) -> dict[str, Any]:
    """Return the share of each of the slowest operations in the time of one update."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if device == "cuda" else []
    with (
        torch.profiler.profile(activities=activities) as profiler,
        around_parts(trainer, torch.profiler.record_function),
    ):
        learn(work)
    field = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    own: dict[str, float] = defaultdict(float)
    for event in profiler.events() or []:
        if event.device_type.name == "CPU":
            own["outside operations" if event.name in PARTS else event.name] += getattr(event, field)
    slowest = sorted(own, key=lambda key: -own[key])[:OPERATIONS]
    return {"operations": {key: round(own[key] / sum(own.values()), 4) for key in slowest}}


@contextmanager
def around_parts(trainer: Trainer, around: Around) -> Iterator[None]:
    """Enter `around(part)` at every forward pass, loss, backward pass and optimizer step."""
    places: tuple[tuple[Any, str, str], ...] = (
        (trainer.model, "forward", "forward"),
        (trainer_module, "linear_cross_entropy", "loss"),
        (trainer, "_backward", "backward"),
        (trainer.optimizer, "step", "optimizer"),
    )

    def wrapped(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with around(part):
                return function(*arguments, **options)

        return call

    with ExitStack() as patches:
        for owner, name, part in places:
            patches.enter_context(mock.patch.object(owner, name, wrapped(getattr(owner, name), part)))
        yield
