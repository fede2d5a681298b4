"""Scores of parsed trees as text for the terminal, and as JSON."""

from dataclasses import asdict
from typing import Any

from evaluate.metrics.parsing_f1 import SHORT, Brackets, ParsingReport, ParsingScore
from evaluate.report.report_text import text_table

SHOWN_LABELS = 12
"""Number of labels in the text."""
SHOWN_PROBLEMS = 5
"""Number of sentences that do not count, in the text."""


def parsing_text(report: ParsingReport) -> str:
    """Return the scores as lines for the terminal."""
    scores = report.all, report.short
    rows = [[name, *(text(score) for score in scores)] for name, text in _ROWS.items()]
    lines = text_table(["", "all", f"at most {SHORT} words"], rows, numbers=(1, 2))
    rows = [[name, *_counts(score)] for name, score in report.by_length().items()]
    lines += ["", *text_table(["words", "sentences", "precision", "recall", "F1", "complete %"], rows, (1, 2, 3, 4, 5))]
    labels = report.by_label()
    rows = [
        [name, f"{found.gold:,}", f"{found.parsed:,}", *_ratios(found)]
        for name, found in list(labels.items())[:SHOWN_LABELS]
    ]
    lines += ["", *text_table(["label", "gold", "parsed", "precision", "recall", "F1"], rows, numbers=(1, 2, 3, 4, 5))]
    if len(labels) > SHOWN_LABELS:
        lines.append(f"  {len(labels) - SHOWN_LABELS} rarer labels: use --json")
    problems = [(number, tree.problem) for number, tree in enumerate(report.trees, start=1) if tree.problem]
    lines += [f"  sentence {number} does not count: {problem}" for number, problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  {len(problems) - SHOWN_PROBLEMS:,} more sentences do not count")
    return "\n".join(lines)


def parsing_json(report: ParsingReport) -> dict[str, Any]:
    """Return the scores, all labels, and why sentences do not count."""
    return {
        "all": _score_json(report.all),
        "short": _score_json(report.short),
        "by_length": {name: _score_json(score) for name, score in report.by_length().items()},
        "by_label": {name: _brackets_json(found) for name, found in report.by_label().items()},
        "problems": {number: tree.problem for number, tree in enumerate(report.trees, start=1) if tree.problem},
    }


_ROWS = {
    "sentences": lambda score: f"{score.sentences:,}",
    "of these errors, which do not count": lambda score: f"{score.errors:,}",
    "of these without a parse, which do not count": lambda score: f"{score.skipped:,}",
    "gold brackets": lambda score: f"{score.brackets.gold:,}",
    "parsed brackets": lambda score: f"{score.brackets.parsed:,}",
    "matched brackets": lambda score: f"{score.brackets.matched:,}",
    "precision %": lambda score: f"{score.brackets.precision:.2f}",
    "recall %": lambda score: f"{score.brackets.recall:.2f}",
    "F1 %": lambda score: f"{score.brackets.f1:.2f}",
    "complete match %": lambda score: f"{score.complete_match:.2f}",
    "crossing brackets per sentence": lambda score: f"{score.crossing:.2f}",
    "no crossing brackets %": lambda score: f"{score.no_crossing:.2f}",
    "at most 2 crossing brackets %": lambda score: f"{score.two_crossing:.2f}",
    "tagging accuracy %": lambda score: f"{score.tagging_accuracy:.2f}",
}


def _counts(score: ParsingScore) -> list[str]:
    return [f"{score.sentences:,}", *_ratios(score.brackets), f"{score.complete_match:.2f}"]


def _ratios(found: Brackets) -> list[str]:
    return [f"{value:.2f}" for value in (found.precision, found.recall, found.f1)]


def _score_json(score: ParsingScore) -> dict[str, Any]:
    return {name: value for name, value in asdict(score).items() if name != "brackets"} | _brackets_json(score.brackets)


def _brackets_json(found: Brackets) -> dict[str, Any]:
    return asdict(found) | {"precision": found.precision, "recall": found.recall, "f1": found.f1}
