"""Which changes of the recipe learn Multi30k in fewer updates: an ablation, judged on its validation set.

    python benchmarks/recipes.py --data train.en train.de valid.en valid.de --at-once 2
    python benchmarks/recipes.py --data ... --promote "pre, level 2e-3" --seeds 1 2
    python benchmarks/recipes.py --quick          # a rehearsal on the built-in corpus in seconds; writes nothing

Every recipe is `configs/multi30k.yaml` cut to `--updates`, with the changes that stand in `RECIPES`, at the first of
`--seeds`; those that `--promote` names at the others too. Runs are kept in `--runs`, by their name, updates and seed: a
finished one is read, not made again; one that was stopped begins anew. With --at-once 2 two of them learn side by side,
one thread each, which fills a small machine best; their minutes then compare among themselves only.
BLEU is sacreBLEU of greedy translations of the whole validation set. Writes benchmarks/results/recipes.json.

The trainer has what its configuration can say. What was tried and did not earn its place there is in this file alone:
weight means that follow the training, and R-Drop.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe_machine, write_result
from benchmarks.time_to_bleu import TINY, Clock, read_lines
from common.command import run_command
from common.errors import InputError
from data_pipeline.examples import IGNORE, Batch
from train import loop, train, validation
from train.loss import smoothed_cross_entropy
from train.trainer import Updater

ROOT = Path(__file__).resolve().parent.parent
R_DROP = 5.0
"""Alpha of R-Drop, its authors' for translation."""
EMA = 0.98
"""Of the exponential mean of the weights, which so remembers about 50 updates."""
MEAN_OF, MEAN_SHARE = 10, 0.28
"""Checkpoints that are averaged, and the share of the training that they reach back: as configs/multi30k.yaml has."""
MEANS = (f"ema {EMA}", f"mean of {MEAN_OF}")


@dataclass(frozen=True)
class Recipe:
    """What differs from configs/multi30k.yaml."""

    overrides: tuple[str, ...] = ()
    tried: str = ""
    """One of `EXPERIMENTS`, for what the trainer does not have."""
    updates: float = 1.0
    """Times `--updates`: R-Drop computes everything twice."""


def falling(schedule: str, peak: str) -> tuple[str, ...]:
    """From `peak` to a hundredth of it, after a short warm-up."""
    return f"schedule.name={schedule}", f"schedule.peak_lr={peak}", f"schedule.lowest_lr={float(peak) / 100:g}"


PRE = "model.norm=pre"
SMALL = ("batches.tokens_per_update=1250", "batches.per_update=2")
RECIPES = {
    "paper": Recipe(tried="means"),
    "post, cosine 2e-3": Recipe(falling("cosine", "2e-3")),
    "pre, cosine 2e-3": Recipe((*falling("cosine", "2e-3"), PRE)),
    "pre, cosine 4e-3": Recipe((*falling("cosine", "4e-3"), PRE)),
    "pre, level 2e-3": Recipe((*falling("wsd", "2e-3"), PRE)),
    "pre, cosine 2e-3, R-Drop, half the updates": Recipe(
        (*falling("cosine", "2e-3"), PRE), tried="r-drop", updates=0.5
    ),
    "pre, cosine 1.4e-3, twice as many updates of half the size": Recipe(
        (*falling("cosine", "1.4e-3"), PRE, *SMALL), updates=2
    ),
}


