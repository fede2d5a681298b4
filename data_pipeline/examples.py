"""Ids to padded tensors. The target is shifted here and nowhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_pipeline.batch_plan import NULL_ROW, Slice
from data_pipeline.token_store import ParallelIds
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID

IGNORE = -100
"""Label of a position that is not predicted; `torch.nn.functional.cross_entropy` skips it."""


@dataclass(frozen=True)
class Batch:
    """`model(*inputs)` gives the logits that `labels_BL` are compared with."""

    inputs: tuple[Tensor, ...]
    labels_BL: Tensor

    def ready_for(self, device: torch.device) -> "Batch":
        """The same batch where `to(device)` need not wait: in pinned memory, which a GPU fetches by itself."""
        if device.type != "cuda":
            return self
        return Batch(tuple(x.pin_memory() for x in self.inputs), self.labels_BL.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        inputs = tuple(x.to(device, non_blocking=True) for x in self.inputs)
        return Batch(inputs, self.labels_BL.to(device, non_blocking=True))


def collate(ids: ParallelIds, part: Slice) -> Batch:
    """Sentences of a slice as (source, source mask, target shifted right) and labels, padded to its shape.

    A source ends in EOS. The decoder reads BOS and the target without its EOS, and predicts the target with it.
    """
    src_BM = torch.from_numpy(ids.src.table(part.rows, part.src_len, PAD_ID))
    labels_BL = torch.from_numpy(ids.tgt.table(part.rows, part.tgt_len, IGNORE))
    src_BM[torch.from_numpy(part.rows == NULL_ROW), 0] = EOS_ID  # attention needs something to attend to
    tgt_BL = torch.full_like(labels_BL, PAD_ID)
    tgt_BL[:, 0] = BOS_ID
    tgt_BL[:, 1:] = labels_BL[:, :-1].where(labels_BL[:, 1:] != IGNORE, PAD_ID)
    return Batch((src_BM, src_BM != PAD_ID, tgt_BL), labels_BL)
