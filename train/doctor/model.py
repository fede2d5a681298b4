"""Probes of a model and its batches, in double precision and on random ids.

In double precision, an error in a mask or a cache is ten orders of magnitude larger than rounding. Random ids are
enough, because masks and caches do not depend on words.

The inputs of a translation model are source (B, M), source mask (B, M) and tokens (B, L); of a GPT only tokens (B, L).
The probes treat all inputs before the tokens in the same way, so they work for both models.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from data_pipeline.examples import IGNORE, Batch
from train.doctor.findings import Finding
from transformer.cache import DecodingState
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer

Inputs = tuple[Tensor, ...]
ROUNDING = 1e-8
"""Largest difference that counts as rounding, relative to the largest logit, in double precision."""
PADDING = 3
"""Positions that are added in the check of padding."""


def check_labels(batch: Batch) -> Finding:
    """Check that each label is the token that the decoder reads next."""
    tokens_BL, labels_BL = batch.inputs[-1].cpu(), batch.labels_BL.cpu()
    following_BL = labels_BL[:, 1:] != IGNORE  # the next token is not padding
    counted_BL = (labels_BL[:, :-1] != IGNORE) & following_BL
    wrong = int((counted_BL & (tokens_BL[:, 1:] != labels_BL[:, :-1])).sum())
    message = f"{wrong} of {int(counted_BL.sum()):,} labels differ from the token that the decoder reads next"
    advice = "the shift of the target is wrong: see data_pipeline/examples.py"
    return Finding("labels", "error" if wrong else "ok", message, advice if wrong else "")


@torch.no_grad()
def probe(model: Transformer | GPT) -> list[Finding]:
    """Run all probes of a model. It must be in double precision and in eval mode."""
    inputs = random_inputs(model.config, next(model.parameters()).device)
    return [check_causality(model, inputs), check_padding(model, inputs), check_cache(model, inputs)]


def random_inputs(config: ModelConfig, device: torch.device) -> Inputs:
    """Return inputs for a model with four rows of at most 12 random ids. They are always the same."""
    draw = torch.Generator().manual_seed(0)
    length = min(12, max(1, config.max_len - PADDING))
    src_BM, tokens_BL = (torch.randint(config.vocab_size, (4, length), generator=draw).to(device) for _ in range(2))
    match config.architecture:
        case "transformer":
            return src_BM, torch.ones_like(src_BM, dtype=torch.bool), tokens_BL
        case "gpt":
            return (tokens_BL,)


def check_causality(model: Transformer | GPT, inputs: Inputs) -> Finding:
    """Section 3.2.3: check that a logit depends on every earlier target token and source token, and on no later one."""
    length = inputs[-1].size(1)
    changed_BL = _changed_by_token(model, inputs, len(inputs) - 1)  # row: changed token; column: position of the logits
    leaks, seen = changed_BL.tril(diagonal=-1), changed_BL.triu()
    if leaks.any():
        message = f"{int(leaks.sum())} of {length * (length - 1) // 2} logits change if a later target token changes"
        return Finding("causality", "error", message, "the causal mask is wrong: the model can read its own labels")
    sources = [i for i, x in enumerate(inputs[:-1]) if x.dtype != torch.bool]
    unused = length * (length + 1) // 2 - int(seen.sum())
    unused += sum(int((~_changed_by_token(model, inputs, i)).sum()) for i in sources)
    if unused:
        message = f"{unused} logits do not change if a token changes that they should depend on"
        return Finding("causality", "error", message, "a mask hides too much: see transformer/attention.py")
    return Finding("causality", "ok", "each logit depends on all earlier target tokens and on no later one")


def check_padding(model: Transformer | GPT, inputs: Inputs) -> Finding:
    """Check that padding does not change the logits of a row: padding of the source, or of a GPT's tokens."""
    tokens_BL = inputs[-1]
    n, length = tokens_BL.shape
    before = inputs[:-1] or inputs
    padded = model(*(_pad(x, tokens_BL) for x in before), *inputs[len(before) :])[:, :length]
    moved = int(_differ(model(*inputs), padded).sum())
    if moved:
        message = f"{moved} of {n * length} logits change if a row is padded"
        return Finding("padding", "error", message, "the padding mask is wrong: see transformer/model.py")
    return Finding("padding", "ok", "padding does not change the logits of a row")


def check_cache(model: Transformer | GPT, inputs: Inputs) -> Finding:
    """Check that decoding token by token, with rows reordered on the way, gives the logits of a full forward pass."""
    tokens_BL, full_BLV = inputs[-1], model(*inputs)
    length, order = tokens_BL.size(1), torch.arange(tokens_BL.size(0), device=tokens_BL.device).flip(0)
    first = 0 if inputs[:-1] else length // 4  # a GPT starts with a prompt
    start: Callable[..., DecodingState] = model.start
    state = start(*(inputs[:-1] or (tokens_BL[:, : first + 1],)), max_len=length)
    steps: list[Tensor] = []
    for i in range(first, length):
        if i == length // 2:  # as beam search does
            state.reorder(order)
            tokens_BL, full_BLV = tokens_BL[order], full_BLV[order]
            steps = [logits_NV[order] for logits_NV in steps]
        steps.append(model.step(tokens_BL[:, i], state))
    moved = int(_differ(full_BLV[:, first:], torch.stack(steps, 1)).sum())
    if moved:
        message = f"{moved} of {tokens_BL.size(0) * len(steps)} logits differ between decoding and training"
        return Finding("cache", "error", message, "the cache of decoding is wrong: see transformer/cache.py")
    return Finding("cache", "ok", "decoding token by token gives the logits of training")


def _changed_by_token(model: Transformer | GPT, inputs: Inputs, i: int) -> Tensor:
    """Return (M, L): True if the logits at position l of row 0 change if token m of input i changes."""
    length = inputs[i].size(1)
    rows = [x[:1].repeat(length + 1, 1) for x in inputs]  # row m differs from the last row in token m
    tokens = torch.arange(length)
    rows[i][tokens, tokens] = (rows[i][tokens, tokens] + 1) % model.config.vocab_size
    logits = model(*rows)
    return _differ(logits[:-1], logits[-1:])


def _pad(x: Tensor, ids_BL: Tensor) -> Tensor:
    """Return an input with more positions: masked in a mask, any ids otherwise."""
    added = torch.zeros_like(x[:, :PADDING]) if x.dtype == torch.bool else ids_BL[:, :PADDING]
    return torch.cat([x, added], 1)


def _differ(a_BLV: Tensor, b_BLV: Tensor) -> Tensor:
    """Return (B, L): True if any logit differs by more than rounding."""
    return (a_BLV - b_BLV).abs().amax(-1) > ROUNDING * b_BLV.abs().max()
