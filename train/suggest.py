"""Suggest settings for your own text: python -m train.suggest my.en my.de [section.field=value ...].

Prints what the text is, the rules of size=auto, the settings that they choose, the time on this machine, what to
expect, and the commands that train a new model or finetune an included one. Trains nothing. Settings that you give are
kept.
"""

from common.arguments import corpus_parser
from common.command import run_command
from train.config import RunConfig


def main() -> None:
    """Read the command line and print the suggestion."""
    parser = corpus_parser(__doc__, RunConfig)
    parser.add_argument("--yaml", metavar="FILE", help="write the settings as a YAML file for train/train.py --config")
    args = parser.parse_intermixed_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.suggestion import make_suggestion, write_yaml

    suggestion = make_suggestion(args.corpus, args.overrides, args.config)
    print("\n".join(suggestion.lines()))
    if args.yaml is not None:
        file = write_yaml(suggestion, args.yaml)
        print(f"settings    written to {file}. They train with\n            {suggestion.training_command(file)}")


if __name__ == "__main__":
    run_command(main)
