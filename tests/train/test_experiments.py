"""Sweeps: which runs there are, that each runs once, and what the report contains."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common.files import try_lock
from common.settings import dump_settings, flatten_settings, load_settings
from evaluate.test_sets import Selection
from train import experiments
from train.config import RunConfig
from train.experiment_report import PAPER, draw, make_rows, make_table, write_report
from train.experiments import Experiment, Sweep, plan
from train.sweep_progress import table
from transformer.model import Transformer, count_parameters

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Changes of base in Table 3 of the paper, and its parameters with a vocabulary of 37,000 (docs/paper.md).
TABLE_3: dict[str, tuple[dict[str, Any], int]] = {
    "base": ({}, 63_082_496),
    "A_h1": ({"model.n_heads": 1}, 63_082_496),
    "A_h4": ({"model.n_heads": 4}, 63_082_496),
    "A_h16": ({"model.n_heads": 16}, 63_082_496),
    "A_h32": ({"model.n_heads": 32}, 63_082_496),
    "B_dk16": ({"model.d_head": 16, "model.d_value": 64}, 55_990_784),
    "B_dk32": ({"model.d_head": 32, "model.d_value": 64}, 58_354_688),
    "C_N2": ({"model.n_layers": 2}, 33_656_832),
    "C_N4": ({"model.n_layers": 4}, 48_369_664),
    "C_N8": ({"model.n_layers": 8}, 77_795_328),
    "C_d256": ({"model.d_model": 256}, 26_834_944),
    "C_d1024": ({"model.d_model": 1024}, 163_889_152),
    "C_ff1024": ({"model.d_ff": 1024}, 50_487_296),
    "C_ff4096": ({"model.d_ff": 4096}, 88_272_896),
    "D_dropout0": ({"model.dropout": 0.0}, 63_082_496),
    "D_dropout0.2": ({"model.dropout": 0.2}, 63_082_496),
    "D_smoothing0": ({"train.label_smoothing": 0.0}, 63_082_496),
    "D_smoothing0.2": ({"train.label_smoothing": 0.2}, 63_082_496),
    "E_learned": ({"model.positions": "learned"}, 64_131_072),
    "big": (
        {
            "model.d_model": 1024,
            "model.d_ff": 4096,
            "model.n_heads": 16,
            "model.dropout": 0.3,
            "train.max_steps": 300000,
        },
        214_245_376,
    ),
}


@pytest.mark.parametrize("name", TABLE_3)
def test_file_of_table_3_differs_from_base_as_in_paper(name: str) -> None:
    changes, parameters = TABLE_3[name]
    config = load_settings(RunConfig, CONFIGS / f"table3/{name}.yaml")
    base = flatten_settings(RunConfig())
    assert {key: value for key, value in flatten_settings(config).items() if value != base[key]} == changes
    with torch.device("meta"):
        assert count_parameters(Transformer(config.model)) == parameters


@pytest.mark.parametrize("folder", ["table3", "table3_small"])
def test_folder_of_table_3_has_all_rows_of_paper(folder: str) -> None:
    rows = [one.row for one in plan(CONFIGS / folder, Path("runs"), [1])]
    with (CONFIGS / folder / PAPER).open(encoding="utf-8", newline="") as text:
        assert next(row["row"] for row in csv.DictReader(text)) == rows[0] == "base"
        text.seek(0)
        assert sorted(row["row"] for row in csv.DictReader(text)) == sorted(rows)
    assert Counter(row[0] for row in rows) == {"A": 4, "B": 2, "C": 7, "D": 4, "E": 1, "b": 2}


def write_folder(folder: Path, **files: str) -> Path:
    """Write one YAML file per argument. Return the folder."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with the rows base and deep, and settings of both."""
    return write_folder(
        tmp_path / "rows", base="{}", deep="model: {n_layers: 8}", common="model: {n_layers: 3, d_ff: 100}"
    )


def test_plan_puts_common_settings_below_file_and_overrides_above(rows: Path) -> None:
    base, deep = plan(rows, Path("runs"), [1], (), ["model.d_model=64"])
    assert (base.row, base.config.model.n_layers, deep.config.model.n_layers) == ("base", 3, 8)
    assert {one.config.model.d_ff for one in (base, deep)} == {100}
    assert {one.config.model.d_model for one in (base, deep)} == {64}
    (alone,) = plan(rows / "deep.yaml", Path("runs"), [1], (), ["model.d_model=64"])
    assert alone == deep
    assert (deep.folder, deep.config.train.seed) == (Path("runs/deep-seed1"), 1)


