"""The check of tags in translated documents, on translations that are right and wrong."""

import re

import pytest

from benchmarks.markup import problems, read_documents
from evaluate.segmentation.html import HtmlDocument
from evaluate.segmentation.placeholders import unmask

DOCUMENTS = read_documents()
SOURCE = '<p>See <a href="x">the <b>big</b> cat</a>.</p><pre>one</pre>'


def test_there_are_30_documents() -> None:
    assert len(DOCUMENTS) == 30


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_keep_their_tags_if_words_are_replaced(name: str) -> None:
    parsed = HtmlDocument(DOCUMENTS[name])
    translated = parsed.join([unmask(re.sub(r"[a-z]+", "Wort < & wort", b.text), b.spans) for b in parsed.blocks])
    assert problems(DOCUMENTS[name], translated) == []


@pytest.mark.parametrize(
    ("translated", "problem"),
    [
        ('<p>Sieh <a href="x">die <b>große</b> Katze</a>.</p><pre>one</pre>', ""),
        ('<p><a href="x">Die Katze <b>groß</b></a> sieh.</p><pre>one</pre>', ""),
        ('<p>Sieh <b>große</b> <a href="x">Katze</a>.</p><pre>one</pre>', "inline"),
        ('<p>Sieh <a href="x">die <b>große Katze</a></b>.</p><pre>one</pre>', "balanced"),
        ('<p>Sieh <a href="y">die <b>große</b> Katze</a>.</p><pre>one</pre>', "inline"),
        ('<p>Sieh <a href="x">die <b>große</b> Katze</a>.<pre>one</pre></p>', "inline"),
        ('<p>Sieh <a href="x">die <b>große</b> Katze</a>.</p><pre>eins</pre>', "copied"),
        ('<p>Sieh <a href="x">die <i>große</i> Katze</a>.</p><pre>one</pre>', "inline"),
        ('<p>Sieh <b><a href="x">die <b>große</b> Katze</a>.</p><pre>one</pre>', "inline"),
    ],
)
def test_problems_of_translations_are_found(translated: str, problem: str) -> None:
    assert problem in " ".join(problems(SOURCE, translated))
    assert bool(problem) == bool(problems(SOURCE, translated))
