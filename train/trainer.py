"""One update: forward and backward of its micro-batches, one sum over all ranks, one optimizer step.

A non-finite loss or gradient never reaches the weights. All ranks make the same decision, because all read the same
reduced sums. The host reads the sums once per update, after the last backward pass.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from common.errors import InputError
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import ROW_MULTIPLE, MicroBatch, Update
from train.config import RunConfig
from train.distributed import new_sum, seed_dropout, sum_over_ranks
from train.loss import linear_cross_entropy
from train.schedule import learning_rate
from train.weight_mean import update_mean
from transformer.model import GPT, Transformer

Kind = Literal["updated", "overflow", "non-finite"]


@dataclass(frozen=True)
class StepResult:
    """Result of one update. Equal on all ranks."""

    kind: Kind
    """`updated`: the weights changed. Otherwise the update was skipped. `overflow`: the gradient of fp16 overflowed, as
    happens from time to time; the loss scale is lowered. `non-finite`: the loss or the gradient is NaN or infinite."""
    loss: float
    """Loss in nats per predicted token, label smoothing included."""
    gradient_norm: float
    """Norm of the whole gradient, before clipping."""
    lr: float
    """Learning rate."""
    stop_requests: list[float]
    """For each stop request, the number of ranks that made it."""

    def values(self) -> dict[str, float]:
        """Return what is logged. JSON has no NaN or infinity, so such values are omitted."""
        values = {"loss": self.loss, "gradient_norm": self.gradient_norm, "lr": self.lr}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        return finite if self.kind == "updated" else finite | {"skipped": 1}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass. In `bf16` and `fp16`, matrix products are computed in half precision.

    The trainer does not use the autocast of accelerate, because that converts all logits to fp32 at once.
    """
    dtype = half_dtype(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def half_dtype(precision: str) -> torch.dtype | None:
    """Return the dtype of matrix products in `bf16` and `fp16`, or None in other precisions."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """Return the loss scaler of fp16, or None in other precisions."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None


class Trainer:
    """Model and optimizer on the device of this rank; `step` does one update."""

    def __init__(
        self, model: Transformer | GPT, optimizer: torch.optim.Optimizer, accelerator: Accelerator, config: RunConfig
    ) -> None:
        self.model, self.optimizer, self.accelerator, self.config = model, optimizer, accelerator, config
        trained: nn.Module = torch.compile(model) if config.train.compile else model  # type: ignore[assignment]
        self._parallel = accelerator.prepare(trained)
        self.scaler = make_scaler(config.train.precision, accelerator.device)

    def step(self, update: Update, batches: list[Batch], asked: Callable[[], Sequence[bool]]) -> StepResult:
        """Do one update.

        Args:
            batches: micro-batches of this rank.
            asked: returns the stop requests of this rank. They are summed over ranks together with the loss.

        Returns:
            The result. If the update was skipped, the gradient is still there: call `clear_gradient` before the next
            update.
        """
        predicted = max(1, update.predicted_tokens)  # an update may consist of prompts only
        # DDP averages gradients over ranks. So each rank multiplies its loss by the number of ranks.
        weight = self.accelerator.num_processes / predicted
        total = new_sum(self.accelerator)
        for i, batch in enumerate(batches):
            seed_dropout(batch.dropout_seed, self.accelerator.device)
            last = i == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self._parallel):
                total += self.backward(batch.to(self.accelerator.device), weight)
        norm = self.gradient_norm()
        mean = norm.to(total.dtype) / self.accelerator.num_processes  # equal on all ranks: its sum is the norm
        requests = [torch.full_like(total, request) for request in asked()]
        loss, norm_sum, *stop_requests = sum_over_ranks(self.accelerator, torch.stack([total, mean, *requests]))
        lr = learning_rate(update.step + 1, self.config.schedule, self.config.model.d_model)
        kind = self._decide(loss, norm_sum)
        if kind == "updated":
            self._apply(lr, norm)
            if self.config.train.ema_decay is not None:
                update_mean(self.model, self.optimizer, self.config.train.ema_decay, update.step + 1)
            self.clear_gradient()
        self._rescale(kind)
        return StepResult(kind, loss / predicted, norm_sum, lr, stop_requests)

    def check_memory(self, largest: MicroBatch, batch: Batch, split: int) -> None:
        """Run forward and backward once on the largest micro-batch, so that a lack of memory shows before training.

        DDP fixes the order of its sums in its first backward pass. If that pass is always this one, a resumed run adds
        in the same order as an uninterrupted run.

        Args:
            largest: shape of the micro-batch, for the message.
            batch: its tensors.
            split: number of micro-batches per bucket batch.

        Raises:
            InputError: the micro-batch does not fit the memory of the device.
        """
        try:
            self.backward(batch.to(self.accelerator.device), weight=1.0)
        except torch.OutOfMemoryError as error:
            rows = len(largest.indices)
            if rows == 1:
                advice = "Lower batches.block or model.max_len, or use a smaller model"
            elif split < ROW_MULTIPLE:
                advice = f"Set batches.micro_tokens={largest.positions // 2}"
            else:
                advice = "Raise batches.per_update"
            raise InputError(
                f"the largest micro-batch, {rows} rows of {largest.src_len} source and {largest.tgt_len} target "
                f"tokens, does not fit the memory of the device. {advice}"
            ) from error
        self.clear_gradient()

    def backward(self, batch: Batch, weight: float) -> Tensor:
        """Run forward and backward on one batch and add `weight` times its gradient. Return the sum of its losses."""
        loss = self._loss(self._parallel, batch, weight)
        self._backward(loss * weight)
        return loss.detach()

    def time_pass(self, batch: Batch) -> float:
        """Return the seconds of forward and backward on one batch, without sums over ranks. Delete the gradient."""
        started = time.perf_counter()
        self._loss(self.model, batch, weight=1.0).backward()
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        self.clear_gradient()
        return seconds

    def gradient_norm(self) -> Tensor:
        """Return the norm of the whole gradient, after dividing the gradient by the loss scale of fp16."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        return torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])

    def clear_gradient(self) -> None:
        """Delete the gradient, so that the next update does not add to it."""
        self.optimizer.zero_grad()

    def scaler_state(self) -> dict[str, Any] | None:
        """Return the loss scale of fp16 and its history. Return None in other precisions."""
        return None if self.scaler is None else self.scaler.state_dict()

    def restore_scaler(self, state: dict[str, Any] | None) -> None:
        """Restore the loss scale of a checkpoint."""
        if self.scaler is not None and state is not None:
            self.scaler.load_state_dict(state)

    def _loss(self, model: nn.Module, batch: Batch, weight: float) -> Tensor:
        """Return the sum of the losses of a batch. `weight` is the factor of the loss in the backward pass."""
        config = self.config.train
        with autocast(config.precision, self.accelerator.device):
            x_BLD = model(*batch.inputs, logits=False)
        scale = self._scaled(torch.full((), weight, device=x_BLD.device))
        dtype = half_dtype(config.precision)
        return linear_cross_entropy(x_BLD, self.model.output, batch.labels_BL, config.label_smoothing, dtype, scale)

    def _backward(self, loss: Tensor) -> None:
        self._scaled(loss).backward()

    def _scaled(self, value: Tensor) -> Tensor:
        return value if self.scaler is None else self.scaler.scale(value)

    def _decide(self, loss: float, norm: float) -> Kind:
        if math.isfinite(loss) and math.isfinite(norm):
            return "updated"
        # If the loss is finite and the scale can be lowered, a lower scale repairs the gradient.
        overflow = self.scaler is not None and math.isfinite(loss) and self.scaler.get_scale() > 1
        return "overflow" if overflow else "non-finite"

    def _apply(self, lr: float, norm: Tensor) -> None:
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.optimizer.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # Call optimizer.step() directly: GradScaler.step() would synchronise with the device again, to decide what is
        # already decided, and accelerate's step looks for optional packages each time.
        self.optimizer.step()

    def _rescale(self, kind: Kind) -> None:
        """Update the loss scale of fp16. A non-finite update leaves it as it is."""
        if self.scaler is not None:
            self.scaler.update(self.scaler.get_scale() if kind == "non-finite" else None)
