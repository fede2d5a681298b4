"""The translator: order and number of lines, batches, prefixes, samples, limits, settings of the model folder."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_pipeline.tokenizers.sentence_piece import EOS_ID
from evaluate.backends.pytorch import PyTorchBackend, choose_compute_type
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.decoding.search import Hypothesis, gnmt_length_penalty
from evaluate.length_batches import IdPair
from evaluate.scorer import Scorer
from evaluate.translation import EMPTY
from evaluate.translator import Translator
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.prepacked import PrepackedLinear, can_prepack, least_d_model_for_bfloat16

CONFIG = DecodeConfig(beam=3, max_extra=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def loaded(folder: Path) -> tuple[Translator, Transformer]:
    return load_translator(folder, CONFIG)


@pytest.fixture
def translator(loaded: tuple[Translator, Transformer]) -> Translator:
    return loaded[0]


@pytest.fixture
def model(loaded: tuple[Translator, Transformer]) -> Transformer:
    """The model of `translator`."""
    return loaded[1]


def test_translator_keeps_order_and_empty_lines(translator: Translator) -> None:
    lines = ["", TEXT[0], "  ", TEXT[1], "\t\u00a0", "Haus", ""]
    outputs = translator(lines)
    assert [bool(text) for text in outputs] == [False, True, False, True, False, True, False]
    assert outputs[1::2] == [translator([line])[0] for line in lines[1::2]]
    assert translator.translate([""]) == [[EMPTY]]
    assert translator([]) == []


def test_translate_does_not_depend_on_batch(translator: Translator) -> None:
    together = translator.translate(TEXT, n_best=3)
    for line, found in zip(TEXT, together, strict=True):
        alone = translator.translate([line], n_best=3)[0]
        assert [t.tokens for t in found] == [t.tokens for t in alone]
        assert [t.score for t in found] == pytest.approx([t.score for t in alone], abs=1e-12)


@pytest.mark.parametrize("batch_tokens", [1, 100, 300])
def test_translate_does_not_depend_on_batch_tokens(translator: Translator, batch_tokens: int) -> None:
    expected = translator.translate(TEXT, n_best=3)
    translator.config = replace(CONFIG, batch_tokens=batch_tokens)
    for found, best in zip(translator.translate(TEXT, n_best=3), expected, strict=True):
        assert [t.tokens for t in found] == [t.tokens for t in best]


@pytest.mark.parametrize("batch_tokens", [1, 100, 300])
def test_float32_translations_depend_on_batch_tokens_only_in_ties(folder: Path, batch_tokens: int) -> None:
    translator = Translator.from_pretrained(folder, CONFIG, "cpu")
    expected = translator.translate(TEXT)
    translator.config = replace(CONFIG, batch_tokens=batch_tokens)
    for (found,), (best,) in zip(translator.translate(TEXT), expected, strict=True):
        assert found.tokens == best.tokens or found.score == pytest.approx(best.score, abs=1e-5)


def test_translate_does_not_depend_on_order(folder: Path) -> None:
    translator = Translator.from_pretrained(folder, replace(CONFIG, batch_tokens=150), "cpu")  # float32
    lines = [*TEXT, *TEXT[:2], "", "Haus"]
    order = random.Random(1).sample(range(len(lines)), len(lines))
    given, shuffled = translator.translate(lines), translator.translate([lines[i] for i in order])
    assert shuffled == [given[i] for i in order]


def test_translate_limits_batches_by_batch_tokens(
    translator: Translator, model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    start = model.start

    def spy(src_BM: torch.Tensor, src_mask_BM: torch.Tensor, max_len: int) -> object:
        shapes.append(tuple(src_BM.shape))
        return start(src_BM, src_mask_BM, max_len)

    monkeypatch.setattr(model, "start", spy)
    translator.config = replace(CONFIG, batch_tokens=400)
    translator([*TEXT, *(f"{line} x" for line in TEXT), "Haus", ""])
    assert sum(rows for rows, _ in shapes) == 2 * len(TEXT) + 1
    assert max(rows for rows, _ in shapes) > 1
    for rows, length in shapes:
        output = min(length + CONFIG.max_extra, 40)
        assert rows * CONFIG.beam * (length + output) <= 400 or rows == 1
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)


def test_batch_tokens_include_longest_outputs(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []

    def search(batch: list[IdPair], limits: list[int], config: DecodeConfig, n_best: int) -> list[list[Hypothesis]]:
        batches.append(len(batch))
        return [[Hypothesis((EOS_ID,), 0.0, 0.0)]] * len(batch)

    monkeypatch.setattr(translator.backend, "search", search)
    translator.config = replace(CONFIG, max_extra=30, batch_tokens=1000)
    translator.ids.translate([[token, EOS_ID] for token in range(100, 200)])
    most = 1000 // (CONFIG.beam * (2 + 2 + 30))
    assert batches == [most] * (100 // most) + [100 % most] * (100 % most > 0)


def test_translate_searches_equal_lines_once(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In different batches, rounding could give equal lines different translations."""
    seen: list[IdPair] = []
    search = translator.backend.search

    def spy(batch: list[IdPair], *args: Any) -> list[list[Hypothesis]]:
        seen.extend(batch)
        return search(batch, *args)

    monkeypatch.setattr(translator.backend, "search", spy)
    outputs = translator([TEXT[0], TEXT[1], TEXT[0], f" {TEXT[0]}"])
    assert len(seen) == 2
    assert outputs[0] == outputs[2] == outputs[3]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("The cat.", r"`lines` must be a list of strings, not one string\. Write"),
        (["a", None], "line 2 is None; it must be a string"),
        ([b"a"], "line 1 is b'a'; it must be a string"),
    ],
)
def test_translator_rejects_input_other_than_list_of_strings(
    translator: Translator, lines: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        translator(lines)  # type: ignore[arg-type]


def test_translator_accepts_any_iterable_of_strings(translator: Translator) -> None:
    lines = ["The cat.", "", "42", TEXT[0]]
    expected = translator(lines)
    assert translator(line for line in lines) == translator(tuple(lines)) == translator(iter(lines)) == expected
    prefixes = ["Die", "", "", "Der"]
    assert translator.translate(iter(lines), prefixes=iter(prefixes)) == translator.translate(lines, prefixes=prefixes)
    assert translator.sample(iter(lines)) == translator.sample(lines)
    assert translator.encode(iter(lines)) == translator.encode(lines)
    scorer = Scorer(translator)
    assert scorer.score(iter(lines[:1]), iter(["Die Katze."])) == scorer.score(lines[:1], ["Die Katze."])


def test_translation_log_prob_equals_forced_decoding(translator: Translator, model: Transformer) -> None:
    src_BM = torch.tensor(translator.encode([TEXT[0]]))
    for translation in translator.translate([TEXT[0]], n_best=3)[0]:
        tokens = torch.tensor([[2, *translation.tokens]])
        with torch.inference_mode():
            logp_LV = model(src_BM, torch.ones_like(src_BM, dtype=torch.bool), tokens)[0].log_softmax(-1)
        log_prob = sum(logp_LV[i, token].item() for i, token in enumerate(translation.tokens))
        penalty = gnmt_length_penalty(float(len(translation.tokens)), CONFIG.alpha)
        assert translation.log_prob == pytest.approx(log_prob, abs=1e-9)
        assert translation.score == pytest.approx(log_prob / penalty, abs=1e-9)


@pytest.mark.parametrize("kind", ["gnmt", "length", "none"])
def test_translation_score_is_log_prob_divided_by_length_penalty(translator: Translator, kind: str) -> None:
    translator.config = replace(CONFIG, length_penalty=kind, alpha=1.0)  # type: ignore[arg-type]
    for t in translator.translate(TEXT[:1], n_best=3)[0]:
        divisor = {"gnmt": (5 + len(t.tokens)) / 6, "length": len(t.tokens), "none": 1}[kind]
        assert t.score == pytest.approx(t.log_prob / divisor, abs=1e-12)


def test_translate_begins_with_prefix(translator: Translator) -> None:
    free = translator.translate(TEXT[:2], n_best=3)
    prefixes = translator.tokenizer.decode(
        [list(best[1].tokens[:3]) for best in free]
    )  # a beginning that differs from the best translation
    given = translator.encode_prefixes([*prefixes, ""])
    assert given is not None
    found = translator.translate([*TEXT[:2], TEXT[2]], n_best=3, prefixes=[*prefixes, ""])
    for best, ids in zip(found, given, strict=True):
        assert all(list(t.tokens[: len(ids)]) == ids for t in best)
        assert all(len(t.tokens) > len(ids) for t in best)
    assert found[2][0].tokens == translator.translate([TEXT[2]])[0][0].tokens


def test_translate_does_not_depend_on_other_prefixes(translator: Translator) -> None:
    prefixes = ["Die", "", "Ein altes Buch", "Der Hund kauft", "x"]
    together = translator.translate(TEXT, prefixes=prefixes)
    for line, prefix, (best,) in zip(TEXT, prefixes, together, strict=True):
        assert translator.translate([line], prefixes=[prefix])[0][0].tokens == best.tokens


def test_prefix_of_best_translation_keeps_or_improves_score(translator: Translator) -> None:
    sources = translator.encode(TEXT)
    free = translator.ids.translate(sources)
    again = translator.ids.translate(sources, prefixes=[list(best.tokens[:4]) for (best,) in free])
    for (best,), (forced,) in zip(free, again, strict=True):
        assert forced.score >= best.score - 1e-9  # the whole beam searches after this beginning


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [(["a"], "2 lines but 1 prefixes"), (["", "x " * 60], r"prefix 2 has \d+ tokens; an output of at most 40")],
)
def test_translate_rejects_wrong_number_and_length_of_prefixes(
    translator: Translator, prefixes: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        translator.translate(["a", "b"], prefixes=prefixes)


def test_output_length_is_between_min_length_and_max_length(translator: Translator, model: Transformer) -> None:
    with torch.no_grad():  # otherwise EOS is unlikely
        model.output.weight[EOS_ID] += 0.5 * model.output.weight[4:].std()
    for low, high in ((1, 4), (9, 12), (40, None)):
        translator.config = replace(CONFIG, max_extra=0, min_length=low, max_length=high)
        for best in (*translator.translate(["a", *TEXT]), *translator.sample(["a", *TEXT])):
            assert all(low <= len(t.tokens) <= (high or 40) for t in best)


def test_translate_rejects_min_length_above_max_len(translator: Translator) -> None:
    translator.config = replace(CONFIG, min_length=41)
    with pytest.raises(ValueError, match=r"decode\.min_length is 41; outputs have at most 40 tokens"):
        translator(["a"])


def test_samples_depend_only_on_line_and_seed(translator: Translator) -> None:
    config = SampleConfig(num_samples=3, top_k=20)
    lines = [*TEXT, TEXT[0], ""]
    together = translator.sample(lines, config)
    assert together[0] == together[5]
    assert together[6] == [EMPTY]
    for line, drawn in zip(TEXT, together, strict=False):
        assert [t.tokens for t in translator.sample([line], config)[0]] == [t.tokens for t in drawn]
        assert len({t.tokens for t in drawn}) == 3
    other = translator.sample(TEXT, replace(config, seed=2))
    assert all(a[0].tokens != b[0].tokens for a, b in zip(together, other, strict=False))


def test_sample_at_temperature_zero_equals_greedy_search(translator: Translator) -> None:
    drawn = translator.sample(TEXT, SampleConfig(temperature=0, num_samples=2))
    translator.config = replace(CONFIG, beam=1)
    for (best,), samples in zip(translator.translate(TEXT), drawn, strict=True):
        for sample in samples:
            assert sample.tokens == best.tokens
            assert sample.score == pytest.approx(best.score, abs=1e-9)


def test_sample_begins_with_prefix(translator: Translator) -> None:
    for (drawn,) in translator.sample(TEXT, prefixes=["Die Katze"] * len(TEXT)):
        assert drawn.text.startswith("Die Katze")


def test_output_length_is_limited_by_max_extra_and_max_len(translator: Translator, model: Transformer) -> None:
    for extra in (0, 4, 500):
        translator.config = replace(CONFIG, max_extra=extra)
        sources = translator.encode(TEXT)
        for ids, (best,) in zip(sources, translator.translate(TEXT), strict=True):
            assert len(best.tokens) <= min(len(ids) + extra, model.config.max_len)


def test_translate_rejects_long_line_before_search(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator.backend, "search", None)
    longest = len(translator.encode(["x"])[0])
    with pytest.raises(ValueError, match=r"line 3 has \d+ tokens; the model supports 40\. Split it"):
        translator.translate(["a", "", "x " * 60], prefixes=["", "", ""])
    assert len(translator.encode(["x" * (40 - longest + 1)])[0]) == 40  # exactly the limit


def test_translator_translates_sentences_of_line_one_by_one(translator: Translator) -> None:
    cat, dog = translator(TEXT[:2])
    assert translator([f"{TEXT[0]} 42! {TEXT[1]}"]) == [f"{cat} 42! {dog}"]
    best, second = translator.translate([f"{TEXT[0]}  {TEXT[1]}"], n_best=2)[0]
    assert best.text == f"{cat}  {dog}"
    assert best.score >= second.score
    assert best.tokens == sum((t[0].tokens for t in translator.translate(TEXT[:2])), ())
    (drawn,) = translator.sample([f"{TEXT[0]} {TEXT[1]}"])[0]
    assert drawn.text == " ".join(t[0].text for t in translator.sample(TEXT[:2]))


def test_translator_translates_lines_as_a_whole_if_sentences_are_not_split(translator: Translator) -> None:
    translator.config = replace(CONFIG, split_sentences=False)
    line = "Ja. Nein."
    assert translator([line]) == [translator.ids.translate(translator.encode([line]))[0][0].text]


def test_translator_copies_line_without_letter(translator: Translator) -> None:
    lines = [" - ", "\u200b", "(3)", "Haus"]
    assert translator(lines)[:3] == lines[:3]
    assert [best[0].text for best in translator.sample(lines)][:3] == lines[:3]
    assert [best[0].text for best in translator.translate(lines, prefixes=["Ja"] * 4)][:3] == lines[:3]
    translator.config = replace(CONFIG, translate_symbols=True)
    assert translator(["(3)"]) == [translator.ids.translate(translator.encode(["(3)"]))[0][0].text]


def test_translator_splits_long_line_and_notes_it(translator: Translator) -> None:
    notes: list[str] = []
    lines = ["x " * 20 + "y " * 20, "Haus", "z " * 60]
    (found,), (house,), _ = translator.translate(lines, note=notes.append)
    x, y = translator([" ".join("x" * 10), " ".join("y" * 10)])
    assert found.text == f"{x} {x} {y} {y}"
    assert house.text == translator(["Haus"])[0]
    assert notes == ["lines 1, 3 are longer than the model's limit of 40 tokens; split and translated in parts"]


def test_translator_notes_lines_whose_unicode_form_changes(translator: Translator) -> None:
    notes: list[str] = []
    found = translator.translate(["Haus", "u\u0308ber das", "das\u00a0Haus", "\u00a0\u200b42"], note=notes.append)
    same = translator.translate(["Haus", "\u00fcber das", "das Haus", "\u00a0\u200b42"], note=notes.append)
    assert found == same
    rule = "Unicode NFC, and plain spaces for no-break and zero-width ones"
    changed = [note for note in notes if "characters" not in note]  # the model of random weights loses ü, too
    assert changed == [f"lines 2, 3 were changed for the model: {rule}"]


def test_translator_replaces_line_break_in_line_by_space(translator: Translator) -> None:
    assert translator(["The cat\nsees\r\nit."]) == translator(["The cat sees  it."])


def test_translation_contains_no_line_break(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator.tokenizer, "decode", lambda ids: ["a\nb\r\nc"] * len(ids))
    assert translator(["Haus"]) == ["a b  c"]


def test_translator_uses_eval_mode_and_restores_train_mode(translator: Translator, model: Transformer) -> None:
    expected = translator(TEXT)
    model.train()
    assert translator(TEXT) == expected
    assert model.training
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


def test_n_best_translations_are_distinct_and_sorted(translator: Translator, model: Transformer) -> None:
    with torch.no_grad():  # otherwise EOS is unlikely
        model.output.weight[EOS_ID] += 0.5 * model.output.weight[4:].std()
    for best in translator.translate(TEXT, n_best=3):
        assert len({t.tokens for t in best}) == len(best)
        assert [t.score for t in best] == sorted((t.score for t in best), reverse=True)
        assert len({t.tokens[-1] == EOS_ID for t in best}) == 1


def test_translate_rejects_n_best_above_beam(translator: Translator) -> None:
    with pytest.raises(
        ValueError,
        match=r"n_best \(--n-best\) is 4; it must be from 1 to the beam, which is 3 \(decode\.beam, --beam\)",
    ):
        translator.translate(["a"], n_best=4)


@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 0},
        {"alpha": -0.1},
        {"alpha": float("nan")},
        {"max_extra": -1},
        {"batch_tokens": 0},
        {"min_length": 0},
        {"max_length": 4, "min_length": 5},
        {"length_penalty": "wu"},
    ],
)
def test_decode_config_rejects_settings_out_of_range(settings: dict[str, Any]) -> None:
    name = next(iter(settings))
    with pytest.raises(ValueError, match=rf"decode\.{name} is .*must be"):
        replace(DecodeConfig(), **settings)


