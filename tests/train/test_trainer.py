"""One update: read once by the host, the same whatever is asked beside it; memory that runs out at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from data_pipeline.examples import IGNORE, Batch
from data_pipeline.micro_batches import ROW_MULTIPLE, Update
from tests.train.test_training import make_config, run
from tests.transformer.small_models import SMALL, small, sources, targets
from train import distributed as devices
from train import loop, loss, trainer, validation
from train.config import RunConfig, TrainConfig
from train.optimizer import make_optimizer
from train.trainer import StepResult, Trainer

SHORT = ("train.max_steps=2", "validation.every=100", "checkpoints.every=100", "checkpoints.average_last=1")


@pytest.fixture
def config(corpus: dict[str, list[str]], tmp_path: Path) -> RunConfig:
    return make_config(corpus, tmp_path / "cache", *SHORT)


def test_update_does_not_depend_on_micro_batches() -> None:
    """Three sentences of 1, 6 and 3 predicted tokens: as one batch, and as a micro-batch each."""
    (src_BM, mask_BM), tgt_BL = sources(), targets()
    labels_BL = tgt_BL.where(torch.arange(6) < torch.tensor([[1], [6], [3]]), IGNORE)
    update, results = Update(0, bucket_batches=(), src_tokens=16, predicted_tokens=10), []
    for rows_of_batches in ([[0, 1, 2]], [[0], [1], [2]]):
        config, model = RunConfig(model=SMALL), small(dropout=0.0).train()
        one = Trainer(model, make_optimizer(model, config.optimizer), Accelerator(cpu=True), config)
        batches = [
            Batch((src_BM[rows], mask_BM[rows], tgt_BL[rows]), labels_BL[rows]) for rows in map(list, rows_of_batches)
        ]
        results.append(one.step(update, batches, asked=list))
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-12)
    assert results[0].gradient_norm == pytest.approx(results[1].gradient_norm, rel=1e-12)


class Reads(TorchDispatchMode):
    """Counts what waits for the device: each value of a tensor that Python asks for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_host_reads_device_once_per_update(corpus: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(corpus, tmp_path / "cache", *SHORT, "batches.micro_tokens=400", "optimizer.clip_norm=0.1")
    reads, sums, learned = Reads(), [], []
    original, sum_over_ranks = Trainer.step, trainer.sum_over_ranks

    def counted(*arguments: Any) -> StepResult:
        with reads:
            learned.append(original(*arguments))
        return learned[-1]

    def one_read(*arguments: Any) -> list[float]:
        sums.append(len(learned))
        return sum_over_ranks(*arguments)

    monkeypatch.setattr(Trainer, "step", counted)
    monkeypatch.setattr(trainer, "sum_over_ranks", one_read)
    run(config, tmp_path / "run")
    assert sums == [0, 1], "one sum, which is read, in each of the two updates, for any split"
    assert reads.count == 0, "and nothing else"


@pytest.mark.parametrize(
    ("split", "advice"), [(1, r"Set batches\.micro_tokens=\d+"), (ROW_MULTIPLE, r"Raise batches\.per_update")]
)
def test_memory_check_fails_with_setting_to_change_if_memory_is_short(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int, advice: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "backward", full)
    monkeypatch.setattr(loop, "choose_split", lambda *_: split)
    with pytest.raises(ValueError, match=rf"the largest micro-batch, \d+ rows of \d+ source and \d+ target .*{advice}"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()


def test_memory_check_runs_largest_micro_batch_before_first_update(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, backward = [], Trainer.backward

    def measured(self: Trainer, batch: Any, weight: float) -> torch.Tensor:
        sizes.append(batch.labels_BL.numel() + batch.inputs[0].numel())
        return backward(self, batch, weight)

    monkeypatch.setattr(Trainer, "backward", measured)
    run(config, tmp_path / "run")
    assert sizes[0] == max(sizes)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32), ("float64", torch.float64)]
)
def test_loss_receives_logits_in_precision_of_run(
    corpus: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    """Converting all logits to fp32 first would need more memory than the model: 3.7 GB for 25,000 tokens."""
    for user, name in ((loss, "_replace_by_gradient"), (validation, "smoothed_cross_entropy")):
        dtypes: list[torch.dtype] = []
        monkeypatch.setattr(user, name, record_dtype(getattr(user, name), dtypes))
        run(make_config(corpus, tmp_path / "cache", *SHORT, f"train.precision={precision}"), tmp_path / user.__name__)
        assert set(dtypes) == {dtype}


def record_dtype(function: Callable[..., torch.Tensor], dtypes: list[torch.dtype]) -> Callable[..., torch.Tensor]:
    def recording(logits: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        dtypes.append(logits.dtype)
        return function(logits, *rest, **options)

    return recording


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_make_accelerator_rejects_unsupported_distributed_types(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configured(**_: Any) -> Accelerator:
        accelerator = Accelerator(cpu=True)
        accelerator.state.distributed_type = kind
        return accelerator

    monkeypatch.setattr(devices, "Accelerator", configured)
    with pytest.raises(ValueError, match=rf"configured for {kind}, which this trainer does not support. Choose plain"):
        devices.make_accelerator(TrainConfig(), tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ACCELERATE_USE_FSDP", "true", "configured for FSDP, which this trainer does not support"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "configured for DEEPSPEED, which this trainer does not support"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "train.compile=true"),
    ],
)
def test_make_accelerator_rejects_unsupported_environment_variables(
    variable: str, value: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=sentence):
        devices.make_accelerator(TrainConfig(log_with="none"), tmp_path)


def test_train_ignores_accumulation_steps_of_accelerate_configuration(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run(config, tmp_path / "free")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert run(config, tmp_path / "configured") == lines


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ((8, {"settings": "a", "data": "b"}), r"checkpoints of different updates \(4, 8\)\. Put run_dir on a disk"),
        ((4, {"settings": "a", "data": "c"}), "the ranks differ in data. Give every host the same command and files"),
    ],
)
def test_ranks_reject_different_checkpoints_and_facts(
    others: tuple[int, dict[str, str]], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "gather_object", lambda own: [*own, others])
    with pytest.raises(ValueError, match=sentence):
        devices.check_equal_ranks(4, {"settings": "a", "data": "b"})
    monkeypatch.setattr(devices, "gather_object", lambda own: own * 2)
    devices.check_equal_ranks(4, {"settings": "a", "data": "b"})
