"""The report of a run: `report.html`, one page that loads nothing, written from the other files of the run folder.

It is written during training, after each validation. The files may be from somebody else: their text is escaped, and
what no run writes is left out.
"""

import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import charts
from common.charts import Line, heat_map, line_chart, short_number
from common.command import describe_error
from common.files import read_json, write_text
from common.notes import print_note
from common.page import html_page, html_table, scrolling
from common.settings import load_saved_settings
from train.config import RunConfig
from train.run.metrics_log import read_log, read_samples
from train.run.paper_comparison import public_names, read_comparison

REPORT_FILE = "report.html"
DATA_FILE = "data_report.json"
"""What was read, dropped and kept when the data were prepared: the report of `PreparedData`."""
STYLE = Path(__file__).with_name("report.css")
SHOWN = 6
"""Largest number of validations whose samples are shown, evenly spread. The first and the last are among them."""
Log = list[dict[str, float]]


@dataclass(frozen=True)
class RunFiles:
    """What the report shows, read from a run folder."""

    folder: Path
    config: RunConfig
    metrics: Log
    timing: Log
    samples: list[dict[str, Any]]
    """Lines of `samples.jsonl`, see `train/run/samples.py`."""
    data: Mapping[str, Any]
    """Report of the prepared data; {} in runs of earlier versions."""
    comparison: str
    """Comparison with the paper as Markdown; "" if there is none."""
    has_model: bool
    """True if the model folder is complete."""

    @property
    def step(self) -> int:
        """Number of updates done, as far as it was logged."""
        return int(max((line["step"] for line in self.metrics), default=0))

    @property
    def validations(self) -> Log:
        """Metrics of the validations."""
        return [line for line in self.metrics if "valid_loss" in line]

    @property
    def blocks(self) -> list[tuple[int, dict[str, float]]]:
        """Number of updates and line of each block of updates whose speed was measured."""
        lines = [line for line in self.timing if "seconds_per_update" in line]
        steps = [0, *(int(line["step"]) for line in lines)]
        return [(end - start, line) for (start, end), line in zip(pairwise(steps), lines, strict=True)]

    @property
    def seconds(self) -> float:
        """Seconds of all updates, without validation, checkpoints and interruptions."""
        return sum(updates * line["seconds_per_update"] for updates, line in self.blocks)


@contextmanager
def failures_are_warnings(run_dir: Path) -> Iterator[None]:
    """Print a warning if the block fails: a report must never end a training run."""
    try:
        yield
    except Exception as error:
        print_note(
            f"warning: {run_dir / REPORT_FILE} was not written ({type(error).__name__}: {describe_error(error)}). "
            f"Training continues. To write it later: python -m train.report {shlex.quote(str(run_dir))}"
        )


def write_report(run_dir: Path) -> Path:
    """Write `report.html` atomically. Return its path.

    Raises InputError or OSError if a file of the run folder cannot be read.
    """
    path = run_dir / REPORT_FILE
    write_text(path, html_report(read_run(run_dir)))
    return path


def read_run(run_dir: Path) -> RunFiles:
    """Read the files of a run folder. Only `config.yaml` must be there. Raises as `write_report`."""
    data = read_json(run_dir / DATA_FILE) if (run_dir / DATA_FILE).is_file() else {}
    return RunFiles(
        run_dir,
        load_saved_settings(RunConfig, run_dir / "config.yaml"),
        read_log(run_dir / "metrics.jsonl"),
        read_log(run_dir / "timing.jsonl"),
        read_samples(run_dir),
        data if isinstance(data, dict) else {},
        read_comparison(run_dir),
        (run_dir / "model.safetensors").is_file(),
    )