def test_bfloat16_scores_equal_float32_scores_to_three_digits(folder: Path) -> None:
    exact = Translator.from_pretrained(folder, CONFIG, "cpu")
    rough = Translator.from_pretrained(folder, CONFIG, "cpu", compute_type="bfloat16")
    assert (exact.compute_type, rough.compute_type) == ("float32", "bfloat16")
    unpacked = PyTorchBackend.from_pretrained(folder, compute_type="bfloat16", prepack=False)
    assert {p.dtype for p in unpacked.model.parameters()} == {torch.bfloat16}
    sources = exact.encode(TEXT)
    outputs = [best[0].tokens for best in rough.ids.translate(sources)]
    forced = Scorer(exact).score_ids(sources, outputs)
    for found, score in zip(rough.ids.translate(sources), forced, strict=True):
        assert found[0].log_prob == pytest.approx(score.log_prob, rel=0.02)


@pytest.mark.parametrize(
    ("compute_type", "message"),
    [
        ("float16", r"the backend torch computes in float16 on a GPU only\. Use bfloat16 or float32"),
        ("int16", r"torch does not support the compute type 'int16'\. .* --backend ctranslate2, which supports others"),
    ],
)
def test_from_pretrained_rejects_unsupported_compute_type(folder: Path, compute_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Translator.from_pretrained(folder, CONFIG, "cpu", compute_type=compute_type)


@pytest.mark.parametrize(("amx", "bf16", "least"), [(True, True, 256), (False, True, 512), (False, False, None)])
def test_auto_compute_type_depends_on_cpu_and_d_model(
    amx: bool, bf16: bool, least: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    least_d_model_for_bfloat16.cache_clear()
    sizes = (128, 256, 512)
    found = [choose_compute_type("auto", torch.device("cpu"), ModelConfig(d_model=size)) for size in sizes]
    assert found == ["bfloat16" if least and size >= least else "float32" for size in sizes]
    least_d_model_for_bfloat16.cache_clear()


@pytest.mark.skipif(not can_prepack(torch.zeros(1)), reason="no oneDNN for x86 here")
def test_from_pretrained_prepacks_unless_prepack_is_false(folder: Path) -> None:
    packed = Translator.from_pretrained(folder, device="cpu").backend
    unchanged = Translator.from_pretrained(folder, device="cpu", prepack=False).backend
    assert isinstance(packed, PyTorchBackend)
    assert isinstance(unchanged, PyTorchBackend)
    assert any(isinstance(module, PrepackedLinear) for module in packed.model.modules())
    assert not any(isinstance(module, PrepackedLinear) for module in unchanged.model.modules())


def test_from_pretrained_rejects_unknown_backend(folder: Path) -> None:
    with pytest.raises(ValueError, match="backend is 'onnx'; it must be one of torch, ctranslate2"):
        Translator.from_pretrained(folder, backend="onnx")  # type: ignore[arg-type]


def test_translator_rejects_features_that_backend_does_not_support(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyTorchBackend, "supports", frozenset())
    for feature, use in {
        "prefix": lambda: translator.translate(["a"], prefixes=["b"]),
        "sampling": lambda: translator.sample(["a"]),
        "token scores": lambda: Scorer(translator).score(["a"], ["b"]),
        "attention": lambda: Scorer(translator).cross_attention([[5, EOS_ID]], [[5]]),
    }.items():
        with pytest.raises(ValueError, match=rf"the backend torch does not support {feature}\. Use the backend torch"):
            use()


def copy_folder(folder: Path, to: Path, decode: dict[str, Any] | None = None, yaml: str | None = None) -> Path:
    """Copy a model folder, with decoding settings in config.json or in the config.yaml of an older version."""
    shutil.copytree(folder, to)
    if decode is not None:
        about = json.loads((to / "config.json").read_text())
        (to / "config.json").write_text(json.dumps({**about, "decode": decode}))
    if yaml is not None:
        (to / "config.yaml").write_text(yaml)
    return to


def test_from_pretrained_uses_decode_settings_of_model_folder(folder: Path, tmp_path: Path) -> None:
    assert Translator.from_pretrained(folder, device="cpu").config == DecodeConfig()
    saved = copy_folder(folder, tmp_path / "new", {"beam": 5, "alpha": 1.4}, yaml="decode: {beam: 7}")
    assert Translator.from_pretrained(saved, device="cpu").config == DecodeConfig(beam=5, alpha=1.4)
    assert Translator.from_pretrained(saved, CONFIG, "cpu").config == CONFIG


def test_from_pretrained_uses_config_yaml_of_older_model_folder(folder: Path, tmp_path: Path) -> None:
    # Sections and settings of training that this version does not have are ignored.
    older = copy_folder(folder, tmp_path / "old", yaml="train: {of_another_version: 1}\ndecode: {beam: 7}\nnew: 2\n")
    assert Translator.from_pretrained(older, device="cpu").config == DecodeConfig(beam=7)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"beem": 2}, r"config\.json: there is no setting 'decode\.beem'. Did you mean decode\.beam"),
        ({"beam": "x"}, r"config\.json: decode\.beam is 'x'; it must be an integer"),
        ({"beam": 0}, r"decode\.beam is 0; it must be at least 1"),
        ([2], r"config\.json at decode: \[2\] is not a section"),
        (
            {"length_penalty": "${oc.env:HOME}"},
            r"decode\.length_penalty=\$\{oc\.env:HOME\} is a reference",
        ),
        ({"beam": "${decode.max_extra}"}, r"decode\.beam=\$\{decode\.max_extra\} is a reference"),
    ],
)
def test_from_pretrained_rejects_invalid_decode_settings(
    folder: Path, tmp_path: Path, decode: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Translator.from_pretrained(copy_folder(folder, tmp_path / "model", decode), device="cpu")
    assert "\n" not in str(caught.value)


def test_from_pretrained_fails_if_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model folder"):
        Translator.from_pretrained(tmp_path / "none")


def test_from_pretrained_rejects_tokenizer_of_other_model(folder: Path, tmp_path: Path) -> None:
    from data_pipeline.tokenizers.sentence_piece import train_tokenizer

    other = make_folder(tmp_path / "other")
    train_tokenizer(iter(TEXT), other / "tokenizer.model", vocab_size=310)
    with pytest.raises(ValueError, match="the tokenizer has 310 tokens but the model has 320"):
        Translator.from_pretrained(other)
