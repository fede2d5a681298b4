"""The commit of a checkout."""

import subprocess
from pathlib import Path

from common.versions import git_commit


def test_git_commit_is_none_outside_of_checkout_and_in_its_subfolders(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert git_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == f"{commit} and changes since"
    (tmp_path / "inside").mkdir()
    assert git_commit(tmp_path / "inside") is None
