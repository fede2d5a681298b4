"""What a run does as the paper does, and what otherwise: a table for its start, its folder and its model card."""

import json
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from accelerate import Accelerator

from data_pipeline.batch_plan import Plan, UpdatePlan
from evaluate.config import FORMULAS
from train.config import RunConfig
from train.tasks import Task
from transformer.config import ModelConfig

LEDGER_FILE = "ledger.md"
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("paper-transformer", "torch", "accelerate", "sentencepiece", "datasets", "sacrebleu")


@dataclass(frozen=True)
class Paper:
    """Table 3's first and last row, and what section 5 and 6 say of them."""

    name: str
    d_model: int
    d_ff: int
    heads: int
    dropout: float
    steps: int
    averaged: int
    spacing: int
    """Updates in the ten minutes between two checkpoints, at 0.4 and 1.0 seconds each (section 5.2)."""
    parameters: int
    """Millions."""


BASE = Paper("base", 512, 2048, 8, 0.1, 100_000, 5, 1500, 65)
BIG = Paper("big", 1024, 4096, 16, 0.3, 300_000, 20, 600, 213)


@dataclass(frozen=True)
class Row:
    """One thing that a recipe decides."""

    name: str
    paper: str
    ours: str
    source: str
    """Section of the paper."""
    differs: bool


@dataclass(frozen=True)
class Ledger:
    """The whole table."""

    paper: Paper
    rows: list[Row]
    about: dict[str, str]
    """What the numbers depend on beside the recipe."""

    def differences(self) -> str:
        """For the terminal: what differs, and a line for the rest."""
        rows = [row for row in self.rows if row.differs]
        names = max(len(row.name) for row in self.rows)
        papers = max((len(row.paper) for row in rows), default=0)
        title = f"{'':{names}}  {'the paper':{papers}}  this run"
        lines = [f"{row.name:{names}}  {row.paper:{papers}}  {row.ours}" for row in rows]
        return "\n".join([*([title] if rows else []), *lines, f"everything else as the paper's {self.paper.name}"])

    def markdown(self) -> str:
        """All of it; a section of the model card."""
        table = [
            f"| {row.name} | {_cell(row.paper)} | {row.source} | {_cell(row.ours)} | {differs} |"
            for row in self.rows
            for differs in ("differs" if row.differs else "",)
        ]
        return "\n".join(
            [
                "## Compared with the paper",
                "",
                f"The paper's {self.paper.name} model, which is the nearer one, beside this run.",
                "",
                "| | the paper | section | this run | |",
                "|---|---|---|---|---|",
                *table,
                "",
                "| the run | |",
                "|---|---|",
                *(f"| {name} | {_cell(value)} |" for name, value in self.about.items()),
                "",
            ]
        )


def make_ledger(task: Task, parameters: int, accelerator: Accelerator) -> Ledger:
    """The ledger of a run; `parameters` are those of its model."""
    config = task.config
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else platform.machine()
    about = {
        "packages": versions(),
        "git commit": git_commit(ROOT) or "none",
        "data fingerprint": task.prepared.fingerprint,
        "data": task.prepared.sizes(),
        "device": f"{accelerator.num_processes} x {accelerator.device.type} ({device})",
        "configuration": "`config.yaml`",
    }
    return Ledger(nearest(config), compare(config, task.plan, parameters), about)


def nearest(config: RunConfig) -> Paper:
    """Base or big."""
    return BIG if config.model.d_model >= BIG.d_model else BASE


def compare(config: RunConfig, plan: UpdatePlan, parameters: int) -> list[Row]:
    """The rows; for a language model those that apply to one."""
    rows = [*_shape(config.model, nearest(config)), *_regularisation(config), *_optimisation(config)]
    if config.model.architecture == "gpt":
        return rows
    return [*rows, *_recipe(config, plan, parameters), *_data(config), *_decoding(config)]


