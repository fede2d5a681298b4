"""What all decoding programs have in common: the task, and how they answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.runner import Answer, memory_mb, seconds_of, synchronise

MAX_EXTRA = 50


@dataclass(frozen=True)
class DecodeTask:
    """What one program decodes in one cell of the table."""

    dtype: str
    """float32, float16, bfloat16 or int8."""
    config: dict[str, Any]
    """Fields of the `ModelConfig`."""
    weights: str
    """File of weights for paper-transformer (torch.save), folder for CTranslate2; Marian's weights are random."""
    sources: list[list[int]]
    """One batch; each source ends with EOS."""
    beam: int
    tokens: int | None
    """Length of every output. None: a sentence ends by itself, at most 50 tokens longer than its source."""
    device: str
    threads: int


Decode = Callable[[], int]
"""Decodes the batch once and returns the number of tokens of the best outputs, with EOS."""


def answer_with(task: DecodeTask, load: Callable[[DecodeTask], Decode]) -> Answer:
    """Load the model and decode once. Then each request decodes again and returns seconds, tokens and peak memory."""
    synchronise(task.device)
    before = used_mb(task.device, "VmRSS")
    decode = load(task)
    decode()

    def answer(request: str) -> dict[str, Any]:
        tokens = 0

        def work() -> None:
            nonlocal tokens
            tokens = decode()

        seconds = seconds_of(work, task.device)
        return {"seconds": seconds, "tokens": tokens, "peak_mb": used_mb(task.device, "VmHWM") - before}

    return answer


def used_mb(device: str, field: str) -> float:
    """Return used memory in MB. On a GPU it is that of all processes: PyTorch and CTranslate2 keep what they have
    allocated, so this is also the peak. On a CPU it is `field` of this process."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return (total - free) / 1e6
    return memory_mb(field)
