"""Lines in, lines out: order, count, batches, limits."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_pipeline.tokenizer import EOS_ID
from evaluate.config import DecodeConfig
from evaluate.search import gnmt_length_penalty
from evaluate.translator import EMPTY, Translation, Translator
from tests.tiny_model import TEXT, make_folder

CONFIG = DecodeConfig(beam=3, max_extra=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def translator(folder: Path) -> Translator:
    """In float64, where the company of other sentences changes no choice."""
    translator = Translator.from_pretrained(folder, CONFIG, "cpu")
    translator.model.double()
    return translator


def test_order_and_count_are_kept_and_empty_lines_stay_empty(translator: Translator) -> None:
    lines = ["", TEXT[0], "  ", TEXT[1], "\t\u00a0", "Haus", ""]
    outputs = translator(lines)
    assert [bool(text) for text in outputs] == [False, True, False, True, False, True, False]
    assert outputs[1::2] == [translator([line])[0] for line in lines[1::2]]
    assert translator.translate([""]) == [[EMPTY]]
    assert translator([]) == []


def test_a_sentence_alone_is_the_sentence_in_a_batch(translator: Translator) -> None:
    together = translator.translate(TEXT, n_best=3)
    for line, found in zip(TEXT, together, strict=True):
        alone = translator.translate([line], n_best=3)[0]
        assert [t.tokens for t in found] == [t.tokens for t in alone]
        assert [t.score for t in found] == pytest.approx([t.score for t in alone], abs=1e-12)


@pytest.mark.parametrize("batch_tokens", [1, 100, 300])
def test_the_size_of_batches_changes_nothing(translator: Translator, batch_tokens: int) -> None:
    expected = translator(TEXT)
    translator.config = replace(CONFIG, batch_tokens=batch_tokens)
    assert translator(TEXT) == expected


def test_the_order_of_lines_changes_nothing(folder: Path) -> None:
    translator = Translator.from_pretrained(folder, replace(CONFIG, batch_tokens=150), "cpu")  # float32
    lines = [*TEXT, *TEXT[:2], "", "Haus"]
    order = random.Random(1).sample(range(len(lines)), len(lines))
    given, shuffled = translator.translate(lines), translator.translate([lines[i] for i in order])
    assert shuffled == [given[i] for i in order]


def test_batches_hold_at_most_the_positions_asked_for(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    start = translator.model.start

    def spy(src_BM: torch.Tensor, src_mask_BM: torch.Tensor, max_len: int) -> object:
        shapes.append(tuple(src_BM.shape))
        return start(src_BM, src_mask_BM, max_len)

    monkeypatch.setattr(translator.model, "start", spy)
    translator.config = replace(CONFIG, batch_tokens=400)
    translator([*TEXT, *TEXT, "Haus", ""])
    assert sum(rows for rows, _ in shapes) == 2 * len(TEXT) + 1
    assert max(rows for rows, _ in shapes) > 1
    for rows, length in shapes:
        output = min(length + CONFIG.max_extra, 40)
        assert rows * CONFIG.beam * (length + output) <= 400 or rows == 1
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)


def test_short_lines_with_long_outputs_are_not_all_one_batch(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def search(sources: list[list[int]], n_best: int) -> list[list[Translation]]:
        batches.append(len(sources))
        return [[EMPTY]] * len(sources)

    monkeypatch.setattr(translator, "_search", search)
    translator.config = replace(CONFIG, max_extra=30, batch_tokens=1000)
    length = len(translator.encode(["a"])[0])
    translator(["a"] * 100)
    most = 1000 // (CONFIG.beam * (length + length + 30))
    assert batches == [most] * (100 // most) + [100 % most] * (100 % most > 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("The cat.", "lines is one string: give a list"),
        (["a", None], "line 2 is None and not a string"),
        ([b"a"], "line 1 is b'a' and not a string"),
    ],
)
def test_what_is_not_a_list_of_strings_is_refused(translator: Translator, lines: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        translator(lines)  # type: ignore[arg-type]


def test_score_is_the_models_own_probability_by_forced_decoding(translator: Translator) -> None:
    src_BM = torch.tensor(translator.encode([TEXT[0]]))
    for translation in translator.translate([TEXT[0]], n_best=3)[0]:
        tokens = torch.tensor([[2, *translation.tokens]])
        with torch.inference_mode():
            logp_LV = translator.model(src_BM, torch.ones_like(src_BM, dtype=torch.bool), tokens)[0].log_softmax(-1)
        log_prob = sum(logp_LV[i, token].item() for i, token in enumerate(translation.tokens))
        penalty = gnmt_length_penalty(float(len(translation.tokens)), CONFIG.alpha)
        assert translation.log_prob == pytest.approx(log_prob, abs=1e-9)
        assert translation.score == pytest.approx(log_prob / penalty, abs=1e-9)


def test_no_output_is_longer_than_source_and_extra_or_than_the_model_takes(translator: Translator) -> None:
    for extra in (0, 4, 500):
        translator.config = replace(CONFIG, max_extra=extra)
        sources = translator.encode(TEXT)
        for ids, (best,) in zip(sources, translator.translate(TEXT), strict=True):
            assert len(best.tokens) <= min(len(ids) + extra, translator.model.config.max_len)


def test_a_line_that_is_too_long_is_named_before_any_work(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator, "_search", None)
    longest = len(translator.encode(["x"])[0])
    with pytest.raises(ValueError, match=r"line 3 has \d+ tokens and the model takes at most 40: split it"):
        translator(["a", "", "x " * 60])
    assert len(translator.encode(["x" * (40 - longest + 1)])[0]) == 40  # the limit itself is fine


def test_a_line_break_inside_a_line_is_a_space(translator: Translator) -> None:
    assert translator(["The cat\nsees\r\nit."]) == translator(["The cat sees  it."])


def test_no_output_holds_a_line_break_though_byte_pieces_can_spell_one(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator.tokenizer, "decode", lambda ids: ["a\nb\r\nc"] * len(ids))
    assert translator(["Haus"]) == ["a b  c"]


def test_a_model_in_training_is_used_without_dropout_and_left_in_training(translator: Translator) -> None:
    expected = translator(TEXT)
    translator.model.train()
    assert translator(TEXT) == expected
    assert translator.model.training
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in translator.model.parameters())


def test_finished_outputs_end_in_eos_and_n_best_are_distinct_and_sorted(translator: Translator) -> None:
    with torch.no_grad():  # make EOS likely
        translator.model.output.weight[EOS_ID] += 0.5 * translator.model.output.weight[4:].std()
    for best in translator.translate(TEXT, n_best=3):
        assert len({t.tokens for t in best}) == len(best)
        assert [t.score for t in best] == sorted((t.score for t in best), reverse=True)
        assert len({t.tokens[-1] == EOS_ID for t in best}) == 1


def test_more_best_than_the_beam_are_refused(translator: Translator) -> None:
    with pytest.raises(ValueError, match="beam of at least 4, not 3"):
        translator.translate(["a"], n_best=4)


@pytest.mark.parametrize(
    "settings",
    [{"beam": 0}, {"alpha": -0.1}, {"alpha": float("nan")}, {"max_extra": -1}, {"batch_tokens": 0}],
)
def test_settings_out_of_range_are_named(settings: dict[str, float]) -> None:
    name = next(iter(settings))
    with pytest.raises(ValueError, match=rf"decode\.{name} is .*must be"):
        replace(DecodeConfig(), **settings)  # type: ignore[arg-type]


def test_a_missing_folder_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model folder"):
        Translator.from_pretrained(tmp_path / "none")


def test_the_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    from data_pipeline.tokenizer import train_tokenizer

    other = make_folder(tmp_path / "other")
    train_tokenizer(iter(TEXT), other / "tokenizer.model", vocab_size=310)
    with pytest.raises(ValueError, match="310 pieces and the model 320"):
        Translator.from_pretrained(other)
