"""Scores of translations that are given: those of the search, token by token; and python -m evaluate.score."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.command import run_command
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from evaluate import score
from evaluate.config import DecodeConfig
from evaluate.scorer import Scorer, token_texts
from evaluate.translator import LineTooLong, Translator
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig

TARGETS = [*reversed(TEXT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer(load_translator(folder, DecodeConfig(beam=3, max_extra=6))[0])


def test_the_output_of_a_search_gets_the_log_prob_that_the_search_reported(scorer: Scorer) -> None:
    sources = scorer.translator.encode(TEXT)
    for n, best in enumerate(zip(*scorer.translator.translate_ids(sources, n_best=3), strict=True)):
        scores = scorer.score_ids(sources, [t.tokens for t in best])
        assert [s.log_prob for s in scores] == pytest.approx([t.log_prob for t in best], abs=1e-10), n
        assert [s.tokens for s in scores] == [t.tokens for t in best]


def test_token_scores_are_those_of_the_model_one_token_after_the_other(folder: Path) -> None:
    translator, model = load_translator(folder, DecodeConfig())
    scorer = Scorer(translator)
    (source,), (target,) = translator.encode(TEXT[:1]), translator.encode(TARGETS[:1])
    src_BM = torch.tensor([source])
    with torch.inference_mode():
        state = model.start(src_BM, torch.ones_like(src_BM, dtype=torch.bool), len(target))
        logp_LV = torch.cat([model.step(torch.tensor([t]), state) for t in [2, *target[:-1]]]).log_softmax(-1)
    (found,) = scorer.score(TEXT[:1], TARGETS[:1])
    expected = [logp_LV[i, token].item() for i, token in enumerate(target)]
    assert found.token_log_probs == pytest.approx(expected, abs=1e-10)
    assert found.log_prob == pytest.approx(sum(expected), abs=1e-10)


def test_scores_come_in_order_whatever_the_batches(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets = [*TEXT, "a", TEXT[0]], [*TARGETS, "", TARGETS[0]]
    together = [s.log_prob for s in scorer.score(sources, targets)]
    alone = [scorer.score([s], [t])[0].log_prob for s, t in zip(sources, targets, strict=True)]
    assert together == pytest.approx(alone, abs=1e-10)
    monkeypatch.setattr("evaluate.scorer.MAX_LOGITS", 1)
    assert [s.log_prob for s in scorer.score(sources, targets)] == pytest.approx(alone, abs=1e-10)


def test_an_empty_target_is_eos_alone_and_that_of_an_empty_source_nothing(scorer: Scorer) -> None:
    one, nothing = scorer.score([TEXT[0], " "], ["", ""])
    assert one.tokens == (EOS_ID,)
    assert (nothing.tokens, nothing.log_prob) == ((), 0.0)
    cut = scorer.score_ids(scorer.translator.encode([TEXT[0]]), [()])
    assert cut == [nothing]


def test_pairs_that_cannot_be_scored_are_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="2 sources but 1 targets"):
        scorer.score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="line 2 has a target but its source is empty"):
        scorer.score(["a", ""], ["a", "b"])
    with pytest.raises(LineTooLong, match=r"source line 2 has \d+ tokens; the model supports 40"):
        scorer.score(["a", "x " * 60], ["a", "b"])
    with pytest.raises(LineTooLong, match=r"target line 1 has \d+ tokens"):
        scorer.score(["a"], ["x " * 60])
    with pytest.raises(LineTooLong, match="target 1 has 41 tokens"):
        scorer.score_ids([[5, EOS_ID]], [[5] * 41])


def test_a_model_of_nan_is_an_error_not_a_score(folder: Path) -> None:
    broken, model = load_translator(folder, DecodeConfig())
    with torch.no_grad():
        model.output.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        Scorer(broken).score(["a"], ["b"])


def test_cross_attention_is_a_distribution_over_the_tokens_of_the_source(scorer: Scorer) -> None:
    sources = scorer.translator.encode([*TEXT, ""])
    targets = [best[0].tokens for best in scorer.translator.translate_ids(sources)]
    for source, target, weights in zip(sources, targets, scorer.cross_attention(sources, targets), strict=True):
        assert weights.shape == ((1, 2, len(target), len(source)) if target else (1, 1, 0, 0))
        assert weights.sum(-1).allclose(torch.ones((), dtype=weights.dtype))


def test_cross_attention_does_not_depend_on_company(scorer: Scorer) -> None:
    sources = scorer.translator.encode(TEXT)
    together = scorer.cross_attention(sources, sources[::-1])
    for source, target, weights in zip(sources, sources[::-1], together, strict=True):
        assert torch.allclose(weights, scorer.cross_attention([source], [target])[0], atol=1e-12)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_weights_times_values_are_what_attention_computes(kv_heads: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=8, d_model=16, n_heads=4, n_kv_heads=kv_heads, d_ff=8, max_len=8)
    attention = MultiHeadAttention(config).double().eval()
    x_BLD, memory_BMD = torch.randn(2, 3, 16).double(), torch.randn(2, 5, 16).double()
    mask = torch.arange(5) < torch.tensor([5, 3]).view(2, 1, 1, 1)
    weights_BHLM = attention.weights(x_BLD, memory_BMD, mask=mask)
    _, v_BHMK = attention.project(memory_BMD)
    a_BHLK = weights_BHLM @ v_BHMK.repeat_interleave(4 // kv_heads, dim=1)
    out_BLD = attention.out(a_BHLK.transpose(1, 2).flatten(2))
    assert torch.allclose(out_BLD, attention(x_BLD, memory_BMD, mask=mask), atol=1e-12)
    assert (weights_BHLM[1, ..., 3:] == 0).all()


def test_the_texts_of_tokens_are_the_text(scorer: Scorer) -> None:
    tokenizer = scorer.translator.tokenizer
    (ids,) = tokenizer.encode(["Größe of é"])
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert texts[-1] == ""
    (ids,) = tokenizer.encode([TEXT[0]])
    assert "".join(token_texts(tokenizer, ids)) == f" {TEXT[0]}"


def run(folder: Path, tmp_path: Path, source: str, target: str, *args: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.en").write_text(source, encoding="utf-8")
    (tmp_path / "a.de").write_text(target, encoding="utf-8")
    files = ["--source", str(tmp_path / "a.en"), "--target", str(tmp_path / "a.de")]
    monkeypatch.setattr(sys, "argv", ["score", "--model", str(folder), *files, *args])
    run_command(score.main)


def test_the_command_gives_an_object_a_pair_and_the_sum_on_standard_error(  # type: ignore[no-untyped-def]
    folder, tmp_path, monkeypatch, capsys
) -> None:
    source, target = "".join(f"{line}\n" for line in TEXT), "".join(f"{line}\n" for line in TARGETS)
    run(folder, tmp_path, source, target, "--tokens", monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    expected = Scorer(Translator.from_pretrained(folder)).score(TEXT, TARGETS)
    assert [about["log_prob"] for about in found] == pytest.approx([s.log_prob for s in expected], abs=1e-5)
    assert [about["count"] for about in found] == [len(s.tokens) for s in expected]
    for about in found:
        assert math.fsum(token["log_prob"] for token in about["tokens"]) == pytest.approx(about["log_prob"], abs=1e-9)
    tokens = sum(len(s.tokens) for s in expected)
    mean = sum(s.log_prob for s in expected) / tokens
    assert err.splitlines()[-1] == (
        f"5 pairs, {tokens} tokens with EOS: log-probability {mean:.4f} per token, perplexity {math.exp(-mean):.4f}"
    )


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a\nb\n", "a\n", "has 2 lines and"),
        ("", "", "is empty. Give a file with at least one sentence"),
        ("a\n\n", "a\nb\n", "line 2 has a target but its source is empty"),
        ("x " * 60 + "\n", "b\n", "source line 1 has"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(  # type: ignore[no-untyped-def]
    folder, tmp_path, source, target, message, monkeypatch, capsys
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder, tmp_path, source, target, monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_batch_size_is_a_setting(scorer: Scorer) -> None:
    scores = [s.log_prob for s in scorer.score(TEXT, TARGETS)]
    small = Translator(scorer.translator.backend, scorer.translator.tokenizer, replace(DecodeConfig(), batch_tokens=1))
    assert [s.log_prob for s in Scorer(small).score(TEXT, TARGETS)] == pytest.approx(scores, abs=1e-10)
