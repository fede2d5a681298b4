"""What is learned from which data: the one place where translation and language modelling part ways.

The loop knows updates, slices, logits and labels; a task gives it those, and measures what matters to its users.
"""

import math
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np
import sacrebleu
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from common.errors import InputError
from data_pipeline.batch_plan import PLAN_VERSION, Plan, Slice, UpdatePlan, evaluation_slices
from data_pipeline.block_plan import BLOCKS_VERSION, Documents, Recipe, Rows, Stream
from data_pipeline.examples import Batch, collate
from data_pipeline.prepared_data import Prepared, PreparedText
from data_pipeline.token_store import TextIds
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.generator import Generator
from evaluate.translator import Translator
from train.config import RunConfig
from train.schedule import settle_schedule
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer

SHOWN = 3
"""Documents that are shown while a language model learns."""


class Task(Protocol):
    """Data and measures of one kind of model."""

    config: RunConfig
    """The run's, with the vocabulary's size and all else that the data decides."""
    validation_tokens: int
    """Tokens that a validation predicts."""

    @property
    def plan_version(self) -> int | list[int]:
        """What the updates depend on beside settings and data."""

    @property
    def prepared(self) -> Prepared | PreparedText:
        """The data on the disk."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its vocabulary."""

    @property
    def plan(self) -> UpdatePlan:
        """Which rows form update k."""

    def batch(self, part: Slice) -> Batch:
        """Rows of the training data."""

    def validation(self, positions: int) -> list[Slice]:
        """All of the validation data, in batches of about so many token positions."""

    def validation_batch(self, part: Slice) -> Batch:
        """Rows of the validation data."""

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """What is reported beside the validation loss (nats per token); equal on every rank."""

    def show(self, model: nn.Module) -> str:
        """What the model makes now, for people to read; "" where there is nothing to show."""


def make_task(config: RunConfig, prepared: Prepared | PreparedText) -> Task:
    """The task that the data is for. Raises ValueError where the model, the data and the vocabulary do not fit."""
    if isinstance(prepared, PreparedText):
        return LanguageModelling(config, prepared)
    return Translation(config, prepared)


class Translation:
    """Sentence pairs (section 5.1), measured by BLEU."""

    plan_version = PLAN_VERSION

    def __init__(self, config: RunConfig, prepared: Prepared) -> None:
        self.prepared = prepared
        self.tokenizer = Tokenizer(prepared.tokenizer_file)
        self.config = settle(config, self.tokenizer.vocab_size)
        for name, ids in (("training", prepared.train), ("validation", prepared.valid)):
            longest = max(int(side.lengths.max()) for side in (ids.src, ids.tgt))
            if longest > config.model.max_len:
                raise InputError(
                    f"the longest {name} sentence has {longest} tokens, and model.max_len is {config.model.max_len}; "
                    "lower data.max_length or raise model.max_len"
                )
        self.validation_tokens = int(prepared.valid.tgt.lengths.sum())

    @cached_property
    def plan(self) -> Plan:
        """Bricks of sentences of similar length."""
        settings, ids = self.config.batches, self.prepared.train
        return Plan(
            ids.src.lengths,
            ids.tgt.lengths,
            tokens_per_update=settings.tokens_per_update,
            bricks=settings.per_update,
            shapes=settings.buckets,
            seed=self.config.train.seed,
        )

    def batch(self, part: Slice) -> Batch:
        """Training pairs."""
        return collate(self.prepared.train, part)

    def validation(self, positions: int) -> list[Slice]:
        """Pairs of similar length."""
        ids = self.prepared.valid
        return evaluation_slices(ids.src.lengths, ids.tgt.lengths, positions)

    def validation_batch(self, part: Slice) -> Batch:
        """Validation pairs."""
        return collate(self.prepared.valid, part)

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """sacreBLEU of greedy translations of `validation.bleu_sentences` evenly spread validation sentences."""
        if not self.config.validation.bleu_sentences:
            return {}
        assert isinstance(model, Transformer)
        sources, references = self.prepared.valid_text()
        wanted = min(self.config.validation.bleu_sentences, len(sources))
        chosen = np.linspace(0, len(sources) - 1, wanted).astype(int).tolist()
        mine = chosen[accelerator.process_index :: accelerator.num_processes]
        translator = Translator(model, self.tokenizer, DecodeConfig(beam=1))
        translated = list(zip(mine, translator([sources[i] for i in mine]), strict=True))
        everyone = dict(gather_object(translated))
        bleu = sacrebleu.corpus_bleu([everyone[i] for i in chosen], [[references[i] for i in chosen]])
        return {"valid_bleu": round(bleu.score, 2)}

    def show(self, model: nn.Module) -> str:
        """Nothing: BLEU says it."""
        return ""


