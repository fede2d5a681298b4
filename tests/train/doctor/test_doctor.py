"""Each check of the doctor finds an injected error, and no check finds a problem in clean data and correct models."""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from common.settings import load_settings
from data_pipeline.builtin.grammar import generate
from data_pipeline.examples import IGNORE, Batch
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, train_tokenizer
from tests.conftest import write_parallel
from train.config import OptimizerConfig, RunConfig
from train.doctor import __main__ as doctor
from train.doctor import examine, flops, forecast, learning, samples
from train.doctor import model as model_checks
from train.doctor import text as text_checks
from train.doctor.findings import Finding
from train.doctor.forecast import grade_time
from train.doctor.pairs import check_ratios, count_letters
from train.optimizer import make_optimizer
from transformer.block import TransformerBlock
from transformer.cache import KVCache
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer, build

Pairs = list[tuple[str, str]]

SETTINGS = [
    "model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "data.max_length=64",
    "batches.tokens_per_update=2048", "batches.per_update=2", "train.max_steps=4000", "train.log_with=none",
    "train.threads=1",
]  # fmt: skip


def make_sound(split: str, n: int) -> Pairs:
    return list(dict.fromkeys(generate(split, n, seed=1)))


TRAIN, VALID, TEST = make_sound("train", 1200), make_sound("valid", 120), make_sound("test", 120)


def findings(tmp_path: Path, *overrides: str, train: Pairs = TRAIN, valid: Pairs = VALID, test: Pairs = TEST) -> dict:
    """Return the findings about the pairs of a corpus, by name."""
    roles = {"train": train, "valid": valid, "test": test}
    data = [f"data.{role}=[{','.join(write_parallel(tmp_path, role, pairs))}]" for role, pairs in roles.items()]
    config = load_settings(RunConfig, None, [*data, f"data.cache_dir={tmp_path / 'cache'}", *SETTINGS, *overrides])
    return {finding.name: finding for finding in examine.pair_findings(config)}


def problems(found: dict[str, Finding]) -> dict[str, str]:
    """Return the level of each finding that is not ok."""
    return {name: finding.level for name, finding in found.items() if finding.level != "ok"}


def shifted(pairs: Pairs, start: int, by: int) -> Pairs:
    """Return the pairs as if `by` lines of the target file were missing before line `start`."""
    sources, targets = zip(*pairs, strict=True)
    moved = targets[:start] + targets[start + by :]
    return list(zip(sources, moved, strict=False))


def swapped(pairs: Pairs) -> Pairs:
    return [(target, source) for source, target in pairs]


def test_doctor_finds_no_problem_in_clean_corpus(tmp_path: Path) -> None:
    assert problems(findings(tmp_path)) == {}


@pytest.mark.parametrize(("start", "by"), [(0, 1), (0, 3), (600, 2)])
def test_check_alignment_finds_shifted_lines(tmp_path: Path, start: int, by: int) -> None:
    found = findings(tmp_path, train=shifted(TRAIN, start, by))
    assert problems(found) == {"alignment": "error"}
    assert f"{by} line(s) later" not in found["alignment"].message
    assert f"{by} line(s) earlier" in found["alignment"].message


