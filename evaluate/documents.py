"""Translate a document and keep its format: HTML or subtitles."""

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from common.errors import InputError
from common.files import open_output
from common.progress_bar import shows_progress_to
from evaluate.segmentation.html import HtmlDocument
from evaluate.segmentation.subtitles import SrtDocument
from evaluate.translator import Note, Translator

Format = Literal["html", "srt", "text"]


def translate_document(translator: Translator, document: str, format: Format, note: Note = warnings.warn) -> str:
    """Return the translation of a document in the same format.

    Args:
        format: html, srt, or text, of which each line is translated.
        note: called with a sentence for each kind of text that was translated in another way than expected. Its lines
            are blocks of text on a page, or subtitles, counted from 1.

    Raises:
        InputError: the document is not in the format.
    """
    if format == "text":
        return "\n".join(found[0].text for found in translator.translate(document.split("\n"), note=note))
    parsed = parse_document(format, document)
    return parsed.join(translator.translate_masked(parsed.blocks, note))


def parse_document(format: str, document: str) -> HtmlDocument | SrtDocument:
    """Return the blocks of a document and the text around them. Raises InputError if it is not in the format."""
    match format:
        case "html":
            return HtmlDocument(document)
        case "srt":
            return SrtDocument(document)
        case _:
            raise InputError(f"format is {format!r}; it must be one of {', '.join(get_args(Format))}")


def open_document(format: str, groups: Iterable[list[str]] | None) -> HtmlDocument | SrtDocument:
    """Return the document that the lines of the input are. Raises as `parse_document`."""
    if groups is None:
        raise InputError(f"--format {format} needs a document: give --input FILE, or standard input with < FILE")
    return parse_document(format, "\n".join(line for lines in groups for line in lines))


def write_document(translator: Translator, document: HtmlDocument | SrtDocument, output: Path | None) -> None:
    """Translate a document and write it to a file or to standard output; print notes on standard error."""

    def note(message: str) -> None:
        print(f"note: of the blocks of text, {message}", file=sys.stderr)

    with open_output(output) as out:
        print(document.join(translator.translate_masked(document.blocks, note, shows_progress_to(output))), file=out)
