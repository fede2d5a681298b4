"""Section 5.4: cross-entropy against smoothed labels, summed over tokens."""

import torch
from torch import Tensor
from torch.nn import functional as F

from data_pipeline.collate import IGNORE


def smoothed_cross_entropy(logits_BLV: Tensor, labels_BL: Tensor, smoothing: float) -> Tensor:
    """Sum over target tokens of the cross-entropy against (1 - smoothing) one-hot + smoothing uniform.

    The uniform part is over the whole vocabulary (Szegedy et al. 2015, which the paper cites). Positions
    labelled `IGNORE` count nothing. A sum, since only an update knows how many tokens to divide by: the mean
    of means over batches of unequal sizes is wrong. In fp32 at least, whatever the logits are in.
    """
    logits = logits_BLV.flatten(0, 1)
    if logits.dtype != torch.float64:
        logits = logits.float()
    return F.cross_entropy(logits, labels_BL.flatten(), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