def test_check_alignment_finds_many_missing_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines are missing than the largest offset that is tried."""
    monkeypatch.setattr(samples, "BLOCK", 100)
    assert problems(findings(tmp_path, train=shifted(TRAIN, 600, 10)))["alignment"] == "error"


def test_check_alignment_finds_shuffled_targets(tmp_path: Path) -> None:
    targets = [target for _, target in TRAIN]
    random.Random(0).shuffle(targets)
    train = [(source, target) for (source, _), target in zip(TRAIN, targets, strict=True)]
    assert problems(findings(tmp_path, train=train))["alignment"] == "error"


def test_check_columns_finds_swapped_languages(tmp_path: Path) -> None:
    everything = {"train": swapped(TRAIN), "valid": swapped(VALID), "test": swapped(TEST)}
    assert problems(findings(tmp_path, **everything)) == {"columns": "error"}
    right = ("data.source_lang=de", "data.target_lang=en")
    assert problems(findings(tmp_path, *right, **everything)) == {}


def test_check_columns_finds_swapped_validation(tmp_path: Path) -> None:
    assert problems(findings(tmp_path, valid=swapped(VALID))) == {"columns": "error"}


def test_check_columns_finds_partly_swapped_corpus(tmp_path: Path) -> None:
    assert problems(findings(tmp_path, train=[*swapped(TRAIN[:150]), *TRAIN[150:]])) == {"columns": "error"}


def test_check_duplicates_finds_repeated_pairs(tmp_path: Path) -> None:
    twice = TRAIN[:600] + TRAIN[:600]
    assert problems(findings(tmp_path, "data.drop_duplicates=false", train=twice)) == {"duplicates": "error"}
    assert problems(findings(tmp_path, train=twice)) == {"duplicates": "warning"}, (
        "the filters drop them, but so many are unusual"
    )


@pytest.mark.parametrize(("role", "held"), [("valid", VALID), ("test", TEST)])
def test_check_leak_finds_held_out_pairs_in_training(tmp_path: Path, role: str, held: Pairs) -> None:
    leaked = [(source.upper(), target) for source, target in held[:30]]
    assert problems(findings(tmp_path, train=TRAIN + leaked)) == {f"{role} leak": "error"}


def test_check_leak_finds_held_out_sources_with_other_targets(tmp_path: Path) -> None:
    known = [(source, TRAIN[i][1]) for i, (source, _) in enumerate(TEST[:100])]
    assert problems(findings(tmp_path, train=TRAIN + known)) == {"test leak": "error"}


def test_check_copies_finds_untranslated_targets(tmp_path: Path) -> None:
    copied = [
        (source, source.lower().rstrip(".") if i % 10 == 0 else target) for i, (source, target) in enumerate(TRAIN)
    ]
    assert problems(findings(tmp_path, train=copied)) == {"copies": "error"}, (
        "data.drop_copies drops only exactly equal pairs"
    )
    exact = [(source, source if i % 5 == 0 else target) for i, (source, target) in enumerate(TRAIN)]
    assert problems(findings(tmp_path, train=exact)) == {"copies": "warning"}
    assert problems(findings(tmp_path, "data.drop_copies=false", train=exact)) == {"copies": "error"}


def test_check_ratios_finds_unusual_lengths(tmp_path: Path) -> None:
    long = [(source, (target + " ") * 12 if i % 25 == 0 else target) for i, (source, target) in enumerate(TRAIN)]
    assert problems(findings(tmp_path, train=long))["length ratio"] == "error"


def test_check_ratios_counts_chinese_characters_as_several_letters() -> None:
    usual = (
        ["The weather is fine today" + " so" * (n % 5) for n in range(99)],
        ["天气很好" * (2 + n % 5) for n in range(99)],
    )
    assert check_ratios(usual).level == "ok"
    short = (["x" * 200, *usual[0]], ["好的", *usual[1]])
    assert check_ratios(short).level == "warning"
    assert count_letters("天气 ok مرحبا") == 15


def test_check_alignment_accepts_corpus_sorted_by_length(tmp_path: Path) -> None:
    """In such a corpus, question marks, commas and digits show the alignment, because lengths do not."""
    train = sorted(TRAIN, key=lambda pair: len(pair[0]))
    assert problems(findings(tmp_path, train=train)) == {}


def test_check_alignment_accepts_lines_of_equal_length(tmp_path: Path) -> None:
    same = [(f"{i:020d}", f"{i:020d}x") for i in range(1200)]
    assert "alignment" in findings(tmp_path, train=same)


def test_doctor_samples_blocks_of_large_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_LINES", 400)
    monkeypatch.setattr(samples, "BLOCK", 100)
    found = findings(tmp_path)
    assert f"{len(TRAIN):,} training pairs; 400 are checked closely" in found["corpus"].message
    assert problems(found) == {}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    return train_tokenizer((text for pair in TRAIN for text in pair), file, vocab_size=1000)


def test_check_round_trip_accepts_vocabulary_of_text(tokenizer: Tokenizer) -> None:
    codec, texts = text_checks.sentence_codec(tokenizer), [text for pair in VALID for text in pair]
    assert text_checks.check_round_trip(codec, texts).level == "ok"
    assert text_checks.check_token_size(codec, texts, 1000).level == "ok"


def test_check_round_trip_finds_lost_capitals(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, texts: real(self, [text.lower() for text in texts]))
    codec, texts = text_checks.sentence_codec(tokenizer), [source for source, _ in VALID]
    assert text_checks.check_round_trip(codec, texts).level == "error"
    assert text_checks.check_token_size(codec, texts, 1000).level == "ok"


def test_check_round_trip_finds_missing_character(tmp_path: Path) -> None:
    codec = text_checks.text_codec(CharTokenizer.learn(["abc\n"], tmp_path / "tokenizer.model"))
    assert text_checks.check_round_trip(codec, ["cab", "b"]).level == "ok"
    assert text_checks.check_round_trip(codec, ["cab", "xyz"]).level == "error"


def test_check_token_size_finds_vocabulary_of_other_alphabet(tmp_path: Path) -> None:
    cyrillic = str.maketrans({chr(97 + i): chr(0x430 + i) for i in range(26)})
    foreign = (source.lower().translate(cyrillic) for source, _ in TRAIN)
    other = train_tokenizer(foreign, tmp_path / "tokenizer.model", vocab_size=900)
    assert (
        text_checks.check_token_size(text_checks.sentence_codec(other), [source for source, _ in VALID], 900).level
        == "error"
    )


def test_check_token_size_finds_small_vocabulary(tmp_path: Path) -> None:
    small = train_tokenizer((source for source, _ in TRAIN), tmp_path / "tokenizer.model", vocab_size=320)
    assert (
        text_checks.check_token_size(text_checks.sentence_codec(small), [source for source, _ in VALID], 320).level
        == "error"
    )


def test_check_rare_subwords_warns_of_large_vocabulary() -> None:
    assert text_checks.check_rare_subwords(np.array([100] * 90 + [1] * 10)).level == "ok"
    assert text_checks.check_rare_subwords(np.array([100] * 40 + [1] * 60)).level == "warning"


SHAPE = ModelConfig(vocab_size=50, d_model=16, n_layers=2, n_heads=2, d_ff=32, max_len=40)
GPT_SHAPE = replace(SHAPE, architecture="gpt", norm="pre", positions="learned", init="gpt2", tying="output")


def make_model(shape: ModelConfig) -> Transformer | GPT:
    torch.manual_seed(0)
    return build(shape).double().eval()


def probes(model: Transformer | GPT) -> dict[str, str]:
    """Return the level of each probe of a model that is not ok."""
    return problems({finding.name: finding for finding in model_checks.probe(model)})


@pytest.mark.parametrize(
    "shape",
    [
        SHAPE,
        GPT_SHAPE,
        replace(SHAPE, norm="pre", positions="rotary", n_kv_heads=1, activation="swiglu", tying="none"),
        replace(GPT_SHAPE, positions="rotary", max_len=5),
    ],
)
def test_probe_finds_no_problem_in_correct_models(shape: ModelConfig) -> None:
    assert probes(make_model(shape)) == {}


@pytest.mark.parametrize("shape", [SHAPE, GPT_SHAPE])
def test_check_causality_finds_missing_causal_mask(shape: ModelConfig) -> None:
    model = make_model(shape)
    for block in model.decoder.blocks:
        assert isinstance(block, TransformerBlock)
        block.causal = False
    assert probes(model)["causality"] == "error"
    if shape is SHAPE:
        assert "padding" not in probes(model)


def test_check_causality_finds_hidden_source(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(SHAPE)
    real = model.encode
    monkeypatch.setattr(model, "encode", lambda src, mask: real(torch.ones_like(src), mask))
    assert probes(model) == {"causality": "error"}


def test_check_padding_finds_ignored_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(SHAPE)
    real = model.encode
    monkeypatch.setattr(model, "encode", lambda src, mask: real(src, torch.ones_like(mask)))
    assert probes(model) == {"padding": "error"}


@pytest.mark.parametrize("shape", [SHAPE, GPT_SHAPE])
def test_check_cache_finds_dropped_keys(shape: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KVCache.append

    def forget(self: KVCache, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        k, v = real(self, k_NHLK, v_NHLK)
        return (k, v) if k.size(2) < 8 else (k[:, :, 1:], v[:, :, 1:])

    monkeypatch.setattr(KVCache, "append", forget)
    assert probes(make_model(shape)) == {"cache": "error"}


def test_check_cache_finds_missing_reorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KVCache, "reorder", lambda self, index_N, spare_NHMK: None)
    assert probes(make_model(SHAPE)) == {"cache": "error"}


def make_batch(shift: Callable[[Tensor], Tensor] = lambda labels: labels) -> Batch:
    draw = torch.Generator().manual_seed(1)
    src_BM, words_BL = (torch.randint(4, 50, (4, 8), generator=draw) for _ in range(2))
    tokens_BL = torch.cat([torch.full((4, 1), 2), words_BL[:, :-1]], 1)
    labels_BL = shift(words_BL.clone())
    labels_BL[0, 6:] = IGNORE
    return Batch((src_BM, torch.ones_like(src_BM, dtype=torch.bool), tokens_BL), labels_BL)


def overfitted(model: Transformer | GPT, batch: Batch) -> Finding:
    model = model.float().train()
    optimizer = make_optimizer(model, OptimizerConfig())
    return learning.check_overfitting(learning.overfit(model, optimizer, batch, rate=1e-2, updates=150))


def test_overfit_succeeds_with_correct_labels_and_model() -> None:
    assert model_checks.check_labels(make_batch()).level == "ok"
    assert overfitted(make_model(replace(SHAPE, dropout=0.0)), make_batch()).level == "ok"


@pytest.mark.parametrize("by", [-1, 1, 2])
def test_check_labels_finds_wrong_shift(by: int) -> None:
    assert model_checks.check_labels(make_batch(lambda labels: labels.roll(by, dims=1))).level == "error"


def test_check_overfitting_finds_frozen_model() -> None:
    model = make_model(replace(SHAPE, dropout=0.0))
    model.requires_grad_(False)
    model.output.weight.requires_grad_(True)  # only this matrix is trained, and all its inputs are equal
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)):
        torch.nn.init.zeros_(norm.weight)
    found = overfitted(model, make_batch())
    assert (found.name, found.level) == ("overfitting", "error")


RATES = ["model.d_model=64", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "model.vocab_size=50"]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(1, {}), (1e-4, {"learning rate": "error"}), (300, {"learning rate": "error"})],
)
def test_check_rate_finds_too_low_and_too_high_learning_rates(
    scale: float, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "UPDATES", 150)
    config = load_settings(RunConfig, None, [*RATES, f"schedule.scale={scale}"])
    found = {finding.name: finding for finding in learning.learning_findings(config, make_batch())}
    assert problems(found) == expected
    if expected:
        assert ("lower" if scale > 1 else "raise") in found["learning rate"].advice


def test_check_weights_fit_finds_model_larger_than_memory() -> None:
    there = forecast.memory_of(torch.device("cpu"))
    assert forecast.check_weights_fit(forecast.MemoryNeed(there / 2, 0.0), torch.device("cpu")) is None
    found = forecast.check_weights_fit(forecast.MemoryNeed(there * 2, 0.0), torch.device("cpu"))
    assert found is not None
    assert found.level == "error"


def test_least_loss_allows_for_equal_prefixes() -> None:
    tokens_BL, labels_BL = torch.tensor([[2, 5], [2, 6]]), torch.tensor([[5, 7], [6, 8]])
    assert learning.least_loss(Batch((tokens_BL,), labels_BL)) == pytest.approx(2 * np.log(2) / 4)
    assert learning.least_loss(Batch((torch.tensor([[1], [9]]), tokens_BL), labels_BL)) == 0


def test_token_flops_of_base_model_equals_formula() -> None:
    """0.378 GFLOP for a source and a target token, with a vocabulary of 37,000."""
    with torch.device("meta"):
        base = Transformer(ModelConfig())
    source, target = flops.token_flops(base, ModelConfig(), block=1)
    d, ff, n = 512, 2048, 6
    assert source == 6 * (n * (4 * d * d + 2 * d * ff) + 2 * n * d * d)
    assert target == 6 * (6 * n * d * d + 2 * n * d * ff + 37000 * d)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit status of the command."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(sys, "argv", ["doctor", *SETTINGS, *arguments])
    try:
        doctor.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_doctor_accepts_built_in_corpus_and_leaves_prepared_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"data.cache_dir={tmp_path}"
    status = call(monkeypatch, "data.train=grammar", "data.grammar_pairs=1500", "data.vocab_size=900", cache)
    table = capsys.readouterr().out
    assert status == 0, table
    assert "\nerror" not in table
    for name in ("alignment", "test leak", "causality", "padding", "cache", "overfitting", "memory", "time"):
        assert f" {name} " in table
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1, "the doctor leaves only the prepared data"


@pytest.mark.parametrize(("hours", "level"), [(24, "ok"), (25, "warning"), (240, "warning"), (172.5 * 24, "error")])
def test_time_is_warning_above_a_day_and_error_above_ten(hours: float, level: str) -> None:
    finding = grade_time(hours, "x", "translation")
    assert finding.level == level
    assert ("size=auto" in finding.advice) == (level != "ok")


def test_doctor_accepts_clean_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(source for source, _ in TRAIN) + "\n", encoding="utf-8")
    gpt = ["model.architecture=gpt", "data.task=language_modelling", "data.vocab_type=characters", "model.max_len=32"]
    status = call(monkeypatch, *gpt, f"data.train={text}", f"data.cache_dir={tmp_path / 'cache'}")
    table = capsys.readouterr().out
    assert status == 0, table
    assert "alignment" not in table


def test_doctor_exits_with_status_1_and_prints_advice_on_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TransformerBlock, "forward", _see_everything(TransformerBlock.forward))
    arguments = ("data.train=addition", "data.problems=400", "data.digits=2", "data.layout=documents")
    gpt = ("model.architecture=gpt", "data.task=language_modelling", "data.vocab_type=characters", "model.max_len=32")
    assert call(monkeypatch, *gpt, *arguments, f"data.cache_dir={tmp_path}") == 1
    assert "-> the causal mask is wrong" in capsys.readouterr().out


def test_doctor_reports_impossible_settings_in_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"data.cache_dir={tmp_path}"
    assert call(monkeypatch, "data.train=grammar", "data.grammar_pairs=300", "data.vocab_size=30000", cache) == 1
    assert "data.vocab_size is 30000" in " ".join(capsys.readouterr().out.split())


def _see_everything(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: TransformerBlock, x_BLD: Tensor, **masks: object) -> Tensor:
        self.causal = False
        return real(self, x_BLD, **masks)

    return forward
