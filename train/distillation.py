"""New training text by a teacher, a model that translates text with beam search.

If the teacher has the direction of the training pairs, it translates their sources: sequence-level distillation (Kim
and Rush, 2016). If it has the other direction, it translates their targets: back-translation (Sennrich et al., 2016).
The result is two parallel text files, which the trainer reads like any others.
"""

import io
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import find_files, read_json, reject_links, sha256, write_json
from common.input_bytes import check_rereadable
from common.notes import print_note
from common.text import one_line
from common.text_input import group_lines, read_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import iterate_pairs, load_corpora
from evaluate.translation_writer import TranslationWriter
from evaluate.translator import Translator
from train.own_text import corpus_override
from train.run_time import duration

LINES = 2_000
"""Largest number of lines that are translated at once: what a killed process loses."""
SECONDS = 10.0
"""Time between two lines about the progress."""
STATE = "progress.json"
UNFINISHED = ".part"
"""Suffix of a text file that is not complete."""


class PairFiles:
    """Two parallel text files, `source.LANGUAGE` and `target.LANGUAGE`, that grow by groups of lines.

    `progress.json` has their sizes after the last complete group. What a killed process wrote after it is removed, so
    no line is lost or written twice. The names have the suffix `.part` until the files are complete.
    """

    def __init__(self, folder: Path, languages: tuple[str, str], origin: dict[str, Any]) -> None:
        """Create the files, or open those of a process that was stopped.

        `origin` is what the new lines depend on. Raises InputError if the folder has files of another origin.
        """
        sides = zip(("source", "target"), languages, strict=True)
        self.files = [folder / f"{side}.{language}" for side, language in sides]
        self._parts = [file.with_name(file.name + UNFINISHED) for file in self.files]
        self._state = folder / STATE
        reject_links(folder, [file.name for file in (*self.files, *self._parts, self._state)])
        state = read_json(self._state) if self._state.is_file() else None
        if state is None and any(file.exists() for file in self.files):
            raise InputError(f"{folder} has {self.files[0].name} or {self.files[1].name}. Give a new folder")
        state = state or {"origin": origin, "lines": 0, "bytes": [0, 0], "complete": False}
        for name, value in origin.items():
            if (before := state["origin"].get(name)) != value:
                raise InputError(f"{folder} was begun with {name}={before}, not {value}. Give a new folder")
        self.origin = origin
        self.lines: int = state["lines"]
        self.bytes: list[int] = state["bytes"]
        self.complete: bool = state["complete"]
        self._rename() if self.complete else self._truncate()

    def skip(self, lines: Iterator[str], side: int) -> None:
        """Take the lines that are translated already. Raises InputError if the files have others."""
        with self._paths[side].open("rb") as written:
            for number in range(1, self.lines + 1):
                line = next(lines, None)
                if line is None or _encode(line) != written.readline():
                    raise InputError(
                        f"line {number} of the text is not that of {self._paths[side]}, which was begun with another "
                        "text. Give a new folder"
                    )

    def append(self, sources: list[str], targets: list[str]) -> None:
        """Write a group of lines to the disk."""
        for side, lines in enumerate((sources, targets)):
            with self._parts[side].open("ab") as out:
                out.writelines(map(_encode, lines))
                out.flush()
                os.fsync(out.fileno())
                self.bytes[side] = out.tell()
        self.lines += len(sources)
        self._save()

    def finish(self) -> None:
        """Give the files their names."""
        self.complete = True
        self._save()
        self._rename()

    @property
    def _paths(self) -> list[Path]:
        return self.files if self.complete else self._parts

    def _save(self) -> None:
        state = {"origin": self.origin, "lines": self.lines, "bytes": self.bytes, "complete": self.complete}
        write_json(self._state, state)

    def _truncate(self) -> None:
        for part, size in zip(self._parts, self.bytes, strict=True):
            part.touch()
            if part.stat().st_size < size:
                raise InputError(f"{part} is damaged: it has less than {size:,} bytes. Give a new folder")
            os.truncate(part, size)

    def _rename(self) -> None:
        for part, file in zip(self._parts, self.files, strict=True):
            if part.exists():
                part.replace(file)


