"""`MarianMTModel` of transformers with random weights. It cannot have the weights of paper-transformer: its sines and
cosines are in another order."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel

from benchmarks.programs import decoding, training
from benchmarks.programs.decoding import Decode, DecodeTask
from benchmarks.programs.training import TrainTask
from benchmarks.runner import Answer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID
from evaluate.length_batches import pad
from transformer.config import ModelConfig


def make_config(config: ModelConfig, **others: Any) -> Any:
    """Return the `MarianConfig` of the same model size."""
    sizes = {"attention_heads": config.n_heads, "ffn_dim": config.d_ff}
    return MarianConfig(
        encoder_layers=config.n_layers,
        decoder_layers=config.n_decoder_layers or config.n_layers,
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        activation_function=config.activation,
        max_position_embeddings=config.max_len,
        scale_embedding=True,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        forced_eos_token_id=None,
        **{f"{stack}_{name}": size for name, size in sizes.items() for stack in ("encoder", "decoder")},
        **others,
    )


def model_and_logits(config: ModelConfig) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return a model with dropout in the paper's places, and the function that computes its logits."""
    model = MarianMTModel(make_config(config, dropout=config.dropout, attention_dropout=0.0, activation_dropout=0.0))

    def logits(src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor) -> Tensor:
        output = model(src_BM, attention_mask=src_mask_BM.long(), decoder_input_ids=tgt_BL, use_cache=False)
        return torch.as_tensor(output.logits)

    return model, logits


def start_decoding(task: DecodeTask) -> Answer:
    """Load the model for decoding."""
    return decoding.answer_with(task, load)


def start_training(task: TrainTask) -> Answer:
    """Load the model for training."""
    return training.answer_with(task, lambda task: training.plain_loop(task, model_and_logits))


def load(task: DecodeTask) -> Decode:
    """Return `MarianMTModel.generate` for the task's sources."""
    model = MarianMTModel(make_config(ModelConfig(**task.config)))
    model.to(task.device, getattr(torch, task.dtype)).eval()
    src_BM = pad(task.sources).to(task.device)
    mask_BM = (src_BM != PAD_ID).long()

    @torch.inference_mode()
    def decode() -> int:
        out_BL: Tensor = model.generate(
            src_BM,
            attention_mask=mask_BM,
            num_beams=task.beam,
            do_sample=False,
            length_penalty=1.0,
            early_stopping=False,
            min_new_tokens=task.tokens,
            max_new_tokens=task.tokens,
        )
        return out_BL.size(0) * (out_BL.size(1) - 1)  # without <s>

    return decode
