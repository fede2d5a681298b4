"""The programs that benchmarks/training.py compares, each in a process of its own, so that its peak memory is its own.

    python benchmarks/learners.py < orders

An order is a line. The first is a `Task` in JSON; the program warms up and answers {"ready"}. After that `time` makes
it learn all updates and answer with the seconds and its peak memory; `split` and `profile`, which only `ours` knows,
say where its time goes.
"""

import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional as F

import train.trainer
from benchmarks.decoders import marian_config, synchronise, used_mb
from data_pipeline.examples import IGNORE, Batch
from data_pipeline.micro_batches import Update
from train.config import RunConfig, TrainConfig
from train.distributed import make_accelerator
from train.optimizer import make_optimizer
from train.trainer import Updater
from transformer.config import ModelConfig
from transformer.layers import sinusoidal_positions
from transformer.model import build

SMOOTHING, SEED = 0.1, 1
OPERATIONS = 15
"""The costliest ones, that `profile` names."""
LAYERS = ("src_embedding", "tgt_embedding", "encoder", "decoder", "self_attention", "cross_attention", "feed_forward",
          "norm", "output")  # fmt: skip
"""Modules, by the last part of their names, that the flame picture shows."""

PARTS = ("forward", "loss", "backward", "optimizer")
"""Of an update, in this order."""
LABELS = {*PARTS, *LAYERS}
"""What the profiler is told; no operations."""


@dataclass(frozen=True)
class Task:
    """What one program learns in one cell of the table."""

    program: str
    """A key of `PROGRAMS`."""
    compiled: bool
    """By torch.compile."""
    precision: Literal["no", "bf16"]
    config: dict[str, Any]
    """Of the `ModelConfig`."""
    updates: str
    """A file that `save_work` wrote: what is timed."""
    warm_up: str
    """Another: what goes before."""
    device: str
    threads: int


Work = tuple[Update, list[Batch]]
"""An update and the batches of this rank."""
Learn = Callable[[Work], object]
"""Makes one update."""
Around = Callable[[str], AbstractContextManager[Any]]
"""What surrounds a named part of an update."""


def save_work(work: list[Work], file: Path) -> None:
    """Tensors and numbers only."""
    kept = [
        (
            update.step,
            update.src_tokens,
            update.predicted_tokens,
            [(b.inputs, b.labels_BL, b.dropout_seed) for b in batches],
        )
        for update, batches in work
    ]
    torch.save(kept, file)


def load_work(file: str, device: str = "cpu") -> list[Work]:
    """What `save_work` wrote, ready for `device` as the trainer has it. Updates come without their rows."""
    kept = torch.load(file, weights_only=True)
    return [
        (
            Update(step, (), src, tgt),
            [Batch(tuple(x), y, seed).ready_for(torch.device(device)) for x, y, seed in batches],
        )
        for step, src, tgt, batches in kept
    ]


class Ours:
    """Our model through our `Updater`."""

    def __init__(self, task: Task) -> None:
        settings = TrainConfig(
            precision=task.precision, compile=task.compiled, label_smoothing=SMOOTHING, log_with="none"
        )
        config = RunConfig(model=ModelConfig(**task.config), train=settings)
        accelerator = make_accelerator(settings, Path())
        model = build(config.model).to(accelerator.device)
        self.device = task.device
        self.updater = Updater(model, make_optimizer(model, config.optimizer), accelerator, config)

    def __call__(self, work: Work) -> None:
        """One update."""
        outcome = self.updater.learn(*work, lambda: (False, False))
        assert outcome.kind == "learned"

    def split(self, work: list[Work]) -> dict[str, Any]:
        """Seconds of an update by its parts, over all of `work`."""
        spent: dict[str, float] = defaultdict(float)

        @contextmanager
        def clocked(part: str) -> Iterator[None]:
            synchronise(self.device)
            started = time.perf_counter()
            yield
            synchronise(self.device)
            spent[part] += time.perf_counter() - started

        with parts(self.updater, clocked), clocked("all"):
            for one in work:
                self(one)
        seconds = {part: total / len(work) for part, total in spent.items()}
        return {"seconds": seconds.pop("all"), "parts": seconds}

    def profile(self, work: Work) -> dict[str, Any]:
        """Shares of the costliest operations in the time of one update, and microseconds of every stack of them."""
        on_gpu = self.device == "cuda"
        kinds = [torch.profiler.ProfilerActivity.CPU]
        kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
        name = torch.profiler.record_function
        with torch.profiler.profile(activities=kinds) as profile, parts(self.updater, name), named_layers(self.updater):
            self(work)
        field = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        events = [event for event in profile.events() or [] if event.device_type.name == "CPU"]
        stacks: dict[str, float] = defaultdict(float)
        own: dict[str, float] = defaultdict(float)
        for event in events:
            stacks[stack_of(event)] += getattr(event, field)
            own["outside operations" if event.name in LABELS else event.name] += getattr(event, field)
        total = sum(own.values())
        first = sorted(own, key=lambda key: -own[key])[:OPERATIONS]
        return {"operations": {key: round(own[key] / total, 4) for key in first}, "stacks": dict(stacks)}


