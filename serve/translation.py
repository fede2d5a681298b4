"""Translate the texts of several requests together."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from evaluate.segmentation.html import HtmlDocument
from evaluate.segmentation.lines import SegmentedLine
from evaluate.segmentation.placeholders import MaskedText, unmask
from evaluate.translation import Translation
from evaluate.translator import Translator

Format = Literal["text", "html"]
_LINE_END = re.compile(r"(\r\n|\r|\n)")


@dataclass(frozen=True)
class Job:
    """Texts of a request that one model translates."""

    translator: Translator
    texts: tuple[str, ...]
    format: Format = "text"
    n_best: int = 1
    blocks: tuple[MaskedText, ...] = ()
    """Blocks of text of a document; each is translated as a text after `texts`."""

    @property
    def characters(self) -> int:
        """Number of characters of the texts."""
        return sum(map(len, self.texts)) + sum(len(block.text) for block in self.blocks)

    @property
    def kind(self) -> tuple[int, int]:
        """Jobs of equal kind can be translated together."""
        return id(self.translator), self.n_best


@dataclass(frozen=True)
class Sentence:
    """A sentence of a text, and its translations."""

    source: str
    translations: tuple[Translation, ...]
    """Best first; at least one."""


@dataclass(frozen=True)
class TranslatedText:
    """The translations of a text, best first."""

    texts: tuple[str, ...]
    """Distinct translations; at least one."""
    confidence: float | None
    """That of the worst sentence; None if no sentence has one (`Translation.confidence`)."""
    parts: tuple[Sentence | str, ...] = ()
    """Plain text only: its sentences in order, and the copied text around them. With the best translation of each
    sentence, they are the best translation of the text."""


@dataclass(frozen=True)
class _Parsed:
    lines: list[SegmentedLine]
    join: Callable[[list[str]], str]
    """Returns the translated text from the translations of the lines."""
    ends: tuple[str, ...] = ()
    """What is after each line; () for HTML, whose lines are not one after another."""


def translate_jobs(jobs: list[Job]) -> list[list[TranslatedText]]:
    """Return the translations of each text of each job. All jobs are of one kind.

    Raises InputError if a text cannot be translated.
    """
    translator, n_best = jobs[0].translator, jobs[0].n_best
    parsed = [
        [_parse(translator, text, job.format) for text in job.texts]
        + [_Parsed(translator.segmenter(documents=True).split_masked([block]), "".join) for block in job.blocks]
        for job in jobs
    ]
    lines = [line for texts in parsed for text in texts for line in text.lines]
    found = iter(translator.translate_split([one for line in lines for one in line.alone()], n_best))
    return [[_join(text, [list(islice(found, len(line.segments))) for line in text.lines]) for text in texts]
            for texts in parsed]  # fmt: skip


def _parse(translator: Translator, text: str, format: Format) -> _Parsed:
    """Return the lines of a text, or the blocks of HTML, split into sentences."""
    if format == "html":
        document = HtmlDocument(text)
        return _Parsed(translator.segmenter(documents=True).split_masked(document.blocks), document.join)
    parts = [*_LINE_END.split(text), ""]
    segmenter = translator.segmenter(documents=True, protect=translator.protect)
    return _Parsed(
        segmenter.split(parts[::2]), lambda lines: "".join(chain(*zip(lines, parts[1::2], strict=True))),
        tuple(parts[1::2]),
    )  # fmt: skip


def _join(text: _Parsed, found: list[list[list[Translation]]]) -> TranslatedText:
    """Return the translations of a text from those of the segments of its lines.

    Number n has translation n of each line, or the last one.
    """
    lines = [line.join(segments) for line, segments in zip(text.lines, found, strict=True)]
    ranks = range(max(map(len, lines), default=1))
    texts = (text.join([line[min(rank, len(line) - 1)].text for line in lines]) for rank in ranks)
    confidences = [line[0].confidence for line in lines if line[0].confidence is not None]
    parts = tuple(part for part in _parts(text, found) if part)
    return TranslatedText(tuple(dict.fromkeys(texts)), min(confidences, default=None), parts)


def _parts(text: _Parsed, found: list[list[list[Translation]]]) -> Iterator[Sentence | str]:
    for line, segments, end in zip(text.lines, found, text.ends, strict=False):
        first, *gaps = line.gaps_around([best[0].text for best in segments])
        yield first
        for masked, best, gap in zip(line.masked_segments, segments, gaps, strict=True):
            yield Sentence(unmask(*masked), tuple(best))
            yield gap
        yield end
