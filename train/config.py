"""Settings of a training run. The defaults are the paper's base model (section 5)."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from common.errors import InputError
from common.settings import check_at_most, check_fraction, check_not_negative, check_positive
from data_pipeline.config import BatchConfig, DataConfig
from evaluate.config import DecodeConfig
from transformer.config import ModelConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimizer (section 5.3). Raises InputError if a number is out of range."""

    name: Literal["adam", "adamw", "muon"] = "adam"
    """Optimizer. `adam`: section 5.3. `adamw`: Adam with decoupled weight decay (Loshchilov and Hutter, 2019). `muon`:
    Muon (Jordan et al., 2024) for the matrices of the blocks, and Adam for embeddings, norms and biases."""
    weight_decay: float = 0.1
    """Decoupled weight decay of `adamw`, for matrices only, and of `muon`, for the matrices of the blocks only. `adam`
    does not use it."""
    beta1: float = 0.9
    """Decay rate of Adam's first moment (section 5.3)."""
    beta2: float = 0.98
    """Decay rate of Adam's second moment (section 5.3)."""
    eps: float = 1e-9
    """Number that Adam adds to the denominator (section 5.3: epsilon)."""
    clip_norm: float | None = None
    """Largest norm of the gradient of an update; a larger gradient is scaled down to it. None, as in the paper: no
    clipping."""

    def __post_init__(self) -> None:
        check_positive("optimizer", self, "eps", "clip_norm")
        check_not_negative("optimizer", self, "weight_decay")
        check_fraction("optimizer", self, "beta1", "beta2")