def _encode(line: str) -> bytes:
    return one_line(line).encode("utf-8", "replace") + b"\n"


def find_side(translator: Translator, config: DataConfig) -> int:
    """Return which side of the training pairs the teacher translates: 0 is the source, 1 the target.

    Raises InputError if it has other languages than the pairs.
    """
    if config.has_directions:
        raise InputError("data.train names directions, and distillation is for one. Name the corpus of one direction")
    of_teacher, of_pairs = (translator.source_lang, translator.target_lang), (config.source_lang, config.target_lang)
    if of_teacher == of_pairs:
        return 0
    if of_teacher[::-1] == of_pairs:
        return 1
    raise InputError(
        f"the teacher translates from {' to '.join(of_teacher)}, and the pairs are from {' to '.join(of_pairs)}. "
        "Set data.source_lang and data.target_lang, or give a teacher of one of these directions"
    )


def find_origin(translator: Translator, folder: Path) -> dict[str, Any]:
    """Return what the translations depend on: the files of the teacher and its decoding settings."""
    files = (("teacher", "model.safetensors"), ("tokenizer of the teacher", "tokenizer.model"))
    origin: dict[str, Any] = {name: sha256(folder / file)[:16] for name, file in files}
    decode = {f"decode.{name}": value for name, value in asdict(translator.config).items() if name != "batch_tokens"}
    return origin | decode


def corpus_lines(config: DataConfig, side: int, work: Path) -> tuple[Iterator[str], int]:
    """Return one side of the pairs of `data.train`, unfiltered, and their number. `work` is for intermediate files."""
    pairs = load_corpora(config.train, config, "train", work)
    return (line for columns in iterate_pairs(pairs) for line in columns[side]), len(pairs)


def text_lines(patterns: Iterable[str | Path]) -> tuple[Iterator[str], int]:
    """Return the lines of text files and their number. Raises FileNotFoundError, and InputError for a pipe."""
    files = [file for pattern in patterns for file in find_files(pattern)]
    for file in files:
        check_rereadable(file)
    return (line for file in files for line in read_lines(file)), sum(1 for file in files for _ in read_lines(file))


def distill(translator: Translator, lines: Iterator[str], total: int, output: PairFiles, side: int) -> None:
    """Translate the lines that are not translated yet and write them with their translations, group by group."""
    if total == 0:
        raise InputError("the text is empty. Give a text with sentences")
    output.skip(lines, side)
    if output.complete:
        if output.lines != total:
            raise InputError(f"{output.files[side]} is complete and the text has more lines. Give a new folder")
        return
    if output.lines:
        print_note(f"{output.lines:,} of {total:,} lines are translated already")
    writer = TranslationWriter(translator, translator.segmenter())
    first, started = output.lines, time.monotonic()
    reported = started
    for group in group_lines(lines, len, LINES):
        out = io.StringIO(newline="\n")
        writer.write(out, group, output.lines + 1)
        columns = [group, out.getvalue().removesuffix("\n").split("\n")]
        output.append(columns[side], columns[1 - side])
        if (now := time.monotonic()) > reported + SECONDS or output.lines == total:
            speed, reported = (output.lines - first) / (now - started), now
            left = duration((total - output.lines) / speed / 3600)
            print_note(f"{output.lines:,} of {total:,} lines, {speed:.1f} lines/s, {left} left")
    output.finish()
    writer.print_notes()


def describe_result(output: PairFiles, config: DataConfig, own_text: bool) -> str:
    """Return what was written, and the settings of a run that trains on it. `own_text`: `data.train` was not read."""
    new = list(map(str, output.files))
    original: Any = config.train
    if own_text:
        original = "ORIGINAL"
    elif isinstance(original, str):
        original = [original]
    corpora = original if isinstance(original, list) and isinstance(original[0], list) else [original]
    lines = [
        f"wrote {new[0]} and {new[1]}: {output.lines:,} pairs",
        f"to train on the original pairs too: {shlex.quote(corpus_override([*corpora, new]))}",
        f"to train on these pairs only: {shlex.quote(corpus_override(new))}",
    ]
    if config.valid is None:
        lines.append("Set data.valid too. Otherwise, pairs of the teacher are held out for validation.")
    return "\n".join(lines)
