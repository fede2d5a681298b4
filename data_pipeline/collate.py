"""Ids to padded tensors. The target is shifted here and nowhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_pipeline.arrays import ParallelIds
from data_pipeline.plan import NULL_ROW, Slice
from data_pipeline.tokenizer import BOS_ID, EOS_ID, PAD_ID

IGNORE = -100
"""Label of a position that is not predicted; `torch.nn.functional.cross_entropy` skips it."""


@dataclass(frozen=True)
class Batch:
    """`model(*inputs)` gives the logits that `labels_BL` are compared with."""

    inputs: tuple[Tensor, ...]
    labels_BL: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        inputs = tuple(x.to(device, non_blocking=True) for x in self.inputs)
        return Batch(inputs, self.labels_BL.to(device, non_blocking=True))


def collate(ids: ParallelIds, part: Slice) -> Batch:
    """Sentences of a slice as (source, source mask, target shifted right) and labels, padded to its shape.

    A source ends in EOS. The decoder reads BOS and the target without its EOS, and predicts the target with it.
    """
    n = len(part.rows)
    src_BM = torch.full((n, part.src_len), PAD_ID)
    tgt_BL = torch.full((n, part.tgt_len), PAD_ID)
    labels_BL = torch.full((n, part.tgt_len), IGNORE)
    tgt_BL[:, 0] = BOS_ID
    for i, row in enumerate(part.rows.tolist()):
        if row == NULL_ROW:
            src_BM[i, 0] = EOS_ID  # attention needs something to attend to
            continue
        src, tgt = (torch.from_numpy(side[row].astype("int64")) for side in (ids.src, ids.tgt))
        src_BM[i, : len(src)] = src
        tgt_BL[i, 1 : len(tgt)] = tgt[:-1]
        labels_BL[i, : len(tgt)] = tgt
    return Batch((src_BM, src_BM != PAD_ID, tgt_BL), labels_BL)
