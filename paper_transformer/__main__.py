"""The console command of the wheel: `paper-transformer COMMAND ...`, or `python -m paper_transformer COMMAND ...`."""

import runpy
import sys

from common.command import module_name, run_command
from common.errors import InputError
from common.versions import git_commit, package_version
from paper_transformer import __version__
from paper_transformer.completion import completed_command
from transformer.included_models import included_models

COMMANDS = {
    "translate": ("transformer/translate.py", "translate text"),
    "generate": ("transformer/generate.py", "continue a text with a language model"),
    "parse": ("transformer/parse.py", "parse sentences into constituency trees"),
    "serve": ("transformer/serve.py", "answer translation requests over HTTP"),
    "explain": ("transformer/explain.py", "show how a model translates a sentence, step by step"),
    "train": ("train/train.py", "train a model, or resume a run"),
    "suggest": ("train/suggest.py", "suggest settings for your own text, with time and expected BLEU"),
    "finetune": ("train/finetune.py", "finetune a model on your own text, with BLEU before and after"),
    "evaluate": ("evaluate/bleu.py", "translate test sets and report BLEU"),
    "parse-eval": ("evaluate/parsing.py", "report the bracket F1 of a parser, or of parsed trees"),
    "score": ("evaluate/score.py", "score existing translations with a model"),
    "prepare": ("data_pipeline/prepare.py", "prepare training data without training"),
    "doctor": ("train/doctor/__main__.py", "check data, model, memory and time before a long run"),
    "sweep": ("train/sweep.py", "train many settings with several seeds, and compare them"),
    "report": ("train/report.py", "write the report of a run again"),
    "compare": ("train/compare.py", "compare runs on one page, with significance tests"),
    "average": ("train/average.py", "rebuild the model of a run from other checkpoints"),
    "replay": ("train/replay.py", "compute a failed update again"),
    "distill": ("train/distill.py", "let a teacher translate training text"),
    "calibrate": ("evaluate/calibrate.py", "add a confidence to the translations of a model"),
    "export": ("transformer/export.py", "export a model to CTranslate2 or Argos Translate"),
    "convert": ("transformer/convert.py", "convert GPT-2 and Marian models of transformers, in both directions"),
    "demo": ("train/demo.py", "train on the built-in corpus, evaluate and translate"),
}
"""For each command, the file that runs it and a description."""
USAGE = f"""usage: paper-transformer [--version] [--help] COMMAND ...

commands (each has its own --help):
{"".join(f"  {name:<11}{text}{chr(10)}" for name, (_, text) in COMMANDS.items())}
To train with several processes: accelerate launch -m {module_name("train/train.py")} ...
"""


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    name = completed_command({command: text for command, (_, text) in COMMANDS.items()}) or name
    if name in ("-h", "--help"):
        print(USAGE, end="")
    elif name in ("-V", "--version"):
        print(describe_package())
    elif name in COMMANDS:
        sys.argv[:2] = [f"paper-transformer {name}"]  # argparse prints it in the usage
        runpy.run_module(module_name(COMMANDS[name][0]), run_name="__main__")
    else:
        raise InputError(f"there is no command {name!r}. Give one of {', '.join(COMMANDS)}")


def describe_package() -> str:
    """Return the version, the commit if it is known, the version of PyTorch, and the included models."""
    models = ", ".join(f"{source}-{target}" for source, target in included_models()) or "none"
    torch = package_version("torch")
    return (
        f"paper-transformer {__version__}\ncommit {git_commit() or 'unknown'}\ntorch {torch}\nincluded models: {models}"
    )


def console() -> None:
    """Start `main` as the console command."""
    run_command(main)


if __name__ == "__main__":
    console()
