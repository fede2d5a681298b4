"""Translate with CTranslate2 instead of PyTorch.

CTranslate2 keeps the same live hypotheses as `evaluate.decoding.search`, but uses its length penalty only to rank
finished ones. So this backend takes all finished hypotheses from CTranslate2 and ranks them by the penalty of
`DecodeConfig`. Two differences remain. CTranslate2 ends the search of a sentence when beam · patience hypotheses are
finished; our search continues until no other hypothesis can win. CTranslate2 takes an ending only from the best `beam`
continuations of a step; our search takes it from the best 2 · beam. Because of both, CTranslate2 can miss a hypothesis
with a better score, but can never find one that our search misses.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from common.checksums import is_whole, remove_damaged, write_checksums
from common.errors import InputError
from common.files import create_folder, lock, sha256
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from evaluate.backends import FORBIDDEN
from evaluate.config import BackendName, DecodeConfig, Feature, SampleConfig
from evaluate.decoding.search import Hypothesis, score_hypothesis
from evaluate.decoding.terms import WordEnds
from evaluate.decoding.trees import TreeTokens
from evaluate.length_batches import IdPair
from transformer.formats.compute_types import COMPUTE_TYPES
from transformer.formats.ctranslate2 import import_ctranslate2, read_pieces, write_export
from transformer.pretrained import read_about

EXPORT_VERSION = b"1"
"""Raise this number if the content of an export changes. Older exports in the cache are then not used."""


class CTranslate2Backend:
    """An exported model, run by CTranslate2."""

    name: ClassVar[BackendName] = "ctranslate2"
    supports: ClassVar[frozenset[Feature]] = frozenset()

    def __init__(
        self,
        exported: str | Path,
        *,
        max_len: int,
        compute_type: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        patience: float = 1.0,
    ) -> None:
        """Load an export.

        Args:
            exported: a folder that `transformer.export` wrote.
            max_len: the largest number of tokens that the model supports.
            threads: CPU threads; None is the number that PyTorch uses.
            patience: above 1, CTranslate2 searches longer.
        """
        check_compute_type(compute_type, device)
        self.max_len = max_len
        self.device = torch.device(device)
        self.compute_type = compute_type
        self.patience = patience
        tokenizer_file = Path(exported) / "tokenizer.model"
        self._pieces = read_pieces(tokenizer_file, Tokenizer(tokenizer_file).vocab_size)
        self._ids = {piece: token for token, piece in enumerate(self._pieces)}
        self._model = import_ctranslate2().Translator(
            str(exported), device=device, compute_type=compute_type, intra_threads=threads or torch.get_num_threads()
        )

    @classmethod
    def from_pretrained(
        cls, folder: Path, device: str | None = None, compute_type: str = "float32", cache: Path | None = None
    ) -> "CTranslate2Backend":
        """Load the cached export of a model folder. Create it if it does not exist.

        Exports are in `cache`, or else in ~/.cache/paper-transformer. Their names contain the SHA-256 of the model's
        files and the compute type. `device` None is the GPU if CTranslate2 finds one.

        Raises:
            InputError: CTranslate2 is not installed, or cannot run this model or compute type.
        """
        device = device or ("cuda" if import_ctranslate2().get_cuda_device_count() else "cpu")
        check_compute_type(compute_type, device)
        exported = find_export(folder, compute_type, cache or default_cache())
        max_len = int(read_about(folder)["model"].get("max_len", 1024))
        return cls(exported, max_len=max_len, compute_type=compute_type, device=device)

    def search(
        self,
        batch: list[IdPair],
        limits: list[int],
        config: DecodeConfig,
        n_best: int,
        vocabulary: WordEnds | TreeTokens | None = None,
    ) -> list[list[Hypothesis]]:
        """Return up to `config.beam` hypotheses of each source, best first. Terms are not supported."""
        assert vocabulary is None
        results = self._run(batch, max(limits), config)
        found = []
        for pair, limit, result in zip(batch, limits, results, strict=True):
            outputs = self._read(result, limit, config)
            if not outputs:  # all contain a forbidden token, or none ended within the limit of this sentence
                [alone] = self._run([pair], limit, config, suppress=FORBIDDEN)
                outputs = self._read(alone, limit, config)
            found.append(_rank(outputs, config))
        return found

    def sample(
        self, batch: list[IdPair], limits: list[int], config: DecodeConfig, sampling: SampleConfig
    ) -> list[list[Hypothesis]]:
        """Not supported."""
        raise NotImplementedError

    def token_log_probs(self, batch: list[IdPair]) -> list[Sequence[float]]:
        """Not supported."""
        raise NotImplementedError

    def cross_attention(self, batch: list[IdPair]) -> list[Tensor]:
        """Not supported."""
        raise NotImplementedError

    def _run(self, batch: list[IdPair], limit: int, config: DecodeConfig, suppress: tuple[int, ...] = ()) -> Any:
        """Return the results of CTranslate2.

        Tokens are suppressed only if it is necessary: CTranslate2 gives the probability of suppressed tokens to the
        others, and our search does not.
        """
        return self._model.translate_batch(
            [[self._pieces[token] for token in pair.source[:-1]] for pair in batch],  # CTranslate2 adds </s>
            beam_size=config.beam,
            patience=self.patience,
            num_hypotheses=max(1, round(config.beam * self.patience)) if config.beam > 1 else 1,
            length_penalty=_exponent(config),
            max_input_length=0,
            max_decoding_length=limit,
            min_decoding_length=config.min_length - 1,  # without </s>
            suppress_sequences=[[self._pieces[token]] for token in suppress] or None,
            return_end_token=True,
            return_scores=True,
        )

    def _read(self, result: Any, limit: int, config: DecodeConfig) -> list[tuple[tuple[int, ...], float]]:
        """Return ids and log-probability of each finished hypothesis, or of the others if none is finished.

        Return [] if a hypothesis contains a forbidden token, or if no hypothesis is within the limit.
        """
        outputs = []
        for pieces, score in zip(result.hypotheses, result.scores, strict=True):
            tokens = tuple(self._ids[piece] for piece in pieces)
            if any(token in FORBIDDEN for token in tokens):
                return []
            outputs.append((tokens, score * len(tokens) ** _exponent(config)))
        within = [output for output in outputs if len(output[0]) <= limit]
        finished = [output for output in within if output[0][-1] == EOS_ID]
        return finished or within


def _exponent(config: DecodeConfig) -> float:
    """Return CTranslate2's length penalty. It is never 0, for which CTranslate2 stops at the first ending."""
    return max(config.alpha if config.length_penalty != "none" else 0.0, 1e-6)


