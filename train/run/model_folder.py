"""Write the model folder of a run: the mean of its checkpoints (section 6.1) and a model card."""

from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.settings import load_saved_settings
from common.versions import describe_versions
from data_pipeline.tokenizers import open_tokenizer
from train.config import RunConfig
from train.initial_weights import mix_with
from train.run.checkpoints import Checkpoints, find_damage, load_mean, read_state
from train.run.folder import reject_links_in_run
from train.run.metrics_log import read_log
from train.run.paper_comparison import public_names, read_comparison
from train.run.parent import describe_parent
from transformer.model import build, count_parameters
from transformer.model_card import hub_datasets, model_card, public_name
from transformer.pretrained import check_vocab_size, save_pretrained
from transformer.weights import load_tensors, mean_weights, set_weights


def write_model_folder(run_dir: Path, last: int | None = None, best: bool = False, out: Path | None = None) -> str:
    """Write a model folder from the checkpoints of a run. Return one clause about where its weights come from.

    Args:
        last: number of checkpoints to average. None: that of the settings, or all checkpoints if there are fewer.
        best: use the checkpoint with the lowest validation loss instead.
        out: the folder to write; None is the run folder.

    With `train.ema_decay`, the exponential means of the weights are averaged instead of the weights.

    Raises InputError if there are fewer than `last` checkpoints or none, or if the folder has links or damaged files.
    """
    reject_links_in_run(run_dir)
    config, checkpoints = load_saved_settings(RunConfig, run_dir / "config.yaml"), Checkpoints(run_dir / "checkpoints")
    chosen = checkpoints.best() if best else checkpoints.to_average()[-(last or config.checkpoints.average_last) :]
    if not chosen:
        raise InputError(f"{run_dir} has no checkpoint yet. The first one is written after checkpoints.every updates")
    for path in chosen:
        if damage := find_damage(path):
            raise InputError(f"checkpoint {path} is damaged: {damage}. Choose others with --last or --best")
    if last is not None and len(chosen) < last:
        raise InputError(f"{run_dir} has only {len(chosen)} checkpoints to average. Set --last {len(chosen)}")
    data = config.data
    tokenizer = run_dir / "tokenizer.model"
    check_vocab_size(run_dir, open_tokenizer(tokenizer).vocab_size, config.model.vocab_size)
    model = build(config.model)
    decay = config.train.ema_decay
    ema = decay is not None and not best  # in a best checkpoint, the mean has replaced the weights
    weights = (load_mean(path) if ema else load_tensors(path / "model.safetensors") for path in chosen)
    mean, share, parent = mean_weights(weights), config.checkpoints.parent_share, config.train.init_from
    if share and parent is not None:
        mean = mix_with(parent, mean, share)
    set_weights(model, mean)
    origin = describe_origin([read_state(path).step for path in chosen], best)
    if decay is not None:
        origin = origin.replace("the weights", f"the exponential mean (decay {decay:g}) of the weights")
    if share and parent is not None:
        origin = f"{1 - share:.0%} {origin}, and {share:.0%} the weights of {public_name(parent)}"
    card = describe_run(config, count_parameters(model), origin, run_dir)
    out = out or run_dir
    if data.task == "translation":
        directions = [own.languages for own in data.by_direction()]
        languages, decode = directions if data.has_directions else data.languages, asdict(config.decode)
        save_pretrained(
            out, model, tokenizer, card, languages=languages, decode=decode, normalize_unicode=data.normalize_unicode
        )
    else:
        save_pretrained(out, model, tokenizer, card, starts_documents=data.layout == "documents")
    return origin


def describe_origin(steps: list[int], best: bool) -> str:
    """Return one clause: the updates whose weights the model has."""
    if best:
        return f"the weights after update {steps[0]}, which had the lowest validation loss"
    if len(steps) == 1:
        return f"the weights after update {steps[0]}"
    return f"the mean of the weights after updates {', '.join(map(str, steps))} (section 6.1)"


def describe_run(config: RunConfig, parameters: int, origin: str, run_dir: Path) -> str:
    """Return the model card of a run."""
    settings, data = config.train, config.data
    training = (
        f"## Training\n\n{settings.max_steps:,} updates of about {config.batches.tokens_per_update:,} tokens, warm-up "
        f"of {config.schedule.warmup_steps:,} updates, label smoothing {settings.label_smoothing:g}, seed "
        f"{settings.seed}, on `{public_names(data.train)}`. Made with {describe_versions()}."
    )
    languages: list[str] = []
    title = "GPT"
    if data.task == "translation":
        languages = list(dict.fromkeys(chain(*(own.languages for own in data.by_direction()))))
        title = f"Transformer, {data.describe_directions()}"
    parent = "" if settings.init_from is None else describe_parent(settings.init_from)
    sections = [training, parent, validation_table(last_validation(run_dir)), read_comparison(run_dir)]
    weights = f"The weights are {origin}."
    direction = data.by_direction()[0].languages if data.has_directions else None
    datasets = hub_datasets(data.train)
    return model_card(title, config.model, parameters, weights, sections, languages, datasets, direction)


def validation_table(validation: dict[str, Any]) -> str:
    """Return the values of a validation as a section of the model card; "" if there is none."""
    if not validation:
        return ""
    rows = [f"| {name} | {value:.4f} |" for name, value in validation.items() if name != "step"]
    return "\n".join(
        [
            f"At the last validation, after update {validation['step']}. The values are of the weights at that update, "
            "not of an average; the loss is in nats per token, BLEU and F1 are of greedy outputs for a sample.",
            "",
            "| measure | value |",
            "|---|---|",
            *rows,
        ]
    )


def last_validation(run_dir: Path) -> dict[str, Any]:
    """Return the last validation in `metrics.jsonl`; {} if there is none.

    Lines that no run writes in full are ignored: their names and numbers would go into the model card.
    """
    lines = read_log(run_dir / "metrics.jsonl")
    return next((values for values in reversed(lines) if "valid_loss" in values), {})
