"""The training loop: updates one after another, and validation, checkpoints and logs between them."""

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from common.command import describe_error
from common.errors import InputError
from common.files import expand, lock, read_small, write_text
from common.processes import check_launcher, local_rank, set_threads
from common.settings import flatten_settings
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import Update, choose_split, largest_micro_batch, most_positions
from data_pipeline.prepared_data import PreparedData, prepare, wait_until_prepared
from train.config import RunConfig
from train.distributed import check_equal_ranks, make_accelerator
from train.initial_weights import start_from
from train.optimizer import make_optimizer
from train.run.checkpoints import METRICS, Checkpoints, Kind, RunState, restore
from train.run.failed_update import FAILED_UPDATES, save_failed_update
from train.run.folder import check_settings, reject_links_in_run, write_settings
from train.run.metrics_log import MetricsLog
from train.run.model_folder import write_model_folder
from train.run.paper_comparison import COMPARISON_FILE, compare_with_paper
from train.run.progress import Progress
from train.run.report import failures_are_warnings, write_report
from train.run.run_files import DATA_FILE
from train.run.samples import make_samples
from train.run_time import check_time, describe_time, measure_update
from train.setup import Setup, make_setup
from train.stop import Reason, StopRequest
from train.tasks import sample
from train.trainer import StepResult, Trainer
from train.validation import Validation, validate
from train.weight_mean import start_mean, weights_replaced_by_mean
from transformer.model import build, count_parameters


def train(config: RunConfig, run_dir: Path) -> int | None:
    """Train the run in `run_dir`, or resume it, and write its model folder when all updates are done.

    Returns:
        The number of the signal that ended the run before `train.max_steps`. None if all updates are done, or if the
        time limit `train.max_hours` ended the run; in that case there is no model folder yet.

    Raises:
        InputError: the data are unusable, the run folder contains a run with other settings, or
            `train.max_nonfinite_updates` consecutive updates were not finite.
        OSError: a file is missing, or the disk is full.
    """
    started = time.monotonic()
    check_launcher()
    reject_links_in_run(run_dir)
    set_threads(config.train.threads)
    setup = make_setup(config, prepare_once(config))
    config = setup.config
    check_settings(run_dir, config, setup.identity)  # on every rank, before ranks wait for each other
    accelerator = make_accelerator(config.train, run_dir)
    with claim(run_dir, accelerator):
        run = start_run(setup, run_dir, accelerator)
        run.check_time()
        run.check_memory()
        with StopRequest(until=started + 3600 * (config.train.max_hours or math.inf)) as stop:
            reason = run.updates(stop)
            if accelerator.is_main_process:
                if reason is None:
                    run.progress.print(f"{run_dir} contains {write_model_folder(run_dir)}")
                with failures_are_warnings(run_dir):
                    run.progress.print(f"{write_report(run_dir)} shows the run")
            accelerator.wait_for_everyone()
        accelerator.end_training()
    return stop.number or signal.SIGTERM if reason == "signal" else None


def prepare_once(config: RunConfig) -> PreparedData:
    """Return the prepared data. One process per host creates them, and the others wait until they are complete."""
    cache = expand(config.data.cache_dir)
    if local_rank() > 0:
        return wait_until_prepared(config.data, cache)
    return prepare(config.data, cache, threads=torch.get_num_threads())


@contextmanager
def claim(run_dir: Path, accelerator: Accelerator) -> Iterator[None]:
    """Lock the run folder in the main process. If another process holds the lock, all ranks raise InputError."""
    with ExitStack() as held:
        problem: list[str | None] = [None]
        if accelerator.is_main_process:
            try:
                held.enter_context(lock(run_dir / ".lock"))
            except (InputError, OSError) as error:
                problem = [describe_error(error)]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise InputError(problem[0])
        yield


def start_run(setup: Setup, run_dir: Path, accelerator: Accelerator) -> "Run":
    """Return the run, ready for its next update.

    First all ranks read the newest checkpoint, then they compare what they read, and only then the main process writes.
    So a rank with other files cannot damage the run folder.
    """
    micro_tokens = setup.config.batches.micro_tokens
    split = choose_split(setup.plan.shapes, setup.plan.per_update, accelerator.num_processes, micro_tokens)
    newest = Checkpoints(run_dir / "checkpoints").newest()
    trainer, state = load_trainer(setup.config, setup.prepared, newest, accelerator)
    check_equal_ranks(state.step, facts(setup))
    log = prepare_folder(setup, run_dir, newest, state.step) if accelerator.is_main_process else None
    run = Run(setup, run_dir, trainer, state, split, log)
    run.print_start()
    return run


