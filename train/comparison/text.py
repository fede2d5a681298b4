"""The comparison of runs as text, for the terminal."""

from collections.abc import Sequence

from train.comparison.comparison import RunComparison
from train.comparison.evaluations import TestSetComparison, describe_difference


def comparison_text(found: RunComparison) -> str:
    """Return the figures, the tests and what cannot be compared."""
    parts = ["\n".join(columns(found.figures)), *(_test_set(one) for one in found.test_sets)]
    parts += ["\n".join(f"note: {note}" for note in found.notes)] * bool(found.notes)
    return "\n\n".join(parts)


def _test_set(one: TestSetComparison) -> str:
    baseline = one.rows[1][0]
    lines = [f"{one.name}:", *columns(one.rows)]
    lines += [f"  {describe_difference(difference, baseline)}" for difference in one.differences]
    return "\n".join([*lines, *(f"  note: {note}" for note in one.notes)])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with the cells in columns, the first one aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
