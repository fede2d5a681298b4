"""Use a model for a moment that may be in training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, then restore the mode: during training, the model is in train mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
