"""Exercise 1: from one attention head to all heads as one batched operation (section 3.2).

    python -m docs.exercises.heads

shows that both compute the same function, where the weights of a head are, and how much faster the batched operation
is. `docs/exercises/heads.md` explains it step by step.
"""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from common.command import run_command
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig

BATCH, LENGTH, D_MODEL, N_HEADS, HEAD_SIZE = 16, 64, 128, 8, 16


class Head(nn.Module):
    """Section 3.2.1: one attention head."""

    def __init__(self, d_model: int, head_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, head_size)
        self.key = nn.Linear(d_model, head_size)
        self.value = nn.Linear(d_model, head_size)

    def forward(self, x_BLD: Tensor, mask_LM: Tensor | None = None) -> Tensor:
        """Map (B, L, D) to (B, L, K). `mask_LM` is boolean: True if position l may attend to position m."""
        q_BLK, k_BMK, v_BMK = self.query(x_BLD), self.key(x_BLD), self.value(x_BLD)
        scores_BLM = q_BLK @ k_BMK.transpose(-2, -1) / math.sqrt(q_BLK.size(-1))
        if mask_LM is not None:
            scores_BLM = scores_BLM.masked_fill(~mask_LM, -math.inf)
        return scores_BLM.softmax(dim=-1) @ v_BMK  # Eq. 1


class ListOfHeads(nn.Module):
    """Section 3.2.2 as printed: h heads, one after the other, then Concat(head_1, ..., head_h) W^O."""

    def __init__(self, d_model: int, n_heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(d_model, head_size) for _ in range(n_heads))
        self.out = nn.Linear(n_heads * head_size, d_model)

    def forward(self, x_BLD: Tensor, mask_LM: Tensor | None = None) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        return self.out(torch.cat([head(x_BLD, mask_LM) for head in self.heads], dim=-1))


def batched(attention: MultiHeadAttention, x_BLD: Tensor, mask_LM: Tensor | None = None) -> Tensor:
    """Compute `attention` with Eq. 1 written out as in `Head`: no loop, but one more dimension."""

    def split(y_BLD: Tensor) -> Tensor:
        return y_BLD.unflatten(-1, (-1, attention.head_size)).transpose(1, 2)

    q_BHLK, k_BHMK, v_BHMK = (split(layer(x_BLD)) for layer in (attention.query, attention.key, attention.value))
    scores_BHLM = q_BHLK @ k_BHMK.transpose(-2, -1) / math.sqrt(attention.head_size)
    if mask_LM is not None:
        scores_BHLM = scores_BHLM.masked_fill(~mask_LM, -math.inf)
    a_BHLK = scores_BHLM.softmax(dim=-1) @ v_BHMK  # Eq. 1, for all heads
    return attention.out(a_BHLK.transpose(1, 2).flatten(2))


@torch.no_grad()
def copy_weights(heads: ListOfHeads, attention: MultiHeadAttention) -> None:
    """Give `attention` the weights of `heads`: the matrices of the heads become rows of one matrix."""
    for name in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
        rows = torch.cat([head.get_parameter(name) for head in heads.heads])
        attention.get_parameter(name).copy_(rows)
    attention.out.load_state_dict(heads.out.state_dict())


def make_both(d_model: int, n_heads: int, head_size: int, dtype: torch.dtype) -> tuple[ListOfHeads, MultiHeadAttention]:
    """Return a list of heads with random weights, and the library's attention with the same weights."""
    heads = ListOfHeads(d_model, n_heads, head_size).to(dtype)
    attention = MultiHeadAttention(ModelConfig(d_model=d_model, n_heads=n_heads, d_head=head_size)).to(dtype)
    copy_weights(heads, attention)
    return heads, attention


def causal_mask(length: int) -> Tensor:
    """Return the causal mask (L, L): position l may attend to positions up to l."""
    return torch.ones(length, length, dtype=torch.bool).tril()