def load_trainer(
    config: RunConfig, data: PreparedData, checkpoint: Path | None, accelerator: Accelerator
) -> tuple[Trainer, RunState]:
    """Return the trainer and the run state of a checkpoint, or those of a new run if there is none. Write nothing."""
    torch.manual_seed(config.train.seed)
    dtype = torch.float64 if config.train.precision == "float64" else torch.float32
    model = build(config.model).to(accelerator.device, dtype)
    optimizer = make_optimizer(model, config.optimizer)
    if checkpoint is None and config.train.init_from is not None:
        start_from(config.train.init_from, model, config.model, data.tokenizer_file)
    if config.train.ema_decay is not None:
        start_mean(model, optimizer)
    state = restore(checkpoint, model, optimizer) if checkpoint else RunState(step=0)
    trainer = Trainer(model, optimizer, accelerator, config)
    trainer.restore_scaler(state.scaler)
    return trainer, state


def prepare_folder(setup: Setup, run_dir: Path, newest: Path | None, step: int) -> MetricsLog:
    """Write the settings and the logs up to the newest checkpoint. Return the log."""
    Checkpoints(run_dir / "checkpoints").remove_unfinished()
    log = MetricsLog(run_dir, step, read_small(newest / METRICS).decode(errors="replace") if newest else "")
    write_settings(run_dir, setup.config, setup.identity, setup.tokenizer)
    write_text(run_dir / DATA_FILE, json.dumps(setup.prepared.report, indent=1, ensure_ascii=False) + "\n")
    return log


class Run:
    """The training loop of one process: updates, and between them validation, checkpoints and logs.

    Args:
        split: micro-batches per bucket batch.
        log: only in the main process.
    """

    def __init__(
        self, setup: Setup, run_dir: Path, trainer: Trainer, state: RunState, split: int, log: MetricsLog | None
    ) -> None:
        self.setup, self.run_dir, self.trainer = setup, run_dir, trainer
        self.state, self.split, self.log = state, split, log
        self.config, self.plan, self.accelerator = setup.config, setup.plan, trainer.accelerator
        self.checkpoints = Checkpoints(run_dir / "checkpoints")
        self.progress = Progress(self.accelerator, self.config, run_dir, state.step)

    def print_start(self) -> None:
        """Print data, model and batch plan, and write and print the comparison with the paper."""
        parameters = count_parameters(self.trainer.model)
        self.progress.print_start(self.setup, self.split, parameters)
        if self.accelerator.is_main_process:
            comparison = compare_with_paper(self.setup, parameters, self.accelerator)
            write_text(self.run_dir / COMPARISON_FILE, comparison.markdown())
            self.progress.print(comparison.differences())

    def check_time(self) -> None:
        """Print how long the run will take. Raise InputError on all ranks if a new run needs `train.long_run`."""
        measured = [measure_update(self.trainer, self.setup, self.split)]
        broadcast_object_list(measured)  # all ranks decide by the time of the main process
        if (timing := measured[0]) is None:
            return
        if self.state.step == 0:
            check_time(self.config, timing, self.accelerator.device.type)
        self.progress.print(describe_time(self.config, timing, self.state.step))

    def check_memory(self) -> None:
        """See `Trainer.check_memory`."""
        largest = largest_micro_batch(self.plan.shapes, self.split)
        self.trainer.check_memory(largest, self.setup.prepared.train.batch(largest), self.split)

    def updates(self, stop: StopRequest) -> Reason | None:
        """Do all remaining updates. Return why the run ended before `train.max_steps`, or None if it did not.

        Raises:
            InputError: `train.max_nonfinite_updates` consecutive updates were not finite.
        """
        with self.progress.live(self.state.step):
            return self._updates(stop)

    def _updates(self, stop: StopRequest) -> Reason | None:
        settings = self.config.train
        for update, batches in ahead(self._make_batches, range(self.state.step, settings.max_steps)):
            result = self.trainer.step(update, batches, stop.asked)
            if result.kind != "updated":
                self._record_skipped(update, result)
            nonfinite = self.state.nonfinite_updates + 1 if result.kind == "non-finite" else 0
            self.state = replace(self.state, step=update.step + 1, nonfinite_updates=nonfinite)
            step, reason = self.state.step, stop.agreed(result.stop_requests)
            last = step == settings.max_steps
            self.progress.count_update(step, update.predicted_tokens)
            if step % settings.log_every == 0 or last or result.kind != "updated":
                self._log(step, result.values())
            self._reject_nonfinite(result)
            with self.progress.pause():
                self._between_updates(last, stopping=reason is not None)
            if reason and not last:
                why = f"the time limit train.max_hours={settings.max_hours} is over: " if reason == "time" else ""
                self.progress.print(f"{why}stopped after update {step}. The same command resumes the run.")
                return reason
        return None

    def _between_updates(self, last: bool, stopping: bool) -> None:
        """Validate and save if it is time to."""
        step = self.state.step
        if step % self.config.validation.every == 0 or last:
            self.progress.show_activity("validating")
            self._validate()
        if step % self.config.checkpoints.every == 0:
            self._save("regular")
        elif last or stopping:
            self._save("final" if last else "interrupted")

    def _record_skipped(self, update: Update, result: StepResult) -> None:
        """Print a skipped update, and save it for debugging if it is the first non-finite one; clear its gradient."""
        if self.accelerator.is_main_process:
            folder = None
            if result.kind == "non-finite" and not self.state.nonfinite_updates:
                world_size = self.accelerator.num_processes
                micro_batches = update.micro_batches(self.split, world_size)
                ranks = [micro_batches[rank::world_size] for rank in range(world_size)]
                folder = save_failed_update(self.run_dir, self.setup, update, ranks, result, self.trainer, self._now())
            self.progress.report_skipped(update.step + 1, result, folder)
        self.trainer.clear_gradient()

    def _reject_nonfinite(self, result: StepResult) -> None:
        updates = self.state.nonfinite_updates
        if updates >= self.config.train.max_nonfinite_updates:
            raise InputError(
                f"{updates} consecutive update(s) were not finite (update {self.state.step}: loss {result.loss}, "
                f"gradient norm {result.gradient_norm}). The weights are those after update "
                f"{self.state.step - updates}. Read {self.run_dir / FAILED_UPDATES}, then train in another run_dir "
                "with a lower schedule.scale (or schedule.peak_lr) or with optimizer.clip_norm=1.0"
            )

    def _make_batches(self, step: int) -> tuple[Update, list[Batch]]:
        update, train = self.plan.update(step), self.setup.prepared.train
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        own = update.micro_batches(self.split, world_size)[rank::world_size]
        return update, [train.batch(micro_batch).ready_for(self.accelerator.device) for micro_batch in own]

    def _validate(self) -> None:
        """Validate the weights or their exponential mean, and save a checkpoint if the loss is the lowest so far."""
        if self.config.train.ema_decay is None:
            self._validate_model()
        else:
            with weights_replaced_by_mean(self.trainer.model, self.trainer.optimizer):
                self._validate_model()

    def _validate_model(self) -> None:
        step, model = self.state.step, self.trainer.model
        found = validate(self.accelerator, model, self.setup, most_positions(self.plan.shapes, self.split))
        values = found.values
        self._log(step, values)
        if self.log is not None:
            if text := sample(self.setup, model):
                self.progress.print(text)
            self._report(self.log, found, text)
        if is_better(values["valid_loss"], self.state.best_loss):
            self.state = replace(self.state, best_step=step, best_loss=values["valid_loss"])
            self._save("best")

    def _report(self, log: MetricsLog, validation: Validation, text: str) -> None:
        """Record the samples of a validation, write the report, and log the seconds that both took."""
        started = time.perf_counter()
        with failures_are_warnings(self.run_dir):
            samples = make_samples(self.setup, self.trainer.model, validation.translations, text)
            log.add_samples(self.state.step, samples)
            self.progress.track_samples(self.state.step, samples)
            write_report(self.run_dir)
        timing = {"report_seconds": round(time.perf_counter() - started, 3)}
        log.add_timing(self.state.step, timing)
        self.progress.track(self.state.step, timing)

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self.log is not None:
            self.log.add_metrics(step, values)
            self.log.add_timing(step, self.progress.report(step, values))

    def _now(self) -> RunState:
        return replace(self.state, scaler=self.trainer.scaler_state())

    def _save(self, kind: Kind) -> None:
        if self.log is not None:
            trainer, metrics = self.trainer, self.log.read_metrics()
            keep = self.config.checkpoints.keep
            self.checkpoints.save(kind, trainer.model, trainer.optimizer, self._now(), metrics, keep)
        self.accelerator.wait_for_everyone()


