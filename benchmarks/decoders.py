"""The programs that benchmarks/decoding.py compares, each in a process of its own, so that its peak memory is its own.

    python benchmarks/decoders.py < orders

An order is a line of JSON. The first is a `Task`; the program loads, decodes once to warm up and answers {"ready"}.
Each further line makes it decode again, and it answers with the seconds, the tokens and its peak memory.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor

from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import beam_search
from evaluate.length_batches import pad
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.prepacked import prepack
from transformer.weights import set_weights

FORBIDDEN = (PAD_ID, UNK_ID, BOS_ID)
MAX_EXTRA = 50


@dataclass(frozen=True)
class Task:
    """What one program decodes in one cell of the table."""

    program: str
    """ours, marian, or ctranslate2."""
    dtype: str
    """float32, float16, bfloat16 or int8."""
    config: dict[str, Any]
    """Of the `ModelConfig`."""
    weights: str
    """A file of weights for ours (torch.save), a folder for CTranslate2; Marian's are random."""
    sources: list[list[int]]
    """One batch, each source with EOS."""
    beam: int
    tokens: int | None
    """Of every output; None lets each sentence end by itself, at most 50 tokens longer than its source."""
    device: str
    threads: int


Decode = Callable[[], int]
"""Decodes the batch once and returns the tokens of the best outputs, EOS counted."""


def ours(task: Task) -> Decode:
    """`evaluate.decoding.search.beam_search` with our model."""
    model = our_model(task).to(task.device, getattr(torch, task.dtype)).eval()
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


def our_model(task: Task) -> Transformer:
    """With the weights of the task."""
    model = Transformer(ModelConfig(**task.config))
    set_weights(model, torch.load(task.weights, weights_only=True))
    return model


def marian_config(config: ModelConfig, **others: Any) -> Any:
    """The `MarianConfig` of the same shape; `others` goes on to it."""
    from transformers import MarianConfig

    sizes = {"layers": config.n_layers, "attention_heads": config.n_heads, "ffn_dim": config.d_ff}
    return MarianConfig(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        activation_function=config.activation,
        max_position_embeddings=config.max_len,
        scale_embedding=True,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        forced_eos_token_id=None,
        **{f"{side}_{name}": size for name, size in sizes.items() for side in ("encoder", "decoder")},
        **others,
    )


def marian(task: Task) -> Decode:
    """`MarianMTModel.generate` of transformers, with a model of the same shape and random weights: its positions are
    sines and cosines side by side, so it cannot have ours."""
    from transformers import MarianMTModel

    theirs = marian_config(ModelConfig(**task.config))
    model = MarianMTModel(theirs).to(task.device, getattr(torch, task.dtype)).eval()
    src_BM = pad(task.sources).to(task.device)
    mask_BM = (src_BM != PAD_ID).long()

    @torch.inference_mode()
    def decode() -> int:
        out_BL: Tensor = model.generate(
            src_BM,
            attention_mask=mask_BM,
            num_beams=task.beam,
            do_sample=False,
            length_penalty=1.0,
            early_stopping=False,
            min_new_tokens=task.tokens,
            max_new_tokens=task.tokens,
        )
        return out_BL.size(0) * (out_BL.size(1) - 1)  # without <s>

    return decode


def ctranslate2(task: Task) -> Decode:
    """CTranslate2 with our weights."""
    from transformer.formats.ctranslate2 import import_ctranslate2

    translator = import_ctranslate2().Translator(
        task.weights, device=task.device, compute_type=task.dtype, intra_threads=task.threads
    )
    pieces = json.loads((Path(task.weights) / "shared_vocabulary.json").read_text(encoding="utf-8"))
    sources = [[pieces[token] for token in source[:-1]] for source in task.sources]
    longest = task.tokens or max(map(len, task.sources)) + MAX_EXTRA

    def decode() -> int:
        results = translator.translate_batch(
            sources,
            beam_size=task.beam,
            length_penalty=1.0,
            max_decoding_length=longest,
            min_decoding_length=(task.tokens or 1) - 1,  # it does not count </s>
            return_end_token=True,
        )
        return sum(len(result.hypotheses[0]) for result in results)

    return decode


PROGRAMS: dict[str, Callable[[Task], Decode]] = {"ours": ours, "marian": marian, "ctranslate2": ctranslate2}

LIBRARIES = {"ours": "torch", "marian": "transformers.models.marian.modeling_marian", "ctranslate2": "ctranslate2"}
"""Loaded before memory is counted."""


def synchronise(device: str) -> None:
    """Wait until the GPU is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def used_mb(device: str, field: str) -> float:
    """Memory on the GPU that is in use, by all processes: CTranslate2 and PyTorch keep what they have taken, so it is
    the peak too. On a processor, `field` of this process: VmRSS is now, VmHWM the peak."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return (total - free) / 1e6
    status = Path("/proc/self/status").read_text()  # the peak of getrusage would be at least the parent's
    return int(status.split(field + ":")[1].split()[0]) / 1e3


def main() -> None:
    """Obey until standard input ends."""
    task = Task(**json.loads(sys.stdin.readline()))
    torch.set_num_threads(task.threads)
    importlib.import_module(LIBRARIES[task.program])
    synchronise(task.device)
    before = used_mb(task.device, "VmRSS")
    decode = PROGRAMS[task.program](task)
    decode()
    synchronise(task.device)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        tokens = decode()
        synchronise(task.device)
        seconds = time.perf_counter() - started
        peak_mb = used_mb(task.device, "VmHWM") - before
        print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_mb": peak_mb}), flush=True)


if __name__ == "__main__":
    main()