def _shape(model: ModelConfig, paper: Paper) -> list[Row]:
    gpt = model.architecture == "gpt"
    norms = {"layer": "layer normalisation", "rms": "root mean square"}
    places = {"post": "LayerNorm(x + Sublayer(x))", "pre": "x + Sublayer(LayerNorm(x))"}
    scale = "times sqrt(d_model)" if model.scale_embedding else "as they are"
    tied = {
        "all": "both embeddings and the output layer",
        "output": "target embedding and output layer",
        "none": "none",
    }
    if gpt:
        tied["all"] = tied["output"] = "embedding and output layer"
    head_size = paper.d_model // paper.heads
    same_heads = (model.n_heads, model.head_size, model.kv_heads) == (paper.heads, head_size, paper.heads)
    keys = f", keys and values in {model.kv_heads}" if model.kv_heads != model.n_heads else ""
    inits = {"xavier": "Xavier uniform, embeddings N(0, 1/d_model)", "gpt2": "N(0, 0.02), as GPT-2"}
    return [
        Row("architecture", "encoder-decoder", "decoder alone (GPT)" if gpt else "encoder-decoder", "3.1", gpt),
        Row("layers", "6 + 6", f"{model.n_layers}" if gpt else f"{model.n_layers} + {model.n_layers}", "3.1",
            gpt or model.n_layers != 6),
        Row("d_model", str(paper.d_model), str(model.d_model), "Table 3", model.d_model != paper.d_model),
        Row("heads", f"{paper.heads} of {head_size}", f"{model.n_heads} of {model.head_size}{keys}", "3.2.2, Table 3",
            not same_heads),
        Row("attention biases", "none printed", "on every projection", "3.2.2", True),
        Row("d_ff", str(paper.d_ff), str(model.d_ff), "Table 3", model.d_ff != paper.d_ff),
        Row("activation", "relu", model.activation, "3.3, Eq. 2", model.activation != "relu"),
        Row("norm", places["post"], places[model.norm], "3.1", model.norm != "post"),
        Row("kind of norm", norms["layer"], norms[model.norm_kind], "3.1", model.norm_kind != "layer"),
        Row("positions", "sinusoidal", model.positions, "3.5", model.positions != "sinusoidal"),
        Row("token embeddings", "times sqrt(d_model)", scale, "3.4", not model.scale_embedding),
        Row("shared matrices", "both embeddings and the output layer", tied[model.tying], "3.4",
            model.tying == "none" or (model.tying != "all" and not gpt)),
        Row("first weights", "not said", inits[model.init], "", model.init != "xavier"),
    ]  # fmt: skip


def _regularisation(config: RunConfig) -> list[Row]:
    model, settings = config.model, config.train
    dropout = 0.1 if "fr" in _languages(config) else nearest(config).dropout  # Table 3; English-French big: section 6.1
    sites = "on sub-layer outputs and on embeddings plus positions"
    return [
        Row("dropout", f"{dropout} {sites}", f"{model.dropout} {sites}", "5.4", model.dropout != dropout),
        Row("label smoothing", "0.1", f"{settings.label_smoothing:g}", "5.4", settings.label_smoothing != 0.1),
    ]


def _optimisation(config: RunConfig) -> list[Row]:
    settings = config.train
    numbers = (settings.adam_beta1, settings.adam_beta2, settings.adam_eps)
    decay = f", weight decay {settings.weight_decay:g}" if settings.optimizer == "adamw" else ""
    names = {"adam": "Adam", "adamw": "AdamW"}
    warmup = f"warm-up {settings.warmup_steps:,}"
    rate = f"Eq. 3 times {settings.lr_scale:g}, {warmup}"
    if settings.schedule != "noam":
        end = settings.decay_steps or settings.max_steps
        falling = f" over the last {settings.decay_share:.0%}" if settings.schedule == "wsd" else ""
        name = {"wsd": "level"}.get(settings.schedule, settings.schedule)
        rate = f"{name}, {settings.peak_lr:g} to {settings.lowest_lr:g} at {end:,}{falling}, {warmup}"
    as_printed = (settings.schedule, settings.lr_scale, settings.warmup_steps) == ("noam", 1.0, 4000)
    start = f"the weights of {settings.init_from}" if settings.init_from else "nothing learned before"
    clipping = "none" if settings.clip_norm is None else f"norm of {settings.clip_norm:g}"
    precision = {"no": "fp32"}.get(settings.precision, settings.precision)
    return [
        Row("optimizer", "Adam, betas 0.9 and 0.98, eps 1e-09",
            f"{names[settings.optimizer]}, betas {numbers[0]:g} and {numbers[1]:g}, eps {numbers[2]:g}{decay}", "5.3",
            settings.optimizer != "adam" or numbers != (0.9, 0.98, 1e-9)),
        Row("learning rate", "Eq. 3 times 1, warm-up 4,000", rate, "5.3", not as_printed),
        Row("gradient clipping", "none mentioned", clipping, "", settings.clip_norm is not None),
        Row("precision", "not said", precision, "", settings.precision != "no"),
        Row("starts from", "nothing learned before", start, "", settings.init_from is not None),
    ]  # fmt: skip


