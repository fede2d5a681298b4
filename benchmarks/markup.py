"""Check the tags of a translated HTML document, independently of how it was translated.

The documents of benchmarks/sentences/documents.html are small, and many are broken as pages on the web are.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

from benchmarks.runner import ROOT

FILE = ROOT / "benchmarks/sentences/documents.html"
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_COPIED = re.compile(
    r"<(script|style|pre|textarea|template|noscript|iframe|object|svg|math|code|kbd|samp|var)\b.*?</\1\s*>|<!--.*?-->"
    r"|<(\w+)[^<>]*(?:translate=\"?no|notranslate)[^<>]*>.*?</\2>",
    re.DOTALL | re.IGNORECASE,
)
"""Parts that must come out byte for byte."""
_INLINE = frozenset(
    (
        "a",
        "abbr",
        "b",
        "cite",
        "del",
        "em",
        "i",
        "ins",
        "mark",
        "q",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "time",
        "u",
    )
)
_NAME = re.compile(r"\b(?:Peter|Anna|Tom|Maria|John|Berlin|1952|Anna Berg|12|20)\b")
"""Words that are equal in both languages."""


def read_documents() -> dict[str, str]:
    """Return the documents by their names."""
    parts = re.split(r"^#### (.*)\n", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: document.removesuffix("\n") for name, document in zip(parts[::2], parts[1::2], strict=True)}


@dataclass
class _Outline(HTMLParser):
    """What a translation must keep."""

    document: str
    blocks: list[str] = field(default_factory=list)
    """Tags of blocks and of untranslated parts, in their order."""
    inline: Counter[tuple[int, tuple[str, ...]]] = field(default_factory=Counter)
    """Inline tags and comments with the number of blocks before them and the inline elements around them."""
    names: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Names inside inline elements, with the innermost element."""
    closed: int = 0
    """Number of inline end tags that end the innermost open element."""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self.copied = [match[0] for match in _COPIED.finditer(self.document)]
        self.feed(_COPIED.sub(lambda match: f"<copied{len(match[0])}>", self.document))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = str(self.get_starttag_text())
        if (tag not in _INLINE and tag not in _VOID and not tag.startswith("copied")) or tag in ("br", "hr"):
            self.blocks.append(raw)
            self._open = []
            return
        self.inline[len(self.blocks), (*self._open, raw)] += 1
        if tag in _INLINE:
            self._open.append(raw)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE:
            self.blocks.append(f"</{tag}>")
            self._open = []
            return
        self.inline[len(self.blocks), (f"</{tag}>",)] += 1
        if self._open and re.match(rf"<{tag}\b", self._open[-1], re.IGNORECASE):
            self.closed += 1
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in _NAME.findall(data):
            if self._open:
                self.names[name, self._open[-1]] += 1


def problems(source: str, translation: str) -> list[str]:
    """Return what is wrong with the tags of a translation; [] if they are balanced and in place as in the source."""
    before, after = _Outline(source), _Outline(translation)
    found = [
        f"{name} {[*(a - b)]} became {[*(b - a)]}"
        for name, a, b in (
            ("copied", Counter(before.copied), Counter(after.copied)),
            ("inline", Counter(map(str, before.inline.elements())), Counter(map(str, after.inline.elements()))),
        )
        if a != b
    ]
    if before.blocks != after.blocks:
        found.append(f"blocks {before.blocks} became {after.blocks}")
    if before.closed != after.closed:
        found.append(f"{before.closed} balanced inline elements became {after.closed}")
    return found


def names_in_place(source: str, translation: str) -> tuple[int, int]:
    """Return how many names inside elements the translation has in these elements, and how many it has at all."""
    before, after = _Outline(source), _Outline(translation)
    text = re.sub(r"<[^<>]*>", " ", translation)
    expected = Counter({key: times for key, times in before.names.items() if re.search(rf"\b{key[0]}\b", text)})
    return (expected & after.names).total(), expected.total()
