"""`torch.nn.Transformer` with embeddings, positions and an output layer."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.programs.training import TrainTask, answer_with, plain_loop
from benchmarks.runner import Answer
from transformer.config import ModelConfig
from transformer.layers import sinusoidal_positions


def start(task: TrainTask) -> Answer:
    """Load the model."""
    return answer_with(task, lambda task: plain_loop(task, model_and_logits))


def model_and_logits(config: ModelConfig) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return a model and the function that computes its logits."""
    model = PlainTransformer(config)
    return model, model


class PlainTransformer(nn.Module):
    """`torch.nn.Transformer` with one matrix for both embeddings and the output layer."""

    positions_LD: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.scale = config.d_model**0.5
        self.register_buffer("positions_LD", sinusoidal_positions(config.max_len, config.d_model), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        layers = config.n_layers
        self.stacks = nn.Transformer(
            config.d_model, config.n_heads, layers, layers, config.d_ff, config.dropout, batch_first=True
        )
        for module in self.stacks.modules():  # dropout on embeddings and sub-layers only, as in the paper
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                module.dropout = nn.Dropout(0.0)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor) -> Tensor:
        """Return logits (B, L, V)."""
        causal_LL = nn.Transformer.generate_square_subsequent_mask(tgt_BL.size(1), device=tgt_BL.device)
        x_BLD = self.stacks(
            self.embed(src_BM),
            self.embed(tgt_BL),
            tgt_mask=causal_LL,
            tgt_is_causal=True,
            src_key_padding_mask=~src_mask_BM,
            memory_key_padding_mask=~src_mask_BM,
        )
        return F.linear(x_BLD, self.tokens.weight)

    def embed(self, tokens_BL: Tensor) -> Tensor:
        """Map (B, L) to (B, L, D)."""
        return self.dropout(self.tokens(tokens_BL) * self.scale + self.positions_LD[: tokens_BL.size(1)])
