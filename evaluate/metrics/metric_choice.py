"""Choice of the metrics of a report: what the text allows, and what is omitted and why."""

from dataclasses import dataclass
from itertools import chain

from common.writing_systems import MOSTLY, letters_by_script, unspaced_share
from evaluate.metrics.bleu_tokenizer import DEFAULT
from evaluate.metrics.limits import CHARACTERS, LINES, TER_WORDS, check_lines, first_long_line


@dataclass(frozen=True)
class MetricChoice:
    """Metrics of a report."""

    tokenizer: str = DEFAULT
    """Tokenizer of BLEU, by sacreBLEU's name."""
    asian: bool = False
    """True if TER splits Chinese and Japanese text."""
    omitted: frozenset[str] = frozenset()
    """Keys of the metrics that are omitted."""
    intervals: bool = True
    """True if confidence intervals are computed."""
    lengths: bool = True
    """True if the scores by length are computed."""
    notes: tuple[str, ...] = ()
    """What is omitted, and why."""

    @property
    def bleu(self) -> str:
        """Key of the BLEU to quote."""
        return bleu_key(self.tokenizer)


def bleu_key(tokenizer: str) -> str:
    """Return the key of BLEU with a tokenizer in the JSON of a report."""
    return f"bleu_{tokenizer}"


DEFAULT_METRICS = MetricChoice()
"""All metrics, with sacreBLEU's default tokenizer."""


def choose_metrics(
    tokenizer: str, hypotheses: list[str], references: list[list[str]], baseline: list[str] | None = None
) -> MetricChoice:
    """Return the metrics that suit a text. Raises InputError for a line that no metric can score."""
    texts = name_texts(hypotheses, references) | ({} if baseline is None else {"the baseline": baseline})
    for name, lines in texts.items():
        check_lines(name, lines)
    characters = max(sum(map(len, hypotheses)), sum(len(line) for lines in references for line in lines))
    unspaced, asian = _writing(references)
    omitted: set[str] = {"bleu_paper"} if unspaced else set()
    notes = []
    if ter := _why_no_ter(texts, unspaced and not asian):
        omitted.add("ter")
        notes.append(f"TER is omitted: {ter}")
    if characters > CHARACTERS:
        omitted |= {"chrf2", "chrf++"}
        size = f"{characters:,} characters; at most {CHARACTERS:,}"
        notes.append(f"chrF, confidence intervals and scores by length are omitted: {size}")
    elif len(hypotheses) > LINES:
        notes.append(f"confidence intervals are omitted: {len(hypotheses):,} lines; at most {LINES:,}")
    small = characters <= CHARACTERS
    return MetricChoice(tokenizer, asian, frozenset(omitted), small and len(hypotheses) <= LINES, small, tuple(notes))


def name_texts(hypotheses: list[str], references: list[list[str]]) -> dict[str, list[str]]:
    """Return the texts of a test set by the names that messages use."""
    one = len(references) == 1
    names = ["the reference" if one else f"reference {number}" for number in range(1, len(references) + 1)]
    return {"the translation": hypotheses, **dict(zip(names, references, strict=True))}


def _writing(references: list[list[str]]) -> tuple[bool, bool]:
    """Return if the references have no spaces between words, and if they are Chinese or Japanese."""
    lines = list(chain.from_iterable(references))
    scripts = letters_by_script(lines)
    unspaced = unspaced_share(lines) >= MOSTLY
    return unspaced, unspaced and scripts["Chinese characters"] + scripts["kana"] >= MOSTLY * scripts.total()


def _why_no_ter(texts: dict[str, list[str]], unspaced: bool) -> str | None:
    """Return why TER cannot be computed, or None."""
    if unspaced:
        return "it counts words, and the reference has no spaces between words"
    for name, lines in texts.items():
        if found := first_long_line(lines):
            return f"line {found[0]} of {name} has {found[1]:,} words; at most {TER_WORDS:,}"
    return None
