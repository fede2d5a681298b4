"""Subwords joined to words."""

import pytest
import torch

from evaluate.explain.words import Labels, Subwords, join, join_weights


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        (["The", " pi", "zza", "."], [[0], [1, 2], [3]]),
        ([" ", "Xy", "z", ""], [[0, 1, 2], [3]]),
        (["", "Die", "(", "a", ")"], [[0], [1], [2], [3], [4]]),
        (["gr", "\ufffd", "\ufffd", "ße"], [[0, 1, 2, 3]]),
        (["T", "h", "e", " ", "c", "\n"], [[0, 1, 2], [3, 4], [5]]),
        (["हि", "\u0928\u094d", "\u093f"], [[0, 1, 2]]),
        ([], []),
    ],
)
def test_join_follows_the_rule(texts: list[str], groups: list[list[int]]) -> None:
    assert join(texts) == groups


def test_labels_show_spaces_and_tokens_without_text() -> None:
    texts = {0: "", 1: "The", 2: " pi", 3: "zza", 4: "\n"}
    labels = Labels(lambda ids: "".join(texts[token] for token in ids), {0: "(end)"})
    subwords = labels.subwords([1, 2, 3, 4, 0])
    assert subwords.texts == ("The", "_pi", "zza", "⏎", "(end)")
    assert subwords.words == ("The", "pizza", "⏎", "(end)")
    assert labels.text([1, 2, 3, 0]) == "The pizza (end)"


def test_join_weights_sums_columns_and_averages_rows() -> None:
    subwords = Subwords(("a", "b", "c"), ("ab", "c"), ((0, 1), (2,)))
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [0.125, 0.125, 0.75]])
    assert join_weights(weights, subwords, subwords).tolist() == [[0.625, 0.375], [0.25, 0.75]]
