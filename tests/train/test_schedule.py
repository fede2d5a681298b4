"""Eq. 3 at steps that can be worked out by hand."""

import pytest

from train.schedule import noam


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 1.746928107421711e-07),  # 512^-0.5 * 4000^-1.5
        (4000, 6.987712429686843e-04),  # 512^-0.5 * 4000^-0.5: the peak
        (16000, 3.493856214843422e-04),  # half of it, four times later
        (100_000, 1.3975424859373687e-04),  # 512^-0.5 * 100000^-0.5
    ],
)
def test_the_rate_is_eq_3(step: int, rate: float) -> None:
    assert noam(step, d_model=512, warmup_steps=4000) == pytest.approx(rate, rel=1e-12)


def test_the_rate_grows_until_the_end_of_the_warm_up_and_falls_after() -> None:
    rates = [noam(step, 64, 50) for step in range(1, 200)]
    assert rates.index(max(rates)) == 49
    assert rates[:50] == sorted(rates[:50])
    assert rates[49:] == sorted(rates[49:], reverse=True)


def test_the_scale_is_a_factor() -> None:
    assert noam(7, 64, 50, scale=2.0) == 2 * noam(7, 64, 50)
