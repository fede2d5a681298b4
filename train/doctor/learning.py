"""Whether the model that a config names can learn at all, and at the rate of its schedule."""

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
"""Of the first loss: what a batch that is learned by heart may keep."""
DIVERGED = 3.0
"""Times the first loss."""
UPDATES = 300
WARM_UP = 60
"""Updates over which the rate grows. With 20, the base's six post-norm layers were thrown off at 0.001: loss 4.3
after 66 updates. With 60 they learn the batch at base's own 0.0007."""
FEWEST = 100
"""Updates after which a loss that has not fallen says something."""
SECONDS = 60.0
"""Of the processor's time, all threads together: a busy machine is no fault of the model."""


@dataclass(frozen=True)
class Lesson:
    """How learning one batch by heart went."""

    rate: float
    """The highest, reached after `WARM_UP` updates."""
    losses: list[float]
    goal: float
    ended_early: bool
    """The time was up."""

    @property
    def undecided(self) -> bool:
        """Whether more time could have changed the outcome: it was still learning, or had hardly begun."""
        return self.ended_early and (self.losses[-1] < 0.8 * self.losses[0] or len(self.losses) < FEWEST)

    @property
    def reached(self) -> float:
        """The highest rate that was used."""
        return self.rate * min(1.0, (len(self.losses) - 1) / WARM_UP)

    @property
    def learned(self) -> bool:
        """The loss came near the least that is possible."""
        return self.losses[-1] < self.goal

    def __str__(self) -> str:
        return f"from {self.losses[0]:.2f} to {self.losses[-1]:.2f} in {len(self.losses) - 1} updates"


def learning_findings(config: RunConfig, batch: Batch) -> Iterator[Finding]:
    """A few rows learned by heart without dropout and smoothing, by the run's optimizer at its highest rate.

    Where that fails, a rate that fits the model's width tells whether the rate is at fault or the model. Finetuning
    (`train.init_from`) has low rates on purpose, and is tried with that one only.
    """
    settings, device = config.train, batch.labels_BL.device
    highest = learning_rate(
        min(config.schedule.warmup_steps, settings.max_steps), config.schedule, config.model.d_model
    )
    sure = min(3e-3, 0.5 / config.model.d_model)

    def lesson(rate: float) -> Lesson:
        torch.manual_seed(settings.seed)
        model = build(replace(config.model, dropout=0.0)).to(device)
        return learn_by_heart(model, make_optimizer(model, config.optimizer), batch, rate, UPDATES)

    first = lesson(sure if settings.init_from else highest)
    if first.learned or first.rate == sure:
        yield check_overfit(first)
        return
    second = lesson(sure)
    yield check_overfit(second)
    if second.learned:
        yield check_rate(first, sure)


def check_overfit(lesson: Lesson) -> Finding:
    """Whether the rows were learned."""
    message = f"loss of one small batch {lesson}, at learning rates up to {lesson.reached:.2g}"
    if lesson.learned:
        return Finding("overfitting", "ok", message)
    if lesson.undecided:
        return Finding("overfitting", "note", f"{message}, then time was up", "try it on a faster device")
    cure = "the model cannot learn even these rows: look at the labels, the masks and whether all weights get gradients"
    return Finding("overfitting", "fault", f"{message}; it should fall below {lesson.goal:.2f}", cure)


def check_rate(lesson: Lesson, sure: float) -> Finding:
    """Says that the rate of the schedule did not do what a sure one did."""
    message = (
        f"at {lesson.rate:.2g}, the schedule's highest, the batch's loss went {lesson}; at {sure:.2g} it is learned"
    )
    if lesson.undecided:
        return Finding("learning rate", "note", f"{message} (time was up)", "try it on a faster device")
    too = "high: lower" if lesson.rate > sure else "low: raise"
    return Finding("learning rate", "fault", message, f"the rate is too {too} schedule.scale (or schedule.peak_lr)")


def learn_by_heart(
    model: Transformer | GPT,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    updates: int,
) -> Lesson:
    """Train the model on one batch until it knows it, or time is up. Give it a model without dropout."""
    tokens = int((batch.labels_BL != IGNORE).sum())
    floor, started = least_loss(batch), time.process_time()
    losses: list[float] = []
    for step in range(updates + 1):
        loss = smoothed_cross_entropy(model(*batch.inputs), batch.labels_BL, 0.0) / tokens
        losses.append(loss.item())
        goal = floor + NEAR_ZERO * losses[0]
        ended_early = time.process_time() - started > SECONDS
        diverged = not losses[-1] < DIVERGED * losses[0]
        known = losses[-1] < goal and step >= WARM_UP  # still, at the full rate
        if known or diverged or ended_early or step == updates:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return Lesson(rate, losses, goal, ended_early)


def least_loss(batch: Batch) -> float:
    """Nats per label that remain when all is learned: rows that begin alike may go on differently."""
    *given, tokens_BL = (x.cpu() for x in batch.inputs)
    labels_BL = batch.labels_BL.cpu()
    found: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
    for row in range(labels_BL.size(0)):
        source = tuple(tuple(x[row].tolist()) for x in given)
        tokens, labels = tokens_BL[row].tolist(), labels_BL[row].tolist()
        for i, label in enumerate(labels):
            if label != IGNORE:
                found[source, tuple(tokens[: i + 1])][label] += 1
    total = sum(counter.total() for counter in found.values())
    return -sum(n * float(np.log(n / c.total())) for c in found.values() for n in c.values()) / max(1, total)
