"""The training loop: plan, cut, forward, backward, Adam; validation and checkpoints now and then."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from data_pipeline.collate import Batch
from data_pipeline.dataset import Prepared, PreparedText, open_prepared, prepare
from data_pipeline.fingerprint import fingerprint
from data_pipeline.plan import ROW_MULTIPLE, Update, choose_cut, key
from train.checkpoint import Checkpoints, Kind, Progress, restore
from train.config import RunConfig
from train.devices import (
    StopRequest,
    check_equal_steps,
    local_rank,
    make_accelerator,
    new_sum,
    seed_dropout,
    set_threads,
    sum_over_ranks,
)
from train.finetune import start_from
from train.ledger import LEDGER_FILE, make_ledger
from train.loss import smoothed_cross_entropy
from train.model_folder import write_model_folder
from train.optimizer import make_optimizer
from train.progress import Reporter
from train.run_folder import PATIENCE, Journal, check_settings, exclusive, write_settings, write_whole
from train.schedule import learning_rate
from train.tasks import Task, make_task
from train.validation import validate
from transformer.model import build, count_parameters

Work = tuple[Update, list[tuple[int, Batch]]]
"""An update, and this rank's part of it: (seed of dropout, batch) for each of its slices."""


def train(config: RunConfig, run_dir: Path) -> int | None:
    """Train, or continue, the run in `run_dir`, and end by writing its model folder.

    Returns None, or the number of the signal that ended the run before `train.max_steps`.
    Raises ValueError and OSError for the user: bad data, other settings in the same folder, a full disk.
    """
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
            ledger = make_ledger(task, count_parameters(run.model), accelerator)
            write_whole(run_dir / LEDGER_FILE, ledger.markdown())
            run.reporter.say(ledger.differences())
        run.rehearse()
        stop = StopRequest()
        finished = run.updates(stop)
        if finished and accelerator.is_main_process:
            run.reporter.say(f"{run_dir} holds {write_model_folder(run_dir, config.train.average_last)}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return None if finished else stop.number or signal.SIGTERM


def prepare_once(config: RunConfig) -> Prepared | PreparedText:
    """The data, made by one process of each host while the others wait for it."""
    cache = Path(config.data.cache_dir)
    if local_rank() > 0:
        folder = cache / fingerprint(config.data)
        while not folder.is_dir():  # if it never comes, the launcher ends this process too
            time.sleep(0.2)
        return open_prepared(config.data, folder)
    with exclusive(cache / ".lock", patience=math.inf):
        return prepare(config.data, cache, threads=torch.get_num_threads())


@contextmanager
def claim(run_dir: Path, accelerator: Accelerator) -> Iterator[None]:
    """The main process holds the run folder; where it cannot, every rank raises the same ValueError."""
    with ExitStack() as held:
        problem: list[str | None] = [None]
        if accelerator.is_main_process:
            try:
                held.enter_context(exclusive(run_dir / ".lock", PATIENCE))
            except (ValueError, OSError) as error:
                problem = [str(error)]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise ValueError(problem[0])
        yield


class Run:
    """One run in one process: everything between the data and the model folder."""

    def __init__(self, task: Task, run_dir: Path, accelerator: Accelerator) -> None:
        self.task, self.config, self.accelerator = task, task.config, accelerator
        config, settings = self.config, self.config.train
        self.plan = task.plan
        self.cut = choose_cut(self.plan, self.accelerator.num_processes, settings.micro_tokens)
        torch.manual_seed(settings.seed)
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.model = build(config.model).to(self.accelerator.device, dtype)
        optimizer = make_optimizer(self.model, settings)
        self.checkpoints = Checkpoints(run_dir / "checkpoints")
        newest = self.checkpoints.newest()
        if newest is None and settings.init_from is not None:
            start_from(settings.init_from, self.model, config.model, task.prepared.tokenizer_file)
        self.progress = restore(newest, self.model, optimizer) if newest else Progress(step=0)
        trained: nn.Module = torch.compile(self.model) if settings.compile else self.model  # type: ignore[assignment]
        self.parallel, self.optimizer = self.accelerator.prepare(trained, optimizer)
        if self.accelerator.scaler is not None and self.progress.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)
        check_equal_steps(self.accelerator, self.progress.step)  # everyone has read before anyone writes
        if self.accelerator.is_main_process:
            self.journal = Journal(run_dir, self.progress.step)
        self.reporter = Reporter(self.accelerator, config, run_dir, self.progress.step)
        self.reporter.start(task, self.cut, count_parameters(self.model))

    def rehearse(self) -> None:
        """Forward and backward of the largest slice, thrown away: memory runs out now or never.

        It also lets DDP settle the order of its sums, so that a continued run adds as the first one did.
        """
        part = self.plan.largest(self.cut.slices)
        batch = self.task.batch(part)
        try:
            self._backward(batch.to(self.accelerator.device), weight=1.0)
        except torch.OutOfMemoryError as error:
            half = len(part.rows) * max(part.src_len, part.tgt_len) // 2
            cure = f"set train.micro_tokens to {half}" if self.cut.slices < ROW_MULTIPLE else "raise train.bricks"
            if len(part.rows) == 1:
                cure = "lower train.block or model.max_len, or take a smaller model"
            raise ValueError(
                f"the largest batch, {len(part.rows)} rows of {part.src_len} and {part.tgt_len} tokens, does not "
                f"fit the device's memory: {cure}"
            ) from error
        self.optimizer.zero_grad()

    def updates(self, stop: StopRequest) -> bool:
        """All updates that are left. False when a signal ended the run before `train.max_steps`."""
        settings = self.config.train
        for update, batches in ahead(self._batches, range(self.progress.step, settings.max_steps)):
            values, stopping = self._learn(update, batches, stop)
            step = update.step + 1
            self.progress = replace(self.progress, step=step)
            self.reporter.count(update.tgt_tokens)
            last = step == settings.max_steps
            if step % settings.log_every == 0 or last:
                self._log(step, values)
            with self.reporter.pause():
                if step % settings.valid_every == 0 or last:
                    self._validate(step)
                if step % settings.checkpoint_every == 0:
                    self._save("regular")
                elif last or stopping:
                    self._save("final" if last else "interrupted")
            if stopping and not last:
                self.reporter.say(f"stopped after update {step}; the same command continues")
                return False
        return True

    def _learn(
        self, update: Update, batches: list[tuple[int, Batch]], stop: StopRequest
    ) -> tuple[dict[str, float], bool]:
        """One update: what is logged of it, and whether any rank was asked to stop.

        Raises ValueError where the loss or the gradient is not finite; the weights are then untouched.
        """
        # DDP averages gradients over ranks, so each weighs its sum by their number.
        predicted = max(1, update.tgt_tokens)  # all of an update may be given text
        weight = self.accelerator.num_processes / predicted
        total = new_sum(self.accelerator)
        for i, (seed, batch) in enumerate(batches):
            seed_dropout(seed, self.accelerator.device)
            last = i == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.parallel):
                total += self._backward(batch.to(self.accelerator.device), weight)
        norm = self._gradient_norm().to(total.dtype) / self.accelerator.num_processes  # equal on all ranks
        asked = torch.full_like(total, stop.number is not None)
        loss_sum, norm_sum, stopping = sum_over_ranks(self.accelerator, torch.stack([total, norm, asked]))
        rate = learning_rate(update.step + 1, self.config.train, self.config.model.d_model)
        values = {"loss": loss_sum / predicted, "gradient_norm": norm_sum, "lr": rate}
        self._refuse_divergence(update.step + 1, values)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # accelerate's own step is for the loss scaler; it looks for optional packages each time.
        (self.optimizer if self.accelerator.scaler is not None else self.optimizer.optimizer).step()
        self.optimizer.zero_grad()
        return values, stopping > 0

    def _gradient_norm(self) -> torch.Tensor:
        """Norm of the whole gradient, before it is clipped to `train.clip_norm` where that is set."""
        if self.config.train.clip_norm is not None:
            return self.accelerator.clip_grad_norm_(self.parallel.parameters(), self.config.train.clip_norm)
        self.accelerator.unscale_gradients()
        return torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])

    def _refuse_divergence(self, step: int, values: dict[str, float]) -> None:
        # In fp16 a gradient may overflow: the loss scaler then leaves the update out and lowers its scale.
        watched = ("loss",) if self.config.train.precision == "fp16" else ("loss", "gradient_norm")
        for name in watched:
            if not math.isfinite(values[name]):
                raise ValueError(
                    f"the {name} of update {step} is {values[name]}, and the weights are left as they were: "
                    "start in another run_dir with a lower train.lr_scale or with train.clip_norm=1.0"
                )

    def _backward(self, batch: Batch, weight: float) -> torch.Tensor:
        logits_BLV = self.parallel(*batch.inputs)
        loss = smoothed_cross_entropy(logits_BLV, batch.labels_BL, self.config.train.label_smoothing)
        self.accelerator.backward(loss * weight)
        return loss.detach()

    def _batches(self, step: int) -> Work:
        update = self.plan.update(step)
        parts = self.cut.slices_of(update, self.accelerator.process_index)
        seed = self.config.train.seed
        # The seed names the slice, never the rank. CPU generators use its low 32 bits only.
        return update, [(key(seed, step, b, s) % 2**32, self.task.batch(part)) for b, s, part in parts]

    def _validate(self, step: int) -> None:
        values = validate(self.accelerator, self.model, self.task, self.plan.positions(self.cut.slices))
        self._log(step, values)
        if self.accelerator.is_main_process and (shown := self.task.show(self.model)):
            self.reporter.say(shown)
        if self.progress.best_loss is None or values["valid_loss"] < self.progress.best_loss:
            self.progress = replace(self.progress, best_step=step, best_loss=values["valid_loss"])
            self._save("best")

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.journal.metrics(step, values)
            self.journal.timing(step, self.reporter.line(step, values))

    def _save(self, kind: Kind) -> None:
        if self.accelerator.scaler is not None:
            self.progress = replace(self.progress, scaler=self.accelerator.scaler.state_dict())
        if self.accelerator.is_main_process:
            keep = self.config.train.keep_checkpoints
            self.checkpoints.save(kind, self.model, self.optimizer.optimizer, self.progress, keep)
        self.accelerator.wait_for_everyone()


def ahead(make: Callable[[int], Work], items: Iterable[int]) -> Iterator[Work]:
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
