"""Finetune a model on your own text: python -m train.finetune --from en-de my.en my.de [section.field=value ...].

Starts from an included model (en-de, de-en), a model folder or a name on the Hugging Face Hub, with its vocabulary. The
number of pairs decides learning rate and updates (docs/own-text.md). Part of the text is held out for validation. At
the end: BLEU before and after, on your text and on other text. The same command resumes a run that was stopped.
"""

import sys

from common.arguments import corpus_parser
from common.command import run_command
from common.files import expand
from train.config import RunConfig


def main() -> None:
    """Read the command line, train, and print BLEU before and after."""
    parser = corpus_parser(__doc__, RunConfig)
    parser.add_argument("--from", dest="parent", required=True, metavar="MODEL", help="en-de, de-en, or a model folder")
    for name, what in (("test", "your kind of text (default: the held-out pairs)"), ("general", "other text, to see")):
        what += " what is forgotten (default for English and German: 60 sentences)" * (name == "general")
        parser.add_argument(
            f"--{name}", nargs=2, type=expand, metavar=("SOURCE", "REFERENCE"), help=f"test set of {what}"
        )
    args = parser.parse_intermixed_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.finetuning import finetune

    stopped_by = finetune(args.parent, args.corpus, args.overrides, args.config, args.test, args.general)
    if stopped_by is not None:
        sys.exit(128 + stopped_by)  # the exit status of a process that a signal ended


if __name__ == "__main__":
    run_command(main)
