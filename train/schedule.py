"""Learning-rate schedules: pure functions of settings and step."""

import math
from dataclasses import replace

from common.errors import InputError
from train.config import ScheduleConfig


def settle_schedule(settings: ScheduleConfig, max_steps: int) -> ScheduleConfig:
    """Return the settings with the end of the schedule: `max_steps` if `decay_steps` is None.

    Raises InputError if the decay would begin before the warm-up is over: the learning rate would never reach its peak,
    or jump.
    """
    if settings.name == "noam":
        return settings
    end, setting = settings.decay_steps, "schedule.decay_steps"
    if end is None:
        end, setting = max_steps, "train.max_steps"
    last = max(1, last_level_step(end, settings.decay_share)) if settings.name == "wsd" else end
    if settings.warmup_steps > last:
        raise InputError(
            f"schedule.warmup_steps={settings.warmup_steps} is too long: schedule.name={settings.name} with "
            f"{setting}={end} leaves {last} updates for the warm-up. Set schedule.warmup_steps to {last} or less, "
            "or set a larger schedule.decay_steps"
        )
    return replace(settings, decay_steps=end)


def learning_rate(step: int, settings: ScheduleConfig, d_model: int) -> float:
    """Return the learning rate of update `step`, counted from 1. `settings` come from `settle_schedule`."""
    if settings.name == "noam":
        return noam(step, d_model, settings.warmup_steps, settings.scale)
    assert settings.decay_steps is not None, "settle_schedule gives the schedule an end"
    shape = (settings.peak_lr, settings.lowest_lr, settings.warmup_steps, settings.decay_steps)
    return cosine(step, *shape) if settings.name == "cosine" else wsd(step, *shape, settings.decay_share)


def noam(step: int, d_model: int, warmup_steps: int, scale: float = 1.0) -> float:
    """Return the learning rate of Eq. 3 (section 5.3) for update `step`, counted from 1.

    It grows linearly during the warm-up and then decays with 1 / sqrt(step).
    """
    assert step >= 1, "the first update is number 1"
    return scale * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)  # Eq. 3


def cosine(step: int, peak: float, lowest: float, warmup_steps: int, decay_steps: int) -> float:
    """Return a learning rate that grows linearly to `peak`, decays to `lowest` at `decay_steps`, and stays there.

    The decay is half a cosine. Differs from the paper: Loshchilov and Hutter (2017), as for GPT and GPT-2.
    """
    assert step >= 1, "the first update is number 1"
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, decay_steps - warmup_steps))
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * done)) / 2


def wsd(step: int, peak: float, lowest: float, warmup_steps: int, decay_steps: int, decay_share: float) -> float:
    """Return a learning rate that grows linearly to `peak`, stays constant, and decays linearly to `lowest`.

    The decay takes the last `decay_share` of `decay_steps`. Differs from the paper: "warmup-stable-decay" of Hu et al.
    (2024), with the linear decay of Hägele et al. (2024).
    """
    assert step >= 1, "the first update is number 1"
    if step < warmup_steps:
        return peak * step / warmup_steps
    left = (decay_steps - step) / (decay_share * decay_steps)
    return lowest + (peak - lowest) * min(1.0, max(0.0, left))


def last_level_step(decay_steps: int, decay_share: float) -> int:
    """Return the last update before `wsd` decays. Until then, the learning rate does not depend on the end."""
    return decay_steps - math.ceil(decay_share * decay_steps)
