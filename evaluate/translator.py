"""Sentences to sentences: batches of similar length, results in the order that was given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.decoding.sampling import random_numbers, sample_outputs
from evaluate.decoding.search import Constraints, Hypothesis, beam_search, length_penalty
from evaluate.eval_mode import eval_mode
from evaluate.length_batches import Pair, batches, pad, places
from evaluate.options import read_decode_config
from transformer.cache import DecodingState
from transformer.model import Transformer
from transformer.pretrained import find_folder, load_pretrained, read_about


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    """The words; "" for an empty line."""
    score: float
    """What translations are ranked by: log_prob divided by the length penalty of `DecodeConfig`."""
    log_prob: float
    """Natural log of the model's probability of `tokens`."""
    tokens: tuple[int, ...]
    """Ids; the last one is EOS unless the output was cut at its greatest length. () for an empty line."""


EMPTY = Translation("", 0.0, 0.0, ())
FORBIDDEN = (PAD_ID, UNK_ID, BOS_ID)

Decode = Callable[[list[Pair]], list[list[Translation]]]


class LineTooLong(InputError):
    """A line has more tokens than the model takes. `index` is its place in the lines given, from 0."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class Translator:
    """A model with its tokenizer: raw text in, raw text out.

    The model is used where it is, and in eval mode while it translates. Results do not depend on the order of
    the lines, and on their company only as far as rounding does.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: DecodeConfig | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.tokenizer = tokenizer
        self.config = config or DecodeConfig()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        config: DecodeConfig | None = None,
        device: str | torch.device | None = None,
        compute_type: str = "float32",
    ) -> "Translator":
        """Load a model folder or a hub name; `device` None is the GPU if there is one, `config` None the settings in
        the folder.

        In bfloat16 and float16 the model takes half of the memory and its scores are rounded to fewer digits;
        probabilities are summed in fp32 all the same. On a CPU, where nothing but translating is wanted,
        `transformer.prepacked.prepack(translator.model)` makes it faster, as the commands do.

        Raises FileNotFoundError or ValueError when there is no such translation model, or the device cannot compute
        in that type.
        """
        folder = find_folder(folder)
        refuse_language_model(folder)
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = find_dtype(compute_type, device)
        model, _ = load_pretrained(folder, device)
        assert isinstance(model, Transformer)
        tokenizer = Tokenizer(folder / "tokenizer.model")
        pieces, rows = tokenizer.vocab_size, model.config.vocab_size
        if pieces != rows:
            raise InputError(
                f"{folder}: the tokenizer has {pieces} pieces and the model {rows}; they do not belong together"
            )
        return cls(model.to(dtype), tokenizer, config or read_decode_config(folder))

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return self.model.tgt_embedding.tokens.weight.device

    @property
    def compute_type(self) -> str:
        """What the model computes in, such as float32."""
        return str(self.model.tgt_embedding.tokens.weight.dtype).removeprefix("torch.")

    @property
    def max_len(self) -> int:
        """Tokens that the model takes, and gives, at most."""
        return self.model.config.max_len

    def __call__(self, lines: list[str]) -> list[str]:
        """The best translation of each line, in order; "" for an empty one."""
        return [translations[0].text for translations in self.translate(lines)]

    def translate(
        self, lines: list[str], n_best: int = 1, progress: bool = False, prefixes: list[str] | None = None
    ) -> list[list[Translation]]:
        """Up to `n_best` translations of each line, best first; exactly one, empty, for an empty line.

        Args:
            lines: each item is one line whatever it contains; a line break inside it counts as a space.
            n_best: at most the beam.
            progress: show a bar on standard error.
            prefixes: for each line what its translations begin with, scored as the model scores it; "" leaves it
                free. An empty line has none.

        Raises ValueError, before any work, for what is not a list of strings, and LineTooLong, a ValueError, for a
        line longer than the model takes.
        """
        return self.translate_ids(self.encode(lines), n_best, progress, self.encode_prefixes(prefixes))

    def sample(
        self,
        lines: list[str],
        config: SampleConfig | None = None,
        progress: bool = False,
        prefixes: list[str] | None = None,
    ) -> list[list[Translation]]:
        """`config.num_samples` translations of each line, drawn at random; exactly one, empty, for an empty line.

        The same seed gives a line the same samples whatever it is translated together with, except for rounding.
        They stand in the order in which they were drawn; `score` and `log_prob` are what `translate` would say.
        Lengths are limited as `DecodeConfig` says. Raises as `translate`.
        """
        return self.sample_ids(self.encode(lines), config, progress, self.encode_prefixes(prefixes))

    def encode(self, lines: list[str], first_line: int = 1) -> list[list[int]]:
        """The ids of each line with EOS, [] for an empty line.

        Raises as `translate`; `first_line` is the number that messages give the first line.
        """
        return encode_lines(self.tokenizer, self.max_len, lines, first_line)

    def encode_prefixes(self, prefixes: list[str] | None) -> list[list[int]] | None:
        """The ids of what translations begin with, as `translate_ids` takes them."""
        if prefixes is None:
            return None
        check_strings(prefixes, 1)
        return [ids[:-1] for ids in self.tokenizer.encode(one_line(prefixes))]  # without EOS

    def translate_ids(
        self,
        sources: list[list[int]],
        n_best: int = 1,
        progress: bool = False,
        prefixes: list[list[int]] | None = None,
    ) -> list[list[Translation]]:
        """As `translate`, for lines that `encode` has encoded."""
        if not 1 <= n_best <= self.config.beam:
            raise InputError(f"{n_best} best translations need a beam of at least {n_best}, not {self.config.beam}")
        pairs = self._pairs(sources, prefixes)
        return self._decode(pairs, lambda batch: self._search(batch, n_best), self.config.beam, progress)

    def sample_ids(
        self,
        sources: list[list[int]],
        config: SampleConfig | None = None,
        progress: bool = False,
        prefixes: list[list[int]] | None = None,
    ) -> list[list[Translation]]:
        """As `sample`, for lines that `encode` has encoded."""
        config = config or SampleConfig()
        pairs = self._pairs(sources, prefixes)
        return self._decode(pairs, lambda batch: self._sample(batch, config), config.num_samples, progress)

    def _pairs(self, sources: list[list[int]], prefixes: list[list[int]] | None) -> list[Pair]:
        """Each source with its prefix. Raises ValueError for a length that no output can have."""
        limit = self._limit
        if self.config.min_length > limit:
            raise InputError(
                f"decode.min_length is {self.config.min_length} and the model gives at most {limit} tokens"
            )
        if prefixes is None:
            return [Pair(tuple(ids)) for ids in sources]
        if len(prefixes) != len(sources):
            raise InputError(f"there are {len(sources)} lines and {len(prefixes)} prefixes: each line needs its own")
        for number, prefix in enumerate(prefixes, 1):
            if len(prefix) >= limit:
                raise InputError(
                    f"prefix {number} has {len(prefix)} tokens and an output at most {limit}: nothing could follow it"
                )
        return [Pair(tuple(ids), tuple(prefix)) for ids, prefix in zip(sources, prefixes, strict=True)]

    def _decode(self, pairs: list[Pair], decode: Decode, rows: int, progress: bool) -> list[list[Translation]]:
        """What `decode` makes of each pair, in order; `rows` are its hypotheses per sentence."""

        def fits(pairs: int, source_tokens: int, output_tokens: int) -> bool:
            return pairs * rows * (source_tokens + output_tokens) <= self.config.batch_tokens

        where = places(pairs)
        results = [[EMPTY] for _ in pairs]
        with eval_mode(self.model), tqdm(total=len(pairs), unit="line", disable=not progress) as bar:
            bar.update(sum(not pair.source for pair in pairs))
            for batch in batches((pair for pair in where if pair.source), fits, self._longest_output):
                for pair, translations in zip(batch, decode(batch), strict=True):
                    for place in where[pair]:
                        results[place] = list(translations)
                    bar.update(len(where[pair]))
        return results

    @property
    def _limit(self) -> int:
        return min(self.config.max_length or self.max_len, self.max_len)

    def _longest_output(self, pair: Pair) -> int:
        wished = max(len(pair.source) + self.config.max_extra, self.config.min_length, len(pair.target) + 1)
        return min(wished, self._limit)

    @torch.inference_mode()
    def _search(self, batch: list[Pair], n_best: int) -> list[list[Translation]]:
        lengths = [self._longest_output(pair) for pair in batch]
        found = beam_search(
            self.model.step,
            self._start(batch, max(lengths)),
            torch.tensor(lengths, device=self.device),
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            beam=self.config.beam,
            alpha=self.config.alpha,
            penalty=self.config.length_penalty,
            n_best=n_best,
            forbidden_ids=FORBIDDEN,
            min_len=self.config.min_length,
            prefixes=_prefixes(batch),
        )
        return self._translations([hypotheses[:n_best] for hypotheses in found])

    @torch.inference_mode()
    def _sample(self, batch: list[Pair], config: SampleConfig) -> list[list[Translation]]:
        n = config.num_samples
        outputs = [pair for pair in batch for _ in range(n)]
        lengths = [self._longest_output(pair) for pair in outputs]
        state = self._start(batch, max(lengths))
        state.reorder(torch.arange(len(batch), device=self.device).repeat_interleave(n))
        drawn = sample_outputs(
            self.model.step,
            state,
            torch.tensor(lengths, device=self.device),
            [random_numbers(config.seed, number, pair.source) for pair in batch for number in range(n)],
            config,
            Constraints(EOS_ID, FORBIDDEN, self.config.min_length, _prefixes(outputs)),
            BOS_ID,
        )
        found = [
            Hypothesis(
                tokens,
                log_prob,
                log_prob / length_penalty(self.config.length_penalty, float(len(tokens)), self.config.alpha),
            )
            for tokens, log_prob in drawn
        ]
        return self._translations([found[i : i + n] for i in range(0, len(found), n)])

    def _start(self, batch: list[Pair], max_len: int) -> DecodingState:
        src_BM = pad([pair.source for pair in batch]).to(self.device)
        return self.model.start(src_BM, src_BM != PAD_ID, max_len)

    def _translations(self, found: list[list[Hypothesis]]) -> list[list[Translation]]:
        decoded = self.tokenizer.decode([list(h.tokens) for hypotheses in found for h in hypotheses])
        texts = iter(one_line(decoded))  # the byte pieces of a vocabulary can spell a line break
        return [[Translation(next(texts), h.score, h.log_prob, h.tokens) for h in hypotheses] for hypotheses in found]


