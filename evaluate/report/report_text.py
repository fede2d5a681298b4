"""The evaluation report as text, for the terminal and for the file of the worst sentences."""

from common.text import show_controls
from evaluate.metrics.corpus_metrics import RESAMPLES, MetricScore
from evaluate.metrics.newstest2014 import LINES
from evaluate.metrics.significance import Comparison, Difference
from evaluate.report.notes import SHOWN_LINES
from evaluate.report.report import Report, TranslationInfo, plain_signature
from evaluate.report.scores import LengthGroup


def report_text(report: Report) -> str:
    """Return the report as lines for the terminal."""
    bleu = report.bleu
    lines = [f"{show_controls(report.test_set)}: BLEU {bleu.score:.2f}"]
    header = ["metric", "score", "95%", "signature"]
    lines += text_table(header, [_score_row(score) for score in report.scores.values()], numbers=(1, 2))
    if bleu.interval is not None:
        lines.append(f"  95%: bootstrap resampling of sentences, n={RESAMPLES}, seed {_seed(bleu.signature)}")
    if report.comet is not None:
        lines.append(f"  COMET {report.comet.score:.4f} ({show_controls(report.comet.command)})")
    lines += _notes_text(report)
    if report.filtered:
        lines.append(f"  of these {LINES['all']:,} lines, the {LINES['filtered']:,} that are sacreBLEU's wmt14:")
        lines += text_table(None, [_score_row(score) for score in report.filtered.values()], numbers=(1, 2))
    lines += [f"  {report.comparable}", *_comparison_text(report.comparison)]
    if report.by_length:
        header = ["source words", "sentences", bleu.label, "chrF2", "length ratio"]
        lines += text_table(header, [_length_row(group) for group in report.by_length], numbers=(1, 2, 3, 4))
    counts = ", ".join(f"{len(found)} {problem}" for problem, found in report.suspicious.items())
    lines.append(f"  length ratio {report.length_ratio:.3f}; suspicious translations: {counts}")
    if report.pronouns is not None and report.pronouns[1]:
        right, total = report.pronouns
        lines.append(f"  pronouns that agree: {right} of {total} ({right / total:.1%})")
    return "\n".join(lines + _translation_text(report.translation, len(report.hypotheses)))


def worst_text(report: Report) -> str:
    """Return the worst sentences as blocks with source, output and reference."""
    blocks = []
    for sentence in report.worst:
        problems = "".join(f", {problem}" for problem in sentence.problems)
        texts = (("source", sentence.source), ("output", sentence.hypothesis), ("reference", sentence.reference))
        lines = [f"  {name:9}  {show_controls(text)}" for name, text in texts if text is not None]
        blocks.append("\n".join([f"line {sentence.line}: chrF2 {sentence.chrf2:.1f}{problems}", *lines]))
    return "\n\n".join(blocks) + "\n"


def _notes_text(report: Report) -> list[str]:
    empty = [f"{len(lines)} in {name} ({_numbers(lines)})" for name, lines in report.empty_lines.items()]
    return [f"  note: {note}" for note in report.notes] + ([f"  empty lines: {', '.join(empty)}"] if empty else [])


def _numbers(lines: list[int]) -> str:
    more = f" and {len(lines) - SHOWN_LINES:,} more" if len(lines) > SHOWN_LINES else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {', '.join(map(str, lines[:SHOWN_LINES]))}{more}"


def _score_row(score: MetricScore) -> list[str]:
    interval = "–" if score.interval is None else f"±{score.interval:.2f}"
    return [score.label, f"{score.score:.2f}", interval, plain_signature(score.signature)]


def _length_row(group: LengthGroup) -> list[str]:
    scores = (f"{group.bleu:.2f}", f"{group.chrf2:.2f}", f"{group.length_ratio:.3f}")
    return [group.words, str(group.sentences), *scores]


def _comparison_text(found: Comparison | None) -> list[str]:
    if found is None:
        return []
    header = ["compared with baseline", "baseline", "this", "change", "p (bootstrap)", "p (randomisation)"]
    return [
        *text_table(header, [_difference_row(one) for one in found.differences.values()], numbers=(1, 2, 3, 4, 5)),
        f"  baseline: {show_controls(found.baseline)}; paired bootstrap resampling, n={found.resamples}, and paired "
        f"approximate randomisation, n={found.trials}, seed {found.seed}",
    ]


def _difference_row(one: Difference) -> list[str]:
    scores = (one.baseline, one.score)
    p = ("–" if value is None else f"{value:.4f}" for value in (one.p_bootstrap, one.p_randomisation))
    return [one.label, *(f"{score:.2f}" for score in scores), f"{one.score - one.baseline:+.2f}", *p]


def _translation_text(info: TranslationInfo | None, sentences: int) -> list[str]:
    if info is None:
        return []
    decode = info.decode
    limits = f"output at most source + {decode.max_extra} tokens"
    if decode.max_length is not None:
        limits += f" and at most {decode.max_length}"
    if decode.min_length > 1:
        limits += f", at least {decode.min_length}"
    return [
        *_lines_text(info),
        f"  {sentences} sentences in {info.seconds:.1f} s, {sentences / info.seconds:.1f} sentences/s, "
        f"{info.compute_type} on {info.device}",
        f"  beam {decode.beam}, alpha {decode.alpha}, length penalty {decode.penalty_formula}, {limits}",
    ]


def _lines_text(info: TranslationInfo) -> list[str]:
    """Return a sentence about the lines that were not translated as they are; none if there are none."""
    counts = (
        (info.several_sentences, "with several sentences, translated one by one"),
        (len(info.too_long), "too long for the model, translated in parts"),
        (info.copied, "without a letter, copied"),
    )
    found = "; ".join(f"{count} {text}" for count, text in counts if count)
    return [f"  lines: {found}"] * bool(found)


def text_table(header: list[str] | None, rows: list[list[str]], numbers: tuple[int, ...]) -> list[str]:
    """Return indented lines with the cells in columns; the columns `numbers` are aligned to the right."""
    cells = rows if header is None else [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _seed(signature: str) -> str:
    (seed,) = [part.removeprefix("seed:") for part in signature.split("|") if part.startswith("seed:")]
    return seed