def html_report(run: RunFiles) -> str:
    """Return the page."""
    sections = [
        _section("Curves", _curves(run)),
        _section("Sample outputs", _samples(run)),
        _section("Attention", _attention(run)),
        _section("Worst examples", _worst(run)),
        _section("Data", _data(run)),
        _section("Comparison with the paper", _comparison(run)),
        _section("Next steps", _next_steps(run)),
    ]
    style = charts.STYLE.read_text(encoding="utf-8") + STYLE.read_text(encoding="utf-8")
    body = "\n".join(["<main>", _summary(run), *sections, "</main>"])
    return html_page(f"Run {run.folder.resolve().name}", body, style)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>\n{content}</section>'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _summary(run: RunFiles) -> str:
    config, last = run.config, run.config.train.max_steps
    data = config.data
    task = "Language model"
    if data.task == "translation":
        task = f"Translation from {data.source_lang} to {data.target_lang}"
    state = "finished" if run.step >= last and run.has_model else "not finished"
    written = time.strftime("%d %B %Y, %H:%M", time.localtime())
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in _facts(run)
    )
    return (
        f"<h1>Run {escape(run.folder.resolve().name)}</h1>\n"
        f"{_paragraph(f'{task}, trained on {public_names(data.train)}.')}\n"
        f'<progress max="{last}" value="{min(run.step, last)}" aria-label="Updates done"></progress>\n'
        f'<p class="quiet">Update {run.step:,} of {last:,}: {state}. Written on {written}. During training, '
        f"the page is written again after each validation.</p>\n<dl class='facts'>{facts}</dl>"
    )


def _facts(run: RunFiles) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of the main results."""
    if run.validations:
        newest, best = run.validations[-1], min(run.validations, key=lambda line: line["valid_loss"])
        lowest = f"lowest {best['valid_loss']:.4f}, update {best['step']:,}"
        yield "validation loss", f"{newest['valid_loss']:.4f}", lowest
        if "valid_ppl" in newest:
            yield "perplexity", short_number(newest["valid_ppl"]), "of the validation text, per token"
        if "valid_bleu" in newest:
            yield "BLEU", f"{newest['valid_bleu']:.2f}", "greedy, on validation sentences"
        if "valid_bits_per_character" in newest:
            yield "bits per character", f"{newest['valid_bits_per_character']:.4f}", "of the validation text"
    if run.blocks:
        block = run.blocks[-1][1]
        left = (run.config.train.max_steps - run.step) * block["seconds_per_update"]
        yield "training", clock(run.seconds), f"updates only; {clock(left)} left" if left > 0 else "updates only"
        if "tgt_tokens_per_second" in block:
            yield "target tokens/s", short_number(block["tgt_tokens_per_second"]), "at the last log line"
        for key, note in (("gpu_memory_mib", "largest on the GPU"), ("memory_mib", "of the main process")):
            if key in block:
                yield "memory", f"{block[key]:,.0f} MiB", note
    if skipped := sum("skipped" in line for line in run.metrics):
        yield "skipped updates", f"{skipped:,}", "not finite, or overflow of fp16"


def clock(seconds: float) -> str:
    """Return a time such as 2 h 05 min, 3 min 20 s or 4.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _curves(run: RunFiles) -> str:
    smoothing = run.config.train.label_smoothing
    training = f"training, label smoothing {smoothing:g}" if smoothing else "training"
    memory = [_line(run.timing, "memory_mib", "main process"), _line(run.timing, "gpu_memory_mib", "GPU, largest")]
    figures = [
        line_chart(
            "Loss (nats per token)",
            [_line(run.metrics, "loss", training), _line(run.metrics, "valid_loss", "validation")],
        ),
        line_chart("Perplexity (validation)", [_line(run.metrics, "valid_ppl")], log=True),
        line_chart("BLEU (validation, greedy)", [_line(run.metrics, "valid_bleu")]),
        line_chart("Bits per character (validation)", [_line(run.metrics, "valid_bits_per_character")]),
        line_chart("Learning rate", [_line(run.metrics, "lr")]),
        line_chart("Gradient norm", [_line(run.metrics, "gradient_norm")], log=True),
        line_chart("Target tokens per second", [_line(run.timing, "tgt_tokens_per_second")]),
        line_chart("Memory (MiB)", [line for line in memory if line.points]),
    ]
    if not any(figures):
        return _paragraph("Nothing has been logged yet.")
    names = [name for name in dict.fromkeys(name for line in run.validations for name in line) if name != "step"]
    rows = [
        [f"{_step(line):,}", *(short_number(line[name]) if name in line else "" for name in names)]
        for line in run.validations
    ]
    table = html_table("All validations", ["update", *(_measure_name(name) for name in names)], rows)
    return (
        f'<div class="charts">{"".join(figures)}</div>\n'
        f"<details><summary>Validations as a table</summary>{table}</details>"
    )


