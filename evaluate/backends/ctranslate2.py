"""Translating with CTranslate2 in the place of PyTorch: the same lines in, the same `Translation`s out.

CTranslate2 keeps the same live hypotheses as `evaluate.decoding.search`, and uses its length penalty only to rank
what has finished. So all that has finished is taken from it and ranked here, by our formula. Two things remain its
own: it leaves a sentence when beam · patience hypotheses have finished, where our search goes on until no other can
win; and it takes an ending only from the best `beam` continuations of a step, ours from the best 2 · beam. Both can
make it miss a hypothesis of a better score, and never find one.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from evaluate.config import DecodeConfig
from evaluate.decoding.search import length_penalty
from evaluate.length_batches import Pair, batches, places
from evaluate.options import read_decode_config
from evaluate.translator import (
    EMPTY,
    FORBIDDEN,
    Translation,
    encode_lines,
    one_line,
    refuse_language_model,
)
from transformer.formats.ctranslate2 import COMPUTE_TYPES, export_ctranslate2, import_ctranslate2, read_pieces
from transformer.pretrained import find_folder, read_about

EXPORT_VERSION = b"1"  # a change in the export's content: older exports in the cache are then not used


class CTranslate2Translator:
    """Raw text in, raw text out, as `evaluate.translator.Translator`, computed by CTranslate2."""

    def __init__(
        self,
        exported: str | Path,
        config: DecodeConfig | None = None,
        *,
        max_len: int,
        compute_type: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        patience: float = 1.0,
    ) -> None:
        """`exported` is a folder of `transformer.export`, `max_len` the model's; `patience` above 1 searches longer."""
        self.config = config or DecodeConfig()
        self.patience = patience
        self.max_len = max_len
        exported = Path(exported)
        check_compute_type(compute_type, device)
        self.tokenizer = Tokenizer(exported / "tokenizer.model")
        self._pieces = read_pieces(exported / "tokenizer.model", self.tokenizer.vocab_size)
        self._ids = {piece: token for token, piece in enumerate(self._pieces)}
        self._model = import_ctranslate2().Translator(
            str(exported), device=device, compute_type=compute_type, intra_threads=threads or torch.get_num_threads()
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        config: DecodeConfig | None = None,
        device: str | None = None,
        *,
        compute_type: str = "float32",
        cache: Path | None = None,
    ) -> "CTranslate2Translator":
        """Use the export of a model folder or hub name, which is made now if there is none of these weights.

        Exports lie in `cache`, or else in ~/.cache/paper-transformer, named after the SHA-256 of the model's files
        and the compute type. `device` None is the GPU where CTranslate2 sees one.

        Raises FileNotFoundError or ValueError when there is no such translation model, or CTranslate2 cannot run it.
        """
        folder = find_folder(folder)
        refuse_language_model(folder)
        device = device or ("cuda" if import_ctranslate2().get_cuda_device_count() else "cpu")
        check_compute_type(compute_type, device)
        exported = find_export(folder, compute_type, cache or default_cache())
        max_len = int(read_about(folder)["model"].get("max_len", 1024))
        return cls(
            exported, config or read_decode_config(folder), max_len=max_len, compute_type=compute_type, device=device
        )

    def __call__(self, lines: list[str]) -> list[str]:
        """The best translation of each line, in order; "" for an empty one."""
        return [translations[0].text for translations in self.translate(lines)]

    def translate(self, lines: list[str], n_best: int = 1, progress: bool = False) -> list[list[Translation]]:
        """As `Translator.translate`."""
        return self.translate_ids(self.encode(lines), n_best, progress)

    def encode(self, lines: list[str], first_line: int = 1) -> list[list[int]]:
        """As `Translator.encode`."""
        return encode_lines(self.tokenizer, self.max_len, lines, first_line)

    def translate_ids(
        self, sources: list[list[int]], n_best: int = 1, progress: bool = False
    ) -> list[list[Translation]]:
        """As `Translator.translate_ids`, without prefixes, which CTranslate2 gives no score."""
        if not 1 <= n_best <= self.config.beam:
            raise InputError(f"{n_best} best translations need a beam of at least {n_best}, not {self.config.beam}")
        limit = min(self.config.max_length or self.max_len, self.max_len)
        if self.config.min_length > limit:
            raise InputError(
                f"decode.min_length is {self.config.min_length} and the model gives at most {limit} tokens"
            )
        where = places(Pair(tuple(ids)) for ids in sources)
        results = [[EMPTY] for _ in sources]
        with tqdm(total=len(sources), unit="line", disable=not progress) as bar:
            bar.update(sum(not ids for ids in sources))
            for batch in batches((pair for pair in where if pair.source), self._fits, self._longest_output):
                for pair, best in zip(batch, self._search(batch), strict=True):
                    for place in where[pair]:
                        results[place] = best[:n_best]
                    bar.update(len(where[pair]))
        return results

    def _fits(self, pairs: int, source_tokens: int, output_tokens: int) -> bool:
        return pairs * self.config.beam * (source_tokens + output_tokens) <= self.config.batch_tokens

    def _longest_output(self, pair: Pair) -> int:
        wished = max(len(pair.source) + self.config.max_extra, self.config.min_length)
        return min(wished, self.config.max_length or self.max_len, self.max_len)

    def _search(self, batch: list[Pair]) -> list[list[Translation]]:
        """All that is found for each source, best first."""
        limits = [self._longest_output(pair) for pair in batch]
        found = []
        for pair, limit, result in zip(batch, limits, self._run(batch, max(limits)), strict=True):
            hypotheses = self._read(result, limit)
            if not hypotheses:  # a forbidden token, or nothing that ended within this sentence's own limit
                [alone] = self._run([pair], limit, suppress=FORBIDDEN)
                hypotheses = self._read(alone, limit)
            found.append(hypotheses)
        return self._rank(found)

    def _run(self, batch: list[Pair], limit: int, suppress: tuple[int, ...] = ()) -> Any:
        """CTranslate2's results. Suppressing is the exception, since it would take the suppressed tokens' probability
        and give it to the others, where our search lets it be lost."""
        return self._model.translate_batch(
            [[self._pieces[token] for token in pair.source[:-1]] for pair in batch],  # it adds </s> itself
            beam_size=self.config.beam,
            patience=self.patience,
            num_hypotheses=max(1, round(self.config.beam * self.patience)) if self.config.beam > 1 else 1,
            length_penalty=self._exponent,
            max_input_length=0,
            max_decoding_length=limit,
            min_decoding_length=self.config.min_length - 1,  # it does not count </s>
            suppress_sequences=[[self._pieces[token]] for token in suppress] or None,
            return_end_token=True,
            return_scores=True,
        )

    @property
    def _exponent(self) -> float:
        """CTranslate2 stops at the first ending of the top hypothesis where the exponent is 0, so it never is."""
        return max(self.config.alpha if self.config.length_penalty != "none" else 0.0, 1e-6)

    def _read(self, result: Any, limit: int) -> list[tuple[tuple[int, ...], float]]:
        """Ids and log-probability of each hypothesis; the unfinished ones only where none has finished. None at all
        where a token is forbidden, or where no length is within the limit."""
        hypotheses = []
        for pieces, score in zip(result.hypotheses, result.scores, strict=True):
            tokens = tuple(self._ids[piece] for piece in pieces)
            if any(token in FORBIDDEN for token in tokens):
                return []
            hypotheses.append((tokens, score * len(tokens) ** self._exponent))
        within = [hypothesis for hypothesis in hypotheses if len(hypothesis[0]) <= limit]
        finished = [hypothesis for hypothesis in within if hypothesis[0][-1] == EOS_ID]
        return finished or within

    def _rank(self, found: list[list[tuple[tuple[int, ...], float]]]) -> list[list[Translation]]:
        decoded = self.tokenizer.decode([list(tokens) for hypotheses in found for tokens, _ in hypotheses])
        texts = iter(one_line(decoded))
        ranked = []
        for hypotheses in found:
            translations = [
                Translation(next(texts), log_prob / self._penalty(len(tokens)), log_prob, tokens)
                for tokens, log_prob in hypotheses
            ]
            ranked.append(sorted(translations, key=lambda t: -t.score)[: self.config.beam])
        return ranked

    def _penalty(self, tokens: int) -> float:
        return length_penalty(self.config.length_penalty, float(tokens), self.config.alpha)


