"""What is learned from which data: the one place where translation and language modelling part ways.

Both have examples, a batch plan, logits and labels. They differ in what is measured and shown beside the loss.
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
from data_pipeline.batch_plan import PLAN_VERSION, BatchPlan
from data_pipeline.block_plan import BLOCKS_VERSION, BlockPlan
from data_pipeline.examples import Examples
from data_pipeline.prepared_data import PreparedData
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.backends.pytorch import PyTorchBackend
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

    @property
    def plan_version(self) -> int | list[int]:
        """What the updates depend on beside settings and data."""

    @property
    def identity(self) -> dict[str, object]:
        """What the updates depend on beside the settings."""

    @property
    def prepared(self) -> PreparedData:
        """The data on the disk."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its vocabulary."""

    @property
    def plan(self) -> BatchPlan | BlockPlan:
        """Which examples form update k."""

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """What is reported beside the validation loss (nats per token); equal on every rank."""

    def sample(self, model: nn.Module) -> str:
        """What the model makes now, for people to read; "" where there is nothing to show."""


def make_task(config: RunConfig, prepared: PreparedData) -> Task:
    """The task that the data is for. Raises ValueError where the model, the data and the vocabulary do not fit."""
    if config.data.task == "language_modelling":
        return LanguageModelling(config, prepared)
    return Translation(config, prepared)


def block_length(config: RunConfig) -> int:
    """Return the number of tokens of a block of text."""
    return config.batches.block or config.model.max_len


def make_plan(config: RunConfig, train: Examples) -> BatchPlan | BlockPlan:
    """Return the plan of a run: blocks of a stream, or bucket batches of sentence pairs or documents."""
    batches, seed = config.batches, config.train.seed
    if config.data.task == "language_modelling" and config.data.layout == "stream":
        return BlockPlan(
            int(train.tgt_lengths.sum(dtype=np.int64)),
            block_length(config),
            tokens_per_update=batches.tokens_per_update,
            per_update=batches.per_update,
            seed=seed,
            predicted=train.predicted,
        )
    return BatchPlan(
        train.src_lengths,
        train.tgt_lengths,
        tokens_per_update=batches.tokens_per_update,
        per_update=batches.per_update,
        max_buckets=batches.buckets,
        seed=seed,
        predicted=train.predicted,
    )


class Translation:
    """Sentence pairs (section 5.1), measured by BLEU."""

    plan_version = PLAN_VERSION

    def __init__(self, config: RunConfig, prepared: PreparedData) -> None:
        self.prepared = prepared
        self.tokenizer = Tokenizer(prepared.tokenizer_file)
        self.config = settle(config, self.tokenizer.vocab_size)
        prepared.train.check_lengths("training", config.model.max_len)
        prepared.valid.check_lengths("validation", config.model.max_len)

    @property
    def identity(self) -> dict[str, object]:
        """The data and the version of the plan."""
        return {"data": self.prepared.fingerprint, "plan": self.plan_version}

    @cached_property
    def plan(self) -> BatchPlan | BlockPlan:
        """Bucket batches of sentence pairs of similar length."""
        return make_plan(self.config, self.prepared.train)

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """sacreBLEU of greedy translations of `validation.bleu_sentences` evenly spread validation sentences."""
        if not self.config.validation.bleu_sentences:
            return {}
        assert isinstance(model, Transformer)
        sources, references = self.prepared.valid_text()
        wanted = min(self.config.validation.bleu_sentences, len(sources))
        chosen = np.linspace(0, len(sources) - 1, wanted).astype(int).tolist()
        mine = chosen[accelerator.process_index :: accelerator.num_processes]
        translator = Translator(PyTorchBackend(model), self.tokenizer, DecodeConfig(beam=1))
        translated = list(zip(mine, translator([sources[i] for i in mine]), strict=True))
        everyone = dict(gather_object(translated))
        bleu = sacrebleu.corpus_bleu([everyone[i] for i in chosen], [[references[i] for i in chosen]])
        return {"valid_bleu": round(bleu.score, 2)}

    def sample(self, model: nn.Module) -> str:
        """Nothing: BLEU says it."""
        return ""


class LanguageModelling:
    """Running text, cut into blocks or in documents, measured by bits per character."""

    def __init__(self, config: RunConfig, prepared: PreparedData) -> None:
        self.prepared = prepared
        self.tokenizer = open_tokenizer(prepared.tokenizer_file)
        self.config = settle(config, self.tokenizer.vocab_size)
        block = block_length(config)
        if block > config.model.max_len:
            raise InputError(f"batches.block is {block}, longer than model.max_len {config.model.max_len}")
        self.plan_version = [PLAN_VERSION, BLOCKS_VERSION] if config.data.layout == "documents" else BLOCKS_VERSION
        prepared.train.check_lengths("training", block)
        prepared.valid.check_lengths("validation", block)
        if not prepared.valid.predicted_tokens:
            raise InputError(
                "the validation text has no token to predict: name a longer data.valid or raise data.valid_part"
            )

    @property
    def identity(self) -> dict[str, object]:
        """The data and the version of the plan."""
        return {"data": self.prepared.fingerprint, "plan": self.plan_version}

    @cached_property
    def plan(self) -> BatchPlan | BlockPlan:
        """Blocks of one stream, or bucket batches of documents of similar length."""
        return make_plan(self.config, self.prepared.train)

    def measure(self, accelerator: Accelerator, model: nn.Module, loss: float) -> dict[str, float]:
        """Bits per character: a measure that vocabularies share, while a loss per token depends on its tokens."""
        bits = loss * self.prepared.valid.predicted_tokens / math.log(2)
        return {"valid_bits_per_character": bits / self.prepared.report["valid"]["characters"]}

    def sample(self, model: nn.Module) -> str:
        """A sample of `validation.sample_tokens` tokens, always of the same seed; of documents, how the first ones of
        the validation text go on from what is given of them."""
        if not self.config.validation.sample_tokens:
            return ""
        assert isinstance(model, GPT)
        settings = SampleConfig(max_tokens=self.config.validation.sample_tokens, seed=self.config.train.seed)
        prompts = [self.tokenizer.decode_text(ids) if ids else None for ids in self.prepared.valid.prompts(SHOWN)]
        generator = Generator(model, self.tokenizer, starts_documents=self.config.data.layout == "documents")
        samples = generator.generate(prompts, settings, note=lambda _: None)
        texts = [(prompt or "") + sample for prompt, (sample,) in zip(prompts, samples, strict=True)]
        if self.config.data.layout == "documents" and self.tokenizer.end_id is None:
            texts = [text.split("\n")[0] for text in texts]  # where a document ends
        return "\n".join(texts)


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
