"""The pictures of docs/pictures show what the code computes today."""

from pathlib import Path

import pytest

from docs.pictures import FOLDER, PICTURES, WIDTH, words_of

COMPUTED = ["positions", "masks", "schedules", "update", "break-it"]
"""Pictures without a trained model. Another version of PyTorch may round the weights of `attention` differently."""


@pytest.mark.parametrize("name", COMPUTED)
def test_picture_equals_file(name: str) -> None:
    assert PICTURES[name]().svg() == (FOLDER / f"{name}.svg").read_text(encoding="utf-8"), "run python -m docs.pictures"


def test_picture_of_attention_shows_words_of_translation() -> None:
    texts = (FOLDER / "attention.svg").read_text(encoding="utf-8")
    drawn = PICTURES["attention"]().svg()
    assert [line for line in drawn.splitlines() if line.startswith("<text")] == [
        line for line in texts.splitlines() if line.startswith("<text")
    ], "run python -m docs.pictures"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.svg")), ids=lambda file: file.name)
def test_pictures_are_small_and_have_a_title(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert file.stem in PICTURES
    assert len(text) < 100_000
    assert f'width="{WIDTH}"' in text
    assert "<title>" in text


def test_words_of_joins_subwords_and_separates_full_stop() -> None:
    pieces = ["▁Die", "▁Pi", "zza", ".", "</s>"]
    assert words_of(pieces) == [("Die", [0]), ("Pizza", [1, 2]), (".", [3]), ("(end)", [4])]
