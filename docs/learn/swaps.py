"""The swaps of `docs/learn/what-if.md`: each one changes a part of the library's model from outside.

A class replaces the class of a module that exists already (`swap`), so the module keeps its weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from data_pipeline.tokenizers.sentence_piece import PAD_ID
from transformer.attention import MultiHeadAttention
from transformer.block import Residual
from transformer.model import Transformer


def swap(translator: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> None:
    """Give all modules of a class another class."""
    for module in translator.modules():
        if type(module) is old:
            module.__class__ = new


class Scored(MultiHeadAttention):
    """Eq. 1 written out, with a score that can be swapped. It keeps its last attention weights for inspection."""

    seen_BHLM: Tensor

    def score(self, q_BHLK: Tensor, k_BHMK: Tensor) -> Tensor:
        return q_BHLK @ k_BHMK.transpose(-2, -1) / math.sqrt(self.head_size)

    def _attend(self, q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        scores_BHLM = self.score(q_BHLK, k_BHMK)
        if causal:
            future_LM = torch.ones(scores_BHLM.shape[-2:], dtype=torch.bool).triu(diagonal=1)
            scores_BHLM = scores_BHLM.masked_fill(future_LM, -math.inf)
        if mask is not None:
            scores_BHLM = scores_BHLM.masked_fill(~mask, -math.inf)
        weights_BHLM = scores_BHLM.softmax(dim=-1)
        self.seen_BHLM = weights_BHLM.detach()
        return weights_BHLM @ v_BHMK


class Squared(Scored):
    def score(self, q_BHLK: Tensor, k_BHMK: Tensor) -> Tensor:
        return super().score(q_BHLK, k_BHMK) ** 2


class Negated(Scored):
    def score(self, q_BHLK: Tensor, k_BHMK: Tensor) -> Tensor:
        return -super().score(q_BHLK, k_BHMK)


class Unscaled(Scored):
    def score(self, q_BHLK: Tensor, k_BHMK: Tensor) -> Tensor:
        return q_BHLK @ k_BHMK.transpose(-2, -1)


class Additive(Scored):
    """Bahdanau et al. (2015): v tanh(q + k), with a vector v for each head."""

    v_HK: nn.Parameter

    def score(self, q_BHLK: Tensor, k_BHMK: Tensor) -> Tensor:
        return torch.einsum("bhlmk,hk->bhlm", (q_BHLK[:, :, :, None] + k_BHMK[:, :, None]).tanh(), self.v_HK)


class SeesTheFuture(Transformer):
    """The decoder's self-attention has only the mask of the padding."""

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor, *, logits: bool = True) -> Tensor:
        memory_BMD, tgt_mask_BL = self.encode(src_BM, src_mask_BM), tgt_BL != PAD_ID
        masks = {"mask": tgt_mask_BL[:, None, None], "memory_mask": src_mask_BM[:, None, None]}
        x_BLD = self.decoder(self.tgt_embedding(tgt_BL), memory=memory_BMD, **masks)
        return self.output(x_BLD) if logits else x_BLD


class NoResidual(Residual):
    def forward(self, x_BLD: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(self.dropout(sublayer(x_BLD)))


def score_by(kind: type[Scored]) -> Callable[[Transformer], None]:
    return lambda translator: swap(translator, MultiHeadAttention, kind)


def additive(translator: Transformer) -> None:
    swap(translator, MultiHeadAttention, Additive)
    for module in translator.modules():
        if isinstance(module, Additive):
            module.v_HK = nn.Parameter(torch.randn(module.heads, module.head_size) / math.sqrt(module.head_size))


def no_mask(translator: Any) -> None:
    swap(translator, Transformer, SeesTheFuture)
    for block in translator.decoder.blocks:
        block.causal = False


def blind_encoder(translator: Any) -> None:
    swap(translator, MultiHeadAttention, Scored)  # the library's attention takes a padding mask or `causal`, not both
    for block in translator.encoder.blocks:
        block.causal = True


def mask_turned_round(translator: Any) -> None:
    blind_encoder(translator)
    no_mask(translator)


def no_positions(translator: Any) -> None:
    translator.src_embedding.positions = translator.tgt_embedding.positions = None


def positions_in_first_layer(translator: Transformer) -> None:
    positions_LD = translator.src_embedding.positions
    assert positions_LD is not None
    no_positions(translator)
    for stack in (translator.encoder, translator.decoder):
        attention = stack.get_submodule("blocks.0.self_attention")
        attention.register_forward_pre_hook(lambda _, inputs: (inputs[0] + positions_LD[: inputs[0].size(1)],))


def no_residual(translator: Any) -> None:
    swap(translator, Residual, NoResidual)


def no_layer_norm(translator: Any) -> None:
    for module in translator.modules():
        if isinstance(module, Residual):
            module.norm = nn.Identity()  # type: ignore[assignment]


def no_cross_attention(translator: Any) -> None:
    for block in translator.decoder.blocks:
        block.cross_attention = block.cross_residual = None


def keep(translator: Transformer) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Variant:
    """A change of one part."""

    change: str
    """What is different, for the table."""
    swap: Callable[[Transformer], None] = keep
    later: bool = True
    """True if the swap also fits weights that were trained without it."""
    model: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    """Settings that differ from `CONFIG`."""


PAPER = "the paper"
VARIANTS = {
    PAPER: Variant("nothing", later=False),
    "squared products": Variant("(q·k)² / d_k", score_by(Squared)),
    "negated products": Variant("−q·k / √d_k", score_by(Negated)),
    "no √d_k": Variant("q·k", score_by(Unscaled)),
    "additive attention": Variant("v·tanh(q + k)", additive, later=False),
    "one head": Variant("h = 1, d_k = 64", later=False, model={"n_heads": 1}),
    "mask turned round": Variant("encoder blind to the future, decoder sees it", mask_turned_round),
    "no mask": Variant("encoder and decoder see the future", no_mask),
    "blind encoder": Variant("encoder and decoder blind to the future", blind_encoder),
    "no positions": Variant("embeddings only", no_positions),
    "positions in layer 1": Variant("q, k, v of the first layer only", positions_in_first_layer),
    "no residual": Variant("LayerNorm(Sublayer(x))", no_residual),
    "no layer norm": Variant("x + Sublayer(x)", no_layer_norm),
    "no cross-attention": Variant("decoder without the encoder", no_cross_attention),
    "no warm-up": Variant("Eq. 3 with warmup_steps = 1", later=False, schedule={"warmup_steps": 1}),
}
