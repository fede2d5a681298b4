"""A killed or damaged run ends like an uninterrupted one: short versions of benchmarks/faults.py and damage.py."""

import multiprocessing
import os
import random
import runpy
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.damage import DAMAGES, FILES, find_problem
from benchmarks.faults import Campaign, Kill, campaign, interrupted_run
from benchmarks.launch import Ranks, rank_environments, run_to_end
from benchmarks.run_folders import SETTINGS, STEPS, differences, write_corpus
from benchmarks.runner import ROOT
from common.settings import last_overrides
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.token_store import TokenStore
from train.run.checkpoints import Checkpoints, RunState

FORKS = multiprocessing.get_context("forkserver")  # PyTorch is imported once, not for each launch
FORKS.set_forkserver_preload(["train.loop", "tests.train.run.test_faults", "torch._dynamo", "torch.utils.tensorboard"])


class Forked:
    """A rank as `Ranks` needs it."""

    def __init__(self, process: BaseProcess) -> None:
        self.process = process

    def poll(self) -> int | None:
        return self.process.exitcode


def start_forked(settings: Sequence[str], folder: Path, ranks: int) -> Ranks:
    """`benchmarks.launch.start_ranks` without waiting for imports."""
    since, started, group = time.time_ns(), [], 0
    for rank, environment in enumerate(rank_environments(ranks)):
        for stream in ("out", "err"):
            (folder / f"rank{rank}.{stream}").write_text("")
        process = FORKS.Process(target=enter, args=(settings, folder, rank, environment, group))
        process.start()
        assert process.pid is not None
        group = group or process.pid
        while os.getpgid(process.pid) != group:
            time.sleep(0.001)
        started.append(Forked(process))
    return Ranks(list(started), group, folder, since)


def enter(settings: Sequence[str], folder: Path, rank: int, environment: dict[str, str], group: int) -> None:
    """Run `python train/train.py <settings>` in this process."""
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"rank{rank}.{stream}", os.O_WRONLY | os.O_APPEND), number)
    os.setpgid(0, group)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(ROOT / "train/train.py"), *last_overrides(settings)]
    runpy.run_path(sys.argv[0], run_name="__main__")


@pytest.mark.parametrize(("ranks", "kills"), [(1, 3), (2, 2)])
def test_killed_run_ends_with_same_files_as_uninterrupted_run(ranks: int, kills: int, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    outcome = campaign(tmp_path, ranks, kills, seed=3, start=start_forked)
    assert outcome.differences == []
    assert outcome.kills == kills
    assert outcome.inside_a_save > 0, outcome.phases


def test_run_killed_at_ends_of_shards_equals_uninterrupted_run(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    settings = (*SETTINGS, "batches.shard=150")
    run_to_end(start_forked, tmp_path / "uninterrupted", settings)
    (cache,) = (tmp_path / "cache").glob("[!.]*")
    src, tgt = (TokenStore(cache / f"train.{side}").lengths for side in ("src", "tgt"))
    plan = BatchPlan(src, tgt, tokens_per_update=1024, per_update=2, max_buckets=24, seed=1, shard=150)
    assert plan.shards == 3
    shards = [int(plan.update(step).bucket_batches[0].indices[0]) % 3 for step in range(STEPS)]
    ends = [done for done in range(1, STEPS) if shards[done - 1] != shards[done]]
    assert len(ends) > 3, "the run has more than one epoch"
    kills = [Kill("moment", ends[0]), Kill("moment", ends[2] - 1), Kill("moment", ends[3] + 1)]
    outcome = Campaign()
    interrupted_run(tmp_path / "killed", 1, kills, outcome, start_forked, settings)
    assert outcome.kills == 3, "SIGKILL after the last update of a shard, before it, and after the first one"
    assert differences(tmp_path / "killed/run", tmp_path / "uninterrupted/run") == []


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of updates 3 and 6."""
    folder, model = tmp_path_factory.mktemp("run") / "checkpoints", nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    for step in (3, 6):
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        Checkpoints(folder).save("regular", model, optimizer, RunState(step), f'{{"step": {step}}}\n', keep=3)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_checkpoints_report_damaged_file_and_use_older_checkpoint(file: str, damage: str, checkpoints: Path) -> None:
    before, newest = checkpoints / "regular-00000003", checkpoints / "regular-00000006"
    apply, drawn = DAMAGES[damage]
    draw, content = random.Random(f"{file} {damage}"), (newest / file).read_bytes()
    for _ in range(50 if drawn else 1):
        apply(newest / file, before / file, draw)
        problem = find_problem(checkpoints, newest, file, before)
        (newest / file).write_bytes(content)
        assert not problem
