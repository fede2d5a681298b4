"""The check before an export: every setting of the model must be one that the other format has."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from common.errors import InputError
from transformer.config import ModelConfig

Values = tuple[Any, ...] | None
"""The values of a field that a format supports. None: all values, because sizes are exported as they are and some
fields matter in training only."""


def check_supported(config: ModelConfig, supported: Mapping[str, Values], name: str) -> None:
    """Raise InputError with the field if the format `name` does not support a setting of the model.

    A field that is not in `supported` must have its default: the format was written before the field existed.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        values = supported.get(field.name, (field.default,))
        if values is not None and value not in values:
            known = " or ".join(map(str, values))
            raise InputError(f"model.{field.name} is {value}, but {name} supports only {known}")
