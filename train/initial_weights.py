"""Start from the weights of another model (`train.init_from`): finetuning."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.errors import InputError
from common.files import read_small
from transformer.config import ModelConfig
from transformer.pretrained import find_folder, load_pretrained
from transformer.weights import get_weights, set_weights

FREE = ("dropout", "init")
"""Settings of the model that may differ from those of the other model: no weight depends on them."""


def size_of(name: str) -> dict[str, Any]:
    """Return the sizes and the vocabulary of a model as settings of a run that starts from it."""
    _, model = load_pretrained(find_folder(name))
    sizes = {f"model.{field}": value for field, value in asdict(model).items() if field not in FREE}
    return sizes | {"data.tokenizer": name}


def mix_with(name: str, weights: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return weights of which `share` are those of another model: interpolation (Wortsman et al., 2022).

    Raises FileNotFoundError if there is no such model, and InputError if it has other sizes.
    """
    source, _ = load_pretrained(find_folder(name))
    others = get_weights(source)
    if {key: tensor.shape for key, tensor in others.items()} != {key: own.shape for key, own in weights.items()}:
        raise InputError(f"{name} has other sizes than this run. Set checkpoints.parent_share=0")
    return {key: own.lerp(others[key].to(own.dtype), share) for key, own in weights.items()}


def start_from(name: str, model: nn.Module, config: ModelConfig, tokenizer_file: Path) -> None:
    """Copy the weights of another model into `model`.

    Args:
        name: model folder, or a name on the Hugging Face Hub.
        tokenizer_file: vocabulary of this run.

    Raises:
        InputError: the other model has another vocabulary or other sizes.
        FileNotFoundError: there is no such model.
    """
    folder = find_folder(name)
    if read_small(folder / "tokenizer.model") != tokenizer_file.read_bytes():
        raise InputError(
            f"train.init_from={name} has another vocabulary than this run. Set data.tokenizer={name} to use its own"
        )
    source, source_config = load_pretrained(folder)
    own = asdict(config)
    needed = [
        f"model.{field}={value} (this run has {own[field]})"
        for field, value in asdict(source_config).items()
        if value != own[field] and field not in FREE
    ]
    if needed:
        raise InputError(f"train.init_from={name} is a model with other settings. Set {', '.join(needed)}")
    set_weights(model, get_weights(source))
