"""Pronoun agreement: "it" must have the gender of the German noun."""

import re

import pytest

from data_pipeline.builtin.grammar import generate
from evaluate.metrics.pronouns import pronoun_agreement


def test_pronoun_agreement_counts_only_correct_gender() -> None:
    source = "The pizza came out of the oven and it tasted good."
    assert pronoun_agreement([source] * 4, [
        "Die Pizza kam aus dem Ofen und sie schmeckte gut.",
        "Die Pizza kam aus dem Ofen und es schmeckte gut.",
        "Die Pizza kam aus dem Ofen und er schmeckte gut.",
        "",
    ]) == (1, 4)  # fmt: skip


def test_pronoun_agreement_checks_case_and_other_pronouns() -> None:
    source = "The man bought the hat, but he did not wear it."
    hypotheses = ["Der Mann kaufte den Hut, aber er trug ihn nicht.", "Der Mann kaufte den Hut, aber er trug er nicht.",
                  "Der Mann kaufte den Hut, aber er trug es nicht."]  # fmt: skip
    assert pronoun_agreement([source] * 3, hypotheses) == (1, 3)
    assert pronoun_agreement(["She sold the table because it was too big."],
                             ["Sie verkaufte den Tisch, weil sie zu groß war."]) == (0, 1)  # fmt: skip


def test_pronoun_agreement_skips_sources_without_antecedent() -> None:
    sources = [
        "The woman sleeps.",
        "It is raining cats and dogs.",
        "The cookies came out of the oven and they tasted good.",
    ]
    assert pronoun_agreement(sources, ["", "", ""]) == (0, 0)


def test_pronoun_agreement_accepts_every_reference_of_builtin_corpus() -> None:
    pairs = list(generate("train", 50_000, seed=1))
    correct, total = pronoun_agreement([text for text, _ in pairs], [text for _, text in pairs])
    assert correct == total == sum("it" in re.findall(r"\w+", text.lower()) for text, _ in pairs)
    assert total > 2000


def test_pronoun_agreement_rejects_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="2 sources but 1"):
        pronoun_agreement(["a", "b"], ["c"])