def find_dtype(compute_type: str, device: torch.device) -> torch.dtype:
    """PyTorch's type of that name. Raises ValueError where this backend or this device does not compute in it."""
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if compute_type not in dtypes:
        raise InputError(
            f"compute type {compute_type!r} is none of PyTorch's here ({', '.join(dtypes)}); "
            "transformer.translate --backend ctranslate2 has others"
        )
    if compute_type == "float16" and device.type == "cpu":
        raise InputError("PyTorch computes in float16 on a GPU only: take bfloat16 or float32")
    return dtypes[compute_type]


def refuse_language_model(folder: Path) -> None:
    """Raises ValueError where the model folder does not hold a translator."""
    model = read_about(folder).get("model")
    if isinstance(model, dict) and model.get("architecture") == "gpt":
        raise InputError(f"{folder} holds a language model (GPT), which cannot translate; use transformer.generate")


def encode_lines(tokenizer: Tokenizer, max_len: int, lines: list[str], first_line: int = 1) -> list[list[int]]:
    """The ids of each line with EOS, [] for an empty line.

    Raises ValueError for what is not a list of strings, and LineTooLong for a line of more than `max_len` tokens;
    `first_line` is the number that messages give the first line.
    """
    check_strings(lines, first_line)
    encoded = [[] if ids == [EOS_ID] else ids for ids in tokenizer.encode(one_line(lines))]
    for index, ids in enumerate(encoded):
        if len(ids) > max_len:
            raise LineTooLong(
                f"line {first_line + index} has {len(ids)} tokens and the model takes at most {max_len}: split it "
                "into sentences",
                index,
            )
    return encoded


def check_strings(lines: list[str], first_line: int) -> None:
    """Raises ValueError for what is not a list of strings; `first_line` is the number of the first one."""
    if isinstance(lines, str):
        raise InputError("lines is one string: give a list of strings, one for each sentence")
    for number, line in enumerate(lines, first_line):
        if not isinstance(line, str):
            raise InputError(f"line {number} is {line!r:.40} and not a string")


def one_line(texts: list[str]) -> list[str]:
    """The texts with a space in the place of each line break."""
    return [text.replace("\r", " ").replace("\n", " ") for text in texts]


def _prefixes(batch: list[Pair]) -> list[tuple[int, ...]]:
    prefixes = [pair.target for pair in batch]
    return prefixes if any(prefixes) else []