def check_compute_type(compute_type: str, device: str) -> None:
    """Raises ValueError for a compute type that CTranslate2 does not have, or not on this device."""
    if compute_type not in COMPUTE_TYPES:
        raise InputError(f"compute type {compute_type!r} is not one of CTranslate2's: {', '.join(COMPUTE_TYPES)}")
    supported = import_ctranslate2().get_supported_compute_types(device)
    if compute_type not in supported:
        raise InputError(
            f"this machine's {device} cannot compute in {compute_type}: take one of {', '.join(sorted(supported))}"
        )


def find_export(folder: Path, compute_type: str, cache: Path) -> Path:
    """The export of these very weights in the cache; made now where there is none."""
    exported = cache / "ctranslate2" / f"{fingerprint(folder)}-{compute_type}"
    if not exported.is_dir():
        exported.parent.mkdir(parents=True, exist_ok=True)
        try:
            export_ctranslate2(folder, exported, compute_type)
        except OSError:
            if not exported.is_dir():  # otherwise another process was first
                raise
    return exported


def fingerprint(folder: Path) -> str:
    """SHA-256 of what the export is made from."""
    digest = hashlib.sha256(EXPORT_VERSION)
    for name in ("config.json", "tokenizer.model", "model.safetensors"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def default_cache() -> Path:
    """$XDG_CACHE_HOME/paper-transformer, or ~/.cache/paper-transformer."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-transformer"