def main() -> None:
    """Show the rows, the equality and the speed."""
    torch.manual_seed(0)
    print(f"{N_HEADS} heads of size {HEAD_SIZE}, d_model {D_MODEL}, {BATCH} sequences of {LENGTH}, causal")
    heads, attention = make_both(D_MODEL, N_HEADS, HEAD_SIZE, torch.float64)
    x_BLD = torch.randn(BATCH, LENGTH, D_MODEL, dtype=torch.float64)
    show_rows(heads, attention, x_BLD, which=3)
    show_equality(heads, attention, x_BLD)
    show_speed(*make_both(D_MODEL, N_HEADS, HEAD_SIZE, torch.float32), x_BLD.float())


def show_rows(heads: ListOfHeads, attention: MultiHeadAttention, x_BLD: Tensor, which: int) -> None:
    """Compare one head of the list with its rows of the batched matrix."""
    query = heads.get_submodule(f"heads.{which}.query")
    first, end = which * HEAD_SIZE, (which + 1) * HEAD_SIZE
    q_BHLK = attention.query(x_BLD).unflatten(-1, (N_HEADS, HEAD_SIZE)).transpose(1, 2)
    same = torch.equal(attention.query.weight[first:end], query.get_parameter("weight"))
    print("\nThe projections of all heads are rows of one matrix")
    line(f"query.weight of head {which}", str(tuple(query.get_parameter("weight").shape)))
    line("query.weight of the batched operation", str(tuple(attention.query.weight.shape)))
    line(f"its rows {first} to {end - 1} are head {which}'s", str(same))
    line(f"q_BHLK[:, {which}] - query of head {which}", f"{difference(q_BHLK[:, which], query(x_BLD)):.0e}")


def show_equality(heads: ListOfHeads, attention: MultiHeadAttention, x_BLD: Tensor) -> None:
    """Print the largest differences between both, in float64."""
    list_BLD, batched_BLD = heads(x_BLD, causal_mask(LENGTH)), attention(x_BLD, causal=True)
    for output_BLD in (list_BLD, batched_BLD):
        output_BLD.square().sum().backward()
    print("\nBoth compute the same function; largest difference in float64")
    line("output", f"{difference(list_BLD, batched_BLD):.0e}, of numbers up to {list_BLD.abs().max():.1f}")
    for name in ("query.weight", "key.weight", "value.weight"):
        grad = torch.cat([gradient(head, name) for head in heads.heads])
        line(f"gradient of {name}", f"{difference(grad, gradient(attention, name)):.0e}, of {grad.abs().max():.1f}")


def show_speed(heads: ListOfHeads, attention: MultiHeadAttention, x_BLD: Tensor) -> None:
    """Print the milliseconds of forward and backward pass, and the speed-up over the list."""
    mask_LM = causal_mask(LENGTH)
    forms: dict[str, Callable[[], Tensor]] = {
        "list of heads": lambda: heads(x_BLD, mask_LM),
        "batched, Eq. 1 written out": lambda: batched(attention, x_BLD, mask_LM),
        "batched, Eq. 1 by PyTorch": lambda: attention(x_BLD, causal=True),
    }
    seconds = time_in_turn(list(forms.values()))
    print(f"\nForward and backward in float32 with {torch.get_num_threads()} threads, median")
    for name, own in zip(forms, seconds, strict=True):
        line(name, f"{1000 * own:.1f} ms, {seconds[0] / own:.1f} times as fast as the list")


def time_in_turn(functions: list[Callable[[], Tensor]], duration: float = 3.0) -> list[float]:
    """Return the median seconds of each function with its backward pass, from rounds during `duration` seconds.

    They take turns, so that other load on the machine slows all of them. The first round is a warm-up.
    """
    rounds: list[list[float]] = []
    until = time.perf_counter() + duration
    while len(rounds) < 6 or time.perf_counter() < until:
        rounds.append([time_once(function) for function in functions])
    return [statistics.median(own) for own in zip(*rounds[1:], strict=True)]


def time_once(function: Callable[[], Tensor]) -> float:
    """Return the seconds of one call and its backward pass."""
    started = time.perf_counter()
    function().square().sum().backward()
    return time.perf_counter() - started


def gradient(module: nn.Module, name: str) -> Tensor:
    """Return the gradient of a parameter."""
    grad = module.get_parameter(name).grad
    assert grad is not None
    return grad


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference."""
    return (a - b).abs().max().item()


def line(name: str, value: str) -> None:
    """Print one line of a table."""
    print(f"  {name:<40}{value}")


if __name__ == "__main__":
    run_command(main)
