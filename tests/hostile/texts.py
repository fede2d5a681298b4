"""Text files, tables and pipes."""

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.hostile.numbers import TINY
from tests.hostile.runner import Input

TRANSLATE = "transformer/translate.py --model {base}/model --input "
SCORE = "evaluate/bleu.py --reference a.de --output out --hypotheses "
TRAIN = TINY.replace("[a.en,a.de]", "{}")
LINES = "".join(f"word{number} and more\n" for number in range(60))


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Return a maker of one file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw) and None


def table(rows: int, make: Callable[[int], str], head: str = "") -> str:
    """Return the text of a table."""
    return head + "".join(make(number) + "\n" for number in range(rows))


def parquet(columns: Callable[[], dict[str, object]]) -> Callable[[Path], None]:
    """Return a maker of x.parquet."""

    def make(folder: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns()), folder / "x.parquet")

    return make


def bad_utf8() -> dict[str, object]:
    """Return columns of which one is declared as text and is not UTF-8."""
    import pyarrow

    raw = pyarrow.array([b"bad \xff" if i == 9 else b"A sentence." for i in range(60)], pyarrow.binary())
    wrong = pyarrow.StringArray.from_buffers(60, raw.buffers()[1], raw.buffers()[2])
    return {"en": wrong, "de": [f"Satz {i} ." for i in range(60)]}