def _line(log: Log, key: str, name: str = "") -> Line:
    return Line(name or key, [(line["step"], line[key]) for line in log if key in line])


def _measure_name(key: str) -> str:
    names = {"valid_loss": "loss", "valid_ppl": "perplexity", "valid_bleu": "BLEU"}
    return names.get(key, key.removeprefix("valid_").replace("_", " "))


def _samples(run: RunFiles) -> str:
    lines = [line for line in run.samples if _pairs(line, "translations", 3) or isinstance(line.get("text"), str)]
    shown = spread(lines, SHOWN)
    if not shown:
        return _paragraph(
            "No samples yet. The first validation records them: translations if validation.bleu_sentences is above 0, "
            "text of a language model if validation.sample_tokens is."
        )
    if run.config.data.task == "language_modelling":
        return _paragraph("Text that the model generated, each time with the same random seed.") + "".join(
            f"<h3>Update {_step(line):,}</h3><pre class='wrapped' dir='auto'>{escape(line['text'])}</pre>"
            for line in shown
        )
    texts = [_pairs(line, "translations", 3) for line in shown]
    sentences = [(row[0], row[1]) for row in texts[-1]]
    parts = [_paragraph("Greedy translations of validation sentences. The same text is written once.")]
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


def _attention(run: RunFiles) -> str:
    shown = spread([line for line in run.samples if _is_map(line.get("attention"))], SHOWN)
    if not shown:
        return _paragraph("No attention recorded yet. The first validation records it.")
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


def _worst(run: RunFiles) -> str:
    translation = run.config.data.task == "translation"
    width = 4 if translation else 2
    line = next((line for line in reversed(run.samples) if _pairs(line, "worst", width, numbers=1)), None)
    if line is None:
        return _paragraph("No examples recorded yet. Validation records them.")
    rows = [[f"{row[0]:g}", *row[1:]] for row in _pairs(line, "worst", width, numbers=1)]
    if translation:
        caption, headings = "The lowest sentence chrF first", ("chrF", "source", "reference", "translation")
        text = "The translations that share the fewest character sequences with their reference"
    else:
        caption, headings = "The highest loss first", ("loss", "text")
        text = (
            "The validation passages with the highest loss in nats per token, of the passages that were read for this"
        )
    table = html_table(caption, headings, rows)
    return f"{_paragraph(f'{text}, after update {_step(line):,}.')}<div class='long'>{table}</div>"


def _data(run: RunFiles) -> str:
    splits = {name: run.data.get(name) for name in ("train", "valid")}
    found = {name: counts for name, counts in splits.items() if isinstance(counts, dict)}
    if not found:
        return _paragraph(f"{DATA_FILE} is missing: the run is from an earlier version.")
    labels = list(dict.fromkeys(str(label) for counts in found.values() for label in counts))
    rows = [[label, *(_count(counts.get(label)) for counts in found.values())] for label in labels]
    names = {"train": "training", "valid": "validation"}
    unit = "sentence pairs" if run.config.data.task == "translation" else "text"
    parts = [html_table(f"What was read and kept: {unit}", [unit, *(names[name] for name in found)], rows)]
    if isinstance(changed := run.data.get("changed_pairs"), int):
        parts.append(
            _paragraph(f"Unicode or spaces of {changed:,} training pairs were changed (data.normalize_unicode).")
        )
    if notes := [note for note in run.data.get("notes") or [] if isinstance(note, str)]:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    return "".join([*parts, *_dropped(run)])


