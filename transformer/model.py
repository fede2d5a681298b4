"""Section 3: the Transformer (Figure 1), and a GPT from the same blocks.

Both decode through one interface: `start(prompt, ...) -> state`, `step(tokens_N, state) -> logits_NV`, and
the state's `reorder(index_N)`. Neither knows which ids are special; masks say where tokens are.
"""

import math

from torch import Tensor, nn

from transformer.block import Stack, TransformerBlock
from transformer.cache import DecodingState, KVCache, Memory
from transformer.config import ModelConfig
from transformer.layers import Embedding


class Transformer(nn.Module):
    """Encoder and decoder with one shared embedding (sections 3.1, 3.4). `config` defaults to the base model."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.src_embedding = Embedding(config)
        self.tgt_embedding = Embedding(config)
        self.encoder = Stack(config, causal=False, cross_attention=False)
        self.decoder = Stack(config, causal=True, cross_attention=True)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tying != "none":
            self.output.weight = self.tgt_embedding.tokens.weight
        if config.tying == "all":
            self.src_embedding.tokens.weight = self.tgt_embedding.tokens.weight
        initialise(self, config)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of the token after each target token.

        Args:
            src_BM: source ids.
            src_mask_BM: True where src holds a token, False where it is padded.
            tgt_BL: target ids, shifted right. Padding at its end needs no mask: the causal one hides it.
        """
        memory_BMD = self.encode(src_BM, src_mask_BM)
        x_BLD = self.decoder(self.tgt_embedding(tgt_BL), memory=memory_BMD, memory_mask=_for_all_queries(src_mask_BM))
        return self.output(x_BLD)

    def encode(self, src_BM: Tensor, src_mask_BM: Tensor) -> Tensor:
        """The encoder's output, (B, M, D)."""
        return self.encoder(self.src_embedding(src_BM), mask=_for_all_queries(src_mask_BM))

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> DecodingState:
        """Encode, and make the state for decoding up to `max_len` tokens; one row per source sentence."""
        memory_BMD = self.encode(src_BM, src_mask_BM)
        return DecodingState(
            caches=_caches(self.config, self.decoder, memory_BMD, max_len),
            memories=[_memory(block, memory_BMD) for block in self.decoder.blocks],
            memory_mask_BM=src_mask_BM,
        )

    def step(self, tokens_N: Tensor, state: DecodingState) -> Tensor:
        """Feed one token per row; the logits (N, V) of the next."""
        assert state.memory_mask_BM is not None
        x_N1D = self.decoder(
            self.tgt_embedding(tokens_N.unsqueeze(1), start=state.length),
            memory=state.memories,
            memory_mask=_for_all_queries(state.memory_mask_BM),
            caches=state.caches,
        )
        return self.output(x_N1D.squeeze(1))


class GPT(nn.Module):
    """The decoder without the attention to an encoder: a language model (Radford et al., 2018)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.decoder = Stack(config, causal=True, cross_attention=False)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tying != "none":
            self.output.weight = self.embedding.tokens.weight
        initialise(self, config)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of the token after each token."""
        return self.output(self.decoder(self.embedding(tokens_BL)))

    def start(self, prompt_BL: Tensor, max_len: int) -> DecodingState:
        """Read all of the prompt but its last token, which is the first to be given to `step`."""
        caches = _caches(self.config, self.decoder, self.embedding.tokens.weight, max_len, prompt_BL.size(0))
        state = DecodingState(caches=caches, memories=[None] * len(caches), memory_mask_BM=None)
        if prompt_BL.size(1) > 1:
            self.decoder(self.embedding(prompt_BL[:, :-1]), caches=caches)
        return state

    def step(self, tokens_N: Tensor, state: DecodingState) -> Tensor:
        """Feed one token per row; the logits (N, V) of the next."""
        x_N1D = self.decoder(self.embedding(tokens_N.unsqueeze(1), start=state.length), caches=state.caches)
        return self.output(x_N1D.squeeze(1))


def build(config: ModelConfig) -> Transformer | GPT:
    """The model that `config.architecture` names, freshly initialised."""
    return GPT(config) if config.architecture == "gpt" else Transformer(config)


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Draw the first weights in the way that `config.init` names; gains of norms stay 1 and their biases 0."""
    if config.init == "gpt2":
        _initialise_as_gpt2(model, config)
    else:
        _initialise_as_tensor2tensor(model, config)


def _initialise_as_tensor2tensor(model: nn.Module, config: ModelConfig) -> None:
    """Xavier for every matrix, zero for biases, N(0, 1/d_model) for embeddings, positions and an untied output.

    The paper is silent; this is tensor2tensor's choice. Times sqrt(d_model) the embeddings have unit
    variance, so they are not drowned by the positions.
    """
    std = config.d_model**-0.5
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Embedding) and isinstance(module.positions, nn.Parameter):
            nn.init.normal_(module.positions, std=std)
    for module in model.modules():  # last, since a tied matrix is also some Linear's
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
    if config.tying == "none":
        nn.init.normal_(model.get_parameter("output.weight"), std=std)


def _initialise_as_gpt2(model: nn.Module, config: ModelConfig) -> None:
    """Radford et al. (2019), section 2.3: N(0, 0.02), and biases zero, but N(0, 0.02 / sqrt(2 n_layers)) where a
    matrix writes into the residual sum, so that the sum over all sub-layers does not grow with their number.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.out.weight", "feed_forward.outer.weight")):
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.n_layers))
        elif parameter.dim() == 2:  # the other matrices, embeddings and learned positions
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)


def count_parameters(model: nn.Module) -> int:
    """Numbers to learn; a shared matrix counts once."""
    return sum(p.numel() for p in model.parameters())


def _for_all_queries(mask_BM: Tensor) -> Tensor:
    return mask_BM[:, None, None, :]


def _memory(block: nn.Module, memory_BMD: Tensor) -> Memory:
    assert isinstance(block, TransformerBlock)
    assert block.cross_attention is not None
    return Memory(*block.cross_attention.project(memory_BMD))


def _caches(config: ModelConfig, stack: Stack, like: Tensor, max_len: int, n: int | None = None) -> list[KVCache]:
    rows = like.size(0) if n is None else n
    return [KVCache(rows, config.kv_heads, max_len, config.head_size, like) for _ in stack.blocks]
