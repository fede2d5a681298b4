"""What the report of a run shows of a validation besides numbers: sample outputs, attention, the worst examples.

`samples.jsonl` has one line of JSON for each validation, with these keys:

- `step`: number of updates done.
- `translations`: lists of source, reference and greedy translation; the same sentences each time.
- `text`: text that a language model has generated.
- `attention`: weights between the words of one validation example, the same each time. The target is the reference.
- `worst`: examples with the worst score, each with its score: chrF of a translation (then source, reference and
  translation follow), or the loss of a passage of text in nats per predicted token (then the text follows).

Like `metrics.jsonl`, the file is the same if the run is repeated.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common.text import shorten
from data_pipeline.examples import IGNORE, SentencePairs, TokenStream
from data_pipeline.micro_batches import MicroBatch
from evaluate.eval_mode import eval_mode
from evaluate.explain.explanation import text_labels, translation_labels
from evaluate.explain.record import attention_maps, record_forward
from evaluate.explain.words import join_weights
from train.setup import Setup, block_length
from train.tasks import SampleTranslation
from train.trainer import autocast
from transformer.model import GPT, Transformer

TRANSLATIONS = 6
"""Number of sample translations."""
WORST = 8
"""Largest number of worst examples."""
PASSAGES, PASSAGE_TOKENS = 16, 4096
"""Largest number of passages of text among which the worst are found, and of their tokens. At least one is read."""
CHARACTERS = 600
"""Longest text. Of a longer one, the beginning and the number of characters are recorded."""
WORDS = 14
"""Largest number of words in a map of attention."""
TOKENS = 24
"""Preferred length of the example whose attention is recorded, in tokens."""
SEARCHED = 1000
"""Number of validation examples among which that example is found."""


def make_samples(
    setup: Setup, model: Transformer | GPT, translations: Sequence[SampleTranslation], text: str
) -> dict[str, Any]:
    """Return the samples of a validation. `text` is what a language model has generated."""
    samples: dict[str, Any] = {}
    if translations:
        evenly = np.linspace(0, len(translations) - 1, min(TRANSLATIONS, len(translations))).astype(int)
        samples["translations"] = [_shortened(translations[i]) for i in evenly]
        samples["worst"] = worst_translations(translations)
    if setup.config.data.task == "language_modelling":
        samples["text"] = shorten(text, 4 * CHARACTERS)
        samples["worst"] = worst_passages(setup, model)
    return samples | {"attention": example_attention(setup, model)}


def worst_translations(translations: Sequence[SampleTranslation]) -> list[list[Any]]:
    """Return the translations with the lowest sentence chrF, worst first: score, source, reference and translation."""
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    scores = [round(chrf.sentence_score(one.text, [one.reference]).score, 1) for one in translations]
    order = np.argsort(scores, kind="stable")[:WORST]
    return [[scores[i], *_shortened(translations[i])] for i in order]


def worst_passages(setup: Setup, model: Transformer | GPT) -> list[list[Any]]:
    """Return the validation passages with the highest loss, worst first: loss and text.

    A passage is a document or a block of the stream. Evenly spread ones are read, at most `PASSAGES`.
    """
    valid, block = setup.prepared.valid, block_length(setup.config)
    starts = np.arange(0, len(valid.stores[0].flat) - 1, block) if isinstance(valid, TokenStream) else None
    count = len(valid) if starts is None else len(starts)
    chosen = np.unique(np.linspace(0, count - 1, min(PASSAGES, count)).astype(np.int64))
    found: list[tuple[float, str]] = []
    tokens = 0
    for number in chosen:
        length = block if starts is not None else int(valid.tgt_lengths[number])
        if found and tokens + length > PASSAGE_TOKENS:
            break
        tokens += length
        one = MicroBatch(np.array([number if starts is None else starts[number]]), length, length)
        if (loss := _passage_loss(setup, model, one)) is not None:
            _, texts = next(iter(valid.texts(one, setup.tokenizer.decode_text)))
            found.append((round(loss, 3), shorten(texts["text"], CHARACTERS)))
    return [list(passage) for passage in sorted(found, key=lambda passage: -passage[0])[:WORST]]


@torch.inference_mode()
def _passage_loss(setup: Setup, model: nn.Module, passage: MicroBatch) -> float | None:
    """Return the mean loss of the predicted tokens; None if there is none."""
    device = next(model.parameters()).device
    batch = setup.prepared.valid.batch(passage).to(device)
    if not (batch.labels_BL != IGNORE).any():
        return None
    with eval_mode(model), autocast(setup.config.train.precision, device):
        logits_BLV = model(*batch.inputs)
    return float(F.cross_entropy(logits_BLV.float().flatten(0, 1), batch.labels_BL.flatten(), ignore_index=IGNORE))


def example_attention(setup: Setup, model: Transformer | GPT) -> dict[str, Any]:
    """Return the attention of one validation example, mean of all heads of the last layer of the decoder.

    The weights are those between words (`evaluate.explain.words.RULE`), as lists of rows. For translation it is the
    cross-attention while the decoder reads the reference; for a language model it is the self-attention.
    """
    valid = setup.prepared.valid
    example = _choose_example(setup)
    batch = valid.batch(example).to(next(model.parameters()).device)
    maps = attention_maps(record_forward(model, *batch.inputs))
    if isinstance(valid, SentencePairs):
        labels, kind = translation_labels(setup.tokenizer), "decoder cross_attention"
        rows, columns = (labels.subwords(ids[0].tolist()) for ids in (batch.labels_BL, batch.inputs[0]))
    else:
        ids = batch.inputs[0][0].tolist()
        kind = "decoder self_attention"
        rows = columns = text_labels(setup.tokenizer, ids[0]).subwords(ids)
    weights_LM = join_weights(maps[kind][-1].mean(0), rows, columns)[:WORDS, :WORDS]
    return {
        "rows": rows.words[:WORDS],
        "columns": columns.words[:WORDS],
        "weights": [[round(weight, 2) for weight in row] for row in weights_LM.tolist()],
    }


def _choose_example(setup: Setup) -> MicroBatch:
    """Return the first validation example of at most `TOKENS` tokens and at least half as many; else the nearest."""
    valid = setup.prepared.valid
    if isinstance(valid, TokenStream):
        length = min(TOKENS, block_length(setup.config), len(valid.stores[0].flat) - 1)
        return MicroBatch(np.array([0]), length, length)
    longer = np.maximum(valid.src_lengths[:SEARCHED], valid.tgt_lengths[:SEARCHED]).astype(np.int64)
    i = int(np.argmin(np.maximum(0, np.abs(longer - 0.75 * TOKENS) - 0.25 * TOKENS)))
    return MicroBatch(np.array([i]), int(valid.src_lengths[i]), int(valid.tgt_lengths[i]))


def _shortened(texts: Sequence[str]) -> list[str]:
    return [shorten(text, CHARACTERS) for text in texts]