def _rank(outputs: list[tuple[tuple[int, ...], float]], config: DecodeConfig) -> list[Hypothesis]:
    hypotheses = [score_hypothesis(*output, config.length_penalty, config.alpha) for output in outputs]
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)[: config.beam]


def check_compute_type(compute_type: str, device: str) -> None:
    """Raise InputError for a compute type that CTranslate2 does not support on this device."""
    if compute_type not in COMPUTE_TYPES:
        raise InputError(
            f"CTranslate2 does not support the compute type {compute_type!r}. Use one of {', '.join(COMPUTE_TYPES)}."
        )
    supported = import_ctranslate2().get_supported_compute_types(device)
    if compute_type not in supported:
        raise InputError(
            f"CTranslate2 cannot compute in {compute_type} on the {device} of this machine. "
            f"Use one of {', '.join(sorted(supported))}."
        )


def find_export(folder: Path, compute_type: str, cache: Path) -> Path:
    """Return the cached export of these weights. Create it if it does not exist or is damaged."""
    name = hash_model(folder)
    exported = cache / "ctranslate2" / f"{name}-{compute_type}"
    if not is_whole(exported):
        with lock(exported.with_name(f".{exported.name}.lock"), timeout=math.inf):
            if not is_whole(exported):  # another process may have created it in the meantime
                remove_damaged(exported)
                with create_folder(exported) as temporary:
                    write_export(folder, temporary, compute_type)
                    write_checksums(temporary)
                    if hash_model(folder) != name:
                        raise InputError(f"{folder} was changed while it was read. Run the same command again")
    return exported


def hash_model(folder: Path) -> str:
    """Return a SHA-256 of the files from which the export is made."""
    files = [folder / name for name in ("config.json", "tokenizer.model", "model.safetensors")]
    return hashlib.sha256(EXPORT_VERSION + b"".join(bytes.fromhex(sha256(file)) for file in files)).hexdigest()[:32]


def default_cache() -> Path:
    """Return $XDG_CACHE_HOME/paper-transformer, or ~/.cache/paper-transformer."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-transformer"
