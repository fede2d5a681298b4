"""Download and upload of models on the Hugging Face Hub."""

import errno
from pathlib import Path

from common.errors import InputError, first_line

TIMEOUT = 10
"""Seconds to wait for the Hub's answer."""


def download(name: str, files: list[str]) -> Path:
    """Return the local copy of a model on the Hub, updated first if the Hub answers.

    Args:
        name: such as `user/model`.
        files: names or patterns of the files to download.

    Raises:
        FileNotFoundError: the Hub has no such model, or does not answer and no copy exists.
    """
    from huggingface_hub import HfApi, snapshot_download  # slow import, needed only for models on the Hub

    try:
        HfApi().model_info(name, timeout=TIMEOUT)  # snapshot_download has no timeout if the Hub does not answer
        reached = True
    except Exception:  # the client raises many types; all mean "no such model" or "no answer"
        reached = False
    try:
        return Path(snapshot_download(name, allow_patterns=files, local_files_only=not reached))
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        if reached:
            raise FileNotFoundError(
                f"{name} could not be downloaded from the Hugging Face Hub: {first_line(error)}"
            ) from error
        raise FileNotFoundError(
            f"there is no folder {name}, and the Hugging Face Hub has no such model or does not answer. Give "
            "a folder with config.json, model.safetensors and tokenizer.model, or a Hub name such as user/model"
        ) from error


def upload(files: dict[str, Path | bytes], name: str, private: bool = False) -> str:
    """Upload files, given by their names on the Hub, as the model `name` in one commit; return the commit's address.

    Raises InputError with the first line of the client's message if the Hub refuses, for example without a login, or
    does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    operations = [
        CommitOperationAdd(path_in_repo=own, path_or_fileobj=str(content) if isinstance(content, Path) else content)
        for own, content in files.items()
    ]
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.create_commit(name, operations, commit_message="Upload a model of paper-transformer")
    except Exception as error:  # the client raises many types
        raise InputError(
            f"{name} could not be uploaded to the Hugging Face Hub: {first_line(error).rstrip('.')}. "
            "Log in with `hf auth login` and give a name such as user/model."
        ) from error
    return str(commit.commit_url)
