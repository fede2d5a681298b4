"""Weights of a model folder in 8 bits: matrices become int8 with a scale for each row, vectors stay in fp32.

`weights` in `config.json` names the format. The folder is about a quarter of the size. Loading gives fp32 weights.
"""

import torch
from torch import Tensor

from common.errors import InputError

FORMATS = (None, "int8")
"""What `weights` in `config.json` can be. If the field is absent (None), tensors are stored in their own type."""
SCALE = ".scale"
"""Ends the name of a matrix's scales, which have the shape (rows, 1)."""
LARGEST = 127


def check_format(where: str, name: object) -> None:
    """Raise InputError, which begins with `where`, unless this version reads weights in the format `name`."""
    if name not in FORMATS:
        raise InputError(
            f"{where} is {name!r:.60}; this version reads int8, or weights without this field. "
            "Use the version of paper-transformer that wrote the folder."
        )


def to_int8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with each matrix as int8 and its scales. The error of a weight is at most half a scale.

    Raises InputError if a weight is not finite.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        wide = tensor.float()
        if not wide.isfinite().all():
            raise InputError(f"{name} has weights that are not finite, which 8 bits cannot store")
        if wide.dim() != 2:
            stored[name] = wide
            continue
        scale = wide.abs().amax(dim=1, keepdim=True) / LARGEST
        stored[name + SCALE] = scale
        smallest = torch.finfo(torch.float32).tiny  # a row of zeros has the scale 0
        stored[name] = (wide / scale.clamp(min=smallest)).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return stored


def to_float(stored: dict[str, Tensor], name: str | None) -> dict[str, Tensor]:
    """Return the weights of tensors in the format `name`. Raises InputError if the scales do not fit the matrices."""
    if name is None:
        return stored
    matrices = {key for key, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {key for key in stored if key.endswith(SCALE) and key not in matrices}
    if odd := sorted({key + SCALE for key in matrices} ^ scales):
        raise InputError(f"{odd[0]} {'has no matrix' if odd[0] in scales else 'is missing'}")
    for key in sorted(matrices):
        _check_scale(key, stored[key], stored[key + SCALE])
    return {
        key: tensor.float() * stored[key + SCALE].float() if key in matrices else tensor
        for key, tensor in stored.items()
        if key not in scales
    }


def _check_scale(name: str, matrix: Tensor, scale: Tensor) -> None:
    if matrix.dim() != 2 or scale.shape != (len(matrix), 1) or not scale.is_floating_point():
        raise InputError(f"{name + SCALE} does not have a scale for each row of {name}")
    if not scale.isfinite().all() or (scale < 0).any():
        raise InputError(f"{name + SCALE} has scales that are negative or not finite")
