"""A model that may be in the middle of its training, used for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off, then as before: the trainer's model is in train mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
