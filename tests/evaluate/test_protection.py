"""Protected spans and documents, from the input to the output, with a model of random weights and with a real one."""

import itertools
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.config import DecodeConfig, SampleConfig
from evaluate.documents import translate_document
from evaluate.segmentation.placeholders import mask
from evaluate.segmentation.protection import is_kept
from evaluate.translator import Translator
from tests.evaluate.segmentation.test_html import DOCUMENTS
from tests.tiny_model import TEXT, make_folder
from transformer import included_models, translate

CONFIG = DecodeConfig(beam=2, max_extra=3)
FORMS = [
    "See {} now.",
    "{} is here, and {} is there.",
    "The cat {} sees",
    "a dog. {}",
    "<i>The {}</i> cat",
    "Mr. {} has {} and {}!",
]
SPANS = [
    "{name}", "%s", "%(n)d", "${x}", "{{ y }}", "https://example.com/a?b=c. d", "info@example.com", "`x = 1`", "&amp;",
    "<b>dog</b>", "😊", "<img>", "<br>", "%1$s", "H<sub>2</sub>O", "<!-- x. Y -->", "\ue000",
]  # fmt: skip
LINES = [
    form.replace("{}", span, 1).replace("{}", other, 1).replace("{}", span)
    for form, (span, other) in itertools.product(FORMS, zip(SPANS, SPANS[3:] + SPANS[:3], strict=True))
]


PARTS = [
    "The cat",
    " ",
    ". ",
    "\n",
    "{x}",
    "<b>",
    "</b>",
    "<br>",
    "😊",
    "`a. b`",
    "\U000f0000",
    "12",
    "東",
    "A dog sees",
    "\x85",
]
few = settings(max_examples=12, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator.from_pretrained(folder, CONFIG, "cpu")


def test_model_that_copies_nothing_keeps_all_spans(translator: Translator) -> None:
    assert len(LINES) > 100
    for line, found in zip(LINES, translator.translate(LINES, n_best=2), strict=True):
        assert all(is_kept(mask(line), translation.text) for translation in found)


def test_samples_keep_all_spans(translator: Translator) -> None:
    for line, found in zip(LINES[:40], translator.sample(LINES[:40], SampleConfig(num_samples=2)), strict=True):
        assert all(is_kept(mask(line), translation.text) for translation in found)


def test_text_without_spans_is_translated_as_without_protection(translator: Translator) -> None:
    alone = Translator(translator.backend, translator.tokenizer, CONFIG, protect=False)
    lines = [*TEXT, "", "42", "One. Two.", "50 % of it"]
    assert translator.translate(lines, n_best=2) == alone.translate(lines, n_best=2)
    assert not all(map(is_kept, map(mask, LINES), alone(LINES)))


def test_line_break_inside_a_span_becomes_a_space(translator: Translator) -> None:
    assert "`a b`" in translator(["See `a\nb` now"])[0]


@few
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_every_text_is_one_line_with_its_spans(translator: Translator, line: str) -> None:
    (found,) = translator([line])
    assert is_kept(mask(line.replace("\n", " ")), found)
    assert "\n" not in found


def test_line_of_spans_only_is_copied(translator: Translator) -> None:
    (found,) = translator.translate(["https://example.com {name} 😊 42"])[0]
    assert (found.text, found.tokens) == ("https://example.com {name} 😊 42", ())


def test_sentence_ends_inside_spans_are_not_used(translator: Translator) -> None:
    segmenter = translator.segmenter(protect=True)
    (split,) = segmenter.split(['See `a. B` and <a title="A. B">it</a>. A dog. {x}'])
    assert len(split.segments) == 2
    assert split.gaps == ("", " ", " {x}")
    assert [len(spans) for spans in split.spans] == [3, 0]


def test_span_that_is_longer_than_the_model_supports_is_kept(translator: Translator) -> None:
    address = "https://example.com/" + "a" * 500
    assert address in translator([f"See {address} now"])[0]


def test_notes_concern_text_outside_of_spans(folder: Path) -> None:
    notes: list[str] = []
    translator = Translator.from_pretrained(folder, CONFIG, "cpu")
    translator.translate(["A 😊 cat", "A cat"], note=notes.append)
    assert not notes
    translator.translate(["A cat", "A 東 cat"], note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("line 2 has characters that the vocabulary contains as bytes only")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> str:
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), "--beam", "2", "--max-extra", "3", *args])
    translate.main()
    return capsys.readouterr().out


def test_command_protects_unless_told_otherwise(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "{name}" in run(capsys, monkeypatch, folder, "A cat {name} sees")
    assert "{name}" not in run(capsys, monkeypatch, folder, "--no-protect", "A cat {name} sees")
    assert "{name}" in run(capsys, monkeypatch, folder, "--n-best", "2", "--json", "A cat {name} sees")


def test_command_translates_documents(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text('<ul>\n<li class="x">A <b>dog</b>.\n<li>42</ul>\n')
    printed = run(capsys, monkeypatch, folder, "--format", "html", "--input", str(page))
    assert printed.startswith('<ul>\n<li class="x">')
    assert printed.endswith("\n<li>42</ul>\n")
    page.write_text("1\n00:00:01,000 --> 00:00:02,000\nA dog.\n")
    run(capsys, monkeypatch, folder, "--format", "srt", "--input", str(page), "--output", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text().splitlines()[:2] == ["1", "00:00:01,000 --> 00:00:02,000"]


@pytest.mark.parametrize("document", [document for document, _ in DOCUMENTS])
def test_html_keeps_its_tags_whatever_the_model_does(translator: Translator, document: str) -> None:
    translated = translate_document(translator, document, "html")
    assert sorted(re.findall("<[^<>]*>", translated)) == sorted(re.findall("<[^<>]*>", document))
    blocks = "<(?:p|li|td|pre|script|style)[ >]"
    assert re.findall(blocks, translated) == re.findall(blocks, document)


def test_document_of_lines_is_translated_line_by_line(translator: Translator) -> None:
    assert translate_document(translator, "A dog.\n\n42", "text").split("\n")[1:] == ["", "42"]


@pytest.mark.parametrize("option", [["--json"], ["--n-best", "2"], ["--samples", "1"]])
def test_options_for_lines_are_rejected_for_documents(
    option: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        run(capsys, monkeypatch, folder, "--format", "html", *option, "A dog.")
    assert "--format html gives one document, without" in capsys.readouterr().err


@pytest.mark.skipif(not included_models.included_models(), reason="this checkout includes no models")
def test_included_model_places_spans_in_the_sentence() -> None:
    translator = Translator.from_pretrained(config=DecodeConfig(beam=4))
    html = translate_document(translator, "<p>The <i>old</i> house is near the <b>river</b>.</p>", "html")
    assert re.search("<i>[Aa]lte</i> Haus", html)
    assert re.search(r"<b>[\w ]*Fluss\w*</b>", html)
    assert re.match(r"\w+ \w+ `strlen\(\)` \w+", translator(["The function `strlen()` returns a number."])[0])
