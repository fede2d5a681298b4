"""python -m transformer.translate --model runs/x "A sentence.": raw text in, raw text out.

Sentences come from the command line, from a file (--input), from standard input, or from a person at a prompt.
Lines end at "\\n" and nowhere else; every line gives exactly one line, an empty one an empty one. Text is UTF-8
whatever the locale; standard output carries translations only.
"""

import argparse
import gzip
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from configs import cli
from data_pipeline.files import read_lines
from evaluate.config import DecodeConfig
from evaluate.options import add_decode_options, decode_config, read_section
from evaluate.translator import LineTooLong, Translation, Translator
from transformer.pretrained import find_folder

_OPENERS: dict[str, Callable[..., TextIO]] = {".gz": gzip.open, ".xz": lzma.open}
READ_BYTES = 1 << 16  # of standard input at a time, or as much as there is


def parse_args() -> argparse.Namespace:
    """The command line; exits with 2 where options do not go together."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer.translate",
        description="Translate sentences: those given, or the lines of --input, or those of standard input.",
    )
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="a sentence to translate")
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--input", type=Path, help="text file, one sentence a line, plain, .gz or .xz")
    parser.add_argument(
        "--output", type=Path, help="file for the translations, plain, .gz or .xz; written whole or not at all"
    )
    parser.add_argument(
        "--n-best", type=int, default=1, help="translations of a sentence: number, score, text on a line each"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line: source, and translations with scores"
    )
    add_decode_options(parser)
    args = parser.parse_args()
    if args.sentences and args.input:
        parser.error("give either sentences or --input")
    return args


def main() -> None:
    """Translate from wherever the command line says."""
    args = parse_args()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="\n")  # type: ignore[union-attr]
    folder = find_folder(args.model)
    base = read_section(DecodeConfig, folder, "decode") or DecodeConfig()
    # The input is read before the model: a missing file is reported at once.
    lines = list(read_lines(args.input)) if args.input else args.sentences
    translator = Translator.from_pretrained(folder, decode_config(args, base))
    if not 1 <= args.n_best <= translator.config.beam:
        raise ValueError(f"--n-best {args.n_best} needs a --beam of at least as many, not {translator.config.beam}")
    with open_output(args.output) as out:
        if lines or args.input:
            write(out, translator, lines, 1, args, progress=args.output is not None and sys.stderr.isatty())
        elif sys.stdin is not None and sys.stdin.isatty():
            prompt(out, translator, args)
        else:
            first_line = 1
            for chunk in read_stdin():
                try:
                    write(out, translator, chunk, first_line, args)
                except LineTooLong as error:  # the lines before it may have been waiting for their translation
                    write(out, translator, chunk[: error.index], first_line, args)
                    raise
                first_line += len(chunk)


def write(
    out: TextIO,
    translator: Translator,
    lines: list[str],
    first_line: int,
    args: argparse.Namespace,
    progress: bool = False,
) -> None:
    """Translate some lines and write what the options ask for."""
    encoded = translator.encode(lines, first_line)
    translated = translator.translate_ids(encoded, args.n_best, progress)
    for number, (line, best) in enumerate(zip(lines, translated, strict=True), first_line):
        if args.json:
            print(to_json(line, best), file=out)
        elif args.n_best == 1:
            print(best[0].text, file=out)
        else:
            for translation in best:
                print(number, f"{translation.score:.4f}", translation.text, sep="\t", file=out)
    out.flush()


def to_json(line: str, best: list[Translation]) -> str:
    """One object: the line, and its translations with the score they are ranked by and their log-probability."""
    translations = [{"text": t.text, "score": t.score, "log_prob": t.log_prob} for t in best]
    return json.dumps({"source": line, "translations": translations}, ensure_ascii=False)


def read_stdin() -> Iterator[list[str]]:
    """The lines of standard input in chunks: what has arrived is translated before more is waited for.

    A closed standard input has none. Raises ValueError with the number of a line that is not UTF-8, after the
    lines before it.
    """
    if sys.stdin is None:
        return
    number, rest = 0, b""
    while data := os.read(sys.stdin.fileno(), READ_BYTES):
        *complete, rest = (rest + data).split(b"\n")
        yield from _decode(complete, number)
        number += len(complete)
    if rest:
        yield from _decode([rest], number)


def _decode(lines: list[bytes], before: int) -> Iterator[list[str]]:
    texts: list[str] = []
    for number, line in enumerate(lines, before + 1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            if texts:
                yield texts
            wrong = line[error.start]
            raise ValueError(f"standard input, line {number}: byte 0x{wrong:02x} is not UTF-8: convert it") from error
        texts.append(text.removeprefix("\ufeff") if number == 1 else text)
    if texts:
        yield texts


def prompt(out: TextIO, translator: Translator, args: argparse.Namespace) -> None:
    """Translate line after line for a person, until Ctrl-D."""
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    print("One sentence a line; Ctrl-D ends.", file=sys.stderr)
    number = 0
    while True:
        try:
            print("> ", end="", file=sys.stderr, flush=True)
            line = input()
        except EOFError:
            print(file=sys.stderr)
            return
        number += 1
        try:
            write(out, translator, [line], number, args)
        except ValueError as error:  # a line that is too long must not end the conversation
            print(f"error: {cli.sentence(error)}", file=sys.stderr)


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    target = path.resolve()  # behind a symbolic link, the file it names
    if target.exists() and not target.is_file():  # a device or a pipe has no content to protect
        with target.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
            yield out
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _OPENERS.get(target.suffix, open)(
            temporary, "wt", encoding="utf-8", errors="replace", newline="\n"
        ) as out:
            yield out
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    cli.run(main)
