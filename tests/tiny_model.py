"""A model folder small enough for every test: random weights, a vocabulary of bytes and some letters."""

from pathlib import Path

import torch

from common.directions import Languages
from data_pipeline.tokenizers.sentence_piece import Tokenizer, train_tokenizer
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.pretrained import load_pretrained, save_pretrained

torch.set_num_threads(1)  # tests share the cores, so more threads would only wait for each other

TEXT = [
    "The cat sees the small house.",
    "A dog buys an old book, and it is heavy.",
    "We read the letter because she wrote it.",
    "Der Hund kauft ein altes Buch, und es ist schwer.",
    "Die Katze sieht das kleine Haus.",
]


def make_folder(folder: Path, max_len: int = 40, directions: list[Languages] | None = None) -> Path:
    """Write a Transformer with the same random weights every time, and its tokenizer. Return the folder.

    With directions, the vocabulary has a tag for each target language.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tags = list(dict.fromkeys(target for _, target in directions or []))
    tokenizer = train_tokenizer(iter(TEXT), folder / "tokenizer.model", vocab_size=320, languages=tags)
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=2, d_ff=32, dropout=0.1, max_len=max_len
    )
    languages = directions or ("en", "de")
    save_pretrained(folder, Transformer(config), folder / "tokenizer.model", "A test.", languages)
    return folder


def load_translator(
    folder: Path, config: DecodeConfig, dtype: torch.dtype = torch.float64
) -> tuple[Translator, Transformer]:
    """Return a translator and its model, which is not prepacked. In float64 other sentences change no choice."""
    model, _ = load_pretrained(folder)
    assert isinstance(model, Transformer)
    model.to(dtype)
    return Translator(PyTorchBackend(model), Tokenizer(folder / "tokenizer.model"), config), model
