"""Translate with PyTorch: the model, beam search and sampling of this project."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID
from evaluate.backends import FORBIDDEN
from evaluate.config import BackendName, DecodeConfig, EnsembleMean, Feature, SampleConfig
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.ensemble import EnsembleState, Step, ensemble_step, mean_log_probs
from evaluate.decoding.sampling import random_numbers, sample_outputs
from evaluate.decoding.search import Hypothesis, beam_search, log_probs, score_hypothesis
from evaluate.decoding.terms import WordEnds
from evaluate.decoding.trees import TreeTokens
from evaluate.eval_mode import eval_mode
from evaluate.length_batches import IdPair, pad
from evaluate.shortlist import RestrictedOutput, Shortlist
from transformer.attention import MultiHeadAttention
from transformer.cache import DecodingState
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.prepacked import least_d_model_for_bfloat16
from transformer.prepacked import prepack as prepack_model
from transformer.pretrained import load_pretrained
from transformer.quantized import quantize

COMPUTE_TYPES = ("auto", "float32", "bfloat16", "float16", "int8")


class PyTorchBackend:
    """A `Transformer` on its own device. It is in eval mode only during a call, so it may be in training.

    With other models of the same vocabulary it is an ensemble. The attention is that of the first model.
    """

    name: ClassVar[BackendName] = "torch"
    supports: ClassVar[frozenset[Feature]] = frozenset(
        ("prefix", "sampling", "token scores", "attention", "glossary", "trees")
    )

    def __init__(
        self,
        model: Transformer,
        compute_type: str | None = None,
        restricted: RestrictedOutput | None = None,
        others: Sequence[Transformer] = (),
        mean: EnsembleMean = "log-probabilities",
    ) -> None:
        """Use a model.

        Args:
            compute_type: name of the number format; None is that of the weights.
            restricted: output layer that a search uses instead of the model's. Not for an ensemble.
            others: further models of an ensemble, on the same device.
            mean: what an ensemble averages.
        """
        self.model = model
        self.models = (model, *others)
        self._compute_type = compute_type
        self._restricted = restricted
        self._mean: EnsembleMean = mean

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        device: str | torch.device | None = None,
        compute_type: str = "float32",
        prepack: bool = True,
        shortlist: Path | None = None,
        others: Sequence[Path] = (),
        mean: EnsembleMean = "log-probabilities",
    ) -> "PyTorchBackend":
        """Load the translation model of a model folder.

        Args:
            others: model folders of further models of an ensemble.
            mean: what an ensemble averages.
            device: None is the GPU if there is one.
            compute_type: auto, float32, bfloat16, int8 on a CPU, or float16 on a GPU. See `choose_compute_type`.
            prepack: on a CPU, lay the weights out for inference. The model is then faster, and its weights can neither
                be read nor changed.
            shortlist: a file of `evaluate.make_shortlist`: a search uses only the tokens that it lists.

        Raises:
            InputError: the device cannot compute in that type, or the folder is damaged.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        check_compute_type(compute_type, device)
        if shortlist is not None and others:
            raise InputError("a shortlist is for one model. Omit --shortlist, or give --model once.")
        model, config = load_pretrained(folder, device)
        assert isinstance(model, Transformer)
        compute_type = choose_compute_type(compute_type, device, config)
        models = [model, *(_load(other, device, config.vocab_size) for other in others)]
        for one in models:
            one.to(find_dtype(compute_type))
        restricted = None
        if shortlist is not None:
            restricted = RestrictedOutput(Shortlist.load(shortlist, config.vocab_size), model.output)
        for one in models:
            if compute_type == "int8":
                quantize(one)
            if prepack:
                prepack_model(one)
        return cls(model, compute_type, restricted, models[1:], mean)

    @property
    def max_len(self) -> int:
        """Largest number of tokens in a source and in an output."""
        return min(model.config.max_len for model in self.models)

    @property
    def device(self) -> torch.device:
        """Present device of the model."""
        return self.model.tgt_embedding.tokens.weight.device

    @property
    def compute_type(self) -> str:
        """Number format of the computations, such as float32."""
        return self._compute_type or str(self.model.tgt_embedding.tokens.weight.dtype).removeprefix("torch.")

    def search(
        self,
        batch: list[IdPair],
        limits: list[int],
        config: DecodeConfig,
        n_best: int,
        vocabulary: WordEnds | TreeTokens | None = None,
    ) -> list[list[Hypothesis]]:
        """Return up to `config.beam` hypotheses of each source, best first (section 6.1)."""
        constraints = _constraints(batch, config, vocabulary)
        with self._evaluating():
            search = partial(
                beam_search,
                max_len_B=torch.tensor(limits, device=self.device),
                beam=config.beam,
                alpha=config.alpha,
                penalty=config.length_penalty,
                n_best=n_best,
            )
            state = self._start(batch, max(limits))
            if self._restricted is not None:
                assert isinstance(state, DecodingState)  # of one model
                return self._restricted.search(self.model, state, batch, constraints, search)
            return search(self._step, state, constraints=constraints, bos_id=BOS_ID)

    def sample(
        self, batch: list[IdPair], limits: list[int], config: DecodeConfig, sampling: SampleConfig
    ) -> list[list[Hypothesis]]:
        """Return `sampling.num_samples` random hypotheses of each source, in the order of drawing.

        They are drawn in groups if all together have more than `config.batch_tokens` tokens.
        """
        tokens = len(batch) * (max(len(pair.source) for pair in batch) + max(limits))
        size = max(1, config.batch_tokens // tokens)
        groups = [
            self._sample(batch, limits, config, sampling, range(first, min(first + size, sampling.num_samples)))
            for first in range(0, sampling.num_samples, size)
        ]
        return [[found for of_group in of_source for found in of_group] for of_source in zip(*groups, strict=True)]

    def _sample(
        self, batch: list[IdPair], limits: list[int], config: DecodeConfig, sampling: SampleConfig, numbers: range
    ) -> list[list[Hypothesis]]:
        n = len(numbers)
        with self._evaluating():
            state = self._start(batch, max(limits))
            state.reorder(torch.arange(len(batch), device=self.device).repeat_interleave(n))
            drawn = sample_outputs(
                self._step,
                state,
                torch.tensor(limits, device=self.device).repeat_interleave(n),
                _constraints([pair for pair in batch for _ in range(n)], config),
                bos_id=BOS_ID,
                config=sampling,
                draws=[random_numbers(sampling.seed, number, pair.source) for pair in batch for number in numbers],
            )
        found = [score_hypothesis(*output, config.length_penalty, config.alpha) for output in drawn]
        return [found[i : i + n] for i in range(0, len(found), n)]

    def token_log_probs(self, batch: list[IdPair]) -> list[Sequence[float]]:
        """Return the natural log-probability of each token of each target."""
        logp_BLV = self._forced_log_probs(batch)
        token_BL1 = pad([pair.target for pair in batch]).to(logp_BLV.device).unsqueeze(-1)
        rows: list[list[float]] = logp_BLV.gather(-1, token_BL1).squeeze(-1).tolist()
        return [row[: len(pair.target)] for pair, row in zip(batch, rows, strict=True)]

    def cross_attention(self, batch: list[IdPair]) -> list[Tensor]:
        """Return the weights (layers, heads, target tokens, source tokens) of each pair, on the CPU."""
        with _recorded_cross_attention(self.model) as recorded:
            self._forced_logits(self.model, batch)
        layers = [weights_BHLM.cpu() for weights_BHLM in recorded]
        return [
            torch.stack([weights_BHLM[b, :, : len(pair.target), : len(pair.source)] for weights_BHLM in layers])
            for b, pair in enumerate(batch)
        ]

    @property
    def _step(self) -> Step:  # read at each search, because `evaluate.explain` replaces `step` of a model
        steps = [model.step for model in self.models]
        return steps[0] if len(steps) == 1 else ensemble_step(steps, self._mean)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        with ExitStack() as stack:
            for model in self.models:
                stack.enter_context(eval_mode(model))
            with torch.inference_mode():
                yield

    def _start(self, batch: list[IdPair], max_len: int) -> DecodingState | EnsembleState:
        src_BM = pad([pair.source for pair in batch]).to(self.device)
        states = [model.start(src_BM, src_BM != PAD_ID, max_len) for model in self.models]
        return states[0] if len(states) == 1 else EnsembleState(states)

    def _forced_log_probs(self, batch: list[IdPair]) -> Tensor:
        """Return the log-probabilities (B, L, V) of each token of the targets."""
        logits = [self._forced_logits(model, batch) for model in self.models]
        return log_probs(logits[0]) if len(logits) == 1 else mean_log_probs(logits, self._mean)

    def _forced_logits(self, model: Transformer, batch: list[IdPair]) -> Tensor:
        """Return the logits (B, L, V) of each token of the targets, all in one pass."""
        src_BM = pad([pair.source for pair in batch]).to(self.device)
        tgt_BL = pad([(BOS_ID, *pair.target[:-1]) for pair in batch]).to(self.device)
        with self._evaluating():
            logits_BLV: Tensor = model(src_BM, src_BM != PAD_ID, tgt_BL)
        return logits_BLV


def _load(folder: Path, device: torch.device, vocab_size: int) -> Transformer:
    """Return a further model of an ensemble. Raises InputError if it cannot be averaged with the first."""
    model, config = load_pretrained(folder, device)
    if not isinstance(model, Transformer) or config.vocab_size != vocab_size:
        raise InputError(
            f"{folder} has not the vocabulary of the first model. An ensemble needs models with one vocabulary"
        )
    return model


def check_compute_type(compute_type: str, device: torch.device) -> None:
    """Raise InputError if this backend or the device cannot compute in that type."""
    if compute_type not in COMPUTE_TYPES:
        raise InputError(
            f"the backend torch does not support the compute type {compute_type!r}. "
            f"Use one of {', '.join(COMPUTE_TYPES)}, or --backend ctranslate2, which supports others."
        )
    if compute_type == "float16" and device.type == "cpu":
        raise InputError("the backend torch computes in float16 on a GPU only. Use bfloat16 or float32.")
    if compute_type == "int8" and device.type != "cpu":
        raise InputError("the backend torch computes in int8 on a CPU only. Use bfloat16 or float16.")


def choose_compute_type(compute_type: str, device: torch.device, config: ModelConfig) -> str:
    """Return `compute_type`, or bfloat16 or float32 for auto: what was faster in measurements (docs/decoding.md).

    The choice depends on the machine and on d_model only. bfloat16 is chosen on a GPU that supports it, for d_model of
    at least 256 on a CPU with AMX, and for d_model of at least 512 on a CPU with avx512_bf16.
    """
    if compute_type != "auto":
        return compute_type
    match device.type:
        case "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            fast = config.d_model >= least_d_model_for_bfloat16()
        case _:
            fast = False
    return "bfloat16" if fast else "float32"


def find_dtype(compute_type: str) -> torch.dtype:
    """Return the type of the weights. With int8 it is that of the layers that are not quantised."""
    if compute_type == "int8":
        return torch.bfloat16 if least_d_model_for_bfloat16() < math.inf else torch.float32
    dtype: torch.dtype = getattr(torch, compute_type)
    return dtype


def _constraints(
    batch: list[IdPair], config: DecodeConfig, vocabulary: WordEnds | TreeTokens | None = None
) -> Constraints:
    prefixes = [pair.target for pair in batch]
    constraints = Constraints(EOS_ID, FORBIDDEN, config.min_length, prefixes if any(prefixes) else [])
    match vocabulary:
        case None:
            return constraints
        case WordEnds():
            return replace(constraints, terms=[pair.terms for pair in batch], words=vocabulary)
        case TreeTokens():
            return replace(constraints, leaves=[pair.leaves for pair in batch], trees=vocabulary)


@contextmanager
def _recorded_cross_attention(model: Transformer) -> Iterator[list[Tensor]]:
    """Yield a list that receives the weights (B, H, L, M) of each cross-attention layer during a forward pass."""
    recorded: list[Tensor] = []

    def record(attention: MultiHeadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorded.append(attention.weights(*args, mask=kwargs["mask"]))

    attentions = [
        model.get_submodule(f"decoder.blocks.{i}.cross_attention") for i in range(model.config.decoder_layers)
    ]
    hooks = [attention.register_forward_pre_hook(record, with_kwargs=True) for attention in attentions]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
