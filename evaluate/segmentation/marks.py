"""Put tags and emoji into a translation, at the words that correspond to those of the source.

The attention of the decoder aligns the words. An element (`<b>` to `</b>`) goes around the consecutive words of the
translation that have most weight on its words. A single mark goes after the word with most weight on the word before.

Units are words and single punctuation marks.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from evaluate.segmentation.placeholders import MASK, MaskedText, Span

_UNIT = re.compile(r"\w+|[^\w\s]")
THRESHOLD = 0.5
"""An element contains the target units whose weights on its source units are this large or larger, on average."""
Weights = Sequence[Sequence[float]]
"""Row t: weights of target unit t on all source units, with a sum of at most 1."""


@dataclass
class Mark:
    """A span that is not part of the sentence, and its position in the text without marks."""

    span: Span
    offset: int
    space_before: bool
    space_after: bool


@dataclass
class _Node:
    """An element or a single mark, with the target units that it contains."""

    opening: Mark
    closing: Mark | None = None
    children: list["_Node"] = field(default_factory=list)
    start: int = 0
    end: int = 0
    before_next: bool = False
    """True for a single mark that belongs to the unit after it."""


def take_marks(masked: MaskedText) -> tuple[MaskedText, list[Mark]]:
    """Return the text with its words only, and its marks. Spaces beside a mark stay only if the text needs them."""
    kept: list[str] = []
    marks: list[Mark] = []
    words = []
    rest = iter(masked.spans)
    text = masked.text
    for index, character in enumerate(text):
        before, after = text[max(0, index - 1) : index], text[index + 1 : index + 2]
        if character == MASK:
            span = next(rest)
            if span.role in ("word", "number"):
                kept.append(character)
                words.append(span)
                continue
            if span.role == "mark" and before.isalnum() and after.isalnum():
                kept.append(" ")
            marks.append(Mark(span, len(kept), before.isspace(), after.isspace()))
            continue
        if before == MASK and kept[-1:] in ([], [" "]) and character == " ":
            continue
        if before == MASK and kept[-1:] == [" "] and character in ".,;:!?":
            kept.pop()
            marks = [replace(mark, offset=min(mark.offset, len(kept))) for mark in marks]
        kept.append(character)
    return MaskedText("".join(kept).rstrip(), tuple(words)), marks


def move_marks(marks: list[Mark], text: str, words: Sequence[str]) -> list[Mark]:
    """Return the marks of a masked text with their positions in the text that has `words` instead of its masks."""
    longer = [0, *accumulate(len(word) - 1 for word in words)]
    return [replace(mark, offset=mark.offset + longer[text.count(MASK, 0, mark.offset)]) for mark in marks]


def units(text: str) -> list[tuple[int, int]]:
    """Return start and end of each unit of a text."""
    return [match.span() for match in _UNIT.finditer(text)]


def insert_marks(source: str, marks: list[Mark], target: str, weights: Weights | None) -> str | None:
    """Return the translation with the marks of the source; None if they need weights and there are none.

    Args:
        source: the text without marks.
        marks: in the order of the source.
        target: the translation of `source`.
        weights: of the units of the target on those of the source.
    """
    placed = _Placement(source, target, weights)
    try:
        return placed.insert(_tree(marks))
    except _NeedsWeights:
        return None


class _NeedsWeights(Exception):
    """A mark is inside the text, and there are no weights."""


def _tree(marks: list[Mark]) -> list[_Node]:
    """Return the elements and single marks of a text; tags without a partner are single marks."""
    partners = dict(_pairs(marks))
    closing = set(partners.values())
    top: list[_Node] = []
    levels = [top]
    for index, mark in enumerate(marks):
        if index in closing:
            levels.pop()
            levels[-1][-1].closing = mark
            continue
        levels[-1].append(_Node(mark))
        if index in partners:
            levels.append(levels[-1][-1].children)
    return top


def _pairs(marks: list[Mark]) -> Iterator[tuple[int, int]]:
    """Yield the indices of an opening tag and of its closing tag."""
    opened: list[int] = []
    for index, mark in enumerate(marks):
        if mark.span.role == "open":
            opened.append(index)
        elif mark.span.role == "close":
            same = [at for at in opened if marks[at].span.tag == mark.span.tag]
            if same:
                del opened[opened.index(same[-1]) :]
                yield same[-1], index


class _Placement:
    def __init__(self, source: str, target: str, weights: Weights | None) -> None:
        self.source_units = units(source)
        self.source = source
        self.target = target
        self.target_units = units(target)
        self.weights = weights

    def insert(self, nodes: list[_Node]) -> str:
        count = len(self.target_units)
        self._place(nodes, (0, len(self.source_units)), (0, count))
        return self._lead(0) + self._render(nodes, 0, count) + self.target[self._end(count - 1) :]

    def _place(self, nodes: list[_Node], inside: tuple[int, int], within: tuple[int, int]) -> None:
        """Choose the target units `within` which each node is; `inside` are the source units of their parent."""
        taken: list[_Node] = []
        for node in nodes:
            covered = self._covered(node)
            if self._has_text(node):
                node.start, node.end = self._best_range(covered, inside, within, taken)
                taken.append(node)
                self._place(node.children, covered, (node.start, node.end))
        last = within[0]
        for node in nodes:
            if self._has_text(node):
                continue
            at = self._single(node, inside, within)
            if node.opening.span.role != "mark":  # tags stay in order, so that they stay nested
                at = last = max(at, last)
            node.start = node.end = max((e.end for e in taken if e.start < at < e.end), default=at)
            self._place(node.children, self._covered(node), (node.start, node.end))

    def _has_text(self, node: _Node) -> bool:
        first, last = self._covered(node)
        return first < last

    def _covered(self, node: _Node) -> tuple[int, int]:
        """Return the first source unit of a node, and the one after its last, which is the first for a single mark."""
        first = sum(end <= node.opening.offset for _, end in self.source_units)
        closing = node.closing or node.opening
        return first, max(first, sum(start < closing.offset for start, _ in self.source_units))

    def _best_range(
        self, covered: tuple[int, int], inside: tuple[int, int], within: tuple[int, int], taken: list[_Node]
    ) -> tuple[int, int]:
        """Return the target units of an element: those with most weight above the threshold in one sequence."""
        if covered == inside and not taken:
            return within
        gains = [self._gain(unit, covered, taken) for unit in range(*within)]
        best, start, total = (float("-inf"), within[0], within[0]), 0, 0.0
        for index, gain in enumerate(gains):
            if total <= 0:
                if self._is_between_words(covered) and self._is_mark(within[0] + index):
                    continue  # words do not become punctuation
                start, total = index, 0.0
            total += gain
            best = max(best, (total, within[0] + start, within[0] + index + 1), key=lambda found: found[0])
        if best[0] == float("-inf"):  # all units belong to other elements
            at = max((node.end for node in taken), default=within[1])
            return at, at
        return self._trim(covered, best[1], best[2])

    def _gain(self, unit: int, covered: tuple[int, int], taken: list[_Node]) -> float:
        if self.weights is None:
            raise _NeedsWeights
        if any(node.start <= unit < node.end for node in taken):
            return float("-inf")
        gain = sum(self.weights[unit][covered[0] : covered[1]]) - THRESHOLD
        return min(gain, -0.01) if self._is_between_words(covered) and self._is_mark(unit) else gain

    def _is_between_words(self, covered: tuple[int, int]) -> bool:
        return self._is_word(covered[0]) and self._is_word(covered[1] - 1)

    def _trim(self, covered: tuple[int, int], start: int, end: int) -> tuple[int, int]:
        """Leave punctuation at the ends of an element outside if the element has none there in the source."""
        while end - start > 1 and self._is_mark(end - 1) and self._is_word(covered[1] - 1):
            end -= 1
        while end - start > 1 and self._is_mark(start) and self._is_word(covered[0]):
            start += 1
        return start, end

    def _single(self, node: _Node, inside: tuple[int, int], within: tuple[int, int]) -> int:
        """Return the target unit before which a single mark is."""
        mark = node.opening
        following = sum(end <= mark.offset for _, end in self.source_units)
        if following <= inside[0]:
            return within[0]
        if all(not self._is_word(unit) for unit in range(following, inside[1])):
            end = within[1]
            for unit in range(inside[1] - 1, following - 1, -1):
                if end > within[0] and self._is_mark(end - 1) and not self._is_word(unit):
                    end -= 1
            return end
        alone = mark.space_before and not mark.space_after and mark.span.role == "mark"
        node.before_next = node.closing is None and (alone or mark.span.role == "open")
        if node.before_next:
            return self._aligned(following, within)
        return self._after(following, inside, within)

    def _after(self, following: int, inside: tuple[int, int], within: tuple[int, int]) -> int:
        """Return the position after the target unit that corresponds to the source unit before `following`."""
        if following <= inside[0]:
            return within[0]
        return within[1] if following >= inside[1] else min(within[1], self._aligned(following - 1, within) + 1)

    def _aligned(self, unit: int, within: tuple[int, int]) -> int:
        """Return the target unit with most weight on a source unit."""
        if self.weights is None:
            raise _NeedsWeights
        rows, words = self.weights, list(range(*within))
        if self._is_word(unit):  # punctuation often has weight on the word before it
            words = [target for target in range(*within) if not self._is_mark(target)]
        return max(words or range(*within), key=lambda target: (rows[target][unit], target), default=within[0])

    def _is_word(self, source_unit: int) -> bool:
        return self.source[self.source_units[source_unit][0]].isalnum()

    def _is_mark(self, target_unit: int) -> bool:
        return not self.target[self.target_units[target_unit][0]].isalnum()

    def _lead(self, unit: int) -> str:
        """Return the white space before a target unit."""
        start = self.target_units[unit][0] if unit < len(self.target_units) else len(self.target)
        return self.target[self._end(unit - 1) : start] if unit < len(self.target_units) else ""

    def _end(self, unit: int) -> int:
        return self.target_units[unit][1] if unit >= 0 else 0

    def _render(self, nodes: list[_Node], first: int, last: int) -> str:
        """Return the target units from `first` to `last` - 1 with the nodes, without the space before the first."""
        out: list[str] = []
        at, joined = first, True
        for node in sorted(nodes, key=lambda node: (node.start, node.end)):
            out.append(self._text(at, node.start, joined))
            joined = joined and at == node.start
            at = node.start
            if node.closing is not None:
                empty = node.start == node.end
                space = " " if empty and at > first and node.opening.space_before else ""
                out.append(space if empty else "" if joined else self._lead(at))
                out += [node.opening.span.text, self._render(node.children, at, node.end), node.closing.span.text]
                if empty and joined and at == first and node.closing.space_after:
                    out.append(" ")
                joined = joined and empty
                at = node.end
            elif node.before_next or at == first:
                out += ["" if joined else self._lead(at), node.opening.span.text, " " * node.opening.space_after]
                joined = True
            else:
                out += [" " * node.opening.space_before, node.opening.span.text]
        return "".join([*out, self._text(at, last, joined)])

    def _text(self, first: int, last: int, joined: bool) -> str:
        if first >= last:
            return ""
        start = self.target_units[first][0] if joined else self._end(first - 1)
        return self.target[start : self._end(last - 1)]