@dataclass(frozen=True)
class ScheduleConfig:
    """Settings of the learning rate (section 5.3). Raises InputError if a number is out of range."""

    name: Literal["noam", "cosine", "wsd"] = "noam"
    """Learning-rate schedule. `noam`: Eq. 3. `cosine`: warm-up to `peak_lr`, then half a cosine down to `lowest_lr`, as
    for GPT-2. `wsd`: warm-up, constant at `peak_lr`, then linear down to `lowest_lr`; during the constant phase, a
    resumed run may move the end."""
    warmup_steps: int = 4000
    """Number of updates over which the learning rate grows linearly (Eq. 3)."""
    scale: float = 1.0
    """Factor by which the `noam` schedule multiplies Eq. 3. The paper's value is 1."""
    peak_lr: float = 1e-3
    """Learning rate at the end of the warm-up, for the `cosine` and `wsd` schedules."""
    lowest_lr: float = 1e-4
    """Learning rate at the end of the `cosine` and `wsd` schedules, and after it."""
    decay_steps: int | None = None
    """Update at which the `cosine` and `wsd` schedules reach `lowest_lr`. None: `train.max_steps`."""
    decay_share: float = 0.3
    """Share of `decay_steps` over which the `wsd` schedule decays; 0.3 is the last 30% of the updates."""

    def __post_init__(self) -> None:
        check_positive("schedule", self, "warmup_steps", "scale", "peak_lr", "decay_steps")
        check_at_most("schedule", self, warmup_steps=10**9, decay_steps=10**9)
        check_not_negative("schedule", self, "lowest_lr")
        if not 0 < self.decay_share <= 1:
            raise InputError(f"schedule.decay_share is {self.decay_share}; it must be above 0 and at most 1")
        if self.name != "noam" and self.lowest_lr > self.peak_lr:
            raise InputError(
                f"schedule.lowest_lr is {self.lowest_lr}; it must be at most schedule.peak_lr, {self.peak_lr}"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training run as a whole. Raises InputError if a number is out of range."""

    seed: int = 1
    """Random seed for initialisation, data order and dropout."""
    max_steps: int = 100_000
    """Number of updates (section 5.2: 100,000 for the base model, 300,000 for the big model)."""
    max_hours: float | None = None
    """Time limit in hours, counted from the start of the command, data preparation included. Then the run finishes the
    current update, saves, and ends with exit status 0; the same command resumes it. None: no limit."""
    long_run: bool = False
    """Start a run that would take more than two days on this machine. Otherwise such a run is refused, unless it
    resumes, or `max_hours` is at most 48."""
    init_from: str | None = None
    """Model to finetune: a model folder, or a name on the Hugging Face Hub. Training starts from its weights. None:
    training starts from random weights."""
    label_smoothing: float = 0.1
    """Label smoothing, epsilon_ls of section 5.4."""
    ema_decay: float | None = None
    """Decay rate of an exponential mean of the weights (Polyak and Juditsky, 1992), such as 0.998 for a mean over about
    the last 500 updates. Validation and the model folder use the mean instead of the weights. None, as in the paper:
    no exponential mean."""
    max_nonfinite_updates: int = 3
    """Number of consecutive updates with a non-finite loss or gradient at which the run stops with an error. Each of
    them is skipped, so the weights stay finite."""
    deterministic: bool = False
    """Use only deterministic kernels on a GPU, so that a repeated run is bit-identical. This is slower. On a CPU, runs
    are always bit-identical."""
    precision: Literal["no", "bf16", "fp16", "float64"] = "no"
    """Number format. `no`: fp32. `bf16` and `fp16`: matrix products in half precision, weights and loss in fp32.
    `float64`: everything in double precision, to check that two ways to compute agree."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start for the batch shapes, then faster updates."""
    threads: int | None = None
    """CPU threads per process. None: the cores of the machine divided by its processes."""
    log_every: int = 100
    """Number of updates between two log lines, on the terminal and in `metrics.jsonl`."""
    log_with: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Experiment tracker that receives the metrics, besides `metrics.jsonl`."""

    def __post_init__(self) -> None:
        check_positive("train", self, "max_steps", "max_hours", "max_nonfinite_updates", "threads", "log_every")
        check_fraction("train", self, "label_smoothing", *([] if self.ema_decay is None else ["ema_decay"]))
        check_at_most("train", self, seed=2**63 - 1, max_steps=10**9, threads=1024, max_hours=10**6)


@dataclass(frozen=True)
class ValidationConfig:
    """Settings of the validation during training. Raises InputError if a number is out of range."""

    every: int = 1000
    """Number of updates between two validations. The last update is followed by a validation, too."""
    bleu_sentences: int = 200
    """Number of validation sentences that are translated by greedy search for `valid_bleu`. 0: no BLEU. The
    tokenizer of BLEU is chosen as in the evaluation report: by `data.target_lang`, or by the script of the text. If
    the targets are trees, the labelled F1 of the sentences, `valid_f1`, is measured instead."""
    sample_tokens: int = 200
    """Length in tokens of the text that a language model generates at each validation. 0: no sample."""

    def __post_init__(self) -> None:
        check_positive("validation", self, "every")
        check_not_negative("validation", self, "bleu_sentences", "sample_tokens")
        check_at_most("validation", self, sample_tokens=10**6)


@dataclass(frozen=True)
class CheckpointConfig:
    """Settings of the checkpoints and of their average (section 6.1). Raises InputError if a number is out of range."""

    every: int = 1500
    """Number of updates between two checkpoints. The paper's base model did 1,500 updates in 10 minutes (section
    6.1)."""
    keep: int = 5
    """Number of newest checkpoints that stay on disk. The checkpoint with the lowest validation loss is kept, too."""
    average_last: int = 5
    """Number of newest checkpoints whose mean becomes the model (section 6.1: 5 for the base model, 20 for the big
    model). 1: the last checkpoint alone."""
    parent_share: float = 0.0
    """Share of the weights of `train.init_from` in the model (Wortsman et al., 2022): 0.4 makes a mean of 40% of these
    weights and 60% of those of the checkpoints. So less is forgotten. 0: only the checkpoints."""

    def __post_init__(self) -> None:
        check_positive("checkpoints", self, "every", "keep", "average_last")
        check_fraction("checkpoints", self, "parent_share")
        if self.average_last > self.keep:
            raise InputError(
                f"checkpoints.average_last is {self.average_last}, but checkpoints.keep={self.keep} deletes older "
                f"checkpoints. Set checkpoints.keep={self.average_last} or more"
            )


MAY_CHANGE = (
    "train.max_steps",
    "train.max_hours",
    "train.long_run",
    "train.max_nonfinite_updates",
    "batches.micro_tokens",
    "train.threads",
    "train.log_every",
    "train.log_with",
    "checkpoints.keep",
    "checkpoints.average_last",
    "checkpoints.parent_share",
    "validation.sample_tokens",
    "train.init_from",
    "data.tokenizer",
    "data.cache_dir",
    "run_dir",
    "data.test",
)
"""Settings that may differ when a run resumes: they change no update, or only how devices share it, as another number
of devices does. All settings of `decode` may differ, too. A vocabulary is compared by its content (the fingerprint of
the data), not by its name."""


RENAMED = {f"data.{old}": f"data.{new}" for old, new in DataConfig.RENAMED.items()} | {
    "train.tokens_per_update": "batches.tokens_per_update",
    "train.bricks": "batches.per_update",
    "train.block": "batches.block",
    "train.shapes": "batches.buckets",
    "train.micro_tokens": "batches.micro_tokens",
    "train.optimizer": "optimizer.name",
    "train.weight_decay": "optimizer.weight_decay",
    "train.adam_beta1": "optimizer.beta1",
    "train.adam_beta2": "optimizer.beta2",
    "train.adam_eps": "optimizer.eps",
    "train.clip_norm": "optimizer.clip_norm",
    "train.schedule": "schedule.name",
    "train.warmup_steps": "schedule.warmup_steps",
    "train.lr_scale": "schedule.scale",
    "train.peak_lr": "schedule.peak_lr",
    "train.lowest_lr": "schedule.lowest_lr",
    "train.decay_steps": "schedule.decay_steps",
    "train.decay_share": "schedule.decay_share",
    "train.max_bad_updates": "train.max_nonfinite_updates",
    "train.valid_every": "validation.every",
    "train.valid_bleu_sentences": "validation.bleu_sentences",
    "train.sample_tokens": "validation.sample_tokens",
    "train.checkpoint_every": "checkpoints.every",
    "train.keep_checkpoints": "checkpoints.keep",
    "train.average_last": "checkpoints.average_last",
}
"""New names of renamed settings; see `load_settings`."""


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, in sections. The run folder contains them as `config.yaml`."""

    RENAMED: ClassVar[dict[str, str]] = RENAMED

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    size: Literal["given", "auto"] = "given"
    """`auto`: the number of sentence pairs and the machine choose size, batches and number of updates of a translation
    model, except settings that are given; training prints them ([rules](own-text.md)). `given`: settings that are not
    given have the paper's values."""
    run_dir: str | None = None
    """Run folder, which becomes the model folder when training ends. None: `runs/` and the name of the config file."""

    def __post_init__(self) -> None:
        if self.checkpoints.parent_share and self.train.init_from is None:
            raise InputError("checkpoints.parent_share needs a parent. Set train.init_from, or leave it out")
        if (self.model.architecture == "gpt") != (self.data.task == "language_modelling"):
            raise InputError(
                f"model.architecture={self.model.architecture} cannot be trained with data.task={self.data.task}. Set "
                "data.task=language_modelling for gpt, and data.task=translation for transformer"
            )
