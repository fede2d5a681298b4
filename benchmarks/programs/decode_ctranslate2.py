"""CTranslate2 with the weights of paper-transformer."""

import json
from pathlib import Path

from benchmarks.programs.decoding import MAX_EXTRA, Decode, DecodeTask, answer_with
from benchmarks.runner import Answer
from transformer.formats.ctranslate2 import import_ctranslate2


def start(task: DecodeTask) -> Answer:
    """Load CTranslate2 before memory is measured, then the model."""
    import_ctranslate2()
    return answer_with(task, load)


def load(task: DecodeTask) -> Decode:
    """Return `translate_batch` for the task's sources."""
    translator = import_ctranslate2().Translator(
        task.weights, device=task.device, compute_type=task.dtype, intra_threads=task.threads
    )
    subwords = json.loads((Path(task.weights) / "shared_vocabulary.json").read_text(encoding="utf-8"))
    sources = [[subwords[token] for token in source[:-1]] for source in task.sources]
    longest = task.tokens or max(map(len, task.sources)) + MAX_EXTRA

    def decode() -> int:
        results = translator.translate_batch(
            sources,
            beam_size=task.beam,
            length_penalty=1.0,
            max_decoding_length=longest,
            min_decoding_length=(task.tokens or 1) - 1,  # without </s>
            return_end_token=True,
        )
        return sum(len(result.hypotheses[0]) for result in results)

    return decode
