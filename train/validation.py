"""Validation while training: loss, perplexity, and what the task measures."""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from train.distributed import new_sum, sum_over_ranks
from train.loss import smoothed_cross_entropy
from train.setup import Setup, block_length
from train.tasks import SampleTranslation, measure
from train.trainer import autocast


@dataclass(frozen=True)
class Validation:
    """Result of a validation. Equal on all ranks."""

    values: dict[str, float]
    """Loss without label smoothing (nats per predicted token), perplexity, and the measures of the task."""
    translations: list[SampleTranslation]
    """Translations that BLEU was measured on; [] if it was not."""


@torch.no_grad()
def validate(accelerator: Accelerator, model: nn.Module, setup: Setup, positions: int) -> Validation:
    """Return the loss of the validation examples, and the measures of the task.

    Each rank computes its micro-batches, of at most `positions` token positions. All ranks get the same values.
    """
    model.eval()
    loss = validation_loss(accelerator, model, setup, positions)
    values = {"valid_loss": loss, "valid_ppl": math.exp(min(loss, 700))}
    measured, translations = measure(setup, accelerator, model, loss)
    model.train()
    return Validation(values | measured, translations)


def validation_loss(accelerator: Accelerator, model: nn.Module, setup: Setup, positions: int) -> float:
    """Return the cross-entropy of the validation examples in nats per predicted token, summed over all ranks."""
    total, valid = new_sum(accelerator), setup.prepared.valid
    micro_batches = valid.micro_batches(positions, block_length(setup.config))
    for micro_batch in micro_batches[accelerator.process_index :: accelerator.num_processes]:
        batch = valid.batch(micro_batch).to(accelerator.device)
        with autocast(setup.config.train.precision, accelerator.device):
            logits_BLV = model(*batch.inputs)
        total += smoothed_cross_entropy(logits_BLV, batch.labels_BL, smoothing=0.0)
    return sum_over_ranks(accelerator, total.unsqueeze(0))[0] / valid.predicted_tokens
