"""The commands people use, as processes: one rank and two make the same updates."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from common.settings import last_overrides
from tests.train.test_training import SETTINGS
from train.run.checkpoints import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    *("train.log_every=1", "validation.every=1000", "checkpoints.every=4", "validation.bleu_sentences=0"),
    *("data.bpe_dropout=0.1", "data.augment_upper=0.2", "data.augment_typos=0.3"),
)
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
TWO_RANKS = [*LAUNCH, "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]


def around(tmp_path: Path, **environment: str) -> dict[str, str]:
    free = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    return free | {"HOME": str(tmp_path)} | environment


def start(command: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=around(tmp_path, **environment), capture_output=True, text=True, timeout=300
    )


def disturbed(
    options: list[str],
    corpus: dict[str, list[str]],
    tmp_path: Path,
    updates: int,
    strike: Callable[[dict[int, psutil.Process]], None],
) -> tuple[int, str, float]:
    """Two ranks; `strike` is given their processes after update 10. Status, errors, seconds until the launcher ends."""
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    run = tmp_path / "interrupted"
    settings = [*data, *SETTINGS, f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={run}", *STEPS]
    launcher = [*TWO_RANKS, "--main_process_port", "0", *options]
    command = [*launcher, "train/train.py", *last_overrides([*settings, f"train.max_steps={updates}"])]
    where, error_file = around(tmp_path, ACCELERATE_USE_CPU="true"), tmp_path / "errors"
    with error_file.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=where, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            metrics = run / "metrics.jsonl"
            while not metrics.exists() or metrics.read_text().count("\n") < 10:
                assert process.poll() is None, error_file.read_text()
                time.sleep(0.02)
            children = psutil.Process(process.pid).children(recursive=True)
            strike({int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()})
            since = time.monotonic()
            return process.wait(timeout=120), error_file.read_text(), time.monotonic() - since
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def losses(
    launcher: list[str], corpus: dict[str, list[str]], tmp_path: Path, name: str, *overrides: str, **environment: str
) -> tuple[list[float], str]:
    """Losses of a run of the real entry point, and what it printed."""
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    where = [f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / name}"]
    done = start(
        [*launcher, "train/train.py", *last_overrides([*data, *SETTINGS, *where, *overrides])], tmp_path, **environment
    )
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line], done.stdout


def largest_difference(a: list[float], b: list[float]) -> float:
    assert len(a) == len(b) > 0
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def test_two_ranks_equal_single_rank_in_float64_for_any_split(corpus: dict, tmp_path: Path) -> None:
    exact = (
        *("train.precision=float64", "model.dropout=0.0", "train.max_steps=50", "train.log_every=1"),
        *("validation.every=1000", "checkpoints.every=1000", "batches.shard=150"),
    )
    one, said = losses([sys.executable], corpus, tmp_path, "one", *exact)
    assert "1 x cpu" in said
    assert "updates per epoch in 3 shards" in said
    for split, micro in ((2, 800), (4, 400)):
        smaller = f"batches.micro_tokens={micro}"
        two, said = losses(TWO_RANKS, corpus, tmp_path, f"two-{micro}", *exact, smaller, ACCELERATE_USE_CPU="true")
        assert "2 x cpu" in said, "the launcher must have started two ranks"
        assert f", {split} micro-batch" in said
        assert len(two) == 50
        assert largest_difference(one, two) < 1e-9


def test_two_ranks_equal_single_rank_in_fp32_with_dropout(corpus: dict, tmp_path: Path) -> None:
    single = ("train.max_steps=20", "train.log_every=1", "validation.every=10", "data.bpe_dropout=0.1")
    one, _ = losses([*LAUNCH, "--num_processes", "1"], corpus, tmp_path, "one", *single, ACCELERATE_USE_CPU="true")
    two, said = losses(TWO_RANKS, corpus, tmp_path, "two", *single, ACCELERATE_USE_CPU="true")
    assert "2 x cpu" in said
    assert largest_difference(one, two) < 1e-5
    assert (tmp_path / "two/model.safetensors").exists()


def test_train_resumes_with_another_number_of_ranks(corpus: dict, tmp_path: Path) -> None:
    steps = (
        *("train.log_every=1", "validation.every=4", "train.precision=float64", "model.dropout=0.0"),
        "batches.shard=150",
    )
    alone, _ = losses([sys.executable], corpus, tmp_path, "alone", *steps, "train.max_steps=8")
    losses([sys.executable], corpus, tmp_path, "both", *steps, "train.max_steps=4")
    two, said = losses(TWO_RANKS, corpus, tmp_path, "both", *steps, "train.max_steps=8", ACCELERATE_USE_CPU="true")
    assert "2 x cpu" in said
    assert largest_difference(alone, two) < 1e-9


def test_launcher_stops_within_60_seconds_and_names_killed_rank(corpus: dict, tmp_path: Path) -> None:
    status, said, seconds = disturbed([], corpus, tmp_path, 5000, lambda ranks: ranks[1].kill())
    assert status != 0
    assert seconds < 60
    cause = said.partition("Root Cause")[2]
    assert "rank      : 1" in cause
    assert "SIGKILL" in cause


def test_automatic_restart_equals_uninterrupted_run(corpus: dict, tmp_path: Path) -> None:
    steps = (*STEPS, "train.max_steps=30")
    losses(TWO_RANKS, corpus, tmp_path, "uninterrupted", *steps, ACCELERATE_USE_CPU="true")
    status, said, _ = disturbed(["--max_restarts", "1"], corpus, tmp_path, 30, lambda ranks: ranks[1].kill())
    assert status == 0, said
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (tmp_path / "interrupted" / name).read_bytes() == (tmp_path / "uninterrupted" / name).read_bytes()


def test_two_launchers_equal_single_rank(corpus: dict, tmp_path: Path) -> None:
    exact = (*STEPS, "train.precision=float64", "model.dropout=0.0", "train.max_steps=8")
    one, _ = losses([sys.executable], corpus, tmp_path, "one", *exact)
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    settings = [*data, *SETTINGS, f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'two'}", *exact]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    hosts = [
        subprocess.Popen(
            [*LAUNCH, "--multi_gpu", "--num_machines", "2", "--num_processes", "2", "--machine_rank", rank,
             "--main_process_ip", "127.0.0.1", "--main_process_port", port, "--mixed_precision", "no",
             "train/train.py", *last_overrides(settings)],
            cwd=ROOT, env=around(tmp_path, ACCELERATE_USE_CPU="true"), stdout=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [host.communicate(timeout=120)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0]
    assert "2 x cpu" in said[0]
    lines = map(json.loads, (tmp_path / "two/metrics.jsonl").read_text().splitlines())
    assert largest_difference(one, [line["loss"] for line in lines if "loss" in line]) < 1e-9
    ours, theirs = (load_file(newest(tmp_path / name)) for name in ("two", "one"))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-9


def newest(run: Path) -> Path:
    found = Checkpoints(run / "checkpoints").newest()
    assert found is not None
    return found / "model.safetensors"


def test_two_ranks_reject_changed_settings_without_traceback(corpus: dict, tmp_path: Path) -> None:
    losses([sys.executable], corpus, tmp_path, "r", "train.max_steps=1", "checkpoints.average_last=1")
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    where = [f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'r'}", "model.dropout=0.3"]
    done = start(
        [*TWO_RANKS, "train/train.py", *last_overrides([*data, *SETTINGS, *where])], tmp_path, ACCELERATE_USE_CPU="true"
    )
    assert done.returncode != 0
    assert "model.dropout was 0.1 and is 0.3" in done.stderr
    assert 'train/train.py", line' not in done.stderr, "no traceback of ours"


def test_average_rebuilds_model_folder(corpus: dict, tmp_path: Path) -> None:
    losses([sys.executable], corpus, tmp_path, "r", "train.max_steps=8")
    done = start([sys.executable, "-m", "train.average", str(tmp_path / "r"), "--last", "1"], tmp_path)
    assert done.stdout == f"{tmp_path / 'r'} contains the weights after update 8\n", done.stderr
    too_many = start([sys.executable, "-m", "train.average", str(tmp_path / "r"), "--last", "10"], tmp_path)
    assert (too_many.returncode, too_many.stderr.count("\n")) == (2, 1)
    assert "checkpoints to average. Set --last" in too_many.stderr
    missing = start([sys.executable, "-m", "train.average", str(tmp_path / "none")], tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model.nrom=pre"], "Did you mean model.norm?"),
        (["--config", "configs/nope.yaml"], "config configs/nope.yaml does not exist"),
        (["data.train=[no.en,no.de]"], "no.en"),
    ],
)
def test_train_prints_error_and_exits_with_2_for_invalid_input(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    done = start([sys.executable, "train/train.py", f"data.cache_dir={tmp_path}", *arguments], tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0
