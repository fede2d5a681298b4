"""paper-transformer: `evaluate.decoding.search.beam_search` with its model."""

import torch

from benchmarks.programs.decoding import MAX_EXTRA, Decode, DecodeTask, answer_with
from benchmarks.runner import Answer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from evaluate.backends.pytorch import find_dtype
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import beam_search
from evaluate.length_batches import pad
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.prepacked import prepack
from transformer.quantized import quantize
from transformer.weights import set_weights

FORBIDDEN = (PAD_ID, UNK_ID, BOS_ID)


def start(task: DecodeTask) -> Answer:
    """Load the model."""
    return answer_with(task, load)


def load(task: DecodeTask) -> Decode:
    """Return a search for the task's sources, with prepacked weights."""
    model = Transformer(ModelConfig(**task.config))
    set_weights(model, torch.load(task.weights, weights_only=True))
    model.to(task.device, find_dtype(task.dtype)).eval()
    if task.dtype == "int8":
        quantize(model)
    prepack(model)
    src_BM = pad(task.sources).to(task.device)
    limits = [task.tokens or len(source) + MAX_EXTRA for source in task.sources]
    max_len_B = torch.tensor(limits, device=task.device)

    @torch.inference_mode()
    def decode() -> int:
        found = beam_search(
            model.step,
            model.start(src_BM, src_BM != PAD_ID, max(limits)),
            max_len_B,
            Constraints(EOS_ID, FORBIDDEN, task.tokens or 1),
            bos_id=BOS_ID,
            beam=task.beam,
            alpha=0.6,
        )
        return sum(len(hypotheses[0].tokens) for hypotheses in found)

    return decode
