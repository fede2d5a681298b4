"""Make an included model of a run: 8-bit weights, calibration, and a model card with its evaluation.

    python -m benchmarks.included_model --run runs/en-de --valid valid.en valid.de --train train.en train.de \\
        --test own test.en test.de --test newstest2014 newstest2014.en newstest2014.de --history history.md

Writes transformer/included/SOURCE-TARGET and benchmarks/results/included_SOURCE_TARGET.json. --history is Markdown that
says with which commands the weights were made. The sentences of the card are those of evaluate/sentences, translated
as they come out. `sentences/s` are those of the test splits named first, in float32 on 1 and 2 threads, and with
CTranslate2 in int8 if it is installed.

    python -m benchmarks.included_model --cards

renews the first lines of the cards, which the Hugging Face Hub reads, with the saved figures, and changes no weights.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.runner import RESULTS, ROOT, Tables, about_machine, new_result, save, say, table, temporary_folder
from common.arguments import CommandParser
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.config import BackendName
from evaluate.test_sets import SENTENCES
from evaluate.translator import Translator
from transformer.config import ModelConfig
from transformer.included_models import FOLDER, included_models
from transformer.model_card import Score, complete_card, transformers_note
from transformer.pretrained import read_about

BEAMS = (1, 2, 4)
LINES = 500
"""Lines that are timed."""
LANGUAGES = {"en": "English", "de": "German"}
DATA = """## Data and licences

Trained on 227,269 sentence pairs of four sources, and on nothing else. The weights may be used and changed under the
licence of this project (MIT), with this attribution:

