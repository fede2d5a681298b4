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
from typing import Any, TextIO

from common.command import describe_error, run_command
from common.errors import InputError
from data_pipeline.sources.tables import read_lines
from evaluate.backends.ctranslate2 import CTranslate2Translator
from evaluate.config import DecodeConfig
from evaluate.options import (
    add_compute_type,
    add_decode_options,
    add_sampling_options,
    decode_config,
    read_decode_config,
    sample_config,
)
from evaluate.scorer import Scorer, token_texts
from evaluate.segmentation.lines import Cutter, translate_cut
from evaluate.translator import LineTooLong, Translation, Translator
from transformer.prepacked import prepack
from transformer.pretrained import find_folder, read_about

AnyTranslator = Translator | CTranslate2Translator
_OPENERS: dict[str, Callable[..., TextIO]] = {".gz": gzip.open, ".xz": lzma.open}
READ_BYTES = 1 << 16  # of standard input at a time, or as much as there is


def parse_args() -> argparse.Namespace:
    """The command line; exits with 2 where options do not go together."""
    parser = argparse.ArgumentParser(
        description="Translate sentences: those given, or the lines of --input, or those of standard input. A sentence "
        "that is longer than the model takes is translated in parts, and said to be.",
    )
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="a sentence to translate")
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--input", type=Path, help="text file, one sentence a line, plain, .gz or .xz")
    parser.add_argument(
        "--output", type=Path, help="file for the translations, plain, .gz or .xz; written whole or not at all"
    )
    parser.add_argument(
        "--documents", action="store_true", help="a line may be several sentences: each is translated on its own"
    )
    parser.add_argument("--prefix", type=Path, help="text file: what the translation of each line begins with")
    parser.add_argument(
        "--n-best", type=int, default=1, help="translations of a sentence: number, score, text on a line each"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line: source, and translations with scores"
    )
    parser.add_argument("--token-scores", action="store_true", help="with --json: the log-probability of each token")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="with --json: for each token of a translation the weights of the last layer's heads, on average, on the "
        "tokens of the source",
    )
    parser.add_argument(
        "--backend",
        choices=("torch", "ctranslate2"),
        default="torch",
        help="ctranslate2 computes faster on a CPU, from an export that is made on first use (docs/export.md)",
    )
    add_compute_type(parser, "; ctranslate2 has int8 and more")
    add_decode_options(parser)
    add_sampling_options(parser)
    args = parser.parse_args()
    if args.sentences and args.input:
        parser.error("give either sentences or --input")
    if args.prefix and not (args.sentences or args.input):
        parser.error("--prefix needs sentences or --input")
    if (args.token_scores or args.attention) and not args.json:
        parser.error("--token-scores and --attention need --json")
    if args.documents and (args.prefix or args.token_scores or args.attention):
        parser.error("--prefix, --token-scores and --attention are for single sentences, without --documents")
    if args.backend == "ctranslate2" and (args.samples or args.prefix or args.token_scores or args.attention):
        parser.error("--samples, --prefix, --token-scores and --attention are for the backend torch")
    if args.samples is not None and args.n_best != 1:
        parser.error("give either --samples or --n-best")
    return args


def main() -> None:
    """Translate from wherever the command line says."""
    args = parse_args()
    folder = find_folder(args.model)
    base = read_decode_config(folder)
    # The input is read before the model: a missing file is reported at once.
    lines = list(read_lines(args.input)) if args.input else args.sentences
    language = str(read_about(folder).get("source_lang", "en"))
    writer = Writer(load(folder, decode_config(args, base), args), args, language)
    with open_output(args.output) as out:
        if lines or args.input:
            writer.write(out, lines, 1, progress=args.output is not None and sys.stderr.isatty())
        elif sys.stdin is not None and sys.stdin.isatty():
            prompt(out, writer)
            return
        else:
            first_line = 1
            for chunk in read_stdin():
                try:
                    writer.write(out, chunk, first_line)
                except LineTooLong as error:  # the lines before it may have been waiting for their translation
                    writer.write(out, chunk[: error.index], first_line)
                    raise
                first_line += len(chunk)
    writer.tell()


def load(folder: Path, config: DecodeConfig, args: argparse.Namespace) -> AnyTranslator:
    """The backend that the options name."""
    if args.backend == "ctranslate2":
        return CTranslate2Translator.from_pretrained(folder, config, compute_type=args.compute_type)
    translator = Translator.from_pretrained(folder, config, compute_type=args.compute_type)
    prepack(translator.model)
    return translator


