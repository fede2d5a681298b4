"""Compare a run's settings with the paper's: for the terminal, the run folder and the model card."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from common.files import read_small
from common.settings import flatten_settings, load_settings
from common.versions import describe_versions, git_commit
from data_pipeline.trees import TREE_LANG
from train.config import RunConfig
from train.setup import Setup
from transformer.model_card import public_name

COMPARISON_FILE = "paper_comparison.md"
BIG = Path(__file__).resolve().parents[2] / "configs/big.yaml"
PARSING = BIG.with_name("parsing_wsj.yaml")
PARAMETERS = {"base": "65 million", "big": "213 million"}

FIELDS: dict[str, tuple[str, str]] = {
    "model.architecture": ("3.1", "architecture"),
    "model.n_layers": ("3.1", "layers of each stack"),
    "model.n_decoder_layers": ("3.1", "layers of the decoder"),
    "model.d_model": ("3.1", "d_model"),
    "model.n_heads": ("3.2.2", "heads"),
    "model.n_kv_heads": ("3.2.2", "heads of keys and values"),
    "model.d_head": ("3.2.2", "size of a head"),
    "model.d_value": ("3.2.2", "size of a head's values"),
    "model.d_ff": ("3.3", "d_ff"),
    "model.activation": ("3.3", "activation"),
    "model.norm": ("3.1", "place of the norm"),
    "model.norm_kind": ("3.1", "kind of norm"),
    "model.positions": ("3.5", "positional encoding"),
    "model.output_bias": ("3.4", "bias of the output layer"),
    "model.scale_embedding": ("3.4", "embeddings multiplied by sqrt(d_model)"),
    "model.tying": ("3.4", "shared matrices"),
    "model.init": ("", "initial weights"),
    "data.bpe_dropout": ("", "BPE-dropout"),
    "data.augment_upper": ("", "share of pairs in upper case"),
    "data.augment_title": ("", "share of pairs in title case"),
    "data.augment_typos": ("", "share of pairs with typos in the source"),
    "data.augment_no_stop": ("", "share of pairs without end punctuation"),
    "model.dropout": ("5.4", "dropout"),
    "model.attention_dropout": ("", "dropout on attention weights"),
    "model.activation_dropout": ("", "dropout in the feed-forward network"),
    "train.label_smoothing": ("5.4", "label smoothing"),
    "optimizer.name": ("5.3", "optimizer"),
    "optimizer.beta1": ("5.3", "beta1"),
    "optimizer.beta2": ("5.3", "beta2"),
    "optimizer.eps": ("5.3", "epsilon"),
    "optimizer.weight_decay": ("", "weight decay"),
    "optimizer.clip_norm": ("", "largest gradient norm"),
    "schedule.name": ("5.3", "learning-rate schedule"),
    "schedule.scale": ("5.3", "factor of Eq. 3"),
    "schedule.warmup_steps": ("5.3", "warm-up updates"),
    "schedule.peak_lr": ("", "peak learning rate"),
    "schedule.lowest_lr": ("", "last learning rate"),
    "schedule.decay_steps": ("", "updates until the last learning rate"),
    "schedule.decay_share": ("", "share of the updates in the decay phase"),
    "train.precision": ("", "precision"),
    "train.init_from": ("", "starts from the weights of"),
    "batches.tokens_per_update": ("5.1", "tokens per update, of each language"),
    "train.max_steps": ("5.2", "updates"),
    "checkpoints.average_last": ("6.1", "checkpoints averaged"),
    "checkpoints.every": ("6.1", "updates between checkpoints"),
    "checkpoints.parent_share": ("", "share of the weights that training started from"),
    "train.ema_decay": ("", "decay of the exponential mean of weights"),
    "decode.beam": ("6.1", "beam"),
    "decode.length_penalty": ("6.1", "length penalty"),
    "decode.alpha": ("6.1", "alpha"),
    "decode.max_extra": ("6.1", "longest output: source tokens plus"),
    "decode.max_length": ("", "longest output in tokens"),
    "decode.min_length": ("", "shortest output in tokens"),
}
"""Compared settings: section of the paper ("" if the paper does not state the value), and name in the table."""
OF_PARSING = {
    **dict.fromkeys(("model.n_layers", "model.d_model", "decode.beam", "decode.alpha", "decode.max_extra"), "6.3"),
    **dict.fromkeys(("model.dropout", "model.attention_dropout", "schedule.warmup_steps", "train.max_steps"), ""),
}
"""Other sections for the paper's parser, for which it does not state dropout, warm-up and number of updates."""
FIELDS_OF_PARSING = FIELDS | {"data.number_words": ("", "numbers of words in source and target")}
"""Compared settings of a parser."""
NOT_OF_A_GPT = (
    "decode.",
    "batches.tokens_per_update",
    "train.max_steps",
    "checkpoints.average_last",
    "checkpoints.every",
)
WORDS = {
    "transformer": "encoder-decoder",
    "gpt": "decoder only (GPT)",
    "post": "after each sub-layer",
    "pre": "before each sub-layer",
    "noam": "Eq. 3",
    "no": "fp32",
    "gnmt": "((5 + n) / 6)^alpha, GNMT's",
    "length": "n^alpha",
}
"""What the table shows instead of a value of a setting."""


