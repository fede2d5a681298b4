"""The sections of a report with text: sample outputs, attention, the worst examples, data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from common.charts import heat_map
from common.page import html_table
from train.run.run_files import DATA_FILE, RunFiles

SHOWN = 6
"""Largest number of validations whose samples are shown, evenly spread. The first and the last are among them."""


def samples_section(run: RunFiles) -> str:
    """Return outputs for the same inputs at several validations."""
    lines = [line for line in run.samples if _pairs(line, "translations", 3) or isinstance(line.get("text"), str)]
    shown = spread(lines, SHOWN)
    if not shown:
        return paragraph(
            "No samples yet. The first validation records them: translations if validation.bleu_sentences is above 0, "
            "text of a language model if validation.sample_tokens is."
        )
    if run.config.data.task == "language_modelling":
        return paragraph("Text that the model generated, each time with the same random seed.") + "".join(
            f"<h3>Update {_step(line):,}</h3><pre class='wrapped' dir='auto'>{escape(line['text'])}</pre>"
            for line in shown
        )
    texts = [_pairs(line, "translations", 3) for line in shown]
    sentences = [(row[0], row[1]) for row in texts[-1]]
    parts = [
        paragraph("Greedy translations of validation sentences. A translation that has not changed is not repeated.")
    ]
    for n, (source, reference) in enumerate(sentences):
        rows = [("source", source)]
        for line, found in zip(shown, texts, strict=True):
            text = found[n][2] if n < len(found) and found[n][:2] == [source, reference] else ""
            if text != rows[-1][1] or len(rows) == 1:
                rows.append((f"update {_step(line):,}", text))
        parts.append(_sample_table([*rows, ("reference", reference)]))
    return "".join(parts)


def _sample_table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td dir='auto'>{escape(text)}</td></tr>" for name, text in rows
    )
    return f"<div class='sample'><table><tbody>{cells}</tbody></table></div>"


def attention_section(run: RunFiles) -> str:
    """Return maps of attention at several validations."""
    shown = spread([line for line in run.samples if is_map(line.get("attention"))], SHOWN)
    if not shown:
        return paragraph("No attention recorded yet. The first validation records it.")
    meaning = "A row is a word of the text, a column a word that it attends to: self-attention"
    if run.config.data.task == "translation":
        meaning = (
            "A row is a word of the reference that the decoder is about to write, a column a word of the source that "
            "it reads: cross-attention"
        )
    maps = "".join(heat_map(f"Update {_step(line):,}", **line["attention"]) for line in shown)
    return (
        f"<p>One validation example. {meaning} of the last layer, mean of all heads. The darker (in dark mode: the "
        f'brighter) a cell, the larger its weight.</p><div class="maps">{maps}</div>'
    )


def worst_section(run: RunFiles) -> str:
    """Return the worst examples of the last validation."""
    translation = run.config.data.task == "translation"
    width = 4 if translation else 2
    line = next((line for line in reversed(run.samples) if _pairs(line, "worst", width, numbers=1)), None)
    if line is None:
        return paragraph("No examples recorded yet. Validation records them.")
    names: tuple[str, ...] = ("loss", "text")
    text = "the validation passages with the highest loss in nats per token, of the passages that were read for this"
    if translation:
        names = ("chrF", "source", "reference", "translation")
        text = "the translations with the lowest chrF. They share the fewest character sequences with their reference"
    tables = (
        _sample_table(zip(names, (f"{row[0]:g}", *row[1:]), strict=True))
        for row in _pairs(line, "worst", width, numbers=1)
    )
    return f"{paragraph(f'After update {_step(line):,}: {text}.')}<div class='worst'>{''.join(tables)}</div>"


def data_section(run: RunFiles) -> str:
    """Return what was read, dropped and kept, with examples."""
    splits = {name: run.data.get(name) for name in ("train", "valid")}
    found = {name: counts for name, counts in splits.items() if isinstance(counts, dict)}
    if not found:
        return paragraph(f"{DATA_FILE} is missing: the run is from an earlier version.")
    labels = list(dict.fromkeys(str(label) for counts in found.values() for label in counts))
    rows = [[label, *(_count(counts.get(label)) for counts in found.values())] for label in labels]
    names = {"train": "training", "valid": "validation"}
    unit = "sentence pairs" if run.config.data.task == "translation" else "text"
    parts = [html_table(f"What was read and kept: {unit}", [unit, *(names[name] for name in found)], rows)]
    if isinstance(changed := run.data.get("changed_pairs"), int):
        parts.append(
            paragraph(f"Unicode or spaces of {changed:,} training pairs were changed (data.normalize_unicode).")
        )
    if notes := [note for note in run.data.get("notes") or [] if isinstance(note, str)]:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    return "".join([*parts, *_dropped(run)])


def _dropped(run: RunFiles) -> Iterator[str]:
    """Yield the examples of each filter."""
    if run.config.data.task != "translation":
        return
    if not isinstance(dropped := run.data.get("dropped"), dict):
        yield paragraph("The data were prepared by an earlier version, which kept no examples of dropped pairs.")
        return
    for split, name in (("train", "training"), ("valid", "validation")):
        of_split = dropped.get(split)
        if not isinstance(of_split, dict):
            continue
        for label in of_split:
            if rows := _pairs(of_split, label, 2):
                table = html_table(f"The first {name} pairs: {label}", ("source", "target"), rows)
                yield f"<details><summary>Dropped {name} pairs: {escape(str(label))}</summary>{table}</details>"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def paragraph(text: str) -> str:
    """Return a paragraph of text, which is escaped here."""
    return f"<p>{escape(text)}</p>"


def _step(line: Mapping[str, Any]) -> int:
    """Return the update of a line of `samples.jsonl`, which `read_samples` has checked."""
    return int(line["step"])


def _pairs(line: Mapping[str, Any], key: str, width: int, numbers: int = 0) -> list[list[Any]]:
    """Return the rows of a list: `numbers` numbers, then texts, `width` in all. Rows of another form are ignored."""
    rows = line.get(key)
    return [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list)
        and len(row) == width
        and all(isinstance(value, int | float) for value in row[:numbers])
        and all(isinstance(text, str) for text in row[numbers:])
    ]


def is_map(found: Any) -> bool:
    """Return True for what `samples.example_attention` returns."""
    if not isinstance(found, dict) or found.keys() != {"rows", "columns", "weights"}:
        return False
    rows, columns, weights = found["rows"], found["columns"], found["weights"]
    return (
        all(isinstance(part, list) for part in (rows, columns, weights))
        and all(isinstance(label, str) for label in (*rows, *columns))
        and len(weights) == len(rows)
        and all(isinstance(row, list) and len(row) == len(columns) for row in weights)
        and all(isinstance(weight, int | float) and 0 <= weight <= 1 for row in weights for weight in row)
    )
