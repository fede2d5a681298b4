"""HTML: blocks of text, and a document whose other parts are unchanged."""

import re

import pytest

from common.errors import InputError
from evaluate.documents import parse_document
from evaluate.segmentation.html import HtmlDocument
from evaluate.segmentation.placeholders import MaskedText, unmask
from evaluate.segmentation.subtitles import SrtDocument


def upper(block: MaskedText) -> str:
    """A translation: letters of the text become capitals."""
    return unmask(block.text.upper(), block.spans)


def translate(document: str) -> str:
    parsed = HtmlDocument(document)
    return parsed.join(list(map(upper, parsed.blocks)))


DOCUMENTS = [
    ("<p>One</p>", "<p>ONE</p>"),
    ("One", "ONE"),
    ("", ""),
    ("<p></p>\n<br>", "<p></p>\n<br>"),
    ("  <p>\n  one\n  two </p>\n", "  <p>\n  ONE TWO </p>\n"),
    ("<P CLASS=x ID='y'>One</P>", "<P CLASS=x ID='y'>ONE</P>"),
    ("<p>a <b>b <i>c</i></b> d</p>", "<p>A <b>B <i>C</i></b> D</p>"),
    ('<a href="x?a=1&b=2" title="Yes. No">one</a>', '<a href="x?a=1&b=2" title="Yes. No">ONE</a>'),
    ("<p>a &amp; b &lt;c&gt; &eacute; &#8364; &nbsp;d</p>", "<p>A &amp; B &lt;c&gt; É € D</p>"),
    ("<p>5 < 6 & 7</p> <p>a < b</p>", "<p>5 < 6 & 7</p> <p>A &lt; B</p>"),
    ("<script>if (a < b) { x('<p>one</p>') }</script>two", "<script>if (a < b) { x('<p>one</p>') }</script>TWO"),
    ("<style>p { content: 'one' }</style>", "<style>p { content: 'one' }</style>"),
    ("<pre>one <b>two</b>\n three</pre> four", "<pre>one <b>two</b>\n three</pre> FOUR"),
    ("<pre>one <pre>two</pre> three</pre> four", "<pre>one <pre>two</pre> three</pre> FOUR"),
    ("<p>Type <code>x &lt; <b>1</b></code> now</p>", "<p>TYPE <code>x &lt; <b>1</b></code> NOW</p>"),
    ("<textarea>one</textarea><kbd>two</kbd>", "<textarea>one</textarea><kbd>two</kbd>"),
    ("a<!-- one <b>two</b> -->b", "A<!-- one <b>two</b> -->B"),
    ("<!DOCTYPE html><html lang=en><title>one</title>", "<!DOCTYPE html><html lang=en><title>ONE</title>"),
    ("<?xml version='1.0'?><p>one</p>", "<?xml version='1.0'?><p>ONE</p>"),
    ("<ul><li>one<li>two</ul>", "<ul><li>ONE<li>TWO</ul>"),
    ("<table><tr><td>one<td>2</table>", "<table><tr><td>ONE<td>2</table>"),
    ("one<br>two<br/>three<hr>", "ONE<br>TWO<br/>THREE<hr>"),
    ("<p>one <img src=a.png alt='two'> three</p>", "<p>ONE <img src=a.png alt='two'> THREE</p>"),
    ("<p translate=no>one</p> two", "<p translate=no>one</p> TWO"),
    ('one <span class="x notranslate">two</span>', 'ONE <span class="x notranslate">two</span>'),
    (
        "<p>one {name} https://example.com/a?b=1&amp;c=2 😊</p>",
        "<p>ONE {name} https://example.com/a?b=1&amp;c=2 😊</p>",
    ),
    ("<b>one</i> two <u>three", "<b>ONE</i> TWO <u>THREE"),
    ("one <a href='", "ONE <a href='"),
    ("<pre>one", "<pre>one"),
    ("<script>one", "<script>one"),
    ("<![if IE]>one<![endif]><![CDATA[two]]>", "<![if IE]>ONE<![endif]><![CDATA[two]]>"),
    ("<svg><text>one</text></svg><math><mi>x</mi></math>", "<svg><text>one</text></svg><math><mi>x</mi></math>"),
    ("<my-part>one</my-part>", "<my-part>ONE</my-part>"),
    ("<p>\U000f00020\U000f0002 \U000f0000 one</p>", "<p>\U000f00020\U000f0002 \U000f0000 ONE</p>"),
    ("one\r\n<p>two</p>\r\n", "ONE\r\n<p>TWO</p>\r\n"),
]


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS)
def test_only_text_of_html_is_translated(document: str, expected: str) -> None:
    assert translate(document) == expected


