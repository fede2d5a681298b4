"""How good the model is on the validation set while it trains."""

import math

import numpy as np
import sacrebleu
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from data_pipeline.collate import collate
from data_pipeline.dataset import Prepared
from data_pipeline.plan import evaluation_slices
from data_pipeline.tokenizer import Tokenizer
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from train.config import TrainConfig
from train.devices import new_sum, sum_over_ranks
from train.loss import smoothed_cross_entropy
from transformer.model import Transformer


@torch.no_grad()
def validate(
    accelerator: Accelerator, model: Transformer, prepared: Prepared, settings: TrainConfig, positions: int
) -> dict[str, float]:
    """Loss without smoothing, per target token, and perplexity over the whole set; BLEU of greedy output on
    `settings.valid_bleu_sentences` sentences, evenly spread. `positions` bounds a batch. Each rank does its share;
    all get the same figures.
    """
    model.eval()
    loss = validation_loss(accelerator, model, prepared, positions)
    values = {"valid_loss": loss, "valid_ppl": math.exp(min(loss, 700))}
    if settings.valid_bleu_sentences:
        values["valid_bleu"] = greedy_bleu(accelerator, model, prepared, settings.valid_bleu_sentences)
    model.train()
    return values


def validation_loss(accelerator: Accelerator, model: Transformer, prepared: Prepared, positions: int) -> float:
    """Cross-entropy (nats) per target token over the validation set, `positions` at most computed at once."""
    ids = prepared.valid
    slices = evaluation_slices(ids.src.lengths, ids.tgt.lengths, positions)
    total = new_sum(accelerator)
    for part in slices[accelerator.process_index :: accelerator.num_processes]:
        batch = collate(ids, part).to(accelerator.device)
        with accelerator.autocast():
            logits_BLV = model(*batch.inputs)
        total += smoothed_cross_entropy(logits_BLV, batch.labels_BL, smoothing=0.0)
    return sum_over_ranks(accelerator, total.unsqueeze(0))[0] / int(ids.tgt.lengths.sum())


def greedy_bleu(accelerator: Accelerator, model: Transformer, prepared: Prepared, sentences: int) -> float:
    """sacreBLEU of greedy translations of evenly spread validation sentences."""
    sources, references = prepared.valid_text()
    chosen = np.linspace(0, len(sources) - 1, min(sentences, len(sources))).astype(int).tolist()
    mine = chosen[accelerator.process_index :: accelerator.num_processes]
    translator = Translator(model, Tokenizer(prepared.tokenizer_file), DecodeConfig(beam=1))
    translated = list(zip(mine, translator([sources[i] for i in mine]), strict=True))
    everyone = dict(gather_object(translated))
    bleu = sacrebleu.corpus_bleu([everyone[i] for i in chosen], [[references[i] for i in chosen]])
    return round(bleu.score, 2)
