"""Prompts to text with a GPT."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from common.errors import InputError
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from evaluate.config import SampleConfig
from evaluate.continuation import Row, batches, grow, kept_of, new_row
from evaluate.eval_mode import eval_mode
from evaluate.text_stream import TextStream
from transformer.model import GPT
from transformer.pretrained import find_folder, load_pretrained, read_about

Note = Callable[[str], object]


class Generator:
    """A GPT with its tokenizer: continues raw text.

    The model is used where it is, and in eval mode while it generates. The samples of a prompt depend on the seed and
    on the prompt, and on what is generated beside them only as far as rounding does.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: TextTokenizer,
        device: str | torch.device | None = None,
        starts_documents: bool = False,
    ) -> None:
        """`starts_documents`: every prompt is the beginning of a document, for the model has seen nothing else."""
        self.model = model if device is None else model.to(device)
        self.tokenizer = tokenizer
        self.starts_documents = starts_documents

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device | None = None) -> "Generator":
        """Load a model folder or a hub name; `device` None is the GPU if there is one.

        Raises FileNotFoundError or ValueError when there is no such language model.
        """
        folder = find_folder(folder)
        model, _ = load_pretrained(folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if not isinstance(model, GPT):
            raise InputError(f"{folder} holds a translation model; use transformer.translate")
        tokenizer = open_tokenizer(folder / "tokenizer.model")
        tokens, rows = tokenizer.vocab_size, model.config.vocab_size
        if tokens != rows:
            raise InputError(
                f"{folder}: the tokenizer has {tokens} tokens and the model {rows}; they do not belong together"
            )
        return cls(model, tokenizer, starts_documents=bool(read_about(folder).get("starts_documents")))

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return self.model.embedding.tokens.weight.device

    def generate(
        self, prompts: Sequence[str | None], config: SampleConfig | None = None, note: Note = warnings.warn
    ) -> list[list[str]]:
        """`config.num_samples` continuations of each prompt, in order, without the prompt.

        Args:
            prompts: None starts from the beginning of a document: from the token that ends the one before it, or
                from a line break where the vocabulary has no such token. Equal prompts have equal samples.
            config: how to draw; `SampleConfig()` where it is left out.
            note: is told, once and in one sentence, when a text has outgrown the model's context.

        Raises ValueError, before any work, for a prompt that is empty, has more tokens than the model takes or has
        what the vocabulary cannot spell.
        """
        config = config or SampleConfig()
        if isinstance(prompts, str):
            raise InputError("prompts is one string: give a list of strings, one for each text")
        starts = [self._encode(prompt, number) for number, prompt in enumerate(prompts, 1)]
        n = config.num_samples
        rows = [new_row(ids, config.seed, number) for ids in starts for number in range(n)]
        with eval_mode(self.model):
            for batch in batches(rows, config.max_tokens, self.model.config.max_len):
                for _ in grow(self.model, batch, config, self.tokenizer.end_id):
                    pass
        self._tell(rows, note)
        return [[self._text(prompt, row) for row in rows[i * n : i * n + n]] for i, prompt in enumerate(prompts)]

    def stream(
        self, prompt: str | None, config: SampleConfig | None = None, note: Note = warnings.warn
    ) -> Iterator[str]:
        """The first sample that `generate` gives for this prompt, in pieces as they become certain.

        A character that is spelled in several tokens comes when it is whole. `note` is told at the end; the model is
        in eval mode until then, or until the iterator is closed. Raises as `generate`, at once.
        """
        config = config or SampleConfig()
        row = new_row(self._encode(prompt, 1), config.seed, 0)
        return self._stream(prompt, row, config, note)

    def _stream(self, prompt: str | None, row: Row, config: SampleConfig, note: Note) -> Iterator[str]:
        text, seen = self._text_stream(prompt, row), row.start
        with eval_mode(self.model):
            for _ in grow(self.model, [row], config, self.tokenizer.end_id):
                if piece := text.add(row.ids[seen:]):
                    yield piece
                seen = len(row.ids)
        if rest := text.end():
            yield rest
        self._tell([row], note)

    def _encode(self, prompt: str | None, number: int) -> list[int]:
        """The tokens to start from, at least one."""
        if prompt is None:
            return [self.tokenizer.document_start]
        ids = self.tokenizer.encode_text(prompt)
        if not ids:
            raise InputError(f"prompt {number} is empty: leave it out to start from the beginning of a document")
        if self.starts_documents:
            ids = [self.tokenizer.document_start, *ids]
        limit = self.model.config.max_len
        if len(ids) > limit:
            raise InputError(f"prompt {number} has {len(ids)} tokens and the model takes at most {limit}: shorten it")
        return ids

    def _text(self, prompt: str | None, row: Row) -> str:
        text = self._text_stream(prompt, row)
        return text.add(row.ids[row.start :]) + text.end()

    def _text_stream(self, prompt: str | None, row: Row) -> TextStream:
        given = row.ids[int(self.starts_documents) : row.start]
        return TextStream(self.tokenizer, [] if prompt is None else given)

    def _tell(self, rows: list[Row], note: Note) -> None:
        context = self.model.config.max_len
        if any(row.slid for row in rows):
            note(
                f"the text is longer than the model's context of {context} tokens; whenever that was full, "
                f"the model went on from the last {kept_of(context)}"
            )
