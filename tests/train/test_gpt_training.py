"""A language model goes through the loop of the translator: it learns, continues exactly, starts from another."""

import json
import math
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from common.settings import last_overrides, load_settings
from data_pipeline.tokenizers import open_tokenizer
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from tests.train.test_distributed import LAUNCH, TWO_RANKS, start
from tests.train.test_training import run
from train import loop
from train.config import RunConfig
from train.schedule import cosine, last_level_step, learning_rate, wsd
from train.setup import make_setup
from transformer.pretrained import load_pretrained

TEXT = "".join(f"{i} sheep jump over {i % 7} gates, and then they sleep.\n" for i in range(400))
SETTINGS = [
    "model.architecture=gpt", "model.d_model=32", "model.n_layers=2", "model.n_heads=2", "model.d_ff=64",
    "model.max_len=32", "model.norm=pre", "model.positions=learned", "model.init=gpt2", "model.scale_embedding=false",
    "data.task=language_modelling", "data.vocab_type=characters", "batches.tokens_per_update=256",
    "batches.per_update=2", "schedule.warmup_steps=5", "schedule.name=cosine", "schedule.peak_lr=1e-2",
    "schedule.lowest_lr=1e-3", "optimizer.name=adamw", "train.label_smoothing=0", "train.max_steps=12",
    "train.log_every=1", "validation.every=4", "checkpoints.every=4", "checkpoints.keep=2",
    "checkpoints.average_last=1", "train.log_with=none", "train.threads=1", "validation.sample_tokens=20",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name the text."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "sheep.txt").write_text(TEXT)
    return [f"data.train={folder / 'sheep.txt'}", f"data.cache_dir={folder / 'cache'}"]


def make_config(data: list[str], *overrides: str) -> RunConfig:
    return load_settings(RunConfig, None, [*data, *SETTINGS, *overrides])


@pytest.fixture(scope="module")
def finished(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "gpt"
    run(make_config(data), folder)
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_train_writes_model_folder_that_generates(finished: Path) -> None:
    assert len(Generator.from_pretrained(finished).generate(["1 sheep"], SampleConfig(max_tokens=9))[0][0]) > 0
    card = (finished / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "transformer.generate" in card


def test_loss_starts_at_log_of_vocabulary_size_and_falls(finished: Path) -> None:
    losses = [line["loss"] for line in lines(finished) if "loss" in line]
    vocabulary = open_tokenizer(finished / "tokenizer.model").vocab_size
    assert losses[0] == pytest.approx(math.log(vocabulary), abs=0.2)
    assert losses[-1] < losses[0] - 0.5


def test_validation_equals_mean_loss_of_held_out_tokens(finished: Path, data: list[str]) -> None:
    valid = loop.prepare_once(make_config(data)).valid
    model, config = load_pretrained(finished)
    total = 0.0
    for micro_batch in valid.micro_batches(config.max_len, config.max_len):
        batch = valid.batch(micro_batch)
        logits = model(*batch.inputs)
        total += torch.nn.functional.cross_entropy(logits[0], batch.labels_BL[0], reduction="sum").item()
    last = [line for line in lines(finished) if "valid_loss" in line][-1]
    tokens = len(TEXT) - int(len(TEXT) * 0.9) - 1
    assert last["valid_loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert last["valid_ppl"] == pytest.approx(math.exp(last["valid_loss"]))
    characters = tokens + 1
    assert last["valid_bits_per_character"] == pytest.approx(last["valid_loss"] / math.log(2) * tokens / characters)


def test_train_prints_sample(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    single = ("train.max_steps=1", "schedule.warmup_steps=1")
    run(make_config(data, *single), tmp_path / "shown")
    sample = Generator.from_pretrained(tmp_path / "shown").generate([None], SampleConfig(max_tokens=20))[0][0]
    assert sample in capsys.readouterr().out
    run(make_config(data, *single, "validation.sample_tokens=0"), tmp_path / "silent")
    assert sample not in capsys.readouterr().out


def test_resumed_run_equals_uninterrupted_run(finished: Path, data: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "continued"
    run(make_config(data, "train.max_steps=4", "schedule.decay_steps=12"), folder)
    run(make_config(data), folder)
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_resume_fails_if_max_steps_would_change_cosine_decay_steps(finished: Path, data: list[str]) -> None:
    with pytest.raises(ValueError, match=r"schedule\.decay_steps was 12 and is 20"):
        run(make_config(data, "train.max_steps=20"), finished)


def test_resume_accepts_another_wsd_end_before_decay(data: list[str], tmp_path: Path) -> None:
    """The run is then bit-identical to a run that had the later end from the start."""
    level = ["schedule.name=wsd", "schedule.decay_share=0.5", "schedule.warmup_steps=4"]
    level += ["checkpoints.every=2", "validation.every=100"]
    run(make_config(data, *level, "train.max_steps=12"), tmp_path / "whole")
    run(make_config(data, *level, "train.max_steps=4", "schedule.decay_steps=8"), tmp_path / "moved")
    (tmp_path / "moved/checkpoints/regular-4 (copy)").mkdir()  # what a user keeps there is no checkpoint of ours
    run(make_config(data, *level, "train.max_steps=12"), tmp_path / "moved")
    logged = [[line["lr"] for line in lines(tmp_path / name) if "lr" in line] for name in ("whole", "moved")]
    assert logged[0] == logged[1] == [wsd(step, 1e-2, 1e-3, 4, 12, 0.5) for step in range(1, 13)]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "moved")]
    assert weights[0] == weights[1]
    with pytest.raises(ValueError, match=r"schedule\.decay_steps was 12 and is 40"):
        run(make_config(data, *level, "train.max_steps=40"), tmp_path / "moved")


def test_two_ranks_equal_single_rank_for_language_model(data: list[str], tmp_path: Path) -> None:
    exact = ["train.precision=float64", "model.dropout=0.0"]
    folders = {}
    for name, launcher, more in (("one", LAUNCH, []), ("two", TWO_RANKS, ["batches.micro_tokens=64"])):
        folders[name] = tmp_path / name
        command = [
            *launcher,
            "train/train.py",
            *last_overrides([*data, *SETTINGS, *exact, *more, f"run_dir={folders[name]}"]),
        ]
        if name == "one":
            command[len(LAUNCH) : len(LAUNCH)] = ["--num_processes", "1"]
        done = start(command, tmp_path, ACCELERATE_USE_CPU="true")
        assert done.returncode == 0, done.stderr
        assert f"{len(folders)} x cpu" in done.stdout
    one, two = (lines(folder) for folder in folders.values())
    assert len(one) == len(two) == 15
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, abs=1e-9)


def test_prompts_are_not_trained_on(tmp_path: Path) -> None:
    rows = [{"question": f"{i}? ", "text": "yes" if i % 2 else "no"} for i in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = [f"data.train={tmp_path / 'a.jsonl'}", f"data.cache_dir={tmp_path / 'cache'}"]
    config = make_config(data, "data.layout=documents", "data.prompt_column=question", "train.max_steps=60")
    setup = make_setup(config, loop.prepare_once(config))
    assert setup.prepared.valid.predicted_tokens == sum(len(row["text"]) + 1 for row in rows[180:])
    losses = [line["loss"] for line in run(config, tmp_path / "run") if "loss" in line]
    assert losses[-1] < 0.5, "the questions' digits, which nobody can guess, do not count"


@pytest.mark.parametrize("vocab_type", ["characters", "bpe"])
def test_model_of_documents_answers_prompts(tmp_path: Path, vocab_type: str) -> None:
    rows = [{"question": f"{'abcd'[i % 4]}>", "text": "wxyz"[i % 4]} for i in range(300)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = [f"data.train={tmp_path / 'a.jsonl'}", f"data.cache_dir={tmp_path / 'cache'}", "data.vocab_size=275"]
    more = [
        "data.layout=documents",
        "data.prompt_column=question",
        "train.max_steps=60",
        f"data.vocab_type={vocab_type}",
    ]
    run(make_config(data, *more, "batches.tokens_per_update=512"), tmp_path / "run")
    greedy = SampleConfig(temperature=0, max_tokens=1)
    answers = Generator.from_pretrained(tmp_path / "run").generate(["a>", "b>", "c>", "d>"], greedy)
    assert answers == [["w"], ["x"], ["y"], ["z"]]


# Starting from another model


def test_init_from_starts_with_loss_of_other_model(finished: Path, data: list[str], tmp_path: Path) -> None:
    start_loss = [line for line in lines(finished) if "valid_loss" in line][-1]["valid_loss"]
    quiet = (
        "schedule.peak_lr=1e-9",
        "schedule.lowest_lr=0",
        "train.max_steps=1",
        "model.dropout=0.0",
        "schedule.warmup_steps=1",
    )
    later = run(make_config(data, f"train.init_from={finished}", *quiet), tmp_path / "tuned")
    assert next(line for line in later if "valid_loss" in line)["valid_loss"] == pytest.approx(start_loss, rel=1e-6)


def test_resume_ignores_init_from(finished: Path, data: list[str], tmp_path: Path) -> None:
    again = f"train.init_from={finished}"
    whole = run(make_config(data, again, "train.max_steps=8"), tmp_path / "whole")
    run(make_config(data, again, "train.max_steps=4", "schedule.decay_steps=8"), tmp_path / "parts")
    assert run(make_config(data, again, "train.max_steps=8"), tmp_path / "parts") == whole


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.d_ff=48", "model.norm=post"],
            r"Set model\.d_ff=64 \(this run has 48\), model\.norm=pre \(this run has post\)",
        ),
        (["data.vocab_type=bpe", "data.vocab_size=300"], r"another vocabulary than this run\. Set data\.tokenizer="),
        (["train.init_from=nowhere"], "there is no model folder nowhere"),
        (["schedule.lowest_lr=1"], r"schedule\.lowest_lr is 1\.0; it must be at most schedule\.peak_lr, 0\.01"),
        (["batches.block=33"], "batches.block is 33; it must be at most model.max_len, 32"),
        (["model.max_len=20000"], "a block of 20000 needs 20001. Add text"),
    ],
)
def test_init_from_rejects_models_and_settings_that_do_not_match(
    finished: Path, data: list[str], tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(make_config(data, f"train.init_from={finished}", *overrides), tmp_path / "refused")


def test_init_from_copies_weights_of_translator(tmp_path: Path) -> None:
    small = [
        "data.train=grammar", "data.grammar_pairs=300", "data.vocab_size=350", "data.max_length=64",
        "model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32",
        "batches.tokens_per_update=4096", "train.max_steps=2", "train.log_with=none",
        "checkpoints.average_last=1", "validation.bleu_sentences=0", f"data.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    run(load_settings(RunConfig, None, small), tmp_path / "first")
    more = [*small, f"train.init_from={tmp_path / 'first'}", f"data.tokenizer={tmp_path / 'first'}"]
    more += ["data.seed=2", "schedule.scale=1e-9", "train.max_steps=1"]
    run(load_settings(RunConfig, None, more), tmp_path / "second")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    torch.testing.assert_close(before, after)


# Schedule and optimizer


def test_cosine_equals_values_computed_by_hand() -> None:
    rates = [cosine(step, peak=1.0, lowest=0.2, warmup_steps=10, decay_steps=110) for step in (1, 5, 10, 60, 110, 500)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 0.6, 0.2, 0.2])


def test_wsd_equals_values_computed_by_hand() -> None:
    rates = [
        wsd(step, 1.0, 0.2, warmup_steps=10, decay_steps=100, decay_share=0.4) for step in (5, 10, 60, 80, 100, 500)
    ]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize(("end", "share"), [(100, 0.4), (10, 0.3), (7, 0.5), (5, 1.0), (1, 0.01)])
def test_wsd_does_not_depend_on_end_before_decay(end: int, share: float) -> None:
    """Bit-identical, so a run may move its end there."""
    level = last_level_step(end, share)
    assert all(wsd(step, 0.3, 0.1, 1, end, share) == 0.3 for step in range(1, level + 1))
    assert wsd(level + 1, 0.3, 0.1, 1, end, share) < 0.3


def test_train_uses_schedule_of_settings(finished: Path, data: list[str]) -> None:
    settings = make_config(data, "schedule.decay_steps=12").schedule
    logged = [line["lr"] for line in lines(finished) if "lr" in line]
    assert logged == [learning_rate(step, settings, d_model=32) for step in range(1, 13)]
    assert logged == [cosine(step, 1e-2, 1e-3, 5, 12) for step in range(1, 13)]


def test_weight_decay_changes_only_matrices(data: list[str], tmp_path: Path) -> None:
    """Adam's first update moves a weight by the rate; decay adds rate x decay x weight, to matrices only."""
    config = make_config(data, "optimizer.weight_decay=0.5", "train.max_steps=1", "schedule.warmup_steps=1")
    run(config, tmp_path / "one")
    after = load_file(tmp_path / "one/model.safetensors")
    torch.manual_seed(config.train.seed)
    before = dict(loop.build(loop.replace(config.model, vocab_size=len(set(TEXT)))).named_parameters())
    matrix = "decoder.blocks.0.feed_forward.inner.weight"
    moved = (after[matrix] - before[matrix]).abs().max().item()
    rate = 1e-2
    assert moved == pytest.approx(rate * (1 + 0.5 * before[matrix].abs().max().item()), rel=0.1)
    norm = "decoder.norm.weight"
    assert (after[norm] - before[norm]).abs().max().item() <= rate * 1.001
