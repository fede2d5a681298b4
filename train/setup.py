"""From settings and prepared data to what a run trains on: settings that fit the data, tokenizer and batch plan."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from common.errors import InputError
from data_pipeline.batch_plan import PLAN_VERSION, BatchPlan
from data_pipeline.block_plan import BLOCKS_VERSION, BlockPlan
from data_pipeline.examples import Examples
from data_pipeline.prepared_data import PreparedData
from data_pipeline.resampled_plan import Repeats, ResampledPlan
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from train.config import RunConfig
from train.run.identity import Identity, describe_identity
from train.schedule import settle_schedule
from transformer.config import ModelConfig

Plan = BatchPlan | ResampledPlan | BlockPlan


@dataclass(frozen=True)
class Setup:
    """What a run trains on. `make_setup` creates it and checks that model and data fit."""

    config: RunConfig
    """Settings, with the vocabulary size of the data and the end of the schedule."""
    prepared: PreparedData
    tokenizer: TextTokenizer

    @cached_property
    def plan(self) -> Plan:
        """Batch plan of the training examples."""
        return make_plan(self.config, self.prepared.train)

    @property
    def plan_version(self) -> int | list[int]:
        """Version of the code that forms the updates."""
        if self.config.data.task == "translation":
            return PLAN_VERSION
        return [PLAN_VERSION, BLOCKS_VERSION] if self.config.data.layout == "documents" else BLOCKS_VERSION

    @property
    def identity(self) -> Identity:
        """What the updates depend on besides the settings."""
        return describe_identity(self.prepared, self.plan_version)


def make_setup(config: RunConfig, prepared: PreparedData) -> Setup:
    """Return the setup of a run.

    Raises:
        InputError: examples are too long for the model, the validation text predicts nothing, the settings ask for
            another vocabulary size than the data have, or the schedule does not fit the number of updates.
    """
    tokenizer = open_tokenizer(prepared.tokenizer_file)
    config = fit_settings(config, tokenizer.vocab_size)
    longest = config.model.max_len
    if config.data.task == "language_modelling" and (longest := block_length(config)) > config.model.max_len:
        raise InputError(f"batches.block is {longest}; it must be at most model.max_len, {config.model.max_len}")
    prepared.train.check_lengths("training", longest)
    prepared.valid.check_lengths("validation", longest)
    if not prepared.valid.predicted_tokens:
        raise InputError(
            "the validation text has no token to predict. Name a longer data.valid, or raise data.valid_part"
        )
    return Setup(config, prepared, tokenizer)


def fit_settings(config: RunConfig, vocab_size: int) -> RunConfig:
    """Return the settings with the vocabulary size of the data, and with the end of the schedule.

    A resumed run with more updates must keep the end of its schedule, so the saved settings contain it. Raises
    InputError if the settings ask for another vocabulary size.
    """
    if config.model.vocab_size not in (ModelConfig().vocab_size, vocab_size):
        raise InputError(
            f"model.vocab_size is {config.model.vocab_size}, but the vocabulary of the data has {vocab_size} subwords. "
            "Leave out model.vocab_size; training reads it from the vocabulary"
        )
    schedule = settle_schedule(config.schedule, config.train.max_steps)
    return replace(config, model=replace(config.model, vocab_size=vocab_size), schedule=schedule)


def block_length(config: RunConfig) -> int:
    """Return the number of tokens in a block of text."""
    return config.batches.block or config.model.max_len


def make_plan(config: RunConfig, train: Examples) -> Plan:
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
    of_lengths = partial(
        BatchPlan,
        tokens_per_update=batches.tokens_per_update,
        per_update=batches.per_update,
        max_buckets=batches.buckets,
        seed=seed,
        predicted=train.predicted,
        shard=batches.shard,
    )
    temperature, repeats = config.data.sampling_temperature, None
    if temperature > 1:
        repeats = Repeats(list(config.data.train), train.sizes, temperature)
    if train.sampler is None and repeats is None:
        return of_lengths(train.src_lengths, train.tgt_lengths)
    if batches.shard is not None and batches.shard < len(train):
        raise InputError(
            "data.bpe_dropout, data.augment_* and data.sampling_temperature are for a corpus of one shard. Leave out "
            "batches.shard"
        )
    sample = None if train.sampler is None else train.sampler.lengths
    return ResampledPlan(of_lengths, (train.src_lengths, train.tgt_lengths), sample, seed, repeats)
