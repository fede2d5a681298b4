"""The report of a sweep: one row per file and value of the grid, as Markdown, CSV and a picture."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import write_text
from common.settings import flatten_settings
from evaluate.metrics.paired_seeds import p_value
from train.experiments import Experiment

PAPER = "paper.csv"
"""Figures of a publication, in the folder of the YAML files: a column `row`, and columns that the report shows."""
SEEDS_ONLY = {"train.seed", "run_dir"}


@dataclass(frozen=True)
class Row:
    """The results of one row of a sweep with all seeds that are finished."""

    name: str
    settings: Mapping[str, Any]
    """Settings that differ from the base row."""
    results: Sequence[Mapping[str, Any]]
    """Results of the seeds."""
    p: float | None
    """p of the difference in BLEU from the base row, by approximate randomisation over sentences and seeds."""

    def values(self, name: str) -> list[float]:
        """Return one figure of all seeds."""
        return [float(result[name]) for result in self.results]


def make_rows(experiments: Sequence[Experiment], base: str | None = None) -> list[Row]:
    """Return the rows that have results, in the order of the experiments.

    Args:
        base: row that the others are compared with; None is the first one.

    Raises InputError if there is no such row, or if the rows were scored in different ways.
    """
    names = list(dict.fromkeys(one.row for one in experiments))
    base = names[0] if base is None else base
    if base not in names:
        raise InputError(f"--base {base} is not a row of this sweep. The rows are {', '.join(names)}")
    found = {name: [one for one in experiments if one.row == name] for name in names}
    results = {name: [result for one in found[name] if (result := one.result())] for name in names}
    ways = {(result["test_set"], result["signature"]) for own in results.values() for result in own}
    if len(ways) > 1:
        raise InputError(f"the runs have different test sets or signatures: {' and '.join(map(str, sorted(ways)))}")
    first = flatten_settings(found[base][0].config)
    rows = []
    for name in names:
        if results[name]:
            own = flatten_settings(found[name][0].config)
            changed = {key: own[key] for key in own if own[key] != first[key] and key not in SEEDS_ONLY}
            tested = name != base and bool(results[base])
            p = p_value(_statistics(results[name]), _statistics(results[base])) if tested else None
            rows.append(Row(name, changed, results[name], p))
    return rows


def _statistics(results: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    return [np.array(result["statistics"]) for result in results]


def make_table(rows: Sequence[Row], base: str, paper: Path | None) -> list[list[str]]:
    """Return headings and rows of text. `paper` is a CSV file with figures to show; None: there is none."""
    own = [row for row in rows if row.name == base]
    published = _read_paper(paper) if paper is not None and paper.is_file() else {}
    columns = list(next(iter(published.values()), {}))
    pronouns = all(result["pronouns_all"] for row in rows for result in row.results)
    headings = ["row", "settings", "parameters", "seeds", "perplexity", "BLEU", f"BLEU minus {base}", "p"]
    headings += ["agreeing pronouns (%)"] * pronouns + [f"paper: {name}" for name in columns]
    table = [headings]
    for row in rows:
        bleu = statistics.mean(row.values("bleu"))
        minus = [bleu - statistics.mean(own[0].values("bleu"))] if own and row.name != base else []
        cells = [row.name, ", ".join(f"`{key}={json.dumps(value)}`" for key, value in row.settings.items())]
        cells += [f"{row.results[0]['parameters']:,}", str(len(row.results))]
        cells += [_spread(row.values("perplexity"), 2), _spread(row.values("bleu"), 1)]
        cells += [f"{minus[0]:+.1f}" if minus else "", "" if row.p is None else f"{row.p:.3f}"]
        if pronouns:
            shares = [100 * result["pronouns_right"] / result["pronouns_all"] for result in row.results]
            cells.append(_spread(shares, 1))
        table.append([*cells, *(published.get(row.name, {}).get(name, "") for name in columns)])
    return table


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the mean, and the lowest and the highest of several values."""
    several = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{several}"


def _read_paper(file: Path) -> dict[str, dict[str, str]]:
    """Return the columns of each row. Raises InputError if the file has no column `row`."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    if not rows or "row" not in rows[0]:
        raise InputError(f"{file} has no column `row`. Its first line must name the columns, and one of them is `row`")
    return {row.pop("row"): row for row in rows}


def write_report(rows: Sequence[Row], base: str, paper: Path | None, runs: Path) -> str:
    """Write report.md, report.csv and report.svg to the folder of the runs. Return the Markdown."""
    table = make_table(rows, base, paper)
    first = rows[0].results[0]
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    lines.insert(1, f"|{' --- |' * len(table[0])}")
    note = (
        f"Test set: {first['test_set']}. BLEU: `{first['signature']}`. Perplexity: per subword, on the validation set. "
        "Mean of the seeds, with the lowest and the highest. p: approximate randomisation over sentences and seeds "
        f"(Clark et al., 2011), against {base}."
    )
    markdown = "\n".join(lines) + f"\n\n{note}\n"
    write_text(runs / "report.md", markdown)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    write_text(runs / "report.csv", text.getvalue())
    write_text(runs / "report.svg", draw(rows, base))
    return markdown


def draw(rows: Sequence[Row], base: str) -> str:
    """Return a picture: BLEU of each seed as a dot, their mean as a line, and the mean of the base row through all."""
    values = [value for row in rows for value in row.values("bleu")]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    left, width, height = 150, 380, 22

    def x(value: float) -> float:
        return left + width * (value - low + margin) / (high - low + 2 * margin)

    bottom = height * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 10}" height="{bottom + 36}" '
        f'viewBox="0 0 {left + width + 10} {bottom + 36}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>BLEU of each row: dots are seeds, bars are means, the line is the mean of {escape(base)}</title>",
        f'<rect width="{left + width + 10}" height="{bottom + 36}" fill="white"/>',
    ]
    for mean in [statistics.mean(row.values("bleu")) for row in rows if row.name == base]:
        parts.append(f'<line x1="{x(mean):.1f}" y1="5" x2="{x(mean):.1f}" y2="{bottom}" stroke="#999"/>')
    for i, row in enumerate(rows):
        y, mean = height * i + 20, statistics.mean(row.values("bleu"))
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + width}" y2="{y}" stroke="#eee"/>')
        parts.append(f'<rect x="{x(mean) - 1.5:.1f}" y="{y - 8}" width="3" height="16" fill="#c4511c"/>')
        parts += [
            f'<circle cx="{x(value):.1f}" cy="{y}" r="3.5" fill="#1f6fb2" fill-opacity="0.7"/>'
            for value in row.values("bleu")
        ]
    for value in np.linspace(low, high, 5) if high > low else [low]:
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:.1f}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{bottom + 32}" text-anchor="middle">BLEU</text></svg>')
    return "\n".join(parts) + "\n"
