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