def is_better(loss: float, best: float | None) -> bool:
    """Return True if a validation loss is the lowest so far. NaN is never better, and everything is better than NaN."""
    return math.isfinite(loss) and (best is None or not math.isfinite(best) or loss < best)


DECIDING = (
    *("model.", "batches.", "optimizer.", "schedule.", "train.", "validation.", "checkpoints."),
    *("data.bpe_dropout", "data.augment_"),
)
"""Settings, and sections of them, that must be equal on all hosts."""


def facts(setup: Setup) -> dict[str, str]:
    """Return what must be equal on all hosts. Paths may differ."""
    settings = {k: v for k, v in flatten_settings(setup.config).items() if k.startswith(DECIDING)}
    settings.pop("train.threads")
    prepared = setup.prepared
    return {
        "settings": hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest(),
        "data": f"{prepared.fingerprint} {setup.plan_version} {setup.plan.describe()}",
        "vocabulary": hashlib.sha256(prepared.tokenizer_file.read_bytes()).hexdigest(),
    }


def ahead(
    make: Callable[[int], tuple[Update, list[Batch]]], items: Iterable[int]
) -> Iterator[tuple[Update, list[Batch]]]:
    """Yield `make(item)` for each item. A thread makes the next result while the caller uses the last one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = None
        for item in items:
            following = pool.submit(make, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
