"""Sentences to sentences: batches of similar length, results in the order that was given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from data_pipeline.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer
from evaluate.config import DecodeConfig
from evaluate.eval_mode import eval_mode
from evaluate.search import beam_search
from transformer.model import Transformer
from transformer.pretrained import find_folder, load_pretrained, read_about


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    """The words; "" for an empty line."""
    score: float
    """What translations are ranked by: log_prob / ((5 + n) / 6)^alpha."""
    log_prob: float
    """Natural log of the model's probability of `tokens`."""
    tokens: tuple[int, ...]
    """Ids; the last one is EOS unless the output was cut at its greatest length. () for an empty line."""


EMPTY = Translation("", 0.0, 0.0, ())


class LineTooLong(ValueError):
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
    ) -> "Translator":
        """Load a model folder or a hub name; `device` None is the GPU if there is one.

        Raises FileNotFoundError or ValueError when there is no such translation model.
        """
        folder = find_folder(folder)
        refuse_language_model(folder)
        model, _ = load_pretrained(folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        assert isinstance(model, Transformer)
        tokenizer = Tokenizer(folder / "tokenizer.model")
        pieces, rows = tokenizer.vocab_size, model.config.vocab_size
        if pieces != rows:
            raise ValueError(
                f"{folder}: the tokenizer has {pieces} pieces and the model {rows}; they do not belong together"
            )
        return cls(model, tokenizer, config)

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return self.model.output.weight.device

    def __call__(self, lines: list[str]) -> list[str]:
        """The best translation of each line, in order; "" for an empty one."""
        return [translations[0].text for translations in self.translate(lines)]

    def translate(self, lines: list[str], n_best: int = 1, progress: bool = False) -> list[list[Translation]]:
        """Up to `n_best` translations of each line, best first; exactly one, empty, for an empty line.

        Args:
            lines: each item is one line whatever it contains; a line break inside it counts as a space.
            n_best: at most the beam.
            progress: show a bar on standard error.

        Raises ValueError, before any work, for what is not a list of strings, and LineTooLong, a ValueError, for a
        line longer than the model takes.
        """
        return self.translate_ids(self.encode(lines), n_best, progress)

    def encode(self, lines: list[str], first_line: int = 1) -> list[list[int]]:
        """The ids of each line with EOS, [] for an empty line.

        Raises as `translate`; `first_line` is the number that messages give the first line.
        """
        _check_strings(lines, first_line)
        encoded = [[] if ids == [EOS_ID] else ids for ids in self.tokenizer.encode(_one_line(lines))]
        limit = self.model.config.max_len
        for index, ids in enumerate(encoded):
            if len(ids) > limit:
                raise LineTooLong(
                    f"line {first_line + index} has {len(ids)} tokens and the model takes at most {limit}: "
                    "split it into sentences",
                    index,
                )
        return encoded

    def translate_ids(
        self, sources: list[list[int]], n_best: int = 1, progress: bool = False
    ) -> list[list[Translation]]:
        """As `translate`, for lines that `encode` has encoded."""
        if not 1 <= n_best <= self.config.beam:
            raise ValueError(f"{n_best} best translations need a beam of at least {n_best}, not {self.config.beam}")
        results = [[EMPTY] for _ in sources]
        with eval_mode(self.model), tqdm(total=len(sources), unit="line", disable=not progress) as bar:
            bar.update(sum(not ids for ids in sources))
            for batch in _batches(sources, self._positions, self.config.batch_tokens):
                for line, translations in zip(batch, self._search([sources[i] for i in batch], n_best), strict=True):
                    results[line] = translations
                bar.update(len(batch))
        return results

    def _longest_output(self, source_tokens: int) -> int:
        return min(source_tokens + self.config.max_extra, self.model.config.max_len)

    def _positions(self, source_tokens: int) -> int:
        """Positions for which decoding one sentence may keep keys and values."""
        return self.config.beam * (source_tokens + self._longest_output(source_tokens))

    @torch.inference_mode()
    def _search(self, sources: list[list[int]], n_best: int) -> list[list[Translation]]:
        src_BM = _pad(sources).to(self.device)
        lengths = [self._longest_output(len(ids)) for ids in sources]
        found = beam_search(
            self.model.step,
            self.model.start(src_BM, src_BM != PAD_ID, max(lengths)),
            torch.tensor(lengths, device=self.device),
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            beam=self.config.beam,
            alpha=self.config.alpha,
            n_best=n_best,
            forbidden_ids=(PAD_ID, UNK_ID, BOS_ID),
        )
        best = [hypotheses[:n_best] for hypotheses in found]
        decoded = self.tokenizer.decode([list(h.tokens) for hypotheses in best for h in hypotheses])
        texts = iter(_one_line(decoded))  # the byte pieces of a vocabulary can spell a line break
        return [[Translation(next(texts), h.score, h.log_prob, h.tokens) for h in hypotheses] for hypotheses in best]


def refuse_language_model(folder: Path) -> None:
    """Raises ValueError where the model folder does not hold a translator."""
    model = read_about(folder).get("model")
    if isinstance(model, dict) and model.get("architecture") == "gpt":
        raise ValueError(f"{folder} holds a language model (GPT), which cannot translate; use transformer.generate")


def _batches(sources: list[list[int]], positions: Callable[[int], int], most: int) -> Iterator[list[int]]:
    """Places of the non-empty sources in batches, longest first.

    A batch takes at most `most` positions, padding included, or is one sentence; `positions` says how many one of
    so many tokens takes.
    Longest first, since a batch that does not fit the memory should say so at once. Sorting by the ids too makes
    the batches the same in whatever order the lines come.
    """
    order = sorted((i for i, ids in enumerate(sources) if ids), key=lambda i: (-len(sources[i]), sources[i]))
    start = 0
    while start < len(order):
        rows = max(1, most // positions(len(sources[order[start]])))
        yield order[start : start + rows]
        start += rows


def _check_strings(lines: list[str], first_line: int) -> None:
    if isinstance(lines, str):
        raise ValueError("lines is one string: give a list of strings, one for each sentence")
    for number, line in enumerate(lines, first_line):
        if not isinstance(line, str):
            raise ValueError(f"line {number} is {line!r:.40} and not a string")


def _one_line(texts: list[str]) -> list[str]:
    return [text.replace("\r", " ").replace("\n", " ") for text in texts]


def _pad(sources: list[list[int]]) -> Tensor:
    longest = max(map(len, sources))
    return torch.tensor([ids + [PAD_ID] * (longest - len(ids)) for ids in sources])
