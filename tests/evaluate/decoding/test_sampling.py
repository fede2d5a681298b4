"""Functions of sampling, each compared with its definition."""

import pytest
import torch

from evaluate.decoding.sampling import keep_top_k, keep_top_p, sample, with_temperature


@pytest.fixture
def logits_NV() -> torch.Tensor:
    return torch.randn(50, 20, generator=torch.Generator().manual_seed(1)) * 2


def kept(logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV > float("-inf")


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_with_temperature_divides_logits(logits_NV: torch.Tensor, temperature: float) -> None:
    expected = (logits_NV / temperature).softmax(-1)
    torch.testing.assert_close(with_temperature(logits_NV, temperature).softmax(-1), expected)


def test_sample_at_temperature_zero_takes_most_likely_token(logits_NV: torch.Tensor) -> None:
    assert torch.equal(sample(logits_NV, temperature=0), logits_NV.argmax(-1))


def test_sample_at_tiny_temperature_is_greedy(logits_NV: torch.Tensor) -> None:
    assert torch.equal(sample(logits_NV, temperature=1e-30), logits_NV.argmax(-1))


def test_keep_top_k_keeps_exactly_k_most_likely_tokens(logits_NV: torch.Tensor) -> None:
    filtered_NV = keep_top_k(logits_NV, 3)
    assert (kept(filtered_NV).sum(-1) == 3).all()
    assert filtered_NV.masked_fill(~kept(filtered_NV), 1e9).amin(-1).ge(logits_NV.sort(-1).values[:, -3]).all()
    assert (kept(keep_top_k(torch.zeros(2, 9), 4)).sum(-1) == 4).all()  # ties


def test_keep_top_k_keeps_all_tokens_if_k_exceeds_vocabulary(logits_NV: torch.Tensor) -> None:
    assert torch.equal(keep_top_k(logits_NV, 999), logits_NV)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.999])
def test_keep_top_p_keeps_smallest_set_with_mass_p(logits_NV: torch.Tensor, p: float) -> None:
    probs_NV, keep_NV = logits_NV.softmax(-1), kept(keep_top_p(logits_NV, p))
    mass_N = (probs_NV * keep_NV).sum(-1)
    least_N = probs_NV.masked_fill(~keep_NV, 2).amin(-1)
    assert (mass_N >= p - 1e-6).all()
    assert (mass_N - least_N < p + 1e-6).all()  # without its least likely token the mass is below p
    assert (probs_NV.masked_fill(keep_NV, 0).amax(-1) <= least_N).all()


def test_keep_top_p_keeps_all_tokens_at_1_and_best_token_at_tiny_p(logits_NV: torch.Tensor) -> None:
    assert torch.equal(keep_top_p(logits_NV, 1.0), logits_NV)
    assert torch.equal(keep_top_p(logits_NV, 1e-9).argmax(-1), logits_NV.argmax(-1))
    assert (kept(keep_top_p(logits_NV, 1e-9)).sum(-1) == 1).all()


def test_sample_with_generator_has_model_probabilities() -> None:
    probs_V = torch.tensor([0.1, 0.2, 0.3, 0.4])
    tokens_N = sample(probs_V.log().expand(20000, -1), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tokens_N.bincount(minlength=4) / 20000, probs_V, atol=0.02, rtol=0)


def test_sample_never_returns_filtered_tokens() -> None:
    logits_NV = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(2000, -1)
    assert set(sample(logits_NV, top_k=2).tolist()) == {0, 1}
    assert set(sample(logits_NV, top_p=0.8).tolist()) == {0, 1, 2}
    # Top-p is applied to the tokens that top-k keeps: of 4/7 and 3/7, the first is at least 0.5.
    assert set(sample(logits_NV, top_k=2, top_p=0.5).tolist()) == {0}


def test_sample_depends_only_on_seed(logits_NV: torch.Tensor) -> None:
    first, second, other = (sample(logits_NV, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}],
)
def test_sample_rejects_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        sample(torch.zeros(1, 4), **settings)  # type: ignore[arg-type]


def test_pick_returns_token_whose_interval_contains_uniform() -> None:
    logits_NV = torch.tensor([0.1, 0.2, 0.0, 0.3, 0.4], dtype=torch.float64).log().expand(6, -1)
    uniform_N = torch.tensor([0.0, 0.0999, 0.1001, 0.3001, 0.6001, 1 - 2**-53], dtype=torch.float64)
    assert sample(logits_NV, uniform_N=uniform_N).tolist() == [0, 0, 1, 3, 4, 4]


def test_pick_of_even_numbers_has_model_probabilities(logits_NV: torch.Tensor) -> None:
    uniform_N = (torch.arange(10000, dtype=torch.float64) + 0.5) / 10000
    for row_V in logits_NV[:5]:
        tokens_N = sample(row_V.expand(10000, -1), uniform_N=uniform_N)
        torch.testing.assert_close(tokens_N.bincount(minlength=20) / 10000, row_V.softmax(-1), atol=2e-4, rtol=0)


def test_pick_keeps_probability_of_rare_tokens() -> None:
    logits_V = torch.full((100_000,), 1e-8).log()  # 0.1% in total; each is too small to change an fp32 sum of 1
    logits_V[0] = 0.0
    uniform_N = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    tokens_N = torch.cat([sample(logits_V.expand(100, -1), uniform_N=part_N) for part_N in uniform_N[-200:].split(100)])
    assert (tokens_N > 0).sum() == pytest.approx(100, abs=1)


def test_pick_never_returns_filtered_token(logits_NV: torch.Tensor) -> None:
    uniform_N = torch.linspace(0, 1 - 2**-53, 50, dtype=torch.float64)
    for filtered_NV, tokens_N in (
        (keep_top_k(logits_NV, 3), sample(logits_NV, top_k=3, uniform_N=uniform_N)),
        (keep_top_p(logits_NV, 0.6), sample(logits_NV, top_p=0.6, uniform_N=uniform_N)),
    ):
        assert kept(filtered_NV).gather(1, tokens_N.unsqueeze(1)).all()
