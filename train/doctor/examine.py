"""All checks of the doctor, one after the other."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.command import describe_error
from common.errors import InputError
from common.files import expand
from common.processes import set_threads
from data_pipeline.sources.corpus import load_corpora
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from train.config import RunConfig
from train.distributed import make_accelerator
from train.doctor import model as model_checks
from train.doctor import pairs as pair_checks
from train.doctor import samples
from train.doctor import text as text_checks
from train.doctor.findings import LEVELS, Finding
from train.doctor.forecast import check_weights_fit, estimate_memory, forecast_findings, split_on_one_device
from train.doctor.learning import learning_findings
from train.doctor.pairs import Texts
from train.doctor.text import Codec, Hashes
from train.loop import prepare_once
from train.setup import Setup, make_setup
from transformer.model import build


def examine(config: RunConfig) -> Iterator[Finding]:
    """Yield all findings. Raises InputError and OSError if the data cannot be read."""
    set_threads(config.train.threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("the doctor runs in one process: start it with python -m train.doctor, not accelerate launch")
    if config.data.task == "translation":
        yield from pair_findings(config)
    try:
        setup = make_setup(config, prepare_once(config))
        split_on_one_device(setup)
    except InputError as error:  # training would end with the same message
        yield Finding("settings", "error", describe_error(error), "training cannot start; change these settings")
        return
    if config.data.task == "language_modelling":
        yield from text_findings(setup)
    yield from vocabulary_findings(setup)
    accelerator = make_accelerator(config.train, expand(config.data.cache_dir))
    need = estimate_memory(setup, accelerator.device)
    if too_large := check_weights_fit(need, accelerator.device):
        yield too_large
        return
    yield from model_findings(setup, accelerator.device)
    yield from forecast_findings(setup, accelerator, need)


def pair_findings(config: RunConfig) -> Iterator[Finding]:
    """Check the sentence pairs of the corpora before filtering, direction by direction."""
    for own in config.data.by_direction():
        for finding in _direction_findings(replace(config, data=own)):
            named = config.data.has_directions
            yield replace(finding, message=f"{own.direction}: {finding.message}") if named else finding


def _direction_findings(config: RunConfig) -> Iterator[Finding]:
    data = config.data
    Path(data.cache_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.cache_dir) as work:
        train = load_corpora(data.train, data, "train", Path(work), torch.get_num_threads())
        valid, test = (samples.held_out(config, role, Path(work)) for role in ("valid", "test"))
        blocks = list(samples.line_blocks(train, samples.MOST_LINES, data.seed))
        sample = samples.join(blocks)
        yield Finding("corpus", "ok", _describe_sample(len(train), len(sample[0])))
        yield pair_checks.check_ratios(sample)
        yield pair_checks.check_alignment(blocks)
        yield pair_checks.check_columns(sample, valid, data.languages)
        yield text_checks.check_copies(sample, data.drop_copies)
        hashes = [
            (text_checks.hash_pairs(block), text_checks.hash_texts(block[0]))
            for _, block in samples.line_blocks(train, samples.MOST_HASHES, data.seed)
        ]
        pairs, sources = (np.concatenate(column) for column in zip(*hashes, strict=True))
        yield text_checks.check_duplicates(pairs, data.drop_duplicates)
        for role, held in (("valid", valid), ("test", test)):
            if held is not None:  # None: validation is held out of training, which removes every copy of its pairs
                yield check_pair_leak(role, held, pairs, sources)


def check_pair_leak(role: str, held: Texts, pairs: Hashes, sources: Hashes) -> Finding:
    """Count the held-out pairs that are in training, and the held-out sources that are there with any target."""
    of_pairs = text_checks.check_leak("pairs", role, text_checks.hash_pairs(held), pairs)
    hashes = text_checks.hash_texts(held[0])
    of_sources = text_checks.check_leak("sources", role, hashes, sources, warning=0.1, error=0.5)
    worse = max(of_pairs, of_sources, key=lambda finding: LEVELS.index(finding.level))
    return replace(worse, message=f"{of_pairs.message}; {of_sources.message}")


def text_findings(setup: Setup) -> Iterator[Finding]:
    """Check the text of a language model for repetitions: documents, or the long lines of a stream."""
    data = setup.config.data
    what = "documents" if data.layout == "documents" else f"lines of {samples.LONG_LINE} characters or more"
    train, valid = (
        text_checks.hash_texts(
            samples.comparable_texts(samples.decoded_documents(setup.tokenizer, ids, data.seed), data.layout)
        )
        for ids in (*setup.prepared.train.stores, *setup.prepared.valid.stores)
    )
    raw = samples.raw_documents(data, "test", samples.MOST_HASHES)
    test = text_checks.hash_texts(samples.comparable_texts(raw, data.layout))
    if len(train):
        finding = text_checks.check_duplicates(train, dropped=False, what=what)
        # Repetitions alone are no error: songs have refrains, and there are few sums of two digits.
        if finding.level == "error":
            advice = "check whether a file is named twice, or clean the text: the model would memorise repetitions"
            yield replace(finding, level="warning", advice=advice)
        else:
            yield replace(finding, level="ok", advice="")
    for role, held in (("valid", valid), ("test", test)):
        if len(held):
            yield text_checks.check_leak(what, role, held, train, warning=0.05, error=0.2)


def vocabulary_findings(setup: Setup) -> Iterator[Finding]:
    """Check how the vocabulary fits the text."""
    data, tokenizer = setup.config.data, setup.tokenizer
    codec, texts = codec_and_texts(setup)
    yield text_checks.check_round_trip(codec, texts)
    if data.vocab_type == "characters":
        return  # each character is a token
    yield text_checks.check_token_size(codec, texts, tokenizer.vocab_size)
    stores, most = setup.prepared.train.stores, samples.MOST_TOKENS
    counts = sum(np.bincount(ids.flat[: most // len(stores)], minlength=tokenizer.vocab_size) for ids in stores)
    yield text_checks.check_rare_subwords(np.asarray(counts)[tokenizer.first_subword :])


def codec_and_texts(setup: Setup) -> tuple[Codec, list[str]]:
    """Return how the task encodes text, and some of its text."""
    match setup.config.data.task:
        case "translation":
            tokenizer = Tokenizer(setup.prepared.tokenizer_file, setup.config.data.normalize_unicode)
            return text_checks.sentence_codec(tokenizer), samples.sample_sentences(setup)
        case "language_modelling":
            return text_checks.text_codec(setup.tokenizer), samples.sample_lines(setup)


def model_findings(setup: Setup, device: torch.device) -> Iterator[Finding]:
    """Probe the configured model with its initial weights, and overfit it on a small batch."""
    torch.manual_seed(setup.config.train.seed)
    where = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    batch = samples.small_batch(setup).to(where)
    yield model_checks.check_labels(batch)
    model = build(setup.config.model).to(where, torch.float64).eval()
    yield from model_checks.probe(model)
    del model
    yield from learning_findings(setup.config, batch)


def _describe_sample(n: int, sampled: int) -> str:
    if sampled == n:
        return f"{n:,} training pairs, all of them checked closely"
    return f"{n:,} training pairs; {sampled:,} are checked closely: a random sample of blocks of {samples.BLOCK} lines"
