"""Words that the project does not use, with the terms to write instead."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = {
    r"departures?": "difference from the paper; comment `# Differs from the paper: …`",
    r"bricks?": "bucket batch",
    r"slices?(?!\()": "micro-batch (Python's `slice(…)` is allowed)",
    r"cuts?|cutting": "split, divide; a damaged file is truncated",
    r"box(es)?": "length bucket",
    r"null[ _-]?rows?": "padding row",
    r"verdicts?": "filter reason; level (of the doctor)",
    r"ledgers?": "comparison with the paper; file paper_comparison.md",
    r"incidents?": "failed update",
    r"rehears\w+": "smoke test (benchmark); memory check (before training)",
    r"by heart": "overfit on one batch",
    r"planted|poison\w*": "injected",
    r"stretch(es)?": "block of consecutive lines",
    r"seldom": "rare, rarely",
    r"anew|made again|go(es)? on|going on|went on": "again, rebuilt, resume, continue",
    r"to the bit|same bits": "bit-identical",
    r"cure[ds]?|made good": "fix, repaired; in messages: Set …, Use …",
    r"in the place of": "instead of",
    r"report[ _-]?cards?": "evaluation report",
    r"contestants?|(?<!by )peers?": "compared programs",
    r"(more|spare|make|leave|leaves|no) room|(?<!for )room (for|in|of)": "spare buffer; free space (of a disk)",
    r"arrows?": "import direction (the library is written Arrow)",
    r"undisturbed": "uninterrupted run",
    r"half a surrogate": "lone surrogate",
    r"processors?": "CPU",
    r"data[ _-]sets?": "dataset",
    r"mute": "Hub that does not answer",
}
"""For each pattern, what to write instead. A word also counts as a part of an identifier."""
CASE_SENSITIVE = {r"arrows?", r"processors?"}
"""Patterns that ignore capitalised words: Arrow and SentencePieceProcessor are names of libraries."""
ALLOWED = {
    "tests/docs/test_words.py": tuple(WORDS),
    "train/config.py": (r"bricks?",),  # old names of settings, which are refused
    "tests/train/test_training.py": (r"bricks?",),  # settings of a run of an earlier version
    "train/run/paper_comparison.py": (r"ledgers?",),  # file of earlier versions
    "tests/train/run/test_paper_comparison.py": (r"ledgers?",),
    "train/run/failed_update.py": (r"incidents?",),  # file of earlier versions
    "tests/train/run/test_failed_update.py": (r"incidents?",),
    "data_pipeline/batch_plan.py": (r"bricks?",),  # a key of the random numbers: another word would change all batches
}
"""Patterns that a file may contain, with the reason."""
LIBRARIES = re.compile(r'"\.?arrow"|_arrow|pyarrow\S*|logits_processor|platform\.processor|by peer|viewBox')
"""Text of libraries, which is not checked."""
PENDING: tuple[str, ...] = ()
"""Files and folders that are not checked yet."""
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".sh", "Makefile")
FOLDERS = (
    "common", "configs", "transformer", "data_pipeline", "evaluate", "train", "serve", "paper_transformer",
    "benchmarks", "tests", "docs", ".github", ".ci",
)  # fmt: skip
EXEMPT = ("data_pipeline/builtin/", "tests/data_pipeline/builtin/", "transformer/included/", "CHANGELOG.md")
"""The changelog names what was replaced; the built-in corpus and the examples of model cards are text to translate."""


@cache
def checked_lines() -> list[tuple[str, int, str]]:
    """File, line number and text of all lines that are checked."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = sorted(path.relative_to(ROOT).as_posix() for path in files if path.name.endswith(SUFFIXES))
    return [
        (name, number, LIBRARIES.sub("", line))
        for name in names
        if not name.startswith((*EXEMPT, *PENDING))
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
    ]


def find(pattern: str) -> list[str]:
    """The places of a pattern, as a word or as a part of an identifier such as `null_row` or `NullRow`."""
    flags = 0 if pattern in CASE_SENSITIVE else re.IGNORECASE
    word = re.compile(rf"(?<![a-zA-Z])(?:{pattern})(?![a-z])", flags)
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, number, line in checked_lines()
        if word.search(line if pattern in CASE_SENSITIVE else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", line))
        and pattern not in ALLOWED.get(name, ())
    ]


@pytest.mark.parametrize("pattern", WORDS)
def test_word_is_not_used(pattern: str) -> None:
    assert find(pattern) == [], f"write instead: {WORDS[pattern]}"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("null_row", r"null[ _-]?rows?"),
        ("NullRow", r"null[ _-]?rows?"),
        ("Slice", r"slices?(?!\()"),
        ("NULL_ROWS", r"null[ _-]?rows?"),
    ],
)
def test_find_sees_words_in_identifiers(text: str, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_words.checked_lines", lambda: [("a.py", 1, f"x = {text}")])
    assert len(find(pattern)) == 1
    assert find(r"seldom") == []


def test_find_ignores_names_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["x[slice(1)]", "import SentencePieceProcessor", "an Arrow table"]
    monkeypatch.setattr("tests.docs.test_words.checked_lines", lambda: [("a.py", 1, line) for line in lines])
    assert [find(pattern) for pattern in WORDS] == [[]] * len(WORDS)