def _dropped(run: RunFiles) -> Iterator[str]:
    """Yield the examples of each filter."""
    if run.config.data.task != "translation":
        return
    if not isinstance(dropped := run.data.get("dropped"), dict):
        yield _paragraph("The data were prepared by an earlier version, which kept no examples of dropped pairs.")
        return
    for split, name in (("train", "training"), ("valid", "validation")):
        of_split = dropped.get(split)
        for label in of_split if isinstance(of_split, dict) else ():
            if rows := _pairs(of_split, label, 2):
                table = html_table(f"The first {name} pairs: {label}", ("source", "target"), rows)
                yield f"<details><summary>Dropped {name} pairs: {escape(str(label))}</summary>{table}</details>"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _comparison(run: RunFiles) -> str:
    tables = list(_markdown_tables(run.comparison))
    if not tables:
        return _paragraph("There is no comparison: paper_comparison.md is missing.")
    heading, *rows = tables[0]
    differing = [row for row in rows if row[-1] == "yes"]
    caption = "Where this run differs from the paper"
    parts = [html_table(caption, heading[:-1], [row[:-1] for row in differing])]
    parts.append(
        f"<details><summary>All {len(rows)} compared properties</summary>"
        f"{html_table('All compared properties', heading, rows)}</details>"
    )
    parts += [html_table("Facts about this run", table[0], table[1:]) for table in tables[1:]]
    return "".join(parts)


def _markdown_tables(text: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a Markdown text as rows of cells, the heading first."""
    table: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip().replace("&#124;", "|") for cell in line.strip().strip("|").split("|")]
            table.append(cells)
        elif table:
            yield [table[0], *(row for row in table[2:] if len(row) == len(table[0]))]
            table = []


def _next_steps(run: RunFiles) -> str:
    return "".join(
        f"<h3>{escape(title)}</h3>{_paragraph(text) if text else ''}"
        f"{scrolling(title, f'<pre>{escape(command)}</pre>') if command else ''}"
        for title, text, command in _commands(run)
    )


def _commands(run: RunFiles) -> Iterator[tuple[str, str, str]]:
    """Yield title, text and command of what can follow."""
    folder, settings = shlex.quote(str(run.folder)), run.config.train
    again = f"accelerate launch train/train.py --config {folder}/config.yaml run_dir={folder}"
    where = "Start it in the folder where you started the run, so that relative paths of the data are the same."
    if not (run.has_model and run.step >= settings.max_steps):
        yield "Resume the run", f"It continues after the newest checkpoint. {where}", again
    text = f"The run resumes after update {run.step:,}. {where}"
    if run.config.schedule.name != "noam":
        end = run.config.schedule.decay_steps or settings.max_steps
        text += (
            f" The learning rate has its last value, {run.config.schedule.lowest_lr:g}, from update {end:,} on. If the "
            "model needs a longer schedule, train again in another run_dir."
        )
    yield "Train longer", text, f"{again} train.max_steps={2 * settings.max_steps}"
    if run.has_model:
        if run.config.data.task == "translation":
            yield "Translate", "", f'python -m transformer.translate --model {folder} "A sentence."'
            test = "--source test.en --reference test.de"
            yield "Evaluate on a test set", "", f"python evaluate/bleu.py --model {folder} {test}"
            explain = f'python -m transformer.explain --model {folder} "A sentence." --html explain.html'
            yield "See how a sentence is translated", "", explain
        else:
            yield "Generate text", "", f'python -m transformer.generate --model {folder} --prompt "Text"'
        yield (
            "Use the weights with the lowest validation loss", "They may be better than the mean of the last checkpoints.",
            f"python -m train.average {folder} --best --out {folder}-best",
        )  # fmt: skip
    yield "Write this page again", "", f"python -m train.report {folder}"


def _step(line: Mapping[str, Any]) -> int:
    """Return the update of a line of `samples.jsonl`, which `read_samples` has checked."""
    return int(line["step"])


def _pairs(line: Mapping[str, Any], key: str, width: int, numbers: int = 0) -> list[list[Any]]:
    """Return the rows of a list: `numbers` numbers, then texts, `width` in all. Rows of another form are left out."""
    rows = line.get(key)
    return [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list)
        and len(row) == width
        and all(isinstance(value, int | float) for value in row[:numbers])
        and all(isinstance(text, str) for text in row[numbers:])
    ]


def _is_map(found: Any) -> bool:
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
