"""Subtitles (SubRip, `.srt`): the text of each subtitle is translated; numbers, times and line structure stay."""

import re
from itertools import accumulate

from common.errors import InputError
from common.text import has_letter
from evaluate.segmentation.placeholders import MaskedText, mask, unmask

_TIME = re.compile(r"\s*\d{1,3}:\d{1,2}:\d{1,2}[,.]\d{1,3}\s*-->\s*\d{1,3}:\d{1,2}:\d{1,2}[,.]\d{1,3}(\s.*)?")
_SPEAKER = re.compile(r"\s*(?:<[^<>]*>|\{[^{}]*\})*\s*[-–—]\s*")
_EXPECTED = "Subtitles have a number, then a time such as 00:00:01,000 --> 00:00:02,500, then text, then an empty line."


class SrtDocument:
    """A file of subtitles: `blocks` are translated; `join` returns the file with translations.

    The lines of a subtitle are one block, because a sentence often has two lines. Its translation gets as many lines,
    of similar proportions. If a line begins with a dash, each line is a block: two people speak.
    """

    def __init__(self, document: str) -> None:
        """Read a document. Raises InputError, with the number of the line, if it is not in this format."""
        self.blocks: list[MaskedText] = []
        self._output: list[str | tuple[str, list[int]]] = []
        """Lines that are copied, and for each block the text before it and the lengths of its lines."""
        text: list[str] = []
        in_subtitle = False
        lines = document.split("\n")
        for number, line in enumerate(lines, 1):
            plain = line.lstrip("\ufeff").rstrip("\r")
            if _TIME.fullmatch(plain):
                in_subtitle = True
            elif in_subtitle and plain.strip() and not _begins_subtitle(lines, number):
                text.append(line)
                continue
            elif plain.strip() and not _begins_subtitle(lines, number):
                raise InputError(f"line {number} is {plain[:40]!r}, without a time before it. {_EXPECTED}")
            self._add(text)
            text = []
            self._output.append(line)
        self._add(text)
        if not in_subtitle:
            raise InputError(f"there are no subtitles in the text. {_EXPECTED}")

    def _add(self, lines: list[str]) -> None:
        if any(map(_SPEAKER.match, lines)) and len(lines) > 1:
            for line in lines:
                self._add([line])
        elif not has_letter("".join(mask(line).visible for line in lines)):
            self._output += lines
        else:
            text = " ".join(line.strip() for line in lines)
            dash = _SPEAKER.match(text)
            before = dash[0] if dash else ""
            self._output.append((before, [max(1, len(line.strip())) for line in lines]))
            self.blocks.append(mask(text.removeprefix(before)))

    def join(self, translations: list[str]) -> str:
        """Return the document with the translations of its blocks."""
        rest = iter(translations)
        end = "\r\n" if any(isinstance(line, str) and line.endswith("\r") for line in self._output) else "\n"
        parts = []
        for line in self._output:
            if isinstance(line, str):
                parts.append(line)
            else:
                before, lengths = line
                parts.append(before + end.join(_wrap(next(rest), lengths)) + end[:-1])
        return "\n".join(parts)


def _begins_subtitle(lines: list[str], number: int) -> bool:
    """Return True if line `number` is the number of a subtitle: a time is in the line after it."""
    following = lines[number] if number < len(lines) else ""
    return lines[number - 1].lstrip("\ufeff").strip().isdigit() and bool(_TIME.fullmatch(following.rstrip("\r")))


def _wrap(text: str, lengths: list[int]) -> list[str]:
    """Divide a text at spaces outside of tags into lines of the proportions of `lengths`; fewer if it has few words."""
    masked = mask(text)
    spans = iter(masked.spans)
    spaces = [index for index, character in enumerate(masked.text) if character == " "]
    lines, start = [], 0
    for wanted in accumulate(lengths[:-1]):
        middle = len(masked.text) * wanted / sum(lengths)
        end = min((space for space in spaces if space > start), key=lambda space: abs(space - middle), default=None)
        if end is not None:
            lines.append(unmask(masked.text[start:end], spans))
            start = end + 1
    return [*lines, unmask(masked.text[start:], spans)]
