"""The training loop: one update after the other; validation and checkpoints now and then."""

import hashlib
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

from common.errors import InputError
from common.files import lock, write_text
from common.processes import local_rank, set_threads
from common.settings import flatten_settings
from data_pipeline.examples import Batch
from data_pipeline.fingerprint import fingerprint
from data_pipeline.micro_batches import ROW_MULTIPLE, Update, choose_split, largest_micro_batch, most_positions
from data_pipeline.prepared_data import PreparedData, prepare
from train.config import RunConfig
from train.distributed import (
    Reason,
    StopRequest,
    check_equal_ranks,
    make_accelerator,
)
from train.initial_weights import start_from
from train.optimizer import make_optimizer
from train.run.checkpoints import METRICS, Checkpoints, Kind, RunState, restore
from train.run.failed_update import FAILED_UPDATES, save_failed_update
from train.run.folder import check_settings, write_settings
from train.run.metrics_log import MetricsLog
from train.run.model_folder import write_model_folder
from train.run.paper_comparison import COMPARISON_FILE, compare_with_paper
from train.run.progress import Progress
from train.tasks import Task, make_task
from train.trainer import Outcome, Updater
from train.validation import validate
from transformer.model import build, count_parameters


def train(config: RunConfig, run_dir: Path) -> int | None:
    """Train, or continue, the run in `run_dir`, and end by writing its model folder.

    Returns None, or the number of the signal that ended the run before `train.max_steps`. None, too, where
    `train.max_hours` ended it, as it was asked to; a model folder is there only when all updates are.
    Raises ValueError and OSError for the user: bad data, other settings in the same folder, a full disk, updates in
    a row that are not finite.
    """
    started = time.monotonic()
    set_threads(config.train.threads)
    task = make_task(config, prepare_once(config))
    config = task.config
    identity = {"data": task.prepared.fingerprint, "plan": task.plan_version}
    check_settings(run_dir, config, identity)  # every rank, before they wait for one another
    accelerator = make_accelerator(config.train, run_dir)
    with claim(run_dir, accelerator):
        run = Run(task, run_dir, accelerator)
        if accelerator.is_main_process:
            write_settings(run_dir, config, identity, task.tokenizer)
            comparison = compare_with_paper(task, count_parameters(run.model), accelerator)
            write_text(run_dir / COMPARISON_FILE, comparison.markdown())
            run.progress.say(comparison.differences())
        run.rehearse()
        stop = StopRequest(until=started + 3600 * (config.train.max_hours or math.inf))
        reason = run.updates(stop)
        if reason is None and accelerator.is_main_process:
            run.progress.say(f"{run_dir} contains {write_model_folder(run_dir)}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return stop.number or signal.SIGTERM if reason == "signal" else None


def prepare_once(config: RunConfig) -> PreparedData:
    """The data, made by one process of each host while the others wait for it."""
    cache = Path(config.data.cache_dir)
    if local_rank() > 0:
        folder = cache / fingerprint(config.data)
        while not folder.is_dir():  # if it never comes, the launcher ends this process too
            time.sleep(0.2)
        return PreparedData.open(folder, config.data)
    return prepare(config.data, cache, threads=torch.get_num_threads())


@contextmanager
def claim(run_dir: Path, accelerator: Accelerator) -> Iterator[None]:
    """The main process holds the run folder; where it cannot, every rank raises the same ValueError."""
    with ExitStack() as held:
        problem: list[str | None] = [None]
        if accelerator.is_main_process:
            try:
                held.enter_context(lock(run_dir / ".lock"))
            except (InputError, OSError) as error:
                problem = [str(error)]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise InputError(problem[0])
        yield


class Run:
    """One run in one process: everything between the data and the model folder."""

    def __init__(self, task: Task, run_dir: Path, accelerator: Accelerator) -> None:
        self.task, self.config, self.accelerator = task, task.config, accelerator
        config, settings, self.run_dir = self.config, self.config.train, run_dir
        self.plan = task.plan
        self.world_size = self.accelerator.num_processes
        self.split = choose_split(self.plan.shapes, self.plan.per_update, self.world_size, config.batches.micro_tokens)
        torch.manual_seed(settings.seed)
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.model = build(config.model).to(self.accelerator.device, dtype)
        optimizer = make_optimizer(self.model, config.optimizer)
        self.checkpoints = Checkpoints(run_dir / "checkpoints")
        newest = self.checkpoints.newest()
        if newest is None and settings.init_from is not None:
            start_from(settings.init_from, self.model, config.model, task.prepared.tokenizer_file)
        self.state = restore(newest, self.model, optimizer) if newest else RunState(step=0)
        self.updater = Updater(self.model, optimizer, accelerator, config)
        self.updater.restore_scaler(self.state.scaler)
        check_equal_ranks(self.state.step, facts(task))  # everyone has read before anyone writes
        if self.accelerator.is_main_process:
            self.checkpoints.remove_unfinished()
            known = (newest / METRICS).read_text(encoding="utf-8") if newest else ""
            self.log = MetricsLog(run_dir, self.state.step, known)
        self.progress = Progress(self.accelerator, config, run_dir, self.state.step)
        self.progress.start(task, self.split, count_parameters(self.model))

    def rehearse(self) -> None:
        """Forward and backward of the largest slice, thrown away: memory runs out now or never.

        It also lets DDP settle the order of its sums, so that a continued run adds as the first one did.
        """
        largest = largest_micro_batch(self.plan.shapes, self.split)
        batch = self.task.prepared.train.batch(largest)
        try:
            self.updater.backward(batch.to(self.accelerator.device), weight=1.0)
        except torch.OutOfMemoryError as error:
            half, rows = largest.positions // 2, len(largest.indices)
            cure = f"set batches.micro_tokens to {half}" if self.split < ROW_MULTIPLE else "raise batches.per_update"
            if rows == 1:
                cure = "lower batches.block or model.max_len, or take a smaller model"
            raise InputError(
                f"the largest batch, {rows} rows of {largest.src_len} and {largest.tgt_len} tokens, does not "
                f"fit the device's memory: {cure}"
            ) from error
        self.updater.forget()

    def updates(self, stop: StopRequest) -> Reason | None:
        """All updates that are left. Returns why the run ended before `train.max_steps`; None where it did not.

        Raises ValueError at the `train.max_nonfinite_updates`-th update in a row that is not finite.
        """
        settings = self.config.train
        for update, batches in ahead(self._batches, range(self.state.step, settings.max_steps)):
            outcome = self.updater.learn(update, batches, stop.asked)
            if outcome.kind != "learned":
                self._leave_out(update, outcome)
            step, bad = update.step + 1, self.state.nonfinite_updates + 1 if outcome.kind == "bad" else 0
            self.state = replace(self.state, step=step, nonfinite_updates=bad)
            self.progress.count(update.predicted_tokens)
            last, stopping = step == settings.max_steps, stop.agreed(outcome.asked)
            if step % settings.log_every == 0 or last or outcome.kind != "learned":
                self._log(step, outcome.values())
            self._refuse_to_go_on(outcome)
            with self.progress.pause():
                if step % self.config.validation.every == 0 or last:
                    self._validate(step)
                if step % self.config.checkpoints.every == 0:
                    self._save("regular")
                elif last or stopping:
                    self._save("final" if last else "interrupted")
            if stopping and not last:
                over = f"the {settings.max_hours} hours of train.max_hours are over: " if stopping == "time" else ""
                self.progress.say(f"{over}stopped after update {step}; the same command continues")
                return stopping
        return None

    def _leave_out(self, update: Update, outcome: Outcome) -> None:
        """Keep what makes a bad update again, of a row of them the first; then forget its gradient."""
        if self.accelerator.is_main_process:
            folder = None
            if outcome.kind == "bad" and not self.state.nonfinite_updates:
                ranks = [
                    update.micro_batches(self.split, self.world_size)[rank :: self.world_size]
                    for rank in range(self.world_size)
                ]
                folder = save_failed_update(self.run_dir, self.task, update, ranks, outcome, self.updater, self._now())
            self.progress.left_out(update.step + 1, outcome, folder)
        self.updater.forget()

    def _refuse_to_go_on(self, outcome: Outcome) -> None:
        row = self.state.nonfinite_updates
        if row >= self.config.train.max_nonfinite_updates:
            raise InputError(
                f"{row} update(s) in a row were not finite (update {self.state.step}: loss {outcome.loss}, gradient "
                f"norm {outcome.gradient_norm}), and the weights are left as they were after update "
                f"{self.state.step - row}: look into {self.run_dir / FAILED_UPDATES}, then start in another run_dir "
                "with a lower schedule.scale (or schedule.peak_lr) or with optimizer.clip_norm=1.0"
            )

    def _batches(self, step: int) -> tuple[Update, list[Batch]]:
        update = self.plan.update(step)
        rank, train = self.accelerator.process_index, self.task.prepared.train
        mine = update.micro_batches(self.split, self.world_size)[rank :: self.world_size]
        return update, [train.batch(micro_batch).ready_for(self.accelerator.device) for micro_batch in mine]

    def _validate(self, step: int) -> None:
        values = validate(self.accelerator, self.model, self.task, most_positions(self.plan.shapes, self.split))
        self._log(step, values)
        if self.accelerator.is_main_process and (shown := self.task.show(self.model)):
            self.progress.say(shown)
        if self.state.best_loss is None or values["valid_loss"] < self.state.best_loss:
            self.state = replace(self.state, best_step=step, best_loss=values["valid_loss"])
            self._save("best")

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.log.add_metrics(step, values)
            self.log.add_timing(step, self.progress.line(step, values))

    def _now(self) -> RunState:
        return replace(self.state, scaler=self.updater.scaler_state())

    def _save(self, kind: Kind) -> None:
        if self.accelerator.is_main_process:
            keep = self.config.checkpoints.keep
            metrics = self.log.read_metrics()
            self.checkpoints.save(kind, self.model, self.updater.optimizer, self._now(), metrics, keep)
        self.accelerator.wait_for_everyone()


DECIDING = ("model.", "batches.", "optimizer.", "schedule.", "train.", "validation.", "checkpoints.")
"""Sections whose settings must be equal on all hosts."""


def facts(task: Task) -> dict[str, str]:
    """What must be the same on all hosts; paths may differ."""
    settings = {k: v for k, v in flatten_settings(task.config).items() if k.startswith(DECIDING)}
    settings.pop("train.threads")
    prepared = task.prepared
    return {
        "settings": hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest(),
        "data": f"{prepared.fingerprint} {task.plan_version} {task.plan.describe()}",
        "vocabulary": hashlib.sha256(prepared.tokenizer_file.read_bytes()).hexdigest(),
    }


def ahead(
    make: Callable[[int], tuple[Update, list[Batch]]], items: Iterable[int]
) -> Iterator[tuple[Update, list[Batch]]]:
    """`map`, with the next result made in a thread while the caller works on the last one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = None
        for item in items:
            following = pool.submit(make, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
