"""A non-finite loss or gradient never reaches the weights, and the failed update can be computed again."""

import json
import math
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from common.errors import InputError
from data_pipeline.micro_batches import Update
from tests.train.test_distributed import TWO_RANKS, start
from tests.train.test_training import SETTINGS, make_config, metrics, run
from train import loop, trainer
from train.config import RunConfig
from train.run import failed_update
from train.run.checkpoints import Checkpoints, find_damage
from train.run.failed_update import read_report
from train.run.recompute import recompute, watch_outputs
from train.trainer import StepResult, Trainer
from transformer.config import ModelConfig
from transformer.model import GPT

SHORT = (
    *("train.max_steps=6", "checkpoints.every=2", "checkpoints.keep=3"),
    *("validation.every=6", "validation.bleu_sentences=0"),
)
BEFORE = 2
"""Number of updates before the one with the injected infinity."""


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(corpus: dict[str, list[str]], cache: Path) -> RunConfig:
    return make_config(corpus, cache, *SHORT)


def before_updates(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` with the number of updates done, before each update."""
    step = Trainer.step

    def with_it(self: Trainer, update: Update, *rest: Any) -> StepResult:
        act(update.step)
        return step(self, update, *rest)

    monkeypatch.setattr(Trainer, "step", with_it)


def inject_infinity(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Inject an infinity into the gradient of the updates that come after `steps` updates."""
    now: dict[str, int] = {}
    norm = Trainer.gradient_norm
    before_updates(monkeypatch, lambda step: now.update(step=step))

    def injected(self: Trainer) -> torch.Tensor:
        if now["step"] in steps:
            self.model.get_parameter("encoder.blocks.0.feed_forward.inner.weight").grad[0, 0] = math.inf  # type: ignore[index]
        return norm(self)

    monkeypatch.setattr(Trainer, "gradient_norm", injected)


def final_state(folder: Path) -> list[bytes]:
    """Return weights and optimizer state after the last update."""
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    return [(newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


@pytest.fixture(scope="module")
def failed_run(corpus: dict[str, list[str]], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose third update has an infinity in its gradient."""
    folder = tmp_path_factory.mktemp("runs") / "failed"
    with pytest.MonkeyPatch.context() as monkeypatch:
        inject_infinity(monkeypatch, BEFORE)
        run(make_config(corpus, cache, *SHORT), folder)
    return folder


def test_run_with_failed_update_equals_run_that_skips_it_by_hand(
    failed_run: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def by_hand(self: Trainer, update: Update, batches: Any, asked: Any) -> StepResult:
        if update.step == BEFORE:
            return StepResult("overflow", 0.0, 0.0, 0.0, [0.0, 0.0])  # skipped, and nothing else
        return step(self, update, batches, asked)

    monkeypatch.setattr(Trainer, "step", by_hand)
    lines = run(config, tmp_path / "by-hand")
    others = [line for line in lines if "skipped" not in line]
    assert [line for line in metrics(failed_run) if "skipped" not in line] == others
    assert final_state(failed_run) == final_state(tmp_path / "by-hand")


def test_metrics_contain_every_update_and_only_finite_numbers(failed_run: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    lines = [json.loads(x, parse_constant=refuse) for x in (failed_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "skipped" in line] == [3]
    assert "gradient_norm" not in lines[2]


def test_failed_update_saves_checkpoint_from_before_update(failed_run: Path) -> None:
    kept = Checkpoints(failed_run / "failed_updates/update-00000003").newest()
    before = failed_run / "checkpoints/regular-00000002"
    assert kept is not None
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (kept / name).read_bytes() == (before / name).read_bytes()


def test_failed_update_lists_its_examples_and_gradient_norms(failed_run: Path, corpus: dict) -> None:
    folder = failed_run / "failed_updates/update-00000003"
    report = read_report(folder)
    sentences = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    indices = [i for batch in report["micro_batches"] for i in batch["indices"] if i >= 0]
    assert [line["index"] for line in sentences] == indices
    pairs = set(zip(*(Path(file).read_text().splitlines() for file in corpus["train"]), strict=True))
    assert {(line["source"], line["target"]) for line in sentences} <= pairs
    assert report["gradient_norm"] == "inf"
    bad = [name for name, norm in report["gradient_norms"].items() if isinstance(norm, str)]
    assert bad == ["encoder.blocks.0.feed_forward.inner"]
    assert report["replay"] == f"python -m train.replay {folder}"


def test_replay_computes_bit_identical_loss_and_gradient(failed_run: Path) -> None:
    folder = failed_run / "failed_updates/update-00000003"
    report, now = read_report(folder), recompute(folder)
    assert now.loss == report["loss"]
    then = {name: norm for name, norm in report["gradient_norms"].items() if not isinstance(norm, str)}
    assert {name: now.gradient_norms[name] for name in then} == then
    assert now.first is None
    assert "All values are finite in the replay" in now.compare(report)


@pytest.mark.parametrize("stop_at", [BEFORE, BEFORE + 1])
def test_resume_next_to_failed_update_equals_uninterrupted_run(
    failed_run: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    folder = tmp_path / "stopped"
    inject_infinity(monkeypatch, BEFORE)
    with monkeypatch.context() as inner:
        before_updates(inner, lambda step: signal.raise_signal(signal.SIGTERM) if step == stop_at else None)
        AcceleratorState._reset_state(reset_partial_state=True)
        assert loop.train(config, folder) == signal.SIGTERM
    run(config, folder)
    assert (folder / "metrics.jsonl").read_bytes() == (failed_run / "metrics.jsonl").read_bytes()
    assert final_state(folder) == final_state(failed_run)
    assert (folder / "model.safetensors").read_bytes() == (failed_run / "model.safetensors").read_bytes()


def test_checkpoint_after_failed_update_has_last_finite_weights(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as inner:
        inject_infinity(inner, 3, 5)  # updates 4 and 6: a regular checkpoint, and the end of the run
        run(config, tmp_path / "run")
    run(
        replace(config, train=replace(config.train, max_steps=3), checkpoints=replace(config.checkpoints, every=1)),
        tmp_path / "three",
    )
    of_four, of_three = tmp_path / "run/checkpoints/regular-00000004", tmp_path / "three/checkpoints/regular-00000003"
    assert (of_four / "model.safetensors").read_bytes() == (of_three / "model.safetensors").read_bytes()
    assert json.loads((of_four / "progress.json").read_text())["nonfinite_updates"] == 1


def test_run_fails_after_max_nonfinite_updates_in_a_row(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    inject_infinity(monkeypatch, 1, 3, 4, 5)
    with pytest.raises(ValueError, match=r"3 consecutive update\(s\).* after update 3\. Read .*failed_updates, then"):
        run(config, folder)
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    assert (newest.name, find_damage(newest)) == ("regular-00000004", None)
    assert [line["step"] for line in metrics(folder) if "skipped" in line] == [2, 4, 5, 6]
    assert sorted(path.name for path in (folder / "failed_updates").iterdir()) == ["update-00000002", "update-00000004"]


def test_run_saves_limited_number_of_failed_updates(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject_infinity(monkeypatch, 0, 2, 4)
    monkeypatch.setattr(failed_update, "MOST", 2)
    run(config, tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run/failed_updates").iterdir())
    assert kept == ["update-00000001", "update-00000003"]


def inject_nan_embedding(monkeypatch: pytest.MonkeyPatch, token: int) -> None:
    """Make a source embedding NaN, in a model whose matrices are not shared."""
    build = loop.build

    def injected(config: object) -> torch.nn.Module:
        model = build(config)  # type: ignore[arg-type]
        with torch.no_grad():
            model.get_parameter("src_embedding.tokens.weight")[token] = math.nan
        return model

    monkeypatch.setattr(loop, "build", injected)


def test_replay_finds_module_and_examples_of_non_finite_loss(
    corpus: dict, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(corpus, cache, *SHORT, "model.tying=none", "train.max_nonfinite_updates=1")
    prepared = loop.prepare_once(config)
    sources = prepared.train.stores[0]
    rows_of = Counter(token for row in range(len(sources)) for token in set(sources[row].tolist()))
    token = min(rows_of, key=lambda token: abs(rows_of[token] - 20))  # in some sentences, but not in most
    inject_nan_embedding(monkeypatch, token)
    with pytest.raises(ValueError, match="loss nan"):
        run(config, tmp_path / "run")
    (folder,) = (tmp_path / "run/failed_updates").iterdir()
    report = read_report(folder)
    command = [sys.executable, *report["replay"].split()[1:]]
    done = start(command, tmp_path, TRANSFORMER_DEBUG="1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"nan +nan +loss\n", done.stdout)
    assert "The first module with non-finite output is src_embedding.tokens, in micro-batch" in done.stdout
    AcceleratorState._reset_state(reset_partial_state=True)
    first = recompute(folder).first
    assert first is not None
    containing = [i for i in first.micro_batch.indices.tolist() if i >= 0 and token in sources[i]]
    assert first.indices == containing != []


def test_replay_rejects_other_data(failed_run: Path, tmp_path: Path) -> None:
    folder = failed_run / "failed_updates/update-00000003"
    other = json.loads((folder / "failed_update.json").read_text()) | {"data_fingerprint": "another"}
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "failed_update.json").write_text(json.dumps(other))
    (copy / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    with pytest.raises(ValueError, match="its data_fingerprint is another, but now it is"):
        recompute(copy)
    with pytest.raises(FileNotFoundError, match=r"it has no failed_update\.json"):
        recompute(tmp_path)


def test_replay_rejects_folder_of_older_version(tmp_path: Path) -> None:
    (tmp_path / "incident.json").write_text("{}")
    with pytest.raises(InputError, match="was written by an older version"):
        read_report(tmp_path)


def test_max_hours_saves_after_update_and_same_command_resumes(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uninterrupted, folder = tmp_path / "uninterrupted", tmp_path / "limited"
    run(config, uninterrupted)
    limited = replace(config, train=replace(config.train, max_hours=1e-9))
    for step in range(1, 6):
        AcceleratorState._reset_state(reset_partial_state=True)
        assert loop.train(limited, folder) is None
        assert f"is over: stopped after update {step}. The same command resumes" in capsys.readouterr().out
        assert not (folder / "model.safetensors").exists()
    run(limited, folder)
    assert (folder / "metrics.jsonl").read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()


TWO_RANKS_SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, {root!r})
from common.settings import load_settings
from train.config import RunConfig
from train.loop import train
from train.trainer import Trainer

backward, calls = Trainer.backward, 0

def injected(self, batch, weight):
    global calls
    calls += 1
    loss = backward(self, batch, weight)
    bad = self.accelerator.process_index == 1 and calls == 4  # the first call is the memory check
    return loss * float("nan") if bad else loss

Trainer.backward = injected
config = load_settings(RunConfig, None, sys.argv[1:])
train(config, Path(config.run_dir))
"""


def test_two_ranks_skip_update_that_fails_on_one_rank(corpus: dict, tmp_path: Path) -> None:
    script = tmp_path / "injected.py"
    script.write_text(TWO_RANKS_SCRIPT.format(root=str(Path(__file__).resolve().parents[3])))
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    where = [f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    done = start([*TWO_RANKS, str(script), *data, *SETTINGS, *SHORT, *where], tmp_path, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stdout
    assert [line["step"] for line in metrics(tmp_path / "run") if "skipped" in line] == [3]
    report = read_report(tmp_path / "run/failed_updates/update-00000003")
    assert {batch["rank"] for batch in report["micro_batches"]} == {0, 1}
    now = recompute(tmp_path / "run/failed_updates/update-00000003")
    assert now.gradient_norm == pytest.approx(report["gradient_norm"])


def scale_losses(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Use fp16 with its loss scaler on a CPU; the trainer itself does not allow that."""
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=scale, growth_interval=3)
    monkeypatch.setattr(trainer, "make_scaler", lambda precision, device: scaler())
    monkeypatch.setattr(trainer, "autocast", lambda precision, device: torch.autocast("cpu", torch.float16))


def test_too_high_loss_scale_is_lowered_and_run_continues(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scale_losses(monkeypatch, 2.0**23)
    lines = run(config, tmp_path / "run")
    skipped = [line["step"] for line in lines if "skipped" in line]
    assert skipped[0] == 1
    assert len(skipped) < 6
    assert "fp16 overflow, loss scale lowered" in capsys.readouterr().out
    assert not (tmp_path / "run/failed_updates").exists()
    assert "skipped" not in lines[-2]


def test_resume_restores_loss_scale_exactly(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_losses(monkeypatch, 2.0**23)
    uninterrupted, stopped = tmp_path / "uninterrupted", tmp_path / "stopped"
    run(config, uninterrupted)
    for steps in (2, 4, 6):  # at the first, the scale is still too high
        run(
            replace(
                config,
                train=replace(config.train, max_steps=steps),
                checkpoints=replace(config.checkpoints, average_last=1),
            ),
            stopped,
        )
    assert final_state(stopped) == final_state(uninterrupted)
    losses = [[line.get("loss") for line in metrics(folder) if "lr" in line] for folder in (uninterrupted, stopped)]
    assert losses[0] == losses[1]


def test_fp16_update_fails_if_no_loss_scale_makes_it_finite(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_losses(monkeypatch, 1.0)
    inject_infinity(monkeypatch, BEFORE)
    lines = run(config, tmp_path / "run")
    assert [line["step"] for line in lines if "skipped" in line] == [BEFORE + 1]
    assert (tmp_path / "run/failed_updates/update-00000003/failed_update.json").exists()


def test_replay_checks_logits_that_the_loss_computes() -> None:
    model = GPT(ModelConfig("gpt", vocab_size=9, d_model=8, n_heads=2, d_ff=8, n_layers=1, tying="none"))
    with torch.no_grad():
        model.output.weight[3] = math.nan
    with watch_outputs(model) as found:
        model(torch.ones(2, 4, dtype=torch.long), logits=False)
    assert found == [("output", [True, True])]
