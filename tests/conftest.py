"""For all tests: one PyTorch thread per process, and a small parallel corpus on disk."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

WORDS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs",
    "seven": "sieben", "eight": "acht", "nine": "neun", "ten": "zehn", "red": "rot", "green": "grün",
    "blue": "blau", "black": "schwarz", "white": "weiß", "small": "klein", "big": "groß", "old": "alt",
}  # fmt: skip


def make_pairs(n: int, start: int = 0) -> list[tuple[str, str]]:
    """Return distinct pairs of 2 to 9 words, which correspond one to one."""
    words = list(WORDS)
    pairs = []
    for i in range(start, start + n):
        chosen, rest = [], i * 7919 + 12345
        for _ in range(2 + i % 8):
            rest, word = divmod(rest * 48271 % (2**31 - 1), 7)[0], words[rest % len(words)]
            chosen.append(word)
        pairs.append((f"{i} " + " ".join(chosen) + ".", f"{i} " + " ".join(WORDS[w] for w in chosen) + "."))
    return pairs


def write_parallel(folder: Path, name: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Write a source and a target file with one line for each pair. Returns their names."""
    files = [folder / f"{name}.en", folder / f"{name}.de"]
    for i, file in enumerate(files):
        file.write_text("".join(pair[i] + "\n" for pair in pairs), encoding="utf-8")
    return [str(file) for file in files]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Source and target file of each split: {"train" | "valid" | "test": [source, target]}."""
    folder = tmp_path_factory.mktemp("corpus")
    return {
        "train": write_parallel(folder, "train", make_pairs(400)),
        "valid": write_parallel(folder, "valid", make_pairs(40, start=1000)),
        "test": write_parallel(folder, "test", make_pairs(30, start=2000)),
    }
