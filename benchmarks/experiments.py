"""`train/train.py` with one change that the trainer does not offer, for measurements.

    python -m benchmarks.experiments no-all-reduce --config configs/demo.yaml

The changes: gradients that are not summed over ranks (each rank trains its own model; only for timing); ranks that wait
5 seconds instead of an hour for one another; R-Drop; and means of the weights, validated beside the weights.
"""

import runpy
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import InitProcessGroupKwargs
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from data_pipeline.examples import IGNORE, Batch
from train import distributed, loop, validation
from train.loss import smoothed_cross_entropy
from train.trainer import Trainer, autocast

TIMEOUT = 5
"""Seconds that a rank waits for another one under `short-timeout`."""
R_DROP = 5.0
"""Alpha of R-Drop, from its authors' experiments in translation."""
EMA = 0.98
"""Decay of the exponential mean of the weights, over about 50 updates."""
MEAN_OF, MEAN_SHARE = 10, 0.28
"""Number of averaged checkpoints, and the share of the training that they cover, as in configs/multi30k.yaml."""
MEANS = (f"ema {EMA}", f"mean of {MEAN_OF}")


def main() -> None:
    """Run the training command with the change."""
    change, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    with CHANGES[change]:
        runpy.run_path(str(Path(__file__).resolve().parent.parent / "train/train.py"), run_name="__main__")


class RDrop(Trainer):
    """Compute every batch twice with different dropout, and pull both distributions together (Liang et al., 2021,
    Eq. 4)."""

    def backward(self, batch: Batch, weight: float) -> Tensor:
        """Half the sum of both cross-entropies, and alpha / 2 of half the divergences in both directions."""
        with autocast(self.config.train.precision, self.accelerator.device):
            logits_BLV = self._parallel(*(torch.cat([x, x]) for x in batch.inputs))
        labels_BL = torch.cat([batch.labels_BL, batch.labels_BL])
        loss = smoothed_cross_entropy(logits_BLV, labels_BL, self.config.train.label_smoothing) / 2
        real = batch.labels_BL != IGNORE
        exact = torch.promote_types(logits_BLV.dtype, torch.float32)
        logp_NV, logq_NV = (half[real].log_softmax(-1, dtype=exact) for half in logits_BLV.chunk(2))
        pairs = ((logp_NV, logq_NV), (logq_NV, logp_NV))
        divergence = sum(F.kl_div(a, b, reduction="sum", log_target=True) for a, b in pairs)
        self._backward((loss + R_DROP / 4 * divergence) * weight)
        return loss.detach()


class Means(Trainer):
    """Keep means of the weights; training does not change."""

    newest: "Means"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps = 0
        self.every = max(1, round(self.config.train.max_steps * MEAN_SHARE / MEAN_OF))
        self.ema = self.copy()
        self.kept: deque[list[Tensor]] = deque(maxlen=MEAN_OF)
        Means.newest = self

    def _apply(self, lr: float, norm: Tensor) -> None:
        super()._apply(lr, norm)
        self.steps += 1
        # A smaller decay in the first updates, so that the mean forgets the random initialisation.
        decay = min(EMA, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.ema, list(self._weights()), 1 - decay)
        if (self.config.train.max_steps - self.steps) % self.every == 0:
            self.kept.append(self.copy())

    def _weights(self) -> Iterator[Tensor]:
        return (parameter.data for parameter in self.model.parameters())

    def copy(self) -> list[Tensor]:
        """Return a copy of the weights."""
        return [weight.clone() for weight in self._weights()]

    def means(self) -> dict[str, list[Tensor]]:
        """Return the exponential mean and the mean of the last copies, by name."""
        mean = [torch.stack(copies).mean(0) for copies in zip(*self.kept, strict=True)]
        return dict(zip(MEANS, (self.ema, mean), strict=True)) if mean else {MEANS[0]: self.ema}

    def put(self, weights: Sequence[Tensor]) -> None:
        """Write weights into the model."""
        for own, other in zip(self._weights(), weights, strict=True):
            own.copy_(other)


@contextmanager
def means() -> Iterator[None]:
    """Validate the means of the weights beside the weights."""

    def validate(accelerator: Any, model: Any, *rest: Any) -> validation.Validation:
        found = validation.validate(accelerator, model, *rest)
        values = found.values
        trainer = Means.newest
        own = trainer.copy()
        for name, weights in trainer.means().items():
            trainer.put(weights)
            of_mean = validation.validate(accelerator, model, *rest).values
            values = values | {f"{name} {key}": value for key, value in of_mean.items()}
        trainer.put(own)
        return replace(found, values=values)

    with mock.patch.object(loop, "Trainer", Means), mock.patch.object(loop, "validate", validate):
        yield


NEVER = property(lambda self: False, lambda self, value: None)
CHANGES: dict[str, AbstractContextManager[Any]] = {
    "no-all-reduce": mock.patch.object(DistributedDataParallel, "require_backward_grad_sync", NEVER, create=True),
    "short-timeout": mock.patch.object(
        distributed,
        "InitProcessGroupKwargs",
        return_value=InitProcessGroupKwargs(timeout=timedelta(seconds=TIMEOUT)),
    ),
    "r-drop": mock.patch.object(loop, "Trainer", RDrop),
    "means": means(),
}

if __name__ == "__main__":
    main()
