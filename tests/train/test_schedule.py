"""Eq. 3 at steps that can be worked out by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest

from common.errors import InputError
from train.config import ScheduleConfig
from train.schedule import learning_rate, noam, settle_schedule


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 1.746928107421711e-07),  # 512^-0.5 * 4000^-1.5
        (4000, 6.987712429686843e-04),  # 512^-0.5 * 4000^-0.5: the peak
        (16000, 3.493856214843422e-04),  # half of it, four times later
        (100_000, 1.3975424859373687e-04),  # 512^-0.5 * 100000^-0.5
    ],
)
def test_noam_equals_eq_3(step: int, rate: float) -> None:
    assert noam(step, d_model=512, warmup_steps=4000) == pytest.approx(rate, rel=1e-12)


def test_noam_rises_during_warm_up_and_falls_after() -> None:
    rates = [noam(step, 64, 50) for step in range(1, 200)]
    assert rates.index(max(rates)) == 49
    assert rates[:50] == sorted(rates[:50])
    assert rates[49:] == sorted(rates[49:], reverse=True)


def test_noam_is_proportional_to_scale() -> None:
    assert noam(7, 64, 50, scale=2.0) == 2 * noam(7, 64, 50)


@pytest.mark.parametrize(
    ("settings", "max_steps", "message"),
    [
        (
            {"name": "cosine"},
            800,
            r"warmup_steps=4000 is too long: .*=cosine with train\.max_steps=800 leaves 800 updates",
        ),
        ({"name": "cosine", "decay_steps": 3999}, 9000, r"with schedule\.decay_steps=3999 leaves 3999 updates"),
        (
            {"name": "wsd", "warmup_steps": 90, "decay_share": 0.65},
            100,
            r"=wsd with train\.max_steps=100 leaves 35 .* Set schedule\.warmup_steps to 35 or less",
        ),
    ],
)
def test_settle_schedule_rejects_decay_before_end_of_warm_up(settings: dict, max_steps: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settle_schedule(ScheduleConfig(**settings), max_steps)


def test_settle_schedule_sets_end_of_decaying_schedules_only() -> None:
    assert settle_schedule(ScheduleConfig(), 10) == ScheduleConfig()
    cosine = ScheduleConfig(name="cosine", warmup_steps=9)
    assert settle_schedule(cosine, 10) == replace(cosine, decay_steps=10)
    assert settle_schedule(replace(cosine, decay_steps=800), 10).decay_steps == 800


def test_wsd_does_not_jump_if_warm_up_ends_at_last_level_step() -> None:
    settings = settle_schedule(ScheduleConfig(name="wsd", warmup_steps=35, decay_share=0.65), 100)
    rates = [learning_rate(step, settings, d_model=32) for step in range(1, 101)]
    assert max(abs(a - b) for a, b in pairwise(rates)) < 1.01 * settings.peak_lr / 35