def test_block_is_text_with_its_inline_tags() -> None:
    blocks = HtmlDocument("<div>One <b>two</b>.<p>Three <i>four</i></p> five</div>").blocks
    assert [re.sub(r"[^\w .]", "_", block.text) for block in blocks] == ["One _two_.", "Three _four_", "five"]
    assert [span.role for span in blocks[0].spans] == ["open", "close"]


SUBTITLES = """\
1
00:00:01,000 --> 00:00:02,500
hello my friend,
how <i>are you</i> today?

2
00:00:03,000 --> 00:00:04,000 X1:2
- hi.
- {\\an8}hello!

3
00:00:05,000 --> 00:00:06,000
42

♪ ♪
"""
UPPER = (
    SUBTITLES.replace("hello my friend,\nhow", "HELLO MY FRIEND,\nHOW")
    .replace("are you</i> today", "ARE YOU</i> TODAY")
    .replace("- hi", "- HI")
    .replace("hello!", "HELLO!")
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_subtitles_keep_numbers_times_and_lines(end: str) -> None:
    document = SrtDocument("\ufeff" + SUBTITLES.replace("\n", end))
    assert len(document.blocks) == 3
    assert document.join(list(map(upper, document.blocks))) == "\ufeff" + UPPER.replace("\n", end)


def test_dash_before_a_speaker_is_not_translated() -> None:
    document = SrtDocument("1\n00:00:01,000 --> 00:00:02,500\n<i>- Hi.\n- You?</i>")
    assert [block.text[:3] for block in document.blocks] == ["Hi.", "You"]
    assert document.join(["A.", "B?</i>"]).splitlines()[2:] == ["<i>- A.", "- B?</i>"]


def test_subtitle_has_fewer_lines_if_its_translation_has_fewer_words() -> None:
    document = SrtDocument("1\n00:00:01,000 --> 00:00:02,500\nsee\nyou\nsoon\n\n2\n00:00:03,000 --> 00:00:04,000\nbye")
    assert document.join(["bis bald", "Ciao"]).splitlines()[2:5] == ["bis", "bald", ""]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("Hello", "line 1 is 'Hello', without a time before it. Subtitles have a number, then a time such as"),
        ("1\n0:00 --> 0:01\nHello", "line 1 is '1', without a time before it"),
        ("", "there are no subtitles in the text"),
        ("WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nhi", "line 1 is 'WEBVTT'"),
    ],
)
def test_other_text_than_subtitles_is_rejected(document: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_document("srt", document)


def test_unknown_format_is_rejected() -> None:
    with pytest.raises(InputError, match="format is 'docx'; it must be one of html, srt, text"):
        parse_document("docx", "")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('<?php echo "<p>hi</p>"; ?>one', '<?php echo "<p>hi</p>"; ?>ONE'),
        ("<?= $a->b ?>one <?php two", "<?= $a->b ?>ONE <?php two"),
        ("<![CDATA[ one <b>two</b> ]]>three", "<![CDATA[ one <b>two</b> ]]>THREE"),
        ("{% if a > b %}one <%= c < 'd' %>{% endif %}", "{% if a > b %}ONE <%= c < 'd' %>{% endif %}"),
        ("one &lt;%= two %&gt;", "ONE &lt;%= two %&gt;"),
        ("one H<sub>2</sub>SO<sub>4</sub>x, 10<sup>3</sup>", "ONE H<sub>2</sub>SO<sub>4</sub>x, 10<sup>3</sup>"),
        ("one <sub>two</sub> three", "ONE <sub>TWO</sub> THREE"),
        ("H<sub>2</sub>O", "H<sub>2</sub>O"),
    ],
)
def test_code_of_templates_and_formulas_are_copied(document: str, expected: str) -> None:
    assert translate(document) == expected
