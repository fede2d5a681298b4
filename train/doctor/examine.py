"""All that the doctor looks at before a long run, as findings one after the other."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.command import describe_error
from common.errors import InputError
from common.processes import set_threads
from data_pipeline.micro_batches import choose_split
from data_pipeline.sources.corpus import load_many
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from train.config import RunConfig
from train.distributed import make_accelerator
from train.doctor import model as model_checks
from train.doctor import pairs as pair_checks
from train.doctor import samples
from train.doctor import text as text_checks
from train.doctor.findings import VERDICTS, Finding
from train.doctor.forecast import check_weights_fit, forecast_findings, needed
from train.doctor.learning import learning_findings
from train.doctor.pairs import Texts
from train.doctor.text import Hashes
from train.loop import prepare_once
from train.tasks import Task, make_task
from transformer.model import build


def examine(config: RunConfig) -> Iterator[Finding]:
    """All findings, one after the other. Raises ValueError and OSError where there is nothing to look at."""
    set_threads(config.train.threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("the doctor works alone: start it with python -m train.doctor, without accelerate launch")
    if config.data.task == "translation":
        yield from pair_findings(config)
    try:
        task = make_task(config, prepare_once(config))
        plan = task.plan
        choose_split(plan.shapes, plan.per_update, 1, config.batches.micro_tokens)
    except ValueError as error:  # the sentence that training would end with
        yield Finding("settings", "fault", describe_error(error), "change what the sentence names, and call again")
        return
    if config.data.task == "language_modelling":
        yield from text_findings(task)
    yield from vocabulary_findings(task)
    accelerator = make_accelerator(config.train, Path(config.data.cache_dir))
    need = needed(task)
    if too_large := check_weights_fit(need, accelerator.device):
        yield too_large
        return
    yield from model_findings(task, accelerator.device)
    yield from forecast_findings(task, accelerator, need)


def pair_findings(config: RunConfig) -> Iterator[Finding]:
    """The two sides of a corpus as it was written, before any filter."""
    data = config.data
    Path(data.cache_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.cache_dir) as work:
        train = load_many(data.train, data, "train", Path(work), torch.get_num_threads())
        valid, test = (samples.held_out(config, role, Path(work)) for role in ("valid", "test"))
        blocks = list(samples.stretches(train, samples.MOST_LINES, data.seed))
        sample = samples.join(blocks)
        yield Finding("corpus", "ok", _sampled(len(train), len(sample[0])))
        yield pair_checks.check_ratios(sample)
        yield pair_checks.check_alignment(blocks)
        yield pair_checks.check_columns(sample, valid, (data.source_lang, data.target_lang))
        yield text_checks.check_copies(sample, data.drop_copies)
        every = [
            (text_checks.hash_pairs(block), text_checks.hash_texts(block[0]))
            for _, block in samples.stretches(train, samples.MOST_HASHES, data.seed)
        ]
        pairs, sources = (np.concatenate(column) for column in zip(*every, strict=True))
        yield text_checks.check_duplicates(pairs, data.drop_duplicates)
        for role, held in (("valid", valid), ("test", test)):
            if held is not None:  # validation pairs that training holds out are taken out of it wherever they occur
                yield pair_leak(role, held, pairs, sources)


def pair_leak(role: str, held: Texts, pairs: Hashes, sources: Hashes) -> Finding:
    """Held-out pairs that training knows: both sides alike, or the source with another target."""
    whole = text_checks.check_leak("pairs", role, text_checks.hash_pairs(held), pairs)
    half = text_checks.check_leak("sources", role, text_checks.hash_texts(held[0]), sources, note=0.1, fault=0.5)
    worse = max(whole, half, key=lambda finding: VERDICTS.index(finding.verdict))
    return replace(worse, message=f"{whole.message}; {half.message}")


def text_findings(task: Task) -> Iterator[Finding]:
    """Running text as training sees it: documents, or where these are long, their long lines."""
    data = task.config.data
    what = "documents" if data.layout == "documents" else f"lines of {samples.LONG_LINE} characters or more"
    train, valid = (
        text_checks.hash_texts(samples.units(samples.decoded(task.tokenizer, ids, data.seed), data.layout))
        for ids in (*task.prepared.train.stores, *task.prepared.valid.stores)
    )
    test = text_checks.hash_texts(samples.units(samples.raw_documents(data, "test", samples.MOST_HASHES), data.layout))
    if len(train):
        finding = text_checks.check_duplicates(train, dropped=False, what=what)
        # Of text repeats alone are no fault: songs have refrains, and few sums have two digits.
        if finding.verdict == "fault":
            cure = "see whether a file is named twice, or clean the text: what is repeated is learned by heart"
            yield replace(finding, verdict="note", cure=cure)
        else:
            yield replace(finding, verdict="ok", cure="")
    for role, held in (("valid", valid), ("test", test)):
        if len(held):
            yield text_checks.check_leak(what, role, held, train, note=0.05, fault=0.2)


def vocabulary_findings(task: Task) -> Iterator[Finding]:
    """What the vocabulary makes of the text."""
    data, size = task.config.data, task.tokenizer.vocab_size
    texts = samples.sample_texts(task)
    yield text_checks.check_round_trip(task.tokenizer, texts)
    if data.vocab_type == "characters" and data.task == "language_modelling":
        return  # as many characters as there are, one a token
    yield text_checks.check_token_size(task.tokenizer, texts)
    stores = task.prepared.train.stores
    counts = sum(np.bincount(ids.flat[: samples.MOST_TOKENS // len(stores)], minlength=size) for ids in stores)
    others = 4 + 256 if isinstance(task.tokenizer, Tokenizer) else 0  # special pieces and bytes come first
    yield text_checks.check_seldom_pieces(np.asarray(counts)[others:])


def model_findings(task: Task, device: torch.device) -> Iterator[Finding]:
    """Probes of the model that the config names, freshly initialised, and a small batch learned by heart."""
    torch.manual_seed(task.config.train.seed)
    where = torch.device("cpu") if device.type == "mps" else device  # it lacks float64
    batch = samples.small_batch(task).to(where)
    yield model_checks.check_labels(batch)
    model = build(task.config.model).to(where, torch.float64).eval()
    yield from model_checks.probe(model)
    del model
    yield from learning_findings(task.config, batch)


def _sampled(n: int, looked_at: int) -> str:
    if looked_at == n:
        return f"{n:,} training pairs, all of them looked at"
    return (
        f"{n:,} training pairs, of which {looked_at:,} are read closely, in stretches of {samples.BLOCK} lines (seeded)"
    )
