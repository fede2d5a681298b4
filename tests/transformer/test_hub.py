"""Download and upload of models, with a Hub that answers or does not."""

import errno
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from common.errors import InputError
from tests.transformer.fake_hub import catch_uploads, set_hub
from transformer.hub import download, upload


@pytest.mark.parametrize("answers", [False, True])
def test_download_returns_cached_copy_also_if_hub_does_not_answer(
    answers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_hub(monkeypatch, answers=answers, cached=tmp_path)
    assert download("me/model", ["config.json"]) == tmp_path


def test_download_fails_if_hub_does_not_answer_and_cache_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    set_hub(monkeypatch, answers=False, cached=None)
    with pytest.raises(FileNotFoundError) as caught:
        download("me/model", ["config.json"])
    assert str(caught.value) == (
        "there is no folder me/model, and the Hugging Face Hub has no such model or does not answer. Give a "
        "folder with config.json, model.safetensors and tokenizer.model, or a Hub name such as user/model"
    )


def test_download_error_has_first_line_of_client_message(monkeypatch: pytest.MonkeyPatch) -> None:
    set_hub(monkeypatch, answers=True, cached=None)
    with pytest.raises(FileNotFoundError, match=r"me/model could not be downloaded .* Hugging Face Hub: several$"):
        download("me/model", ["config.json"])


def test_download_keeps_disk_full_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    set_hub(monkeypatch, answers=True, cached=None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(OSError, match="No space left") as caught:
        download("me/model", ["config.json"])
    assert caught.value.errno == errno.ENOSPC


def test_upload_sends_files_in_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    uploads = catch_uploads(monkeypatch)
    files = {"config.json": tmp_path / "config.json", "README.md": b"A card."}
    assert upload(files, "me/model", private=True) == "https://huggingface.co/me/model/commit/1"
    assert uploads == [("me/model", True, {"config.json": b"{}", "README.md": b"A card."})]


@pytest.mark.parametrize("kind", [LocalTokenNotFoundError, ConnectionError])
def test_upload_error_says_how_to_log_in(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    catch_uploads(monkeypatch, kind("Token is required\nmore"))
    with pytest.raises(InputError, match=r"me/model could not be uploaded .* Token is required\. .*hf auth login"):
        upload({}, "me/model")
