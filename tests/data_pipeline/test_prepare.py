"""Prepared data are the same every time, complete or absent, and training contains no held-out pair."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from data_pipeline import prepare_pairs, prepared_data
from data_pipeline.config import DataConfig
from data_pipeline.fingerprint import fingerprint
from data_pipeline.prepare_pairs import OLD_LABELS
from data_pipeline.prepared_data import PreparedData, prepare, wait_until_prepared
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer, normalize
from evaluate.test_sets import from_config

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = ["the", "old", "man", "sees", "a", "small", "house", "near", "our", "river", "while", "two"]
GERMAN = ["der", "alte", "Mann", "sieht", "ein", "kleines", "Haus", "an", "unserem", "Fluß", "während", "zwei"]


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentence pairs that all differ."""
    rng = random.Random(seed)
    made: dict[tuple[str, str], None] = {}
    while len(made) < count:
        words = [rng.randrange(len(ENGLISH)) for _ in range(rng.randint(4, 9))]
        made[" ".join(ENGLISH[word] for word in words), " ".join(GERMAN[word] for word in words)] = None
    return list(made)


def corpus(folder: Path, name: str, rows: list[tuple[str, str]]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, language in enumerate(("en", "de")):
        file = folder / f"{name}.{language}"
        file.write_bytes("".join(row[i] + "\n" for row in rows).encode())
        files.append(str(file))
    return files


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(
        train=corpus(tmp_path / "text", "train", pairs(300)),
        valid=corpus(tmp_path / "text", "valid", pairs(20, seed=1)),
        vocab_size=310,
    )


def run(config: DataConfig, folder: Path) -> PreparedData:
    return prepare(config, folder / "cache", threads=1, quiet=True)


def results(cache: Path) -> list[str]:
    """Names of all that is in a cache, except lock files."""
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


def texts(prepared: PreparedData, split: str) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    examples = {"train": prepared.train, "valid": prepared.valid}[split]
    both = ([store[i].tolist() for i in range(len(store))] for store in examples.stores)
    return list(zip(*map(tokenizer.decode, both), strict=True))


# Content


def test_prepared_pairs_equal_corpus_in_order(config: DataConfig, tmp_path: Path) -> None:
    prepared = run(config, tmp_path)
    assert texts(prepared, "train") == pairs(300)
    assert texts(prepared, "valid") == pairs(20, seed=1)


def test_prepared_ids_equal_tokenizer_encode(config: DataConfig, tmp_path: Path) -> None:
    prepared = run(config, tmp_path)
    expected = Tokenizer(prepared.tokenizer_file).encode([pairs(300)[7][0]])[0]
    assert prepared.train.stores[0][7].tolist() == expected
    assert expected[-1] == EOS_ID


def test_valid_text_is_not_normalised_and_matches_validation_ids(config: DataConfig, tmp_path: Path) -> None:
    rows = [("  e\u0301 raw…  ", "u\u0308\u2028x"), ("w" * 50_000, "zu lang"), ("", "leer"), ("a", "a"), ("a", "a")]
    prepared = run(replace(config, valid=corpus(tmp_path, "v", rows)), tmp_path)
    raw = list(zip(*prepared.valid_text(), strict=True))
    assert raw == [row for row in rows if row[1] != "zu lang"], "only the length filter applies"
    assert texts(prepared, "valid") == [(normalize(en), normalize(de)) for en, de in raw]
    assert prepared.report["valid"]["too long"] == 1


def test_token_stores_have_small_types_and_are_memory_mapped(config: DataConfig, tmp_path: Path) -> None:
    prepared = run(config, tmp_path)
    store = prepared.train.stores[0]
    assert store.lengths.dtype == np.uint8
    assert store.lengths.tolist() == [len(store[i]) for i in range(len(store))]
    assert store[0].dtype == np.uint16
    assert isinstance(store[0].base, np.memmap) or isinstance(store[0], np.memmap)


def test_report_counts_every_filter_reason(config: DataConfig, tmp_path: Path) -> None:
    bad = [
        ("", "x"),
        ("Berlin", "Berlin"),
        pairs(300)[0],
        ("y" * 9000, "x"),
        ("der " * 100, "die"),
        ("der " * 300, "x"),
    ]
    prepared = run(replace(config, train=corpus(tmp_path, "t", pairs(300) + bad)), tmp_path)
    assert prepared.report["train"] == {
        "read": 306,
        "source or target is empty": 1,
        "target equals source": 1,
        "duplicate": 1,
        "held out": 0,
        "too long": 2,
        "length ratio": 1,
        "kept": 300,
    }
    dropped = prepared.report["dropped"]["train"]
    assert {label: len(found) for label, found in dropped.items()} == {
        "source or target is empty": 1, "target equals source": 1, "duplicate": 1, "too long": 2, "length ratio": 1
    }  # fmt: skip
    assert dropped["target equals source"] == [["Berlin", "Berlin"]]
    assert dropped["too long"][0] == ["y" * 300 + " […] (9,000 characters)", "x"]
    assert texts(prepared, "train") == pairs(300)


def test_prepare_keeps_every_pair_without_filters(config: DataConfig, tmp_path: Path) -> None:
    rows = [("", "x"), ("Berlin", "Berlin"), pairs(300)[0], ("x " * 50_000, "x")]
    off = replace(
        config,
        train=corpus(tmp_path, "t", pairs(300) + rows),
        max_length=None,
        max_ratio=None,
        drop_empty=False,
        drop_copies=False,
        drop_duplicates=False,
    )
    prepared = run(off, tmp_path)
    assert len(prepared.train) == 304
    assert prepared.train.src_lengths[-1] > 50_000


def test_prepare_twice_writes_identical_files(config: DataConfig, tmp_path: Path) -> None:
    folders = [prepare(config, tmp_path / name, threads, quiet=True).folder for name, threads in [("a", 1), ("b", 3)]]
    files = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]


