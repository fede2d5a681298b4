"""A model is a folder: `config.json`, `model.safetensors`, `tokenizer.model` and a model card `README.md`.

Names and conventions are Hugging Face's, so the Hub shows such a folder and `huggingface_hub` downloads it.
Nothing is pickled.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.directions import Languages, check_directions, has_tags, model_directions
from common.errors import InputError, first_line
from common.files import (
    expand,
    make_folder,
    read_json,
    read_small,
    reject_links,
    replace_file,
    write_bytes,
    write_json,
    write_text,
)
from common.settings import check_language
from transformer.config import ModelConfig
from transformer.hub import download, upload
from transformer.initialisation import NoFirstWeights
from transformer.model import GPT, Transformer, build, count_parameters
from transformer.model_card import Score, complete_card, model_card, public_name
from transformer.stored_weights import check_format, to_float, to_int8
from transformer.weights import check_tensors, get_weights, mean_weights, save_tensors, set_weights

FORMAT_VERSION = 1
TAGS_VERSION = 2
"""Format of a model of several directions: versions that cannot write its tags refuse it."""
FILES = ("config.json", "model.safetensors", "tokenizer.model", "README.md")
OF_WEIGHTS = ("weights", "calibration")
"""Fields of `config.json` that are true only of the weights of the folder: their number format, and the confidence."""
SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff")
"""Fields that every `config.json` must have."""


def save_pretrained(
    folder: str | Path,
    model: Transformer | GPT,
    tokenizer_file: str | Path,
    card: str,
    languages: Languages | list[Languages] | None = None,
    starts_documents: bool = False,
    decode: dict[str, Any] | None = None,
    normalize_unicode: bool = True,
) -> None:
    """Write the four files atomically, the weights last.

    Args:
        folder: is created if it does not exist.
        tokenizer_file: is copied.
        card: text of `README.md`.
        languages: source and target language of a translation model, or a list of them if the model has several
            directions. Its tokenizer has a tag for each target language.
        starts_documents: the language model was trained on documents from their first token on, so every prompt
            must be the beginning of a document.
        decode: decoding settings of a translation model.
        normalize_unicode: the model was trained on text in one Unicode form (`data.normalize_unicode`).
    """
    folder = Path(folder)
    about: dict[str, Any] = {"library_name": "paper-transformer", "format_version": FORMAT_VERSION}
    if isinstance(languages, list):
        about |= {"format_version": TAGS_VERSION, "directions": ["-".join(pair) for pair in languages]}
    elif languages is not None:
        about["source_lang"], about["target_lang"] = languages
    if starts_documents:
        about["starts_documents"] = True
    if decode is not None:
        about["decode"] = decode
    if not normalize_unicode:
        about["normalize_unicode"] = False
    about["model"] = asdict(model.config)
    _write(folder, about, model, Path(tokenizer_file), card)


def _write(folder: Path, about: dict[str, Any], model: Transformer | GPT, tokenizer_file: Path, card: str) -> None:
    make_folder(folder)
    write_bytes(folder / "tokenizer.model", read_small(tokenizer_file))  # may be one and the same file
    write_text(folder / "README.md", card)
    write_json(folder / "config.json", about)
    with replace_file(folder / "model.safetensors") as temporary:
        save_tensors(temporary, get_weights(model))


def save_int8(source: str | Path, output: Path) -> Transformer | GPT:
    """Write a model folder again with its weights in 8 bits, the weights last; return the model of `source`."""
    source = find_folder(source)
    model, _ = load_pretrained(source)
    about, weights = read_about(source), to_int8(get_weights(model))
    output.mkdir(parents=True, exist_ok=True)
    old = () if "decode" in about else ("config.yaml",)  # has the decoding settings of a folder of an older version
    for name in ("tokenizer.model", "README.md", *old):
        if (source / name).is_file():
            write_bytes(output / name, read_small(source / name))
    write_json(output / "config.json", about | {"weights": "int8"})
    with replace_file(output / "model.safetensors") as temporary:
        save_tensors(temporary, weights)
    return model


def save_mean(sources: Sequence[str | Path], output: Path) -> None:
    """Write a model folder with the mean of the weights of several models (Wortsman et al., 2022, "model soups").

    The models must have started from the same weights, such as runs that finetune one model with different seeds. The
    mean of models that were trained from other first weights translates nothing. Settings are those of the first one.

    Raises InputError if the models differ in shape, vocabulary or languages, and as `load_pretrained`.
    """
    folders = [find_folder(source) for source in sources]
    about, tokenizer = read_about(folders[0]), folders[0] / "tokenizer.model"
    for folder in folders[1:]:
        if load_config(folder) != load_config(folders[0]):
            raise InputError(f"{folder} and {folders[0]} have different models, so their weights have no mean")
        if read_small(folder / "tokenizer.model") != read_small(tokenizer):
            raise InputError(f"{folder} and {folders[0]} have different vocabularies, so their weights have no mean")
        if model_directions(read_about(folder)) != model_directions(about):
            raise InputError(f"{folder} and {folders[0]} have different languages, so their weights have no mean")
    model, config = load_pretrained(folders[0])
    set_weights(model, mean_weights(get_weights(load_pretrained(folder)[0]) for folder in folders))
    names = [public_name(str(folder)) for folder in folders]
    directions = model_directions(about)
    languages, direction = list(dict.fromkeys(chain(*directions))), directions[0] if has_tags(about) else None
    title = f"Mean of {len(names)} models"
    origin = f"The weights are the mean of those of {len(names)} models: {', '.join(names)}."
    card = model_card(title, config, count_parameters(model), origin, languages=languages, direction=direction)
    if "decode" not in about and (folders[0] / "config.yaml").is_file():  # of an older version: has these settings
        make_folder(output)
        write_bytes(output / "config.yaml", read_small(folders[0] / "config.yaml"))
    _write(output, {name: about[name] for name in about if name not in OF_WEIGHTS}, model, tokenizer, card)


def load_config(folder: Path) -> ModelConfig:
    """Return the settings of the model of a folder. Raises InputError as `read_about`."""
    return _model_config(read_about(folder).get("model"), folder)


def load_pretrained(folder: str | Path, device: str | torch.device = "cpu") -> tuple[Transformer | GPT, ModelConfig]:
    """Return the model of a folder, or of a Hub name such as `user/model`, in eval mode, and its settings.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        InputError: the files are damaged, do not fit together or have another format version.
    """
    folder = find_folder(folder)
    about = read_about(folder)
    config = load_config(folder)
    file = folder / "model.safetensors"
    try:
        tensors = to_float(load_file(str(file)), about.get("weights"))
        _check_layers(config, tensors)
        if config.least_parameters > sum(tensor.numel() for tensor in tensors.values()):
            with torch.device("meta"):
                check_tensors(build(config), tensors)  # raises, before a model of that size is allocated
        with NoFirstWeights():
            model = build(config)
        set_weights(model, tensors)
    except (SafetensorError, InputError) as error:
        raise InputError(
            f"{file} is damaged or does not fit config.json: {error}. Copy the model folder again"
        ) from error
    except (RuntimeError, TypeError, OverflowError) as error:  # PyTorch's, for sizes that no memory can hold
        raise InputError(
            f"a model of the sizes in {folder / 'config.json'} cannot be built: {first_line(error)}"
        ) from error
    return model.to(device).eval(), config


def find_folder(name: str | Path) -> Path:
    """Return the folder of a model: the local folder, or else a download from the Hub.

    Raises FileNotFoundError if there is no such model, or the folder lacks a file.
    """
    folder = expand(name)
    if folder.is_dir():
        if missing := [file for file in FILES[:3] if not (folder / file).is_file()]:
            _reject_other_library(folder)
            raise FileNotFoundError(
                f"{folder} has no {', '.join(missing)}, so it is not a complete model folder. "
                "Training writes the model folder when it ends."
            )
        return folder
    if str(name).count("/") != 1 or folder.is_absolute() or str(name).startswith("."):
        raise FileNotFoundError(
            f"there is no model folder {name}. Give a folder with {', '.join(FILES[:3])}, "
            "or a Hub name such as user/model."
        )
    return download(str(name), list(FILES))


def _reject_other_library(folder: Path) -> None:
    """Raise InputError if a folder contains a model of the library transformers that can be converted."""
    about = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    model_type = about.get("model_type") if isinstance(about, dict) else None
    if model_type in ("gpt2", "marian"):
        raise InputError(
            f"{folder} is a folder of transformers, with a model of the type {model_type}. Convert it: "
            f"python -m transformer.convert --from {model_type} {folder} <new folder>"
        )


def push_to_hub(
    folder: str | Path,
    name: str,
    private: bool = False,
    licence: str | None = None,
    reports: Sequence[str | Path] = (),
) -> str:
    """Upload the four files of a model folder as the model `name` of the Hub; return the address of the commit.

    Args:
        private: only you can see a new model; an existing model stays as it is.
        licence: the Hub's name of a licence, such as mit, for the first lines of the model card.
        reports: NAME.json of evaluation reports. The Hub shows their BLEU and chrF beside the card.

    Raises InputError if a file is a symbolic link, so that no other file of the user is uploaded, if a report cannot be
    read, or if the Hub refuses. The local model card does not change.
    """
    folder = find_folder(folder)
    reject_links(folder, FILES)
    scores = [score for report in reports for score in _read_scores(Path(report))]
    card = folder / "README.md"
    text = read_small(card).decode("utf-8", "replace") if card.is_file() else ""
    files: dict[str, Path | bytes] = {file: folder / file for file in FILES[:3]}
    return upload(
        files | {card.name: complete_card(text, name.rpartition("/")[2], licence, scores).encode()}, name, private
    )


def _read_scores(file: Path) -> list[Score]:
    """Return BLEU and chrF of an evaluation report."""
    report = read_json(file)
    try:
        chrf, test_set = report["scores"]["chrf2"], public_name(str(report["test_set"]))
        return [
            Score(test_set, "BLEU", float(report["bleu"]), str(report["signature"])),
            Score(test_set, "chrF2", float(chrf["score"]), str(chrf["signature"])),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} is not an evaluation report. Give the NAME.json that evaluate/bleu.py writes."
        ) from error


def read_about(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`. Raises InputError if it is damaged or has another format."""
    path = folder / "config.json"
    about = read_json(path)
    version = about.get("format_version") if isinstance(about, dict) else None
    if version not in (FORMAT_VERSION, TAGS_VERSION):
        raise InputError(
            f"{path} has format_version {version}; this version reads {FORMAT_VERSION} and {TAGS_VERSION}. "
            "Use the version of paper-transformer that wrote the folder, or train again."
        )
    if "source_lang" in about or "target_lang" in about:
        for name in ("source_lang", "target_lang"):
            check_language(f"{path}: {name}", about.get(name))
    if version == TAGS_VERSION or "directions" in about:
        check_directions(f"{path}: directions", about.get("directions"))
    check_format(f"{path}: weights", about.get("weights"))
    return dict(about)


def check_vocab_size(folder: Path, tokenizer_size: int, model_size: int) -> None:
    """Raise InputError if the tokenizer of a model folder has another number of tokens than its model."""
    if tokenizer_size != model_size:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer_size} tokens but the model has {model_size}. "
            "They do not belong together."
        )


def _model_config(saved: Any, folder: Path) -> ModelConfig:
    """Return the settings in `config.json`. A field that the writing version did not have gets its default."""
    known = {field.name for field in fields(ModelConfig)}
    odd = sorted((set(saved) - known) | (set(SIZES) - set(saved))) if isinstance(saved, dict) else ["model"]
    if odd:
        raise InputError(f"{folder / 'config.json'} does not describe a model of this version: {', '.join(odd)}")
    try:
        return ModelConfig(**saved)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from error


def _check_layers(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    layers = max(config.n_layers, config.decoder_layers)
    if layers > len(tensors):
        raise InputError(f"{len(tensors)} tensors are too few for {layers} layers")
