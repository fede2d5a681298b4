"""Split lines into segments that are translated alone, and join the translations.

A line of a document is split into its sentences; a sentence that is too long for the model is split further.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.segmentation.sentences import split_sentences
from evaluate.translator import Translation

# Points at which a sentence that is too long is split, best first: after punctuation that ends or divides sentences,
# after a comma or a dash, after white space, between characters except before a combining mark, between any characters.
_SPLIT_POINTS = (
    re.compile(r"(?<=[.!?…;:؟؛])[\"'»“”’)\]]*\s+|(?<=[。！？；：])"),
    re.compile(r"(?<=[,–—)\]،])\s+|(?<=[，、])"),
    re.compile(r"\s+"),
    re.compile(r"(?<=.)(?![\u0300-\u036f\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff])", re.DOTALL),
    re.compile(r"(?<=.)", re.DOTALL),
)


@dataclass(frozen=True)
class SegmentedLine:
    """The segments of a line, with the white space around them."""

    segments: tuple[str, ...]
    """Texts that are translated one by one; at least one."""
    gaps: tuple[str, ...]
    """White space before the first segment, between segments and after the last: one gap more than segments."""
    too_long: bool
    """True if a sentence of the line had more tokens than the model supports."""

    def join(self, translated: list[list[Translation]]) -> list[Translation]:
        """Return the translations of the line, best first, from those of its segments.

        Translation n contains translation n of each segment, or the last one of a segment that has fewer. Scores and
        log-probabilities are added; tokens are joined, each segment with its EOS.
        """
        if self.gaps == ("", ""):
            return translated[0]
        return [
            self._join([best[min(rank, len(best) - 1)] for best in translated])
            for rank in range(max(map(len, translated)))
        ]

    def _join(self, segments: list[Translation]) -> Translation:
        text = self.gaps[0]
        for number, (segment, gap) in enumerate(zip(segments, self.gaps[1:], strict=True), 1):
            # Chinese has no space between sentences, but the target language may need one.
            missing = " " if not gap and number < len(segments) and segment.text.endswith((".", "!", "?")) else ""
            text += segment.text + gap + missing
        return Translation(
            text=text,
            score=sum(segment.score for segment in segments),
            log_prob=sum(segment.log_prob for segment in segments),
            tokens=tuple(token for segment in segments for token in segment.tokens),
        )


class Segmenter:
    """Splits lines for a model that supports at most `limit` tokens."""

    def __init__(self, tokenizer: Tokenizer, limit: int, language: str = "en", documents: bool = False) -> None:
        """Create a segmenter.

        Args:
            tokenizer: counts the tokens of a text.
            limit: largest number of tokens of a segment, EOS included.
            language: language code of the lines, such as "en".
            documents: True if a line may have several sentences; each becomes a segment. Otherwise a line is one
                segment, unless it is too long.
        """
        self.tokenizer = tokenizer
        self.limit = limit
        self.language = language
        self.documents = documents

    def split(self, lines: list[str]) -> list[SegmentedLine]:
        """Split each line into segments; a line break inside a line counts as a space.

        A line that is too long is split into its sentences, and a sentence that is still too long at the best split
        point near its middle. White space between segments is kept; with `documents`, also at both ends of the line.
        Raises InputError if a single character has more tokens than the limit.
        """
        return [self._split(line.replace("\r", " ").replace("\n", " ")) for line in lines]

    def _split(self, line: str) -> SegmentedLine:
        whole = not self.documents and self._fits(line)
        sentences = [[line]] if whole else [list(self._fit(s)) for s in split_sentences(line, self.language)]
        segments, gaps = [], [""]
        for text in (text for sentence in sentences for text in sentence):
            segment = text.strip()
            start = text.index(segment) if segment else len(text)
            gaps[-1] += text[:start]
            gaps.append(text[start + len(segment) :])
            segments.append(segment)
        if not self.documents:
            gaps[0] = gaps[-1] = ""
        too_long = not whole if not self.documents else any(len(sentence) > 1 for sentence in sentences)
        return SegmentedLine(tuple(segments), tuple(gaps), too_long)

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


def translate_segments(
    lines: list[SegmentedLine], translate: Callable[[list[str]], list[list[Translation]]]
) -> list[list[Translation]]:
    """Return the translations of segmented lines, in order. `translate` gets all their segments at once."""
    translated = iter(translate([segment for line in lines for segment in line.segments]))
    return [line.join([next(translated) for _ in line.segments]) for line in lines]


def _best_split_point(text: str) -> int | None:
    """Return the split point nearest to the middle, of the best kind found in the middle half of the text."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    middle, quarter = (start + end) / 2, max(1, (end - start) / 4)
    for kind in _SPLIT_POINTS:
        points = [match.end() for match in kind.finditer(text, start, end)]
        near = [point for point in points if start < point < end and abs(point - middle) <= quarter]
        if near:
            return min(near, key=lambda point: abs(point - middle))
    return None
