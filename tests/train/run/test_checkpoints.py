"""Checkpoints: old formats, and folders that a killed process left."""

import ast
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from common.errors import InputError
from train.run import checkpoints
from train.run.checkpoints import Checkpoints, RunState, find_damage, read_state

ROOT = Path(__file__).resolve().parents[3]
NOT_ON_WINDOWS = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}


def save(folder: Path, state: RunState, metrics: str = "") -> Path:
    """Write a regular checkpoint and return its folder."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    Checkpoints(folder).save("regular", model, optimizer, state, metrics, keep=3)
    return folder / f"regular-{state.step:08d}"


def test_read_state_reads_what_save_wrote(tmp_path: Path) -> None:
    state = RunState(3, best_step=2, best_loss=1.5, nonfinite_updates=1)
    assert read_state(save(tmp_path, state)) == state


def test_read_state_accepts_name_of_older_checkpoints(tmp_path: Path) -> None:
    folder = write_state(tmp_path, {"step": 3, "bad_updates": 2})
    assert read_state(folder) == RunState(3, nonfinite_updates=2)


@pytest.mark.parametrize("content", [[], {"steps": 3}, {"step": 4}, {"step": 3, "nonfinite_updates": "1"}])
def test_read_state_rejects_content_that_no_run_writes(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"progress\.json is not the state of a run"):
        read_state(write_state(tmp_path, content))


def write_state(folder: Path, content: object) -> Path:
    """Write the state of a checkpoint after update 3. Return its folder."""
    checkpoint = folder / "regular-00000003"
    checkpoint.mkdir()
    (checkpoint / "progress.json").write_text(json.dumps(content))
    return checkpoint


def test_save_leaves_no_folder_if_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no space")

    save(tmp_path, RunState(1))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_manifest", fail)
        with pytest.raises(OSError, match="no space"):
            save(tmp_path, RunState(2))
    assert [path.name for path in tmp_path.iterdir()] == ["regular-00000001"]
    assert find_damage(tmp_path / "regular-00000001") is None


def test_save_removes_folders_that_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / ".regular-00000001-0a1b2c3d").mkdir()
    (tmp_path / ".regular-00000001.tmp").mkdir()  # the name in older versions
    save(tmp_path, RunState(2))
    assert [path.name for path in tmp_path.iterdir()] == ["regular-00000002"]


def test_train_imports_no_modules_that_windows_lacks() -> None:
    """At the top of a module. Functions that need such a module import it themselves."""
    for file in (ROOT / "train").rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not NOT_ON_WINDOWS & set(names), file
