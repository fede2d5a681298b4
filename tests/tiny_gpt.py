"""The model folder of a GPT, small enough for every test: random weights, a vocabulary of characters."""

from pathlib import Path

import torch

from data_pipeline.tokenizers.characters import CharTokenizer
from transformer.config import ModelConfig
from transformer.model import GPT
from transformer.pretrained import save_pretrained

torch.set_num_threads(1)  # tests share the cores, so more threads would only wait for each other

TEXT = "The cat sees the small house.\nEin großer Hund, „zwei“ Bücher!\n"


def make_folder(folder: Path, max_len: int = 32) -> Path:
    """Write a GPT with the same random weights every time, and its tokenizer. Return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CharTokenizer.learn([TEXT], folder / "tokenizer.model")
    model = make_model(tokenizer.vocab_size, max_len)
    save_pretrained(folder, model, folder / "tokenizer.model", "A test.")
    return folder


def make_model(vocab_size: int, max_len: int = 32) -> GPT:
    """Return a GPT with the same random weights every time."""
    torch.manual_seed(0)
    config = ModelConfig(
        architecture="gpt",
        vocab_size=vocab_size,
        d_model=16,
        n_layers=2,
        n_heads=2,
        d_ff=32,
        dropout=0.1,
        norm="pre",
        positions="learned",
        tying="none",  # with tied weights the model would repeat the last token
        max_len=max_len,
    )
    model = GPT(config)
    with torch.no_grad():  # otherwise greedy text soon repeats one letter
        for parameter in model.parameters():
            parameter.mul_(2)
    return model.eval()
