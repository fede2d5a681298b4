"""A model is a folder: `config.json`, `model.safetensors`, `tokenizer.model` and a model card `README.md`.

The names and conventions are Hugging Face's, so the hub shows such a folder and `huggingface_hub` moves it.
Nothing is pickled.
"""

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import InputError
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer, build

FORMAT_VERSION = 1
SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff")  # what no `config.json` may leave out
FILES = ("config.json", "model.safetensors", "tokenizer.model", "README.md")
HUB_TIMEOUT = 10  # seconds for the hub to say whether it has a model


def save_pretrained(
    folder: str | Path,
    model: Transformer | GPT,
    tokenizer_file: str | Path,
    card: str,
    languages: tuple[str, str] | None = None,
    starts_documents: bool = False,
    decode: dict[str, Any] | None = None,
) -> None:
    """Write the four files; each replaces its predecessor only when it is whole, the weights last.

    `languages` are those of a translator, source and target; `starts_documents` says that a language model has seen
    documents from their beginning only, so that a prompt has to be one; `decode` are the settings that a translator
    decodes with.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"library_name": "paper-transformer", "format_version": FORMAT_VERSION}
    if languages is not None:
        about["source_lang"], about["target_lang"] = languages
    if starts_documents:
        about["starts_documents"] = True
    if decode is not None:
        about["decode"] = decode
    about["model"] = asdict(model.config)
    tokenizer = Path(tokenizer_file).read_bytes()
    _replace(folder / "tokenizer.model", lambda to: to.write_bytes(tokenizer))
    _replace(folder / "README.md", lambda to: to.write_text(card, encoding="utf-8"))
    _replace(folder / "config.json", lambda to: to.write_text(json.dumps(about, indent=2) + "\n"))
    _replace(folder / "model.safetensors", lambda to: save_tensors(to, weights(model)))


def load_pretrained(folder: str | Path, device: str | torch.device = "cpu") -> tuple[Transformer | GPT, ModelConfig]:
    """The model of a folder, or of a hub name such as `me/my-model`, ready to decode (eval mode).

    Raises FileNotFoundError when the folder or one of its files is missing, ValueError when the files are
    damaged, do not fit together or were written by another version.
    """
    folder = find_folder(folder)
    about = read_about(folder)
    config = _model_config(about.get("model"), folder)
    file = folder / "model.safetensors"
    try:
        tensors = load_file(str(file))
        _check_sizes(config, tensors)
        model = build(config)
        put_weights(model, tensors)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{file} is damaged or belongs to another config.json: {error}") from error
    except (RuntimeError, TypeError, OverflowError) as error:  # PyTorch's own, for sizes beyond all memory
        raise InputError(f"no model of the sizes in {folder / 'config.json'} can be made: {_short(error)}") from error
    return model.to(device).eval(), config


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file and flush it to the disk. Raises OSError, with its errno, when that fails."""
    try:
        path.touch()  # with the rights that the user's umask gives; safetensors would give none to others
        mode = path.stat().st_mode
        save_file(tensors, str(path), metadata={"format": "pt"})
        path.chmod(mode)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except SafetensorError as error:  # hides the system's reason in a text of its own
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        if "No space left" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def weights(model: nn.Module) -> dict[str, Tensor]:
    """What is learned, by name; a shared matrix once, under its first name. What is computed is not in it."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


def put_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give the model other weights. Raises ValueError where names or shapes are not the model's."""
    parameters = dict(model.named_parameters())
    if odd := sorted(parameters.keys() ^ tensors.keys()):
        raise InputError(f"it has other tensors than the model, such as {odd[0]}")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise InputError(f"{name} is {list(tensors[name].shape)} and should be {list(parameter.shape)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def find_folder(name: str | Path) -> Path:
    """The local folder of a model: itself, or a download of the hub's when no such folder exists here."""
    folder = Path(name)
    if folder.is_dir():
        missing = [file for file in FILES[:3] if not (folder / file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} is not a complete model folder: {', '.join(missing)} is missing; "
                "training writes the folder when it ends"
            )
        return folder
    if str(name).count("/") != 1 or folder.is_absolute() or str(name).startswith("."):
        raise FileNotFoundError(f"there is no model folder {name}")
    return download(str(name), list(FILES))


def download(name: str, files: list[str]) -> Path:
    """A model of the hub in the local cache, brought up to date where the hub can be reached; of its files those that
    the patterns in `files` name. Raises FileNotFoundError where there is no such model, or it is out of reach."""
    from huggingface_hub import HfApi, snapshot_download  # only who asks the hub waits for its import

    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT)  # `snapshot_download` would wait for a mute hub for ever
        reached = True
    except Exception:  # the hub's client raises many kinds, all of which mean: not there, or not now
        reached = False
    try:
        return Path(snapshot_download(name, allow_patterns=files, local_files_only=not reached))
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        if reached:
            raise FileNotFoundError(
                f"{name} could not be fetched from the Hugging Face hub: {_short(error)}"
            ) from error
        raise FileNotFoundError(
            f"there is no folder {name} here, and the Hugging Face hub has no such model or cannot be reached"
        ) from error


