"""Section 5.3: the learning rate, a pure function of the step."""


def noam(step: int, d_model: int, warmup_steps: int, scale: float = 1.0) -> float:
    """Eq. 3 for update `step`, counted from 1: linear growth over the warm-up, then 1 / sqrt(step)."""
    assert step >= 1, "the first update is number 1"
    return scale * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)  # Eq. 3
