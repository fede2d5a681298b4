"""Progress of training: lines, a live line on a terminal, and accelerate's trackers (TensorBoard, W&B, trackio)."""

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from common.memory import MIB, process_memory
from common.notes import above_live_lines
from common.progress_bar import LiveLine, clock, shows_live_line
from common.settings import flatten_settings
from train.config import RunConfig
from train.run.tensorboard import add_samples
from train.setup import Setup
from train.trainer import StepResult


class Progress:
    """Prints and tracks the progress of a run, in the main process only. `step`: number of updates already done."""

    def __init__(self, accelerator: Accelerator, config: RunConfig, run_dir: Path, step: int) -> None:
        self.accelerator, self.config, self.run_dir = accelerator, config, run_dir
        self._tokens, self._updates = 0, 0
        self._since = time.perf_counter()
        self._before = (0, 0, 0.0)  # tokens, updates and seconds of the interval before
        self._line: LiveLine | None = None
        if config.train.log_with != "none":
            self._start_trackers(step)

    def print_start(self, setup: Setup, split: int, parameters: int) -> None:
        """Print data, model, batch plan and hardware. `split` is the number of micro-batches per bucket batch."""
        ranks, device = self.accelerator.num_processes, self.accelerator.device.type
        precision = {"no": "fp32"}.get(self.config.train.precision, self.config.train.precision)
        micro_batches = "1 micro-batch" if split == 1 else f"{split} micro-batches"
        self.print(
            f"{setup.prepared.summary()}\n"
            f"model       {parameters:,} parameters, vocabulary of {self.config.model.vocab_size:,}\n"
            f"data        {setup.prepared.sizes()}\n"
            f"update      {self.config.batches.tokens_per_update:,} tokens, {setup.plan.describe()}\n"
            f"hardware    {ranks} x {device}, {torch.get_num_threads()} threads per process, {precision}, "
            f"{micro_batches} per bucket batch\n"
            f"run folder  {self.run_dir}"
        )

    @contextmanager
    def live(self, step: int) -> Iterator[None]:
        """Show the live line while the block runs, if standard error is a terminal. `step`: number of updates done."""
        if self.accelerator.is_main_process and shows_live_line():
            self._line = LiveLine("step", self.config.train.max_steps, step)
        try:
            yield
        finally:
            if self._line is not None:
                self._line.close()
            self._line = None

    def count_update(self, step: int, tokens: int) -> None:
        """Count the update with this number of predicted tokens, for the speed. Draw the live line."""
        self._tokens += tokens
        self._updates += 1
        if self._line is not None:
            before_tokens, before_updates, before_seconds = self._before
            seconds = before_seconds + time.perf_counter() - self._since
            left = (self.config.train.max_steps - step) * seconds / (before_updates + self._updates)
            speed = (before_tokens + self._tokens) / seconds
            self._line.set(step, f"{speed:,.0f} target tokens/s", f"{clock(left)} left")

    def show_activity(self, text: str) -> None:
        """Show on the live line what happens between two updates."""
        if self._line is not None:
            self._line.speed = text
            self._line.refresh()

    def report(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Print and track the values of an update or a validation.

        Return the speed since the last report of an update, or {} after a validation or a skipped update.
        """
        self.track(step, values)
        if "skipped" in values:  # `report_skipped` prints more
            return {}
        shown = " | ".join(f"{name} {_short(value)}" for name, value in values.items())
        if "loss" not in values:  # a validation
            self.print(f"step {step:>6} | {shown}")
            return {}
        seconds = time.perf_counter() - self._since
        speed, left = self._tokens / seconds, self.config.train.max_steps - step
        eta = clock(left * seconds / self._updates)
        self.print(f"step {step:>6} | {shown} | {speed:,.0f} target tokens/s | {eta} left")
        timing = {
            "seconds_per_update": round(seconds / self._updates, 5),
            "tgt_tokens_per_second": round(speed, 1),
            "cpu_seconds": round(time.process_time(), 1),
            "memory_mib": round(process_memory() / MIB),
        }
        if self.accelerator.device.type == "cuda":
            timing["gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / MIB)
        self._before = (self._tokens, self._updates, seconds)
        self._since, self._tokens, self._updates = time.perf_counter(), 0, 0
        self.track(step, timing)
        return timing

    def track(self, step: int, values: dict[str, float]) -> None:
        """Log values to the tracker. As in `metrics.jsonl`, values that are not finite are not logged."""
        if self.config.train.log_with != "none":
            self.accelerator.log({name: value for name, value in values.items() if math.isfinite(value)}, step=step)

    def track_samples(self, step: int, samples: dict[str, Any]) -> None:
        """Log sample texts and a picture of attention to TensorBoard. `samples` is what `make_samples` has returned."""
        if self.config.train.log_with == "tensorboard" and self.accelerator.is_main_process:
            add_samples(self.accelerator.get_tracker("tensorboard", unwrap=True), step, samples)

    def report_skipped(self, step: int, result: StepResult, saved: Path | None) -> None:
        """Print that an update was skipped, and why. `saved` is the folder of the failed update, if any."""
        why = "update skipped: fp16 overflow, loss scale lowered"
        if result.kind == "non-finite":
            see = f"; see {saved}" if saved else ""
            why = f"update skipped: loss or gradient not finite, weights unchanged{see}"
        self.print(f"step {step:>6} | loss {result.loss:.4g} | gradient_norm {result.gradient_norm:.4g} | {why}")

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the time of the block for the speed."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def print(self, text: str) -> None:
        """Print in the main process."""
        if self.accelerator.is_main_process:
            with above_live_lines():
                print(text, flush=True)

    def _start_trackers(self, step: int) -> None:
        kind = self.config.train.log_with
        # If the run is resumed, TensorBoard drops the steps that will be written again, and W&B resumes the same run.
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
