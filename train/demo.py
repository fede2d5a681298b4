"""The whole way in minutes, offline: `make demo` trains, averages, reports BLEU and translates.

It runs the commands that people use, prints each, and stops at the first that fails.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.command import run_command
from common.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
RUN = "runs/demo"
SENTENCES = (
    "The pizza came out of the oven and it tasted good.",
    "I know that the old woman bought the red car.",
    "Does your brother have to help the teacher on Monday?",
)
LAUNCH = ("accelerate", "launch", "--num_processes", "1", "--num_machines", "1")
COMMANDS = (
    (
        "1. Train on the built-in corpus; at the end the last checkpoints are averaged (section 6.1).",
        (
            *LAUNCH,
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "train/train.py",
            "--config",
            "configs/demo.yaml",
        ),
    ),
    (
        "2. BLEU on sentences it never saw, and on pairs of noun and verb that it never saw together.",
        ("python", "evaluate/bleu.py", "--model", RUN),
    ),
    ("3. Translate.", ("python", "-m", "transformer.translate", "--model", RUN, *SENTENCES)),
)
NEXT = f"""
What you have now
  {RUN}/                   the model: config.json, model.safetensors, tokenizer.model, README.md
  {RUN}/metrics.jsonl      losses and BLEU while it trained; `tensorboard --logdir {RUN}` draws them
  {RUN}/eval/              what it translated, and the report as JSON
  {RUN}/checkpoints/       from which the same command continues

What to try next (first: source .venv/bin/activate)
  python -m transformer.translate --model {RUN}               type sentences of your own
  accelerate launch train/train.py --config configs/demo.yaml train.max_steps=2000    train on
  accelerate launch train/train.py run_dir=runs/mine data.train=[my.en,my.de] data.vocab_size=8000    your own text
  transformer/model.py, then docs/paper.md                       read it with the paper beside it
"""


def main() -> None:
    """Run the commands one after the other."""
    started = time.monotonic()
    for title, command in COMMANDS:
        print(f"\n{title}\n$ {shlex.join(command)}\n", flush=True)
        done = subprocess.run(resolve(command), cwd=ROOT)
        if done.returncode:
            raise InputError(f"the command above ended with status {done.returncode}; `make demo` starts there again")
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\nDone in {minutes} min {seconds} s.\n{NEXT}", end="")


def resolve(command: tuple[str, ...]) -> list[str]:
    """The command with this interpreter, whatever the PATH says."""
    if command[0] == "accelerate":
        return [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *command[2:]]
    return [sys.executable, *command[1:]]


if __name__ == "__main__":
    run_command(main)