class LanguageModelling:
    """Running text, cut into blocks or in documents, measured by bits per character."""

    def __init__(self, config: RunConfig, prepared: PreparedText) -> None:
        self.prepared = prepared
        self.tokenizer = open_tokenizer(prepared.tokenizer_file)
        self.config = settle(config, self.tokenizer.vocab_size)
        block = config.batches.block or config.model.max_len
        if block > config.model.max_len:
            raise InputError(f"batches.block is {block}, longer than model.max_len {config.model.max_len}")
        self.plan_version = [PLAN_VERSION, BLOCKS_VERSION] if config.data.layout == "documents" else BLOCKS_VERSION
        self._train, self._valid = self._rows(prepared.train, block), self._rows(prepared.valid, block)
        self.validation_tokens = self._valid.predicted_tokens
        if not self.validation_tokens:
            raise InputError(
                "the validation text has no token to predict: name a longer data.valid or raise data.valid_part"
            )

    @cached_property
    def plan(self) -> UpdatePlan:
        """Blocks of one stream, or bricks of documents of similar length."""
        settings = self.config.batches
        recipe = Recipe(settings.tokens_per_update, settings.per_update, settings.buckets, self.config.train.seed)
        return self._train.plan(recipe)

    def batch(self, part: Slice) -> Batch:
        """Blocks or documents of the training text."""
        return self._train.batch(part)

    def validation(self, positions: int) -> list[Slice]:
        """The whole validation text, every token predicted once."""
        return self._valid.slices(positions)

    def validation_batch(self, part: Slice) -> Batch:
        """Blocks or documents of the validation text."""
        return self._valid.batch(part)

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """Bits per character: a measure that vocabularies share, while a loss per token depends on its tokens."""
        bits = loss * self.validation_tokens / math.log(2)
        return {"valid_bits_per_character": bits / self.prepared.report["valid"]["characters"]}

    def show(self, model: nn.Module) -> str:
        """A sample of `validation.sample_tokens` tokens, always of the same seed; of documents, how the first ones of
        the validation text go on from what is given of them."""
        if not self.config.validation.sample_tokens:
            return ""
        assert isinstance(model, GPT)
        settings = SampleConfig(max_tokens=self.config.validation.sample_tokens, seed=self.config.train.seed)
        prompts = [self.tokenizer.decode_text(ids) if ids else None for ids in self._valid.beginnings(SHOWN)]
        generator = Generator(model, self.tokenizer, starts_documents=self.config.data.layout == "documents")
        samples = generator.generate(prompts, settings, note=lambda _: None)
        texts = [(prompt or "") + sample for prompt, (sample,) in zip(prompts, samples, strict=True)]
        if self.config.data.layout == "documents" and self.tokenizer.end_id is None:
            texts = [text.split("\n")[0] for text in texts]  # where a document ends
        return "\n".join(texts)

    def _rows(self, text: TextIds, block: int) -> Rows:
        if self.config.data.layout == "documents":
            return Documents(text, block, self.tokenizer.document_start)
        return Stream(text, block)


def settle(config: RunConfig, vocab_size: int) -> RunConfig:
    """The config with what it leaves to the data: the vocabulary's real size; and with the end of the schedule, which
    a run that goes on to more updates must keep. Raises ValueError where another vocabulary size was asked for.
    """
    if config.model.vocab_size not in (ModelConfig().vocab_size, vocab_size):
        raise InputError(
            f"model.vocab_size is {config.model.vocab_size}, but the vocabulary has {vocab_size} pieces; "
            "leave model.vocab_size out, it is taken from the vocabulary"
        )
    schedule = settle_schedule(config.schedule, config.train.max_steps)
    return replace(config, model=replace(config.model, vocab_size=vocab_size), schedule=schedule)
