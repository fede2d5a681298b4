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

from data_pipeline.collate import Batch, collate
from data_pipeline.dataset import Prepared, prepare
from data_pipeline.fingerprint import fingerprint
from data_pipeline.plan import NULL_ROW, PLAN_VERSION, ROW_MULTIPLE, Plan, Slice, Update, choose_cut, key
from data_pipeline.tokenizer import Tokenizer
from train.checkpoint import Checkpoints, Kind, Progress, restore
from train.config import RunConfig
from train.devices import (
    StopRequest,
    check_equal_steps,
    local_rank,
    make_accelerator,
    new_sum,
    set_threads,
    sum_over_ranks,
)
from train.loss import smoothed_cross_entropy
from train.model_folder import write_model_folder
from train.progress import Reporter
from train.run_folder import PATIENCE, Journal, check_settings, exclusive, write_settings
from train.schedule import noam
from train.validation import validate
from transformer.config import ModelConfig
from transformer.model import Transformer, count_parameters

Work = tuple[Update, list[tuple[int, Batch]]]
"""An update, and this rank's part of it: (seed of dropout, batch) for each of its slices."""


def train(config: RunConfig, run_dir: Path) -> int | None:
    """Train, or continue, the run in `run_dir`, and end by writing its model folder.

    Returns None, or the number of the signal that ended the run before `train.max_steps`.
    Raises ValueError and OSError for the user: bad data, other settings in the same folder, a full disk.
    """
    set_threads(config.train.threads)
    prepared = prepare_once(config)
    tokenizer = Tokenizer(prepared.tokenizer_file)
    config = fit_model_to_data(config, prepared, tokenizer.vocab_size)
    identity = {"data": prepared.fingerprint, "plan": PLAN_VERSION}
    check_settings(run_dir, config, identity)  # every rank, before they wait for one another
    accelerator = make_accelerator(config.train, run_dir)
    with claim(run_dir, accelerator):
        run = Run(config, run_dir, prepared, accelerator)
        if accelerator.is_main_process:
            write_settings(run_dir, config, identity, tokenizer)
        run.rehearse()
        stop = StopRequest()
        finished = run.updates(stop)
        if finished and accelerator.is_main_process:
            run.reporter.say(f"{run_dir} holds {write_model_folder(run_dir, config.train.average_last)}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return None if finished else stop.number or signal.SIGTERM


def prepare_once(config: RunConfig) -> Prepared:
    """The data, made by one process of each host while the others wait for it."""
    cache = Path(config.data.cache_dir)
    if local_rank() > 0:
        folder = cache / fingerprint(config.data)
        while not folder.is_dir():  # if it never comes, the launcher ends this process too
            time.sleep(0.2)
        return Prepared.open(folder)
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


def fit_model_to_data(config: RunConfig, prepared: Prepared, vocab_size: int) -> RunConfig:
    """The config with the vocabulary's real size. Raises ValueError where model and data do not fit."""
    if config.model.architecture != "transformer":
        raise ValueError(f"model.architecture {config.model.architecture} cannot be trained on pairs of sentences")
    if config.model.vocab_size not in (ModelConfig().vocab_size, vocab_size):
        raise ValueError(
            f"model.vocab_size is {config.model.vocab_size}, but the vocabulary has {vocab_size} pieces; "
            "leave model.vocab_size out, it is taken from data.vocab_size"
        )
    for name, ids in (("training", prepared.train), ("validation", prepared.valid)):
        longest = max(int(side.lengths.max()) for side in (ids.src, ids.tgt))
        if longest > config.model.max_len:
            raise ValueError(
                f"the longest {name} sentence has {longest} tokens, and model.max_len is {config.model.max_len}; "
                "lower data.max_length or raise model.max_len"
            )
    return replace(config, model=replace(config.model, vocab_size=vocab_size))


class Run:
    """One run in one process: everything between the data and the model folder."""

    def __init__(self, config: RunConfig, run_dir: Path, prepared: Prepared, accelerator: Accelerator) -> None:
        self.config, self.prepared, self.accelerator = config, prepared, accelerator
        settings = config.train
        self.plan = Plan(
            prepared.train.src.lengths,
            prepared.train.tgt.lengths,
            tokens_per_update=settings.tokens_per_update,
            bricks=settings.bricks,
            shapes=settings.shapes,
            seed=settings.seed,
        )
        self.cut = choose_cut(self.plan, self.accelerator.num_processes, settings.micro_tokens)
        torch.manual_seed(settings.seed)
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.model = Transformer(config.model).to(self.accelerator.device, dtype)
        optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=0.0,  # set before every update, Eq. 3
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_eps,
            fused=True,
        )
        reserve_moments(optimizer)
        self.checkpoints = Checkpoints(run_dir / "checkpoints")
        newest = self.checkpoints.newest()
        self.progress = restore(newest, self.model, optimizer) if newest else Progress(step=0)
        trained: nn.Module = torch.compile(self.model) if settings.compile else self.model  # type: ignore[assignment]
        self.parallel, self.optimizer = self.accelerator.prepare(trained, optimizer)
        if self.accelerator.scaler is not None and self.progress.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)
        check_equal_steps(self.accelerator, self.progress.step)  # everyone has read before anyone writes
        if self.accelerator.is_main_process:
            self.journal = Journal(run_dir, self.progress.step)
        self.reporter = Reporter(self.accelerator, config, run_dir, self.progress.step)
        self.reporter.start(self.plan, self.cut, count_parameters(self.model), prepared)

    def rehearse(self) -> None:
        """Forward and backward of the largest slice, thrown away: memory runs out now or never.

        It also lets DDP settle the order of its sums, so that a continued run adds as the first one did.
        """
        boxes = self.plan.boxes
        box = max(boxes, key=lambda b: self.plan.rows_of(b) * (b.src_len + b.tgt_len))
        rows = torch.full((self.plan.rows_of(box) // self.cut.slices,), NULL_ROW).numpy()
        batch = collate(self.prepared.train, Slice(rows, box.src_len, box.tgt_len))
        try:
            self._backward(batch.to(self.accelerator.device), weight=1.0)
        except torch.OutOfMemoryError as error:
            half = len(rows) * max(box.src_len, box.tgt_len) // 2
            cure = f"set train.micro_tokens to {half}" if self.cut.slices < ROW_MULTIPLE else "raise train.bricks"
            raise ValueError(
                f"the largest batch, {len(rows)} sentences of {box.src_len} and {box.tgt_len} tokens, does not fit "
                f"the device's memory: {cure}"
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
        weight = self.accelerator.num_processes / update.tgt_tokens
        total = new_sum(self.accelerator)
        for i, (seed, batch) in enumerate(batches):
            torch.manual_seed(seed)
            last = i == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.parallel):
                total += self._backward(batch.to(self.accelerator.device), weight)
        norm = self._gradient_norm().to(total.dtype) / self.accelerator.num_processes  # equal on all ranks
        asked = torch.full_like(total, stop.number is not None)
        loss_sum, norm_sum, stopping = sum_over_ranks(self.accelerator, torch.stack([total, norm, asked]))
        rate = self._learning_rate(update.step + 1)
        values = {"loss": loss_sum / update.tgt_tokens, "gradient_norm": norm_sum, "lr": rate}
        self._refuse_divergence(update.step + 1, values)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
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
        ids, seed = self.prepared.train, self.config.train.seed
        # The seed names the slice, never the rank. CPU generators use its low 32 bits only.
        return update, [(key(seed, step, b, s) % 2**32, collate(ids, part)) for b, s, part in parts]

    def _learning_rate(self, step: int) -> float:
        settings = self.config.train
        return noam(step, self.config.model.d_model, settings.warmup_steps, settings.lr_scale)

    def _validate(self, step: int) -> None:
        positions = self.plan.largest_slice(self.cut.slices)
        values = validate(self.accelerator, self.model, self.prepared, self.config.train, positions)
        self._log(step, values)
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


def reserve_moments(optimizer: torch.optim.Adam) -> None:
    """Give Adam the memory of its moments now, as its first step would, before the largest batch is tried."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


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