@dataclass(frozen=True)
class Row:
    """One property of a run."""

    name: str
    paper: str
    section: str
    """Section of the paper; "" if the paper does not state the value."""
    run: str
    differs: bool = True


@dataclass(frozen=True)
class PaperComparison:
    """The table, and facts about the run that the paper has no counterpart for."""

    model: str
    """The paper's model that is nearer to the run: base, big or parsing."""
    rows: list[Row]
    facts: dict[str, str]

    def differences(self) -> str:
        """Return the rows that differ as text with aligned columns."""
        rows = [("", "the paper", "this run")] + [(row.name, row.paper, row.run) for row in self.rows if row.differs]
        name, paper = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{row[0]:{name}}  {row[1]:{paper}}  {row[2]}" for row in rows]
        return "\n".join([*lines, f"all other settings match the paper's {self.model} model"])

    def markdown(self) -> str:
        """Return all rows and facts: a section of the model card."""
        rows = [(row.name, row.paper, row.section, row.run, "yes" if row.differs else "") for row in self.rows]
        table = _table(("property", "paper", "section", "this run", "differs"), rows)
        title = f"## Comparison with the paper\n\nThis run and the paper's {self.model} model:"
        return "\n\n".join([title, table, _table(("fact", "this run"), self.facts.items())]) + "\n"


def compare_with_paper(setup: Setup, parameters: int, accelerator: Accelerator) -> PaperComparison:
    """Return the comparison of a run. `parameters` is the number of its model's parameters."""
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else platform.machine()
    facts = {
        "data": setup.prepared.sizes(),
        "data fingerprint": setup.prepared.fingerprint,
        "device": f"{accelerator.num_processes} x {accelerator.device.type} ({device})",
        "packages": describe_versions(),
        "git commit": git_commit() or "none",
        "mean tokens per update": setup.plan.mean_tokens(),
        "all settings": "`config.yaml` in the run folder",
    }
    return PaperComparison(nearest_model(setup.config), compare(setup.config, parameters), facts)


def nearest_model(config: RunConfig) -> str:
    """Return the paper's model that is nearer to the run: base or big; parsing if the targets are trees."""
    if config.data.target_lang == TREE_LANG:
        return "parsing"
    return "big" if config.model.d_model >= 1024 else "base"


def paper_settings(config: RunConfig) -> RunConfig:
    """Return the paper's settings for the model that is nearer to the run."""
    changes = []
    if nearest_model(config) == "big" and _is_french(config):
        changes.append("model.dropout=0.1")  # section 6.1
    if config.model.architecture == "gpt" and config.model.tying == "output":
        changes.append("model.tying=output")  # the same as `all` in a model with one embedding
    files = {"base": None, "big": BIG, "parsing": PARSING}
    return load_settings(RunConfig, files[nearest_model(config)], changes)


