"""Processes of a run, through accelerate: setup, seeds of dropout, and small sums over all ranks."""

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
    """Return the accelerator of a run.

    Raises:
        InputError: accelerate is configured for something that this trainer does not support, the tracker is not
            installed, or the precision needs a GPU.
    """
    check_tracker(config.log_with)
    reject_plugins()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    timeout = timedelta(hours=1)
    join_after_restart(timeout)
    accelerator = Accelerator(
        mixed_precision="no",  # the trainer has its own autocast and loss scaler
        log_with=None if config.log_with == "none" else config.log_with,
        project_dir=run_dir,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timeout),
            DistributedDataParallelKwargs(broadcast_buffers=False),  # all ranks have equal ones
        ],
    )
    check_world_size(accelerator)
    if accelerator.distributed_type not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        raise InputError(unsupported(accelerator.distributed_type))
    if config.precision == "fp16" and accelerator.device.type != "cuda":
        device = accelerator.device.type
        raise InputError(f"train.precision=fp16 needs a CUDA GPU, not {device}. Set train.precision=bf16")
    return accelerator


def reject_plugins() -> None:
    """Raise InputError if an environment variable of the launcher selects a plugin.

    Some plugins would fail late or be ignored silently.
    """
    for plugin in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{plugin}", "false").lower() in ("1", "true", "yes", "on"):
            raise InputError(unsupported(plugin))
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper() != "NO":
        raise InputError(
            "accelerate is configured to compile the model (dynamo). Set --dynamo_backend no and train.compile=true"
        )


def unsupported(kind: str) -> str:
    """Return the error message for a way to distribute that this trainer does not support."""
    return (
        f"accelerate is configured for {kind}, which this trainer does not support. Choose plain multi-GPU "
        "(`accelerate config`, or `accelerate launch --multi_gpu`)"
    )


def join_after_restart(timeout: timedelta) -> None:
    """Give the ranks that `--max_restarts` started again their own rendezvous.

    The launcher keeps its store, and with it the addresses of dead processes. A rank that reads one of them waits for
    a dead process (PyTorch issue 135712).
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
    """Raise InputError if the package of the tracker is missing. accelerate would silently log nothing."""
    if name in ("wandb", "trackio") and importlib.util.find_spec(name) is None:
        raise InputError(f"train.log_with={name} needs a package that is not installed. Run: pip install {name}")


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generator of dropout on `device`. `torch.manual_seed` seeds all devices, which takes longer."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


def new_sum(accelerator: Accelerator) -> Tensor:
    """Return a zero to add losses to, in double precision; in fp32 on Apple's GPUs, which have no double precision."""
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    return torch.zeros((), dtype=dtype, device=accelerator.device)


def sum_over_ranks(accelerator: Accelerator, values: Tensor) -> list[float]:
    """Return the sums of the values over all ranks. The host waits for them: the only synchronisation per update."""
    total = accelerator.reduce(values, reduction="sum")
    assert isinstance(total, Tensor)
    return [float(x) for x in total.tolist()]


def check_equal_ranks(step: int, facts: dict[str, str]) -> None:
    """Raise InputError if the ranks would resume from different updates, or differ in one of `facts`."""
    ranks: list[tuple[int, dict[str, str]]] = gather_object([(step, facts)])
    if len({step for step, _ in ranks}) > 1:
        raise InputError(
            f"the ranks have checkpoints of different updates ({', '.join(str(step) for step, _ in ranks)}). "
            "Put run_dir on a disk that all hosts share"
        )
    differing = [name for name in facts if len({of_rank[name] for _, of_rank in ranks}) > 1]
    if differing:
        raise InputError(f"the ranks differ in {', '.join(differing)}. Give every host the same command and files")
