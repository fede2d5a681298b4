"""Ensembles: the mean of models, in search, sampling and forced decoding."""

from pathlib import Path
from typing import cast

import pytest
import torch

from data_pipeline.tokenizers.sentence_piece import BOS_ID
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig, EnsembleMean, SampleConfig
from evaluate.decoding.ensemble import mean_log_probs
from evaluate.length_batches import IdPair
from evaluate.translator import Translator
from tests import tiny_model
from transformer.model import Transformer
from transformer.pretrained import load_pretrained, save_pretrained

MEANS: tuple[EnsembleMean, ...] = ("log-probabilities", "probabilities")
LINES = ["The dog sees the old woman.", "I eat a pizza.", "We know that the car is red."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two model folders with one tokenizer and different weights."""
    a, b = (tmp_path_factory.mktemp(name) for name in "ab")
    model, _ = load_pretrained(tiny_model.make_folder(a))
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    save_pretrained(b, model, a / "tokenizer.model", "A test.", languages=("en", "de"))
    return [a, b]


@pytest.mark.parametrize("mean", MEANS)
def test_mean_of_equal_models_is_the_model(mean: EnsembleMean) -> None:
    logits = torch.randn(3, 7, dtype=torch.float64)
    torch.testing.assert_close(mean_log_probs([logits, logits], mean), logits.log_softmax(-1))


def test_means_are_arithmetic_and_geometric_mean_of_probabilities() -> None:
    a, b = torch.randn(2, 5, dtype=torch.float64).log_softmax(-1)
    arithmetic, geometric = (a.exp() + b.exp()) / 2, (a.exp() * b.exp()).sqrt()
    torch.testing.assert_close(mean_log_probs([a, b], "probabilities").exp(), arithmetic)
    torch.testing.assert_close(mean_log_probs([a, b], "log-probabilities").exp(), geometric / geometric.sum())


@pytest.mark.parametrize("mean", MEANS)
def test_score_of_search_equals_forced_decoding_of_its_tokens(folders: list[Path], mean: EnsembleMean) -> None:
    translator = Translator.from_pretrained(folders, DecodeConfig(beam=3), ensemble_mean=mean)
    for line in translator.encode(LINES):
        (hypotheses,) = translator.backend.search([IdPair(line, ())], [20], translator.config, 3)
        for found in hypotheses:
            (forced,) = translator.backend.token_log_probs([IdPair(line, found.tokens)])
            assert sum(forced) == pytest.approx(found.log_prob, abs=1e-3)


@pytest.mark.parametrize("mean", MEANS)
def test_ensemble_of_model_with_itself_translates_as_model(folders: list[Path], mean: EnsembleMean) -> None:
    alone = Translator.from_pretrained(folders[0]).translate(LINES, n_best=2)
    twice = Translator.from_pretrained([folders[0]] * 2, ensemble_mean=mean).translate(LINES, n_best=2)
    assert [[one.text for one in line] for line in twice] == [[one.text for one in line] for line in alone]


def test_ensemble_uses_all_models(folders: list[Path]) -> None:
    a, b = (cast(Transformer, load_pretrained(folder)[0]) for folder in folders)
    both = PyTorchBackend(a, others=[b])
    pair = IdPair(Translator.from_pretrained(folders[0]).encode(LINES)[0], (5, 6, 7))
    (found,) = both.token_log_probs([pair])
    src_BM, tgt_BL = torch.tensor([pair.source]), torch.tensor([[BOS_ID, *pair.target[:-1]]])
    a.eval(), b.eval()
    with torch.no_grad():
        logp = [model(src_BM, src_BM > 0, tgt_BL).log_softmax(-1) for model in (a, b)]
    expected = ((logp[0] + logp[1]) / 2).log_softmax(-1)[0, range(3), list(pair.target)]
    torch.testing.assert_close(torch.tensor(found), expected, atol=1e-5, rtol=1e-5)
    assert [found] != PyTorchBackend(a).token_log_probs([pair])


def test_sentence_alone_equals_sentence_in_batch_of_ensemble(folders: list[Path]) -> None:
    translator = Translator.from_pretrained(folders)
    assert translator(LINES) == [translator([line])[0] for line in LINES]


def test_samples_of_ensemble_depend_on_seed_only(folders: list[Path]) -> None:
    translator = Translator.from_pretrained(folders)
    once, again = (translator.sample(LINES, SampleConfig(num_samples=2, seed=3)) for _ in range(2))
    assert once == again


def test_ensemble_rejects_other_tokenizer_direction_backend_and_shortlist(folders: list[Path], tmp_path: Path) -> None:
    other = tiny_model.make_folder(tmp_path / "other")
    (other / "tokenizer.model").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"other has another tokenizer than .*a0"):
        Translator.from_pretrained([folders[0], other])
    save_pretrained(other, load_pretrained(folders[0])[0], folders[0] / "tokenizer.model", "x", languages=("de", "en"))
    with pytest.raises(ValueError, match=r"are models of two directions, en to de and de to en\. Give models of one"):
        Translator.from_pretrained([folders[0], other])
    with pytest.raises(ValueError, match="an ensemble needs the backend torch"):
        Translator.from_pretrained(folders, backend="ctranslate2")
    with pytest.raises(ValueError, match="a shortlist is for one model"):
        Translator.from_pretrained(folders, shortlist=tmp_path / "shortlist")
