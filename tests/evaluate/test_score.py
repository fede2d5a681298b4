"""The scorer: scores equal those of the search and of decoding step by step; the command evaluate.score."""

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
from evaluate.translation import LineTooLong
from evaluate.translator import Translator
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


def test_score_ids_equals_log_prob_of_search(scorer: Scorer) -> None:
    sources = scorer.translator.encode(TEXT)
    for n, best in enumerate(zip(*scorer.translator.ids.translate(sources, n_best=3), strict=True)):
        scores = scorer.score_ids(sources, [t.tokens for t in best])
        assert [s.log_prob for s in scores] == pytest.approx([t.log_prob for t in best], abs=1e-10), n
        assert [s.tokens for s in scores] == [t.tokens for t in best]


def test_token_log_probs_equal_decoding_step_by_step(folder: Path) -> None:
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


def test_scores_keep_order_and_do_not_depend_on_batches(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets = [*TEXT, "a", TEXT[0]], [*TARGETS, "", TARGETS[0]]
    together = [s.log_prob for s in scorer.score(sources, targets)]
    alone = [scorer.score([s], [t])[0].log_prob for s, t in zip(sources, targets, strict=True)]
    assert together == pytest.approx(alone, abs=1e-10)
    monkeypatch.setattr("evaluate.length_batches.MAX_LOGITS", 1)
    assert [s.log_prob for s in scorer.score(sources, targets)] == pytest.approx(alone, abs=1e-10)


def test_score_of_empty_target_is_score_of_eos(scorer: Scorer) -> None:
    one, nothing = scorer.score([TEXT[0], " "], ["", ""])
    assert one.tokens == (EOS_ID,)
    assert (nothing.tokens, nothing.log_prob) == ((), 0.0)
    without_tokens = scorer.score_ids(scorer.translator.encode([TEXT[0]]), [()])
    assert without_tokens == [nothing]


def test_scorer_rejects_invalid_pairs(scorer: Scorer) -> None:
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


def test_score_fails_if_weights_are_nan(folder: Path) -> None:
    broken, model = load_translator(folder, DecodeConfig())
    with torch.no_grad():
        model.output.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        Scorer(broken).score(["a"], ["b"])


def test_cross_attention_rows_sum_to_1(scorer: Scorer) -> None:
    sources = scorer.translator.encode([*TEXT, ""])
    targets = [best[0].tokens for best in scorer.translator.ids.translate(sources)]
    for source, target, weights in zip(sources, targets, scorer.cross_attention(sources, targets), strict=True):
        assert weights.shape == ((1, 2, len(target), len(source)) if target else (1, 1, 0, 0))
        assert weights.sum(-1).allclose(torch.ones((), dtype=weights.dtype))


def test_cross_attention_does_not_depend_on_batch(scorer: Scorer) -> None:
    sources = scorer.translator.encode(TEXT)
    together = scorer.cross_attention(sources, sources[::-1])
    for source, target, weights in zip(sources, sources[::-1], together, strict=True):
        assert torch.allclose(weights, scorer.cross_attention([source], [target])[0], atol=1e-12)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_weights_times_values_equal_attention(kv_heads: int) -> None:
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


def test_token_texts_joined_equal_text(scorer: Scorer) -> None:
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


def test_score_command_prints_json_lines_and_summary(  # type: ignore[no-untyped-def]
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
def test_score_command_rejects_invalid_files_with_status_2(  # type: ignore[no-untyped-def]
    folder, tmp_path, source, target, message, monkeypatch, capsys
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder, tmp_path, source, target, monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_score_does_not_depend_on_batch_tokens(scorer: Scorer) -> None:
    scores = [s.log_prob for s in scorer.score(TEXT, TARGETS)]
    small = Translator(scorer.translator.backend, scorer.translator.tokenizer, replace(DecodeConfig(), batch_tokens=1))
    assert [s.log_prob for s in Scorer(small).score(TEXT, TARGETS)] == pytest.approx(scores, abs=1e-10)
