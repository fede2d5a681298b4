"""Spans: what is found in a text, and what is not."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.segmentation.placeholders import MASK, mask, unmask

few = settings(max_examples=200, deadline=None, derandomize=True)

WORDS = [
    "See https://www.example.com/a_(b)/c.html?x=1&y=2#z, please.|https://www.example.com/a_(b)/c.html?x=1&y=2#z",
    "(http://example.com/a).|http://example.com/a",
    "It is on www.example.org!|www.example.org",
    "Ask example.com or example.org.|example.com|example.org",
    "Write to a.b+c@mail.example.co.uk.|a.b+c@mail.example.co.uk",
    "mailto:info@example.com works.|mailto:info@example.com",
    "Hello {name}, {{ user.name }}, ${total}, #{x}, {0}, {:.2f}.|{name}|{{ user.name }}|${total}|#{x}|{0}|{:.2f}",
    "%s and %d, %(name)s, %1$s, %5.2f, %-10s.|%s|%d|%(name)s|%1$s|%5.2f|%-10s",
    "{w}x{h} and %d/%d files.|{w}x{h}|%d/%d",
    "Set $HOME and %PATH% and $[officename].|$HOME|%PATH%|$[officename]",
    "Run `make test`, ``a`b`` and <code>x y</code>.|`make test`|``a`b``|<code>x y</code>",
    "H<sub>2</sub>O and x<sup>2</sup>.|H<sub>2</sub>O|x<sup>2</sup>",
    "M&uuml;ller &amp; 10&nbsp;km &#8364; &#x20AC;.|M&uuml;ller|&amp;|10&nbsp;km|&#8364;|&#x20AC;",
    "Give <filename> a name.|<filename>",
]
MARKS = [
    "Click <b>Save</b>.|<b>|</b>",
    'A <a href="x.html" title="Yes. No">link</a>.|<a href="x.html" title="Yes. No">|</a>',
    "One <!-- no. Yes --> two.|<!-- no. Yes -->",
    "<0>Zero</0> and &lt;i&gt;one&lt;/i&gt;.|<0>|</0>|&lt;i&gt;|&lt;/i&gt;",
    "An <img src='a.png'/> and <input disabled>.|<img src='a.png'/>|<input disabled>",
    "Hi 😊, ❤️ 👨‍👩‍👧 🇩🇪 1️⃣ 👍🏽👍 ✓|😊|❤️|👨‍👩‍👧|🇩🇪|1️⃣|👍🏽👍|✓",
    "{\\an8}Hello \ue123.|{\\an8}|\ue123",
    "One<br>two<br/>.|<br>|<br/>",
]
NOTHING = [
    "100% sure, 50 % of them, 5%.",
    "x < 5 and y > 3, a <b and c> d, x<y and z>w.",
    "R&D, Q&A; AT&T.",
    "It costs $5 or US$7.",
    "The end.Then look.at main.py, z.B. so, 3.14.",
    "A {set of words} and a [bracket] @home #1.",
    "It's a `quote.",
    "Übermäßig große Straße — „so“ …",
]


@pytest.mark.parametrize("case", [*WORDS, *MARKS])
def test_mask_finds_spans(case: str) -> None:
    text, *expected = case.split("|")
    masked = mask(text)
    assert [span.text for span in masked.spans] == expected
    assert {span.role == "word" for span in masked.spans} == {case in WORDS}
    assert unmask(*masked) == text


@pytest.mark.parametrize("text", NOTHING)
def test_mask_leaves_other_text(text: str) -> None:
    assert mask(text) == (text, ())


def test_tags_know_their_role() -> None:
    roles = [(span.role, span.tag) for span in mask("<b>a</b> <br> <x1>c</x1> <x2> <img>").spans]
    assert roles == [
        ("open", "b"),
        ("close", "b"),
        ("break", ""),
        ("open", "x1"),
        ("close", "x1"),
        ("word", ""),
        ("mark", ""),
    ]


PARTS = [
    "a",
    " ",
    ".",
    "<",
    ">",
    "b",
    "/",
    "{",
    "}",
    "%",
    "s",
    "`",
    "&",
    ";",
    "amp",
    "@",
    "😊",
    "\ufe0f",
    MASK,
    '"',
    "=",
    "x.de",
    "<b>",
    "</b>",
    "http://",
]


@few
@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_unmask_restores_every_text(text: str) -> None:
    assert unmask(*mask(text)) == text


LONG = ["a", "`", "<b", "<a ", "{", "a@", "a.", "http://", "&lt;a", "%", "<!--", '<a b="', "(", "<code>"]


@pytest.mark.parametrize("text", [*(part * (50_000 // len(part)) for part in LONG), "<a" + " " * 50_000])
def test_mask_takes_little_time_for_unusual_text(text: str) -> None:
    started = time.process_time()
    mask(text + " {x}")
    assert time.process_time() - started < 3
