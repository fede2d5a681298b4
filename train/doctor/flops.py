"""The work of learning, from the shapes of the matrices."""

from torch import nn

from transformer.config import ModelConfig
from transformer.model import GPT


def update_flops(model: nn.Module, shape: ModelConfig, block: int, source: float, target: float) -> float:
    """Floating-point operations of an update of so many source and target tokens."""
    of_source, of_target = token_flops(model, shape, block)
    return of_target * source if isinstance(model, GPT) else of_source * source + of_target * target


def token_flops(model: nn.Module, shape: ModelConfig, block: int) -> tuple[float, float]:
    """Floating-point operations to learn from a source token and from a target token.

    Six for each weight of a matrix that the token meets: two forward, four backward. Of the decoder, the keys and
    values of the cross-attention are computed for source tokens. For a GPT the attention's own products come on top
    (12 x layers x d x T); for pairs of sentences they are small, and left out.
    """
    source = target = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            of_source = name.startswith("encoder.") or name.endswith(("cross_attention.key", "cross_attention.value"))
            source += module.weight.numel() * of_source
            target += module.weight.numel() * (not of_source)
    if isinstance(model, GPT):
        return 0.0, 6.0 * target + 12.0 * shape.n_layers * shape.n_heads * shape.head_size * block
    return 6.0 * source, 6.0 * target
