"""First weights. The paper does not describe them; docs/paper.md, section 4, explains the choice."""

import math
from collections.abc import Callable
from typing import Any, assert_never

from torch import nn
from torch.overrides import TorchFunctionMode

from transformer.config import ModelConfig
from transformer.layers import Embedding


class NoFirstWeights(TorchFunctionMode):
    """Leave out the drawing of random weights, for a model whose weights are read from a file."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.__name__.endswith(("normal_", "uniform_")):
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Draw the first weights as `config.init` says. The gains of norms stay 1 and their biases 0."""
    match config.init:
        case "xavier":
            _initialise_as_tensor2tensor(model, config)
        case "gpt2":  # Differs from the paper's code: Radford et al. (2019), section 2.3
            _initialise_as_gpt2(model, config)
        case unknown:
            assert_never(unknown)


def _initialise_as_tensor2tensor(model: nn.Module, config: ModelConfig) -> None:
    """Use Xavier for every matrix, 0 for biases, N(0, 1/d_model) for embeddings, positions and an untied output.

    These are the values of tensor2tensor, the authors' code. Multiplied by sqrt(d_model), the embeddings have
    variance 1, so the positions do not outweigh them.
    """
    std = config.d_model**-0.5
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Embedding) and isinstance(module.positions, nn.Parameter):
            nn.init.normal_(module.positions, std=std)
    for module in model.modules():  # last, because a tied matrix also belongs to a Linear
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
    if config.tying == "none":
        nn.init.normal_(model.get_parameter("output.weight"), std=std)


def _initialise_as_gpt2(model: nn.Module, config: ModelConfig) -> None:
    """Use N(0, 0.02) for every matrix and 0 for biases.

    Matrices that write into the residual sum get N(0, 0.02 / sqrt(2 N)), so that the sum over all sub-layers of the N
    blocks does not grow with their number.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.out.weight", "feed_forward.outer.weight")):
            layers = config.decoder_layers if name.startswith("decoder.") else config.n_layers
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers))
        elif parameter.dim() == 2:  # the other matrices, embeddings and learned positions
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
