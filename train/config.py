"""How a model is trained, and `RunConfig`: all that a run is made from. The defaults are the paper's base."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from common.errors import InputError
from common.settings import check_fraction, check_not_negative, check_positive
from data_pipeline.config import BatchConfig, DataConfig
from evaluate.config import DecodeConfig
from transformer.config import ModelConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """Section 5.3. Raises InputError for numbers that cannot train anything."""

    name: Literal["adam", "adamw"] = "adam"
    """Section 5.3's Adam, or AdamW with `weight_decay`."""
    weight_decay: float = 0.1
    """AdamW's, on matrices."""
    beta1: float = 0.9
    """Section 5.3."""
    beta2: float = 0.98
    """Section 5.3."""
    eps: float = 1e-9
    """Section 5.3."""
    clip_norm: float | None = None
    """Largest norm of an update's gradient; None, as in the paper, does not clip."""

    def __post_init__(self) -> None:
        check_positive("optimizer", self, "eps", "clip_norm")
        check_not_negative("optimizer", self, "weight_decay")
        check_fraction("optimizer", self, "beta1", "beta2")


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate, section 5.3. Raises InputError for numbers that make no schedule."""

    name: Literal["noam", "cosine", "wsd"] = "noam"
    """`noam`: Eq. 3. `cosine`: from `peak_lr` down to `lowest_lr`, as GPT-2's. `wsd`: warm-up, level at `peak_lr`, and
    in a straight line down to `lowest_lr`; while it is level, the end may be moved."""
    warmup_steps: int = 4000
    """Updates over which the rate grows (Eq. 3)."""
    scale: float = 1.0
    """Factor on Eq. 3; 1 is the paper's."""
    peak_lr: float = 1e-3
    """Of the cosine and the wsd schedule."""
    lowest_lr: float = 1e-4
    """Of the same, at their end."""
    decay_steps: int | None = None
    """Updates until their end; None is `max_steps`."""
    decay_share: float = 0.3
    """Of the wsd schedule: the last part of `decay_steps`, over which the rate falls."""

    def __post_init__(self) -> None:
        check_positive("schedule", self, "warmup_steps", "scale", "peak_lr", "decay_steps")
        check_not_negative("schedule", self, "lowest_lr")
        if not 0 < self.decay_share <= 1:
            raise InputError(f"schedule.decay_share is {self.decay_share}; it must be above 0 and at most 1")
        if self.name != "noam" and self.lowest_lr > self.peak_lr:
            raise InputError(f"schedule.lowest_lr {self.lowest_lr} is above schedule.peak_lr {self.peak_lr}")


@dataclass(frozen=True)
class TrainConfig:
    """The run itself. Raises InputError for numbers that cannot train anything."""

    seed: int = 1
    """Of initialisation, data order and dropout."""
    max_steps: int = 100_000
    """Updates (section 5.2: 100,000 for base, 300,000 for big)."""
    max_hours: float | None = None
    """Hours after which the run saves and ends, counted from its start, data preparation included; the update that
    is being made then is finished first. The exit status is 0, and the same command continues. None is no limit."""
    init_from: str | None = None
    """Model folder, or a name on the hub, whose weights training starts from (finetuning)."""
    label_smoothing: float = 0.1
    """Epsilon_ls of section 5.4."""
    max_nonfinite_updates: int = 3
    """The run stops at the so many-th update in a row whose loss or gradient is not finite; fewer are left out, and
    it goes on."""
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits again; a CPU always does. Slower."""
    precision: Literal["no", "bf16", "fp16", "float64"] = "no"
    """`bf16` and `fp16` compute matrix products in half precision and keep weights and loss in fp32;
    `float64` is for checks that two ways of computing agree."""
    compile: bool = False
    """Let torch.compile make kernels for the batch shapes: minutes at the start, faster updates after."""
    threads: int | None = None
    """CPU threads of a process; None shares the machine's cores among its processes."""
    log_every: int = 100
    """Updates between two lines of progress and of metrics.jsonl."""
    log_with: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Tracker beside metrics.jsonl."""

    def __post_init__(self) -> None:
        check_positive("train", self, "max_steps", "max_hours", "max_nonfinite_updates", "threads", "log_every")
        check_fraction("train", self, "label_smoothing")


@dataclass(frozen=True)
class ValidationConfig:
    """What is measured while training. Raises InputError for numbers that measure nothing."""

    every: int = 1000
    """Updates between two validations."""
    bleu_sentences: int = 200
    """Sentences of the validation set that are translated (greedily) for BLEU while training; 0 is none."""
    sample_tokens: int = 200
    """Tokens of the sample that a language model shows at each validation; 0 is none."""

    def __post_init__(self) -> None:
        check_positive("validation", self, "every")
        check_not_negative("validation", self, "bleu_sentences", "sample_tokens")


@dataclass(frozen=True)
class CheckpointConfig:
    """What is saved while training, and averaged at the end (section 6.1). Raises InputError for impossible numbers."""

    every: int = 1500
    """Updates between two checkpoints. The paper's base made 1,500 updates in its 10 minutes."""
    keep: int = 5
    """The last so many checkpoints stay on disk, beside the best."""
    average_last: int = 5
    """The model folder holds the mean of the last so many checkpoints (section 6.1); 1 is the last alone."""

    def __post_init__(self) -> None:
        check_positive("checkpoints", self, "every", "keep", "average_last")
        if self.average_last > self.keep:
            raise InputError(
                f"checkpoints.average_last {self.average_last} needs as many checkpoints, "
                f"and checkpoints.keep keeps {self.keep}"
            )


MAY_CHANGE = (
    "train.max_steps",
    "train.max_hours",
    "train.max_nonfinite_updates",
    "batches.micro_tokens",
    "train.threads",
    "train.log_every",
    "train.log_with",
    "checkpoints.keep",
    "checkpoints.average_last",
    "validation.sample_tokens",
    "train.init_from",
    "data.tokenizer",
    "data.cache_dir",
    "run_dir",
    "data.test",
)
"""What a run may be continued with in another value: it changes nothing about the updates themselves, or, as
another number of devices does, how their work is shared out. All of
`decode` may change too. A vocabulary counts by what is in it (the data's fingerprint), not by its name."""


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
"""New names of settings (common/settings.py: `Renamed`)."""


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on, saved in its folder as `config.yaml`."""

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
    run_dir: str | None = None
    """Folder of the run, and of the model it makes; None is `runs/<name of the config file>`."""

    def __post_init__(self) -> None:
        if (self.model.architecture == "gpt") != (self.data.task == "language_modelling"):
            raise InputError(
                f"model.architecture={self.model.architecture} cannot be trained on data.task={self.data.task}: "
                "a gpt is for language_modelling, a transformer for translation"
            )
