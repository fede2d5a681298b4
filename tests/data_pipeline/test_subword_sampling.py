"""Sampled subwords depend only on seed, epoch and pair, spell the same text, and never enlarge the largest shape."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.settings import load_settings
from data_pipeline.config import DataConfig
from data_pipeline.examples import SentencePairs
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.tokenizers.bpe_dropout import BpeDropout, random_numbers
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer, train_tokenizer
from tests.conftest import make_pairs, write_parallel
from train.config import RunConfig
from train.setup import make_plan

DRAWS = [(1, 0), (1, 1), (1, 2), (2, 0)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("sampled")
    pairs = [*make_pairs(1500), ("a \u2581 mark and 5 x", "ein \u2581 Zeichen und 5 y"), *(("ab " * 20, "cd " * 20),)]
    config = DataConfig(
        train=write_parallel(folder, "train", pairs),
        valid=write_parallel(folder, "valid", make_pairs(20, start=9000)),
        vocab_size=340,
        bpe_dropout=0.2,
    )
    return prepare(config, folder / "cache", quiet=True)


def sample(prepared: PreparedData, draw: tuple[int, int]) -> list[list[list[int]]]:
    """Ids of sources and targets, from a sampler of its own."""
    pairs = PreparedData.open(prepared.folder, prepared.config).train
    assert pairs.sampler is not None
    return [[store[i].tolist() for i in range(len(store))] for store in pairs.sampler.stores(draw)]


def test_sampled_subwords_spell_texts_of_prepared_data(prepared: PreparedData) -> None:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    for sampled, store in zip(sample(prepared, (1, 0)), prepared.train.stores, strict=True):
        plain = [store[i].tolist() for i in range(len(store))]
        assert tokenizer.decode(sampled) == tokenizer.decode(plain)
        assert sum(a != b for a, b in zip(sampled, plain, strict=True)) > len(plain) / 2
        assert max(map(len, sampled)) <= max(map(len, plain))


def test_sampled_subwords_depend_only_on_seed_and_epoch(prepared: PreparedData) -> None:
    found = [sample(prepared, draw) for draw in DRAWS]
    assert [sample(prepared, draw) for draw in reversed(DRAWS)] == found[::-1]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


def test_sampler_returns_same_epoch_after_newer_ones(prepared: PreparedData) -> None:
    sampler = PreparedData.open(prepared.folder, prepared.config).train.sampler
    assert sampler is not None
    first = [store.flat.tolist() for store in sampler.stores((1, 0))]
    for epoch in (1, 2, 3, 7):
        sampler.stores((1, epoch))
    assert [store.flat.tolist() for store in sampler.stores((1, 0))] == first


def test_processes_sample_same_subwords_as_one_thread(prepared: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sample(prepared, (1, 5))
    monkeypatch.setattr("data_pipeline.subword_sampling.PROCESSES_FROM", 100)
    monkeypatch.setattr("data_pipeline.subword_sampling.cores_per_rank", lambda: 8)
    assert sample(prepared, (1, 5)) == expected


def test_process_ends_without_waiting_for_next_epoch(prepared: PreparedData, tmp_path: Path) -> None:
    """The thread that draws it deletes its files, too."""
    code = (
        "import sys, time; from pathlib import Path; from data_pipeline import subword_sampling as sampling\n"
        "from data_pipeline.config import DataConfig; from data_pipeline.token_store import TokenStore\n"
        "from data_pipeline.tokenizers.sentence_piece import Tokenizer\n"
        "slow = sampling.ChunkSampler.sample\n"
        "sampling.ChunkSampler.sample = lambda self, task: (time.sleep(task[0][1]), slow(self, task))[1]\n"
        "sampling.CHUNK = 20\n"
        "folder = Path(sys.argv[1]); stores = [TokenStore(folder / f'train.{side}') for side in ('src', 'tgt')]\n"
        "config = DataConfig(bpe_dropout=0.2)\n"
        "sampling.SubwordSampler(stores, Tokenizer(folder / 'tokenizer.model'), config).stores((1, 0))\n"
        "time.sleep(0.5); print(len(list(Path(sys.argv[2]).iterdir())))\n"
    )
    command = [sys.executable, "-c", code, str(prepared.folder), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=40, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not list(tmp_path.iterdir())


def test_validation_pairs_and_fingerprint_do_not_depend_on_bpe_dropout(prepared: PreparedData, tmp_path: Path) -> None:
    assert isinstance(prepared.valid, SentencePairs)
    assert prepared.valid.sampler is None
    values = {**vars(prepared.config), "bpe_dropout": 0.0}
    assert prepare(DataConfig(**values), prepared.folder.parent, quiet=True).fingerprint == prepared.fingerprint


@pytest.mark.parametrize("per_update", [1, 4])
def test_resampled_plan_contains_each_pair_once_in_shapes_of_first_epoch(
    prepared: PreparedData, per_update: int
) -> None:
    settings = [f"batches.per_update={per_update}", "batches.tokens_per_update=2400"]
    config = load_settings(RunConfig, None, settings)
    pairs = prepared.train
    plan, again = make_plan(config, pairs), make_plan(config, PreparedData.open(prepared.folder, prepared.config).train)
    shapes = {(shape.src_len, shape.tgt_len, len(shape.indices)) for shape in plan.shapes}
    n = plan.updates_per_epoch
    for epoch in (3, 0):
        updates = [plan.update(step) for step in range(epoch * n, (epoch + 1) * n)]
        batches = [batch for update in updates for batch in update.bucket_batches]
        indices = np.concatenate([batch.indices for batch in batches])
        assert sorted(indices[indices >= 0].tolist()) == list(range(len(pairs)))
        assert {(batch.src_len, batch.tgt_len, len(batch.indices)) for batch in batches} <= shapes
        middle = again.update(epoch * n + n // 2)  # as a resumed run makes it, without the updates before
        assert [b.indices.tolist() for b in middle.bucket_batches] == [
            b.indices.tolist() for b in updates[n // 2].bucket_batches
        ]
        for batch in batches:  # no sentence is longer than its bucket
            labels = pairs.batch(batch).labels_BL
            assert batch.draw == (config.train.seed, epoch)
            assert labels.shape == (len(batch.indices), batch.tgt_len)
        assert sum(int((pairs.batch(b).labels_BL >= 0).sum()) for b in batches) == sum(
            update.predicted_tokens for update in updates
        )


def test_make_plan_rejects_shards_with_bpe_dropout(prepared: PreparedData) -> None:
    with pytest.raises(InputError, match="for a corpus of one shard"):
        make_plan(load_settings(RunConfig, None, ["batches.shard=100"]), prepared.train)


@pytest.mark.parametrize("settings", [{"bpe_dropout": 1.0}, {"bpe_dropout": -0.1}])
def test_data_config_rejects_invalid_bpe_dropout(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"data\.bpe_dropout is .*; it must be at least 0 and below 1"):
        DataConfig(**settings)  # type: ignore[arg-type]


def test_sampled_subwords_equal_tokenizer_without_dropout(prepared: PreparedData) -> None:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    encoder = tokenizer.bpe_dropout(0.0)
    for text in ["the  old house, 3 (x)", "Fluß \u4e00\u4e01 naïve", "", "aaaaaaaa"]:
        ids = encoder.encode(("\u2581" + text).replace(" ", "\u2581"), random_numbers(1))
        assert [*ids, EOS_ID] == tokenizer.encode([text])[0] or not text


def test_bpe_dropout_equals_enumeration_of_its_paths() -> None:
    """Of the word abc, ab is merged first; without it bc. Each step leaves out each merge with probability 0.3."""
    pieces = {"ab": 0.0, "bc": -1.0, "\u2581": -2.0, "abc": -3.0}
    encoder = BpeDropout(pieces, lambda symbol: [len(symbol)], 0.3)
    random, n = random_numbers("test"), 20_000
    found = Counter(tuple(encoder.encode("\u2581abc", random)) for _ in range(n))
    expected = {
        (1, 3): 0.7 * 0.7 + 0.3 * 0.7 * 0.7,
        (1, 2, 1): 0.7 * 0.3,
        (1, 1, 2): 0.3 * 0.7 * 0.3,
        (1, 1, 1, 1): 0.3**2,
    }
    assert sum(expected.values()) == pytest.approx(1)
    assert {ids: count / n for ids, count in found.items()} == pytest.approx(expected, abs=0.02)


def test_sampled_subwords_are_equal_in_every_process(prepared: PreparedData) -> None:
    """SentencePiece's own sampling is not."""
    code = (
        "import sys; from data_pipeline.tokenizers.sentence_piece import Tokenizer;"
        "from data_pipeline.tokenizers.bpe_dropout import random_numbers;"
        "print(Tokenizer(sys.argv[1]).bpe_dropout(0.3).encode('\u2581the\u2581house' * 20, random_numbers(1, 'x')))"
    )
    command = [sys.executable, "-X", "utf8", "-c", code, str(prepared.tokenizer_file)]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second != b""


def test_bpe_dropout_rejects_unigram_vocabulary(prepared: PreparedData, tmp_path: Path) -> None:
    texts = (f"{source} {target}" for source, target in make_pairs(400))
    unigram = train_tokenizer(texts, tmp_path / "unigram.model", 320, "unigram")
    with pytest.raises(InputError, match=r"data\.bpe_dropout needs a vocabulary of byte-pair encoding"):
        unigram.bpe_dropout(0.1)


def test_data_config_rejects_bpe_dropout_for_language_models() -> None:
    with pytest.raises(InputError, match=r"data\.bpe_dropout is for data\.task=translation"):
        DataConfig(task="language_modelling", vocab_type="characters", bpe_dropout=0.1)
