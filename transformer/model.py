"""Section 3: the Transformer (Figure 1), and a GPT built from the same blocks.

Both have the same decoding interface: `start(prompt, ...) -> state`, `step(tokens_N, state) -> logits_NV` and
`state.reorder(index_N)`. The model gives no id a special meaning: masks show where the tokens are.
"""

from typing import assert_never

import torch
from torch import Tensor, nn

from common.errors import InputError
from common.memory import GIB, machine_memory
from transformer.block import Stack, TransformerBlock
from transformer.cache import DecodingState, KVCache, Memory
from transformer.config import ModelConfig
from transformer.initialisation import initialise
from transformer.layers import Embedding


class Transformer(nn.Module):
    """Encoder and decoder with one shared embedding (sections 3.1 and 3.4). `config` defaults to the base model."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.src_embedding = Embedding(config)
        self.tgt_embedding = Embedding(config)
        self.encoder = Stack(config, config.n_layers, causal=False, cross_attention=False)
        self.decoder = Stack(config, config.decoder_layers, causal=True, cross_attention=True)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=config.output_bias)
        match config.tying:
            case "all":  # section 3.4
                self.output.weight = self.src_embedding.tokens.weight = self.tgt_embedding.tokens.weight
            case "output":
                self.output.weight = self.tgt_embedding.tokens.weight
            case "none":
                pass
            case unknown:
                assert_never(unknown)
        initialise(self, config)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor, *, logits: bool = True) -> Tensor:
        """Return the logits (B, L, V) of the token after each target token.

        Args:
            src_BM: source ids.
            src_mask_BM: True for a token, False for padding.
            tgt_BL: target ids, shifted right. Padding at the end needs no mask, because attention is causal.
            logits: if False, return the decoder's output (B, L, D), for a loss that computes the logits.
        """
        memory_BMD = self.encode(src_BM, src_mask_BM)
        x_BLD = self.decoder(self.tgt_embedding(tgt_BL), memory=memory_BMD, memory_mask=_for_all_queries(src_mask_BM))
        return self.output(x_BLD) if logits else x_BLD

    def encode(self, src_BM: Tensor, src_mask_BM: Tensor) -> Tensor:
        """Return the encoder's output, (B, M, D)."""
        return self.encoder(self.src_embedding(src_BM), mask=_for_all_queries(src_mask_BM))

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> DecodingState:
        """Encode the sources. Return the state for decoding up to `max_len` tokens, with one row per source."""
        memory_BMD = self.encode(src_BM, src_mask_BM)
        return DecodingState(
            caches=_caches(self.config, self.decoder, memory_BMD, max_len),
            memories=[_memory(block, memory_BMD) for block in self.decoder.blocks],
            memory_bias_BG1M=_bias(_for_all_queries(src_mask_BM), memory_BMD, self.config.kv_heads),
        )

    def step(self, tokens_N: Tensor, state: DecodingState) -> Tensor:
        """Process one token per row. Return the logits (N, V) of the next token."""
        x_N1D = self.tgt_embedding.forward(tokens_N.unsqueeze(1), start=state.length)
        return self.output.forward(self.decoder.step(x_N1D.squeeze(1), state))


class GPT(nn.Module):
    """The decoder without cross-attention: a language model (Radford et al., 2018)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.decoder = Stack(config, config.n_layers, causal=True, cross_attention=False)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=config.output_bias)
        match config.tying:
            case "all" | "output":
                self.output.weight = self.embedding.tokens.weight
            case "none":
                pass
            case unknown:
                assert_never(unknown)
        initialise(self, config)

    def forward(self, tokens_BL: Tensor, *, logits: bool = True) -> Tensor:
        """Return the logits (B, L, V) of the token after each token; without `logits`, the decoder's output."""
        x_BLD = self.decoder(self.embedding(tokens_BL))
        return self.output(x_BLD) if logits else x_BLD

    def start(self, prompt_BL: Tensor, max_len: int) -> DecodingState:
        """Process the prompt except its last token. Pass that token to the first call of `step`."""
        caches = _caches(self.config, self.decoder, self.embedding.tokens.weight, max_len, prompt_BL.size(0))
        state = DecodingState(caches=caches, memories=[None] * len(caches), memory_bias_BG1M=None)
        if prompt_BL.size(1) > 1:
            self.decoder(self.embedding(prompt_BL[:, :-1]), caches=caches)
        return state

    def step(self, tokens_N: Tensor, state: DecodingState) -> Tensor:
        """Process one token per row. Return the logits (N, V) of the next token."""
        x_N1D = self.embedding.forward(tokens_N.unsqueeze(1), start=state.length)
        return self.output.forward(self.decoder.step(x_N1D.squeeze(1), state))


def build(config: ModelConfig) -> Transformer | GPT:
    """Return a model of `config.architecture` with its first weights.

    Raises InputError, before memory is allocated, if the weights cannot fit into the memory of this machine.
    """
    if torch.get_default_device().type != "meta":
        _check_memory(config)
    match config.architecture:
        case "transformer":
            return Transformer(config)
        case "gpt":
            return GPT(config)
        case unknown:
            assert_never(unknown)


def _check_memory(config: ModelConfig) -> None:
    needed, memory = 4 * config.least_parameters, machine_memory()
    if needed > memory:
        raise InputError(
            f"a model with model.d_model={config.d_model}, model.d_ff={config.d_ff}, model.n_layers={config.n_layers} "
            f"and model.vocab_size={config.vocab_size} needs {needed / GIB:,.0f} GiB for its weights alone; this "
            f"machine has {memory / GIB:.0f} GiB. Lower these sizes"
        )


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained parameters; a tied matrix counts once."""
    return sum(p.numel() for p in model.parameters())


def _for_all_queries(mask_BM: Tensor) -> Tensor:
    return mask_BM[:, None, None, :]


def _bias(mask_B11M: Tensor, like: Tensor, kv_heads: int) -> Tensor:
    """Return 0 where the mask is True and -inf elsewhere, in the dtype of `like`: computed once, not in every layer."""
    return like.new_zeros(mask_B11M.shape).masked_fill(~mask_B11M, -torch.inf).repeat(1, kv_heads, 1, 1)


def _memory(block: nn.Module, memory_BMD: Tensor) -> Memory:
    assert isinstance(block, TransformerBlock)
    assert block.cross_attention is not None
    k_BHMK, v_BHMK = block.cross_attention.project(memory_BMD)
    return Memory(k_BHMK.contiguous(), v_BHMK.contiguous())


def _caches(config: ModelConfig, stack: Stack, like: Tensor, max_len: int, n: int | None = None) -> list[KVCache]:
    rows = like.size(0) if n is None else n
    sizes = config.head_size, config.value_size
    return [KVCache(rows, config.kv_heads, max_len, *sizes, like) for _ in stack.blocks]
