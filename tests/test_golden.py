"""Updates, losses and built-in examples equal recorded values.

If the batch plan changes on purpose, raise PLAN_VERSION or BLOCKS_VERSION and record the new values.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from common.settings import load_settings
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.block_plan import BlockPlan
from data_pipeline.builtin.arithmetic import ARITHMETIC_VERSION, addition, calculator
from data_pipeline.builtin.grammar import GRAMMAR_VERSION, generate
from data_pipeline.examples import Documents, TokenStream
from data_pipeline.token_store import TokenStoreWriter
from train.config import RunConfig
from train.loop import train

SEED = 1
UPDATES = {
    "pairs": "c9e44ff2d24b621718167589c31989c6b8b187d2d57ec4b725b39e8ceb16e98e",
    "stream": "57e4828e7a4b09981f8a005919e068211627de959f7727f8529e0015ea490edc",
    "documents": "c9fa17adbc3af5eb05f3ec39f1d3e75064a2e5d9f728f32993db6d3c65d4fec2",
}
"""SHA-256 over updates 0 to 49, split into 1 and 4, on 1, 2 and 4 ranks."""
LOSSES = [
    6.149947186273745, 6.04724415822594, 5.7777551796329, 5.562715559027619, 5.331483656928435,
    5.07456963888361, 4.935389016113104, 4.715243858035643, 4.584189975615749, 4.364454892245587,
    4.248877676000132, 4.09467423127059, 3.986749387652206, 3.9207543395987914, 3.8100655174529985,
    3.7119799569905423, 3.6906348748641413, 3.5270250967194223, 3.4241573721284038, 3.273043173605707,
    3.3121191514127877, 3.1549601904635822, 3.131389840641851, 2.9906100113751855, 2.9598430338514063,
    2.8405586017339877, 2.812574356354859, 2.6202354729760513, 2.568751185605972, 2.7123338113507334,
]  # fmt: skip
"""Losses of 30 updates in float64, with dropout."""


def make_lengths(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    src = np.clip(rng.gamma(9, 1.7, n).astype(int), 2, 60)
    return src, np.clip((src * rng.normal(1.05, 0.15, n)).astype(int), 2, 60)


def write_text(folder: Path) -> None:
    rng = np.random.default_rng(8)
    lengths = rng.integers(2, 60, 700)
    with TokenStoreWriter(folder / "text", 500) as ids, TokenStoreWriter(folder / "text.predicted", 2) as predicted:
        ids.append([rng.integers(0, 500, n).tolist() for n in lengths])
        predicted.append([(rng.random(n) < 0.7).astype(int).tolist() for n in lengths])


def make_plan(kind: str, folder: Path) -> BatchPlan | BlockPlan:
    settings = {"tokens_per_update": 2048, "per_update": 4, "seed": SEED}
    if kind == "pairs":
        return BatchPlan(*make_lengths(), **settings, max_buckets=24)
    write_text(folder)
    if kind == "stream":
        stream = TokenStream.open(folder, "text")
        return BlockPlan(int(stream.tgt_lengths.sum()), 32, **settings, predicted=stream.predicted)
    documents = Documents.open(folder, "text", start_id=3)
    lengths = (documents.src_lengths, documents.tgt_lengths)
    return BatchPlan(*lengths, **settings, max_buckets=8, predicted=documents.predicted)


def hash_updates(plan: BatchPlan | BlockPlan) -> str:
    """Return a hash of everything that decides what a rank computes in the first 50 updates."""
    total = hashlib.sha256()
    for step in range(50):
        update = plan.update(step)
        total.update(repr((update.step, update.src_tokens, update.predicted_tokens)).encode())
        for split in (1, 4):
            for world_size in (1, 2, 4):
                for rank in range(world_size):
                    for batch in update.micro_batches(split, world_size)[rank::world_size]:
                        shape = (batch.src_len, batch.tgt_len)
                        number = (batch.bucket_batch, batch.number, batch.dropout_seed)
                        total.update(repr((split, world_size, rank, *number, shape)).encode())
                        total.update(batch.indices.astype("<i8").tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("kind", UPDATES)
def test_updates_equal_recorded_updates(kind: str, tmp_path: Path) -> None:
    assert hash_updates(make_plan(kind, tmp_path)) == UPDATES[kind]


def test_losses_equal_recorded_losses(corpus: dict[str, list[str]], tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    settings = [
        "model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "data.vocab_size=340",
        "data.max_length=64", "batches.tokens_per_update=2048", "batches.per_update=2", "schedule.warmup_steps=30",
        "train.max_steps=30", "train.log_every=1", "train.precision=float64", "batches.micro_tokens=512",
        "validation.bleu_sentences=0", "checkpoints.average_last=1", "train.log_with=none", "train.threads=1",
    ]  # fmt: skip
    config = load_settings(RunConfig, None, [*data, f"data.cache_dir={tmp_path / 'cache'}", *settings])
    train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [values["loss"] for values in map(json.loads, lines) if "loss" in values]
    assert losses == pytest.approx(LOSSES, rel=1e-10)


BUILT_IN = {
    ("grammar", "train"): "a6502f78cb56c3c7",
    ("grammar", "valid"): "dc85dddf24b5f1a4",
    ("grammar", "test"): "c295123430e33129",
    ("grammar", "unseen"): "9e0ea5a3b42b02fe",
    ("addition", "train"): "650e3b8db4a07ed1",
    ("addition", "valid"): "a75a707fb24a5f09",
    ("addition", "test"): "0c46013b90dd11e9",
    ("calculator", "train"): "d4b69fe3168b32e9",
    ("calculator", "valid"): "ec6d1de10d32ad29",
    ("calculator", "test"): "0fd0b0257861ca61",
}
"""Start of the SHA-256 of the first 1,000 examples with seed 1. If one changes, raise GRAMMAR_VERSION or
ARITHMETIC_VERSION: old runs then fail to resume with an error, instead of training on different data."""


@pytest.mark.parametrize(("corpus_name", "split"), BUILT_IN)
def test_built_in_corpus_equals_recorded_examples(corpus_name: str, split: str) -> None:
    make = {"grammar": generate, "addition": addition, "calculator": calculator}[corpus_name]
    examples = list(make(split, 1000, 1))
    assert hashlib.sha256(repr(examples).encode()).hexdigest()[:16] == BUILT_IN[corpus_name, split]
    assert (GRAMMAR_VERSION, ARITHMETIC_VERSION) == (1, 1), "record new values for the new version"
