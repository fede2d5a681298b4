"""Check that the configured model can be trained: it must overfit on one small batch, at its own learning rate."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from data_pipeline.examples import IGNORE, Batch
from train.config import RunConfig
from train.doctor.findings import Finding
from train.loss import smoothed_cross_entropy
from train.optimizer import make_optimizer
from train.schedule import learning_rate
from transformer.model import GPT, Transformer, build

NEAR_ZERO = 0.05
"""The loss must fall to this share of the first loss, above the smallest possible loss."""
DIVERGED = 3.0
"""Training stops if the loss is this many times the first loss."""
UPDATES = 300
WARM_UP = 60
"""Updates over which the learning rate grows. With 20, the six post-norm layers of the base model diverged at a
learning rate of 0.001: the loss was 4.3 after 66 updates. With 60, they fit the batch at the base model's 0.0007."""
FEWEST = 100
"""Number of updates after which a loss that has not fallen shows an error."""
SECONDS = 60.0
"""Limit of CPU time over all threads. It does not depend on other programs that use the CPU."""


@dataclass(frozen=True)
class Overfitting:
    """Result of training on one batch."""

    rate: float
    """Highest learning rate of the schedule, reached after `WARM_UP` updates."""
    losses: list[float]
    """Loss before each update and after the last one, in nats per predicted token."""
    goal: float
    """The model fits the batch if the last loss is below this."""
    timed_out: bool

    @property
    def undecided(self) -> bool:
        """True if more time could have changed the result: the loss was falling, or there were few updates."""
        return self.timed_out and (self.losses[-1] < 0.8 * self.losses[0] or len(self.losses) < FEWEST)

    @property
    def reached(self) -> float:
        """Highest learning rate that was used."""
        return self.rate * min(1.0, (len(self.losses) - 1) / WARM_UP)

    @property
    def succeeded(self) -> bool:
        """True if the last loss is near the smallest possible loss."""
        return self.losses[-1] < self.goal

    def __str__(self) -> str:
        return f"from {self.losses[0]:.2f} to {self.losses[-1]:.2f} in {len(self.losses) - 1} updates"


def learning_findings(config: RunConfig, batch: Batch) -> Iterator[Finding]:
    """Overfit on a batch without dropout and label smoothing, with the optimizer and highest learning rate of the run.

    If that fails, a learning rate that suits the width of the model shows whether the learning rate or the model is
    the cause. Finetuning (`train.init_from`) has low learning rates on purpose, so only that second rate is tried.
    """
    settings, device = config.train, batch.labels_BL.device
    peak_step = min(config.schedule.warmup_steps, settings.max_steps)
    highest = learning_rate(peak_step, config.schedule, config.model.d_model)
    safe = min(3e-3, 0.5 / config.model.d_model)

    def try_rate(rate: float) -> Overfitting:
        torch.manual_seed(settings.seed)
        model = build(replace(config.model, dropout=0.0)).to(device)
        return overfit(model, make_optimizer(model, config.optimizer), batch, rate, UPDATES)

    first = try_rate(safe if settings.init_from else highest)
    if first.succeeded or first.rate == safe:
        yield check_overfitting(first)
        return
    second = try_rate(safe)
    yield check_overfitting(second)
    if second.succeeded:
        yield check_rate(first, safe)


def check_overfitting(result: Overfitting) -> Finding:
    """Check that the model fitted the batch."""
    message = f"loss of one small batch {result}, at learning rates up to {result.reached:.2g}"
    if result.succeeded:
        return Finding("overfitting", "ok", message)
    if result.undecided:
        return Finding("overfitting", "warning", f"{message}; the time limit ended the check", "try a faster device")
    advice = "the model cannot fit even these rows: check the labels, the masks, and that all weights get gradients"
    return Finding("overfitting", "error", f"{message}; it should fall below {result.goal:.2f}", advice)


def check_rate(result: Overfitting, safe: float) -> Finding:
    """Return a finding about a learning rate that failed where the learning rate `safe` succeeded."""
    message = (
        f"at {result.rate:.2g}, the highest learning rate of the schedule, the loss of the batch went {result}; "
        f"at {safe:.2g} the model fits the batch"
    )
    if result.undecided:
        return Finding("learning rate", "warning", f"{message} (the time limit ended the check)", "try a faster device")
    advice = "too high: lower" if result.rate > safe else "too low: raise"
    return Finding("learning rate", "error", message, f"it is {advice} schedule.scale (or schedule.peak_lr)")


def overfit(
    model: Transformer | GPT,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    updates: int,
) -> Overfitting:
    """Train a model without dropout on one batch, until it fits the batch, diverges, or the time is over."""
    tokens = int((batch.labels_BL != IGNORE).sum())
    floor, started = least_loss(batch), time.process_time()
    losses: list[float] = []
    for step in range(updates + 1):
        loss = smoothed_cross_entropy(model(*batch.inputs), batch.labels_BL, 0.0) / tokens
        losses.append(loss.item())
        goal = floor + NEAR_ZERO * losses[0]
        timed_out = time.process_time() - started > SECONDS
        diverged = not losses[-1] < DIVERGED * losses[0]
        fits = losses[-1] < goal and step >= WARM_UP  # it must still fit at the full learning rate
        if fits or diverged or timed_out or step == updates:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return Overfitting(rate, losses, goal, timed_out)


def least_loss(batch: Batch) -> float:
    """Return the smallest possible loss in nats per predicted token: equal prefixes may continue differently."""
    *context, tokens_BL = (x.cpu() for x in batch.inputs)
    labels_BL = batch.labels_BL.cpu()
    found: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
    for row in range(labels_BL.size(0)):
        source = tuple(tuple(x[row].tolist()) for x in context)
        tokens, labels = tokens_BL[row].tolist(), labels_BL[row].tolist()
        for i, label in enumerate(labels):
            if label != IGNORE:
                found[source, tuple(tokens[: i + 1])][label] += 1
    total = sum(counter.total() for counter in found.values())
    return -sum(n * float(np.log(n / c.total())) for c in found.values() for n in c.values()) / max(1, total)
