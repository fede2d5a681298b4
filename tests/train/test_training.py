"""The loop, on a small corpus: it learns, continues exactly, refuses what would spoil a run, ends cleanly."""

import json
import os
import re
import shutil
import signal
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from common.errors import InputError
from common.files import lock
from common.settings import dump_settings, load_saved_settings, load_settings
from data_pipeline import prepare_pairs
from data_pipeline.config import AUGMENTATIONS
from data_pipeline.micro_batches import Update
from evaluate.config import DecodeConfig
from evaluate.test_sets import Selection
from evaluate.translator import Translator
from tests.conftest import make_pairs, write_parallel
from tests.terminal import terminal_for_messages
from train import loop
from train.comparison.comparison import compare_runs
from train.config import RunConfig
from train.run import checkpoints as checkpoint
from train.run.checkpoints import Checkpoints, load_mean
from train.run.metrics_log import read_samples
from train.run.model_folder import write_model_folder
from train.stop import SIGNALS
from train.trainer import StepResult, Trainer
from train.validation import Validation
from transformer.model import Transformer
from transformer.pretrained import load_pretrained

SETTINGS = [
    "model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "data.vocab_size=340",
    "data.max_length=64", "batches.tokens_per_update=2048", "batches.per_update=2", "schedule.warmup_steps=30",
    "train.max_steps=12", "train.log_every=1", "validation.every=4", "validation.bleu_sentences=5",
    "checkpoints.every=4", "checkpoints.keep=2", "checkpoints.average_last=2", "train.log_with=none",
    "train.threads=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(corpus: dict[str, list[str]], cache: Path) -> RunConfig:
    return make_config(corpus, cache)


def make_config(corpus: dict[str, list[str]], cache: Path, *overrides: str) -> RunConfig:
    data = [f"data.{role}=[{','.join(files)}]" for role, files in corpus.items()]
    return load_settings(RunConfig, None, [*data, f"data.cache_dir={cache}", *SETTINGS, *overrides])


def run(config: RunConfig, folder: Path) -> list[dict]:
    AcceleratorState._reset_state(reset_partial_state=True)
    loop.train(config, folder)
    return metrics(folder)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(corpus: dict[str, list[str]], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 12 updates."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    AcceleratorState._reset_state(reset_partial_state=True)
    loop.train(make_config(corpus, cache), folder)
    return folder


def test_train_writes_model_folder_that_translates(finished: Path) -> None:
    files = {"config.json", "model.safetensors", "tokenizer.model", "README.md", "config.yaml", "metrics.jsonl"}
    assert files <= {path.name for path in finished.iterdir()}
    translations = Translator.from_pretrained(finished)(["one two.", "", "three."])
    assert len(translations) == 3
    assert translations[1] == ""


def test_train_lowers_loss_and_logs_every_update_once(finished: Path) -> None:
    losses = [line["loss"] for line in metrics(finished) if "loss" in line]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.3
    assert [line["step"] for line in metrics(finished) if "valid_loss" in line] == [4, 8, 12]


def test_first_update_equals_adam_with_learning_rate_of_eq_3(corpus: dict, cache: Path, tmp_path: Path) -> None:
    """The first update of Adam moves each weight by the rate times the sign of its gradient (bias correction)."""
    config = make_config(corpus, cache, "train.max_steps=1", "checkpoints.average_last=1")
    lines = run(config, tmp_path / "one")
    rate = 32**-0.5 * 30**-1.5
    assert lines[0]["lr"] == pytest.approx(rate)
    torch.manual_seed(config.train.seed)
    before = dict(Transformer(replace(config.model, vocab_size=340)).named_parameters())
    after = load_file(tmp_path / "one/model.safetensors")
    moved = torch.cat(
        [(after[name] - before[name].detach()).abs().flatten() for name in after if "key.bias" not in name]
    )
    assert moved.max().item() == pytest.approx(rate, rel=1e-3)
    assert moved[moved > 0].median().item() == pytest.approx(rate, rel=1e-3)
    moments = load_file(tmp_path / "one/checkpoints/final-00000001/optimizer.safetensors")
    name = next(key.removesuffix("_sq") for key in moments if key.endswith("exp_avg_sq"))
    gradient = moments[name] / (1 - 0.9)
    torch.testing.assert_close(moments[f"{name}_sq"], gradient**2 * (1 - 0.98), rtol=1e-3, atol=1e-12)


def test_model_folder_contains_mean_of_last_checkpoints(finished: Path) -> None:
    parts = [load_file(path / "model.safetensors") for path in Checkpoints(finished / "checkpoints").to_average()]
    assert len(parts) == 2
    folder = load_pretrained(finished)[0].state_dict()
    for name, tensor in parts[0].items():
        torch.testing.assert_close(folder[name], (tensor + parts[1][name]) / 2)
    assert "mean of the weights after updates 8, 12" in (finished / "README.md").read_text()


def test_write_model_folder_accepts_last_and_best_checkpoint(finished: Path, tmp_path: Path) -> None:
    write_model_folder(finished, last=1, out=tmp_path / "last")
    write_model_folder(finished, last=1, best=True, out=tmp_path / "best")
    last = load_file(finished / "checkpoints/regular-00000012/model.safetensors")
    loaded = load_pretrained(tmp_path / "last")[0].state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in last.items())
    assert Translator.from_pretrained(tmp_path / "best")(["one."]) is not None


def test_model_folder_contains_decode_settings(finished: Path, tmp_path: Path) -> None:
    write_model_folder(finished, last=1, out=tmp_path / "out")
    for folder in (finished, tmp_path / "out"):
        assert json.loads((folder / "config.json").read_text())["decode"] == asdict(DecodeConfig())


def test_repeated_run_is_bit_identical(finished: Path, config: RunConfig, tmp_path: Path) -> None:
    run(config, tmp_path / "again")
    for log in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "again" / log).read_bytes() == (finished / log).read_bytes()
    assert (tmp_path / "again/model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_resumed_run_equals_uninterrupted_run(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "continued"
    run(make_config(corpus, cache, "train.max_steps=4"), folder)
    with (folder / "metrics.jsonl").open("a") as file:  # a run that was killed after it had logged more
        file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"step": 8, "attention": {}}\n{"step": 1')
    run(make_config(corpus, cache), folder)
    for log in ("metrics.jsonl", "samples.jsonl"):
        assert (folder / log).read_bytes() == (finished / log).read_bytes()
    for file in ("model.safetensors", "optimizer.safetensors"):
        last = "checkpoints/regular-00000012"
        assert (folder / last / file).read_bytes() == (finished / last / file).read_bytes()


OLD_SECTIONS = """\
data:
  kind: pairs
  given_column: null
train:
  seed: 1
  max_steps: 4
  max_hours: null
  tokens_per_update: 2048
  bricks: 2
  block: null
  shapes: 24
  micro_tokens: null
  init_from: null
  schedule: noam
  warmup_steps: 30
  lr_scale: 1.0
  peak_lr: 0.001
  lowest_lr: 0.0001
  decay_steps: null
  decay_share: 0.3
  optimizer: adam
  weight_decay: 0.1
  adam_beta1: 0.9
  adam_beta2: 0.98
  adam_eps: 1.0e-09
  label_smoothing: 0.1
  clip_norm: null
  max_bad_updates: 3
  deterministic: false
  precision: 'no'
  compile: false
  threads: 1
  log_every: 1
  log_with: none
  valid_every: 4
  valid_bleu_sentences: 5
  sample_tokens: 200
  checkpoint_every: 4
  keep_checkpoints: 2
  average_last: 2
"""
"""The sections `data` (where names differ) and `train` of a `config.yaml` as version 519d8ed wrote it."""


def make_old(folder: Path) -> None:
    """Give a run folder the config that the version before the sections would have written."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    old = yaml.safe_load(OLD_SECTIONS)
    kept = {name: value for name, value in config["data"].items() if name not in ("task", "prompt_column")}
    sections = {"model": config["model"], "data": old["data"] | kept, "train": old["train"], "decode": config["decode"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(sections | {"run_dir": config["run_dir"]}, sort_keys=False))


def test_train_resumes_run_with_old_setting_names(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    run(make_config(corpus, cache, "train.max_steps=4"), folder)
    make_old(folder)
    run(make_config(corpus, cache), folder)
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_train_resumes_run_without_settings_of_sampled_pairs(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path
) -> None:
    run(make_config(corpus, cache, "train.max_steps=4"), tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    for name in ("bpe_dropout", *AUGMENTATIONS):
        del config["data"][name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run(make_config(corpus, cache), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_train_names_changed_setting_of_run_with_old_names_by_its_new_name(
    corpus: dict, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    run(make_config(corpus, cache, "train.max_steps=4"), folder)
    make_old(folder)
    with pytest.raises(InputError, match=r"batches\.per_update was 2 and is 4"):
        run(make_config(corpus, cache, "batches.per_update=4"), folder)


def test_train_resumes_from_older_checkpoint_if_newest_is_damaged(
    finished: Path, config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    weights = folder / "checkpoints/regular-00000012/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    run(config, folder)
    assert "regular-00000012: model.safetensors was changed after it was written" in capsys.readouterr().err
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_train_fails_if_all_checkpoints_are_damaged(finished: Path, config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    for path in (folder / "checkpoints").glob("regular-*"):
        (path / "optimizer.safetensors").unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        ValueError, match=r"all checkpoints .* are damaged \(regular-00000012: optimizer.safetensors is missing; reg"
    ):
        run(config, folder)
    assert sorted(folder.rglob("*")) == before


def test_train_repairs_damaged_metrics_and_tokenizer_of_run_folder(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    run(make_config(corpus, cache, "train.max_steps=8"), folder)
    (folder / "metrics.jsonl").write_text('{"step": 1, "lo')
    (folder / "tokenizer.model").write_bytes(b"")
    run(make_config(corpus, cache), folder)
    for name in ("metrics.jsonl", "tokenizer.model", "model.safetensors"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize("name", ["config.yaml", "identity.json"])
def test_train_fails_if_settings_of_run_folder_are_lost(
    finished: Path, config: RunConfig, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "lost"
    shutil.copytree(finished, folder)
    (folder / name).write_text("")
    with pytest.raises(ValueError, match=f"{name} is missing or empty"):
        run(config, folder)


def test_checkpoint_files_have_equal_permissions(finished: Path) -> None:
    assert len({path.stat().st_mode for path in (finished / "checkpoints").glob("*/*")}) == 1


def test_train_does_not_change_finished_run(finished: Path, config: RunConfig) -> None:
    before = (finished / "metrics.jsonl").read_bytes(), (finished / "model.safetensors").read_bytes()
    run(config, finished)
    assert ((finished / "metrics.jsonl").read_bytes(), (finished / "model.safetensors").read_bytes()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_after_update_and_same_command_resumes(
    finished: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    folder, step = tmp_path / "interrupted", Trainer.step

    def interrupt(self: Trainer, update: Update, *rest: Any) -> StepResult:
        if update.step == 5:
            os.kill(os.getpid(), number)
        return step(self, update, *rest)

    monkeypatch.setattr(Trainer, "step", interrupt)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert loop.train(config, folder) == number
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == [
        "best-00000004", "interrupted-00000006", "regular-00000004",
    ]  # fmt: skip
    assert not (folder / "model.safetensors").exists()
    monkeypatch.setattr(Trainer, "step", step)
    run(config, folder)
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert not list((folder / "checkpoints").glob("interrupted-*"))


def test_train_resumes_run_that_ended_between_two_checkpoints(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "between"
    run(make_config(corpus, cache, "train.max_steps=6"), folder)
    assert [p.name for p in Checkpoints(folder / "checkpoints").to_average()] == ["regular-00000004", "final-00000006"]
    run(make_config(corpus, cache), folder)
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert not list((folder / "checkpoints").glob("final-*"))


def test_train_rejects_changed_data_under_same_names(cache: Path, tmp_path: Path) -> None:
    corpus = {
        "train": write_parallel(tmp_path, "t", make_pairs(200)),
        "valid": write_parallel(tmp_path, "v", make_pairs(9)),
    }
    config = make_config(corpus, cache, "train.max_steps=1", "data.test=null", "checkpoints.average_last=1")
    run(config, tmp_path / "run")
    tokenizer = (tmp_path / "run/tokenizer.model").read_bytes()
    write_parallel(tmp_path, "t", make_pairs(210))
    with pytest.raises(
        ValueError,
        match=r"contains a run on different data: data\.train: .*t\.en has other content than before \(\d+ b",
    ):
        run(config, tmp_path / "run")
    assert (tmp_path / "run/tokenizer.model").read_bytes() == tokenizer


def test_train_resumes_after_corpus_moved(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run(make_config(corpus, cache, "train.max_steps=4"), folder)
    moved = {role: [shutil.copy(file, str(tmp_path)) for file in files] for role, files in corpus.items()}
    capsys.readouterr()
    run(make_config(moved, tmp_path / "cache"), folder)
    note = rf"note: data\.train was .* and is .*{tmp_path}/train\.en.*; data\.valid was .*so the run resumes\n"
    assert re.search(note, capsys.readouterr().err)
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert f"{tmp_path}/train.en" in (folder / "config.yaml").read_text()


def test_train_rejects_other_content_at_another_path(cache: Path, tmp_path: Path) -> None:
    valid = write_parallel(tmp_path, "v", make_pairs(9))
    one, two = ({"train": write_parallel(tmp_path, name, make_pairs(200)), "valid": valid} for name in ("t", "u"))
    settings = ("train.max_steps=1", "data.test=null", "checkpoints.average_last=1")
    run(make_config(one, cache, *settings), tmp_path / "run")
    changed = Path(two["train"][1])
    changed.write_text(changed.read_text().replace("eins", "nein"))
    with pytest.raises(
        ValueError, match=r"different data: data\.train: .*u\.de has other content than .*t\.de had \(of eq"
    ):
        run(make_config(two, cache, *settings), tmp_path / "run")


def test_train_rejects_data_that_another_version_prepared(
    corpus: dict, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_config(corpus, cache, "train.max_steps=1", "checkpoints.average_last=1"), tmp_path / "run")
    tokenizer = tmp_path / "run/tokenizer.model"
    learn = prepare_pairs.train_tokenizer
    monkeypatch.setattr(prepare_pairs, "train_tokenizer", lambda lines, *rest: learn(iter(list(lines)[:600]), *rest))
    other = (corpus, tmp_path / "cache", "train.max_steps=2", "checkpoints.average_last=1")
    with pytest.raises(
        InputError, match=r"other prepared data \(tokenizer\.model, train.* Set data\.tokenizer=.*/run/tok"
    ):
        run(make_config(*other), tmp_path / "run")
    assert [line["step"] for line in run(make_config(*other, f"data.tokenizer={tokenizer}"), tmp_path / "run")][-1] == 2


def test_train_resumes_run_without_checksums_of_data(corpus: dict, cache: Path, tmp_path: Path) -> None:
    """Older versions wrote only the fingerprint and the version of the batch plan."""
    run(make_config(corpus, cache, "train.max_steps=4"), tmp_path / "run")
    file = tmp_path / "run/identity.json"
    file.write_text(json.dumps({name: json.loads(file.read_text())[name] for name in ("data", "plan")}))
    run(make_config(corpus, cache, "train.max_steps=5"), tmp_path / "run")


@pytest.mark.parametrize("text", ["[]", '{"data": "x", "files": 3}', '{"files": [{"file": 1}]}', '{"prepared": "x"}'])
def test_train_fails_if_identity_has_another_form(finished: Path, config: RunConfig, tmp_path: Path, text: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/identity.json").write_text(text)
    with pytest.raises(InputError, match=r"identity\.json is damaged, so the run cannot resume"):
        run(config, tmp_path / "run")


def test_train_rejects_run_of_another_plan_version(corpus: Path, cache: Path, tmp_path: Path) -> None:
    config = make_config(corpus, cache, "train.max_steps=1", "checkpoints.average_last=1")
    run(config, tmp_path / "run")
    file = tmp_path / "run/identity.json"
    file.write_text(file.read_text().replace('"plan": ', '"plan": 90'))
    with pytest.raises(ValueError, match=r"another batch plan \(plan version 90\d; this version .* has \d\)"):
        run(config, tmp_path / "run")


def test_train_accepts_other_settings_before_first_checkpoint(corpus: dict, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batches\.micro_tokens=1 is too small"):
        run(make_config(corpus, cache, "batches.micro_tokens=1"), tmp_path / "new")
    run(make_config(corpus, cache, "train.max_steps=1", "checkpoints.average_last=1"), tmp_path / "new")


def test_train_accepts_moved_run_folder(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    run(make_config(corpus, cache, f"run_dir={moved}/"), moved)


def test_train_shows_live_line_on_terminal_and_prints_the_same_lines(
    corpus: dict, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(corpus, cache, "train.max_steps=4", "checkpoints.average_last=1")

    def lines() -> list[str]:
        return [re.split(r"[\d/]", line)[0] for line in capsys.readouterr().out.splitlines()]

    plain, printed = run(config, tmp_path / "a"), lines()
    with terminal_for_messages(columns=100) as terminal:
        assert run(config, tmp_path / "b") == plain
        shown = terminal.text()
    assert lines() == printed
    assert "step 0/4 |" in shown
    assert "| validating | " in shown
    assert shown.endswith(" \r"), "the line is removed at the end"


def test_tensorboard_has_each_step_once_after_restart(corpus: dict, cache: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, tracked = tmp_path / "tracked", ("train.log_with=tensorboard", "checkpoints.average_last=1")
    run(make_config(corpus, cache, *tracked, "train.max_steps=3"), folder)
    shutil.rmtree(folder / "checkpoints")  # as if it had been killed before the first of them
    run(make_config(corpus, cache, *tracked, "train.max_steps=3"), folder)
    logged = run(make_config(corpus, cache, *tracked, "train.max_steps=5"), folder)
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]

    logged += [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    names = {name for line in logged for name in line} - {"step", "time"}
    assert {"valid_loss", "valid_bleu", "tgt_tokens_per_second", "memory_mib"} <= names
    for name in names:
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == {line["step"]: pytest.approx(line[name]) for line in logged if name in line}
    samples = read_samples(folder)
    for number, translation in enumerate(samples[-1]["translations"], 1):
        texts = {  # this reader keeps texts of before the restart, too
            event.step: event.tensor_proto.string_val[0].decode()
            for event in events.Tensors(f"sample/{number}/text_summary")
        }
        assert list(texts) == [line["step"] for line in samples]
        assert all(cell in texts[5] for cell in translation)
    pictures = events.Images("attention")
    assert [picture.step for picture in pictures] == [line["step"] for line in samples]
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")


def test_compare_translates_validation_set(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        shutil.copytree(finished, folder)
    config = load_saved_settings(RunConfig, folders[1] / "config.yaml")
    other = replace(config, train=replace(config.train, seed=2))
    (folders[1] / "config.yaml").write_text(dump_settings(other), encoding="utf-8")
    found = compare_runs(folders, Selection(), validation=True)
    assert [len(group.runs) for group in found.groups] == [2]
    (one,) = found.test_sets
    assert (one.name, one.rows[1][0], one.differences) == ("validation", "one (2 seeds)", [])
    assert len((folders[1] / "eval/validation.hyp").read_text().splitlines()) == 40


def test_train_clips_gradients_and_logs_their_norm(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    lines = run(make_config(corpus, cache, "optimizer.clip_norm=1e-6", "train.max_steps=4"), tmp_path / "clipped")
    free = metrics(finished)
    assert lines[0]["gradient_norm"] == pytest.approx(free[0]["gradient_norm"])
    assert lines[0]["loss"] == free[0]["loss"]
    assert lines[3]["loss"] != free[3]["loss"]


def test_train_stops_before_non_finite_gradient_reaches_weights(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = Trainer.gradient_norm

    def inject(self: Trainer) -> torch.Tensor:
        next(iter(self.model.parameters())).grad[0, 0] = float("inf")  # type: ignore[index]
        return norm(self)

    monkeypatch.setattr(Trainer, "gradient_norm", inject)
    with pytest.raises(ValueError, match=r"were not finite .update 3: loss .*, gradient norm inf."):
        run(config, tmp_path / "inf")
    assert not (tmp_path / "inf/checkpoints").exists()


def test_full_disk_does_not_damage_older_checkpoints(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "full"
    shutil.copytree(finished, folder)

    def full(path: Path, tensors: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    longer = make_config(corpus, cache, "train.max_steps=16")
    with pytest.raises(OSError, match="No space left"):
        run(longer, folder)
    monkeypatch.undo()
    assert all(checkpoint.find_damage(path) is None for path in Checkpoints(folder / "checkpoints").to_average())
    run(longer, folder)
    assert metrics(folder)[-1]["step"] == 16


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.precision=fp16", "fp16 needs a CUDA GPU"),
        ("train.log_with=trackio", "needs a package that is not installed. Run: pip install trackio"),
        ("model.architecture=gpt", "Set data.task=language_modelling for gpt"),
        ("model.vocab_size=77", "Leave out model.vocab_size"),
    ],
)
def test_train_rejects_invalid_settings(corpus: dict, cache: Path, tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(make_config(corpus, cache, setting), tmp_path / "refused")


def test_train_lists_changed_settings_of_run_folder(finished: Path, corpus: dict, cache: Path) -> None:
    other = make_config(corpus, cache, "model.dropout=0.2", "train.seed=7")
    with pytest.raises(ValueError, match=r"model\.dropout was 0\.1 and is 0\.2; train\.seed was 1 and is 7"):
        run(other, finished)


def test_train_accepts_more_steps_and_other_logging(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "longer"
    shutil.copytree(finished, folder)
    lines = run(make_config(corpus, cache, "train.max_steps=14", "train.log_every=7"), folder)
    assert [line["step"] for line in lines if "loss" in line] == [*range(1, 13), 14]


def test_train_fails_if_run_folder_is_locked(
    finished: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "lock", partial(lock, timeout=0.5))
    with (
        lock(finished / ".lock", timeout=0),
        pytest.raises(ValueError, match="another process is working in"),
    ):
        run(config, finished)


def test_dropout_and_order_depend_on_seed(finished: Path, corpus: dict, cache: Path, tmp_path: Path) -> None:
    lines = run(make_config(corpus, cache, "train.seed=2", "train.max_steps=2"), tmp_path / "other")
    assert lines[0]["loss"] != metrics(finished)[0]["loss"]


@pytest.mark.parametrize("precision", ["bf16", "float64"])
def test_other_precisions_give_similar_loss(
    finished: Path, corpus: dict, cache: Path, tmp_path: Path, precision: str
) -> None:
    config = make_config(corpus, cache, f"train.precision={precision}", "train.max_steps=4")
    lines = run(config, tmp_path / precision)
    assert lines[3]["loss"] == pytest.approx(metrics(finished)[3]["loss"], rel=0.02)


def test_nan_validation_is_not_best_checkpoint(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN at update 4 must not win against the finite losses at updates 8 and 12, nor get into a JSON file."""
    losses = iter([float("nan"), 5.0, 6.0])
    monkeypatch.setattr(loop, "validate", lambda *_: Validation({"valid_loss": next(losses)}, []))
    run(config, tmp_path / "nan")
    checkpoints = tmp_path / "nan/checkpoints"
    assert [path.name for path in checkpoints.glob("best-*")] == ["best-00000008"]
    for file in (tmp_path / "nan/metrics.jsonl", *checkpoints.glob("*/progress.json")):
        assert "NaN" not in file.read_text()


@pytest.mark.parametrize(
    ("loss", "best", "better"),
    [(2.0, None, True), (2.0, 3.0, True), (3.0, 2.0, False), (2.0, float("nan"), True), (float("nan"), None, False)],
)
def test_is_better_never_chooses_nan(loss: float, best: float | None, better: bool) -> None:
    assert loop.is_better(loss, best) == better


def test_train_restores_signal_handlers(finished: Path, config: RunConfig) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    run(config, finished)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_train_stops_before_non_finite_loss_reaches_weights(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = Trainer.backward
    monkeypatch.setattr(Trainer, "backward", lambda *a, **k: backward(*a, **k) * float("nan"))
    with pytest.raises(
        ValueError,
        match=r"loss nan.*The weights are those after update 0\..* lower schedule\.scale",
    ):
        run(config, tmp_path / "nan")


def test_train_rejects_world_size_that_accelerate_does_not_use(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2, but accelerate sees 1 process"):
        run(config, tmp_path / "alone")


def test_train_rejects_max_len_below_longest_sentence(corpus: dict, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a training sentence has \d+ tokens but model\.max_len is 8"):
        run(make_config(corpus, cache, "model.max_len=8"), tmp_path / "short")


def test_resumed_run_with_muon_and_mean_of_weights_equals_uninterrupted_run(
    corpus: dict, cache: Path, tmp_path: Path
) -> None:
    settings = ("optimizer.name=muon", "train.ema_decay=0.8", "model.attention_dropout=0.2", "train.max_steps=8")
    run(make_config(corpus, cache, *settings), tmp_path / "whole")
    run(make_config(corpus, cache, *settings[:-1], "train.max_steps=4"), tmp_path / "resumed")
    run(make_config(corpus, cache, *settings), tmp_path / "resumed")
    for file in ("metrics.jsonl", "model.safetensors", "checkpoints/regular-00000008/optimizer.safetensors"):
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize("sampled", [("data.bpe_dropout=0.1",), ("data.augment_upper=0.2", "data.augment_typos=0.3")])
def test_resumed_run_with_sampled_pairs_equals_uninterrupted_run(
    corpus: dict, cache: Path, tmp_path: Path, sampled: tuple[str, ...]
) -> None:
    settings = (*sampled, "train.max_steps=24", "validation.every=100")  # 24 updates are three epochs
    run(make_config(corpus, cache, *settings), tmp_path / "whole")
    run(make_config(corpus, cache, *settings, "train.max_steps=9"), tmp_path / "resumed")
    run(make_config(corpus, cache, *settings), tmp_path / "resumed")
    for file in ("model.safetensors", "checkpoints/regular-00000024/optimizer.safetensors"):
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_model_folder_contains_exponential_mean_of_weights(corpus: dict, cache: Path, tmp_path: Path) -> None:
    run(make_config(corpus, cache, "train.ema_decay=0.8", "train.max_steps=8"), tmp_path)
    states = [load_mean(path) for path in Checkpoints(tmp_path / "checkpoints").to_average()]
    folder = load_file(tmp_path / "model.safetensors")
    best = load_file(tmp_path / "checkpoints/best-00000008/model.safetensors")
    for name, tensor in folder.items():
        torch.testing.assert_close(tensor, (states[0][name] + states[1][name]) / 2)
        assert torch.equal(best[name], states[1][name])
    assert "exponential mean (decay 0.8) of the weights after updates 4, 8" in (tmp_path / "README.md").read_text()