| source | licence |
|---|---|
| [Tatoeba](https://tatoeba.org) and its contributors | CC BY 2.0 FR |
| [LibreOffice](https://www.libreoffice.org) help texts, The Document Foundation and contributors | MPL 2.0 |
| [PHP manual](https://www.php.net/manual), the PHP Documentation Group | CC BY 3.0 |
| [MLQE-PE](https://github.com/sheffieldnlp/mlqe-pe), sentences of Wikipedia | CC0 |"""


def main() -> None:
    """Make the folder and save the figures."""
    if sys.argv[1:] == ["--cards"]:
        renew_cards()
        return
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="model folder")
    parser.add_argument("--valid", nargs=2, type=Path, required=True, metavar="FILE")
    parser.add_argument("--train", nargs=2, type=Path, required=True, metavar="FILE")
    parser.add_argument("--test", nargs=3, action="append", required=True, metavar=("NAME", "SOURCE", "REFERENCE"))
    parser.add_argument("--history", type=Path, required=True, help="Markdown: how the weights were made")
    args = parser.parse_args()
    about = read_about(args.run)
    source, target = about["source_lang"], about["target_lang"]
    folder = FOLDER / f"{source}-{target}"
    if "calibration" not in about:
        valid = ["--source", str(args.valid[0]), "--reference", str(args.valid[1]), "--text", *map(str, args.train)]
        call("-m", "evaluate.calibrate", "--model", str(args.run), *valid)
    shutil.rmtree(folder, ignore_errors=True)
    call("-m", "transformer.convert", "--to", "int8", str(args.run), str(folder))
    beams = {beam: evaluate(folder, *args.valid, "--beam", str(beam)) for beam in BEAMS}
    tests = {name: evaluate(folder, Path(src), Path(ref)) for name, src, ref in args.test}
    speeds = measure_speeds(folder, read_all_lines(Path(args.test[0][1]))[:LINES])
    sentences = read_all_lines(SENTENCES / f"everyday.{source}")
    pairs = list(zip(sentences, Translator.from_pretrained(folder)(sentences), strict=True))
    size = sum(file.stat().st_size for file in folder.iterdir())
    result = new_result(direction=f"{source}-{target}", bytes=size, beams=beams, tests=tests, speeds=speeds)
    (folder / "README.md").write_text(
        card(args.run / "README.md", result, pairs, args.history.read_text(encoding="utf-8")), encoding="utf-8"
    )
    save(f"included_{source}_{target}", result, make_tables(result))


def renew_cards() -> None:
    """Write the first lines and the note on transformers in the cards of all included models again."""
    for (source, target), folder in included_models().items():
        result = json.loads((RESULTS / f"included_{source}_{target}.json").read_text(encoding="utf-8"))
        file, note = folder / "README.md", transformers_note(ModelConfig(**read_about(folder)["model"]))
        text = with_scores(file.read_text(encoding="utf-8"), result)
        if note not in text:  # a card of an older version
            text = text.replace("\n\n## Training\n", f"\n\n{note}\n\n## Training\n", 1)
        file.write_text(text, encoding="utf-8")
        say(f"wrote {file}")


def with_scores(card: str, result: dict[str, Any]) -> str:
    """Return a card whose first lines have licence, tags, and the scores of the test sets."""
    scores = [
        Score(name, metric, own[key], own[signature])
        for name, own in result["tests"].items()
        for metric, key, signature in (("BLEU", "bleu", "signature"), ("chrF2", "chrf", "chrf_signature"))
    ]
    return complete_card(card, f"paper-transformer-{result['direction']}", "mit", scores)


def call(*words: str) -> None:
    """Run a Python command of this project. Raises CalledProcessError if it fails."""
    say(" ".join(words))
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def evaluate(folder: Path, source: Path, reference: Path, *options: str) -> dict[str, Any]:
    """Return the figures of a test set."""
    with temporary_folder() as work:
        out = ["--output", str(work), "--json", str(work / "figures"), *options]
        call("evaluate/bleu.py", "--model", str(folder), "--source", str(source), "--reference", str(reference), *out)
        report = json.loads((work / "figures").read_text(encoding="utf-8"))
    return {
        "lines": report["lines"],
        "bleu": round(report["bleu"], 2),
        "signature": report["signature"],
        "chrf": round(report["scores"]["chrf2"]["score"], 2),
        "chrf_signature": report["scores"]["chrf2"]["signature"],
        "sentences_per_second": round(report["sentences_per_second"], 1),
    }


def measure_speeds(folder: Path, lines: list[str]) -> dict[str, float]:
    """Return lines per second of each backend, without loading the model."""
    before, speeds = torch.get_num_threads(), {}
    programs: list[tuple[BackendName, str]] = [("torch", "float32"), ("ctranslate2", "int8")]
    for backend, compute_type in programs:
        if backend == "torch" or find_spec("ctranslate2"):
            for threads in (1, 2):
                torch.set_num_threads(threads)
                translator = Translator.from_pretrained(
                    folder, backend=backend, compute_type=compute_type, protect=False
                )
                translator(lines[:20])
                started = time.perf_counter()
                translator(lines)
                speeds[f"{backend} {compute_type}, {threads} threads"] = round(
                    len(lines) / (time.perf_counter() - started), 1
                )
    torch.set_num_threads(before)
    return speeds


def card(of_run: Path, result: dict[str, Any], pairs: list[tuple[str, str]], history: str) -> str:
    """Return the card of the run with further sections."""
    source, target = result["direction"].split("-")
    text = with_scores(of_run.read_text(encoding="utf-8"), result)
    text = text.replace("--model <this folder> ", f"--from {source} --to {target} ")
    text = text.replace(
        'from_pretrained("<this folder>")', f'from_pretrained(source_lang="{source}", target_lang="{target}")'
    )
    rows = "\n".join(f"| {cell(a)} | {cell(b)} |" for a, b in pairs)
    tests = "\n".join(
        f"| {name} | {own['lines']:,} | {own['bleu']:.1f} | {own['chrf']:.1f} |"
        for name, own in result["tests"].items()
    )
    first = next(iter(result["tests"].values()))
    beams = ", ".join(
        f"{own['bleu']:.1f} with beam {beam} ({own['sentences_per_second']:.0f} sentences/s)"
        for beam, own in result["beams"].items()
    )
    speeds = ", ".join(f"{speed:.0f} ({name})" for name, speed in result["speeds"].items())
    return f"""{text.rstrip()}

{history.strip()}

{DATA}

## Evaluation

| test set | lines | BLEU | chrF2 |
|---|---|---|---|
{tests}

BLEU `{first["signature"]}`, chrF2 `{first["chrf_signature"]}`. Test sets were translated once, after all choices.
BLEU on the validation split: {beams}.

Size: {result["bytes"] / 1e6:.1f} MB, weights in 8 bits with a scale per row.
Sentences per second on an {result["machine"]["cpu"]}: {speeds}.

## What it is bad at

News and other long sentences: most training sentences are short sentences of everyday life or texts about software.
Rare names and numbers in words are sometimes changed or lost, and half of a long sentence may be missing. Markup, web
addresses, emoji and most numbers are kept by `transformer.translate`, not by the model: other programs lose some. A
fluent translation can be wrong. Do not rely on it where a mistake does harm.

## {len(pairs)} sentences, as they come out

By `transformer.translate`. None of them was chosen for its translation.

| {LANGUAGES.get(source, source)} | {LANGUAGES.get(target, target)} |
|---|---|
{rows}
"""


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def make_tables(result: dict[str, Any]) -> Tables:
    """Return BLEU and chrF of every test set, and the speeds."""
    rows = [
        [result["direction"], name, f"{own['lines']:,}", f"{own['bleu']:.1f}", f"{own['chrf']:.1f}"]
        for name, own in result["tests"].items()
    ]
    headings = ["direction", "test set", "lines", "BLEU", "chrF2"]
    note = f"BLEU: `{next(iter(result['tests'].values()))['signature']}`."
    speeds = [
        [result["direction"], backend, threads.split()[0], f"{speed:.0f}"]
        for name, speed in result["speeds"].items()
        for backend, threads in [name.split(", ")]
    ]
    columns = ["direction", "backend and type", "threads", "sentences/s"]
    return {
        "included": [table(headings, rows, note)],
        "included_speed": [table(columns, speeds, f"{about_machine(result)}.")],
    }


if __name__ == "__main__":
    run_command(main)
