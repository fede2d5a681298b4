"""Settings of a model. `ModelConfig()` is the paper's base model; every other value is a named variation."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from common.errors import InputError

LARGEST = {
    "vocab_size": 10_000_000,
    "d_model": 65_536,
    "n_layers": 1000,
    "n_decoder_layers": 1000,
    "n_heads": 65_536,
    "d_head": 65_536,
    "d_value": 65_536,
    "d_ff": 4_194_304,
    "max_len": 1_000_000,
}
"""Largest values. They are checked before memory is allocated, because a model folder may be from anybody."""
MAX_POSITIONS = 2**26
"""Largest table of positions, in numbers: max_len * d_model."""


@dataclass(frozen=True)
class ModelConfig:
    """Table 3, row "base". Raises InputError if a value has the wrong type, is unknown or fits no model."""

    architecture: Literal["transformer", "gpt"] = "transformer"
    """`transformer`: encoder and decoder (section 3.1). `gpt`: the decoder alone, without cross-attention."""
    vocab_size: int = 37000
    """V: tokens in the vocabulary, which source and target share (section 5.1). Training sets it from the
    tokenizer."""
    d_model: int = 512
    """Width of the embeddings and of every sub-layer's output (section 3.1)."""
    n_layers: int = 6
    """N: number of blocks in the encoder, and again in the decoder (section 3.1)."""
    n_decoder_layers: int | None = None
    """Number of blocks in the decoder; None is n_layers, as in the paper (section 3.1). A deep encoder with one or two
    blocks in the decoder translates faster, and about as well (Kasai et al., 2021)."""
    n_heads: int = 8
    """h: number of attention heads, computed in parallel (section 3.2.2)."""
    d_head: int | None = None
    """d_k: size of one head's queries and keys; None is d_model / n_heads (section 3.2.2)."""
    d_value: int | None = None
    """d_v: size of one head's values; None is d_k, as in the paper's base model. Table 3 (B) varies d_k alone."""
    d_ff: int = 2048
    """Inner width of the position-wise feed-forward network (section 3.3)."""
    dropout: float = 0.1
    """P_drop: dropout rate on every sub-layer's output and on embeddings plus positions (section 5.4)."""
    attention_dropout: float = 0.0
    """Dropout rate on the attention weights, the softmax of Eq. 1. The paper has none; tensor2tensor's later
    `transformer_base` has 0.1."""
    activation_dropout: float = 0.0
    """Dropout rate on the hidden layer of the feed-forward network, between the two layers of Eq. 2. The paper has
    none; tensor2tensor's later `transformer_base` has 0.1 and calls it `relu_dropout`."""
    norm: Literal["post", "pre"] = "post"
    """`post`: LayerNorm(x + Sublayer(x)), as in the paper (section 3.1). `pre`: x + Sublayer(LayerNorm(x)), and a final
    norm."""
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    """Section 3.5. `learned` is Table 3 (E). `rotary` adds nothing to the embeddings; it rotates the queries and keys
    of self-attention (Su et al., 2021)."""
    activation: Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu"] = "relu"
    """Function between the two layers of the feed-forward network (Eq. 2): `gelu` (Hendrycks and Gimpel, 2016),
    `gelu_tanh`, GPT-2's approximation of it, `silu`, x times sigmoid(x), which Marian calls swish (Ramachandran et al.,
    2017), or `swiglu` (Shazeer, 2020), which adds a third d_model x d_ff matrix."""
    tying: Literal["all", "output", "none"] = "all"
    """Which matrices are one matrix (section 3.4). `all`: source embedding, target embedding and output layer;
    `output`: target embedding and output layer; `none`: three matrices."""
    output_bias: bool = False
    """True: add a trained bias to the logits, as Marian does (Junczys-Dowmunt et al., 2018). False: do not, as in the
    paper (section 3.4)."""
    norm_kind: Literal["layer", "rms"] = "layer"
    """`layer`: layer normalisation, as in the paper (section 3.1). `rms`: without mean and bias (Zhang and Sennrich,
    2019)."""
    n_kv_heads: int | None = None
    """Number of heads of keys and values; None is n_heads, as in the paper (section 3.2.2). If it is smaller, n_heads /
    n_kv_heads neighbouring query heads share one, and the cache in decoding shrinks by that factor (Ainslie et al.,
    2023)."""
    scale_embedding: bool = True
    """True: multiply the token embeddings by sqrt(d_model) (section 3.4). False: do not, as in GPT-2."""
    init: Literal["xavier", "gpt2"] = "xavier"
    """First weights, which the paper does not describe. `xavier`: tensor2tensor's. `gpt2`: N(0, 0.02), and less for
    the matrices that write into the residual sum (Radford et al., 2019, section 2.3)."""
    max_len: int = 1024
    """Longest sequence in tokens, with the end-of-sentence token."""

    def __post_init__(self) -> None:
        self._check_types()
        for name in ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_len"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.n_decoder_layers is not None:
            self._check_decoder_layers(self.n_decoder_layers)
        self._check_largest()
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.d_head is None and self.d_model % self.n_heads:
            raise InputError(
                f"model.d_model {self.d_model} is not divisible by model.n_heads {self.n_heads}; "
                "change one of them, or set model.d_head"
            )
        for name in ("d_head", "d_value"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise InputError(f"model.{name} is {size}; it must be at least 1")
        if self.n_kv_heads is not None and (self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads):
            raise InputError(
                f"model.n_heads {self.n_heads} is not divisible by model.n_kv_heads {self.n_kv_heads}; "
                "every head of keys and values must serve the same number of query heads"
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise InputError(
                f"the head size {self.head_size} (model.d_head, or model.d_model / model.n_heads) is odd; "
                "rotary positions rotate pairs of numbers and need an even size"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise InputError(
                f"model.d_model {self.d_model} is odd; sinusoidal positions are pairs of sine and cosine "
                "and need an even width"
            )

    def _check_decoder_layers(self, layers: int) -> None:
        if layers < 1:
            raise InputError(f"model.n_decoder_layers is {layers}; it must be at least 1")
        if self.architecture == "gpt":
            raise InputError("model.n_decoder_layers is for architecture=transformer. For a GPT, set model.n_layers")

    def _check_largest(self) -> None:
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if value is not None and value > largest:
                raise InputError(f"model.{name} is {value}; it must be at most {largest:,}")
        if self.max_len * self.d_model > MAX_POSITIONS:
            raise InputError(
                f"model.max_len is {self.max_len}; with model.d_model={self.d_model} it must be at most "
                f"{MAX_POSITIONS // self.d_model:,}"
            )

    def _check_types(self) -> None:
        for name, kind in get_type_hints(ModelConfig).items():
            if not _is_a(getattr(self, name), kind):
                raise InputError(f"model.{name} is {getattr(self, name)!r}; it must be {_name(kind)}")

    @property
    def least_parameters(self) -> int:
        """Lower limit of the number of parameters: one embedding, and blocks without biases and norms."""
        attention = self.d_model * self.n_heads * (self.head_size + self.value_size)  # W^Q and W^O
        blocks = self.decoder_layers + (self.n_layers if self.architecture == "transformer" else 0)
        return self.vocab_size * self.d_model + blocks * (attention + 2 * self.d_model * self.d_ff)

    @property
    def decoder_layers(self) -> int:
        """Number of blocks in the decoder."""
        return self.n_layers if self.n_decoder_layers is None else self.n_decoder_layers

    @property
    def head_size(self) -> int:
        """K, the paper's d_k."""
        return self.d_head if self.d_head is not None else self.d_model // self.n_heads

    @property
    def value_size(self) -> int:
        """Size of a head's values, the paper's d_v."""
        return self.d_value if self.d_value is not None else self.head_size

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values, which is h in the paper."""
        return self.n_kv_heads if self.n_kv_heads is not None else self.n_heads


def _is_a(value: Any, kind: Any) -> bool:
    """Return True if a value has the type of a field. True is not a number, and 32.0 is not an integer."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if options := get_args(kind):  # a union
        return any(_is_a(value, option) for option in options)
    return isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    names = {int: "an integer", bool: "true or false", float: "a number", type(None): "null"}
    return " or ".join(names[option] for option in get_args(kind) or (kind,))
