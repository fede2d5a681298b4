"""The page of an explanation: complete, escaped, and without requests; and the figures of the paper."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from common.page import html_page, html_table
from evaluate.config import DecodeConfig
from evaluate.explain.explanation import Explanation, explain_text, explain_translation
from evaluate.explain.figure import FigureChoice, check_figure, draw_figure, select
from evaluate.explain.page import html_explanation, map_data
from evaluate.explain.search import finished
from evaluate.generator import Generator
from tests import tiny_gpt, tiny_model
from transformer.explain import main

SENTENCE = 'The cat <script>alert(1)</script> & sees "the" house.'


class Page(HTMLParser):
    """Collects the elements of a page, and its text outside script and style."""

    def __init__(self, text: str, void: tuple[str, ...] = ("meta", "rect", "path")) -> None:
        super().__init__()
        self.void = void
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.contents: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is not nested"

    def handle_data(self, data: str) -> None:
        place = self.open[-1] if self.open and self.open[-1] in ("script", "style") else "text"
        self.contents[place] = self.contents.get(place, "") + data


@pytest.fixture(scope="module")
def explanation(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    folder = tiny_model.make_folder(tmp_path_factory.mktemp("model"), max_len=120)
    translator, _ = tiny_model.load_translator(folder, DecodeConfig(beam=3, max_extra=0))
    return explain_translation(translator, SENTENCE)


@pytest.fixture(scope="module")
def text(explanation: Explanation) -> str:
    return html_explanation(explanation)


def test_page_loads_nothing(text: str) -> None:
    page = Page(text)
    assert page.open == []
    without_names = text.replace('"http://www.w3.org/2000/svg"', "")  # a name, which is not loaded
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bfetch\b|XMLHttpRequest|innerHTML", without_names)
    attributes = {name for _, attributes in page.elements for name in attributes}
    assert not attributes & {"src", "href", "srcset", "action", "style", "background"}
    assert not [name for name in attributes if name.startswith("on")]
    assert not {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "embed", "form", "base"}
    policy = next(attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")


def test_page_escapes_all_text(text: str) -> None:
    page = Page(text)
    assert "<script>alert" not in text
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert SENTENCE in page.contents["text"]


def test_page_names_its_controls_for_screen_readers(text: str) -> None:
    page = Page(text)
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for tag, attributes in page.elements:
        if attributes.get("role") in ("group", "region", "img") or tag == "meter":
            assert attributes.get("aria-label") or attributes.get("aria-labelledby") in ids
    assert {"main", "h1", "h2", "label", "select", "noscript"} <= {tag for tag, _ in page.elements}
    assert ("html", {"lang": "en"}) in page.elements
    assert re.search(r'id="said" role="status"', text)


def test_page_has_light_and_dark_colours_and_small_screens(text: str) -> None:
    assert "prefers-color-scheme: dark" in text
    assert 'content="width=device-width, initial-scale=1"' in text
    variables = re.findall(r"(--[a-z]+): (#[0-9a-f]{6})", text)
    assert [name for name, _ in variables[:7]] == [name for name, _ in variables[7:]]


def test_texts_can_be_read_on_their_background(text: str) -> None:
    """A contrast of 4.5 is what WCAG 2 asks for (level AA)."""
    colours = re.findall(r"--[a-z]+: (#[0-9a-f]{6})", text)
    for ink, quiet, page, panel, line, accent, strong in (colours[:7], colours[7:]):
        for pair in ((ink, page), (ink, panel), (ink, accent), (quiet, page), (strong, page)):
            assert contrast(*pair) >= 4.5, pair
        assert contrast(line, page) >= 3


def contrast(a: str, b: str) -> float:
    """Return the contrast of two colours by WCAG 2."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_page_has_the_weights_of_the_model(explanation: Explanation, text: str) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    assert list(data) == ["encoder", "decoder", "cross"]
    for kind, own in data.items():
        assert own["rows"] == list(explanation.maps[kind].rows.words)
        shown = torch.tensor(own["weights"]) / 1000
        torch.testing.assert_close(shown.double(), explanation.maps[kind].by_words(), atol=0.0006, rtol=0)


def test_page_shows_each_token_and_hypothesis(explanation: Explanation, text: str) -> None:
    assert explanation.beam is not None
    assert text.count("<ul class='top'>") == len(explanation.choices)
    for node in finished(explanation.beam.steps):
        assert f">{node.score:.3f}<" in text
    assert text.count("<path class=chosen") == len(explanation.choices) - 1


def test_page_of_a_language_model_has_no_search(tmp_path: Path) -> None:
    found = explain_text(Generator.from_pretrained(tiny_gpt.make_folder(tmp_path), "cpu", prepack=False), "The cat", 4)
    page = html_explanation(found)
    assert list(map_data(found.maps["decoder"])) == ["title", "meaning", "rows", "columns", "weights"]
    assert "<h2>Search</h2>" not in page
    assert page.count("<ul class='top'>") == 4


def test_command_writes_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, page = tiny_model.make_folder(tmp_path / "model"), tmp_path / "a.html"
    options = ["--model", str(folder), "--max-extra", "2", "--html", str(page)]
    monkeypatch.setattr(sys, "argv", ["explain", *options, "The cat sees."])
    main()
    assert "<title>The cat sees.</title>" in page.read_text(encoding="utf-8")


def test_html_table_escapes_cells() -> None:
    assert "<td>&lt;b&gt;</td>" in html_table("a", ["x"], [["<b>"]])
    assert "<title>&lt;b&gt;</title>" in html_page("<b>", "")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (FigureChoice("encoder", 2), "--layer is 2; this attention has layers 1 to 1"),
        (FigureChoice("cross", 1, (3,)), "--head is 3; this attention has heads 1 to 2"),
        (FigureChoice("encoder", 1, (), "dog"), "--word is 'dog'; the words are The, cat,"),
    ],
)
def test_figure_of_missing_attention_is_refused(explanation: Explanation, choice: FigureChoice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(explanation, choice)


def test_figure_selects_layer_heads_and_word(explanation: Explanation) -> None:
    own, layer, heads, rows = select(explanation, FigureChoice("encoder", None, (2,), "cat"))
    assert (own.title, layer, list(heads), list(rows)) == ("Encoder self-attention", 0, [1], [1])
    assert list(select(explanation, FigureChoice())[2]) == [0, 1]


def test_figure_is_written(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.png or \.svg"):
        check_figure(tmp_path / "a.pdf")
    pytest.importorskip("matplotlib")
    draw_figure(explanation, FigureChoice("cross", 1, (1,)), tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text(encoding="utf-8")
