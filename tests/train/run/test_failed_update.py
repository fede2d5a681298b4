"""A loss or a gradient that is not finite never reaches the weights, and what it came from can be made again."""

import json
import math
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from data_pipeline.micro_batches import Update
from tests.train.test_distributed import TWO_RANKS, start
from tests.train.test_training import SETTINGS, make_config, metrics, run
from train import loop
from train.config import RunConfig
from train.replay import describe, read_report, replay
from train.run import failed_update as incident
from train.run.checkpoints import Checkpoints, find_damage
from train.trainer import Outcome, Updater

SHORT = (
    *("train.max_steps=6", "checkpoints.every=2", "checkpoints.keep=3"),
    *("validation.every=6", "validation.bleu_sentences=0"),
)
POISONED = 2
"""Updates that are done before the poisoned one."""


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(corpus: dict[str, list[str]], cache: Path) -> RunConfig:
    return make_config(corpus, cache, *SHORT)


def before_updates(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` with the number of updates done, before each update."""
    learn = Updater.learn

    def with_it(self: Updater, update: Update, *rest: Any) -> Outcome:
        act(update.step)
        return learn(self, update, *rest)

    monkeypatch.setattr(Updater, "learn", with_it)


def poison_gradients(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """One infinity in the gradient of the updates that come after so many."""
    now: dict[str, int] = {}
    norm = Updater.gradient_norm
    before_updates(monkeypatch, lambda step: now.update(step=step))

    def poisoned(self: Updater) -> torch.Tensor:
        if now["step"] in steps:
            self.model.get_parameter("encoder.blocks.0.feed_forward.inner.weight").grad[0, 0] = math.inf  # type: ignore[index]
        return norm(self)

    monkeypatch.setattr(Updater, "gradient_norm", poisoned)


def final_state(folder: Path) -> list[bytes]:
    """Weights and moments after the last update."""
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    return [(newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


@pytest.fixture(scope="module")
def poisoned(corpus: dict[str, list[str]], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose third update had an infinity in its gradient."""
    folder = tmp_path_factory.mktemp("runs") / "poisoned"
    with pytest.MonkeyPatch.context() as monkeypatch:
        poison_gradients(monkeypatch, POISONED)
        run(make_config(corpus, cache, *SHORT), folder)
    return folder


def test_a_run_with_a_poisoned_update_equals_one_that_left_it_out_by_hand(
    poisoned: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Updater.learn

    def by_hand(self: Updater, update: Update, batches: Any, asked: Any) -> Outcome:
        if update.step == POISONED:
            return Outcome("overflow", 0.0, 0.0, 0.0, [0.0, 0.0])  # left out, and nothing else
        return learn(self, update, batches, asked)

    monkeypatch.setattr(Updater, "learn", by_hand)
    lines = run(config, tmp_path / "by-hand")
    others = [line for line in lines if "skipped" not in line]
    assert [line for line in metrics(poisoned) if "skipped" not in line] == others
    assert final_state(poisoned) == final_state(tmp_path / "by-hand")


def test_the_metrics_hold_every_update_and_no_number_that_is_not_finite(poisoned: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    lines = [json.loads(x, parse_constant=refuse) for x in (poisoned / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "skipped" in line] == [3]
    assert "gradient_norm" not in lines[2]


def test_weights_and_moments_before_the_update_are_those_that_are_kept(poisoned: Path) -> None:
    kept = Checkpoints(poisoned / "incidents/update-00000003").newest()
    before = poisoned / "checkpoints/regular-00000002"
    assert kept is not None
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (kept / name).read_bytes() == (before / name).read_bytes()


def test_an_incident_names_its_sentences_and_the_norms_of_its_gradient(poisoned: Path, corpus: dict) -> None:
    folder = poisoned / "incidents/update-00000003"
    report = read_report(folder)
    sentences = [json.loads(line) for line in (folder / "sentences.jsonl").read_text().splitlines()]
    rows = [row for part in report["slices"] for row in part["rows"] if row >= 0]
    assert [line["row"] for line in sentences] == rows
    pairs = set(zip(*(Path(file).read_text().splitlines() for file in corpus["train"]), strict=True))
    assert {(line["source"], line["target"]) for line in sentences} <= pairs
    assert report["gradient_norm"] == "inf"
    bad = [name for name, norm in report["gradient_norms"].items() if isinstance(norm, str)]
    assert bad == ["encoder.blocks.0.feed_forward.inner"]
    assert report["replay"] == f"python -m train.replay {folder}"


def test_a_replay_computes_the_same_loss_and_the_same_gradient_to_the_bit(poisoned: Path) -> None:
    folder = poisoned / "incidents/update-00000003"
    report, now = read_report(folder), replay(folder)
    assert now.loss == report["loss"]
    then = {name: norm for name, norm in report["gradient_norms"].items() if not isinstance(norm, str)}
    assert {name: now.gradient_norms[name] for name in then} == then
    assert now.fault is None
    assert "This time everything is finite" in describe(report, now)


@pytest.mark.parametrize("stop_at", [POISONED, POISONED + 1])
def test_a_run_that_is_stopped_beside_a_bad_update_continues_as_if_it_had_not(
    poisoned: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    folder = tmp_path / "stopped"
    poison_gradients(monkeypatch, POISONED)
    with monkeypatch.context() as inner:
        before_updates(inner, lambda step: signal.raise_signal(signal.SIGTERM) if step == stop_at else None)
        AcceleratorState._reset_state(reset_partial_state=True)
        assert loop.train(config, folder) == signal.SIGTERM
    run(config, folder)
    assert (folder / "metrics.jsonl").read_bytes() == (poisoned / "metrics.jsonl").read_bytes()
    assert final_state(folder) == final_state(poisoned)
    assert (folder / "model.safetensors").read_bytes() == (poisoned / "model.safetensors").read_bytes()


def test_a_checkpoint_that_falls_on_a_bad_update_holds_the_weights_of_the_last_good_one(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as inner:
        poison_gradients(inner, 3, 5)  # updates 4 and 6: a regular checkpoint, and the end of the run
        run(config, tmp_path / "run")
    run(
        replace(config, train=replace(config.train, max_steps=3), checkpoints=replace(config.checkpoints, every=1)),
        tmp_path / "three",
    )
    of_four, of_three = tmp_path / "run/checkpoints/regular-00000004", tmp_path / "three/checkpoints/regular-00000003"
    assert (of_four / "model.safetensors").read_bytes() == (of_three / "model.safetensors").read_bytes()
    assert json.loads((of_four / "progress.json").read_text())["nonfinite_updates"] == 1


def test_too_many_bad_updates_in_a_row_end_the_run_and_leave_the_last_good_checkpoint(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    poison_gradients(monkeypatch, 1, 3, 4, 5)
    with pytest.raises(ValueError, match=r"3 update\(s\) in a row.* after update 3: look into .*incidents, then"):
        run(config, folder)
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    assert (newest.name, find_damage(newest)) == ("regular-00000004", None)
    assert [line["step"] for line in metrics(folder) if "skipped" in line] == [2, 4, 5, 6]
    assert sorted(path.name for path in (folder / "incidents").iterdir()) == ["update-00000002", "update-00000004"]


def test_a_run_keeps_a_few_incidents_only(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison_gradients(monkeypatch, 0, 2, 4)
    monkeypatch.setattr(incident, "MOST", 2)
    run(config, tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run/incidents").iterdir())
    assert kept == ["update-00000001", "update-00000003"]


def poison_a_word(monkeypatch: pytest.MonkeyPatch, token: int) -> None:
    """A source embedding that is not a number from the start, in a model whose matrices are not shared."""
    build = loop.build

    def poisoned(config: object) -> torch.nn.Module:
        model = build(config)  # type: ignore[arg-type]
        with torch.no_grad():
            model.get_parameter("src_embedding.tokens.weight")[token] = math.nan
        return model

    monkeypatch.setattr(loop, "build", poisoned)


def test_a_replay_finds_the_module_and_the_sentences_of_a_loss_that_is_not_finite(
    corpus: dict, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(corpus, cache, *SHORT, "model.tying=none", "train.max_nonfinite_updates=1")
    prepared = loop.prepare_once(config)
    sources = prepared.train.stores[0]
    rows_of = Counter(token for row in range(len(sources)) for token in set(sources[row].tolist()))
    token = min(rows_of, key=lambda token: abs(rows_of[token] - 20))  # some sentences have it, most have not
    poison_a_word(monkeypatch, token)
    with pytest.raises(ValueError, match="loss nan"):
        run(config, tmp_path / "run")
    (folder,) = (tmp_path / "run/incidents").iterdir()
    report = read_report(folder)
    command = [sys.executable, *report["replay"].split()[1:]]
    done = start(command, tmp_path, TRANSFORMER_DEBUG="1")
    assert done.returncode == 0, done.stderr
    assert "loss           nan (then nan)" in done.stdout
    assert "The first module whose output is not finite is src_embedding.tokens, in micro-batch" in done.stdout
    AcceleratorState._reset_state(reset_partial_state=True)
    fault = replay(folder).fault
    assert fault is not None
    holding = [row for row in fault.micro_batch.indices.tolist() if row >= 0 and token in sources[row]]
    assert fault.rows == holding != []


def test_a_replay_of_other_data_is_refused(poisoned: Path, tmp_path: Path) -> None:
    folder = poisoned / "incidents/update-00000003"
    other = json.loads((folder / "incident.json").read_text()) | {"data_fingerprint": "another"}
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "incident.json").write_text(json.dumps(other))
    (copy / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    with pytest.raises(ValueError, match="its data_fingerprint is another, and now it is"):
        replay(copy)
    with pytest.raises(FileNotFoundError, match=r"it has no incident\.json"):
        replay(tmp_path)


def test_the_time_limit_saves_after_an_update_and_the_same_command_continues(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "limited"
    run(config, whole)
    limited = replace(config, train=replace(config.train, max_hours=1e-9))
    for step in range(1, 6):
        AcceleratorState._reset_state(reset_partial_state=True)
        assert loop.train(limited, folder) is None
        assert f"train.max_hours are over: stopped after update {step}; the same command" in capsys.readouterr().out
        assert not (folder / "model.safetensors").exists()
    run(limited, folder)
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


TWO_RANKS_SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, {root!r})
from common.settings import load_settings
from train.config import RunConfig
from train.loop import train
from train.trainer import Updater

backward, calls = Updater.backward, 0

def poisoned(self, batch, weight):
    global calls
    calls += 1
    loss = backward(self, batch, weight)
    bad = self.accelerator.process_index == 1 and calls == 4  # the rehearsal is the first call
    return loss * float("nan") if bad else loss

Updater.backward = poisoned
config = load_settings(RunConfig, None, sys.argv[1:])
train(config, Path(config.run_dir))
"""


def test_two_ranks_agree_to_leave_out_an_update_that_only_one_found_bad(corpus: dict, tmp_path: Path) -> None:
    script = tmp_path / "poisoned.py"
    script.write_text(TWO_RANKS_SCRIPT.format(root=str(Path(__file__).resolve().parents[3])))
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    where = [f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    done = start([*TWO_RANKS, str(script), *data, *SETTINGS, *SHORT, *where], tmp_path, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stdout
    assert [line["step"] for line in metrics(tmp_path / "run") if "skipped" in line] == [3]
    report = read_report(tmp_path / "run/incidents/update-00000003")
    assert {part["rank"] for part in report["slices"]} == {0, 1}
    now = replay(tmp_path / "run/incidents/update-00000003")
    assert now.gradient_norm == pytest.approx(report["gradient_norm"])


def scale_losses(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """fp16 with its loss scaler on a CPU, which the trainer itself refuses as useless."""
    make = loop.make_accelerator

    def scaled(*arguments: Any) -> Accelerator:
        accelerator = make(*arguments)
        accelerator.state._mixed_precision, accelerator.native_amp = "fp16", True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        return accelerator

    monkeypatch.setattr(loop, "make_accelerator", scaled)


def test_a_loss_scale_that_is_too_high_is_lowered_and_the_run_goes_on(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scale_losses(monkeypatch, 2.0**23)
    lines = run(config, tmp_path / "run")
    skipped = [line["step"] for line in lines if "skipped" in line]
    assert skipped[0] == 1
    assert len(skipped) < 6
    assert "too large for fp16" in capsys.readouterr().out
    assert not (tmp_path / "run/incidents").exists()
    assert "skipped" not in lines[-2]


def test_a_loss_scale_is_continued_exactly(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_losses(monkeypatch, 2.0**23)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(config, whole)
    for steps in (2, 4, 6):  # the first of them while the scale is still too high
        run(
            replace(
                config,
                train=replace(config.train, max_steps=steps),
                checkpoints=replace(config.checkpoints, average_last=1),
            ),
            stopped,
        )
    assert final_state(stopped) == final_state(whole)
    losses = [[line.get("loss") for line in metrics(folder) if "lr" in line] for folder in (whole, stopped)]
    assert losses[0] == losses[1]


def test_a_gradient_that_is_not_finite_at_any_scale_is_bad_in_fp16_too(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_losses(monkeypatch, 1.0)
    poison_gradients(monkeypatch, POISONED)
    lines = run(config, tmp_path / "run")
    assert [line["step"] for line in lines if "skipped" in line] == [POISONED + 1]
    assert (tmp_path / "run/incidents/update-00000003/incident.json").exists()
