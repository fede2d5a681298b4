"""Tables and pictures of the documentation come from the files that the benchmarks wrote."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pictures import curves, digest, shares
from benchmarks.runner import RESULTS, ROOT, table
from benchmarks.tables import DOCUMENTS, fill, read_results, render


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_of_documentation_equal_results(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert fill(text, read_results()) == text, "run python -m benchmarks.tables"


@pytest.mark.parametrize(
    ("picture", "name", "figures"),
    [("time-to-bleu.png", "time_to_bleu", curves), ("training-time.png", "training", shares)],
)
def test_pictures_of_documentation_show_results(picture: str, name: str, figures: Any) -> None:
    found = re.search(rb"tEXtSource\x00([0-9a-f]{64})", (ROOT / "docs" / picture).read_bytes())
    assert found is not None
    assert found[1].decode() == digest(figures(read_results()[name])), "run python -m benchmarks.pictures"


def test_pictures_of_documentation_all_have_their_figures() -> None:
    """A picture without a test may differ from the table beside it."""
    drawn = {"time-to-bleu.png", "training-time.png"}
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS if path.name == "performance.md")
    assert set(re.findall(r"\(([\w-]+\.png)\)", pages)) == drawn


def test_results_contain_no_folders_of_machine() -> None:
    for path in RESULTS.glob("*.json"):
        assert "/tmp" not in path.read_text(encoding="utf-8")
        assert str(Path.home()) not in path.read_text(encoding="utf-8")


def test_fill_rejects_unknown_table() -> None:
    with pytest.raises(ValueError, match="no result in benchmarks/results has the table 'guess'"):
        fill("<!-- table guess -->\n<!-- end -->", {})


def test_fill_rejects_unknown_result() -> None:
    results = {"known": {"tables": {"speed": [table(["a"], [[1]])]}}}
    assert "| 1 |" in fill("<!-- table speed -->\n<!-- end -->", results)
    with pytest.raises(ValueError, match="has the table 'speed known unknown'"):
        fill("<!-- table speed known unknown -->\n<!-- end -->", results)


def test_fill_keeps_order_of_named_results() -> None:
    results = {name: {"tables": {"speed": [table(["a"], [[name]], "note")]}} for name in ("x", "y")}
    text = fill("<!-- table speed y x -->\nold\n<!-- end -->", results)
    assert text == "<!-- table speed y x -->\n| a |\n| --- |\n| y |\n| x |\n\nnote\n<!-- end -->"


def test_render_keeps_tables_with_different_headings_apart() -> None:
    parts = [table(["a"], [[1]]), table([], [], "text"), table(["b"], [[2]])]
    assert render(parts) == "| a |\n| --- |\n| 1 |\n\ntext\n\n| b |\n| --- |\n| 2 |"


def test_table_rejects_rows_of_other_length() -> None:
    with pytest.raises(ValueError, match="another number of cells"):
        table(["a", "b"], [[1]])


def test_table_of_language_models_has_both_recipes() -> None:
    text = fill("<!-- table language variations gpt_shakespeare_char_tuned -->\n<!-- end -->", read_results())
    runs = re.findall(r"^\| (\w+) \| (?:\d|mean) ", text, re.MULTILINE)
    assert runs == ["gpt_shakespeare_char"] * 4 + ["gpt_shakespeare_char_tuned"] * 4
