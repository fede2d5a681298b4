"""Corpus metrics equal those of sacreBLEU's command line, and use its public API only."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluate.metrics.corpus_metrics import MetricScore, all_scores, sacrebleu_metrics, score_text
from tests.evaluate.texts import HYPOTHESES, REFERENCES, WORSE, write_lines

ROOT = Path(__file__).resolve().parents[3]


def score(key: str, hypotheses: list[str]) -> MetricScore:
    return score_text(*sacrebleu_metrics()[key], hypotheses, [REFERENCES])


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["-m", "bleu", "chrf", "ter"], ["bleu_13a", "chrf2", "ter"]),
        (["-m", "bleu", "chrf", "-lc", "--chrf-word-order", "2"], ["bleu_13a_lc", None]),
        (["-m", "bleu", "chrf", "-tok", "intl", "--chrf-word-order", "2"], ["bleu_intl", "chrf++"]),
        (["-m", "bleu", "-tok", "intl", "-lc"], ["bleu_intl_lc"]),
    ],
)
def test_scores_intervals_and_signatures_equal_sacrebleu_command_line(
    options: list[str], keys: list[str | None], tmp_path: Path
) -> None:
    reference, text = write_lines(tmp_path / "test.de", REFERENCES), write_lines(tmp_path / "text", HYPOTHESES)
    command = [sys.executable, "-m", "sacrebleu", reference, "-i", text, "--confidence", "-w", "9", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    for key, expected in zip(keys, printed if isinstance(printed, list) else [printed], strict=True):
        if key is None:
            continue
        found = score(key, HYPOTHESES)
        assert found.score == pytest.approx(expected["score"], abs=1e-8), key
        interval = (expected["confidence_mean"], expected["confidence_var"])
        assert (found.mean, found.interval) == pytest.approx(interval, abs=1e-8)
        assert found.signature == expected["signature"]


def test_score_text_depends_on_text() -> None:
    assert score("ter", HYPOTHESES).score < score("ter", WORSE).score
    assert score("ter", HYPOTHESES) == score("ter", HYPOTHESES)


def test_score_text_returns_interval_zero_if_all_resamples_score_zero() -> None:
    found = score("bleu_13a", ["x"] * len(REFERENCES))
    assert (found.score, found.mean, found.interval) == (0, 0, 0)


def test_score_text_reads_seed_from_sacrebleu_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    assert "bs:1000|seed:7" in score("bleu_13a", HYPOTHESES).signature


def test_all_scores_has_paper_bleu_only_if_languages_are_known() -> None:
    assert "bleu_paper" in all_scores(HYPOTHESES, [REFERENCES], ("en", "de"))
    assert "bleu_paper" not in all_scores(HYPOTHESES, [REFERENCES], None)


def test_evaluate_uses_only_public_names_of_sacrebleu() -> None:
    """Private names may disappear in any release of sacreBLEU, and its range in pyproject.toml is open."""
    for file in (ROOT / "evaluate").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "sacrebleu" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sacrebleu"):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")], file
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr.startswith("__"), f"{file}:{node.lineno}"