def compare(config: RunConfig, parameters: int) -> list[Row]:
    """Return a row for each compared setting, and for what differs in every run. For a GPT: what applies to a GPT."""
    paper, run = _used_settings(paper_settings(config)), _used_settings(config)
    gpt = config.model.architecture == "gpt"
    rows = [Row("attention biases", "none in the equations", "3.2.2", "on every projection")]
    parsing = nearest_model(config) == "parsing"
    sections, fields = (OF_PARSING, FIELDS_OF_PARSING) if parsing else ({}, FIELDS)
    for field, (usual, name) in fields.items():
        section = sections.get(field, usual)
        if field in run and not (gpt and field.startswith(NOT_OF_A_GPT)):
            stated = _show(paper[field]) if section else "not stated"
            rows.append(Row(name, stated, section, _show(run[field]), run[field] != paper.get(field)))
    return rows if gpt else [*rows, *_fixed_rows(config, parameters)]


def _fixed_rows(config: RunConfig, parameters: int) -> list[Row]:
    """Return what differs from the paper in every run of a translation model or of a parser."""
    vocabulary = f"{config.model.vocab_size:,}, {config.data.vocab_type} by SentencePiece with byte fallback"
    data = f"{public_names(config.data.train)}, filtered"
    if nearest_model(config) == "parsing":
        return [
            Row("training data", "WSJ, about 40,000 sentences", "6.3", data),
            Row("shared vocabulary", "16,000 tokens", "6.3", vocabulary),
            Row("parameters", "not stated", "", f"{parameters:,}"),
        ]
    pairs, subwords = "4.5 million", "about 37,000, byte-pair encoding"
    if _is_french(config):
        pairs, subwords = "36 million", "32,000 word pieces"
    bleu = "not stated; the published script splits compounds"
    return [
        Row("training data", f"WMT14, {pairs} pairs", "5.1", data),
        Row("shared vocabulary", subwords, "5.1", vocabulary),
        Row("parameters", PARAMETERS[nearest_model(config)], "Table 3", f"{parameters:,}"),
        Row("BLEU", bleu, "6.1", "sacreBLEU 13a, mixed case, detokenized"),
    ]


def _used_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings as a flat dictionary, without those that other settings switch off."""
    flat, train = flatten_settings(config), config.train
    unused = ["schedule.scale"]
    if config.schedule.name == "noam":
        unused = ["schedule.peak_lr", "schedule.lowest_lr", "schedule.decay_steps"]
    unused += ["schedule.decay_share"] if config.schedule.name != "wsd" else []
    unused += ["optimizer.weight_decay"] if config.optimizer.name == "adam" else []
    flat |= {"model.d_head": config.model.head_size, "model.d_value": config.model.value_size}
    flat |= {"model.n_kv_heads": config.model.kv_heads}
    flat["train.init_from"] = public_name(train.init_from) if train.init_from else None
    return {field: value for field, value in flat.items() if field not in unused}


def public_names(corpora: Any) -> str:
    """Return the corpora of a setting without the folders of local files."""
    if isinstance(corpora, str):
        return public_name(corpora)
    if isinstance(corpora, dict):
        return ", ".join(f"{direction}: {public_names(corpus)}" for direction, corpus in corpora.items())
    return f"[{', '.join(public_names(corpus) for corpus in corpora)}]"


def read_comparison(run_dir: Path) -> str:
    """Return the comparison that a run has saved; "" if it has none. Older runs have it in `ledger.md`."""
    files = (run_dir / name for name in (COMPARISON_FILE, "ledger.md"))
    path = next((file for file in files if file.is_file() and not file.is_symlink()), None)
    return read_small(path).decode(errors="replace") if path else ""


def _is_french(config: RunConfig) -> bool:
    data = config.data
    return data.task == "translation" and not data.has_directions and "fr" in data.languages


def _show(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case _:
            return WORDS.get(value, str(value))


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = (heading, ["---"] * len(heading), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells)
