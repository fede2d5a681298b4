"""Find the spans of a text that a translation must contain unchanged: addresses, placeholders, code, markup, emoji.

A masked text has one character instead of each span, so that no sentence end and no token is inside a span.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from html.entities import html5
from typing import Literal, NamedTuple

MASK, BREAK = "\U000f0000", "\U000f0001"
"""Characters that replace a span, and one at which a text is divided. Both are for private use and have no glyph."""
MASKS = MASK + BREAK
Role = Literal["word", "number", "mark", "open", "close", "break"]
"""Word and number: part of the sentence, as a name is. Mark: emoji, `<img>`. Open and close: tags around text. Break:
a tag between two texts, such as `<br>`."""


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


NAME = r"[A-Za-z0-9_À-ɏ]"
"""A character of a word that belongs to the span beside it."""
_ATTRIBUTE = r"""[\w:@.#*-]{1,100}\s*=\s*(?:"[^"]{0,2000}"|'[^']{0,2000}'|[^\s"'<>=]{1,2000})"""
_SINGLE_ATTRIBUTE = (
    r"(?:async|checked|controls|defer|disabled|download|hidden|multiple|open|readonly|required|selected)"
)
_TAG = rf"</?[A-Za-z0-9][\w:.-]{{0,50}}+(?:\s++(?:{_ATTRIBUTE}|{_SINGLE_ATTRIBUTE}\b)){{0,50}}+\s*+/?>"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u231a\u231b\u23e9-\u23fa\u2328\u23cf"
_JOINED = "\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
_CODE = "code|pre|kbd|samp|var|script|style|tt"
_SPAN = re.compile(
    rf"""(?P<code>(?<!`)(`+)(?!`).{{1,2000}}?(?<!`)\2(?!`)|<({_CODE})\b[^<>]{{0,500}}>.{{0,5000}}?</\3\s*+>
        |(?<!{NAME}){NAME}*+<(su[bp])>[^<>]{{0,100}}</\4>(?:{NAME}|<(su[bp])>[^<>]{{0,100}}</\5>)*)
    |(?P<comment><!--.{{0,5000}}?-->|\{{\\[^{{}}]{{1,100}}\}})
    |(?P<tag>{_TAG}|&lt;/?[A-Za-z](?:[^&<>]|&quot;){{0,200}}&gt;)
    |(?P<url>(?<![\w])(?:(?:https?|ftps?|file|sftp|ssh|git)://|mailto:|www\.(?=[\w-]+\.))[^\s<>"“”„«»`。，、]+
        |(?<![\w.@/-])(?:[A-Za-z0-9-]{{2,63}}\.){{1,4}}(?:com|org|net|edu|gov|info|io|eu|de|ch)(?:/[^\s<>"“”„«»`]*)?(?![\w-]|\.\w))
    |(?P<email>(?<![\w.+%-])[A-Za-z0-9_.+%-]{{1,100}}@(?:[\w-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}\b)
    |(?P<placeholder>\{{%.{{1,300}}?%\}}|<%.{{1,300}}?%>|[$\#]?\{{\{{[^{{}}]{{1,200}}\}}\}}|[$\#]\{{[^{{}}]{{1,200}}\}}|\{{[^{{}}\s]{{0,200}}\}}
        |(?<![\w$])\$(?:[A-Za-z_]\w*|\[\w+\]))
    |(?P<printf>%\(\w+\)[-+\#0]*\d*(?:\.\d+)?[A-Za-z]|(?<![\d%])%(?:\d+\$)?[-+\#0]*\d*(?:\.\d+)?(?:hh?|ll?|[Lzjt])?[@A-Za-z](?![A-Za-z])
        |%[A-Z][A-Z_]+%?|(?<![\w%])%\d{{1,2}}(?![\w%])|%%)
    |(?P<entity>&(?:[A-Za-z][A-Za-z0-9]{{1,31}}|\#[0-9]{{1,7}}|\#[xX][0-9A-Fa-f]{{1,6}});)
    |(?P<mark>(?:[\U0001f1e6-\U0001f1ff]{{2}}|[0-9\#*]\ufe0f?\u20e3|[{_EMOJI}][{_JOINED}]*(?:\u200d[{_EMOJI}\u2640\u2642][{_JOINED}]*)*
        |[\u00a9\u00ae\u2122\u2139\u2194-\u2199\u21a9\u21aa\u203c\u2049\u3030\u303d\u3297\u3299]\ufe0f
        |[\ue000-\uf8ff\U000f0000-\U0010fffd])+)""",
    re.VERBOSE | re.DOTALL,
)
_HINT = re.compile(f"[`<@{{%$&\ue000-\uf8ff\U0001f000-\U0010fffd\u20e3\ufe0f{_EMOJI}]|://|mailto:|www\\.|\\w\\.\\w")
"""Every span contains this. Most lines do not, and cost no more than this search."""
INNER_MARKS = frozenset(("img", "input", "wbr", "svg", "embed", "source", "track", "param", "col", "area"))
_BREAKS = names(
    "br hr p div li ul ol dl dt dd td th tr table thead tbody tfoot h1 h2 h3 h4 h5 h6 section article header footer "
    "blockquote figure figcaption main nav aside form option address title"
)
INLINE = names(
    "a abbr acronym b bdi bdo big button cite data del dfn em font i ins label mark q s small span strike strong "
    "sub sup time u center emph item"
)
_EDGE = ".,;:!?…'’*_~"
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_LETTER_FREE = frozenset("<>&\"'")
"""Characters whose entities belong to no word: `M&uuml;ller` is a word, `A&lt;B` is not."""


@dataclass(frozen=True)
class Span:
    """Text that comes out as it is."""

    text: str
    role: Role
    tag: str = ""
    """Name of an opening or closing tag."""


class MaskedText(NamedTuple):
    """A text with `MASK` or `BREAK` instead of each span."""

    text: str
    spans: tuple[Span, ...] = ()

    @property
    def visible(self) -> str:
        """The text that is translated, with a space instead of each span."""
        return self.text.translate(_SPACES) if self.spans else self.text


_SPACES = str.maketrans({MASK: " ", BREAK: " "})


def mask(text: str) -> MaskedText:
    """Return the text with one character instead of each span."""
    if not _HINT.search(text):
        return MaskedText(text)
    found = _merge(text, list(_find(text)))
    if not found:
        return MaskedText(text)
    paired = _paired_names([span for _, _, span in found])
    kept, end = [], 0
    spans = [_as_role(span, paired) for _, _, span in found]
    for (start, stop, _), span in zip(found, spans, strict=True):
        kept += [text[end:start], BREAK if span.role == "break" else MASK]
        end = stop
    return MaskedText("".join([*kept, text[end:]]), tuple(spans))


def unmask(text: str, spans: Iterable[Span]) -> str:
    """Return a masked text with its spans; those of an iterator that the text does not need stay in it."""
    rest = iter(spans)
    return "".join(next(rest).text if part in (MASK, BREAK) else part for part in re.split(f"([{MASKS}])", text))


def count_masks(text: str) -> int:
    """Return the number of spans that a masked text has."""
    return sum(map(text.count, MASKS))


def _find(text: str) -> Iterator[tuple[int, int, Span]]:
    """Yield start, end and span of each match; words grow to the letters beside them."""
    position = 0
    while match := _SPAN.search(text, position):
        start, end, kind = match.start(), match.end(), str(match.lastgroup)
        if kind == "url":
            end = _end_of_address(text, start, end)
        if kind == "entity" and not _is_entity(match[0]):
            position = start + 1
            continue
        is_word = kind in ("placeholder", "printf") and not match[0].endswith(("%}", "%>"))
        if is_word or (kind == "entity" and unescape(match[0]) not in _LETTER_FREE):
            start, end = _with_letters(text, start, end, position)
        yield start, end, _span(text[start:end], kind)
        position = max(end, start + 1)


def _span(text: str, kind: str) -> Span:
    if kind in ("comment", "mark"):
        return Span(text, "mark")
    if kind != "tag":
        return Span(text, "word")
    plain = unescape(text)
    name = re.split(r"[\s/>]", plain.lstrip("</"), maxsplit=1)[0].lower()
    if name in _BREAKS:
        return Span(text, "break")
    if plain.endswith("/>") or name in INNER_MARKS:
        return Span(text, "mark")
    return Span(text, "close" if plain.startswith("</") else "open", name)


def _as_role(span: Span, paired: frozenset[str]) -> Span:
    """Return a tag that is neither known nor paired, such as `<file name>`, as a word."""
    unknown = span.tag and span.tag not in INLINE and span.tag not in paired
    return Span(span.text, "word") if unknown else span


def _paired_names(spans: list[Span]) -> frozenset[str]:
    opened = {span.tag for span in spans if span.role == "open"}
    return frozenset(opened & {span.tag for span in spans if span.role == "close"})


def _merge(text: str, found: list[tuple[int, int, Span]]) -> list[tuple[int, int, Span]]:
    """Join words with nothing but a few signs between them, as in `{width}x{height}` and `%d/%d`, to one span."""
    merged: list[tuple[int, int, Span]] = []
    for start, end, span in found:
        if merged and span.role == merged[-1][2].role == "word":
            first, last, _ = merged[-1]
            if start - last <= 2 and not re.search(r"[\w\s]", text[last:start]):
                merged[-1] = (first, end, Span(text[first:end], "word"))
                continue
        merged.append((start, end, span))
    return merged


def _with_letters(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    while start > least and re.match(NAME, text[start - 1]):
        start -= 1
    while end < len(text) and re.match(NAME, text[end]):
        end += 1
    return start, end


def _end_of_address(text: str, start: int, end: int) -> int:
    """Return the end of an address without the punctuation after it; a closing bracket stays if it was opened."""
    while end > start + 1 and (text[end - 1] in _EDGE or text[end - 1] in _BRACKETS):
        opening = _BRACKETS.get(text[end - 1])
        if opening and text.count(opening, start, end) >= text.count(text[end - 1], start, end):
            break
        end -= 1
    return end


@cache
def _is_entity(text: str) -> bool:
    return text[1] == "#" or text[1:] in html5
