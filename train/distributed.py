"""What the loop asks of accelerate: the processes, their threads, and small sums over them."""

import importlib.util
import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import gather_object
from torch import Tensor, distributed

from common.errors import InputError
from common.processes import check_world_size
from train.config import TrainConfig


def make_accelerator(config: TrainConfig, run_dir: Path) -> Accelerator:
    """Raises ValueError where accelerate is set up for something that this trainer does not do."""
    check_tracker(config.log_with)
    refuse_plugins()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    timeout = timedelta(hours=1)
    join_after_a_restart(timeout)
    accelerator = Accelerator(
        mixed_precision="no",  # the trainer has its own autocast and loss scaler
        log_with=None if config.log_with == "none" else config.log_with,
        project_dir=run_dir,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timeout),
            DistributedDataParallelKwargs(broadcast_buffers=False),  # they are computed, and equal everywhere
        ],
    )
    check_world_size(accelerator)
    if accelerator.distributed_type not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        raise InputError(unsupported(accelerator.distributed_type))
    if config.precision == "fp16" and accelerator.device.type != "cuda":
        raise InputError(f"train.precision=fp16 needs a CUDA GPU, not {accelerator.device.type}; take bf16 or no")
    if accelerator.device.type == "cpu" and config.precision == "bf16":
        # In bf16 PyTorch's fused attention for CPUs goes backward slowly: an update of a model with d_model 256
        # and sentences of 18 tokens takes 1.17 times as long as with the plain products.
        torch.backends.cuda.enable_flash_sdp(False)
    return accelerator


def refuse_plugins() -> None:
    """Raises ValueError for what the launcher asks of accelerate by variables, some of which fail late or silently."""
    for plugin in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{plugin}", "false").lower() in ("1", "true", "yes", "on"):
            raise InputError(unsupported(plugin))
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper() != "NO":
        raise InputError("accelerate is configured to compile the model (dynamo): choose `no`, and set train.compile")


def unsupported(kind: str) -> str:
    """A sentence."""
    return (
        f"accelerate is configured for {kind}, which this trainer does not support; choose plain multi-GPU "
        "(`accelerate config`, or `accelerate launch --multi_gpu`)"
    )


def join_after_a_restart(timeout: timedelta) -> None:
    """Let ranks that `--max_restarts` started again meet in a place of their own.

    Their launcher keeps its store, and with it the addresses of the ranks that died: whoever reads one of them waits
    for a dead process (PyTorch issue 135712).
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=timeout))
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true" or not torch.cuda.is_available()
    distributed.init_process_group(
        "gloo" if on_cpu else "nccl",
        store=distributed.PrefixStore(f"attempt-{attempt}", store),
        rank=rank,
        world_size=world_size,
        timeout=timeout,
    )


def check_tracker(name: str) -> None:
    """Raises ValueError where the tracker's package is missing; accelerate would log nothing and say nothing."""
    if name in ("wandb", "trackio") and importlib.util.find_spec(name) is None:
        raise InputError(f"train.log_with={name} needs a package that is missing: pip install {name}")


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generator that dropout on `device` draws from; `torch.manual_seed`, which seeds all, takes longer."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


def new_sum(accelerator: Accelerator) -> Tensor:
    """A zero to add losses to: double precision, except on Apple's GPUs, which have none."""
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    return torch.zeros((), dtype=dtype, device=accelerator.device)


def sum_over_ranks(accelerator: Accelerator, values: Tensor) -> list[float]:
    """One small sum over all ranks, read by the host: the only synchronisation of an update."""
    total = accelerator.reduce(values, reduction="sum")
    assert isinstance(total, Tensor)
    return [float(x) for x in total.tolist()]


def check_equal_ranks(step: int, facts: dict[str, str]) -> None:
    """Raises ValueError where the ranks would continue from different updates, or differ in one of `facts`."""
    ranks: list[tuple[int, dict[str, str]]] = gather_object([(step, facts)])
    if len({step for step, _ in ranks}) > 1:
        raise InputError(
            f"the ranks found checkpoints of different updates ({', '.join(str(step) for step, _ in ranks)}): "
            "the run folder must be one that all hosts share"
        )
    differing = [name for name in facts if len({theirs[name] for _, theirs in ranks}) > 1]
    if differing:
        raise InputError(f"the ranks differ in {', '.join(differing)}: give every host the same command and files")
