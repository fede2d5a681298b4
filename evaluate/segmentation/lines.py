"""Split lines into segments that are translated alone, and join the translations.

A line is split into its sentences; a sentence that is too long for the model is split further. Text without a letter is
copied.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from common.errors import InputError
from common.text import has_letter, name_lines, one_line
from common.writing_systems import language_code
from data_pipeline.tokenizers import TranslationTokenizer
from evaluate.segmentation.placeholders import BREAK, MASK, MaskedText, Span, count_masks, mask, unmask
from evaluate.segmentation.sentences import split_sentences
from evaluate.translation import EMPTY, Translation

# Points at which a sentence that is too long is split, best first: after punctuation that ends or divides sentences,
# after a comma or a dash, after white space. After these come all points between characters; see `_best_split_point`.
_SPLIT_POINTS = (
    re.compile(r"(?<=[.!?…;:؟؛])[\"'»“”’)\]]*\s+|(?<=[。！？；：।॥။។።፧])"),
    re.compile(r"(?<=[,–—)\]،])\s+|(?<=[，、])"),
    re.compile(r"[\s\u200b]+"),
)
_JOINS = "\u200d\u2060\ufeffเแโใไເແໂໃໄ"
"""Characters that belong to the next one: joiners, and vowels that Thai and Lao write before their consonant."""
_JOINED = "\u200c\u200d\u2060\ufeffะำຳฯๆ\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""Characters that belong to the one before, besides combining marks: joiners, vowels, skin tones."""


@dataclass(frozen=True)
class SegmentedLine:
    """The segments of a line, with the text around them."""

    segments: tuple[str, ...]
    """Texts that are translated one by one; none if the line is empty or has no letter."""
    gaps: tuple[str, ...]
    """Text that is copied: white space, and sentences without a letter. It stands before the first segment, between
    segments and after the last, so there is one gap more than segments."""
    sentences: int = 1
    """Number of sentences into which the line was split."""
    too_long: bool = False
    """True if the line has more tokens than the model supports; for a document, if one of its sentences has."""
    spans: tuple[tuple[Span, ...], ...] = ()
    """The spans of each segment, which is a masked text; () if no segment of the line has one."""

    @property
    def masked_segments(self) -> list[MaskedText]:
        """The segments with their spans."""
        return list(map(MaskedText, self.segments, self.spans or ((),) * len(self.segments)))

    @property
    def is_copied(self) -> bool:
        """True if the line is copied, because it has no letter."""
        return not self.segments and self.gaps != ("",)

    def join(self, translated: list[list[Translation]]) -> list[Translation]:
        """Return the translations of the line, best first, from those of its segments.

        Translation n contains translation n of each segment, or the last one of a segment that has fewer. Scores and
        log-probabilities are added; tokens are joined, each segment with its EOS; the confidence is the lowest one.
        """
        if self.gaps == ("", ""):
            return translated[0]
        return [
            self._join([best[min(rank, len(best) - 1)] for best in translated])
            for rank in range(max(map(len, translated), default=1))
        ]

    def gaps_around(self, texts: list[str]) -> list[str]:
        """Return the text before, between and after the translations of the segments; see `gaps`."""
        between = [_between_sentences(text, gap) for text, gap in zip(texts, self.gaps[1:-1], strict=False)]
        return [self.gaps[0], *between, *self.gaps[-1:]][: len(texts) + 1]

    def alone(self) -> list["SegmentedLine"]:
        """Return a line for each segment."""
        return [SegmentedLine((text,), ("", ""), spans=(spans,) * bool(spans)) for text, spans in self.masked_segments]

    def _join(self, segments: list[Translation]) -> Translation:
        texts = [segment.text for segment in segments]
        confidences = [segment.confidence for segment in segments if segment.confidence is not None]
        first, *others = self.gaps_around(texts)
        return Translation(
            text=first + "".join(map("".join, zip(texts, others, strict=True))),
            score=sum((segment.score for segment in segments), 0.0),
            log_prob=sum((segment.log_prob for segment in segments), 0.0),
            tokens=tuple(token for segment in segments for token in segment.tokens),
            confidence=min(confidences, default=None),
        )


def _between_sentences(text: str, gap: str) -> str:
    """Return the gap after a translated text as its language writes it: Chinese has no space between sentences."""
    if not gap and text.endswith((".", "!", "?")):
        return " "
    return "" if gap == " " and text.endswith(("。", "！", "？")) else gap