@contextmanager
def parts(updater: Updater, around: Around) -> Iterator[None]:
    """Within, every forward, loss, backward and step of the optimizer is surrounded."""

    places: tuple[tuple[Any, str, str], ...] = (
        (updater.model, "forward", "forward"),
        (train.trainer, "smoothed_cross_entropy", "loss"),
        (updater.accelerator, "backward", "backward"),
        (updater.optimizer, "step", "optimizer"),
    )
    with ExitStack() as patches:
        for owner, name, part in places:
            patches.enter_context(mock.patch.object(owner, name, surrounded(getattr(owner, name), part, around)))
        yield


@contextmanager
def named_layers(updater: Updater) -> Iterator[None]:
    """Within, the profiler knows the modules of `LAYERS` by name."""
    with ExitStack() as patches:
        for name, module in updater.model.named_modules():
            last = name.rpartition(".")[2]
            if last in LAYERS:
                forward = surrounded(module.forward, last, torch.profiler.record_function)
                patches.enter_context(mock.patch.object(module, "forward", forward))
        yield


def surrounded(function: Callable[..., Any], part: str, around: Around) -> Callable[..., Any]:
    """The same function, each call within `around(part)`."""

    def call(*arguments: Any, **options: Any) -> Any:
        with around(part):
            return function(*arguments, **options)

    return call


def stack_of(event: Any) -> str:
    """The names of an event and of all that it happened in, outermost first, joined by `;`."""
    names: list[str] = []
    while event is not None:
        name = event.name.removeprefix("autograd::engine::evaluate_function: ")
        if name not in names[-1:]:
            names.append(name)
        event = event.cpu_parent
    if names[-1] not in PARTS:
        # The graph's nodes run in a thread of their own on a GPU.
        names.append("backward" if any("Backward" in name or "AccumulateGrad" in name for name in names) else "rest")
    return ";".join(reversed(names))


class PlainTransformer(nn.Module):
    """`torch.nn.Transformer` with what it lacks: embeddings, positions and the output layer, one matrix for all."""

    positions_LD: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.scale = config.d_model**0.5
        self.register_buffer("positions_LD", sinusoidal_positions(config.max_len, config.d_model), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        layers = config.n_layers
        self.stacks = nn.Transformer(
            config.d_model, config.n_heads, layers, layers, config.d_ff, config.dropout, batch_first=True
        )
        for module in self.stacks.modules():  # on embeddings and sub-layers only, as in the paper
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                module.dropout = nn.Dropout(0.0)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor) -> Tensor:
        """Logits (B, L, V), as ours."""
        hidden_LL = nn.Transformer.generate_square_subsequent_mask(tgt_BL.size(1), device=tgt_BL.device)
        x_BLD = self.stacks(
            self.embed(src_BM),
            self.embed(tgt_BL),
            tgt_mask=hidden_LL,
            tgt_is_causal=True,
            src_key_padding_mask=~src_mask_BM,
            memory_key_padding_mask=~src_mask_BM,
        )
        return F.linear(x_BLD, self.tokens.weight)

    def embed(self, tokens_BL: Tensor) -> Tensor:
        """(B, L) to (B, L, D)."""
        return self.dropout(self.tokens(tokens_BL) * self.scale + self.positions_LD[: tokens_BL.size(1)])


