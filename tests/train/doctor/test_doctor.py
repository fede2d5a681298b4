"""The doctor finds each planted fault by its own check, and nothing in sound data and models."""

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
    """What is found in the text of a corpus."""
    roles = {"train": train, "valid": valid, "test": test}
    data = [f"data.{role}=[{','.join(write_parallel(tmp_path, role, pairs))}]" for role, pairs in roles.items()]
    config = load_settings(RunConfig, None, [*data, f"data.cache_dir={tmp_path / 'cache'}", *SETTINGS, *overrides])
    return {finding.name: finding for finding in examine.pair_findings(config)}


def ailing(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict for name, finding in found.items() if finding.verdict != "ok"}


def shifted(pairs: Pairs, start: int, by: int) -> Pairs:
    """As if the target file lacked some lines before `start`."""
    sources, targets = zip(*pairs, strict=True)
    moved = targets[:start] + targets[start + by :]
    return list(zip(sources, moved, strict=False))


def swapped(pairs: Pairs) -> Pairs:
    return [(target, source) for source, target in pairs]


def test_a_sound_corpus_has_no_fault(tmp_path: Path) -> None:
    assert ailing(findings(tmp_path)) == {}


@pytest.mark.parametrize(("start", "by"), [(0, 1), (0, 3), (600, 2)])
def test_shifted_lines_are_found(tmp_path: Path, start: int, by: int) -> None:
    found = findings(tmp_path, train=shifted(TRAIN, start, by))
    assert ailing(found) == {"alignment": "fault"}
    assert f"{by} line(s) later" not in found["alignment"].message
    assert f"{by} line(s) earlier" in found["alignment"].message