class Segmenter:
    """Splits lines for a model that supports at most `limit` tokens."""

    def __init__(
        self,
        tokenizer: TranslationTokenizer,
        limit: int,
        language: str = "en",
        *,
        sentences: bool = True,
        symbols: bool = False,
        documents: bool = False,
        protect: bool = False,
    ) -> None:
        """Create a segmenter.

        Args:
            tokenizer: counts the tokens of a text.
            limit: largest number of tokens of a segment, EOS included.
            language: language code of the lines, such as "en".
            sentences: each sentence of a line becomes a segment. Otherwise a line is one segment, unless it is too
                long.
            symbols: text without a letter becomes a segment. Otherwise it is copied.
            documents: keep the white space at both ends of a line; implies `sentences`.
            protect: mask the spans of a line that a translation must contain unchanged (`mask`).
        """
        self.tokenizer = tokenizer
        self.limit = limit
        self.language = language_code(language)
        self.sentences = sentences or documents
        self.symbols = symbols
        self.documents = documents
        self.protect = protect

    def split(self, lines: list[str]) -> list[SegmentedLine]:
        """Split each line into segments; a line break inside a line counts as a space.

        A sentence that is too long is split at the best split point near its middle, and again if needed. White space
        between segments is kept. Raises InputError if a single character has more tokens than the limit.
        """
        return self.split_masked(list(map(self.mask, lines)))

    def split_masked(self, lines: list[MaskedText]) -> list[SegmentedLine]:
        """Split lines that are masked already. See `split`."""
        return list(map(self._split_masked, lines))

    def mask(self, line: str) -> MaskedText:
        """Return the line with its spans masked if this segmenter protects them, else without spans."""
        return mask(one_line(line)) if self.protect else MaskedText(line)

    def _split_masked(self, masked: MaskedText) -> SegmentedLine:
        line = self._split(masked.text)
        if not masked.spans:
            return line
        spans = iter(masked.spans)
        gaps, in_segments = [unmask(line.gaps[0], spans)], []
        for segment, gap in zip(line.segments, line.gaps[1:], strict=True):
            in_segments.append(tuple(islice(spans, count_masks(segment))))
            gaps.append(unmask(gap, spans))
        return replace(line, gaps=tuple(gaps), spans=tuple(in_segments) if any(in_segments) else ())

    def _split(self, line: str) -> SegmentedLine:
        if not self._is_translated(line):
            return SegmentedLine((), (one_line(line) if self.documents else copy_line(line).text,))
        line = one_line(line)
        fits = self._fits(line)
        sentences = split_sentences(line, self.language) if self.sentences or not fits else [line]
        texts = [text for sentence in sentences for text in _split_at_breaks(sentence)]
        parts = [list(self._fit(text)) for text in texts]
        segments, gaps = self._segments_and_gaps([text for sentence in parts for text in sentence])
        too_long = any(len(sentence) > 1 for sentence in parts) if self.documents else not fits
        return SegmentedLine(tuple(segments), tuple(gaps), len(sentences), too_long)

    def _is_translated(self, text: str) -> bool:
        return is_translated(text.replace(MASK, "").replace(BREAK, ""), self.symbols)

    def _segments_and_gaps(self, texts: list[str]) -> tuple[list[str], list[str]]:
        segments, gaps = [], [""]
        for text in texts:
            if not self._is_translated(text):
                gaps[-1] += text
                continue
            segment = text.strip()
            start = text.index(segment)
            gaps[-1] += text[:start]
            gaps.append(text[start + len(segment) :])
            segments.append(segment)
        if not self.documents:
            gaps[0], gaps[-1] = gaps[0].lstrip(), gaps[-1].rstrip()
        return segments, gaps

    def _fits(self, text: str) -> bool:
        return len(self.tokenizer.encode([text])[0]) <= self.limit

    def _fit(self, text: str) -> Iterator[str]:
        """Yield texts within the limit that together are `text`."""
        if self._fits(text):
            yield text
            return
        point = _best_split_point(text)
        if point is None:
            raise InputError(f"{text.strip()!r} alone has more tokens than the model's limit of {self.limit}")
        yield from self._fit(text[:point])
        yield from self._fit(text[point:])


def is_translated(text: str, symbols: bool = False) -> bool:
    """Return False for text that is copied: white space, and without `symbols` all text that has no letter."""
    return bool(text.strip()) if symbols else has_letter(text)


def copy_line(line: str) -> Translation:
    """Return a line without a letter as its translation; `EMPTY` if the line is white space."""
    return Translation(one_line(line), 0.0, 0.0, ()) if line.strip() else EMPTY


def too_long_note(lines: list[SegmentedLine], limit: int, first_line: int = 1) -> str | None:
    """Return a note about lines that were split because they are too long; None if there are none."""
    return describe_too_long([number for number, line in enumerate(lines, first_line) if line.too_long], limit)


def describe_too_long(numbers: list[int], limit: int) -> str | None:
    """Return a note about the lines with these numbers, which were too long; None if there are none."""
    if not numbers:
        return None
    verb = "are" if len(numbers) > 1 else "is"
    return (
        f"{name_lines(numbers)} {verb} longer than the model's limit of {limit} tokens; split and translated in parts"
    )


def translate_segments(
    lines: Sequence[SegmentedLine], translate: Callable[[list[str]], list[list[Translation]]]
) -> list[list[Translation]]:
    """Return the translations of segmented lines, in order. `translate` gets all their segments at once."""
    translated = iter(translate([segment for line in lines for segment in line.segments]))
    return [line.join([next(translated) for _ in line.segments]) for line in lines]


def _split_at_breaks(text: str) -> list[str]:
    return re.split(f"({BREAK}+)", text) if BREAK in text else [text]


def _best_split_point(text: str) -> int | None:
    """Return the split point nearest to the middle, of the best kind found in the middle half of the text."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    middle, quarter = (start + end) / 2, max(1, (end - start) / 4)
    between = range(start + 1, end)
    kinds = (
        *((match.end() for match in kind.finditer(text, start, end)) for kind in _SPLIT_POINTS),
        (point for point in between if _is_between_characters(text, point)),
        between,
    )
    for points in kinds:
        near = [point for point in points if start < point < end and abs(point - middle) <= quarter]
        if near:
            return min(near, key=lambda point: abs(point - middle))
    return None


def _is_between_characters(text: str, point: int) -> bool:
    """Return True if a reader sees two characters there: no accent, vowel sign or joiner belongs to both."""
    return (
        text[point - 1] not in _JOINS
        and text[point] not in _JOINED
        and not unicodedata.category(text[point]).startswith("M")
    )
