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
    from train.finetuning import (
        add_to_card,
        check_run,
        choose_weights,
        describe_gains,
        find_parent,
        is_finished,
        measure_gains,
        read_test_sets,
    )
    from train.loop import prepare_once, train
    from train.own_text import check_languages, corpus_settings
    from train.size import load_run

    parent = find_parent(args.parent)
    check_languages(args.corpus, parent.languages, args.parent)
    sets = read_test_sets(args.test, args.general, parent.languages)
    config, run_dir = load_run(args.config, args.overrides, corpus_settings(args.corpus) | parent.settings())
    check_run(config, parent)
    stopped_by = train(config, run_dir)
    if stopped_by is not None:
        sys.exit(128 + stopped_by)  # the exit status of a process that a signal ended
    if not is_finished(run_dir, config):  # train.max_hours; the trainer has printed it
        return
    print(choose_weights(run_dir, config), flush=True)
    gains = measure_gains(parent, run_dir, config, sets, prepare_once(config))
    add_to_card(run_dir, gains, parent)
    print(describe_gains(gains, sets, parent, run_dir))
    print(f'python -m transformer.translate --model {run_dir} "A sentence."')


if __name__ == "__main__":
    run_command(main)
