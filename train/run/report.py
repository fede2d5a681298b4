"""The report of a run: `report.html`, one page that loads nothing, written from the other files of the run folder.

It is written during training, after each validation. The files may be from somebody else: their text is escaped, and
what no run writes is ignored.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from common import charts
from common.charts import Line, line_chart, short_number
from common.command import describe_error
from common.files import write_text
from common.notes import print_note
from common.page import html_page, html_table, scrolling
from data_pipeline.trees import TREE_LANG
from train.run.paper_comparison import public_names
from train.run.report_samples import (
    attention_section,
    data_section,
    paragraph,
    samples_section,
    worst_section,
)
from train.run.run_files import Log, RunFiles, read_run

REPORT_FILE = "report.html"
STYLE = Path(__file__).with_name("report.css")


@contextmanager
def failures_are_warnings(run_dir: Path) -> Iterator[None]:
    """Print a warning if the block fails: a report must never end a training run."""
    try:
        yield
    except Exception as error:
        print_note(
            f"warning: {run_dir / REPORT_FILE} was not written ({type(error).__name__}: {describe_error(error)}). "
            f"The run is not affected. To write it later: python -m train.report {shlex.quote(str(run_dir))}"
        )


def write_report(run_dir: Path) -> Path:
    """Write `report.html` atomically. Return its path.

    Raises InputError or OSError if a file of the run folder cannot be read.
    """
    path = run_dir / REPORT_FILE
    write_text(path, html_report(read_run(run_dir)))
    return path


def html_report(run: RunFiles) -> str:
    """Return the page."""
    sections = [
        _section("Curves", _curves(run)),
        _section("Sample outputs", samples_section(run)),
        _section("Attention", attention_section(run)),
        _section("Worst examples", worst_section(run)),
        _section("Data", data_section(run)),
        _section("Comparison with the paper", _comparison(run)),
        _section("Next steps", _next_steps(run)),
    ]
    style = charts.STYLE.read_text(encoding="utf-8") + STYLE.read_text(encoding="utf-8")
    body = "\n".join(["<main>", _summary(run), *sections, "</main>"])
    return html_page(f"Run {run.folder.resolve().name}", body, style)


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>\n{content}</section>'


def _summary(run: RunFiles) -> str:
    config, last = run.config, run.config.train.max_steps
    data = config.data
    task = "Language model"
    if data.task == "translation":
        task = f"Translation from {data.describe_directions()}"
    state = "finished" if run.step >= last and run.has_model else "not finished"
    written = time.strftime("%d %B %Y, %H:%M", time.localtime())
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in _facts(run)
    )
    return (
        f"<h1>Run {escape(run.folder.resolve().name)}</h1>\n"
        f"{paragraph(f'{task}, trained on {public_names(data.train)}.')}\n"
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
        if "valid_f1" in newest:
            yield "F1", f"{newest['valid_f1']:.2f}", "labelled brackets, greedy, on validation sentences"
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
        line_chart("BLEU (validation, greedy)", _bleu_lines(run)),
        line_chart("Labelled F1 (validation, greedy)", [_line(run.metrics, "valid_f1")]),
        line_chart("Bits per character (validation)", [_line(run.metrics, "valid_bits_per_character")]),
        line_chart("Learning rate", [_line(run.metrics, "lr")]),
        line_chart("Gradient norm", [_line(run.metrics, "gradient_norm")], log=True),
        line_chart("Target tokens per second", [_line(run.timing, "tgt_tokens_per_second")]),
        line_chart("Memory (MiB)", [line for line in memory if line.points]),
    ]
    if not any(figures):
        return paragraph("Nothing has been logged yet.")
    names = [name for name in dict.fromkeys(name for line in run.validations for name in line) if name != "step"]
    rows = [
        [f"{line['step']:,}", *(short_number(line[name]) if name in line else "" for name in names)]
        for line in run.validations
    ]
    table = html_table("All validations", ["update", *(_measure_name(name) for name in names)], rows)
    return (
        f'<div class="charts">{"".join(figures)}</div>\n'
        f"<details><summary>Validations as a table</summary>{table}</details>{_cost(run)}"
    )


def _cost(run: RunFiles) -> str:
    seconds = sum(line.get("report_seconds", 0) for line in run.timing)
    if not seconds or not run.seconds:
        return ""
    return (
        f'<p class="quiet">To record samples and to write this page has taken {clock(seconds)} until now, '
        f"{100 * seconds / run.seconds:.2g}% of the time of the updates.</p>"
    )


def _line(log: Log, key: str, name: str = "") -> Line:
    return Line(name or key, [(line["step"], line[key]) for line in log if key in line])


def _bleu_lines(run: RunFiles) -> list[Line]:
    """Return a line for each direction; with several, the mean is the first line."""
    names = dict.fromkeys(name for line in run.validations for name in line if name.startswith("valid_bleu"))
    if len(names) < 3:  # the mean of one direction is that direction
        return [_line(run.metrics, "valid_bleu")]
    return [_line(run.metrics, name, _measure_name(name)) for name in names]


def _measure_name(key: str) -> str:
    names = {"valid_loss": "loss", "valid_ppl": "perplexity", "valid_bleu": "BLEU", "valid_f1": "F1"}
    return names.get(key, key.removeprefix("valid_").replace("bleu", "BLEU").replace("_", " "))


def clock(seconds: float) -> str:
    """Return a time such as 2 h 05 min, 3 min 20 s or 4.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _comparison(run: RunFiles) -> str:
    tables = list(_markdown_tables(run.comparison))
    if not tables:
        return paragraph("There is no comparison: paper_comparison.md is missing.")
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
        f"<h3>{escape(title)}</h3>{paragraph(text) if text else ''}"
        f"{scrolling(title, f'<pre>{escape(command)}</pre>') if command else ''}"
        for title, text, command in _commands(run)
    )


def _commands(run: RunFiles) -> Iterator[tuple[str, str, str]]:
    """Yield title, text and command of what can follow."""
    folder, settings = shlex.quote(str(run.folder)), run.config.train
    config, best = (shlex.quote(f"{run.folder}{end}") for end in ("/config.yaml", "-best"))
    again = f"accelerate launch train/train.py --config {config} run_dir={folder}"
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
        if run.config.data.target_lang == TREE_LANG:
            yield "Parse", "", f'python -m transformer.parse --model {folder} "The words are separated by spaces ."'
        elif run.config.data.task == "translation":
            yield "Translate", "", f'python -m transformer.translate --model {folder} "A sentence."'
            test = "--source test.en --reference test.de"
            yield "Evaluate on a test set", "", f"python evaluate/bleu.py --model {folder} {test}"
            explain = f'python -m transformer.explain --model {folder} "A sentence." --html explain.html'
            yield "See how a sentence is translated", "", explain
        else:
            yield "Generate text", "", f'python -m transformer.generate --model {folder} --prompt "Text"'
        yield (
            "Use the weights with the lowest validation loss", "The default is the mean of the last checkpoints.",
            f"python -m train.average {folder} --best --out {best}",
        )  # fmt: skip
    yield "Write this page again", "", f"python -m train.report {folder}"
