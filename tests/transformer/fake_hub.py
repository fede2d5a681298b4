"""A Hugging Face Hub for tests without a network."""

from pathlib import Path

import huggingface_hub
import pytest


def set_hub(monkeypatch: pytest.MonkeyPatch, answers: bool, cached: Path | None) -> None:
    """Replace the Hub by one that has every model or does not answer, and set the content of the local cache."""

    def model_info(self: object, name: str, timeout: float) -> None:
        if not answers:
            raise ConnectionError("several\nlines of the client")

    def snapshot_download(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert local_files_only is not answers
        if cached is None:
            raise OSError("several\nlines of the client")
        return str(cached)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def catch_uploads(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None = None
) -> list[tuple[str, bool, dict[str, bytes]]]:
    """Replace the Hub by one that accepts every model, or raises an error. Return a list that gets the name, whether
    it is private, and the files of each upload."""
    uploads: list[tuple[str, bool, dict[str, bytes]]] = []
    created: dict[str, bool] = {}

    def create_repo(self: object, name: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        if error is not None:
            raise error
        created[name] = private

    def create_commit(
        self: object, name: str, operations: list[huggingface_hub.CommitOperationAdd], commit_message: str
    ) -> huggingface_hub.CommitInfo:
        files = {}
        for operation in operations:
            with operation.as_file() as stream:
                files[operation.path_in_repo] = stream.read()
        uploads.append((name, created[name], files))
        return huggingface_hub.CommitInfo(f"https://huggingface.co/{name}/commit/1", commit_message, "", "1")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    return uploads
