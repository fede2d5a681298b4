"""The model's shape. `ModelConfig()` is the paper's base model; every other value is a named variation."""

from dataclasses import dataclass
from typing import Literal

from common.errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """Table 3, first row. Raises ValueError when the numbers cannot make a model."""

    architecture: Literal["transformer", "gpt"] = "transformer"
    """`transformer`: encoder-decoder (section 3.1). `gpt`: the decoder alone, without cross-attention."""
    vocab_size: int = 37000
    """Tokens of the vocabulary that both languages share (section 5.1). Training takes it from the tokenizer."""
    d_model: int = 512
    """Width of every sub-layer's output and of the embeddings (section 3.1)."""
    n_layers: int = 6
    """N: blocks in the encoder, and again in the decoder (section 3.1)."""
    n_heads: int = 8
    """h: attention heads, computed in parallel (section 3.2.2)."""
    d_head: int | None = None
    """d_k = d_v of one head; None is d_model / n_heads (section 3.2.2). Table 3 (B) varies d_k and keeps d_v."""
    d_ff: int = 2048
    """Inner width of the position-wise feed-forward network (section 3.3)."""
    dropout: float = 0.1
    """P_drop on every sub-layer's output and on embeddings plus positions (section 5.4)."""
    norm: Literal["post", "pre"] = "post"
    """`post`: LayerNorm(x + Sublayer(x)), as the paper. `pre`: x + Sublayer(LayerNorm(x)), and a final norm."""
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    """Section 3.5; `learned` is Table 3 (E). `rotary` adds nothing to the embeddings and turns the queries and keys
    of self-attention instead (Su et al., 2021)."""
    activation: Literal["relu", "gelu", "gelu_tanh", "swiglu"] = "relu"
    """Between the two layers of the feed-forward network (Eq. 2). `gelu` (Hendrycks and Gimpel, 2016), `gelu_tanh`,
    its approximation in GPT-2, and `swiglu` (Shazeer, 2020), which has a third matrix of d_model x d_ff."""
    tying: Literal["all", "output", "none"] = "all"
    """Who shares one matrix (section 3.4). `all`: source and target embedding and the output layer; `output`:
    target embedding and output layer; `none`: three matrices."""
    norm_kind: Literal["layer", "rms"] = "layer"
    """`layer`: layer normalisation, as the paper. `rms`: without mean and bias (Zhang and Sennrich, 2019)."""
    n_kv_heads: int | None = None
    """Heads of keys and values; None is n_heads, as the paper. With fewer, n_heads / n_kv_heads neighbouring query
    heads share each of them, so the cache of decoding is as much smaller (Ainslie et al., 2023)."""
    scale_embedding: bool = True
    """Token embeddings times sqrt(d_model), as section 3.4. False: as they are, which is GPT-2's way."""
    init: Literal["xavier", "gpt2"] = "xavier"
    """First weights, on which the paper is silent. `xavier`: tensor2tensor's. `gpt2`: N(0, 0.02), less for the
    matrices that write into the residual sums (Radford et al., 2019, section 2.3)."""
    max_len: int = 1024
    """Longest sequence the model takes, in tokens, the end-of-sentence token included."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_len"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.d_head is None and self.d_model % self.n_heads:
            raise InputError(
                f"model.d_model {self.d_model} cannot be shared equally by model.n_heads {self.n_heads}; "
                "change one of them, or state model.d_head"
            )
        if self.d_head is not None and self.d_head < 1:
            raise InputError(f"model.d_head is {self.d_head}; it must be at least 1")
        if self.n_kv_heads is not None and (self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads):
            raise InputError(
                f"model.n_kv_heads {self.n_kv_heads} does not divide model.n_heads {self.n_heads}; "
                "each head of keys and values serves equally many query heads"
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise InputError(
                f"a head of {self.head_size} numbers (model.d_head, or model.d_model / model.n_heads) is odd; "
                "rotary positions turn pairs of numbers, so take an even one"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise InputError(
                f"model.d_model {self.d_model} is odd; sinusoidal positions are pairs of sine and cosine, "
                "so take an even one"
            )

    @property
    def head_size(self) -> int:
        """K, the paper's d_k = d_v."""
        return self.d_head if self.d_head is not None else self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; the paper's h."""
        return self.n_kv_heads if self.n_kv_heads is not None else self.n_heads
