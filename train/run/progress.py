"""What a person sees while it trains: lines on the terminal, and accelerate's trackers."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from common.settings import flatten_settings
from train.config import RunConfig
from train.tasks import Task
from train.trainer import StepResult


class Progress:
    """Speaks in the main process only."""

    def __init__(self, accelerator: Accelerator, config: RunConfig, run_dir: Path, step: int) -> None:
        self.accelerator, self.config, self.run_dir = accelerator, config, run_dir
        self._tokens, self._updates = 0, 0
        self._since = time.perf_counter()
        if config.train.log_with != "none":
            self._start_trackers(step)

    def start(self, task: Task, split: int, parameters: int) -> None:
        """What is about to be trained, on what, how."""
        ranks, device = self.accelerator.num_processes, self.accelerator.device.type
        self.say(
            f"{task.prepared.summary()}\n"
            f"model       {parameters:,} parameters, vocabulary of {self.config.model.vocab_size:,}\n"
            f"data        {task.prepared.sizes()}\n"
            f"update      {self.config.batches.tokens_per_update:,} tokens, {task.plan.describe()}\n"
            f"hardware    {ranks} x {device}, {torch.get_num_threads()} threads, precision "
            f"{self.config.train.precision}, {split} micro-batches per bucket batch\n"
            f"run folder  {self.run_dir}"
        )

    def count(self, tokens: int) -> None:
        """An update with so many target tokens is done."""
        self._tokens += tokens
        self._updates += 1

    def line(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Print and track the values of an update; returns the speed since the last line."""
        if self.config.train.log_with != "none":
            self.accelerator.log(values, step=step)
        if "skipped" in values:  # `left_out` says more
            return {}
        shown = " | ".join(f"{name} {_short(value)}" for name, value in values.items())
        if "loss" not in values:  # a validation
            self.say(f"step {step:>6} | {shown}")
            return {}
        seconds = time.perf_counter() - self._since
        speed, left = self._tokens / seconds, self.config.train.max_steps - step
        eta = _clock(left * seconds / self._updates)
        self.say(f"step {step:>6} | {shown} | {speed:,.0f} target tokens/s | {eta} left")
        timing = {
            "seconds_per_update": round(seconds / self._updates, 5),
            "tgt_tokens_per_second": round(speed, 1),
            "cpu_seconds": round(time.process_time(), 1),
        }
        self._since, self._tokens, self._updates = time.perf_counter(), 0, 0
        return timing

    def left_out(self, step: int, result: StepResult, dumped: Path | None) -> None:
        """An update was left out; `dumped` is the folder that says everything about it."""
        why = "too large for fp16: left out, and the loss scale lowered"
        if result.kind == "non-finite":
            why = "not finite: left out, the weights stay as they were" + (f", see {dumped}" if dumped else "")
        self.say(f"step {step:>6} | loss {result.loss:.4g} | gradient_norm {result.gradient_norm:.4g} | {why}")

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time that is not training and does not count for the speed."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def say(self, text: str) -> None:
        """Print, in the main process."""
        if self.accelerator.is_main_process:
            print(text, flush=True)

    def _start_trackers(self, step: int) -> None:
        kind = self.config.train.log_with
        # A continued run: TensorBoard forgets what is about to be written again, W&B goes on with the same run.
        name = hashlib.sha256(str(self.run_dir.resolve()).encode()).hexdigest()[:16]
        options = {
            "tensorboard": {"purge_step": step + 1},
            "wandb": {"name": self.run_dir.name, "id": name, "resume": "allow"},
            "trackio": {"name": self.run_dir.name, "resume": "allow"},
        }
        flat = {k: v if isinstance(v, int | float | str) else str(v) for k, v in flatten_settings(self.config).items()}
        self.accelerator.init_trackers(
            "tensorboard" if kind == "tensorboard" else "paper-transformer", flat, {kind: options[kind]}
        )


def _short(value: float) -> str:
    return f"{value:.2e}" if 0 < abs(value) < 0.01 else f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{int(seconds):02}s"
