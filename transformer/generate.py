"""Continue text with a GPT: python -m transformer.generate --model runs/x --prompt "Once"

Without a prompt the model starts a new document. Standard output contains prompts and their continuations only.
"""

import argparse
import json
import sys
from pathlib import Path

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand
from common.text_input import read_whole_text
from evaluate.options import add_generation_options, add_model, generation_config

SEPARATOR = "---"
"""Line between two texts."""


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if options exclude each other."""
    parser = CommandParser(
        description="Continue a text with a GPT. Without --prompt and --prompt-file the model starts a new document: "
        "after the token that ends a document, or after a line break if its vocabulary has no such token.",
        epilog=f"A single text is printed while it is generated. Several texts are separated by a line {SEPARATOR}.",
    )
    add_model(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--prompt", action="append", metavar="TEXT", help="text to continue; repeat for several texts")
    start.add_argument(
        "--prompt-file", type=expand, metavar="FILE", help="file whose text is the prompt; - is standard input"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object per line: prompt (null without one), and samples, without the prompt",
    )
    add_generation_options(parser)
    return parser.parse_args()


def main() -> None:
    """Continue the prompts that the command line names."""
    args = parse_args()
    # Settings and file are checked before PyTorch is imported, so that a mistake is reported at once.
    config = generation_config(args)
    prompts = [read_prompt(args.prompt_file)] if args.prompt_file else args.prompt or [None]
    from evaluate.generator import Generator

    generator = Generator.from_pretrained(args.model)
    notes: list[str] = []  # printed at the end: on a terminal they would interrupt the text
    if args.json:
        for prompt, samples in zip(prompts, generator.generate(prompts, config, notes.append), strict=True):
            print(json.dumps({"prompt": prompt, "samples": samples}, ensure_ascii=False))
    elif len(prompts) == config.num_samples == 1:
        stream = generator.stream(prompts[0], config, notes.append)  # raises for a wrong prompt before it is printed
        print(prompts[0] or "", end="", flush=True)
        for text in stream:
            print(text, end="", flush=True)
        print()
    else:
        texts = generator.generate(prompts, config, notes.append)
        complete = [(prompt or "") + text for prompt, samples in zip(prompts, texts, strict=True) for text in samples]
        print(f"\n{SEPARATOR}\n".join(complete))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def read_prompt(file: Path) -> str:
    """Return the whole text of a file, with its last line break. Raise InputError if it is empty."""
    text = read_whole_text(file)
    if not text:
        raise InputError(f"{file} is empty. Omit it to start at the beginning of a document.")
    return text


if __name__ == "__main__":
    run_command(main)