def test_prepared_data_do_not_depend_on_number_of_processes(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*pairs(300), *pairs(20), ("a", ""), ("a " * 40, "b")]
    config = replace(config, train=corpus(tmp_path / "text", "many", rows))
    one = prepare(config, tmp_path / "one", quiet=True)
    monkeypatch.setattr("data_pipeline.worker_pool.POOL_FROM", 100)
    monkeypatch.setattr("data_pipeline.prepare_pairs.GROUP", 70)
    monkeypatch.setattr("data_pipeline.sources.filters.DUPLICATES_AT_ONCE", 50)
    monkeypatch.setattr("data_pipeline.sources.filters.ROWS_AT_ONCE", 30)
    two = prepare(config, tmp_path / "two", threads=2, quiet=True)
    assert one.report == two.report
    assert one.checksums == two.checksums


def test_prepare_prints_only_progress_and_only_if_not_quiet(
    config: DataConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.progress_bar.LINE_EVERY", 0)
    prepare(config, tmp_path / "a", 1, quiet=True)
    assert capfd.readouterr() == ("", "")
    prepare(replace(config, valid=None), tmp_path / "b", 1, quiet=False)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "tokenizing train: 300 of 300 pairs, 100%, " in printed.err


def test_summary_names_held_out_pairs_for_new_and_cached_data(config: DataConfig, tmp_path: Path) -> None:
    held = "15 training pairs are held out"
    for _ in ("made", "found"):
        assert held in run(replace(config, valid=None), tmp_path).summary().splitlines()[-1]
    named = run(config, tmp_path).summary()
    assert "length ratio" in named
    assert "are held out" not in named


def test_summary_reads_filter_reasons_of_older_versions(config: DataConfig, tmp_path: Path) -> None:
    bad = [("", "x"), ("Berlin", "Berlin"), pairs(300)[0]]
    prepared = run(replace(config, train=corpus(tmp_path, "t", pairs(300) + bad)), tmp_path)
    report = (prepared.folder / "report.json").read_text()
    for old, new in OLD_LABELS.items():
        assert f'"{new}": 1' in report
        report = report.replace(new, old)
    (prepared.folder / "report.json").write_text(report)
    assert PreparedData.open(prepared.folder, config).summary() == prepared.summary()


# Held-out pairs and leaks


def test_held_out_pairs_are_at_most_one_in_twenty_and_not_in_training(config: DataConfig, tmp_path: Path) -> None:
    doubled = replace(config, valid=None, train=corpus(tmp_path, "t", pairs(300) * 2))
    for number, drop_duplicates in enumerate((True, False)):
        prepared = run(replace(doubled, drop_duplicates=drop_duplicates), tmp_path / str(number))
        train, valid = set(texts(prepared, "train")), set(texts(prepared, "valid"))
        assert not train & valid
        assert train | valid == set(pairs(300))
        assert len(prepared.valid) == (15 if drop_duplicates else 30)
    assert len(run(replace(doubled, valid_pairs=4), tmp_path).valid) == 4


def folder_set(folder: Path, splits: dict[str, list[tuple[str, str]]]) -> str:
    """A dataset with these splits."""
    folder.mkdir()
    for split, rows in splits.items():
        lines = "".join(json.dumps({"en": en, "de": de}) + "\n" for en, de in rows)
        (folder / f"{split}.jsonl").write_text(lines)
    return str(folder)


def test_prepare_holds_out_pairs_of_dataset_without_validation_split(config: DataConfig, tmp_path: Path) -> None:
    without = folder_set(tmp_path / "without", {"train": pairs(300)})
    prepared = run(replace(config, train=without, valid=None), tmp_path)
    assert (len(prepared.train), len(prepared.valid)) == (285, 15)
    assert not set(texts(prepared, "train")) & set(texts(prepared, "valid"))
    assert "data.train has no validation split" in prepared.summary()
    with pytest.raises(ValueError, match="no split 'validation'; its splits are: 'train'"):
        run(replace(config, valid=without), tmp_path)


def test_prepare_uses_validation_split_of_dataset(config: DataConfig, tmp_path: Path) -> None:
    both = folder_set(tmp_path / "both", {"train": pairs(300), "validation": pairs(20, seed=1)})
    prepared = run(replace(config, train=both, valid=None), tmp_path)
    assert texts(prepared, "train") == pairs(300)
    assert texts(prepared, "valid") == pairs(20, seed=1)


def test_dataset_without_test_split_has_no_test_corpus(tmp_path: Path) -> None:
    without = folder_set(tmp_path / "without", {"train": pairs(20)})
    whole = folder_set(tmp_path / "whole", {"train": pairs(20), "test": pairs(7, seed=1)})
    assert from_config(DataConfig(train=without)) == []
    assert [len(corpus.sources) for corpus in from_config(DataConfig(train=[[without], [whole]]))] == [7]
    (named,) = from_config(DataConfig(test=f"{whole}::test"))
    assert (named.name, named.sources) == (f"{whole}::test", [en for en, _ in pairs(7, seed=1)])
    with pytest.raises(ValueError, match="no split 'test'; its splits are: 'train'"):
        from_config(DataConfig(test=without))


def test_seed_decides_held_out_pairs(config: DataConfig, tmp_path: Path) -> None:
    held = [
        run(replace(config, valid=None, seed=seed), tmp_path / str(number)).valid_text()
        for number, seed in enumerate((1, 1, 2))
    ]
    assert held[0] == held[1] != held[2]


def test_tokenizer_is_trained_only_on_training_pairs(config: DataConfig, tmp_path: Path) -> None:
    marked = [(f"{en} zqxzqx", f"{de} zqxzqx") for en, de in pairs(200, seed=5)]
    seen = run(replace(config, train=corpus(tmp_path, "t", marked)), tmp_path / "a")
    unseen = run(replace(config, valid=corpus(tmp_path, "v", marked)), tmp_path / "b")
    lengths = [len(Tokenizer(prepared.tokenizer_file).encode(["zqxzqx"])[0]) for prepared in (seen, unseen)]
    assert lengths[0] < 5
    assert lengths[1] > 6, "spelled in bytes"


def test_tokenizer_is_not_trained_on_held_out_pairs(config: DataConfig, tmp_path: Path) -> None:
    # Every pair has a different letter, so the vocabulary shows which pairs it was trained on.
    rows = [(f"{en} {chr(0x4E00 + row)}", de) for row, (en, de) in enumerate(pairs(60))]
    prepared = run(replace(config, train=corpus(tmp_path, "t", rows), valid=None, vocab_size=350), tmp_path)
    tokenizer = Tokenizer(prepared.tokenizer_file)
    letters = [source[-1] for source in prepared.valid_text()[0]]
    others = [source[-1] for source, _ in texts(prepared, "train")]
    assert (len(letters), len(others)) == (3, 57)
    assert sum(len(ids) < 5 for ids in tokenizer.encode(others)) > 50, (
        "nearly all training letters are in the vocabulary"
    )
    assert all(len(ids) == 5 for ids in tokenizer.encode(letters)), "a space, three bytes and EOS"


def test_tokenizer_is_trained_on_sample_of_large_corpus(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []
    train_tokenizer = prepare_pairs.train_tokenizer

    def spy(lines: Iterator[str], *rest: Any) -> Tokenizer:
        learned.extend(lines)
        return train_tokenizer(iter(learned), *rest)

    monkeypatch.setattr(prepare_pairs, "train_tokenizer", spy)
    run(replace(config, tokenizer_sentences=200, vocab_size=300), tmp_path)
    assert len(learned) == 200
    assert {en for en, _ in pairs(300)} > {text for text in learned if text.split()[0] in ENGLISH}


# Bad input


def test_prepare_rejects_corpus_emptied_by_filters_with_counts(config: DataConfig, tmp_path: Path) -> None:
    for number, rows in enumerate([[("", "x"), ("y", "")], [("same", "same")], [("x" * 9000, "y")], [(" ", "")]]):
        bad = replace(config, train=corpus(tmp_path, "t", rows))
        for valid in (bad.valid, None):
            with pytest.raises(ValueError, match=rf"no training pair is left .*read: {len(rows)}, .*: {len(rows)}\)"):
                run(replace(bad, valid=valid), tmp_path / str(number))
    with pytest.raises(ValueError, match=r"no validation pair is left .*too long: 1"):
        run(replace(config, valid=corpus(tmp_path, "v", [("x" * 9000, "y")])), tmp_path)


def test_prepare_rejects_corpus_too_small_to_hold_out_pairs(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"19 usable pairs.* Set data\.valid"):
        run(replace(config, train=corpus(tmp_path, "t", pairs(19)), valid=None), tmp_path)


def test_prepare_rejects_vocabulary_too_large_for_corpus(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 37000, .* at most"):
        run(replace(config, vocab_size=37000), tmp_path)


# The fingerprint


def test_fingerprint_changes_with_every_setting_that_changes_ids(config: DataConfig, tmp_path: Path) -> None:
    other = corpus(tmp_path, "other", pairs(300, seed=9))
    changes: list[dict[str, Any]] = [
        {"train": other},
        {"train": [config.train, other]},
        {"train": config.train[::-1]},
        {"train": "grammar"},
        {"train": "wmt/wmt14:de-en"},
        {"train": "wmt/wmt14:de-en", "valid": None},
        {"train": "wmt/wmt14:de-en", "valid": None, "valid_pairs": 7},  # the Hub might have no validation split
        {"valid": None},
        {"valid": other},
        {"vocab_size": 311},
        {"vocab_type": "unigram"},
        {"max_length": 255},
        {"max_length": None},
        {"max_ratio": None},
        {"drop_copies": False},
        {"drop_duplicates": False},
        {"drop_empty": False},
        {"seed": 2},
        {"tokenizer_sentences": 100},
        {"valid": None, "valid_pairs": 7},
        {"train": "grammar", "grammar_pairs": 7},
    ]
    prints = [fingerprint(replace(config, **change)) for change in [{}, *changes]]
    assert len(set(prints)) == len(prints)


def test_fingerprint_of_files_equals_recorded_fingerprint(tmp_path: Path) -> None:
    """The values were recorded with the old names `kind` and `given_column`. Old runs must find their data."""
    texts = {
        "a.en": "one\ntwo\n",
        "a.de": "eins\nzwei\n",
        "b.en": "three\n",
        "b.de": "drei\n",
        "a.txt": "one two three\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    train, valid = ([str(tmp_path / f"{name}.{lang}") for lang in ("en", "de")] for name in "ab")
    assert fingerprint(DataConfig(train=train, valid=valid)) == "2d4fa8d12008af93"
    text = DataConfig(task="language_modelling", train=str(tmp_path / "a.txt"), vocab_type="characters")
    assert fingerprint(text) == "2451ce35c5a8e7eb"
    assert fingerprint(replace(text, prompt_column="q", layout="documents")) == "5c8ad3d1d3e215ff"


def test_fingerprint_ignores_settings_that_do_not_change_ids(config: DataConfig, tmp_path: Path) -> None:
    moved = corpus(tmp_path / "elsewhere", "renamed", pairs(300))
    os.utime(moved[0], (1, 1))
    changes: list[dict[str, Any]] = [
        {"test": "no/matter:what"},
        {"cache_dir": "elsewhere"},
        {"train": moved},
        {"valid_pairs": 7},
        {"grammar_pairs": 7},
    ]
    assert {fingerprint(replace(config, **change)) for change in [{}, *changes]} == {fingerprint(config)}


def test_fingerprint_changes_with_content_of_files_and_folders(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "set" / "de-en").mkdir(parents=True)
    file = tmp_path / "set" / "de-en" / "train.parquet"
    file.write_bytes(b"one")
    stat = file.stat()
    in_folder = replace(config, train=f"{tmp_path / 'set'}:de-en")
    before = fingerprint(config), fingerprint(in_folder)
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    corpus(tmp_path / "text", "train", pairs(299))
    after = fingerprint(config), fingerprint(in_folder)
    assert before[0] != after[0]
    assert before[1] != after[1]


# The cache


def test_prepare_opens_cached_data_without_slow_imports(config: DataConfig, tmp_path: Path) -> None:
    first = run(config, tmp_path)
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from data_pipeline.config import DataConfig\nfrom data_pipeline.prepared_data import prepare\n"
        f"start = time.perf_counter()\nfound = prepare({config!r}, Path({str(tmp_path / 'cache')!r}), 1, False)\n"
        "print(found.fingerprint, found.sizes())\n"
        "assert time.perf_counter() - start < 1\n"
        "print([name for name in ('datasets', 'pyarrow', 'torch') if name in sys.modules])\n"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    sizes = f"{len(first.train)} training and {len(first.valid)} validation pairs"
    assert output.stdout.splitlines() == [f"{first.fingerprint} {sizes}", "[]"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("place", ["tokenizer", "ids", "rename"])
def test_prepare_leaves_no_files_if_interrupted(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, place: str
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    target: tuple[Any, str] = {
        "tokenizer": (prepare_pairs, "train_tokenizer"),
        "ids": (TokenStoreWriter, "append_flat"),
        "rename": (Path, "rename"),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(type(failure)) as error:
            run(config, tmp_path)
    if isinstance(error.value, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "cache"))
    assert results(tmp_path / "cache") == []
    assert len(run(config, tmp_path).train) == 300


def test_prepare_removes_folder_of_killed_process_after_a_day(config: DataConfig, tmp_path: Path) -> None:
    script = (
        "import time\nfrom pathlib import Path\n"
        "from data_pipeline import prepare_pairs, prepared_data\n"
        "from data_pipeline.config import DataConfig\n"
        "prepare_pairs.TokenStoreWriter.append_flat = lambda *_: (print('now', flush=True), time.sleep(60))\n"
        f"prepared_data.prepare({config!r}, Path({str(tmp_path / 'cache')!r}), 1, True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (left,) = (tmp_path / "cache").glob(".unfinished-*")
    assert len(run(config, tmp_path).train) == 300
    assert left.exists(), "not older than a day"
    os.utime(left, (time.time() - 2 * prepared_data.STALE,) * 2)
    run(replace(config, seed=5), tmp_path)
    assert not left.exists()


def _prepare_at_once(config: DataConfig, folder: Path, barrier: Any, queue: Any) -> None:
    barrier.wait()
    queue.put(len(run(config, folder).train))


def test_prepare_succeeds_in_two_processes_at_once(config: DataConfig, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_prepare_at_once, args=(config, tmp_path, barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [300, 300]
    for process in processes:
        process.join()
    assert results(tmp_path / "cache") == [fingerprint(config)]


def test_prepare_uses_data_that_faster_process_wrote(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have locks that other hosts do not see."""
    write = prepared_data.prepare_pairs
    monkeypatch.setattr(prepared_data, "try_lock", lambda _: nullcontext(True))

    def overtaken(*arguments: Any) -> None:
        write(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(prepared_data, "prepare_pairs", write)
            run(config, tmp_path)

    monkeypatch.setattr(prepared_data, "prepare_pairs", overtaken)
    assert len(run(config, tmp_path).train) == 300
    assert results(tmp_path / "cache") == [fingerprint(config)]


def test_prepare_keeps_unfinished_folder_that_another_process_works_in(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparation of a large corpus can take longer than a day."""
    write = prepared_data.prepare_pairs

    def work_for_two_days(config: DataConfig, result: Path, *rest: Any) -> None:
        write(config, result, *rest)
        os.utime(result, (time.time() - 2 * prepared_data.STALE,) * 2)
        with monkeypatch.context() as patch:
            patch.setattr(prepared_data, "prepare_pairs", write)
            run(replace(config, seed=5), tmp_path)

    monkeypatch.setattr(prepared_data, "prepare_pairs", work_for_two_days)
    assert len(run(config, tmp_path).train) == 300
    assert len(results(tmp_path / "cache")) == 2


def test_prepare_waits_for_another_process_that_creates_same_data(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = prepared_data.prepare_pairs, []

    def slow(*arguments: Any) -> None:
        calls.append(arguments)
        time.sleep(0.5)
        write(*arguments)

    monkeypatch.setattr(prepared_data, "prepare_pairs", slow)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run(config, tmp_path), range(2)))
    assert [len(prepared.train) for prepared in found] == [300, 300]
    assert len(calls) == 1


HOST = """
import os, signal, sys, time
from pathlib import Path
from data_pipeline import group_files, prepare_pairs, worker_pool
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import prepare

def filter_group(*arguments):
    print("filtered", flush=True)
    return original_filter(*arguments)

def encode_group(*arguments):
    print("tokenized", flush=True)
    while len(sys.argv) > 1 and not list(cache.glob("*/tokenized-*.npz")):
        time.sleep(0.01)
    if len(sys.argv) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return original_encode(*arguments)

worker_pool.POOL_FROM, prepare_pairs.GROUP, group_files.PAUSE = 100, 30, 0.02
original_filter, original_encode = prepare_pairs._filter_group, prepare_pairs._encode_group
prepare_pairs._filter_group, prepare_pairs._encode_group = filter_group, encode_group
cache = Path({cache!r})
prepare({config!r}, cache, 1, quiet=True)
"""


def test_hosts_prepare_large_corpus_together_and_take_over_groups_of_killed_host(
    config: DataConfig, tmp_path: Path
) -> None:
    """The first host holds a group until the second one has tokenized another, and is killed then."""
    config = replace(config, train=corpus(tmp_path / "text", "many", [*pairs(300), *pairs(20), ("a " * 40, "b")]))
    one = run(config, tmp_path)
    code = HOST.format(cache=str(tmp_path / "shared"), config=config)
    start = partial(subprocess.Popen, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with start([sys.executable, "-c", code, "is killed"]) as first:
        assert first.stdout is not None
        assert [first.stdout.readline() for _ in range(12)] == ["filtered\n"] * 11 + ["tokenized\n"]
        with start([sys.executable, "-c", code]) as second:
            printed, errors = second.communicate(timeout=60)
        assert first.wait(timeout=60) == -signal.SIGKILL
    assert printed.splitlines() == ["tokenized"] * 12, errors
    assert "helping it if the corpus is large" in errors
    assert "Traceback" not in errors
    files = [
        {file.name: file.read_bytes() for file in (folder / one.fingerprint).iterdir()}
        for folder in (tmp_path / "cache", tmp_path / "shared")
    ]
    assert files[0] == files[1]
    left = [name for name in results(tmp_path / "shared") if name != one.fingerprint]
    assert all(name.startswith(".unfinished-") and not name.endswith("-groups") for name in left)


def test_prepare_expands_home_folder_in_cache_dir(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    prepared = prepare(config, Path("~/cache"), threads=1, quiet=True)
    assert prepared.folder == tmp_path / "home" / "cache" / fingerprint(config)
    assert len(prepared.train) == 300


def damage_ids(folder: Path) -> None:
    file = folder / "train.src.ids.npy"
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes(200) + content[400:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_ids, "the bytes of train.src.ids.npy were changed"),
        (lambda folder: (folder / "train.tgt.offsets.npy").write_bytes(b""), "train.tgt.offsets.npy has 0 bytes"),
        (lambda folder: (folder / "report.json").unlink(), "report.json is missing"),
        (lambda folder: (folder / "checksums.json").unlink(), "checksums.json is missing, which older versions"),
    ],
)
def test_prepare_names_damage_and_creates_data_again(
    config: DataConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    message: str,
) -> None:
    folder = run(config, tmp_path).folder
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    damage(folder)
    assert run(config, tmp_path).folder == folder
    assert f"{folder} in the cache is damaged ({message}" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert results(tmp_path / "cache") == [folder.name]
    run(config, tmp_path)
    assert capsys.readouterr().err == ""


def test_prepare_creates_damaged_data_once_in_two_threads(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_ids(run(config, tmp_path).folder)
    write, calls = prepared_data.prepare_pairs, []

    def slow(*arguments: Any) -> None:
        calls.append(arguments)
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(prepared_data, "prepare_pairs", slow)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run(config, tmp_path), range(2)))
    assert [texts(prepared, "train") for prepared in found] == [pairs(300)] * 2
    assert len(calls) == 1


def _replace(config: DataConfig, word: str) -> None:
    for file, column in zip(config.train, (0, 1), strict=True):
        Path(file).write_text("".join(f"{word} {row[column]}\n" for row in pairs(300)), encoding="utf-8")


def _append(config: DataConfig) -> None:
    for file in config.train:
        with Path(file).open("a") as out:
            out.write("one more\n")


def _replace_and_put_back(config: DataConfig) -> None:
    """Put the old content back, with its old date, as `cp -p` does."""
    times = [Path(file).stat().st_mtime_ns for file in config.train]
    _replace(config, "second")
    corpus(Path(config.train[0]).parent, "train", pairs(300))
    for file, time_ns in zip(config.train, times, strict=True):
        os.utime(file, ns=(time_ns, time_ns))


@pytest.mark.parametrize("change", [_append, _replace_and_put_back, lambda config: Path(config.valid[1]).unlink()])
def test_prepare_rejects_file_that_changes_while_it_is_read(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[DataConfig], object]
) -> None:
    write = prepared_data.prepare_pairs

    def write_and_change(*arguments: Any) -> None:
        write(*arguments)
        change(config)

    with monkeypatch.context() as patch:
        patch.setattr(prepared_data, "prepare_pairs", write_and_change)
        with pytest.raises(
            InputError, match=r"(train\.en was changed, added or removed|removed) while the data were read"
        ):
            run(config, tmp_path)
    assert results(tmp_path / "cache") == []


def test_prepare_rejects_file_that_is_added_to_pattern(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = prepared_data.prepare_pairs

    def add_and_write(*arguments: Any) -> None:
        corpus(tmp_path / "text", "train-2", pairs(10, seed=3))
        write(*arguments)

    monkeypatch.setattr(prepared_data, "prepare_pairs", add_and_write)
    patterns = [str(tmp_path / "text" / f"train*.{language}") for language in ("en", "de")]
    with pytest.raises(InputError, match=r"data\.train: .*train-2\.en was changed, added or removed"):
        run(replace(config, train=patterns), tmp_path)


def test_wait_until_prepared_waits_until_damaged_data_are_created_again(config: DataConfig, tmp_path: Path) -> None:
    folder = run(config, tmp_path).folder
    damage_ids(folder)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_until_prepared, config, tmp_path / "cache")
        run(config, tmp_path)
        assert texts(waiting.result(timeout=60), "train") == pairs(300)


def test_wait_until_prepared_fails_if_file_changes(config: DataConfig, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_until_prepared, config, tmp_path / "cache")
        time.sleep(0.1)
        _append(config)
        with pytest.raises(InputError, match=r"train\.en was changed, added or removed"):
            waiting.result(timeout=60)


# The command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "data_pipeline.prepare", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


def test_prepare_command_prints_summary_and_folder(config: DataConfig, tmp_path: Path) -> None:
    assert isinstance(config.train, list)
    cache = tmp_path / "cache"
    done = command(
        f"data.train=[{','.join(config.train)}]", "data.valid=null", "data.vocab_size=310", f"data.cache_dir={cache}"
    )
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert done.returncode == 0
    *summary, last = done.stdout.splitlines()
    assert "\n".join(summary) == PreparedData.open(folder, config).summary()
    assert last == f"285 training and 15 validation pairs in {folder}"


def test_prepare_command_ignores_other_sections_of_config(config: DataConfig, tmp_path: Path) -> None:
    data = {"train": config.train, "valid": config.valid, "vocab_size": 310, "cache_dir": str(tmp_path / "cache")}
    (tmp_path / "x.yaml").write_text(json.dumps({"model": {"no_such_setting": 1}, "data": data}))
    done = command("--config", str(tmp_path / "x.yaml"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"in {tmp_path / 'cache' / fingerprint(config)}\n")


def test_prepare_command_prints_error_in_one_line() -> None:
    failed = command("data.train=[/no/such/a.en,/no/such/a.de]")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: there is no file /no/such/a.en")
    assert failed.stderr.count("\n") == 1
