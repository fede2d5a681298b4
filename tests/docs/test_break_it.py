"""The bugs of docs/learn/break_it.py: each is caught by the test that it names, and the command shows what it does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from benchmarks.runner import ROOT
from docs.learn import break_it
from docs.learn.bugs import BUGS, broken

TINY = (
    *(
        "data.grammar_pairs=300",
        "data.vocab_size=400",
        "data.max_length=32",
        "model.d_model=16",
        "model.n_layers=1",
        "model.n_heads=2",
    ),
    *("model.d_ff=16", "batches.tokens_per_update=1600", "batches.buckets=4", "schedule.warmup_steps=1"),
    *("train.max_steps=2", "train.log_every=1", "train.log_with=none", "train.threads=1", "validation.every=2"),
    *("validation.bleu_sentences=2", "checkpoints.every=2", "checkpoints.average_last=1"),
)


def test_each_bug_is_caught_by_its_test() -> None:
    """Each test passes without the bug and fails with it. In a process of its own, because pytest runs in it."""
    command = [sys.executable, "-m", "docs.learn.break_it", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("caught by") == len(BUGS) == 8


@pytest.mark.parametrize("number", BUGS)
def test_broken_changes_functions_inside_block_only(number: int) -> None:
    functions = [edit.function for edit in BUGS[number].edits]
    before = [function.__code__ for function in functions]
    with broken(BUGS[number]):
        assert all(function.__code__ is not code for function, code in zip(functions, before, strict=True))
    assert [function.__code__ for function in functions] == before
    for edit in BUGS[number].edits:
        assert edit.after.splitlines()[-1] in edit.diff()


def test_break_it_shows_curve_translations_and_way_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "")  # so that it is removed at the end
    monkeypatch.setattr(break_it, "SETTINGS", (*TINY, f"data.cache_dir={tmp_path / 'cache'}"))
    monkeypatch.setattr(sys, "argv", ["break_it", "3", "--runs", str(tmp_path / "runs")])
    break_it.main()
    said = capsys.readouterr().out
    assert "bug 3: validation loss" in said
    assert said.count("The pizza came out of the oven and it tasted good.") == 2
    assert "--answer" in said
    assert BUGS[3].name not in said, "the reader guesses"


def test_draw_puts_lowest_loss_at_bottom() -> None:
    lines = break_it.draw({"o": [[1, 4.0], [10, 0.0]], "3": [[10, 2.0]]}).splitlines()
    assert "o" in lines[0]
    assert lines[break_it.HEIGHT - 1].endswith("o")
    assert sum("3" in line.partition("|")[2] for line in lines) == 1


def test_tables_of_result_hide_names_of_bugs() -> None:
    result = json.loads((break_it.RESULTS / "break_it.json").read_text(encoding="utf-8"))
    assert break_it.make_tables(result) == result["tables"], "run python -m docs.learn.break_it --all"
    shown = str([result["tables"][name] for name in ("break_it", "break_it_translations")])
    assert not any(bug.name in shown for bug in BUGS.values())
