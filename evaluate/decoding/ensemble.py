"""Several models as one: their states side by side, and the mean of their probabilities.

All models must have one vocabulary. The cost is the sum of the models' costs, in time and in memory.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, assert_never

import torch
from torch import Tensor

from evaluate.config import EnsembleMean
from evaluate.decoding.search import State, log_probs

Step = Callable[[Tensor, Any], Tensor]
"""Next tokens (N,) and state to logits (N, V)."""


class EnsembleState:
    """The decoding states of several models, whose rows are the same hypotheses."""

    def __init__(self, states: Sequence[State]) -> None:
        self.states = states

    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Set row i of every state to its old row index_N[i]."""
        for state in self.states:
            state.reorder(index_N, same_sentences)


def ensemble_step(steps: Sequence[Step], mean: EnsembleMean) -> Step:
    """Return the step of an ensemble: the mean of what the steps of its models predict."""

    def step(tokens_N: Tensor, state: EnsembleState) -> Tensor:
        logits = [step(tokens_N, own) for step, own in zip(steps, state.states, strict=True)]
        return mean_log_probs(logits, mean)

    return step


def mean_log_probs(logits: Sequence[Tensor], mean: EnsembleMean) -> Tensor:
    """Return the log-probabilities (..., V) of an ensemble in fp32, from the logits of its models.

    `log-probabilities`: the geometric mean of the probabilities, normalised. A token needs all models.
    `probabilities`: their arithmetic mean. A token needs one model.
    """
    logp = torch.stack([log_probs(own) for own in logits])
    match mean:
        case "log-probabilities":
            return logp.mean(0).log_softmax(-1)
        case "probabilities":
            return logp.logsumexp(0) - math.log(len(logits))
        case unknown:
            assert_never(unknown)
