"""python -m transformer.generate --model runs/x --prompt "Once": a GPT continues a text.

Prompts come from the command line or from a file; without one the model starts a document of its own. Text is UTF-8
whatever the locale; standard output carries the prompt and its continuation, and nothing else.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from common.command import run_command
from common.errors import InputError
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from transformer.prepacked import prepack

BETWEEN = "---"  # a line between one text and the next


def parse_args() -> argparse.Namespace:
    """The command line; exits with 2 where options do not go together."""
    parser = argparse.ArgumentParser(
        description="Continue a text with a GPT. Without --prompt and --prompt-file the model starts a document of its "
        "own: after the token that ends one or, where its vocabulary has none, after a line break.",
        epilog=f"A single text is written while it grows; several are divided by a line {BETWEEN}.",
    )
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--prompt", action="append", metavar="TEXT", help="text to continue; may be given several times")
    start.add_argument("--prompt-file", type=Path, metavar="PATH", help="file that is the text to continue, all of it")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line: prompt (null without one), and samples without it"
    )
    add_sample_options(parser)
    return parser.parse_args()


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """An option for every field of `SampleConfig`."""
    options: list[tuple[str, type, str]] = [
        ("temperature", float, "below 1 surer, above 1 more varied; 0 always takes the likeliest token"),
        ("top_k", int, "draw among the k likeliest tokens only"),
        ("top_p", float, "draw among the fewest likeliest tokens whose probabilities add up to p"),
        ("seed", int, "the same seed gives a prompt the same samples"),
        ("num_samples", int, "continuations of each prompt"),
        ("max_tokens", int, "a continuation ends after so many tokens, or where the model ends the document"),
    ]
    for name, kind, text in options:
        default = getattr(SampleConfig, name)
        shown = "all tokens" if default is None else default
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=default, help=f"{text} (default: {shown})")


def main() -> None:
    """Continue what the command line says."""
    args = parse_args()
    # Settings and file are looked at before the model: a mistake is reported at once.
    config = SampleConfig(**{field.name: getattr(args, field.name) for field in fields(SampleConfig)})
    prompts = [read_prompt(args.prompt_file)] if args.prompt_file else args.prompt or [None]
    generator = Generator.from_pretrained(args.model)
    prepack(generator.model)
    notes: list[str] = []  # said at the end: in a terminal they would stand in the middle of the text
    if args.json:
        for prompt, samples in zip(prompts, generator.generate(prompts, config, notes.append), strict=True):
            print(json.dumps({"prompt": prompt, "samples": samples}, ensure_ascii=False))
    elif len(prompts) == config.num_samples == 1:
        pieces = generator.stream(prompts[0], config, notes.append)
        print(prompts[0] or "", end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
    else:
        texts = generator.generate(prompts, config, notes.append)
        whole = [(prompt or "") + text for prompt, samples in zip(prompts, texts, strict=True) for text in samples]
        print(f"\n{BETWEEN}\n".join(whole))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def read_prompt(file: Path) -> str:
    """All of a UTF-8 file, its last line break included. Raises ValueError where a byte is wrong or there is none."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8: convert the file or repair the line"
        ) from error
    if not text:
        raise InputError(f"{file} is empty: leave it out to start from the beginning of a document")
    return text


if __name__ == "__main__":
    run_command(main)
