"""Install the wheel in a new virtual environment and try the commands in another folder.

    python -m benchmarks.wheel

Builds the wheel from a clone of the checkout, so only committed files count. Installs it with pip, with the versions of
constraints.txt, beside Hugging Face's package `evaluate`. Then it runs each command of `paper-transformer` on tiny
inputs, without network, removes the package, and lists the files that are left. Needs network for the installation,
1 GB on the disk, and about 5 minutes on 2 CPU cores. Writes benchmarks/results/wheel.json; --smoke-test only prints.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command

TINY = (
    *("model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "model.max_len=64"),
    *("train.max_steps=2", "train.threads=1", "train.log_with=none", "schedule.warmup_steps=1"),
    *("checkpoints.every=1", "data.vocab_size=400"),
)
PAIRS = (
    "data.train=grammar",
    "data.grammar_pairs=300",
    "validation.bleu_sentences=2",
    "batches.tokens_per_update=2650",
)
TEXT = ("data.task=language_modelling", "data.train=text.txt", "data.vocab_type=characters", "model.architecture=gpt")
BLOCKS = ("batches.tokens_per_update=128", "batches.per_update=1", "batches.block=32")
SHORT = ("--max-extra", "4", "The car.")
FILES = ("--source", "a.en", "--reference", "a.de")


class Trial(NamedTuple):
    """A command line, and a text that it must print."""

    line: tuple[str, ...]
    expected: str
    status: int = 0


def program(*words: str) -> tuple[str, ...]:
    """Return the command line of a `paper-transformer` command."""
    return ("paper-transformer", *words)


TRIALS = (
    Trial(program("--version"), "included models: de-en, en-de"),
    Trial(program("translate", "Where is the station?"), "Bahnhof"),
    Trial(program("translate", "--from", "de", "--to", "en", "Wo ist der Bahnhof?"), "station"),
    Trial(program("translate", "--from", "fr", "Bonjour."), "python -m paper_transformer.transformer.convert", 2),
    Trial(
        (
            "python",
            "-c",
            "import evaluate, paper_transformer as p; print(evaluate.load, p.Translator.__module__)",
        ),
        "paper_transformer.evaluate.translator",
    ),
    Trial(program("explain", "--html", "page.html", "The car."), "wrote page.html"),
    Trial(program("prepare", *PAIRS[:2], "data.vocab_size=400"), "300"),
    Trial(
        program("doctor", *PAIRS, *TINY), "2 errors", 1
    ),  # the vocabulary and the schedule of the tiny run are no good
    Trial(program("train", *PAIRS, *TINY, "run_dir=runs/tiny"), "runs/tiny"),
    Trial(
        ("accelerate", "launch", "-m", "paper_transformer.train.train", *PAIRS, *TINY, "run_dir=runs/launched"),
        "runs/launched",
    ),
    Trial(program("translate", "--model", "runs/tiny", "--input", "a.en", "--output", "out.de"), ""),
    Trial(program("evaluate", "--model", "runs/tiny", *FILES), "BLEU"),
    Trial(program("score", "--model", "runs/tiny", "--source", "a.en", "--target", "a.de"), "-"),
    Trial(program("average", "runs/tiny", "--best", "--out", "averaged"), "averaged"),
    Trial(program("calibrate", "--model", "averaged", *FILES, "--sentences", "40"), "wrote calibration"),
    Trial(program("distill", "--teacher", "runs/tiny", "--out", "new", "data.train=[a.en,a.de]"), "60 pairs"),
    Trial(program("export", "--to", "ctranslate2", "--model", "runs/tiny", "--output", "ct2"), "wrote ct2"),
    Trial(program("export", "--to", "argos", "--model", "runs/tiny", "--output", "tiny.argosmodel"), "wrote tiny"),
    Trial(program("translate", "--backend", "ctranslate2", "--model", "runs/tiny", *SHORT), ""),
    Trial(program("convert", "--to", "int8", "runs/tiny", "int8"), "wrote int8"),
    Trial(program("convert", "--to", "marian", "runs/tiny", "marian"), "wrote marian"),
    Trial(program("convert", "--from", "marian", "marian", "back"), "wrote back"),
    Trial(program("translate", "--model", "back", *SHORT), ""),
    Trial(program("distill", "--teacher", "back", "--out", "new_too", "data.train=[a.en,a.de]"), "60 pairs"),
    Trial(program("train", *TEXT, *BLOCKS, *TINY, "run_dir=runs/gpt"), "runs/gpt"),
    Trial(program("generate", "--model", "runs/gpt", "--prompt", "The", "--max-tokens", "8"), ""),
    Trial(program("replay", "--help"), "usage: paper-transformer replay"),
    Trial(program("demo", "--help"), "usage: paper-transformer demo"),
    Trial(program("translat"), "there is no command 'translat'", 2),
)
"""In this order: later commands use the files of earlier ones."""


class Site:
    """A virtual environment, an empty home folder, and a folder in which commands run without network."""

    def __init__(self, work: Path) -> None:
        self.work, self.folder, self.home = work, work / "elsewhere", work / "home"
        self.folder.mkdir()
        self.home.mkdir()
        call(sys.executable, "-m", "venv", work / "venv")
        self.bin = work / "venv" / "bin"

    def pip(self, *words: str | Path) -> str:
        """Run pip and return what it prints."""
        return call(self.bin / "python", "-m", "pip", *words)

    def files(self) -> set[str]:
        """Return the files of the environment; of byte code, only that of this package."""
        found = (str(path.relative_to(self.work)) for path in (self.work / "venv").rglob("*") if not path.is_dir())
        return {name for name in found if "__pycache__" not in name or "paper_transformer" in name}

    def run(self, trial: Trial) -> dict[str, Any]:
        """Return what a command printed and whether it is what was expected."""
        offline = {"HF_HUB_OFFLINE": "1", **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = kept | offline | {"HOME": str(self.home), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        started = time.monotonic()
        done = subprocess.run(trial.line, cwd=self.folder, env=environment, capture_output=True, text=True)
        shown = (done.stdout + done.stderr).replace(str(self.work), "")
        passed = done.returncode == trial.status and trial.expected in shown
        line = next((line for line in shown.splitlines() if trial.expected in line), "")
        say(
            f"{'passed' if passed else f'FAILED, status {done.returncode}: {shown}'} {' '.join(trial.line[:3])}: {line}"
        )
        return {
            "command": " ".join(trial.line),
            "status": done.returncode,
            "passed": passed,
            "printed": line.strip()[:200],
            "seconds": round(time.monotonic() - started, 1),
        }


def main() -> None:
    """Build, install, try, remove, and save the result."""
    args = command_line(__doc__).parse_args()
    with temporary_folder() as work:
        call("git", "clone", "--quiet", ROOT, work / "checkout")
        site = Site(work)
        site.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", work / "wheels", work / "checkout")
        [wheel] = (work / "wheels").iterdir()
        constraints = ("install", "--quiet", "--constraint", ROOT / "constraints.txt")
        site.pip(*constraints, "torch")
        site.pip(*constraints, f"{wheel}[export]", "evaluate")
        say(site.pip("check"))
        site.pip("uninstall", "--quiet", "--yes", "paper-transformer")
        before = site.files()
        site.pip("install", "--quiet", "--no-deps", wheel)
        installed = site.files() - before
        write_inputs(site.folder)
        rows = [site.run(trial) for trial in TRIALS]
        in_home = sorted(str(path.relative_to(site.home)) for path in site.home.rglob("*") if path.is_file())
        site.pip("uninstall", "--quiet", "--yes", "paper-transformer")
        result = new_result(
            wheel=wheel.name,
            wheel_bytes=wheel.stat().st_size,
            installed_files=len(installed),
            rows=rows,
            left_in_environment=sorted(site.files() - before),
            written_in_home=in_home,
        )
    save("wheel", result, make_tables(result), smoke_test=args.smoke_test)


def call(*words: str | Path) -> str:
    """Run a command and return what it prints. Raises CalledProcessError if it fails."""
    say(" ".join(map(str, words)))
    return subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True).stdout


def write_inputs(folder: Path) -> None:
    """Write 60 sentence pairs and a text."""
    for language, sentence in (("en", "The car {} is red."), ("de", "Das Auto {} ist rot.")):
        (folder / f"a.{language}").write_text("".join(sentence.format(n) + "\n" for n in range(60)), encoding="utf-8")
    (folder / "text.txt").write_text("The car is red.\n" * 200, encoding="utf-8")


def shorten(command: str) -> str:
    """Return a command line with one … for settings that follow each other, except data.train and run_dir."""
    words = ["…" if re.match(r"(?!data\.train=)\w+\.\w+=", word) else word for word in command.split()]
    return re.sub(r"…( …)+", "…", " ".join(words))


def cell(printed: str) -> str:
    """Return the beginning of a printed line for a cell of a table."""
    return " ".join(printed.split())[:100].replace("|", "\\|").replace("<", "&lt;")


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each command; the result has the whole command lines."""
    rows = [
        [f"`{shorten(row['command'])}`", row["status"], "yes" if row["passed"] else "no", cell(row["printed"])]
        for row in result["rows"]
    ]
    left = ", ".join(result["left_in_environment"]) or "none"
    in_home = sorted({"/".join(Path(name).parts[:2]) for name in result["written_in_home"]})
    note = (
        f"Wheel: {result['wheel_bytes'] / 1e6:.1f} MB, {result['installed_files']:,} files after the installation. "
        f"Left in the environment after its removal: {left}. Left in the home folder: {', '.join(in_home) or 'none'}. "
        f"{about_machine(result)}, Python {result['machine']['python']}."
    )
    return {"wheel": [table(["command", "exit status", "as expected", "line that was checked"], rows, note)]}


if __name__ == "__main__":
    run_command(main)