def main() -> None:
    """Read the command line, train, write."""
    if "--worker" in sys.argv:
        return work(sys.argv[sys.argv.index("--worker") + 1 :])
    args = parse_args()
    if args.quick:
        return rehearse()
    unknown = {*args.only, *args.promote} - RECIPES.keys()
    if unknown:
        raise InputError(f"there is no recipe {sorted(unknown)[0]!r}; there are {', '.join(map(repr, RECIPES))}")
    train_files, valid_files = args.data[:2], args.data[2:]
    data = [f"data.train=[{','.join(train_files)}]", f"data.valid=[{','.join(valid_files)}]", "data.test=null"]
    jobs = [(name, args.seeds[0]) for name in args.only]
    jobs += [(name, seed) for seed in args.seeds[1:] for name in args.promote]
    rows = ablate(jobs, args.updates, args.at_once, args.runs, data)
    write_result("recipes", {"updates": args.updates, "at_once": args.at_once, "machine": describe_machine(), **rows})


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=4, metavar="FILE", help="sources and targets to train on, and to judge by")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(RECIPES))
    parser.add_argument("--promote", nargs="+", metavar="NAME", default=[], help="to be learned with every seed")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--updates", type=int, default=700)
    parser.add_argument("--at-once", type=int, default=1, help="runs that learn side by side, one thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--quick", action="store_true", help="a rehearsal; writes nothing")
    args = parser.parse_args()
    if not args.quick and not args.data:
        parser.error("--data is missing: Multi30k's train.en, train.de, val.en and val.de")
    return args


def ablate(
    jobs: Sequence[tuple[str, int]], updates: int, at_once: int, runs: Path, data: Sequence[str]
) -> dict[str, Any]:
    """Every recipe at its seed, in this order."""

    def one(name: str, seed: int) -> tuple[str, dict[str, Any]]:
        recipe, folder = RECIPES[name], runs / f"{name.replace(', ', '_').replace(' ', '-')}-{updates}-{seed}"
        learn(recipe, folder, [*data, *settings(recipe, seed, updates, at_once), f"data.cache_dir={runs / 'cache'}"])
        return name, {"seed": seed, **read(folder)}

    result: dict[str, Any] = {}
    with ThreadPoolExecutor(at_once) as pool:
        for name, row in pool.map(lambda job: one(*job), jobs):
            about = {"changes": RECIPES[name].overrides, "tried": RECIPES[name].tried, "runs": []}
            result.setdefault(name, about)["runs"].append(row)
            print(json.dumps({name: row}), flush=True)
    return {"recipes": result}


def settings(recipe: Recipe, seed: int, updates: int, at_once: int) -> list[str]:
    """The command line of a run."""
    steps = round(updates * recipe.updates)
    short = [] if not recipe.overrides else [f"schedule.warmup_steps={max(1, steps * 2 // 7)}"]
    threads = [] if at_once == 1 else ["train.threads=1"]
    ends = [f"train.max_steps={steps}", f"validation.every={max(1, steps // 2)}", f"checkpoints.every={steps}"]
    once = ["validation.bleu_sentences=1000000", "checkpoints.average_last=1", "checkpoints.keep=1"]
    return [*ends, *once, "train.log_with=none", f"train.seed={seed}", *short, *threads, *recipe.overrides]


def learn(recipe: Recipe, folder: Path, overrides: Sequence[str]) -> None:
    """Train in a process of its own; a finished run stays as it is. Raises ValueError where it fails."""
    if (folder / "model.safetensors").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = ["--config", str(ROOT / "configs" / "multi30k.yaml")] if not _tiny(overrides) else []
    command = [sys.executable, __file__, "--worker", recipe.tried, *config, *overrides, f"run_dir={folder}"]
    with (folder / "log").open("a") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
            raise InputError(f"a run failed: what it said stands in {folder / 'log'}")


def read(folder: Path) -> dict[str, Any]:
    """How good it was at the end, and the minutes of its updates."""
    last = [line for line in read_lines(folder / "metrics.jsonl") if "valid_bleu" in line][-1]
    minutes = Clock(read_lines(folder / "timing.jsonl")).seconds(last["step"]) / 60
    known = {f"{mean} {what}".strip() for mean in ("", *MEANS) for what in ("valid_loss", "valid_bleu")}
    measures = {name: round(value, 4) for name, value in last.items() if name in known}
    return {"updates": last["step"], "minutes": round(minutes, 2), **measures}


def work(arguments: list[str]) -> None:
    """`train/train.py`, with what is tried in the place of the trainer's own."""
    tried, sys.argv[1:] = arguments[0], arguments[1:]
    with EXPERIMENTS[tried]():
        train.main()


