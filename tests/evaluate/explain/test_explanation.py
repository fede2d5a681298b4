"""The explanation of a sentence: what it shows equals what the model and the translator compute."""

import sys
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.decoding.search import length_penalty
from evaluate.explain.explanation import Explanation, explain, explain_text, explain_translation
from evaluate.explain.record import describe, record_forward, recorded_search
from evaluate.explain.search import finished, replay_beam
from evaluate.explain.text import text_lines
from evaluate.generator import Generator
from evaluate.scorer import Scorer
from evaluate.translation import LineTooLong
from evaluate.translator import Translator
from tests import tiny_gpt, tiny_model
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig
from transformer.explain import main
from transformer.model import Transformer, build
from transformer.pretrained import load_pretrained

SENTENCE = "A dog buys an old book, and it is heavy."
CONFIG = DecodeConfig(beam=3, max_extra=4, alpha=0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make_folder(tmp_path_factory.mktemp("model"), max_len=80)


@pytest.fixture(scope="module")
def gpt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gpt.make_folder(tmp_path_factory.mktemp("gpt"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Translator, Transformer]:
    return tiny_model.load_translator(folder, CONFIG)


@pytest.fixture(scope="module")
def explanation(loaded: tuple[Translator, Transformer]) -> Explanation:
    return explain_translation(loaded[0], SENTENCE)


@pytest.fixture(scope="module")
def generator(gpt_folder: Path) -> Generator:
    model, _ = load_pretrained(gpt_folder)
    return Generator(model, CharTokenizer(gpt_folder / "tokenizer.model"))


@pytest.mark.parametrize("beam", [1, 3])
def test_explanation_chooses_what_the_translator_finds(loaded: tuple[Translator, Transformer], beam: int) -> None:
    config = DecodeConfig(beam=beam, max_extra=4, alpha=0.6)
    translator = Translator(loaded[0].backend, loaded[0].tokenizer, config)
    found = explain_translation(translator, SENTENCE)
    best = translator.translate([SENTENCE])[0][0]
    assert found.beam is not None
    assert (found.output, found.beam.chosen.tokens) == (best.text, best.tokens)
    assert found.beam.chosen.log_prob == pytest.approx(best.log_prob, abs=1e-9)
    assert found.beam.chosen.score == pytest.approx(best.score, abs=1e-9)


def test_recorded_search_keeps_the_best_candidates(explanation: Explanation) -> None:
    assert explanation.beam is not None
    for step in explanation.beam.steps[:-1]:
        alive = [node for node in step.candidates if node.tokens[-1] != EOS_ID]
        assert len(step.candidates) == 2 * CONFIG.beam
        assert [node.fate for node in alive[: CONFIG.beam]] == ["kept"] * CONFIG.beam
        assert {node.fate for node in alive[CONFIG.beam :]} <= {"dropped"}
    for node in finished(explanation.beam.steps):
        penalty = length_penalty("gnmt", float(len(node.tokens)), CONFIG.alpha)
        assert node.score == pytest.approx(node.log_prob / penalty)


def test_choices_have_the_probabilities_of_forced_decoding(
    loaded: tuple[Translator, Transformer], explanation: Explanation
) -> None:
    assert explanation.beam is not None
    ids = loaded[0].encode([SENTENCE])
    score = Scorer(loaded[0]).score_ids(ids, [explanation.beam.chosen.tokens])[0]
    probabilities = torch.tensor([choice.probability for choice in explanation.choices])
    assert probabilities.log().tolist() == pytest.approx(list(score.token_log_probs), abs=1e-6)
    for choice in explanation.choices:
        assert [p for _, p in choice.top] == sorted((p for _, p in choice.top), reverse=True)


def test_recording_leaves_the_model_as_it_was(loaded: tuple[Translator, Transformer], explanation: Explanation) -> None:
    model = loaded[1]
    assert not {"start", "step"} & vars(model).keys()
    assert not any(module._forward_hooks for module in model.modules())


def test_last_operation_has_the_model_s_probabilities(
    loaded: tuple[Translator, Transformer], explanation: Explanation
) -> None:
    assert [operation.name for operation in explanation.operations[-2:]] == ["output", "softmax"]
    for position, choice in enumerate(explanation.choices):
        probability = explanation.operations[-1].value[0, position, choice.token].item()
        assert probability == pytest.approx(choice.probability, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "pre", "n_kv_heads": 2}, {"positions": "rotary", "activation": "swiglu"}, {"architecture": "gpt"},
     {"architecture": "gpt", "positions": "rotary", "n_kv_heads": 1, "norm_kind": "rms"}],
)  # fmt: skip
def test_attention_weights_equal_those_of_the_model(options: dict[str, str]) -> None:
    """The weights times V, projected by W^O, are the module's own result."""
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=4, d_ff=32, max_len=8, **options)
    model = build(config).double()
    tokens_BL = torch.randint(4, 20, (1, 6))
    inputs = (tokens_BL,) if config.architecture == "gpt" else (tokens_BL, tokens_BL > 0, tokens_BL[:, :5])
    values = {operation.name: operation.value for operation in record_forward(model, *inputs)}
    attentions = {name: part for name, part in model.named_modules() if isinstance(part, MultiHeadAttention)}
    assert len(attentions) == (2 if config.architecture == "gpt" else 6)
    for name, attention in attentions.items():
        v_BHMK = values[f"{name}.value"].repeat_interleave(4 // config.kv_heads, dim=1)
        a_BHLK = values[f"{name}.weights"] @ v_BHMK
        torch.testing.assert_close(attention.out(a_BHLK.transpose(1, 2).flatten(2)), values[name])
        torch.testing.assert_close(values[f"{name}.weights"].sum(-1), torch.ones_like(a_BHLK[..., 0]))


def test_operations_have_one_letter_for_each_dimension(explanation: Explanation) -> None:
    assert all(len(operation.dims) == operation.value.dim() for operation in explanation.operations)
    sizes = {letter: set[int]() for letter in "DFHKV"}
    for operation in explanation.operations:
        for letter, size in zip(operation.dims, operation.value.shape, strict=True):
            sizes.get(letter, set()).add(size)
    vocabulary = explanation.config.vocab_size
    assert sizes == {"D": {16}, "F": {32}, "H": {2}, "K": {8}, "V": {vocabulary}}


def test_every_module_with_weights_is_described(loaded: tuple[Translator, Transformer]) -> None:
    left_out = {name for name, _ in loaded[1].named_modules() if describe(name, loaded[1].config) is None}
    details = ("norm", "dropout", "out", "outer", "blocks", "encoder", "decoder", "0", "")
    assert {name.rpartition(".")[2] for name in left_out} <= set(details)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_rows_of_maps_add_up_to_one(explanation: Explanation, kind: str) -> None:
    by_words = explanation.maps[kind].by_words()
    rows, columns = explanation.maps[kind].rows.words, explanation.maps[kind].columns.words
    assert by_words.shape == (1, 2, len(rows), len(columns))
    torch.testing.assert_close(by_words.sum(-1), torch.ones(1, 2, len(rows), dtype=by_words.dtype))


def test_decoder_attends_only_to_what_is_written(explanation: Explanation) -> None:
    weights = explanation.maps["decoder"].weights
    assert torch.equal(weights, weights.tril())


def test_language_model_is_explained_as_it_generates(generator: Generator) -> None:
    found = explain_text(generator, "The cat", 6)
    assert found.output == generator.generate(["The cat"], SampleConfig(temperature=0, max_tokens=6))[0][0]
    assert [choice.rank for choice in found.choices] == [1] * 6
    words = found.maps["decoder"].rows.words
    assert words[0] == "The"
    assert words[1].startswith("cat")
    assert len(list(text_lines(found))) > 20


def test_language_model_continues_within_its_context(generator: Generator) -> None:
    assert len(explain_text(generator, "The cat", 500).choices) == 32 - 7 + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' has no word to translate. Give a sentence"),
        ("42 %", "has no word to translate"),
        ("A dog. The cat.", "has 2 sentences.*--no-split-sentences"),
    ],
)
def test_text_that_cannot_be_explained_is_refused(
    loaded: tuple[Translator, Transformer], text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        explain_translation(loaded[0], text)


def test_long_sentence_is_refused(loaded: tuple[Translator, Transformer], generator: Generator) -> None:
    with pytest.raises(LineTooLong, match="the model supports 80"):
        explain_translation(loaded[0], "book " * 200)
    with pytest.raises(InputError, match="has 300 subwords; at most 200"):
        explain_text(generator, "The" * 100, 3)
    with pytest.raises(InputError, match="the model supports 32"):
        explain_text(generator, "The" * 20, 3)
    with pytest.raises(InputError, match="the text is empty"):
        explain_text(generator, "", 3)


def test_unfinished_output_is_explained(folder: Path) -> None:
    found = explain(folder, SENTENCE, DecodeConfig(beam=2, max_length=3), 0)
    assert found.beam is not None
    assert len(found.choices) == 3
    assert "the largest length, 3 tokens, was reached" in found.beam.reason


def test_search_that_ends_early_says_why(loaded: tuple[Translator, Transformer]) -> None:
    with recorded_search(loaded[1]) as record:
        loaded[0].ids.translate(loaded[0].encode(["The cat"]))
    steps = replay_beam(record, CONFIG, EOS_ID)
    assert len(record.tokens) == len(steps) <= record.max_len


def test_command_prints_operations_choices_and_search(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["explain", "--model", str(folder), "--beam", "2", "--max-extra", "2", "The cat\x1b[1m sees"]
    )
    main()
    text = capsys.readouterr().out
    assert "\x1b" not in text
    for part in ("encoder.1.self_attention.weights", "Eq. 1", "BHLM 1x2x", "section 3.4", "step 1", "* is chosen"):
        assert part in text