def _recipe(config: RunConfig, plan: UpdatePlan, parameters: int) -> list[Row]:
    settings, paper = config.train, nearest(config)
    asked = settings.tokens_per_update
    last, apart = settings.average_last, settings.checkpoint_every
    return [
        Row("tokens per update", "about 25,000 on each side", f"{asked:,} asked, {tokens_planned(plan)} in the mean",
            "5.1", asked != 25_000),
        Row("updates", f"{paper.steps:,}", f"{settings.max_steps:,}", "5.2", settings.max_steps != paper.steps),
        Row("checkpoints averaged", f"last {paper.averaged}, 10 minutes ({paper.spacing:,} updates) apart",
            f"last {last}, {apart:,} updates apart", "6.1", (last, apart) != (paper.averaged, paper.spacing)),
        Row("parameters", f"{paper.parameters} million", f"{parameters:,}", "Table 3",
            round(parameters / 1e6) != paper.parameters),
    ]  # fmt: skip


def tokens_planned(plan: UpdatePlan) -> str:
    """Source and target tokens of an update in the mean of an epoch; of sentence pairs."""
    assert isinstance(plan, Plan)
    sides = (int(lengths.sum()) / plan.updates_per_epoch for lengths in (plan.src_lengths, plan.tgt_lengths))
    return " and ".join(f"{side:,.0f}" for side in sides)


def _data(config: RunConfig) -> list[Row]:
    data = config.data
    pieces = "32,000 word pieces" if "fr" in _languages(config) else "about 37,000, byte-pair encoding"
    corpus = "WMT14, 36 million pairs" if "fr" in _languages(config) else "WMT14, 4.5 million pairs"
    return [
        Row("training data", corpus, f"{json.dumps(data.train)}, filtered", "5.1", True),
        Row("shared vocabulary", pieces,
            f"{config.model.vocab_size:,}, {data.vocab_type} by SentencePiece with byte fallback", "5.1", True),
    ]  # fmt: skip


def _decoding(config: RunConfig) -> list[Row]:
    decode = config.decode
    longest = min(decode.max_length or config.model.max_len, config.model.max_len)
    return [
        Row("beam", "4", str(decode.beam), "6.1", decode.beam != 4),
        Row("length penalty", f"GNMT's, {FORMULAS['gnmt']}, alpha 0.6",
            f"{decode.penalty_formula}, alpha {decode.alpha:g}", "6.1",
            (decode.length_penalty, decode.alpha) != ("gnmt", 0.6)),
        Row("longest output", "input + 50", f"input + {decode.max_extra}, at most {longest:,}", "6.1",
            decode.max_extra != 50 or decode.max_length is not None),
        Row("shortest output", "not said", f"{decode.min_length}", "6.1", decode.min_length != 1),
        Row("BLEU", "not said; the published script splits compounds", "sacreBLEU 13a, mixed case, detokenised", "6.1",
            True),
    ]  # fmt: skip


def versions() -> str:
    """The packages that a run's numbers depend on."""
    return ", ".join(f"{package} {_version(package)}" for package in PACKAGES)


def git_commit(root: Path) -> str | None:
    """The commit that is checked out at `root`, and whether files differ from it; None where it is no checkout."""
    top, commit = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():  # a repository around an installed copy
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit} and changes since"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _languages(config: RunConfig) -> set[str]:
    return {config.data.source_lang, config.data.target_lang} if config.data.kind == "pairs" else set()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "not installed"
