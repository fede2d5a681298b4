"""Lines of many sentences, and sentences longer than the model takes: cut into parts, and put together again."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.segmentation.sentences import split_sentences
from evaluate.translator import Translation

# Where a sentence that is too long is cut, best first: what ends or divides sentences, white space, anywhere but
# before what changes the character in front of it, anywhere.
_PLACES = (
    re.compile(r"(?<=[.!?…;:؟؛])[\"'»“”’)\]]*\s+|(?<=[。！？；：])"),
    re.compile(r"(?<=[,–—)\]،])\s+|(?<=[，、])"),
    re.compile(r"\s+"),
    re.compile(r"(?<=.)(?![\u0300-\u036f\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff])", re.DOTALL),
    re.compile(r"(?<=.)", re.DOTALL),
)


@dataclass(frozen=True)
class Cut:
    """A line as parts with the white space around them."""

    parts: tuple[str, ...]
    """What is translated, one by one; never none."""
    gaps: tuple[str, ...]
    """White space before the first part, between two and behind the last: one more than there are parts."""
    too_long: bool
    """A sentence of it had more tokens than the model takes."""

    def join(self, translated: list[list[Translation]]) -> list[Translation]:
        """The translations of the line from those of its parts, best first.

        The n-th best one has the n-th best of each part, or the last where it has fewer; scores and
        log-probabilities are the sums, and tokens stand one part behind the other, each with its EOS.
        """
        if self.gaps == ("", ""):
            return translated[0]
        return [
            self._join([best[min(rank, len(best) - 1)] for best in translated])
            for rank in range(max(map(len, translated)))
        ]

    def _join(self, parts: list[Translation]) -> Translation:
        text = self.gaps[0]
        for number, (part, gap) in enumerate(zip(parts, self.gaps[1:], strict=True), 1):
            # Between sentences of Chinese there is no space; in many another language there is.
            missing = " " if not gap and number < len(parts) and part.text.endswith((".", "!", "?")) else ""
            text += part.text + gap + missing
        return Translation(
            text=text,
            score=sum(part.score for part in parts),
            log_prob=sum(part.log_prob for part in parts),
            tokens=tuple(token for part in parts for token in part.tokens),
        )


class Cutter:
    """Cuts lines for a model that takes at most `limit` tokens."""

    def __init__(self, tokenizer: Tokenizer, limit: int, language: str = "en", documents: bool = False) -> None:
        """`language` is the code of that of the lines. `documents`: a line may be several sentences, which are
        parts; else a line is one sentence, unless it is too long."""
        self.tokenizer = tokenizer
        self.limit = limit
        self.language = language
        self.documents = documents

    def cut(self, lines: list[str]) -> list[Cut]:
        """The parts of each line; a line break inside it counts as a space.

        What is too long is cut into its sentences, and a sentence that still is where it hurts least. White space
        is kept between parts, and with `documents` at both ends too.
        Raises ValueError where not even a single character has few enough tokens.
        """
        return [self._cut(line.replace("\r", " ").replace("\n", " ")) for line in lines]

    def _cut(self, line: str) -> Cut:
        whole = not self.documents and self._fits(line)
        fitting = [[line]] if whole else [list(self._fit(s)) for s in split_sentences(line, self.language)]
        parts, gaps = [], [""]
        for piece in (piece for fit in fitting for piece in fit):
            part = piece.strip()
            start = piece.index(part) if part else len(piece)
            gaps[-1] += piece[:start]
            gaps.append(piece[start + len(part) :])
            parts.append(part)
        if not self.documents:
            gaps[0] = gaps[-1] = ""
        too_long = not whole if not self.documents else any(len(fit) > 1 for fit in fitting)
        return Cut(tuple(parts), tuple(gaps), too_long)

    def _fits(self, text: str) -> bool:
        return len(self.tokenizer.encode([text])[0]) <= self.limit

    def _fit(self, text: str) -> Iterator[str]:
        """Pieces that together are the text, none of which has more tokens than the model takes."""
        if self._fits(text):
            yield text
            return
        place = _best_place(text)
        if place is None:
            raise InputError(f"the model takes {self.limit} tokens, and {text.strip()!r} alone has more")
        yield from self._fit(text[:place])
        yield from self._fit(text[place:])


def translate_cut(
    cuts: list[Cut], translate: Callable[[list[str]], list[list[Translation]]]
) -> list[list[Translation]]:
    """The translations of lines that were cut, in order; `translate` gets all their parts at once."""
    translated = iter(translate([part for cut in cuts for part in cut.parts]))
    return [cut.join([next(translated) for _ in cut.parts]) for cut in cuts]


def _best_place(text: str) -> int | None:
    """Where to cut: of the best kind that there is in the middle half of the text, the place nearest to the middle."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    middle, quarter = (start + end) / 2, max(1, (end - start) / 4)
    for kind in _PLACES:
        places = [match.end() for match in kind.finditer(text, start, end)]
        near = [place for place in places if start < place < end and abs(place - middle) <= quarter]
        if near:
            return min(near, key=lambda place: abs(place - middle))
    return None
