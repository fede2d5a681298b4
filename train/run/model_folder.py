"""From a run to the model folder that people use: average (section 6.1), describe, save."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.settings import load_settings
from train.config import RunConfig
from train.run.checkpoints import Checkpoints, find_damage
from train.run.paper_comparison import LEDGER_FILE, versions
from transformer.model import build, count_parameters
from transformer.pretrained import average, put_weights, save_pretrained


def write_model_folder(run_dir: Path, last: int, best: bool = False, out: Path | None = None) -> str:
    """Make a model folder, in the run folder itself where `out` is None, from the run's checkpoints.

    The weights are the mean of the `last` regular checkpoints, or those with the lowest validation loss.
    Returns a sentence that says which. Raises ValueError where there are none, or one is damaged.
    """
    checkpoints = Checkpoints(run_dir / "checkpoints")
    chosen = checkpoints.best() if best else checkpoints.to_average()[-last:]
    if not chosen:
        raise InputError(f"{run_dir} has no checkpoint yet; the first comes after train.checkpoint_every updates")
    for path in chosen:
        if damage := find_damage(path):
            raise InputError(f"checkpoint {path} cannot be used: {damage}; choose others with --last or --best")
    config = load_settings(RunConfig, run_dir / "config.yaml")
    model = build(config.model)
    put_weights(model, average([path / "model.safetensors" for path in chosen]))
    steps = [json.loads((path / "progress.json").read_text())["step"] for path in chosen]
    origin = describe(steps, best)
    card = model_card(config, count_parameters(model), origin, last_validation(run_dir), read_ledger(run_dir))
    data, tokenizer = config.data, run_dir / "tokenizer.model"
    if data.kind == "pairs":
        languages, decode = (data.source_lang, data.target_lang), asdict(config.decode)
        save_pretrained(out or run_dir, model, tokenizer, card, languages=languages, decode=decode)
    else:
        save_pretrained(out or run_dir, model, tokenizer, card, starts_documents=data.layout == "documents")
    return origin


def describe(steps: list[int], best: bool) -> str:
    """Which updates the weights come from, in words."""
    if best:
        return f"the weights after update {steps[0]}, which had the lowest validation loss"
    if len(steps) == 1:
        return f"the weights after update {steps[0]}"
    return f"the mean of the weights after updates {', '.join(map(str, steps))} (section 6.1)"


def last_validation(run_dir: Path) -> dict[str, Any]:
    """The newest validation in `metrics.jsonl`; empty where there is none."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line for line in map(json.loads, reversed(lines)) if "valid_loss" in line), {})


def read_ledger(run_dir: Path) -> str:
    """What the run does otherwise than the paper; empty for a run that was made before this was written."""
    path = run_dir / LEDGER_FILE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def model_card(config: RunConfig, parameters: int, origin: str, validation: dict[str, Any], ledger: str) -> str:
    """The `README.md` of a model folder, from the run's own numbers; `ledger` is its last section."""
    model, settings = config.model, config.train
    shape = (
        f"{model.n_layers} layers, d_model {model.d_model}, {model.n_heads} heads, d_ff {model.d_ff}, "
        f"dropout {model.dropout}, {model.norm}-norm, vocabulary of {model.vocab_size:,}"
    )
    about = _translator(config) if config.data.kind == "pairs" else _language_model(config)
    scores = [f"| {name} | {validation[name]:.4f} |" for name in validation if name != "step"]
    return "\n".join(
        [
            *about.head,
            f"{about.kind}: {parameters:,} parameters, {shape}.",
            f"The weights are {origin}.",
            "",
            *about.use,
            "",
            "## Training",
            "",
            f"{settings.max_steps:,} updates of about {settings.tokens_per_update:,} tokens{about.each}, "
            f"{settings.warmup_steps:,} of them warm-up, label smoothing {settings.label_smoothing}, "
            f"seed {settings.seed}, on `{json.dumps(config.data.train)}`. The whole configuration is in `config.yaml`.",
            "",
            f"At the last validation (update {validation.get('step', 'none')}; {about.measured}):",
            "",
            "| measure | value |",
            "|---|---|",
            *scores,
            "",
            f"Made with {versions()}.",
            "",
            ledger,
        ]
    )


@dataclass(frozen=True)
class About:
    """What the cards of translators and language models do not share."""

    head: list[str]
    kind: str
    use: list[str]
    each: str
    measured: str


def _translator(config: RunConfig) -> About:
    source, target = config.data.source_lang, config.data.target_lang
    return About(
        head=[
            "---",
            "library_name: paper-transformer",
            "pipeline_tag: translation",
            f"language:\n- {source}\n- {target}",
            "---",
            f"# Transformer, {source} to {target}",
            "",
        ],
        kind="An encoder-decoder Transformer after *Attention Is All You Need*, as many layers in the decoder",
        use=[
            "```sh",
            'python -m transformer.translate --model <this folder> "A sentence."',
            "```",
            "",
            "```python",
            "from evaluate.translator import Translator",
            'print(Translator.from_pretrained("<this folder>")(["A sentence."]))',
            "```",
        ],
        each=" a side",
        measured="one checkpoint, not the mean; BLEU of greedy output on a sample",
    )


def _language_model(config: RunConfig) -> About:
    return About(
        head=["---", "library_name: paper-transformer", "pipeline_tag: text-generation", "---", "# GPT", ""],
        kind="A decoder-only Transformer, made from the blocks of *Attention Is All You Need*",
        use=[
            "```sh",
            'python -m transformer.generate --model <this folder> --prompt "A beginning"',
            "```",
        ],
        each="",
        measured="loss in nats per token",
    )