End = Literal["refused", "right", "either"]
BYTES: dict[str, tuple[str, bytes | str, End]] = {  # what: file name, content, how translating it must end
    "not UTF-8": ("x", b"good\nbad \xff\n", "refused"),
    "overlong UTF-8": ("x", b"\xc0\xaf\n", "refused"),
    "surrogates": ("x", b"\xed\xa0\x80\n", "refused"),
    "UTF-16 without a mark": ("x", "The cat.\n".encode("utf-16-le"), "either"),
    "UTF-32": ("x", "The cat.\n".encode("utf-32"), "either"),
    "NUL bytes": ("x", "a\0b\n", "right"),
    "only NUL bytes": ("x", b"\0" * 1000, "either"),
    "control characters": ("x", "\x1b[31mred\x07\x08\n", "right"),
    "only line ends": ("x", "\r\n\r\n\n\n", "right"),
    "old Mac line ends": ("x", "a\rb\rc", "either"),
    "no last line end": ("x", "The cat.", "right"),
    "empty": ("x", "", "right"),
    "one space": ("x", " ", "right"),
    "line separators": ("x", "a\u2028b\u2029c\x85d\x0be\x0cf\n", "right"),
    "right-to-left marks": ("x", "\u202eabc\u2066\u200f\n", "right"),
    "combining marks": ("x", "a" + "\u0301" * 3000 + "\n", "right"),
    "joined emoji": ("x", "👨‍👩‍👧‍👦" * 50 + "\n", "right"),
    "private characters": ("x", "\ue000\U0010ffff\ufffe\n", "right"),
    "special tokens": ("x", "</s><s><unk><pad>▁<0x0A>\n", "right"),
    "a long word": ("x", "x" * 20_000 + "\n", "right"),
    "digits": ("x", "9" * 1000 + "\n", "right"),
    "no letters": ("x", "… ﻿ \u200b\n-\n42\n", "right"),
    "shell": ("x", "$(touch ../home/x) `id` ; rm -rf ~ | cat\n", "right"),
    "damaged gzip": ("x.gz", gzip.compress(LINES.encode())[:-20], "refused"),
    "changed gzip": ("x.gz", b"\x1f\x8b\x08" + b"\xff" * 100, "refused"),
    "text named gzip": ("x.gz", LINES, "either"),
    "gzip named text": ("x", gzip.compress(b"The cat.\n"), "either"),
    "empty gzip": ("x.gz", b"", "either"),
    "several gzips": ("x.gz", gzip.compress(b"a\n") + gzip.compress(b"b\n"), "right"),
    "damaged xz": ("x.xz", lzma.compress(LINES.encode())[:-20], "refused"),
    "empty xz": ("x.xz", b"", "either"),
    "damaged zstd": ("x.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "refused"),
    "text named zstd": ("x.zst", LINES, "either"),
    "zip": ("x.zip", b"PK\x03\x04" + b"\0" * 100, "either"),
    "PDF": ("x.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "refused"),
    "gzip of one long line": ("x.gz", gzip.compress(b"x" * 300_000_000, 1), "refused"),
}
TABLES: dict[str, tuple[str, bytes | str, End]] = {  # what: file name, content, how training on it must end
    "a column missing": ("x.tsv", table(60, lambda i: f"en {i}\tde {i}" if i != 9 else "alone"), "refused"),
    "too many columns": ("x.tsv", table(60, lambda i: "a\tb" + "\tc" * (i == 9)), "refused"),
    "open quote": (
        "x.csv",
        table(60, lambda i: '"' * (i == 9) + f"en {i},de {i}", "en,de\n"),
        "either",
    ),
    "no header": ("x.csv", table(60, lambda i: f"en {i},de {i}"), "either"),
    "same header twice": ("x.csv", table(60, lambda i: f"en {i},de {i}", "en,en\n"), "refused"),
    "huge field": ("x.csv", table(60, lambda i: f"en {i},{'x' * 200_000}", "en,de\n"), "either"),
    "NUL": ("x.csv", table(60, lambda i: f"en\0 {i},de {i}", "en,de\n"), "either"),
    "empty table": ("x.csv", "", "refused"),
    "only a header": ("x.csv", "en,de\n", "refused"),
    "damaged JSON": ("x.jsonl", table(60, lambda i: '{"en": "a"' if i == 9 else '{"en": "a", "de": "b"}'), "refused"),
    "deep JSON": ("x.jsonl", "[" * 100_000 + "\n", "refused"),
    "deep JSON value": ("x.jsonl", '{"en": ' + "[" * 100_000 + "\n", "refused"),
    "JSON lists": ("x.jsonl", table(60, lambda i: '["a", "b"]'), "refused"),
    "JSON numbers": ("x.jsonl", table(60, lambda i: json.dumps({"en": i, "de": i})), "refused"),
    "JSON long number": ("x.jsonl", '{"en": ' + "9" * 100_000 + ', "de": "b"}\n', "refused"),
    "JSON surrogates": ("x.jsonl", table(60, lambda i: '{"en": "\\ud800 x", "de": "y"}'), "refused"),
    "JSON NaN": ("x.jsonl", table(60, lambda i: '{"en": NaN, "de": "b"}'), "refused"),
    "JSON other keys": ("x.jsonl", table(60, lambda i: '{"a\\u001b[31m": 1}'), "refused"),
    "text named Parquet": ("x.parquet", LINES, "refused"),
    "empty Parquet": ("x.parquet", b"", "refused"),
    "marked Parquet": ("x.parquet", b"PAR1" + b"\xff" * 100 + b"PAR1", "refused"),
    "not UTF-8": ("x.tsv", b"good\tgut\nbad \xff\tx\n", "refused"),
    "only empty fields": ("x.tsv", table(60, lambda i: "\t"), "refused"),
    "only copies": ("x.tsv", table(60, lambda i: f"same {i}\tsame {i}"), "refused"),
    "one pair": ("x.tsv", "a\tb\n", "refused"),
    "damaged gzip": ("x.tsv.gz", gzip.compress(table(60, lambda i: "a\tb").encode())[:-9], "refused"),
}

TEXTS = [
    *(Input(f"translate {n!r}", TRANSLATE + f, write(f, c), end=end) for n, (f, c, end) in BYTES.items()),
    *(Input(f"table {n!r}", TRAIN.format(f), write(f, c), end=end) for n, (f, c, end) in TABLES.items()),
    Input("Parquet that is not UTF-8", TRAIN.format("x.parquet"), parquet(bad_utf8), says=r"x\.parquet.*(row|line) 10"),
    Input("Parquet of numbers", TRAIN.format("x.parquet"), parquet(lambda: {"en": [1] * 60, "de": [2.5] * 60})),
    Input("Parquet of lists", TRAIN.format("x.parquet"), parquet(lambda: {"en": [["a"]] * 60, "de": [["b"]] * 60})),
    Input("Parquet of nothing", TRAIN.format("x.parquet"), parquet(lambda: {"en": [None] * 60, "de": [None] * 60})),
    Input("translate a device", TRANSLATE + "/dev/zero"),
    Input("translate random bytes", TRANSLATE + "/dev/urandom"),
    Input("translate nothing", TRANSLATE + "/dev/null", end="right"),
    Input("translate a folder", TRANSLATE + "."),
    Input("translate into a folder", TRANSLATE + "a.en --output ."),
    Input("translate into a full device", TRANSLATE + "a.en --output /dev/full --beam 1 --max-extra 1"),
    Input("translate into no folder", TRANSLATE + "a.en --output nowhere/x"),
    Input("prefix is a device", TRANSLATE + "a.en --prefix /dev/zero"),
    Input("prompt is a device", "transformer/generate.py --model {base}/gpt --prompt-file /dev/zero"),
    Input("prompt is a folder", "transformer/generate.py --model {base}/gpt --prompt-file ."),
    Input("score a device", SCORE + "/dev/zero"),
    Input("score a folder", SCORE + "."),
    Input("score a name with an escape", SCORE + "'\x1b[31mx\n'"),
    Input("score fewer lines", SCORE + "x", write("x", "one\n")),
    Input("score empty lines", SCORE + "x", write("x", "\n" * 60), end="either"),
    Input("score control characters", SCORE + "x", write("x", "\x1b[31m\x07\n" * 60), end="either"),
    Input("score a long line", SCORE + "x", write("x", "a\n" * 59 + "w " * 20_000 + "\n"), end="either", seconds=120),
    Input("baseline is deep", SCORE + "a.de --baseline x", write("x", "[" * 100_000)),
    Input("baseline is a list", SCORE + "a.de --baseline x", write("x", "[]")),
    Input("baseline is a device", SCORE + "a.de --baseline /dev/zero"),
    Input("standard input is binary", "transformer/translate.py --model {base}/model", stdin=b"\xff\xfe\xfd"),
    Input("standard input is empty", "transformer/translate.py --model {base}/model", end="right"),
    Input("train on pipes", TRAIN.format("[p,a.de]"), lambda folder: os.mkfifo(folder / "p"), seconds=20, end="either"),
    Input("train on binary files", TRAIN.format("[x,x]"), write("x", bytes(range(256)) * 50)),
    Input("train on empty files", TRAIN.format("[x,x]"), write("x", "")),
    Input("train on empty lines", TRAIN.format("[x,x]"), write("x", "\n" * 60)),
    Input("train on fewer lines", TRAIN.format("[a.en,x]"), write("x", "one\n")),
    Input("train on one long line", TRAIN.format("[x,x]"), write("x", "word " * 500_000)),
    Input("train on a loop of links", TRAIN.format("[x,x]"), lambda folder: (folder / "x").symlink_to("x")),
    Input("train on a table without a name", TRAIN.format(".tsv"), write(".tsv", "a\tb\n")),
]
