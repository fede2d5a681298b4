"""One update: forward and backward of its slices, one look at the sums of all ranks, and Adam's step.

A loss or a gradient that is not finite never reaches the weights. The decision is made from the reduced values, read
by the host once an update, so that all ranks decide alike.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data_pipeline.examples import Batch
from data_pipeline.micro_batches import Update
from train.config import RunConfig
from train.distributed import new_sum, seed_dropout, sum_over_ranks
from train.loss import smoothed_cross_entropy
from train.schedule import learning_rate


@dataclass(frozen=True)
class Outcome:
    """What became of an update; equal on all ranks."""

    kind: Literal["learned", "overflow", "bad"]
    """`overflow`: the gradient of fp16 was scaled too high; it is left out, as always in fp16, and the scale lowered.
    `bad`: the loss or the gradient is not finite. In both cases the gradient is still there to be looked at."""
    loss: float
    """Nats per target token, smoothing included."""
    gradient_norm: float
    """Of the whole gradient, before it is clipped."""
    lr: float
    asked: list[float]
    """How many ranks asked for each of the things that were asked for."""

    def values(self) -> dict[str, float]:
        """What is logged: finite numbers only, for JSON has no others."""
        values = {"loss": self.loss, "gradient_norm": self.gradient_norm, "lr": self.lr}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        return finite if self.kind == "learned" else finite | {"skipped": 1}


class Updater:
    """Model and optimizer on this rank's device, and their changes."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator, config: RunConfig
    ) -> None:
        self.model, self.optimizer, self.accelerator, self.config = model, optimizer, accelerator, config
        trained: nn.Module = torch.compile(model) if config.train.compile else model  # type: ignore[assignment]
        self._parallel = accelerator.prepare(trained, optimizer)[0]

    def learn(self, update: Update, batches: list[Batch], asked: Callable[[], Sequence[bool]]) -> Outcome:
        """Make an update from this rank's batches.

        `asked` gives questions of the ranks to one another, which travel with the sums. After an update that was not
        learned the caller must `forget` the gradient.
        """
        predicted = max(1, update.predicted_tokens)  # all of an update may be given text
        # DDP averages gradients over ranks, so each weighs its sum by their number.
        weight = self.accelerator.num_processes / predicted
        total = new_sum(self.accelerator)
        for i, batch in enumerate(batches):
            seed_dropout(batch.dropout_seed, self.accelerator.device)
            last = i == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self._parallel):
                total += self.backward(batch.to(self.accelerator.device), weight)
        norm = self.gradient_norm()
        mean = norm.to(total.dtype) / self.accelerator.num_processes  # the norm is equal on all ranks
        flags = [torch.full_like(total, one) for one in asked()]
        loss_sum, norm_sum, *asked_sums = sum_over_ranks(self.accelerator, torch.stack([total, mean, *flags]))
        rate = learning_rate(update.step + 1, self.config.schedule, self.config.model.d_model)
        kind = self._judge(loss_sum, norm_sum)
        if kind == "learned":
            self._step(rate, norm)
            self.forget()
        self._rescale(kind)
        return Outcome(kind, loss_sum / predicted, norm_sum, rate, asked_sums)

    def backward(self, batch: Batch, weight: float) -> Tensor:
        """Forward and backward of one batch; `weight` times its gradient is added. Returns the sum of its losses."""
        logits_BLV = self._parallel(*batch.inputs)
        loss = smoothed_cross_entropy(logits_BLV, batch.labels_BL, self.config.train.label_smoothing)
        self.accelerator.backward(loss * weight)
        return loss.detach()

    def gradient_norm(self) -> Tensor:
        """Norm of the whole gradient, which is first freed of the loss scale of fp16."""
        self.accelerator.unscale_gradients()
        return torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])

    def forget(self) -> None:
        """Drop the gradient."""
        self.optimizer.zero_grad()

    def scaler_state(self) -> dict[str, Any] | None:
        """The loss scale of fp16 and its history; None in other precisions."""
        return None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict()

    def restore_scaler(self, state: dict[str, Any] | None) -> None:
        """Go on with the loss scale of a checkpoint."""
        if self.accelerator.scaler is not None and state is not None:
            self.accelerator.scaler.load_state_dict(state)

    def _judge(self, loss: float, norm: float) -> Literal["learned", "overflow", "bad"]:
        if math.isfinite(loss) and math.isfinite(norm):
            return "learned"
        # Where the loss itself is finite and the scale can still be lowered, lowering it is the cure.
        scaler = self.accelerator.scaler
        return "overflow" if scaler is not None and math.isfinite(loss) and scaler.get_scale() > 1 else "bad"

    def _step(self, rate: float, norm: Tensor) -> None:
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.optimizer.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Neither through the loss scaler, which would wait for the device once more to decide what is decided, nor
        # through accelerate, whose own step looks for optional packages each time.
        self.optimizer.step()

    def _rescale(self, kind: Literal["learned", "overflow", "bad"]) -> None:
        """Let the loss scaler of fp16 learn of the gradient that it unscaled; a bad update teaches it nothing."""
        if (scaler := self.accelerator.scaler) is not None:
            scaler.update(scaler.get_scale() if kind == "bad" else None)
