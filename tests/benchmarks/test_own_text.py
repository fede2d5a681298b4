"""The benchmark of the recipe for own text."""

import json
from pathlib import Path

import pytest

from benchmarks.own_text import cpu_seconds, make_tables, take_lines, write_grammar
from benchmarks.tables import render


def test_cpu_seconds_adds_processes() -> None:
    spent = [10, 20, 30, 5, 15]  # the second process counts from 0
    assert cpu_seconds([{"step": 10 * n, "cpu_seconds": seconds} for n, seconds in enumerate(spent, 1)]) == 45


def test_take_lines_keeps_line_ends(tmp_path: Path) -> None:
    source, _ = write_grammar(tmp_path)
    first = take_lines(source, 7, tmp_path / "first")
    assert first.read_bytes() == b"".join(source.read_bytes().splitlines(keepends=True)[:7])


@pytest.mark.parametrize(("threads", "words"), [(None, "all cores"), (1, "1 thread."), (2, "2 threads")])
def test_table_names_threads(threads: int | None, words: str) -> None:
    row = {
        "pairs": 400, "settings": {"data.vocab_size": 1000}, "threads": threads, "parameters": 1_054_208,
        "updates": 540, "target_tokens": 348_000, "minutes": 1.5, "cpu_minutes": 1.4, "start_said": "about 1 minute",
        "bleu": 8.25, "signature": "s", "test_lines": 1000,
    }  # fmt: skip
    machine = {"gpu": None, "cpu": "a CPU", "cores": 2, "versions": {"torch": "2"}}
    tables = json.loads(json.dumps(make_tables({"machine": machine, "rows": [row]})))
    shown = render(tables["own_text"])
    assert "| 400 | 1.1 | 1,000 | 540 | 0.35 | about 1 minute | 1.5 | 1.4 | 8.2 |" in shown
    assert words in shown
