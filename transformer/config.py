"""The model's shape. `ModelConfig()` is the paper's base model; every other value is a named variation."""

from dataclasses import dataclass
from typing import Literal


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
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """Section 3.5; `learned` is Table 3 (E)."""
    activation: Literal["relu", "gelu"] = "relu"
    """Between the two layers of the feed-forward network (Eq. 2)."""
    tying: Literal["all", "output", "none"] = "all"
    """Who shares one matrix (section 3.4). `all`: source and target embedding and the output layer; `output`:
    target embedding and output layer; `none`: three matrices."""
    max_len: int = 1024
    """Longest sequence the model takes, in tokens, the end-of-sentence token included."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"model.d_model {self.d_model} cannot be shared equally by model.n_heads {self.n_heads}; "
                "change one of them, or state model.d_head"
            )
        if self.d_head is not None and self.d_head < 1:
            raise ValueError(f"model.d_head is {self.d_head}; it must be at least 1")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f"model.d_model {self.d_model} is odd; sinusoidal positions are pairs of sine and cosine, "
                "so take an even one"
            )

    @property
    def head_size(self) -> int:
        """K, the paper's d_k = d_v."""
        return self.d_head if self.d_head is not None else self.d_model // self.n_heads
