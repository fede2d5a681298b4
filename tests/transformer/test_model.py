"""Section 3 of the paper, and mistakes that other implementations have made."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.transformer.small_models import SMALL, small, small_gpt, sources, targets
from transformer.attention import MultiHeadAttention
from transformer.block import Residual
from transformer.config import ModelConfig
from transformer.layers import Embedding, FeedForward, sinusoidal_positions
from transformer.model import GPT, Transformer, build, count_parameters

VARIATIONS = [
    {},
    {"norm": "pre"},
    {"positions": "learned"},
    {"activation": "gelu"},
    {"tying": "output"},
    {"tying": "none"},
    {"d_head": 3},
    {"d_value": 5},
    {"n_decoder_layers": 1},
    {"n_decoder_layers": 3},
]


@pytest.mark.parametrize("j", range(6))
def test_target_token_changes_outputs_only_from_own_position_on(j: int) -> None:
    model, tgt_BL = small(), targets()
    before = model(*sources(), tgt_BL)
    tgt_BL[:, j] = (tgt_BL[:, j] + 1) % 36 + 4
    change = (model(*sources(), tgt_BL) - before).abs().amax(dim=(0, 2))
    assert (change[:j] == 0).all()
    assert (change[j:] > 1e-9).all()


@pytest.mark.parametrize("j", range(5))
def test_gpt_attends_only_to_earlier_positions(j: int) -> None:
    model, tokens_BL = small_gpt(), targets()
    before = model(tokens_BL)
    tokens_BL[:, j] = (tokens_BL[:, j] + 1) % 36 + 4
    change = (model(tokens_BL) - before).abs().amax(dim=(0, 2))
    assert (change[:j] == 0).all()
    assert (change[j:] > 1e-9).all()


def test_source_token_changes_all_outputs() -> None:
    model, (src_BM, mask_BM) = small(), sources()
    before = model(src_BM, mask_BM, targets())
    src_BM[0, 6] = src_BM[0, 6] % 35 + 5
    change = (model(src_BM, mask_BM, targets()) - before).abs().amax(dim=2)
    assert (change[0] > 1e-9).all()
    assert (change[1:] == 0).all()


@pytest.mark.parametrize("variation", VARIATIONS, ids=str)
def test_sentence_alone_equals_sentence_in_padded_batch(variation: dict[str, object]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(**variation), sources(), targets()
    together = model(src_BM, mask_BM, tgt_BL)
    for i, length in enumerate((7, 4, 5)):
        alone = model(src_BM[i : i + 1, :length], mask_BM[i : i + 1, :length], tgt_BL[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


def test_outputs_do_not_depend_on_ids_in_padding() -> None:
    model, (src_BM, mask_BM) = small(), sources()
    before = model(src_BM, mask_BM, targets())
    after = model(src_BM.masked_fill(~mask_BM, 9), mask_BM, targets())
    torch.testing.assert_close(before, after, rtol=0, atol=0)


@pytest.mark.parametrize("variation", VARIATIONS, ids=str)
def test_decoding_steps_equal_forward(variation: dict[str, object]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(**variation), sources(), targets()
    expected = model(src_BM, mask_BM, tgt_BL)
    state = model.start(src_BM, mask_BM, max_len=6)
    steps = torch.stack([model.step(tgt_BL[:, i], state) for i in range(6)], dim=1)
    torch.testing.assert_close(steps, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prompt", [1, 2, 4])
def test_gpt_start_and_steps_equal_forward(prompt: int) -> None:
    model, tokens_BL = small_gpt(norm="pre"), targets()
    expected = model(tokens_BL)
    state = model.start(tokens_BL[:, :prompt], max_len=6)
    steps = torch.stack([model.step(tokens_BL[:, i], state) for i in range(prompt - 1, 6)], dim=1)
    torch.testing.assert_close(steps, expected[:, prompt - 1 :], rtol=0, atol=1e-12)


def test_cache_accepts_several_tokens_after_earlier_tokens() -> None:
    model, tokens_BL = small_gpt(), targets()
    state = model.start(tokens_BL[:, :1], max_len=6)
    first = model.decoder(model.embedding(tokens_BL[:, :2]), caches=state.caches)
    rest = model.decoder(model.embedding(tokens_BL[:, 2:], start=2), caches=state.caches)
    torch.testing.assert_close(torch.cat([first, rest], 1), model.decoder(model.embedding(tokens_BL)))


def test_reorder_reorders_sentences() -> None:
    model, (src_BM, mask_BM), tgt_BL = small(), sources(), targets()
    state = model.start(src_BM, mask_BM, max_len=6)
    model.step(tgt_BL[:, 0], state)
    index_N = torch.tensor([2, 2, 0, 1, 1])  # repeats and grows
    state.reorder(index_N)
    grown = model.step(tgt_BL[index_N, 1], state)
    torch.testing.assert_close(grown, model(src_BM, mask_BM, tgt_BL)[index_N, 1], rtol=0, atol=1e-12)
    state.reorder(torch.tensor([3]))  # shrinks
    alone = model.step(tgt_BL[[1], 2], state)
    torch.testing.assert_close(alone, model(src_BM, mask_BM, tgt_BL)[[1], 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("index", "memory_rows"),
    [
        ([0, 0, 1, 1, 2, 2], 3),  # two hypotheses per sentence
        ([2, 2, 0, 0], 2),
        ([1, 0, 2], 3),
        ([0, 0, 1], 3),  # different numbers of hypotheses
        ([0, 1, 0, 1], 4),  # rows of a sentence that are not neighbours
        ([1, 1, 1, 1], 1),
    ],
)
@pytest.mark.parametrize("then", [[1, 0], [2, 1, 0], [0, 0, 1, 2, 2, 1]])
def test_hypotheses_share_memory_of_own_sentence(index: list[int], memory_rows: int, then: list[int]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(), sources(), targets()
    expected = model(src_BM, mask_BM, tgt_BL)
    state = model.start(src_BM, mask_BM, max_len=6)
    model.step(tgt_BL[:, 0], state)
    rows_N = torch.tensor(index)
    state.reorder(rows_N)
    assert [memory.k_BHMK.size(0) for memory in state.memories if memory is not None] == [memory_rows] * 2
    torch.testing.assert_close(model.step(tgt_BL[rows_N, 1], state), expected[rows_N, 1], rtol=0, atol=1e-12)
    state.reorder(torch.tensor(then))
    rows_N = rows_N[then]
    torch.testing.assert_close(model.step(tgt_BL[rows_N, 2], state), expected[rows_N, 2], rtol=0, atol=1e-12)


def test_reorder_with_same_sentences_keeps_memory() -> None:
    model, (src_BM, mask_BM), tgt_BL = small(), sources(), targets()
    state = model.start(src_BM, mask_BM, max_len=6)
    state.reorder(torch.tensor([0, 0, 1, 1, 2, 2]))
    first_N = torch.tensor([5, 6, 7, 8, 9, 10])  # a different first token for each hypothesis
    model.step(first_N, state)
    memory = state.memories[0]
    assert memory is not None
    before = memory.k_BHMK
    index_N, sentence_N = torch.tensor([1, 1, 3, 2, 4, 4]), torch.tensor([0, 0, 1, 1, 2, 2])
    state.reorder(index_N, same_sentences=True)
    assert memory.k_BHMK is before
    history_NL = torch.stack([first_N[index_N], tgt_BL[sentence_N, 1]], dim=1)
    expected = model(src_BM[sentence_N], mask_BM[sentence_N], history_NL)[:, 1]
    torch.testing.assert_close(model.step(history_NL[:, 1], state), expected, rtol=0, atol=1e-12)


def test_multi_head_attention_equals_eq_1_for_each_head() -> None:
    """Section 3.2.2: Concat(head_1, ..., head_h) W^O, with Eq. 1 for each head as printed."""
    torch.manual_seed(0)
    attention, x_LD = MultiHeadAttention(SMALL).double(), torch.randn(5, 16, dtype=torch.float64)
    heads = []
    for h in range(4):
        rows = slice(4 * h, 4 * h + 4)
        q, k, v = (
            x_LD @ layer.weight[rows].T + layer.bias[rows]
            for layer in (attention.query, attention.key, attention.value)
        )
        heads.append(torch.softmax(q @ k.T / math.sqrt(4), dim=-1) @ v)  # Eq. 1
    expected = torch.cat(heads, dim=1) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(attention(x_LD[None])[0], expected)


def test_sinusoidal_positions_equal_formula_of_section_3_5() -> None:
    table = sinusoidal_positions(50, 16)
    for pos in (0, 1, 7, 49):
        for i in range(8):
            angle = pos / 10000 ** (2 * i / 16)
            assert table[pos, 2 * i] == pytest.approx(math.sin(angle), abs=1e-7)
            assert table[pos, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-7)


def test_embedding_scales_tokens_by_sqrt_d_model_and_not_positions() -> None:
    embedding = Embedding(replace(SMALL, dropout=0.0))
    tokens = torch.tensor([[5, 5]])
    expected = embedding.tokens.weight[5] * 4 + sinusoidal_positions(2, 16)
    torch.testing.assert_close(embedding(tokens)[0], expected)


def test_feed_forward_equals_eq_2() -> None:
    feed_forward, x = FeedForward(SMALL), torch.randn(3, 16)
    inner, outer = feed_forward.inner, feed_forward.outer
    expected = torch.clamp(x @ inner.weight.T + inner.bias, min=0) @ outer.weight.T + outer.bias
    torch.testing.assert_close(feed_forward(x), expected)


def test_residual_is_post_norm_by_default_and_pre_norm_if_set() -> None:
    x, double = torch.randn(2, 3, 16), lambda x: 2 * x
    post, pre = Residual(replace(SMALL, dropout=0.0)), Residual(replace(SMALL, dropout=0.0, norm="pre"))
    torch.testing.assert_close(post(x, double), F.layer_norm(3 * x, (16,)))
    torch.testing.assert_close(pre(x, double), x + 2 * F.layer_norm(x, (16,)))
    assert ModelConfig().norm == "post"


def test_dropout_is_only_on_sublayer_outputs_and_embedding_sums() -> None:
    model = Transformer(SMALL)
    sites = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p > 0]
    assert sum(".self_residual." in s or ".cross_residual." in s for s in sites) == 2 + 4
    assert sum(".feed_forward_residual." in s for s in sites) == 4
    assert [s for s in sites if "residual" not in s] == ["src_embedding.dropout", "tgt_embedding.dropout"]


@pytest.mark.parametrize(("tying", "matrices"), [("all", 1), ("output", 2), ("none", 3)])
def test_tying_shares_matrices(tying: str, matrices: int) -> None:
    model = small(tying=tying)
    weights = (model.src_embedding.tokens.weight, model.tgt_embedding.tokens.weight, model.output.weight)
    assert len({weight.data_ptr() for weight in weights}) == matrices
    assert count_parameters(model) == count_parameters(small()) + (matrices - 1) * 40 * 16


def attention_parameters(d: int, inner: int) -> int:
    return 3 * (d * inner + inner) + inner * d + d


@pytest.mark.parametrize(
    ("config", "total"),
    [(ModelConfig(), 63_082_496), (ModelConfig(d_model=1024, n_heads=16, d_ff=4096, dropout=0.3), 214_245_376)],
    ids=["base", "big"],
)
def test_parameter_counts_of_base_and_big_add_up_by_layer(config: ModelConfig, total: int) -> None:
    with torch.device("meta"):
        model = Transformer(config)
    d, ff = config.d_model, config.d_ff
    attention, feed_forward, norm = attention_parameters(d, d), d * ff + ff + ff * d + d, 2 * d
    for block in model.encoder.blocks:
        assert count_parameters(block) == attention + feed_forward + 2 * norm
    for block in model.decoder.blocks:
        assert count_parameters(block) == 2 * attention + feed_forward + 3 * norm
    embedding = 37_000 * d
    assert count_parameters(model.tgt_embedding) == embedding
    assert count_parameters(model) == total
    assert total == embedding + 6 * (3 * attention + 2 * feed_forward + 5 * norm)


def test_printed_parameter_counts_fit_no_single_vocabulary_size() -> None:
    """docs/paper.md, section 2: in millions, all rows of Table 3 that print a count; d_k = 16 and 32 keep d_v = 64."""

    def sizes(printed: float, layers: int = 6, d: int = 512, ff: int = 2048, d_k: int = 512) -> set[int]:
        """Return the vocabulary sizes whose parameter count rounds to `printed`; d_k is that of all heads together."""
        attention = 2 * (d * d_k + d_k) + 2 * (d * d + d)
        others = layers * (3 * attention + 2 * (2 * d * ff + ff + d) + 5 * 2 * d)
        return {v for v in range(30_000, 50_000) if abs(others + v * d - printed * 1e6) <= 5e5}

    base = set.intersection(
        *(sizes(65), sizes(58, d_k=128), sizes(60, d_k=256), sizes(36, layers=2), sizes(50, layers=4)),
        *(sizes(80, layers=8), sizes(28, d=256, d_k=256), sizes(168, d=1024, d_k=1024)),
        *(sizes(53, ff=1024), sizes(90, ff=4096)),
    )
    big = sizes(213, d=1024, ff=4096, d_k=1024)
    assert (min(base), max(base), len(base)) == (40_932, 41_160, 229)
    assert (min(big), max(big)) == (35_296, 36_272)
    assert 37_000 not in base | big


def test_n_decoder_layers_is_number_of_decoder_blocks() -> None:
    model = small(n_layers=3, n_decoder_layers=1)
    assert (len(model.encoder.blocks), len(model.decoder.blocks)) == (3, 1)
    whole, others = count_parameters(small(n_layers=3)), small(n_layers=3).decoder.blocks[1:]
    assert count_parameters(model) == whole - count_parameters(others)


def test_parameter_count_of_gpt_adds_up() -> None:
    config = replace(SMALL, architecture="gpt", norm="pre", positions="learned")
    block = attention_parameters(16, 16) + (16 * 32 + 32 + 32 * 16 + 16) + 2 * 32
    model = build(config)
    assert isinstance(model, GPT)
    assert count_parameters(model) == 40 * 16 + 32 * 16 + 2 * block + 32


@pytest.mark.parametrize("variation", VARIATIONS, ids=str)
def test_every_parameter_gets_gradient(variation: dict[str, object]) -> None:
    model = small(**variation)
    model(*sources(), targets()).square().sum().backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in unused if not n.endswith("key.bias")] == []  # softmax cancels the bias of keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 15, "n_heads": 3}, "is odd"),
        ({"n_heads": 3}, "is not divisible by"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0"),
        ({"activation_dropout": -0.1}, "activation_dropout is -0.1"),
        ({"n_layers": 0}, "must be at least 1"),
        ({"n_decoder_layers": 0}, "n_decoder_layers is 0; it must be at least 1"),
        ({"n_decoder_layers": 1001}, "n_decoder_layers is 1001; it must be at most 1,000"),
        ({"n_decoder_layers": 1, "architecture": "gpt"}, "For a GPT, set model.n_layers"),
    ],
)
def test_model_config_rejects_invalid_sizes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]


WORDS = ["architecture", "norm", "positions", "activation", "tying", "norm_kind", "init"]
"""Fields of ModelConfig that have named values."""


@pytest.mark.parametrize("name", WORDS)
def test_model_config_rejects_unknown_value(name: str) -> None:
    with pytest.raises(ValueError, match=f"model.{name} is 'sandwich'; it must be '{getattr(SMALL, name)}' or "):
        ModelConfig(**{name: "sandwich"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": "wide"}, "model.d_model is 'wide'; it must be an integer"),
        ({"d_model": 16.0}, "model.d_model is 16.0; it must be an integer"),
        ({"n_layers": True}, "model.n_layers is True; it must be an integer"),
        ({"dropout": None}, "model.dropout is None; it must be a number"),
        ({"n_kv_heads": "2"}, "model.n_kv_heads is '2'; it must be an integer or null"),
        ({"scale_embedding": 1}, "model.scale_embedding is 1; it must be true or false"),
    ],
)
def test_model_config_rejects_wrong_types(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("architecture", ["transformer", "gpt"])
def test_build_fails_for_value_without_implementation(name: str, architecture: str) -> None:
    """The code that reads a named value lists all values, so no value falls back to a default silently."""
    config = replace(SMALL, architecture=architecture)  # type: ignore[arg-type]
    object.__setattr__(config, name, "sandwich")
    with pytest.raises(AssertionError, match="sandwich"):
        build(config)


def test_encode_rejects_sequence_longer_than_max_len() -> None:
    with pytest.raises(ValueError, match=r"33 tokens is longer than model\.max_len 32"):
        small().encode(torch.ones(1, 33, dtype=torch.long), torch.ones(1, 33, dtype=torch.bool))


def test_attention_in_bf16_training_on_cpu_is_computed_in_fp32() -> None:
    torch.manual_seed(0)
    attention, x_BLD = MultiHeadAttention(SMALL), torch.randn(3, 9, 16)
    with torch.autocast("cpu", torch.bfloat16):
        trained, evaluated = attention(x_BLD, causal=True), attention.eval()(x_BLD, causal=True)
    assert trained.dtype == torch.bfloat16
    torch.testing.assert_close(trained, evaluated, rtol=0.02, atol=0.01)