def marian_logits(config: ModelConfig) -> tuple[nn.Module, Callable[..., Tensor]]:
    """`MarianMTModel` of the same shape, with dropout where the paper has it, and how it makes logits."""
    from transformers import MarianMTModel

    theirs = marian_config(config, dropout=config.dropout, attention_dropout=0.0, activation_dropout=0.0)
    model = MarianMTModel(theirs)

    def logits(src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor) -> Tensor:
        made = model(src_BM, attention_mask=src_mask_BM.long(), decoder_input_ids=tgt_BL, use_cache=False)
        return torch.as_tensor(made.logits)

    return model, logits


def plain_loop(task: Task) -> Learn:
    """The loop that everybody writes, around a peer's model."""
    config = ModelConfig(**task.config)
    model: nn.Module
    if task.program == "marian":
        model, logits = marian_logits(config)
    else:
        model = PlainTransformer(config)
        logits = model
    model.to(task.device).train()
    if task.device == "cpu" and task.precision == "bf16":
        torch.backends.cuda.enable_flash_sdp(False)  # as train/distributed.py does for ours: all are faster
    if task.compiled:
        logits = torch.compile(logits)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def learn(work: Work) -> None:
        update, batches = work
        optimizer.zero_grad()
        for on_host in batches:
            batch = on_host.to(torch.device(task.device))
            with torch.autocast(task.device, torch.bfloat16, enabled=task.precision == "bf16"):
                logits_BLV = logits(*batch.inputs)
            loss = F.cross_entropy(
                logits_BLV.float().flatten(0, 1),
                batch.labels_BL.flatten(),
                ignore_index=IGNORE,
                label_smoothing=SMOOTHING,
                reduction="sum",
            )
            (loss / update.predicted_tokens).backward()
        optimizer.step()

    return learn


PROGRAMS: dict[str, Callable[[Task], Learn]] = {"ours": Ours, "marian": plain_loop, "torch": plain_loop}

LIBRARIES = {"ours": "torch", "marian": "transformers.models.marian.modeling_marian", "torch": "torch"}
"""Loaded before memory is counted."""


def obey(order: str, learn: Learn, work: list[Work], task: Task) -> dict[str, Any]:
    """The answer to one order."""
    if order == "time":
        synchronise(task.device)
        started = time.perf_counter()
        for one in work:
            learn(one)
        synchronise(task.device)
        return {"seconds": time.perf_counter() - started, "graphs": counters["stats"]["unique_graphs"]}
    assert isinstance(learn, Ours)
    return learn.split(work) if order == "split" else learn.profile(work[0])


def peak_mb(device: str) -> float:
    """Of this process so far."""
    return torch.cuda.max_memory_reserved() / 1e6 if device == "cuda" else used_mb(device, "VmHWM")


def main() -> None:
    """Obey until standard input ends."""
    task = Task(**json.loads(sys.stdin.readline()))
    torch.set_num_threads(task.threads)
    torch.manual_seed(SEED)
    importlib.import_module(LIBRARIES[task.program])
    work, warm_up = (load_work(file, task.device) for file in (task.updates, task.warm_up))
    before = 0.0 if task.device == "cuda" else used_mb("cpu", "VmRSS")
    learn = PROGRAMS[task.program](task)
    for one in warm_up:
        learn(one)
    synchronise(task.device)
    print(json.dumps({"ready": True, "graphs": counters["stats"]["unique_graphs"]}), flush=True)
    for line in sys.stdin:
        answer = obey(line.strip(), learn, work, task)
        print(json.dumps({**answer, "peak_mb": peak_mb(task.device) - before}), flush=True)


if __name__ == "__main__":
    main()
