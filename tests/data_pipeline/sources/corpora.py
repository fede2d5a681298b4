"""The same sentence pairs as a corpus of each kind."""

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import read_pairs

CONFIG = DataConfig()

PAIRS = [
    ('He said "no".', "Er sagte „nein“."),
    ("NA", "null"),
    ('"', 'nan "" x'),
    ("half\u2028line\x85 and \x0c feed", "halbe\u2028Zeile"),
    ("  spaces  ", " bleiben "),
    ("", "leer"),
    ("1.0", "007"),
]
"""Cells that other readers change: quotation marks, words for missing values, spaces, characters like line breaks."""


def write_text_files(folder: Path, pairs: list[tuple[str, str]] = PAIRS, name: str = "a") -> list[str]:
    for i, language in enumerate(("en", "de")):
        lines = "".join(pair[i] + "\n" for pair in pairs)
        (folder / f"{name}.{language}").write_bytes(lines.encode())
    return [str(folder / f"{name}.en"), str(folder / f"{name}.de")]


def write_table(folder: Path, suffix: str) -> str:
    file = folder / f"table{suffix}"
    if suffix == ".tsv":
        file.write_bytes("".join(f"{en}\t{de}\n" for en, de in PAIRS).encode())
    elif suffix == ".csv":
        cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in (de, en)] for en, de in PAIRS]
        file.write_bytes("".join(",".join(row) + "\n" for row in [["de", "en"], *cells]).encode())
    elif suffix == ".jsonl":
        file.write_bytes("".join(json.dumps({"de": de, "en": en}) + "\n" for en, de in PAIRS).encode())
    else:
        from datasets import Dataset

        Dataset.from_dict({"de": [de for _, de in PAIRS], "en": [en for en, _ in PAIRS]}).to_parquet(file)
    return str(file)


def compress(file: str, suffix: str) -> str:
    content = Path(file).read_bytes()
    Path(file).unlink()
    compressed = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": lambda data: pa.compress(data, "zstd", True)}
    Path(file + suffix).write_bytes(compressed[suffix](content))
    return file + suffix


def read(value: Any, config: DataConfig = CONFIG) -> list[tuple[str, str]]:
    return list(zip(*read_pairs(value, config), strict=True))


def write_dataset(folder: Path, readme: bool = True) -> Path:
    """Write a dataset folder with the features, splits and configuration name of WMT14."""
    from datasets import Dataset, Features, Translation

    features = Features({"translation": Translation(languages=["de", "en"])})
    (folder / "de-en").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [{"de": f"{split} {de}", "en": f"{split} {en}"} for en, de in PAIRS]
        dataset = Dataset.from_dict({"translation": rows}, features=features)
        dataset.to_parquet(folder / "de-en" / f"{split}-00000-of-00001.parquet")
    if readme:
        files = "".join(f"  - split: {split}\n    path: de-en/{split}-*\n" for split in ("train", "validation", "test"))
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: de-en\n  data_files:\n{files}---\n")
    return folder
