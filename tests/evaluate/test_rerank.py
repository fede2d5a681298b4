"""Reranking: minimum Bayes risk and the noisy channel."""

import pytest

from evaluate.config import DecodeConfig, SampleConfig
from evaluate.rerank import expected_utilities, minimum_bayes_risk, noisy_channel
from evaluate.scorer import Scorer
from evaluate.translation import EMPTY, Translation
from evaluate.translator import Translator
from tests import tiny_model


def candidate(text: str, log_prob: float = -1.0) -> Translation:
    return Translation(text, log_prob, log_prob, (7, 2))


def test_expected_utility_is_mean_over_samples_and_counts_repeated_text() -> None:
    def compare(text: str, other: str) -> float:
        return float(text == other)

    assert expected_utilities(["a", "b", "a", "c"], compare) == [0.5, 0.25, 0.5, 0.25]


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_minimum_bayes_risk_prefers_what_samples_agree_on(utility: str) -> None:
    own = [candidate("the dog sleeps here"), candidate("a cat"), candidate("the dog sleeps now")]
    own.append(candidate("the dog sleeps here"))
    (chosen,) = minimum_bayes_risk(utility)(["x"], [own])  # type: ignore[arg-type]
    assert [one.text for one in chosen][0::2] == ["the dog sleeps here", "a cat"]
    assert len(chosen) == 3
    assert [one.score for one in chosen] == sorted((one.score for one in chosen), reverse=True)


def test_minimum_bayes_risk_keeps_lines_without_alternatives() -> None:
    (empty,) = minimum_bayes_risk("chrf")([""], [[EMPTY]])
    assert [one.text for one in empty] == [""]


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Translator]:
    """A translator and one of the reverse direction."""
    folder = tiny_model.make_folder(tmp_path_factory.mktemp("model"), max_len=120)
    forward = Translator.from_pretrained(folder, DecodeConfig(beam=4, max_extra=4, split_sentences=False))
    return forward, Translator(forward.backend, forward.tokenizer, None, "de", "en")


def test_noisy_channel_ranks_by_both_probabilities(translators: tuple[Translator, Translator]) -> None:
    forward, reverse = translators
    lines = ["The cat sees the house.", "", "42"]
    found = forward.translate(lines, n_best=4)
    same = noisy_channel(reverse, 0.0, forward)(lines, found)
    assert [{one.text for one in line} for line in same] == [{one.text for one in line} for line in found]
    best, *_ = noisy_channel(reverse, 2.0, forward)(lines, found)[0]
    values: dict[str, float] = {}
    for one in found[0]:
        if one.text.strip():
            (back,) = Scorer(reverse).score([one.text], [lines[0]])
            value = one.log_prob / len(one.tokens) + 2.0 * back.log_prob / len(back.tokens)
            values[one.text] = max(value, values.get(one.text, value))
    assert best.text == max(values, key=values.__getitem__)
    assert best.score == pytest.approx(values[best.text], abs=1e-4)
    assert [line[0].text for line in same[1:]] == ["", "42"]


def test_noisy_channel_keeps_order_of_line_that_is_too_long(translators: tuple[Translator, Translator]) -> None:
    forward, reverse = translators
    own = [candidate("a"), candidate("b " * 300)]
    assert noisy_channel(reverse, 1.0, forward)(["The cat."], [own]) == [own]


def test_noisy_channel_rejects_model_of_same_direction(translators: tuple[Translator, Translator]) -> None:
    with pytest.raises(ValueError, match=r"translates from en to de\. Give one from de to en"):
        noisy_channel(translators[0], 1.0, translators[0])


def test_samples_can_be_ranked(translators: tuple[Translator, Translator]) -> None:
    forward, _ = translators
    lines = ["The cat sees the house.", "A dog buys a book."]
    samples = forward.sample(lines, SampleConfig(num_samples=6, seed=1))
    chosen = minimum_bayes_risk("chrf")(lines, samples)
    assert [{one.text for one in line} for line in chosen] == [{one.text for one in line} for line in samples]
