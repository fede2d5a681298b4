"""Copy the tables of benchmarks/results/*.json into README.md and docs/.

    python -m benchmarks.tables

A table is between `<!-- table NAME [RESULT...] -->` and `<!-- end -->`. It has the rows of the named results in
this order, or of all results that have a table of this name. Text between the two lines is replaced.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from benchmarks.runner import RESULTS, ROOT, Table
from common.command import run_command
from common.errors import InputError

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Replace every table."""
    results = read_results()
    for path in DOCUMENTS:
        path.write_text(fill(path.read_text(encoding="utf-8"), results), encoding="utf-8")


def read_results() -> dict[str, Any]:
    """Return all results by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def fill(text: str, results: dict[str, Any]) -> str:
    """Return the text with its tables replaced. Raises InputError if no result has a table."""

    def show(match: re.Match[str]) -> str:
        name, *wanted = match[1].split()
        missing = [result for result in wanted if result not in results]
        parts = [
            part for result in wanted or results for part in results.get(result, {}).get("tables", {}).get(name, [])
        ]
        if missing or not parts:
            raise InputError(f"no result in benchmarks/results has the table {match[1]!r}")
        return f"<!-- table {match[1]} -->\n{render(parts)}\n<!-- end -->"

    return re.sub(r"<!-- table ([\w ]+) -->\n.*?<!-- end -->", show, text, flags=re.DOTALL)


def render(parts: Iterable[Table]) -> str:
    """Return Markdown. Parts with equal headings become one table; their notes follow it, each once."""
    merged: list[Table] = []
    for part in parts:
        if merged and merged[-1]["headings"] == part["headings"]:
            notes = [*merged[-1]["notes"], part["note"]]
            merged[-1] = merged[-1] | {"rows": merged[-1]["rows"] + part["rows"], "notes": notes}
        else:
            merged.append({"headings": part["headings"], "rows": part["rows"], "notes": [part["note"]]})
    blocks = []
    for part in merged:
        if part["headings"]:
            lines = [part["headings"], ["---"] * len(part["headings"]), *part["rows"]]
            blocks.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
        blocks += [note for note in dict.fromkeys(part["notes"]) if note]
    return "\n\n".join(blocks)


if __name__ == "__main__":
    run_command(main)
