"""The folder of a GPT-2 of transformers, small enough for every test: random weights, a vocabulary with four merges."""

import json
from pathlib import Path

import torch

from data_pipeline.tokenizers.byte_pair import BYTE_NAMES
from transformer.config import ModelConfig
from transformer.formats.gpt2 import write_gpt2
from transformer.model import GPT

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "c")]
NAMES = [*BYTE_NAMES.values(), *(first + second for first, second in MERGES), "<|endoftext|>"]
VOCAB = {name: i for i, name in enumerate(NAMES)}
CONFIG = ModelConfig(
    architecture="gpt",
    vocab_size=len(VOCAB),
    d_model=48,
    n_layers=3,
    n_heads=4,
    d_ff=96,
    norm="pre",
    positions="learned",
    activation="gelu_tanh",
    tying="output",
    scale_embedding=False,
    init="gpt2",
    max_len=64,
)


def make_gpt2_folder(folder: Path) -> Path:
    """Write the same random weights every time, and the vocabulary."""
    torch.manual_seed(0)
    write_gpt2(folder, GPT(CONFIG), len(VOCAB) - 1)
    write_vocabulary(folder)
    return folder


def write_vocabulary(folder: Path) -> None:
    """Write vocab.json and merges.txt."""
    (folder / "vocab.json").write_text(json.dumps(VOCAB, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
