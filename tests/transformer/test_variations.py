"""Named variations of the model: each alone, and those of a current GPT together."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.transformer.small_models import SMALL, small, small_gpt, sources, targets
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig
from transformer.layers import Embedding, GatedFeedForward, RotaryPositions, make_feed_forward, make_norm
from transformer.model import GPT, build, count_parameters

EACH: list[dict[str, object]] = [
    {"activation": "gelu_tanh"},
    {"activation": "silu"},
    {"activation": "swiglu"},
    {"output_bias": True},
    {"positions": "learned"},
    {"positions": "rotary"},
    {"norm_kind": "rms"},
    {"n_kv_heads": 1},
    {"n_kv_heads": 2},
    {"d_value": 5},
    {"d_value": 2, "n_kv_heads": 2},
    {"scale_embedding": False},
    {"init": "gpt2"},
    {"activation": "swiglu", "positions": "rotary", "norm_kind": "rms", "n_kv_heads": 2, "d_head": 6, "init": "gpt2"},
]
VARIATIONS = [{"norm": norm, **changes} for changes in EACH for norm in ("post", "pre")]

every_variation = pytest.mark.parametrize("variation", VARIATIONS, ids=str)


def replace_token(tokens_BL: Tensor, j: int) -> Tensor:
    """Return the same tokens with a different token at position j."""
    tokens_BL = tokens_BL.clone()
    tokens_BL[:, j] = (tokens_BL[:, j] + 1) % 36 + 4
    return tokens_BL


@every_variation
def test_target_token_changes_no_earlier_output(variation: dict[str, object]) -> None:
    model, tgt_BL = small(**variation), targets()
    before = model(*sources(), tgt_BL)
    for j in range(6):
        change = (model(*sources(), replace_token(tgt_BL, j)) - before).abs().amax(dim=(0, 2))
        assert (change[:j] == 0).all()
        assert (change[j:] > 0).all()


@every_variation
def test_gpt_attends_only_to_earlier_positions(variation: dict[str, object]) -> None:
    model, tokens_BL = small_gpt(**variation), targets()
    before = model(tokens_BL)
    for j in range(6):
        change = (model(replace_token(tokens_BL, j)) - before).abs().amax(dim=(0, 2))
        assert (change[:j] == 0).all()
        assert (change[j:] > 0).all()


@every_variation
def test_sentence_alone_equals_sentence_in_padded_batch(variation: dict[str, object]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(**variation), sources(), targets()
    together = model(src_BM, mask_BM, tgt_BL)
    for i, length in enumerate((7, 4, 5)):
        alone = model(src_BM[i : i + 1, :length], mask_BM[i : i + 1, :length], tgt_BL[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


@every_variation
def test_decoding_steps_equal_forward(variation: dict[str, object]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(**variation), sources(), targets()
    expected = model(src_BM, mask_BM, tgt_BL)
    state = model.start(src_BM, mask_BM, max_len=6)
    steps = torch.stack([model.step(tgt_BL[:, i], state) for i in range(6)], dim=1)
    torch.testing.assert_close(steps, expected, rtol=0, atol=1e-12)


@every_variation
def test_reorder_keeps_hypotheses_with_own_memory(variation: dict[str, object]) -> None:
    model, (src_BM, mask_BM), tgt_BL = small(**variation), sources(), targets()
    expected = model(src_BM, mask_BM, tgt_BL)
    state = model.start(src_BM, mask_BM, max_len=6)
    model.step(tgt_BL[:, 0], state)
    rows_N = torch.tensor([2, 2, 0, 0])
    state.reorder(rows_N)
    torch.testing.assert_close(model.step(tgt_BL[rows_N, 1], state), expected[rows_N, 1], rtol=0, atol=1e-12)
    state.reorder(torch.tensor([3, 0]))
    rows_N = torch.tensor([0, 2])
    torch.testing.assert_close(model.step(tgt_BL[rows_N, 2], state), expected[rows_N, 2], rtol=0, atol=1e-12)


@every_variation
@pytest.mark.parametrize("prompt", [1, 2, 4])
def test_gpt_start_and_steps_equal_forward(variation: dict[str, object], prompt: int) -> None:
    model, tokens_BL = small_gpt(**variation), targets()
    expected = model(tokens_BL)
    state = model.start(tokens_BL[:, :prompt], max_len=6)
    steps = torch.stack([model.step(tokens_BL[:, i], state) for i in range(prompt - 1, 6)], dim=1)
    torch.testing.assert_close(steps, expected[:, prompt - 1 :], rtol=0, atol=1e-12)


@every_variation
def test_reorder_makes_several_samples_of_same_prompt(variation: dict[str, object]) -> None:
    model, tokens_BL = small_gpt(**variation), targets()
    state = model.start(tokens_BL[:1, :3], max_len=6)
    state.reorder(torch.zeros(3, dtype=torch.long))
    histories_NL = torch.cat([tokens_BL[:1, :3].expand(3, 3), tokens_BL[:, 3:5]], dim=1)
    model.step(histories_NL[:, 2], state)
    model.step(histories_NL[:, 3], state)
    assert state.length == 4
    torch.testing.assert_close(model.step(histories_NL[:, 4], state), model(histories_NL)[:, 4], rtol=0, atol=1e-12)


@every_variation
def test_cache_accepts_several_tokens_after_earlier_tokens(variation: dict[str, object]) -> None:
    model, tokens_BL = small_gpt(**variation), targets()
    state = model.start(tokens_BL[:, :1], max_len=6)
    first = model.decoder(model.embedding(tokens_BL[:, :2]), caches=state.caches)
    rest = model.decoder(model.embedding(tokens_BL[:, 2:], start=2), caches=state.caches)
    torch.testing.assert_close(torch.cat([first, rest], 1), model.decoder(model.embedding(tokens_BL)))


@every_variation
@pytest.mark.parametrize("architecture", ["transformer", "gpt"])
def test_every_parameter_gets_gradient(variation: dict[str, object], architecture: str) -> None:
    torch.manual_seed(0)
    model = build(replace(SMALL, architecture=architecture, **variation)).double().eval()  # type: ignore[arg-type]
    out = model(targets()) if isinstance(model, GPT) else model(*sources(), targets())
    F.cross_entropy(out.flatten(0, 1), targets().roll(-1, 1).flatten()).backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in unused if not n.endswith("key.bias")] == []  # softmax cancels the bias of keys


# Grouped queries


@pytest.mark.parametrize("architecture", ["transformer", "gpt"])
def test_n_kv_heads_equal_to_n_heads_changes_no_output(architecture: str) -> None:
    torch.manual_seed(0)
    plain = build(replace(SMALL, architecture=architecture)).eval()  # type: ignore[arg-type]
    torch.manual_seed(0)
    same = build(replace(SMALL, architecture=architecture, n_kv_heads=4)).eval()  # type: ignore[arg-type]
    inputs = (targets(),) if architecture == "gpt" else (*sources(), targets())
    torch.testing.assert_close(same(*inputs), plain(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["transformer", "gpt"])
@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_grouped_queries_equal_attention_with_repeated_keys_and_values(architecture: str, n_kv_heads: int) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, architecture=architecture, n_kv_heads=n_kv_heads)  # type: ignore[arg-type]
    grouped, full = build(config).double().eval(), build(replace(config, n_kv_heads=None)).double().eval()
    weights = grouped.state_dict()
    for name, weight in weights.items():
        if ".key." in name or ".value." in name:
            weights[name] = weight.unflatten(0, (n_kv_heads, 4)).repeat_interleave(4 // n_kv_heads, 0).flatten(0, 1)
    full.load_state_dict(weights)
    inputs = (targets(),) if architecture == "gpt" else (*sources(), targets())
    torch.testing.assert_close(grouped(*inputs), full(*inputs), rtol=0, atol=1e-12)


def test_cache_and_memory_have_n_kv_heads() -> None:
    state = small(n_kv_heads=2).start(*sources(), max_len=6)
    assert state.caches[0].k_NHMK.shape == state.caches[0].v_NHMK.shape == (3, 2, 6, 4)
    memory = state.memories[0]
    assert memory is not None
    assert memory.k_BHMK.shape == memory.v_BHMK.shape == (3, 2, 7, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries_agree_with_float64_in_lower_precision(dtype: torch.dtype, causal: bool) -> None:
    torch.manual_seed(0)
    attention, x_BLD = MultiHeadAttention(replace(SMALL, n_kv_heads=2)).double(), torch.randn(3, 7, 16).double()
    mask = None if causal else sources()[1][:, None, None, :]
    exact = attention(x_BLD, mask=mask, causal=causal)
    rounded = attention.to(dtype)(x_BLD.to(dtype), mask=mask, causal=causal)
    atol = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=atol)


# Rotary positions


def test_rotary_positions_rotate_each_pair_by_angle() -> None:
    """Su et al. (2021), Eq. 12 and 13: a pair is a complex number that is multiplied by exp(i m theta)."""
    rotary = RotaryPositions(replace(SMALL, d_head=8, positions="rotary"))
    x_BHLK = torch.randn(2, 4, 5, 8)
    rotated, _ = rotary(x_BHLK, x_BHLK, start=3)
    angle = torch.arange(3, 8)[:, None] / 10000 ** (torch.arange(0, 8, 2) / 8)
    expected = torch.complex(x_BHLK[..., :4], x_BHLK[..., 4:]) * torch.polar(torch.ones(5, 4), angle)
    torch.testing.assert_close(rotated, torch.cat([expected.real, expected.imag], dim=-1))


def test_rotary_positions_equal_su_et_al_with_reordered_rows() -> None:
    """Su et al. (2021), Eq. 34, where pairs are neighbours."""
    rotary = RotaryPositions(replace(SMALL, d_head=8, positions="rotary"))
    x_BHLK = torch.randn(2, 4, 5, 8)
    angle = (torch.arange(5)[:, None] / 10000 ** (torch.arange(0, 8, 2) / 8)).repeat_interleave(2, dim=1)
    across = torch.stack([-x_BHLK[..., 1::2], x_BHLK[..., 0::2]], dim=-1).flatten(-2)
    printed = x_BHLK * angle.cos() + across * angle.sin()
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    torch.testing.assert_close(rotary(x_BHLK[..., order], x_BHLK)[0], printed[..., order])


@pytest.mark.parametrize("shift", [1, 9])
def test_rotary_attention_depends_only_on_distances(shift: int) -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(replace(SMALL, positions="rotary"), rotary=True).double()
    x_BLD, before_BLD = torch.randn(2, 5, 16).double(), torch.randn(2, shift, 16).double()
    visible = torch.arange(shift + 5) >= shift
    shifted = attention(torch.cat([before_BLD, x_BLD], dim=1), mask=visible[None, None, None, :])
    torch.testing.assert_close(shifted[:, shift:], attention(x_BLD), rtol=0, atol=1e-6)  # the tables are fp32


def test_rotary_attention_depends_on_order() -> None:
    attention, x_BLD = MultiHeadAttention(replace(SMALL, positions="rotary"), rotary=True), torch.randn(1, 5, 16)
    assert (attention(x_BLD.flip(1)).flip(1) - attention(x_BLD)).abs().max() > 1e-3


def test_rotary_positions_do_not_change_cross_attention_and_embeddings() -> None:
    model, memory_BMD = small(positions="rotary"), torch.randn(1, 5, 16).double()
    attend, x_BLD = model.decoder.blocks[0].cross_attention, torch.randn(1, 3, 16).double()
    assert isinstance(attend, MultiHeadAttention)
    torch.testing.assert_close(attend(x_BLD, memory_BMD.flip(1)), attend(x_BLD, memory_BMD))
    tokens = torch.tensor([[5, 5, 5]])
    torch.testing.assert_close(model.src_embedding(tokens)[0], (model.src_embedding.tokens.weight[5] * 4).expand(3, 16))


def test_rotary_tables_are_not_saved() -> None:
    assert small(positions="rotary").state_dict().keys() == small().state_dict().keys()
    assert small_gpt(positions="rotary").state_dict().keys() == small_gpt().state_dict().keys()


def test_rotary_positions_keep_dtype() -> None:
    x_BHLK = torch.randn(1, 4, 3, 4).bfloat16()
    assert [x.dtype for x in RotaryPositions(SMALL)(x_BHLK, x_BHLK)] == [torch.bfloat16] * 2


def test_rotary_model_rejects_sequence_longer_than_max_len() -> None:
    with pytest.raises(ValueError, match=r"33 tokens is longer than model\.max_len 32"):
        small_gpt(positions="rotary")(torch.ones(1, 33, dtype=torch.long))


# Layers


def test_rms_norm_equals_formula() -> None:
    norm, x = make_norm(replace(SMALL, norm_kind="rms")), 3 * torch.randn(2, 5, 16) + 1
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_all_norms_of_model_have_norm_kind() -> None:
    for kind, other in (("rms", torch.nn.LayerNorm), ("layer", torch.nn.RMSNorm)):
        assert not any(isinstance(module, other) for module in small(norm_kind=kind, norm="pre").modules())


def test_swiglu_equals_formula() -> None:
    feed_forward, x = make_feed_forward(replace(SMALL, activation="swiglu")), torch.randn(3, 16)
    assert isinstance(feed_forward, GatedFeedForward)
    gate, inner, outer = feed_forward.gate, feed_forward.inner, feed_forward.outer
    gated = x @ gate.weight.T + gate.bias
    expected = gated * torch.sigmoid(gated) * (x @ inner.weight.T + inner.bias)  # Swish(xW) * xV
    torch.testing.assert_close(feed_forward(x), expected @ outer.weight.T + outer.bias)
    assert gate.weight.shape == inner.weight.shape == (32, 16)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("gelu", lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("gelu_tanh", lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
    ],
)
def test_activations_equal_formulas(name: str, formula: object) -> None:
    feed_forward, x = make_feed_forward(replace(SMALL, activation=name)).double(), torch.randn(9, 16).double()  # type: ignore[arg-type]
    expected = feed_forward.outer(formula(feed_forward.inner(x)))  # type: ignore[operator]
    torch.testing.assert_close(feed_forward(x), expected, rtol=0, atol=1e-12)


def test_embedding_does_not_scale_if_scale_embedding_is_false() -> None:
    embedding = Embedding(replace(SMALL, scale_embedding=False, positions="rotary", dropout=0.0))
    assert torch.equal(embedding(torch.tensor([[5, 6]]))[0], embedding.tokens.weight[5:7])


# Sizes, names and errors


@pytest.mark.parametrize(
    ("d_model", "n_layers", "n_heads", "total"),
    [
        (768, 12, 12, 124_439_808),
        (1024, 24, 16, 354_823_168),
        (1280, 36, 20, 774_030_080),
        (1600, 48, 25, 1_557_611_200),
    ],
    ids=["small", "medium", "large", "xl"],
)
def test_parameter_counts_of_gpt2_sizes_equal_published_counts(
    d_model: int, n_layers: int, n_heads: int, total: int
) -> None:
    config = ModelConfig(
        **{"architecture": "gpt", "vocab_size": 50257, "max_len": 1024, "positions": "learned", "norm": "pre"},  # type: ignore[arg-type]
        **{"tying": "output", "activation": "gelu_tanh", "scale_embedding": False, "init": "gpt2"},  # type: ignore[arg-type]
        **{"d_model": d_model, "n_layers": n_layers, "n_heads": n_heads, "d_ff": 4 * d_model},  # type: ignore[arg-type]
    )
    with torch.device("meta"):
        assert count_parameters(GPT(config)) == total


def test_gpt_weight_names() -> None:
    model = small_gpt(norm="pre", positions="learned", n_layers=1)
    attention = [f"{part}.{kind}" for part in ("query", "key", "value", "out") for kind in ("weight", "bias")]
    block = [
        *(f"self_attention.{name}" for name in attention),
        *("self_residual.norm.weight", "self_residual.norm.bias"),
        *(f"feed_forward.{part}.{kind}" for part in ("inner", "outer") for kind in ("weight", "bias")),
        *("feed_forward_residual.norm.weight", "feed_forward_residual.norm.bias"),
    ]
    assert set(model.state_dict()) == {
        *("embedding.tokens.weight", "embedding.positions", "output.weight"),
        *("decoder.norm.weight", "decoder.norm.bias"),
        *(f"decoder.blocks.0.{name}" for name in block),
    }
    assert [name for name, _ in model.named_parameters() if name.startswith("output")] == []  # tied


def test_base_model_outputs_equal_recorded_outputs() -> None:
    """The outputs were recorded before the model had variations."""
    model = small()
    with torch.no_grad():
        for i, (_, parameter) in enumerate(sorted(model.named_parameters())):
            parameter.copy_(torch.sin(torch.arange(parameter.numel()) + i).view_as(parameter) / 3)
    logits_BLV = model(*sources(), targets())
    assert logits_BLV[0, 0, :3].tolist() == pytest.approx([0.838970, -0.771934, 0.639529], abs=1e-5)
    assert logits_BLV.square().mean().item() == pytest.approx(0.342722, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_kv_heads": 3}, r"model\.n_heads 4 is not divisible by model\.n_kv_heads 3"),
        ({"n_kv_heads": 8}, r"model\.n_heads 4 is not divisible by model\.n_kv_heads 8"),
        ({"n_kv_heads": 0}, r"model\.n_heads 4 is not divisible by model\.n_kv_heads 0"),
        ({"positions": "rotary", "d_head": 3}, r"the head size 3 .* is odd"),
    ],
)
def test_model_config_rejects_invalid_head_sizes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_rotary_model_accepts_odd_d_model() -> None:
    config = replace(SMALL, architecture="gpt", d_model=15, d_head=4, positions="rotary")
    assert GPT(config)(targets()).shape == (3, 6, 40)


def test_attention_dropout_drops_attention_weights() -> None:
    """With equal keys and one-hot values, the output contains the attention weights: 1/6, or 0 and 1/6 / (1 - p)."""
    attention = MultiHeadAttention(replace(SMALL, attention_dropout=0.5, d_model=8, n_heads=1)).double()
    with torch.no_grad():
        for layer in (attention.query, attention.key):
            layer.weight.zero_()
        attention.value.weight.copy_(torch.eye(8))
        attention.out.weight.copy_(torch.eye(8))
        for layer in (attention.query, attention.key, attention.value, attention.out):
            layer.bias.zero_()
    x_BLD = torch.eye(6, 8, dtype=torch.float64).expand(50, 6, 8)
    weights = attention(x_BLD)[..., :6].detach()
    assert ((weights - 1 / 3).abs() < 1e-9).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (weights.abs() < 1e-9).double().mean().item() == pytest.approx(0.5, abs=0.06)
    torch.testing.assert_close(attention.eval()(x_BLD)[..., :6], torch.full_like(weights, 1 / 6))


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_activation_dropout_drops_hidden_layer(activation: Literal["relu", "swiglu"]) -> None:
    config = replace(SMALL, activation_dropout=0.5, activation=activation)
    network = make_feed_forward(config)
    hidden: list[Tensor] = []
    network.outer.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    x_BLD = torch.randn(20, 20, SMALL.d_model)
    network(x_BLD)
    network.eval()(x_BLD)
    dropped = (hidden[0] == 0) & (hidden[1] != 0)
    assert dropped.sum() / (hidden[1] != 0).sum() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(hidden[0][~dropped], 2 * hidden[1][~dropped])
