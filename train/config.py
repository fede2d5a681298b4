"""How a model is trained, and `RunConfig`: all that a run is made from. The defaults are the paper's base."""

from dataclasses import dataclass, field
from typing import Literal

from common.errors import InputError
from data_pipeline.config import DataConfig
from evaluate.config import DecodeConfig
from transformer.config import ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """Section 5. Raises ValueError for numbers that cannot train anything."""

    seed: int = 1
    """Of initialisation, data order and dropout."""
    max_steps: int = 100_000
    """Updates (section 5.2: 100,000 for base, 300,000 for big)."""
    max_hours: float | None = None
    """Hours after which the run saves and ends, counted from its start, data preparation included; the update that
    is being made then is finished first. The exit status is 0, and the same command continues. None is no limit."""
    tokens_per_update: int = 25_000
    """About this many source and as many target tokens, padding not counted, form an update over all devices
    (section 5.1)."""
    bricks: int = 4
    """Batches of one shape each that form an update; part of the recipe, not of the hardware."""
    block: int | None = None
    """Tokens of a block of running text; None is `model.max_len`."""
    shapes: int = 24
    """Batch shapes that are derived from the corpus; more of them mean less padding."""
    micro_tokens: int | None = None
    """Most token positions on a side that a device computes at once; None is a whole brick. Lower it when
    memory runs out: the update stays the same, it is only cut smaller."""
    init_from: str | None = None
    """Model folder, or a name on the hub, whose weights training starts from (finetuning)."""
    schedule: Literal["noam", "cosine", "wsd"] = "noam"
    """`noam`: Eq. 3. `cosine`: from `peak_lr` down to `lowest_lr`, as GPT-2's. `wsd`: warm-up, level at `peak_lr`, and
    in a straight line down to `lowest_lr`; while it is level, the end may be moved."""
    warmup_steps: int = 4000
    """Updates over which the rate grows (Eq. 3)."""
    lr_scale: float = 1.0
    """Factor on Eq. 3; 1 is the paper's."""
    peak_lr: float = 1e-3
    """Of the cosine and the wsd schedule."""
    lowest_lr: float = 1e-4
    """Of the same, at their end."""
    decay_steps: int | None = None
    """Updates until their end; None is `max_steps`."""
    decay_share: float = 0.3
    """Of the wsd schedule: the last part of `decay_steps`, over which the rate falls."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Section 5.3's Adam, or AdamW with `weight_decay`."""
    weight_decay: float = 0.1
    """AdamW's, on matrices."""
    adam_beta1: float = 0.9
    """Section 5.3."""
    adam_beta2: float = 0.98
    """Section 5.3."""
    adam_eps: float = 1e-9
    """Section 5.3."""
    label_smoothing: float = 0.1
    """Epsilon_ls of section 5.4."""
    clip_norm: float | None = None
    """Largest norm of an update's gradient; None, as in the paper, does not clip."""
    max_bad_updates: int = 3
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
    valid_every: int = 1000
    """Updates between two validations."""
    valid_bleu_sentences: int = 200
    """Sentences of the validation set that are translated (greedily) for BLEU while training; 0 is none."""
    sample_tokens: int = 200
    """Tokens of the sample that a language model shows at each validation; 0 is none."""
    checkpoint_every: int = 1500
    """Updates between two checkpoints. The paper's base made 1,500 updates in its 10 minutes."""
    keep_checkpoints: int = 5
    """The last so many checkpoints stay on disk, beside the best."""
    average_last: int = 5
    """The model folder holds the mean of the last so many checkpoints (section 6.1); 1 is the last alone."""

    def __post_init__(self) -> None:
        positive = ("max_steps", "tokens_per_update", "bricks", "shapes", "warmup_steps", "lr_scale", "adam_eps")
        every = ("log_every", "valid_every", "checkpoint_every", "keep_checkpoints", "average_last", "max_bad_updates")
        optional = ("micro_tokens", "threads", "clip_norm", "block", "decay_steps", "max_hours")
        for name in (*positive, "peak_lr", *every, *optional):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"train.{name} is {value}; it must be above 0")
        for name in ("sample_tokens", "valid_bleu_sentences", "lowest_lr", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"train.{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 < self.decay_share <= 1:
            raise InputError(f"train.decay_share is {self.decay_share}; it must be above 0 and at most 1")
        if self.schedule != "noam" and self.lowest_lr > self.peak_lr:
            raise InputError(f"train.lowest_lr {self.lowest_lr} is above train.peak_lr {self.peak_lr}")
        for name in ("adam_beta1", "adam_beta2", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"train.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.average_last > self.keep_checkpoints:
            raise InputError(
                f"train.average_last {self.average_last} needs as many checkpoints, "
                f"and train.keep_checkpoints keeps {self.keep_checkpoints}"
            )


MAY_CHANGE = (
    "train.max_steps",
    "train.max_hours",
    "train.max_bad_updates",
    "train.micro_tokens",
    "train.threads",
    "train.log_every",
    "train.log_with",
    "train.keep_checkpoints",
    "train.average_last",
    "train.sample_tokens",
    "train.init_from",
    "data.tokenizer",
    "data.cache_dir",
    "run_dir",
    "data.test",
)
"""What a run may be continued with in another value: it changes nothing about the updates themselves, or, as
another number of devices does, how their work is shared out. All of
`decode` may change too. A vocabulary counts by what is in it (the data's fingerprint), not by its name."""


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on, saved in its folder as `config.yaml`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    run_dir: str | None = None
    """Folder of the run, and of the model it makes; None is `runs/<name of the config file>`."""

    def __post_init__(self) -> None:
        if (self.model.architecture == "gpt") != (self.data.kind == "text"):
            raise InputError(
                f"model.architecture={self.model.architecture} cannot be trained on data.kind={self.data.kind}: "
                "a gpt takes text, a transformer takes pairs"
            )