def push_to_hub(folder: str | Path, repo_id: str, private: bool = False) -> str:
    """Upload the four files of a model folder; returns the address of the commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo_id, folder_path=find_folder(folder), allow_patterns=list(FILES)))


def read_about(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder. Raises ValueError when it is damaged or of another version."""
    path = folder / "config.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    version = about.get("format_version") if isinstance(about, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {version}, and this program reads {FORMAT_VERSION}; "
            "use the version of paper-transformer that wrote it, or train again"
        )
    return about


def average(files: list[Path]) -> dict[str, Tensor]:
    """Section 6.1: the mean of the weights in several `model.safetensors`, summed in double precision."""
    assert files, "nothing to average"
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for file in files:
        for name, tensor in load_file(str(file)).items():
            dtypes[name] = tensor.dtype
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(files)).to(dtypes[name]) for name, tensor in total.items()}


def _model_config(saved: Any, folder: Path) -> ModelConfig:
    """The config in `config.json`; a field that was not there yet when it was written has its default."""
    known = {field.name for field in fields(ModelConfig)}
    odd = sorted((set(saved) - known) | (set(SIZES) - set(saved))) if isinstance(saved, dict) else ["model"]
    if odd:
        raise InputError(f"{folder / 'config.json'} does not describe a model of this version: {', '.join(odd)}")
    for name, kind in get_type_hints(ModelConfig).items():
        if name in saved and not _is_a(saved[name], kind):
            expected = " or ".join(map(repr, get_args(kind))) if get_origin(kind) is Literal else _name(kind)
            raise InputError(
                f"{folder / 'config.json'}: model.{name} is {json.dumps(saved[name])}; it must be {expected}"
            )
    try:
        return ModelConfig(**saved)
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from error


def _check_sizes(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError for a size that no tensor has, before a model of that size takes memory."""
    found = {size for tensor in tensors.values() for size in tensor.shape}
    inner, kv_inner = config.n_heads * config.head_size, config.kv_heads * config.head_size
    if missing := {config.vocab_size, config.d_model, config.d_ff, inner, kv_inner} - found:
        raise InputError(f"none of its tensors has the size {min(missing)}")
    if config.n_layers > len(tensors):
        raise InputError(f"its {len(tensors)} tensors are too few for {config.n_layers} layers")


def _is_a(value: Any, kind: Any) -> bool:
    """True where a value from JSON is of a field's type; neither is true a number nor 32.0 an integer."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if options := get_args(kind):  # a union
        return any(_is_a(value, option) for option in options)
    return type(value) is kind or (kind is float and type(value) is int)


def _name(kind: Any) -> str:
    names = {int: "an integer", bool: "true or false", float: "a number", type(None): "null"}
    return " or ".join(names[option] for option in get_args(kind) or (kind,))


def _short(error: Exception) -> str:
    """The first line of another library's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path`, flush to the disk, then rename: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")  # always the same: what a killed process left is written over
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_vocab_size(folder: Path, tokenizer_size: int, model_size: int) -> None:
    """Raise InputError if the tokenizer of a model folder has another number of tokens than its model."""
    if tokenizer_size != model_size:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer_size} tokens but the model has {model_size}. "
            "They do not belong together."
        )