class Writer:
    """Translates lines and writes what the options ask for."""

    def __init__(self, translator: AnyTranslator, args: argparse.Namespace, language: str) -> None:
        """`language` is the code of the source's. Raises ValueError for options out of range."""
        self.translator = translator
        self.args = args
        self.sampling = sample_config(args)
        self.prefixes = list(read_lines(args.prefix)) if args.prefix else None
        self.too_long: list[int] = []  # numbers of lines that were cut and of which nothing has been said
        beam = translator.config.beam
        if not 1 <= args.n_best <= beam:
            raise InputError(f"--n-best {args.n_best} needs a --beam of at least as many, not {beam}")
        # What belongs to the tokens of a whole sentence does not go with parts of it.
        self.cuts = not (args.prefix or args.token_scores or args.attention)
        self.cutter = Cutter(translator.tokenizer, translator.max_len, language, args.documents)

    def write(self, out: TextIO, lines: list[str], first_line: int, progress: bool = False) -> None:
        """Translate some lines. Raises LineTooLong where the options keep a line from being cut."""
        if self.cuts:
            cuts = self.cutter.cut(lines)
            self.too_long += [number for number, cut in enumerate(cuts, first_line) if cut.too_long]
            translated = translate_cut(cuts, lambda parts: self._translate(parts, first_line, progress))
        else:
            translated = self._translate(lines, first_line, progress)
        if self.args.json:
            for about in self._objects(lines, translated):
                print(json.dumps(about, ensure_ascii=False), file=out)
        elif self.args.n_best == (self.args.samples or 1) == 1:
            for best in translated:
                print(best[0].text, file=out)
        else:
            for number, best in enumerate(translated, first_line):
                for t in best:
                    print(number, f"{t.score:.4f}", t.text, sep="\t", file=out)
        out.flush()

    def tell(self) -> None:
        """Say, in one sentence on standard error, which lines were cut since it was said last."""
        if self.too_long:
            named = ", ".join(map(str, self.too_long[:10])) + ", …" * (len(self.too_long) > 10)
            lines = f"line{'s' * (len(self.too_long) > 1)} {named}"
            most = self.translator.max_len
            print(f"note: {lines} translated in parts: the model takes at most {most} tokens", file=sys.stderr)
        self.too_long = []

    def _translate(self, lines: list[str], first_line: int, progress: bool) -> list[list[Translation]]:
        encoded = self.translator.encode(lines, first_line)
        if isinstance(self.translator, CTranslate2Translator):
            return self.translator.translate_ids(encoded, self.args.n_best, progress)
        prefixes = self.translator.encode_prefixes(self.prefixes)
        if self.sampling:
            return self.translator.sample_ids(encoded, self.sampling, progress, prefixes)
        return self.translator.translate_ids(encoded, self.args.n_best, progress, prefixes)

    def _objects(self, lines: list[str], translated: list[list[Translation]]) -> list[dict[str, Any]]:
        """For each line its text, and its translations with the score they are ranked by and their log-probability."""
        config, tokenizer = self.translator.config, self.translator.tokenizer
        penalty = {"alpha": config.alpha, "length_penalty": config.penalty_formula}
        items = [[{"text": t.text, "score": t.score, "log_prob": t.log_prob} for t in best] for best in translated]
        objects = [{"source": line, **penalty, "translations": i} for line, i in zip(lines, items, strict=True)]
        if isinstance(self.translator, CTranslate2Translator) or not (self.args.token_scores or self.args.attention):
            return objects
        scorer = Scorer(self.translator)
        encoded = self.translator.encode(lines)
        sources = [ids for ids, best in zip(encoded, translated, strict=True) for _ in best]
        outputs = [t.tokens for best in translated for t in best]
        flat: list[dict[str, Any]] = [item for best in items for item in best]
        if self.args.token_scores:
            for item, score in zip(flat, scorer.score_ids(sources, outputs), strict=True):
                item["tokens"] = score.details(tokenizer)
        if self.args.attention:
            for about, ids in zip(objects, encoded, strict=True):
                about["source_tokens"] = token_texts(tokenizer, ids)
            for item, weights in zip(flat, scorer.cross_attention(sources, outputs), strict=True):
                item["attention"] = weights[-1].mean(0).tolist()
        return objects


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
            raise InputError(f"standard input, line {number}: byte 0x{wrong:02x} is not UTF-8: convert it") from error
        texts.append(text.removeprefix("\ufeff") if number == 1 else text)
    if texts:
        yield texts


def prompt(out: TextIO, writer: Writer) -> None:
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
            writer.write(out, [line], number)
            writer.tell()
        except ValueError as error:  # a line that is too long must not end the conversation
            print(f"error: {describe_error(error)}", file=sys.stderr)


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
    run_command(main)