def test_plan_has_every_combination_of_grid_and_all_rows_with_first_seed_first(rows: Path) -> None:
    found = plan(rows / "deep.yaml", Path("runs"), [1, 2], ["model.n_heads=2,4", "data.train=[a.en,a.de],[b.en,b.de]"])
    assert [(one.seed, one.config.model.n_heads, one.config.data.train[0]) for one in found] == [
        (seed, heads, name) for seed in (1, 2) for heads in (2, 4) for name in ("a.en", "b.en")
    ]
    assert len({one.folder for one in found}) == 8


@pytest.mark.parametrize(
    ("grid", "overrides", "message"),
    [
        (["model.n_heads"], [], "write a setting with its values"),
        (["model.n_heads=2,2"], [], "is given twice"),
        (["model.n_heads=2,x"], [], "n_heads"),
        ([], ["size=auto"], "size=auto is not for a sweep"),
        ([], ["model.heads=2"], "there is no setting"),
    ],
)
def test_plan_rejects_wrong_settings_before_any_run(
    rows: Path, grid: list[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan(rows, Path("runs"), [1], grid, overrides)


def test_plan_rejects_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no YAML file"):
        plan(tmp_path, Path("runs"), [1])


def result(one: Experiment, bleu: float, **changes: Any) -> dict[str, Any]:
    """Return a result as a run writes it, with two sentences."""
    lengths = [10, 10, 8, 6, 4, 2, 10, 9, 8, 7]
    return {
        **{"settings": dump_settings(one.config), "score": [], "test_set": "t", "signature": "s", "parameters": 1000},
        **{"perplexity": 5.0, "bleu": bleu, "pronouns_right": None, "pronouns_all": None},
        **{"statistics": [lengths, lengths]},
        **changes,
    }


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Replace trainer and scorer by a program that writes a line to a file, and fails for the row deep."""
    calls = tmp_path / "calls"
    program = "import sys; open({!r}, 'a').write(sys.argv[1] + '\\n'); sys.exit('deep' in sys.argv[-1])"

    def start(sweep: Sweep, command: Sequence[str], log: Path, gpu: int | None) -> int:
        name = f"{command[0].rpartition('.')[2]} {log.stem}"
        return original(sweep, ["this_program", name], log, gpu)

    original = Sweep._start
    (tmp_path / "this_program.py").write_text(program.format(str(calls)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Sweep, "_start", start)
    monkeypatch.setattr(experiments, "_read_result", lambda one, figures: result(one, 30.0))
    return calls


def run(found: list[Experiment], at_once: int = 1) -> list[str]:
    return [one.name for one in Sweep(found, lambda sweep: None).run(at_once, 0)]


def test_failed_row_does_not_stop_others_and_only_it_runs_again(rows: Path, tmp_path: Path, commands: Path) -> None:
    found = plan(rows, tmp_path / "runs", [1, 2])
    assert sorted(run(found, at_once=2)) == ["deep-seed1", "deep-seed2"]
    once = ["bleu base-seed1", "bleu base-seed2", "train base-seed1", "train base-seed2"]
    assert sorted(commands.read_text().split("\n")[:-1]) == sorted([*once, "train deep-seed1", "train deep-seed2"])
    commands.unlink()
    run(found)
    assert commands.read_text().split("\n")[:-1] == ["train deep-seed1", "train deep-seed2"]


def test_other_settings_run_again(rows: Path, tmp_path: Path, commands: Path) -> None:
    run(plan(rows / "base.yaml", tmp_path / "runs", [1]))
    commands.unlink()
    run(plan(rows / "base.yaml", tmp_path / "runs", [1], (), ["model.d_ff=200"]))
    assert commands.read_text().split("\n")[:-1] == ["train base-seed1", "bleu base-seed1"]


@pytest.mark.parametrize("lock", [".base-seed1.lock", "base-seed1/.lock"])
def test_run_of_another_process_is_not_taken(rows: Path, tmp_path: Path, commands: Path, lock: str) -> None:
    """The lock of a sweep, and that of a trainer whose sweep was killed."""
    sweep = Sweep(plan(rows / "base.yaml", tmp_path / "runs", [1]), lambda sweep: None)
    with try_lock(tmp_path / "runs" / lock) as ours:
        assert ours
        assert sweep.run(1, 0) == []
    assert sweep.states == {"base-seed1": "elsewhere"}
    assert not commands.exists()


def test_gpus_are_shared_out(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(plan(rows / "base.yaml", tmp_path, [1]), lambda sweep: None)
    (tmp_path / "shows.py").write_text("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert sweep._start(["shows"], tmp_path / "log", 3) == 0
    assert (tmp_path / "log").read_text() == "3\n"


def write_results(found: list[Experiment], bleus: list[float], **changes: Any) -> None:
    for one, bleu in zip(found, bleus, strict=True):
        one.result_file.parent.mkdir(exist_ok=True)
        one.result_file.write_text(json.dumps(result(one, bleu, **changes)), encoding="utf-8")


def test_report_has_mean_and_spread_of_seeds_and_figures_of_paper(rows: Path, tmp_path: Path) -> None:
    found = plan(rows, tmp_path / "runs", [1, 2])
    write_results(found, [30.0, 33.0, 32.0, 35.0])  # base, deep, base, deep
    (rows / PAPER).write_text("row,bleu\nbase,25.8\n", encoding="utf-8")
    written = write_report(make_rows(found), "base", rows / PAPER, tmp_path / "runs")
    base, deep = (line.split(" | ") for line in written.splitlines()[2:4])
    assert base[4:6] == ["5.00 (5.00 to 5.00)", "31.0 (30.0 to 32.0)"]
    assert base[-1] == "25.8 |"
    assert deep[1] == "`model.n_layers=8`"
    assert deep[5:8] == ["34.0 (33.0 to 35.0)", "+3.0", "1.000"]  # their sentences are equal
    assert (tmp_path / "runs/report.csv").read_text().count("\n") == 3
    assert "<circle" in (tmp_path / "runs/report.svg").read_text()


def test_report_contains_what_is_finished(rows: Path, tmp_path: Path) -> None:
    found = plan(rows, tmp_path / "runs", [1])
    assert make_rows(found) == []
    write_results(found[1:], [33.0])
    (deep,) = make_rows(found)
    assert make_table([deep], "base", None)[1][5:8] == ["33.0", "", ""]


def test_report_rejects_different_test_sets_and_unknown_base(rows: Path, tmp_path: Path) -> None:
    found = plan(rows, tmp_path / "runs", [1])
    write_results(found[:1], [30.0])
    write_results(found[1:], [30.0], test_set="other")
    with pytest.raises(ValueError, match="different test sets or signatures"):
        make_rows(found)
    with pytest.raises(ValueError, match=r"--base x is not a row of this sweep\. The rows are base, deep"):
        make_rows(found, "x")


def test_picture_escapes_names_of_rows(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rows", **{"<script>": "{}"})
    found = plan(folder, tmp_path / "runs", [1])
    write_results(found, [30.0])
    assert "<script>" not in draw(make_rows(found), "<script>")


def test_progress_has_a_line_per_row_and_a_column_per_seed(rows: Path, tmp_path: Path) -> None:
    found = plan(rows, tmp_path / "runs", [1, 2])
    states = dict.fromkeys((one.name for one in found), "waiting") | {"deep-seed2": "training"}
    lines = [line.split() for line in table(found, states)]
    assert lines[1:] == [["base", "waiting", "waiting"], ["deep", "waiting", "training,", "0%"]]


def test_sweep_trains_scores_and_reports(tmp_path: Path) -> None:
    tiny = ["data.train=grammar", "data.grammar_pairs=300", "data.vocab_size=400", "data.max_length=40"]
    tiny += [f"data.cache_dir={tmp_path / 'cache'}", "train.threads=1"]
    tiny += ["model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=16", "decode.max_extra=2"]
    tiny += ["batches.tokens_per_update=400", "batches.buckets=2", "train.max_steps=2", "train.log_with=none"]
    folder = write_folder(tmp_path / "rows", base="{}")
    tiny += ["checkpoints.every=1", "validation.bleu_sentences=0"]
    (tmp_path / "test.en").write_text("The dog sleeps.\nThe cat sleeps.\n", encoding="utf-8")
    (tmp_path / "test.de").write_text("Der Hund schläft.\nDie Katze schläft.\n", encoding="utf-8")
    selection = Selection(tmp_path / "test.en", (tmp_path / "test.de",), languages=("en", "de"))
    found = plan(folder, tmp_path / "runs", [1], (), tiny, selection)
    assert Sweep(found, lambda sweep: None).run(1, 0) == [], found[0].log_file.read_text()
    (row,) = make_rows(found)
    assert row.values("perplexity")[0] > 1
    assert len(row.results[0]["statistics"]) == 2
    assert row.results[0]["parameters"] == count_parameters(Transformer(replace(found[0].config.model, vocab_size=400)))