def test_half_a_corpus_that_lacks_many_lines_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines than are tried as offsets."""
    monkeypatch.setattr(samples, "BLOCK", 100)
    assert ailing(findings(tmp_path, train=shifted(TRAIN, 600, 10)))["alignment"] == "fault"


def test_lines_in_another_order_are_found(tmp_path: Path) -> None:
    targets = [target for _, target in TRAIN]
    random.Random(0).shuffle(targets)
    train = [(source, target) for (source, _), target in zip(TRAIN, targets, strict=True)]
    assert ailing(findings(tmp_path, train=train))["alignment"] == "fault"


def test_swapped_columns_are_found(tmp_path: Path) -> None:
    everything = {"train": swapped(TRAIN), "valid": swapped(VALID), "test": swapped(TEST)}
    assert ailing(findings(tmp_path, **everything)) == {"columns": "fault"}
    right = ("data.source_lang=de", "data.target_lang=en")
    assert ailing(findings(tmp_path, *right, **everything)) == {}


def test_a_validation_set_the_other_way_round_is_found(tmp_path: Path) -> None:
    assert ailing(findings(tmp_path, valid=swapped(VALID))) == {"columns": "fault"}


def test_a_part_of_the_corpus_the_other_way_round_is_found(tmp_path: Path) -> None:
    assert ailing(findings(tmp_path, train=[*swapped(TRAIN[:150]), *TRAIN[150:]])) == {"columns": "fault"}


def test_duplicates_are_found(tmp_path: Path) -> None:
    twice = TRAIN[:600] + TRAIN[:600]
    assert ailing(findings(tmp_path, "data.drop_duplicates=false", train=twice)) == {"duplicates": "fault"}
    assert ailing(findings(tmp_path, train=twice)) == {"duplicates": "note"}, "they are dropped, yet it is odd"


@pytest.mark.parametrize(("role", "held"), [("valid", VALID), ("test", TEST)])
def test_leaked_lines_are_found(tmp_path: Path, role: str, held: Pairs) -> None:
    leaked = [(source.upper(), target) for source, target in held[:30]]
    assert ailing(findings(tmp_path, train=TRAIN + leaked)) == {f"{role} leak": "fault"}


def test_held_out_sources_with_another_target_are_found(tmp_path: Path) -> None:
    known = [(source, TRAIN[i][1]) for i, (source, _) in enumerate(TEST[:100])]
    assert ailing(findings(tmp_path, train=TRAIN + known)) == {"test leak": "fault"}


def test_untranslated_copies_are_found(tmp_path: Path) -> None:
    copied = [
        (source, source.lower().rstrip(".") if i % 10 == 0 else target) for i, (source, target) in enumerate(TRAIN)
    ]
    assert ailing(findings(tmp_path, train=copied)) == {"copies": "fault"}, "data.drop_copies sees equal ones only"
    exact = [(source, source if i % 5 == 0 else target) for i, (source, target) in enumerate(TRAIN)]
    assert ailing(findings(tmp_path, train=exact)) == {"copies": "note"}
    assert ailing(findings(tmp_path, "data.drop_copies=false", train=exact)) == {"copies": "fault"}


def test_sides_of_unlike_length_are_found(tmp_path: Path) -> None:
    long = [(source, (target + " ") * 12 if i % 25 == 0 else target) for i, (source, target) in enumerate(TRAIN)]
    assert ailing(findings(tmp_path, train=long))["length ratio"] == "fault"


def test_a_corpus_sorted_by_length_has_no_fault(tmp_path: Path) -> None:
    """Where lengths say nothing about the order, question marks, commas and digits do."""
    train = sorted(TRAIN, key=lambda pair: len(pair[0]))
    assert ailing(findings(tmp_path, train=train)) == {}


def test_lines_that_are_all_of_one_length_have_no_correlation_and_no_crash(tmp_path: Path) -> None:
    same = [(f"{i:020d}", f"{i:020d}x") for i in range(1200)]
    assert "alignment" in findings(tmp_path, train=same)


def test_a_large_corpus_is_sampled_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_LINES", 400)
    monkeypatch.setattr(samples, "BLOCK", 100)
    found = findings(tmp_path)
    assert f"{len(TRAIN):,} training pairs, of which 400" in found["corpus"].message
    assert ailing(found) == {}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    return train_tokenizer((side for pair in TRAIN for side in pair), file, vocab_size=1000)


def test_a_vocabulary_gives_the_text_back(tokenizer: Tokenizer) -> None:
    texts = [side for pair in VALID for side in pair]
    assert text_checks.check_round_trip(tokenizer, texts).verdict == "ok"
    assert text_checks.check_token_size(tokenizer, texts).verdict == "ok"


def test_a_vocabulary_that_loses_text_is_found(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, texts: real(self, [text.lower() for text in texts]))
    found = text_checks.check_round_trip(tokenizer, [source for source, _ in VALID])
    assert found.verdict == "fault"
    assert text_checks.check_token_size(tokenizer, [source for source, _ in VALID]).verdict == "ok"


def test_a_character_that_the_vocabulary_lacks_is_found(tmp_path: Path) -> None:
    characters = CharTokenizer.learn(["abc\n"], tmp_path / "tokenizer.model")
    assert text_checks.check_round_trip(characters, ["cab", "b"]).verdict == "ok"
    assert text_checks.check_round_trip(characters, ["cab", "xyz"]).verdict == "fault"


def test_a_vocabulary_of_another_language_is_found(tmp_path: Path) -> None:
    cyrillic = str.maketrans({chr(97 + i): chr(0x430 + i) for i in range(26)})
    foreign = (source.lower().translate(cyrillic) for source, _ in TRAIN)
    other = train_tokenizer(foreign, tmp_path / "tokenizer.model", vocab_size=900)
    assert text_checks.check_token_size(other, [source for source, _ in VALID]).verdict == "fault"


def test_too_small_a_vocabulary_is_found(tmp_path: Path) -> None:
    small = train_tokenizer((source for source, _ in TRAIN), tmp_path / "tokenizer.model", vocab_size=320)
    assert text_checks.check_token_size(small, [source for source, _ in VALID]).verdict == "fault"


def test_too_large_a_vocabulary_is_found() -> None:
    assert text_checks.check_seldom_pieces(np.array([100] * 90 + [1] * 10)).verdict == "ok"
    assert text_checks.check_seldom_pieces(np.array([100] * 40 + [1] * 60)).verdict == "note"


SHAPE = ModelConfig(vocab_size=50, d_model=16, n_layers=2, n_heads=2, d_ff=32, max_len=40)
GPT_SHAPE = replace(SHAPE, architecture="gpt", norm="pre", positions="learned", init="gpt2", tying="output")


def make_model(shape: ModelConfig) -> Transformer | GPT:
    torch.manual_seed(0)
    return build(shape).double().eval()


def probes(model: Transformer | GPT) -> dict[str, str]:
    """The checks of a model that are not ok."""
    return ailing({finding.name: finding for finding in model_checks.probe(model)})


@pytest.mark.parametrize(
    "shape",
    [
        SHAPE,
        GPT_SHAPE,
        replace(SHAPE, norm="pre", positions="rotary", n_kv_heads=1, activation="swiglu", tying="none"),
        replace(GPT_SHAPE, positions="rotary", max_len=5),
    ],
)
def test_a_sound_model_has_no_fault(shape: ModelConfig) -> None:
    assert probes(make_model(shape)) == {}


@pytest.mark.parametrize("shape", [SHAPE, GPT_SHAPE])
def test_a_mask_that_is_not_causal_is_found(shape: ModelConfig) -> None:
    model = make_model(shape)
    for block in model.decoder.blocks:
        assert isinstance(block, TransformerBlock)
        block.causal = False
    assert probes(model)["causality"] == "fault"
    if shape is SHAPE:
        assert "padding" not in probes(model)


def test_a_decoder_that_does_not_see_the_source_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(SHAPE)
    real = model.encode
    monkeypatch.setattr(model, "encode", lambda src, mask: real(torch.ones_like(src), mask))
    assert probes(model) == {"causality": "fault"}


def test_a_padding_mask_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(SHAPE)
    real = model.encode
    monkeypatch.setattr(model, "encode", lambda src, mask: real(src, torch.ones_like(mask)))
    assert probes(model) == {"padding": "fault"}


@pytest.mark.parametrize("shape", [SHAPE, GPT_SHAPE])
def test_a_cache_that_forgets_is_found(shape: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KVCache.append

    def forget(self: KVCache, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        k, v = real(self, k_NHLK, v_NHLK)
        return (k, v) if k.size(2) < 8 else (k[:, :, 1:], v[:, :, 1:])

    monkeypatch.setattr(KVCache, "append", forget)
    assert probes(make_model(shape)) == {"cache": "fault"}


def test_a_cache_that_does_not_follow_its_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KVCache, "reorder", lambda self, index_N, spare_NHMK: None)
    assert probes(make_model(SHAPE)) == {"cache": "fault"}


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
    return learning.check_overfit(learning.learn_by_heart(model, optimizer, batch, rate=1e-2, updates=150))


def test_sound_labels_and_a_sound_model_are_learned_by_heart() -> None:
    assert model_checks.check_labels(make_batch()).verdict == "ok"
    assert overfitted(make_model(replace(SHAPE, dropout=0.0)), make_batch()).verdict == "ok"


@pytest.mark.parametrize("by", [-1, 1, 2])
def test_labels_that_are_shifted_wrongly_are_found(by: int) -> None:
    assert model_checks.check_labels(make_batch(lambda labels: labels.roll(by, dims=1))).verdict == "fault"


def test_a_batch_that_cannot_be_learned_is_found() -> None:
    model = make_model(replace(SHAPE, dropout=0.0))
    model.requires_grad_(False)
    model.output.weight.requires_grad_(True)  # one matrix learns, on states that are all alike
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)):
        torch.nn.init.zeros_(norm.weight)
    found = overfitted(model, make_batch())
    assert (found.name, found.verdict) == ("overfitting", "fault")


RATES = ["model.d_model=64", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "model.vocab_size=50"]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(1, {}), (1e-4, {"learning rate": "fault"}), (300, {"learning rate": "fault"})],
)
def test_a_rate_at_which_nothing_is_learned_is_found(
    scale: float, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "UPDATES", 150)
    config = load_settings(RunConfig, None, [*RATES, f"schedule.scale={scale}"])
    found = {finding.name: finding for finding in learning.learning_findings(config, make_batch())}
    assert ailing(found) == expected
    if expected:
        assert ("lower" if scale > 1 else "raise") in found["learning rate"].cure


def test_a_model_that_does_not_fit_into_memory_is_found_before_it_is_built() -> None:
    there = forecast.memory_of(torch.device("cpu"))
    assert forecast.check_weights_fit(forecast.Need(there / 2, 0.0), torch.device("cpu")) is None
    found = forecast.check_weights_fit(forecast.Need(there * 2, 0.0), torch.device("cpu"))
    assert found is not None
    assert found.verdict == "fault"


def test_what_prefixes_leave_open_is_no_fault() -> None:
    tokens_BL, labels_BL = torch.tensor([[2, 5], [2, 6]]), torch.tensor([[5, 7], [6, 8]])
    assert learning.least_loss(Batch((tokens_BL,), labels_BL)) == pytest.approx(2 * np.log(2) / 4)
    assert learning.least_loss(Batch((torch.tensor([[1], [9]]), tokens_BL), labels_BL)) == 0


def test_the_work_of_base_is_that_of_the_formula() -> None:
    """0.378 GFLOP to learn from a source and a target token, with 37,000 pieces."""
    with torch.device("meta"):
        base = Transformer(ModelConfig())
    source, target = flops.token_flops(base, ModelConfig(), block=1)
    d, ff, n = 512, 2048, 6
    assert source == 6 * (n * (4 * d * d + 2 * d * ff) + 2 * n * d * d)
    assert target == 6 * (6 * n * d * d + 2 * n * d * ff + 37000 * d)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of the command."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(sys, "argv", ["doctor", *SETTINGS, *arguments])
    try:
        doctor.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_built_in_corpus_passes_and_training_finds_its_data_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"data.cache_dir={tmp_path}"
    status = call(monkeypatch, "data.train=grammar", "data.grammar_pairs=1500", "data.vocab_size=900", cache)
    table = capsys.readouterr().out
    assert status == 0, table
    assert "\nfault" not in table
    for name in ("alignment", "test leak", "causality", "padding", "cache", "overfitting", "memory", "time"):
        assert f" {name} " in table
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1, "nothing but the prepared data is left"


def test_clean_running_text_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(source for source, _ in TRAIN) + "\n", encoding="utf-8")
    gpt = ["model.architecture=gpt", "data.task=language_modelling", "data.vocab_type=characters", "model.max_len=32"]
    status = call(monkeypatch, *gpt, f"data.train={text}", f"data.cache_dir={tmp_path / 'cache'}")
    table = capsys.readouterr().out
    assert status == 0, table
    assert "alignment" not in table


def test_a_fault_ends_with_status_1_and_names_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TransformerBlock, "forward", _see_everything(TransformerBlock.forward))
    arguments = ("data.train=addition", "data.problems=400", "data.digits=2", "data.layout=documents")
    gpt = ("model.architecture=gpt", "data.task=language_modelling", "data.vocab_type=characters", "model.max_len=32")
    assert call(monkeypatch, *gpt, *arguments, f"data.cache_dir={tmp_path}") == 1
    assert "-> the causal mask has a fault" in capsys.readouterr().out


def test_settings_that_cannot_be_trained_are_a_row_of_the_table(
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
