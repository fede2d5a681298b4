"""Weights as named tensors: out of a model and into it, to a safetensors file, and the mean of several files."""

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import InputError, first_line


def get_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained weights by name, on the CPU, without buffers. A tied matrix appears once, under its first
    name."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


def set_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights into the model. Raises InputError as `check_tensors`."""
    check_tensors(model, tensors)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])


def check_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise InputError unless the tensors have the names and shapes of the model's weights, and are floating point.

    The model may be on the device `meta`, so that the check needs no memory.
    """
    parameters = dict(model.named_parameters())
    if odd := sorted(parameters.keys() ^ tensors.keys()):
        raise InputError(f"the tensor {odd[0]} is only in {'the weights' if odd[0] in tensors else 'the model'}")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise InputError(f"{name} has the shape {list(tensors[name].shape)}; it must be {list(parameter.shape)}")
        if not tensors[name].is_floating_point():
            kind = str(tensors[name].dtype).removeprefix("torch.")
            raise InputError(f"{name} has numbers of the type {kind}; weights must be floating point")


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError if it is damaged, FileNotFoundError without it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return load_file(str(path))
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {first_line(error)}. Restore it from a copy") from error


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file and flush it to the disk. Raises OSError, with its errno, if that fails."""
    try:
        path.touch()  # with the permissions of the user's umask; safetensors gives other users none
        mode = path.stat().st_mode
        save_file(tensors, str(path), metadata={"format": "pt"})
        path.chmod(mode)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except SafetensorError as error:  # contains the operating system's reason as text only
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        if "No space left" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def mean_weights(models: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Section 6.1: return the mean of the weights of several models, summed in double precision."""
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    count = 0
    for count, tensors in enumerate(models, start=1):
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or (name in total and tensor.shape != total[name].shape):
                raise InputError(f"{name} is not a weight, or its shape in model {count} differs from model 1")
            dtypes[name] = tensor.dtype
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    assert count, "no models to average"
    return {name: (tensor / count).to(dtypes[name]) for name, tensor in total.items()}
