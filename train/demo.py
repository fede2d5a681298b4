"""Train a small model on the built-in corpus, report BLEU and translate. This takes minutes and needs no network.

The demo runs the commands that users run. It prints each command, and stops at the first one that fails.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from common.arguments import CommandParser
from common.command import module_name, run_command
from common.errors import InputError

RUN = "runs/demo"
CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"
SENTENCES = (
    "The pizza came out of the oven and it tasted good.",
    "I know that the old woman bought the red car.",
    "Does your brother have to help the teacher on Monday?",
)
LAUNCH = shlex.split(
    "accelerate.commands.launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
)
COMMANDS = (
    (
        "1. Train on the built-in corpus. The model is the mean of the last checkpoints (section 6.1).",
        (*LAUNCH, "-m", module_name("train/train.py"), "--config", str(CONFIG), f"run_dir={RUN}"),
    ),
    (
        "2. BLEU on new sentences, and on new sentences with pairs of noun and verb that training never contained.",
        (module_name("evaluate/bleu.py"), "--model", RUN),
    ),
    ("3. Translate.", (module_name("transformer/translate.py"), "--model", RUN, *SENTENCES)),
)
"""For each step, a title and the arguments of `python -m`."""
LONGER = ("train.max_steps=2000", "run_dir=runs/demo_2000")
NEXT = f"""
Files
  {RUN}/                   the model: config.json, model.safetensors, tokenizer.model, README.md
  {RUN}/report.html        curves, translations as they improved, the data; open it in a browser
  {RUN}/metrics.jsonl      loss and BLEU during training; `tensorboard --logdir {RUN}` draws them
  {RUN}/eval/              the translations, and the report as JSON
  {RUN}/checkpoints/       the same command resumes from here if it was stopped

Next steps (first: source .venv/bin/activate)
  python -m {module_name("transformer/translate.py")} --model {RUN}    translate your own sentences
  accelerate launch -m {module_name("train/train.py")} --config {CONFIG} {" ".join(LONGER)}    train longer
  accelerate launch -m {module_name("train/train.py")} size=auto run_dir=runs/mine data.train=[my.en,my.de]
                                                     train on your own text
  docs/paper.md, transformer/model.py    read the model with the paper beside it
"""


def main() -> None:
    """Run the commands one after the other."""
    CommandParser(description=__doc__).parse_args()
    started = time.monotonic()
    for title, arguments in COMMANDS:
        print(f"\n{title}\n$ python -m {shlex.join(arguments)}\n", flush=True)
        done = subprocess.run([sys.executable, "-m", *arguments])
        if done.returncode:
            raise InputError(
                f"the command above ended with status {done.returncode}. Run the demo again to resume from there"
            )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\nDone in {minutes} min {seconds} s.\n{NEXT}", end="")


if __name__ == "__main__":
    run_command(main)