@contextmanager
def nothing() -> Iterator[None]:
    """The trainer as it is."""
    yield


class RDrop(Updater):
    """Every batch twice under other dropout, and their distributions drawn together (Liang et al., 2021, Eq. 4)."""

    def backward(self, batch: Batch, weight: float) -> Tensor:
        """Half the sum of both cross-entropies, and alpha / 2 of half the divergences in both directions."""
        logits_BLV = self._parallel(*(torch.cat([x, x]) for x in batch.inputs))
        labels_BL = torch.cat([batch.labels_BL, batch.labels_BL])
        loss = smoothed_cross_entropy(logits_BLV, labels_BL, self.config.train.label_smoothing) / 2
        real = batch.labels_BL != IGNORE
        exact = torch.promote_types(logits_BLV.dtype, torch.float32)
        logp_NV, logq_NV = (part[real].log_softmax(-1, dtype=exact) for part in logits_BLV.chunk(2))
        apart = sum(
            F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((logp_NV, logq_NV), (logq_NV, logp_NV))
        )
        self.accelerator.backward((loss + R_DROP / 4 * apart) * weight)
        return loss.detach()


@contextmanager
def r_drop() -> Iterator[None]:
    """R-Drop in the place of the loss alone."""
    with mock.patch.object(loop, "Updater", RDrop):
        yield


class Means(Updater):
    """Keeps means of the weights; what is learned is the same."""

    newest: "Means"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps = 0
        self.every = max(1, round(self.config.train.max_steps * MEAN_SHARE / MEAN_OF))
        self.ema = self._copy()
        self.kept: deque[list[Tensor]] = deque(maxlen=MEAN_OF)
        Means.newest = self

    def _step(self, rate: float, norm: Tensor) -> None:
        super()._step(rate, norm)
        self.steps += 1
        # A young mean follows faster, or it would remember the random beginning.
        decay = min(EMA, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.ema, list(self._weights()), 1 - decay)
        if (self.config.train.max_steps - self.steps) % self.every == 0:
            self.kept.append(self._copy())

    def _weights(self) -> Iterator[Tensor]:
        return (parameter.data for parameter in self.model.parameters())

    def _copy(self) -> list[Tensor]:
        return [weight.clone() for weight in self._weights()]

    def means(self) -> dict[str, list[Tensor]]:
        """By name; the mean of the last copies as averaged checkpoints are."""
        mean = [torch.stack(copies).mean(0) for copies in zip(*self.kept, strict=True)]
        return dict(zip(MEANS, (self.ema, mean), strict=True)) if mean else {MEANS[0]: self.ema}

    def put(self, weights: Sequence[Tensor]) -> None:
        """Write weights into the model."""
        for own, other in zip(self._weights(), weights, strict=True):
            own.copy_(other)


@contextmanager
def means() -> Iterator[None]:
    """Validations of the weights' means beside those of the weights."""

    def validate(accelerator: Any, model: Any, *rest: Any) -> dict[str, float]:
        values = validation.validate(accelerator, model, *rest)
        updater = Means.newest
        own = updater._copy()
        for name, weights in updater.means().items():
            updater.put(weights)
            values |= {f"{name} {key}": value for key, value in validation.validate(accelerator, model, *rest).items()}
        updater.put(own)
        return values

    with mock.patch.object(loop, "Updater", Means), mock.patch.object(loop, "validate", validate):
        yield


EXPERIMENTS = {"": nothing, "r-drop": r_drop, "means": means}


def _tiny(overrides: Sequence[str]) -> bool:
    return "data.train=grammar" in overrides


def rehearse() -> None:
    """One tiny run of everything that is tried."""
    jobs = [("paper", 1), ("pre, cosine 2e-3, R-Drop, half the updates", 1)]
    with tempfile.TemporaryDirectory(prefix="recipes-") as temporary:
        print(json.dumps(ablate(jobs, 20, 1, Path(temporary), TINY), indent=2))


if __name__ == "__main__":
    run_command(main)
