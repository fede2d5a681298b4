"""Translate segments so that their spans come out unchanged, each as often as in the source.

Words (addresses, placeholders, code) are replaced by stand-ins that models copy, and put back where the stand-ins are.
Marks (tags, emoji) are taken out and put in again by alignment. Each result is checked. If a stand-in
is lost, the next ones are tried. In the end the parts between the spans are translated alone, which always works.

Texts contain the source terms of a glossary as they are, so `translate` finds these.

Numbers are words that most models copy well. Only if digits are lost, another translation of the beam or stand-ins are
used, and if these do not help, the first translation stays.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from common.text import has_letter
from evaluate.glossary import NO_GLOSSARY, Glossary
from evaluate.segmentation.lines import SegmentedLine
from evaluate.segmentation.marks import Weights, insert_marks, move_marks, take_marks
from evaluate.segmentation.numbers import lost_numbers, mask_numbers
from evaluate.segmentation.placeholders import BREAK, MASK, MaskedText, Span, unmask
from evaluate.translation import Translation

Translate = Callable[[list[str]], list[list[Translation]]]
"""Returns the translations of each text, best first."""
Align = Callable[[list[tuple[str, Translation]]], list[Weights | None]]
"""Returns the weights of each pair of a source and its translation, for `insert_marks`."""
STAND_INS: tuple[tuple[str, ...], ...] = (
    ("X1", "X2", "X3", "X4", "X5", "X6", "X7", "X8"),
    ("Linux", "Windows", "Python", "Firefox"),
    ("Tom", "Peter", "Anna", "Boston", "Paris", "Berlin"),
)
"""Words that models copy, the best first. The spans of a segment get different ones of the first list. If they are
lost, the segment is translated again with the next list."""
NUMBERS = (("25", "34", "47", "58", "63", "72", "86", "91"), ("7", "9", "8", "6", "5", "4"))
"""Stand-ins for numbers."""
_BEFORE = re.compile(r"[\s.,;:!?…)\]}»”’]*")
_AFTER = " ([{«„“‚"
"""Punctuation at the ends of a part that belongs to the span beside it."""
MAX_MARKS = 200
"""A segment with more marks is translated in parts."""


def translate_all(
    segments: list[MaskedText],
    translate: Translate,
    translate_more: Translate,
    align: Align | None = None,
    wanted: int = 1,
    numbers: bool = False,
    glossary: Glossary = NO_GLOSSARY,
) -> list[list[Translation]]:
    """Return the translations of segments, in order.

    Args:
        segments: masked segments; each has a letter.
        translate: translates the segments that have no span, all together.
        translate_more: translates texts with stand-ins: the more translations it returns, the more often one has them
            all. It returns an empty translation for a text that is too long.
        align: None if the backend has no attention weights. Segments with marks inside are then translated in parts.
        wanted: largest number of translations of a segment with spans.
        numbers: translate a segment again if its translation lacks digits.
        glossary: its source terms get no stand-ins and are none.
    """
    texts = [segment.text for segment in segments if not segment.spans]
    found = translate(texts)
    plain = iter(_mend_numbers(texts, found, translate_more, wanted, glossary) if numbers else found)
    spans = [segment for segment in segments if segment.spans]
    protected = iter(translate_protected(spans, translate_more, align, wanted, glossary) if spans else [])
    return [next(protected if segment.spans else plain) for segment in segments]


def _mend_numbers(
    texts: list[str], found: list[list[Translation]], translate: Translate, wanted: int, glossary: Glossary
) -> list[list[Translation]]:
    """Return translations that have the digits of their texts, where there are any."""
    todo = [i for i, text in enumerate(texts) if lost_numbers(text, found[i][0].text)]
    if not todo:
        return found
    found = list(found)
    for i, more in zip(todo, translate([texts[i] for i in todo]), strict=True):
        complete = [t for t in more if not lost_numbers(texts[i], t.text)]
        found[i] = sorted(complete, key=lambda t: _wrong_numbers(texts[i], t.text))[:wanted] or found[i]
    for names in NUMBERS:
        segments = {
            i: _Segment(mask_numbers(texts[i]), glossary) for i in todo if lost_numbers(texts[i], found[i][0].text)
        }
        filled = {i: segment for i, segment in segments.items() if segment.fill(names)}
        filled = {i: s for i, s in filled.items() if glossary.find(s.text) == glossary.find(texts[i])}
        again = translate([segment.text for segment in filled.values()]) if filled else []
        for (i, segment), more in zip(filled.items(), again, strict=True):
            segment.keep(more, wanted)
            found[i] = [t for t in segment.finish(iter(())) if not lost_numbers(texts[i], t.text)] or found[i]
    return found


def translate_protected(
    segments: list[MaskedText], translate: Translate, align: Align | None, wanted: int, glossary: Glossary
) -> list[list[Translation]]:
    """Return the translations of segments with spans. See `translate_all`."""
    prepared = [_Segment(masked, glossary) for masked in segments]
    for names in STAND_INS:
        todo = [segment for segment in prepared if segment.fill(names)]
        for segment, found in zip(todo, translate([segment.text for segment in todo]) if todo else [], strict=True):
            segment.keep(found, wanted)
    pairs = [pair for segment in prepared for pair in segment.without_marks()]
    weights = iter(align(pairs) if align and pairs else [None] * len(pairs))
    results = [segment.finish(weights) for segment in prepared]
    rest = [index for index, found in enumerate(results) if not found]
    for index, found in zip(
        rest, _translate_parts([segments[index] for index in rest], translate, wanted), strict=True
    ):
        results[index] = found
    return results


class _Segment:
    """A segment while its translation is searched."""

    def __init__(self, masked: MaskedText, glossary: Glossary) -> None:
        self.masked = masked
        self.glossary = glossary
        self.words, self._masked_marks = take_marks(masked)
        self.marks = self._masked_marks
        """The marks, with their positions in `text`."""
        self.text = ""
        self.names: list[str] = []
        self.good: list[Translation] = []
        """Translations with the stand-ins, and without the marks."""

    def fill(self, names: tuple[str, ...]) -> bool:
        """Replace words by stand-ins. Return False if that is not needed or not possible."""
        if self.good or len(self.marks) > MAX_MARKS:
            return False
        beside = " ".join([self.words.text, *(mark.span.text for mark in self.marks)]).lower()
        free = (n for n in names if not _count(beside, n.lower()) and not self.glossary.has_word(n))
        self.names = [name for name, _ in zip(free, self.words.spans, strict=False)]
        if len(self.names) < len(self.words.spans):
            return False
        self.text = unmask(self.words.text, [Span(name, "word") for name in self.names])
        self.marks = move_marks(self._masked_marks, self.words.text, self.names)
        any_name = "|".join(map(re.escape, self.names))
        self._compounds = rf"-(?:{any_name})\b|\b(?:{any_name})-" if self.names else r"(?!)"
        return True

    def keep(self, found: list[Translation], wanted: int) -> None:
        """Keep translations that contain each stand-in once, first those without compounds and lost numbers."""
        complete = [t for t in found if all(_count(t.text, name) == 1 for name in self.names)]
        self.good = sorted(complete, key=self._faults)[:wanted]

    def _faults(self, translation: Translation) -> int:
        text = translation.text
        return len(re.findall(self._compounds, text)) + _wrong_numbers(self.text, text)

    def without_marks(self) -> list[tuple[str, Translation]]:
        """Return the source and the translations whose alignment is needed."""
        inside = (t for t in self.good if insert_marks(self.text, self.marks, t.text, None) is None)
        return [(self.text, t) for t in inside]

    def finish(self, weights: Iterator[Weights | None]) -> list[Translation]:
        """Return the translations with the spans of the source; `weights` has those that `without_marks` needs."""
        complete = []
        for t in self.good:
            text = insert_marks(self.text, self.marks, t.text, None)
            if text is None:
                text = insert_marks(self.text, self.marks, t.text, next(weights))
            if text is not None:
                text = _put_back(text, self.names, self.words.spans)
                complete += [replace(t, text=text)] * is_kept(self.masked, text)
        return complete


def _wrong_numbers(source: str, translation: str) -> int:
    """Return how many numbers a translation lacks or adds."""
    return len(lost_numbers(source, translation)) + len(lost_numbers(translation, source))


def _count(text: str, name: str) -> int:
    """Return how often a stand-in is in a text; 0 if it is a part of other words only."""
    return text.count(name) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) else 0


def _put_back(text: str, names: list[str], spans: tuple[Span, ...]) -> str:
    if not names:
        return text
    originals = dict(zip(names, (span.text for span in spans), strict=True))
    return re.sub(
        "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names), lambda found: originals[found[0]], text
    )


def is_kept(masked: MaskedText, text: str) -> bool:
    """Return True if a translation contains each span as often as the source."""
    source = unmask(*masked)
    spans = {span.text for span in masked.spans if span.role != "number"}
    return all(text.count(span) == source.count(span) for span in spans)


def _translate_parts(segments: list[MaskedText], translate: Translate, wanted: int) -> list[list[Translation]]:
    """Translate the parts between the spans alone. A segment whose translation would have other spans is copied."""
    lines = list(map(_divide, segments))
    parts = [part for line in lines for part in line.masked_segments]
    found = iter(translate_all(parts, translate, translate, wanted=wanted) if parts else [])
    results = [line.join([next(found) for _ in line.segments])[:wanted] for line in lines]
    copied = [[Translation(unmask(*masked), 0.0, 0.0, ())] for masked in segments]
    checked = ([t for t in found if is_kept(m, t.text)] for m, found in zip(segments, results, strict=True))
    return [found or copy for found, copy in zip(checked, copied, strict=True)]


def _divide(masked: MaskedText) -> SegmentedLine:
    """Divide a segment at its marks, or at its words if it has no marks."""
    is_mark = [span.role not in ("word", "number") for span in masked.spans]
    divides = iter(is_mark if any(is_mark) else [True] * len(is_mark))
    text = re.sub(MASK, lambda _: BREAK if next(divides) else MASK, masked.text)
    gaps, segments, spans = [""], [], []
    rest = iter(masked.spans)
    for index, piece in enumerate(text.split(BREAK)):
        gaps[-1] += next(rest).text if index else ""
        inside = tuple(islice(rest, piece.count(MASK)))
        if not has_letter(piece.replace(MASK, "")):
            gaps[-1] += unmask(piece, inside)
            continue
        part = piece[_BEFORE.match(piece).end() :].rstrip(_AFTER)  # type: ignore[union-attr]
        start = piece.index(part)
        gaps[-1] += piece[:start]
        gaps.append(piece[start + len(part) :])
        segments.append(part)
        spans.append(inside)
    return SegmentedLine(tuple(segments), tuple(gaps), spans=tuple(spans))
