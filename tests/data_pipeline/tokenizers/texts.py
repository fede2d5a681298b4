"""Texts that are hard for a tokenizer, and GPT-2's two vocabulary files with a small vocabulary."""

import json
import random
from itertools import pairwise
from pathlib import Path

from data_pipeline.tokenizers.byte_pair import BYTE_NAMES, END

HARD_TEXTS = [
    "",
    " ",
    "\n",
    "\n\n",
    " a",
    "a ",
    "  a\n  b  \n",
    "\n \n  \n",
    "\ttab\t\n\t",
    "line\r\nline\r\n\rline",
    "old house\n\nold house\n",
    "\u2028\x85\x0b\x0c",
    "▁",
    " ▁ \n▁▁a▁\n▁",
    "😀 👩‍👩‍👧\n 🇩🇪",
    "é ÿ 日本語",
    "<s></s><unk><pad><0x0A> <|endoftext|>",
    "it's 123 they'll   ... !?\n",
    "\x00 \x1b\ufeff\u200b\ufffd",
    "\u0301 starts with an accent\n\u0301",
]
WORDS = ["the", "old", "house", "stands", "on", "a", "hill", "garden", "night", "it's", "12", "…"]


def make_random_texts(count: int = 300, seed: int = 5) -> list[str]:
    rng = random.Random(seed)
    parts = [*WORDS, *" \n\t\r▁…é😀\u3000\x00\x85", "  ", "\n ", " \n", "\n\n"]
    return ["".join(rng.choices(parts, k=rng.randint(0, 12))) for _ in range(count)]


def make_text(lines: int = 200, seed: int = 1) -> str:
    rng = random.Random(seed)
    return "\n".join(" " * rng.choice([0, 0, 2]) + " ".join(rng.choices(WORDS, k=7)) for _ in range(lines))


def write_gpt2_files(folder: Path, end_first: bool = False) -> int:
    """Write vocab.json and merges.txt with merges merges from WORDS. Returns the vocabulary size."""
    words = [[BYTE_NAMES[byte] for byte in f" {word}".encode()] for word in [*WORDS, "  ", "\n\n", "aaaa", "日本"]]
    merges: list[tuple[str, str]] = []
    while pairs := [pair for word in words for pair in pairwise(word)]:
        best = max(sorted(set(pairs)), key=pairs.count)
        merges.append(best)
        words = [apply_merge(word, best) for word in words]
    tokens = [*BYTE_NAMES.values(), *(a + b for a, b in merges)]
    tokens = [END, *tokens] if end_first else [*tokens, END]
    vocab_json, merges_txt = folder / "vocab.json", folder / "merges.txt"
    vocab_json.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    merges_txt.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    return len(tokens)


def apply_merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out
