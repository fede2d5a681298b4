"""HTML as blocks of text that are translated, and all the rest as it is.

A block is text with inline tags (`<b>`, `<a>`, `<span>`) between two other tags. Its tags, comments and untranslated
elements are spans of a masked text: they come out as they went in, and inline elements stay around the words that
correspond to theirs.
"""

import re
from collections.abc import Iterator
from html import escape, unescape
from html.parser import HTMLParser
from itertools import accumulate, pairwise
from typing import NamedTuple

from common.text import has_letter
from evaluate.segmentation.placeholders import INLINE, INNER_MARKS, MASK, NAME, MaskedText, Span, mask, names

_UNTOUCHED = names("script style pre textarea template noscript object iframe")
_UNTOUCHED_WORDS = names("svg math code kbd samp var tt")
_VOID = names("area base br col embed hr img input link meta source track wbr")
_SIGN = "\U000f0002"
"""Surrounds the number of a span in a translation. A character of a document that is equal to it is a span itself."""
Attributes = list[tuple[str, str | None]]


class _Token(NamedTuple):
    """A tag, a text or something else."""

    start: int
    kind: str
    name: str = ""
    untranslated: bool = False
    """True for the opening tag of an element that is not translated."""


class _Reader(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.document = document
        self.tokens: list[_Token] = []
        self._is_open = False
        self._lines = list(accumulate((len(line) + 1 for line in document.split("\n")), initial=0))
        self.feed(document)
        self.close()
        self.tokens.append(_Token(len(document), "end"))

    def _add(self, kind: str, name: str = "", untranslated: bool = False) -> None:
        line, column = self.getpos()
        self.tokens.append(_Token(self._lines[line - 1] + column, kind, name, untranslated))

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        given = dict(attrs)
        marked = given.get("translate") == "no" or "notranslate" in (given.get("class") or "").split()
        self._add("open", tag, tag not in _VOID and (marked or tag in _UNTOUCHED or tag in _UNTOUCHED_WORDS))

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self._add("single", tag)

    def handle_endtag(self, tag: str) -> None:
        self._add("close", tag)

    def handle_data(self, data: str) -> None:
        line, column = self.getpos()
        start = self._lines[line - 1] + column
        if re.match("<[A-Za-z/!?]", self.document[start : start + 2]):  # a tag that does not end: no text follows
            self._is_open = True
        kind = "other" if self._is_open else "text"
        if not (self.tokens and self.tokens[-1].kind == kind == "text"):  # the text of `a < b` comes in parts
            self._add(kind)

    def handle_comment(self, data: str) -> None:
        self._add("comment")

    def handle_decl(self, decl: str) -> None:
        self._add("other")

    def handle_pi(self, data: str) -> None:
        self._add("other")

    def unknown_decl(self, data: str) -> None:
        self._add("other")

    def parse_pi(self, i: int) -> int:
        """Read `<?php … ?>` and `<?= … ?>` to their end, also if they contain `>`."""
        end = self.rawdata.find("?>", i) if re.match(r"<\?(?:php|=)", self.rawdata[i : i + 5]) else -1
        if end < 0:
            return int(super().parse_pi(i))
        self.handle_pi(self.rawdata[i + 2 : end])
        return end + 2

    def parse_html_declaration(self, i: int) -> int:
        """Read `<![CDATA[ … ]]>` to its end, also if it contains `>`."""
        end = self.rawdata.find("]]>", i) if self.rawdata.startswith("<![CDATA[", i) else -1
        if end < 0:
            return int(super().parse_html_declaration(i))
        self.unknown_decl(self.rawdata[i + 3 : end])
        return end + 3

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Read `<![if IE]>` as a comment, as browsers do."""
        return self.parse_bogus_comment(i)


class HtmlDocument:
    """An HTML document or a part of one: `blocks` are translated; `join` returns the document with translations."""

    def __init__(self, document: str) -> None:
        self.blocks: list[MaskedText] = []
        self._between: list[str] = [""]
        self._spans: list[list[str]] = []
        block: list[tuple[_Token, str]] = []
        for token, raw in _merged(document):
            if _is_in_block(token):
                block.append((token, raw))
            else:
                self._end_block(block)
                self._between[-1] += raw
                block = []
        self._end_block(block)

    def _end_block(self, block: list[tuple[_Token, str]]) -> None:
        """Add a block, or copy it if it has no text."""
        block = list(_join_formulas(block))
        visible = "".join(unescape(raw) for token, raw in block if token.kind == "text")
        if not has_letter(visible):
            self._between[-1] += "".join(raw for _, raw in block)
            return
        first, last = block[0], block[-1]
        before = _space(first[1]) if first[0].kind == "text" else ""
        after = _space(last[1][::-1])[::-1] if last[0].kind == "text" else ""
        text: list[str] = []
        spans: list[Span] = []
        outputs: list[str] = []
        for token, raw in block:
            masked = _mask_text(raw) if token.kind == "text" else MaskedText(MASK, (_span(token, raw),))
            text.append(masked.text)
            for span in masked.spans:
                spans.append(Span(f"{_SIGN}{len(outputs)}{_SIGN}", span.role, span.tag))
                as_it_is = token.kind != "text" or span.text in raw  # otherwise it was written with entities
                outputs.append(span.text if as_it_is else escape(span.text, quote=False))
        self._between[-1] += before
        self.blocks.append(MaskedText("".join(text).strip(), tuple(spans)))
        self._spans.append(outputs)
        self._between.append(after)

    def join(self, translations: list[str]) -> str:
        """Return the document with the translations of its blocks."""
        parts = [self._between[0]]
        for translated, spans, between in zip(translations, self._spans, self._between[1:], strict=True):
            parts += [self._fill(translated, spans), between]
        return "".join(parts)

    @staticmethod
    def _fill(translated: str, spans: list[str]) -> str:
        return re.sub(f"{_SIGN}(\\d+){_SIGN}", lambda found: spans[int(found[1])], escape(translated, quote=False))


def _merged(document: str) -> Iterator[tuple[_Token, str]]:
    """Yield each token with its text in the document; an element that is not translated is one token."""
    untranslated, start, depth = None, 0, 0
    for token, following in pairwise(_Reader(document).tokens):
        raw = document[token.start : following.start]
        if untranslated is None:
            if not token.untranslated:
                yield token, raw
                continue
            untranslated, start, depth = token, token.start, 0
        if token.name == untranslated.name:
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth == 0 or following.kind == "end":
            yield untranslated, document[start : following.start]
            untranslated = None


def _join_formulas(block: list[tuple[_Token, str]]) -> Iterator[tuple[_Token, str]]:
    """Yield the parts of a block. A word with `<sub>` or `<sup>` after a letter, as H<sub>2</sub>O has, is one part."""
    text = "".join({"text": "t", "open": "o", "close": "c"}.get(token.kind, "-") for token, _ in block)
    at, start = 0, 0  # the next part, and where its text begins
    while at < len(block):
        token, raw = block[at]
        raw, start = raw[start:], 0
        letters = re.search(rf"{NAME}*$", raw) if token.kind == "text" else None
        end = at + 1
        while letters and letters[0] and text.startswith("otc", end) and _is_script(block[end], block[end + 2]):
            end += 3
            after = block[end][1] if text.startswith("t", end) else ""
            start = len(after) - len(re.sub(rf"^{NAME}+", "", after))
            if start < len(after) or not after:
                break
            end += 1
            start = 0
        if end == at + 1:
            yield token, raw
        else:
            before = raw[: letters.start()] if letters else ""
            if before:
                yield token, before
            word = "".join(part for _, part in block[at + 1 : end])
            rest = block[end][1][:start] if end < len(block) else ""
            yield token._replace(kind="open", untranslated=True), raw[len(before) :] + word + rest
        at = end


def _is_script(opening: tuple[_Token, str], closing: tuple[_Token, str]) -> bool:
    return opening[1].lower() in ("<sub>", "<sup>") and closing[0].name == opening[0].name


def _is_in_block(token: _Token) -> bool:
    if token.kind in ("open", "close", "single"):
        inline = token.name in INLINE or token.name in INNER_MARKS or token.name in _UNTOUCHED_WORDS
        return inline and token.name not in _UNTOUCHED
    return token.kind in ("text", "comment")


def _span(token: _Token, raw: str) -> Span:
    if token.untranslated:
        return Span(raw, "word")
    if token.kind in ("open", "close") and token.name not in INNER_MARKS:
        return Span(raw, "open" if token.kind == "open" else "close", token.name)
    return Span(raw, "mark")


def _mask_text(raw: str) -> MaskedText:
    """Return a text node, with its own spans masked, and one space for each white space."""
    return mask(re.sub(r"\s+", " ", unescape(raw)))


def _space(raw: str) -> str:
    return raw[: len(raw) - len(raw.lstrip())]
