"""Start from the weights of another model (`train.init_from`)."""

from dataclasses import asdict
from pathlib import Path

from torch import nn

from common.errors import InputError
from transformer.config import ModelConfig
from transformer.pretrained import find_folder, load_pretrained
from transformer.weights import get_weights, set_weights

FREE = ("dropout", "init")
"""What of the model may differ from the one it starts from: no weight depends on it."""


def start_from(name: str, model: nn.Module, config: ModelConfig, tokenizer_file: Path) -> None:
    """Give `model` the weights of the model folder or hub name `name`; `tokenizer_file` is the run's vocabulary.

    Raises ValueError where its vocabulary or its shape is another, FileNotFoundError where it is missing.
    """
    folder = find_folder(name)
    if (folder / "tokenizer.model").read_bytes() != tokenizer_file.read_bytes():
        raise InputError(
            f"train.init_from={name} has another vocabulary than this run: set data.tokenizer={name} to use its own"
        )
    source, theirs = load_pretrained(folder)
    wanted = asdict(config)
    differing = [
        f"model.{field} is {value} there and {wanted[field]} here"
        for field, value in asdict(theirs).items()
        if value != wanted[field] and field not in FREE
    ]
    if differing:
        raise InputError(
            f"train.init_from={name} is a model of another shape, whose settings this run must take: "
            f"{'; '.join(differing)}"
        )
    set_weights(model, get_weights(source))
