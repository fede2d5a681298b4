"""How good the model is on the validation set while it trains."""

import math

import torch
from accelerate import Accelerator
from torch import nn

from train.distributed import new_sum, sum_over_ranks
from train.loss import smoothed_cross_entropy
from train.tasks import Task, block_length
from train.trainer import autocast


@torch.no_grad()
def validate(accelerator: Accelerator, model: nn.Module, task: Task, positions: int) -> dict[str, float]:
    """Loss without smoothing, per predicted token, and perplexity over the whole set, and what the task measures.

    `positions` bounds a batch. Each rank does its share; all get the same figures.
    """
    model.eval()
    loss = validation_loss(accelerator, model, task, positions)
    values = {"valid_loss": loss, "valid_ppl": math.exp(min(loss, 700))}
    values |= task.measure(accelerator, model, loss)
    model.train()
    return values


def validation_loss(accelerator: Accelerator, model: nn.Module, task: Task, positions: int) -> float:
    """Cross-entropy (nats) per predicted token over the validation set, `positions` at most computed at once."""
    total = new_sum(accelerator)
    valid = task.prepared.valid
    micro_batches = valid.micro_batches(positions, block_length(task.config))
    for micro_batch in micro_batches[accelerator.process_index :: accelerator.num_processes]:
        batch = valid.batch(micro_batch).to(accelerator.device)
        with autocast(task.config.train.precision, accelerator.device):
            logits_BLV = model(*batch.inputs)
        total += smoothed_cross_entropy(logits_BLV, batch.labels_BL, smoothing=0.0)
    return sum_over_ranks(accelerator, total.unsqueeze(0))[0] / valid.predicted_tokens
