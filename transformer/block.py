"""Section 3.1: the block that encoder, decoder and GPT are stacks of."""

from collections.abc import Callable, Sequence
from typing import assert_never

from torch import Tensor, nn

from transformer.attention import MultiHeadAttention
from transformer.cache import DecodingState, KVCache, Memory
from transformer.config import ModelConfig
from transformer.dropout import Dropout
from transformer.layers import make_feed_forward, make_norm


class Residual(nn.Module):
    """Residual connection, dropout and layer normalisation around a sub-layer (sections 3.1 and 5.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.dropout = Dropout(config.dropout)
        match config.norm:
            case "post":
                self.pre_norm = False
            case "pre":  # Differs from the paper: Xiong et al. (2020), section 3
                self.pre_norm = True
            case unknown:
                assert_never(unknown)

    def forward(self, x_BLD: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply the sub-layer: (B, L, D) to (B, L, D)."""
        if self.pre_norm:
            return x_BLD + self.dropout(sublayer(self.norm(x_BLD)))
        return self.norm(x_BLD + self.dropout(sublayer(x_BLD)))  # LayerNorm(x + Sublayer(x))

    def step(self, x_ND: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply the sub-layer to one token per row. Equals `forward` in eval mode."""
        if self.pre_norm:
            return x_ND + sublayer(self.norm.forward(x_ND))
        return self.norm.forward(x_ND + sublayer(x_ND))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the encoder (in the decoder only) and feed-forward network (Figure 1)."""

    def __init__(self, config: ModelConfig, *, causal: bool, cross_attention: bool) -> None:
        super().__init__()
        self.causal = causal
        self.self_attention = MultiHeadAttention(config, rotary=config.positions == "rotary")
        self.self_residual = Residual(config)
        self.cross_attention = MultiHeadAttention(config) if cross_attention else None
        self.cross_residual = Residual(config) if cross_attention else None
        self.feed_forward = make_feed_forward(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self,
        x_BLD: Tensor,
        *,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Apply the sub-layers: (B, L, D) to (B, L, D). Masks are those of `MultiHeadAttention.forward`."""
        x_BLD = self.self_residual(x_BLD, lambda x: self.self_attention(x, mask=mask, causal=self.causal, cache=cache))
        if self.cross_attention is not None and self.cross_residual is not None:
            attend = self.cross_attention
            x_BLD = self.cross_residual(x_BLD, lambda x: attend(x, memory, mask=memory_mask))
        return self.feed_forward_residual(x_BLD, self.feed_forward)

    def step(self, x_ND: Tensor, cache: KVCache, memory: Memory | None, bias_BG1M: Tensor | None) -> Tensor:
        """Apply the sub-layers to one new token per row: (N, D) to (N, D). Equals `forward` with a cache."""
        x_ND = self.self_residual.step(x_ND, lambda x: self.self_attention.step(x, cache))
        if self.cross_attention is not None and self.cross_residual is not None:
            assert memory is not None
            assert bias_BG1M is not None
            attend = self.cross_attention.step_to_memory
            x_ND = self.cross_residual.step(x_ND, lambda x: attend(x, memory, bias_BG1M))
        return self.feed_forward_residual.step(x_ND, self.feed_forward.step)


class Stack(nn.Module):
    """N blocks (section 3.1). Pre-norm adds a final norm, because the last residual sum is not normalised."""

    def __init__(self, config: ModelConfig, layers: int, *, causal: bool, cross_attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(config, causal=causal, cross_attention=cross_attention) for _ in range(layers)
        )
        self.norm = make_norm(config) if config.norm == "pre" else nn.Identity()

    def forward(
        self,
        x_BLD: Tensor,
        *,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        caches: Sequence[KVCache] | None = None,
    ) -> Tensor:
        """Apply all blocks: (B, L, D) to (B, L, D).

        Args:
            memory: the encoder's output.
            caches: one per block, for the tokens before x and those of x.
        """
        for i, block in enumerate(self.blocks):
            x_BLD = block(
                x_BLD,
                mask=mask,
                memory=memory,
                memory_mask=memory_mask,
                cache=None if caches is None else caches[i],
            )
        return self.norm(x_BLD)

    def step(self, x_ND: Tensor, state: DecodingState) -> Tensor:
        """Apply all blocks to one new token per row: (N, D) to (N, D)."""
        for block, cache, memory in zip(self.blocks, state.caches, state.memories, strict=True):
            assert isinstance(block, TransformerBlock)
            x_ND = block.step(x_ND, cache, memory, state.memory_bias_BG1M)
        return self.norm.forward(x_ND)
