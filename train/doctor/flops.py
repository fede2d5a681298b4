"""Floating-point operations of training, computed from the shapes of the weight matrices."""

from torch import nn

from transformer.config import ModelConfig


def update_flops(model: nn.Module, shape: ModelConfig, block: int, source: float, target: float) -> float:
    """Return the floating-point operations of an update of `source` and `target` tokens; a GPT reads `source` only."""
    of_source, of_target = token_flops(model, shape, block)
    return of_source * source + of_target * target


def token_flops(model: nn.Module, shape: ModelConfig, block: int) -> tuple[float, float]:
    """Return the floating-point operations of training per source token and per target token.

    Six per weight of each matrix that a token is multiplied with: two forward, four backward. In the decoder, the keys
    and values of the cross-attention are computed for source tokens. For a GPT, all tokens count as source tokens, and
    the products inside the attention are added: 12 x layers x d x T with blocks of T tokens. For sentence pairs these
    products are small and omitted.
    """
    source = target = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            of_source = name.startswith("encoder.") or name.endswith(("cross_attention.key", "cross_attention.value"))
            source += module.weight.numel() * of_source
            target += module.weight.numel() * (not of_source)
    if not source:  # no encoder: a GPT
        return 6.0 * target + 12.0 * shape.n_layers * shape.n_heads * shape.head_size * block, 0.0
    return 6.0 * source, 6.0 * target
