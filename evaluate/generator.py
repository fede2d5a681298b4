"""Continue text with a GPT."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from common.errors import InputError
from common.strings import check_string, listed
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from evaluate.config import SampleConfig
from evaluate.continuation import Continuation, generate_batch, kept_tokens, new_continuation, prompt_batches
from evaluate.eval_mode import eval_mode
from evaluate.text_stream import TextStream
from transformer.model import GPT
from transformer.prepacked import prepack as prepack_model
from transformer.pretrained import check_vocab_size, find_folder, load_pretrained, read_about

Note = Callable[[str], object]


class Generator:
    """A GPT with its tokenizer: continues raw text.

    The model stays on its device and is in eval mode only while it generates. The samples of a prompt depend on the
    seed and the prompt. Other prompts of a batch change them by rounding only.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: TextTokenizer,
        device: str | torch.device | None = None,
        starts_documents: bool = False,
    ) -> None:
        """Create a generator.

        Args:
            device: move the model to this device; None leaves it where it is.
            starts_documents: True for a model that was trained on documents from their beginning only. The token that
                ends a document is then added before each prompt.
        """
        self.model = model if device is None else model.to(device)
        self.tokenizer = tokenizer
        self.starts_documents = starts_documents

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device | None = None, prepack: bool = True
    ) -> "Generator":
        """Load a language model.

        Args:
            folder: a model folder, or a name on the Hugging Face Hub such as `user/model`.
            device: None is the GPU if there is one.
            prepack: on a CPU, lay the weights out for faster inference. False leaves the model unchanged, for example
                to read its weights.

        Raises:
            FileNotFoundError: there is no such model.
            InputError: it is not a language model, or its folder is damaged.
        """
        folder = find_folder(folder)
        model, _ = load_pretrained(folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if not isinstance(model, GPT):
            raise InputError(f"{folder} contains a translation model. Use transformer.translate.")
        tokenizer = open_tokenizer(folder / "tokenizer.model")
        check_vocab_size(folder, tokenizer.vocab_size, model.config.vocab_size)
        if prepack:
            prepack_model(model)
        return cls(model, tokenizer, starts_documents=bool(read_about(folder).get("starts_documents")))

    @property
    def device(self) -> torch.device:
        """Present device of the model."""
        return self.model.embedding.tokens.weight.device

    def generate(
        self, prompts: Iterable[str | None], config: SampleConfig | None = None, note: Note = warnings.warn
    ) -> list[list[str]]:
        """Return `config.num_samples` continuations of each prompt, in order, without the prompt.

        Args:
            prompts: any iterable of strings. None instead of a string starts at the beginning of a document: after the
                token that ends a document, or after a line break if the vocabulary has no such token. Equal prompts
                have equal samples.
            config: sampling settings; None means `SampleConfig()`.
            note: called once, with a sentence, if a text becomes longer than the context of the model.

        Raises:
            InputError: a prompt is empty, has more tokens than the context, or contains a character that is not in
                the vocabulary. All prompts are checked before the first one is continued.
        """
        config = config or SampleConfig()
        prompts = listed(prompts, "prompts")
        starts = [self._encode(prompt, number) for number, prompt in enumerate(prompts, 1)]
        n = config.num_samples
        continuations = [new_continuation(ids, config.seed, number) for ids in starts for number in range(n)]
        with eval_mode(self.model):
            for batch in prompt_batches(continuations, config.max_tokens, self.model.config.max_len):
                for _ in generate_batch(self.model, batch, config, self.tokenizer.end_id):
                    pass
        self._note_slid(continuations, note)
        texts = [self._text(prompts[i // n], continuation) for i, continuation in enumerate(continuations)]
        return [texts[i * n : i * n + n] for i in range(len(prompts))]

    def stream(
        self, prompt: str | None, config: SampleConfig | None = None, note: Note = warnings.warn
    ) -> Iterator[str]:
        """Yield the first sample that `generate` returns for this prompt, in pieces, as soon as each is certain.

        A character of several tokens is yielded when it is complete. `note` is called at the end. The model is in eval
        mode until the end, or until the iterator is closed. Raises the same errors as `generate`, at once.
        """
        config = config or SampleConfig()
        continuation = new_continuation(self._encode(prompt, 1), config.seed, 0)
        return self._stream(prompt, continuation, config, note)

    def _stream(
        self, prompt: str | None, continuation: Continuation, config: SampleConfig, note: Note
    ) -> Iterator[str]:
        text, seen = self._text_stream(prompt, continuation), continuation.start
        with eval_mode(self.model):
            for _ in generate_batch(self.model, [continuation], config, self.tokenizer.end_id):
                if new := text.add(continuation.ids[seen:]):
                    yield new
                seen = len(continuation.ids)
        if rest := text.end():
            yield rest
        self._note_slid([continuation], note)

    def _encode(self, prompt: str | None, number: int) -> list[int]:
        """Return the tokens to start from, at least one."""
        if prompt is None:
            return [self.tokenizer.document_start]
        check_string(prompt, f"prompt {number}")
        ids = self.tokenizer.encode_text(prompt)
        if not ids:
            raise InputError(f"prompt {number} is empty. Omit it to start at the beginning of a document.")
        if self.starts_documents:
            ids = [self.tokenizer.document_start, *ids]
        limit = self.model.config.max_len
        if len(ids) > limit:
            raise InputError(f"prompt {number} has {len(ids)} tokens; the model supports {limit}. Shorten it.")
        return ids

    def _text(self, prompt: str | None, continuation: Continuation) -> str:
        text = self._text_stream(prompt, continuation)
        return text.add(continuation.ids[continuation.start :]) + text.end()

    def _text_stream(self, prompt: str | None, continuation: Continuation) -> TextStream:
        prompt_ids = continuation.ids[int(self.starts_documents) : continuation.start]
        return TextStream(self.tokenizer, [] if prompt is None else prompt_ids)

    def _note_slid(self, continuations: list[Continuation], note: Note) -> None:
        context = self.model.config.max_len
        if any(continuation.slid for continuation in continuations):
            note(
                f"the text became longer than the model's context of {context} tokens. Each time the context was full, "
                f"generation kept its last {kept_tokens(context)} tokens as the new context."
            )
