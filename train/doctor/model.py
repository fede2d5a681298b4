"""The doctor's probes of a model and its batches, each a function that returns a `Finding`.

They are made in double precision, where a fault of a mask or a cache is larger than rounding by ten orders of
magnitude, and on random ids, since no mask and no cache depends on words.
"""

import torch
from torch import Tensor

from data_pipeline.examples import IGNORE, Batch
from train.doctor.findings import Finding
from transformer.model import GPT, Transformer

ROUNDING = 1e-8
"""Of the largest logit, in double precision."""


def check_labels(batch: Batch) -> Finding:
    """Whether each label is the token that the decoder reads next: not the one it reads now, nor another."""
    tokens_BL, labels_BL = batch.inputs[-1].cpu(), batch.labels_BL.cpu()
    following_BL = labels_BL[:, 1:] != IGNORE  # where a token follows that is no padding
    counted_BL = (labels_BL[:, :-1] != IGNORE) & following_BL
    wrong = int((counted_BL & (tokens_BL[:, 1:] != labels_BL[:, :-1])).sum())
    message = f"{wrong} of {int(counted_BL.sum()):,} labels differ from the token that is read next"
    cure = "the shift of the target has a fault: see data_pipeline/examples.py and data_pipeline/block_plan.py"
    return Finding("labels", "fault" if wrong else "ok", message, cure if wrong else "")


@torch.no_grad()
def probe(model: Transformer | GPT) -> list[Finding]:
    """All that is asked of a model in double precision and without dropout."""
    return [check_causality(model), check_padding(model), check_cache(model)]


def check_causality(model: Transformer | GPT) -> Finding:
    """Section 3.2.3: logits must not move where a later token changes, and must where an earlier one (or one of the
    source) does."""
    src_BM, tokens_BL = _random_ids(model)
    length = tokens_BL.size(1)
    changed_BL = tokens_BL[:1].repeat(length + 1, 1)  # row j differs from the last one in token j
    for j in range(length):
        changed_BL[j, j] = (changed_BL[j, j] + 1) % model.config.vocab_size
    logits_BLV = _forward(model, src_BM[:1].expand(length + 1, -1), changed_BL)
    moved_BL = _moved(logits_BLV[:-1], logits_BLV[-1:])  # row: the token changed, column: the logits looked at
    leaks, seen = moved_BL.tril(diagonal=-1), moved_BL.triu()
    if leaks.any():
        message = f"{int(leaks.sum())} of {length * (length - 1) // 2} earlier logits move with a later target token"
        return Finding("causality", "fault", message, "the causal mask has a fault: the model can read its answers")
    blind = length * (length + 1) // 2 - int(seen.sum())
    if isinstance(model, Transformer):
        blind += _blind_to_source(model, src_BM, tokens_BL)
    if blind:
        message = f"{blind} logits do not move where a token changes that they may see"
        return Finding("causality", "fault", message, "a mask hides what it should show: see transformer/attention.py")
    return Finding("causality", "ok", "no logit depends on a later target token, each on every earlier one")


def check_padding(model: Transformer | GPT) -> Finding:
    """Whether a row's logits stay the same when the row is padded, as it is beside longer ones."""
    src_BM, tokens_BL = _random_ids(model)
    alone_BLV = _forward(model, src_BM, tokens_BL)
    n, extra, length = tokens_BL.size(0), 3, tokens_BL.size(1)
    if isinstance(model, Transformer):
        noise_BM = tokens_BL[:, :extra]  # whatever stands there, it is masked
        mask_BM = torch.ones(n, src_BM.size(1) + extra, dtype=torch.bool, device=src_BM.device)
        mask_BM[:, src_BM.size(1) :] = False
        padded_BLV = model(torch.cat([src_BM, noise_BM], 1), mask_BM, tokens_BL)
    else:
        padded_BLV = model(torch.cat([tokens_BL, tokens_BL[:, :extra]], 1))[:, :length]
    moved = int(_moved(alone_BLV, padded_BLV).sum())
    if moved:
        message = f"{moved} of {n * length} logits change where a row is padded"
        return Finding("padding", "fault", message, "the padding mask has a fault: see transformer/model.py")
    return Finding("padding", "ok", "a padded row has the logits that it has alone")


def check_cache(model: Transformer | GPT) -> Finding:
    """Whether decoding token by token, with rows exchanged on the way, gives the logits of one whole forward."""
    src_BM, tokens_BL = _random_ids(model)
    whole_BLV = _forward(model, src_BM, tokens_BL)
    length, order = tokens_BL.size(1), torch.arange(tokens_BL.size(0), device=tokens_BL.device).flip(0)
    first = length // 4 if isinstance(model, GPT) else 0
    if isinstance(model, GPT):
        state = model.start(tokens_BL[:, : first + 1], max_len=length)
    else:
        state = model.start(src_BM, torch.ones_like(src_BM, dtype=torch.bool), max_len=length)
    steps: list[Tensor] = []
    for i in range(first, length):
        if i == length // 2:  # as beam search does
            state.reorder(order)
            tokens_BL, whole_BLV = tokens_BL[order], whole_BLV[order]
            steps = [logits_NV[order] for logits_NV in steps]
        steps.append(model.step(tokens_BL[:, i], state))
    moved = int(_moved(whole_BLV[:, first:], torch.stack(steps, 1)).sum())
    if moved:
        message = f"{moved} of {tokens_BL.size(0) * len(steps)} logits differ between decoding by steps and training"
        return Finding("cache", "fault", message, "the cache of decoding has a fault: see transformer/cache.py")
    return Finding("cache", "ok", "decoding by steps gives the logits of training")


def _random_ids(model: Transformer | GPT) -> tuple[Tensor, Tensor]:
    """Sources and targets (4, L), always the same."""
    draw = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    length = min(12, max(1, model.config.max_len - 3))
    src_BM, tokens_BL = (torch.randint(model.config.vocab_size, (4, length), generator=draw).to(device) for _ in "12")
    return src_BM, tokens_BL


def _forward(model: Transformer | GPT, src_BM: Tensor, tokens_BL: Tensor) -> Tensor:
    """Logits (B, L, V); a GPT has no source."""
    if isinstance(model, GPT):
        return model(tokens_BL)
    return model(src_BM, torch.ones_like(src_BM, dtype=torch.bool), tokens_BL)


def _moved(a_BLV: Tensor, b_BLV: Tensor) -> Tensor:
    """(B, L): where any logit differs by more than rounding."""
    return (a_BLV - b_BLV).abs().amax(-1) > ROUNDING * b_BLV.abs().max()


def _blind_to_source(model: Transformer, src_BM: Tensor, tokens_BL: Tensor) -> int:
    """Pairs of a source token and logits that do not depend on it."""
    length = src_BM.size(1)
    changed_BM = src_BM[:1].repeat(length + 1, 1)
    for j in range(length):
        changed_BM[j, j] = (changed_BM[j, j] + 1) % model.config.vocab_size
    logits_BLV = _forward(model, changed_BM, tokens_BL[:1].expand(length + 1, -1))
    return int((~_moved(logits_BLV[:-1], logits_BLV[-1:])).sum())
