"""The pictures of docs/pictures show what the code computes today."""

from pathlib import Path

import pytest

from benchmarks.runner import ROOT
from docs.pictures import FOLDER, OTHERS, PICTURES, WIDTH, cross_attention, words_of
from tests import tiny_model


@pytest.mark.parametrize("name", PICTURES)
def test_picture_equals_file(name: str) -> None:
    assert PICTURES[name]().svg() == (FOLDER / f"{name}.svg").read_text(encoding="utf-8"), "run python -m docs.pictures"


def test_attention_has_a_row_per_target_word_and_weights_that_sum_to_1(tmp_path: Path) -> None:
    folder = tiny_model.make_folder(tmp_path)
    rows, columns, weights = cross_attention(folder, "The cat sees.")
    assert columns[-1] == "(end)"
    assert [len(row) for row in weights] == [len(columns)] * len(rows)
    assert [sum(row) for row in weights] == pytest.approx([1.0] * len(rows))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.svg")), ids=lambda file: file.name)
def test_pictures_are_small_and_have_a_title(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert file.stem in (*PICTURES, "attention", "table3_small")
    assert len(text) < 100_000
    assert f'width="{WIDTH}"' in text
    assert "<title>" in text


@pytest.mark.parametrize("module", OTHERS)
def test_all_runs_scripts_that_exist(module: str) -> None:
    file = ROOT / f"{module.replace('.', '/')}.py"
    assert '__name__ == "__main__"' in file.read_text(encoding="utf-8")


def test_words_of_joins_subwords_and_separates_full_stop() -> None:
    pieces = ["▁Die", "▁Pi", "zza", ".", "</s>"]
    assert words_of(pieces) == [("Die", [0]), ("Pizza", [1, 2]), (".", [3]), ("(end)", [4])]
