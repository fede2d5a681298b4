"""The comparison of runs as one HTML page."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from common import charts
from common.charts import line_chart
from common.page import html_page, html_table
from train.comparison.comparison import RunComparison
from train.comparison.evaluations import Example, TestSetComparison, describe_difference
from train.comparison.runs import Group, differing_settings

STYLE = Path(__file__).with_name("compare.css")
CURVES = {
    "valid_loss": ("Validation loss (nats per token)", False),
    "loss": ("Training loss (nats per token)", False),
    "valid_bleu": ("BLEU (validation, greedy)", False),
    "valid_f1": ("Labelled F1 (validation, greedy)", False),
    "valid_bits_per_character": ("Bits per character (validation)", False),
    "lr": ("Learning rate", False),
    "gradient_norm": ("Gradient norm", True),
    "tgt_tokens_per_second": ("Target tokens per second", False),
}
"""Logged values that are drawn: title, and True for a logarithmic scale."""


def html_comparison(found: RunComparison) -> str:
    """Return the page."""
    title = f"Comparison of {sum(len(group.runs) for group in found.groups)} runs"
    body = [
        f"<h1>{escape(title)}</h1>",
        _figures(found),
        _notes(found.notes),
        _section("Curves", _curves(found.groups)),
        *(_section(f"Test set {one.name}", _test_set(one)) for one in found.test_sets),
        _section("Validation samples", _samples(found.groups)),
        _section("Settings that differ", _settings(found.groups)),
    ]
    style = charts.STYLE.read_text(encoding="utf-8") + STYLE.read_text(encoding="utf-8")
    return html_page(title, "\n".join(["<main>", *filter(None, body), "</main>"]), style)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>" if content else ""


def _notes(notes: Sequence[str]) -> str:
    return f"<ul class='notes'>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def _figures(found: RunComparison) -> str:
    heading, *rows = found.figures
    labels = {group.label for group in found.groups if len(group.runs) > 1}
    chosen = [n for n, row in enumerate(rows) if row[0] in labels]
    caption = "Final figures"
    if labels:
        caption += ": of several seeds, mean ± standard deviation"
    return html_table(caption, heading, rows, chosen)


def _curves(groups: Sequence[Group]) -> str:
    """Return all curves twice. Without a script, two radio buttons choose which are visible."""
    parts = []
    for name, x_name, by_minutes in (("by-update", "update", False), ("by-minutes", "minutes", True)):
        figures = [
            line_chart(title, [line for line in lines if line.points], x_name, log)
            for key, (title, log) in CURVES.items()
            for lines in [[group.curve(key, by_minutes) for group in groups]]
        ]
        parts.append(f'<div class="charts {name}">{"".join(figures)}</div>')
    if not any("<svg" in part for part in parts):
        return "<p>Nothing has been logged yet.</p>"
    buttons = "".join(
        f'<input type="radio" name="axis" id="{name}"{checked}><label for="{name}">{text}</label>'
        for name, text, checked in (
            ("by-update", "by update", " checked"),
            ("by-minutes", "by minutes of training", ""),
        )
    )
    several = any(len(group.runs) > 1 for group in groups)
    spread = (
        " A line of several seeds is their mean, and the band goes from the lowest to the highest." if several else ""
    )
    return (
        f"<p>Minutes are those of the updates, without validation and interruptions.{spread}</p>"
        f'<div class="curves" role="radiogroup" aria-label="Axis of the curves">{buttons}{"".join(parts)}</div>'
    )


def _test_set(one: TestSetComparison) -> str:
    heading, *rows = one.rows
    parts = [html_table("Scores of the evaluation reports", heading, rows)]
    if one.differences:
        tests = [
            [d.group, d.metric, f"{d.baseline:.2f}", f"{d.score:.2f}", f"{d.change:+.2f}", f"{d.p:.4f}", d.method]
            for d in one.differences
        ]
        headings = ("run", "metric", "baseline", "run's score", "difference", "p", "paired test")
        parts.append(html_table(f"Tests of the difference from {rows[0][0]}", headings, tests))
        sentences = "".join(f"<li>{escape(describe_difference(d, rows[0][0]))}</li>" for d in one.differences)
        parts.append(f"<ul>{sentences}</ul>")
    parts.append(_notes(one.notes))
    if one.examples:
        parts.append(
            "<h3>Translations side by side</h3><p>The largest gains in sentence chrF of the last run over the first, "
            "the largest losses, and evenly spread sentences whose translations differ. Of several seeds, the first "
            "one is shown.</p>"
        )
        examples = "".join(_example(example, [row[0] for row in rows]) for example in one.examples)
        parts.append(f"<div class='samples'>{examples}</div>")
    return "".join(parts)


def _example(one: Example, labels: Sequence[str]) -> str:
    texts = [("source", one.source)] if one.source is not None else []
    return _side_by_side(
        f"Line {one.line}", [*texts, ("reference", one.reference), *zip(labels, one.translations, strict=True)]
    )


def _side_by_side(caption: str, rows: Iterable[tuple[str, str | None]]) -> str:
    cells = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td dir='auto'>{escape(text or '')}</td></tr>" for name, text in rows
    )
    return f"<table class='sample'><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>"


def _samples(groups: Sequence[Group]) -> str:
    """Return the last sample translations, or texts of language models, that the first runs of all groups recorded."""
    found = [group.runs[0].sample_translations() for group in groups]
    if groups[0].runs[0].files.config.data.task == "language_modelling":
        texts = [(group.label, group.runs[0].sample_text()) for group in groups]
        return _side_by_side("Text generated at the last validation", texts) if any(t for _, t in texts) else ""
    common = [pair for pair in found[0] if all(pair in own for own in found)]
    tables = []
    for n, pair in enumerate(common, 1):
        translations = [(group.label, own[pair]) for group, own in zip(groups, found, strict=True)]
        rows = [("source", pair[0]), ("reference", pair[1]), *translations]
        tables.append(_side_by_side(f"Validation sentence {n}", rows))
    return f"<div class='samples'>{''.join(tables)}</div>" if tables else ""


def _settings(groups: Sequence[Group]) -> str:
    rows = differing_settings(groups)
    if not rows:
        return "<p>All settings are equal, except the seed.</p>"
    return html_table("Equal values of several seeds are written once", ["setting", *(g.label for g in groups)], rows)
