"""Six sentences with references and two translations, for the tests of metrics and reports."""

from pathlib import Path

SOURCES = [
    "The house is very big.",
    "He said: no!",
    "",
    "A “new” rule — for 3.5% of us.",
    "I see it.",
    "One two three.",
]
REFERENCES = [
    "Das Haus ist sehr groß.",
    "Er sagte: nein!",
    "",
    "Eine „neue“ Regel – für 3,5% von uns.",
    "Ich sehe es.",
    "Eins zwei drei.",
]
HYPOTHESES = [
    "Das Haus ist Sehr groß.",
    "er sagt: nein!",
    "",
    "Die „neue“ Regel für 3,5% von uns.",
    "Es sehe ich",
    "One two three.",
]
WORSE = ["Haus ist gross", "er sagt", "x", "Die Regel für uns.", "Es", "One two three."]


def write_lines(path: Path, lines: list[str]) -> str:
    """Write a text file; return its path."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
