"""Reading of `config.json` of the library `transformers`: every setting must be one that this project supports."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import expand, read_json
from transformer.hub import download

TRAINING = {
    "initializer_range", "gradient_checkpointing", "_num_labels", "num_labels", "id2label", "label2id", "problem_type",
    "finetuning_task", "task_specific_params", "embd_pdrop", "attn_pdrop", "summary_type", "summary_use_proj",
    "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "reorder_and_upcast_attn", "n_ctx",
    "predict_special_tokens",
}  # fmt: skip
"""Settings for training, rounding and classification."""
OUTPUTS = {
    "model_type", "architectures", "transformers_version", "_name_or_path", "torch_dtype", "dtype", "auto_map",
    "tokenizer_class", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
    "output_hidden_states", "output_attentions", "output_past", "output_scores", "output_logits", "return_dict",
    "return_dict_in_generate", "torchscript", "xla_device", "use_bfloat16", "tf_legacy_loss", "chunk_size_feed_forward",
    "is_decoder", "cross_attention_hidden_size", "tie_encoder_decoder", "attn_implementation", "use_cache",
    "_attn_implementation", "_attn_implementation_autoset", "attribute_map", "keys_to_ignore_at_inference",
}  # fmt: skip
"""Settings of all models: types, files, special tokens and what `forward` returns."""
GENERATION = {
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "prefix", "renormalize_logits", "max_new_tokens", "min_new_tokens",
    "encoder_repetition_penalty", "sequence_bias", "guidance_scale",
}  # fmt: skip
"""Settings of `generate`."""


def find_folder_of(source: str, files: list[str], what: str, example: str) -> Path:
    """Return a local folder, or else a download of these files from the Hub.

    Args:
        what: kind of model, for the message.
        example: such a model on the Hub.

    Raises FileNotFoundError if there is no such model.
    """
    folder = expand(source)
    if folder.is_dir():
        return folder
    if source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"there is no folder {source}. Give the folder of {what}, or a Hub name such as {example}."
        )
    return download(source, files)


def find_model_type(folder: Path, model_type: str, what: str) -> dict[str, Any]:
    """Return the content of `config.json`. Raises InputError if it describes another type of model."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json, so it is not the folder of {what}")
    settings = read_json(path)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind != model_type:
        raise InputError(f'{path} does not describe {what}: its model_type is {json.dumps(kind)}, not "{model_type}"')
    return dict(settings)


def read_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file. Raises InputError if it is not an object with named values."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must contain a JSON object, not {type(content).__name__}")
    return content


def check_known(settings: dict[str, Any], known: Collection[str], what: str) -> None:
    """Raise InputError with the first setting that is not known."""
    if unknown := sorted(settings.keys() - set(known)):
        raise InputError(
            f"{unknown[0]} is not a setting of {what} that this project supports. If it does not change the logits, "
            "delete it from config.json"
        )


def check_fixed(settings: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Raise InputError with the first setting that has not its one supported value, which is also its default."""
    for name, value in fixed.items():
        if settings.get(name, value) != value:
            raise InputError(f"{name} is {json.dumps(settings[name])}; only {json.dumps(value)} is supported")


def number(settings: dict[str, Any], name: str, kind: type) -> Any:
    """Return a setting. Raises InputError if it is missing or has another type; an integer is also a float."""
    value = settings.get(name)
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise InputError(f"{name} is {json.dumps(value)}; it must be {'an integer' if kind is int else 'a number'}")
    return value
