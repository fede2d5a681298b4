"""Limits of text that can be scored, so that no metric takes all memory or does not end.

sacreBLEU keeps the n-grams of all references, about 200 bytes per character for BLEU and 400 for chrF, and the
statistics of all resamples, about 0.1 MB per line. TER takes up to 0.5 s for two lines of 500 words that have the
same words in another order (2-core AMD EPYC).
"""

from collections.abc import Iterator

from common.errors import InputError
from common.progress_bar import ProgressBar
from common.writing_systems import count_words

LINE_CHARACTERS = 200_000
"""Largest number of characters of a line that is scored."""
CHARACTERS = 5_000_000
"""Largest number of characters of translation or references for chrF and confidence intervals."""
LINES = 10_000
"""Largest number of lines for confidence intervals and paired tests."""
TER_WORDS = 500
"""Largest number of words in a line for TER."""
DELAY = 5
"""Seconds after which the progress of a metric is shown."""


def check_lines(name: str, lines: list[str]) -> None:
    """Raise InputError if a line is too long for every metric."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARACTERS:
            raise InputError(
                f"line {number} of {name} has {len(line):,} characters; a line that is scored has at most "
                f"{LINE_CHARACTERS:,}. Split it, in all files in the same way."
            )


def check_comparable(references: list[list[str]]) -> None:
    """Raise InputError if the text is too large for the paired tests of --baseline."""
    lines, characters = len(references[0]), sum(len(line) for lines in references for line in lines)
    if lines > LINES or characters > CHARACTERS:
        raise InputError(
            f"--baseline compares at most {LINES:,} lines of {CHARACTERS:,} characters; the reference has {lines:,} "
            f"lines of {characters:,} characters. Compare on a part of the test set."
        )


def blocks(hypotheses: list[str], references: list[list[str]]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the text in blocks of consecutive lines of about `CHARACTERS` characters."""
    start = characters = 0
    for row, texts in enumerate(zip(hypotheses, *references, strict=True)):
        characters += sum(map(len, texts))
        if characters > CHARACTERS or row == len(hypotheses) - 1:
            yield hypotheses[start : row + 1], [lines[start : row + 1] for lines in references]
            start, characters = row + 1, 0


class ShowProgress(list[str]):
    """A list of lines that shows on standard error how far a metric has read it, after `DELAY` seconds."""

    def __iter__(self) -> Iterator[str]:
        with ProgressBar("scoring", len(self), "lines", delay=DELAY) as bar:
            for line in super().__iter__():
                yield line
                bar.update(1)


def first_long_line(lines: list[str]) -> tuple[int, int] | None:
    """Return number and words of the first line that is too long for TER."""
    counts = ((number, count_words(line)) for number, line in enumerate(lines, 1) if len(line) > TER_WORDS)
    return next(((number, words) for number, words in counts if words > TER_WORDS), None)
