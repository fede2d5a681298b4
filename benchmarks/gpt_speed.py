"""Compare the speed of GPT training and generation with nanoGPT's method and with GPT-2 of transformers.

    python -m benchmarks.gpt_speed --rounds 5

Training: tokens per second of `train.loop.train`, of a plain GPT in nanoGPT's loop (benchmarks/programs/plain_gpt.py),
of transformers in that loop, and of paper-transformer's model in that loop, which separates the model from the loop.
Validation and checkpoints do not count.

Generation of 1 sample and of 8 in a batch: `evaluate.generator.Generator`, the plain GPT without a cache as in nanoGPT,
and `generate` of transformers. Within the block, the prompt is one token. Beyond the block, the prompt fills the block:
transformers cannot continue; nanoGPT always computes the last block of tokens; paper-transformer uses half a block to a
whole block.

All models have the same layers and number of parameters, and compute in float32 on the CPU. They take turns in rounds,
so that other load on the machine slows all of them. Writes benchmarks/results/gpt_speed.json. Needs
`pip install transformers`.
"""

import json
import statistics
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.programs.plain_gpt import PlainGPT, PlainTraining, Shape
from benchmarks.runner import (
    ROOT,
    Tables,
    about_machine,
    command_line,
    compare_speeds,
    new_result,
    save,
    show_spread,
    table,
    take_turns,
    temporary_folder,
    time_in_turn,
)
from common.command import run_command
from common.settings import load_settings
from data_pipeline.tokenizers.characters import CharTokenizer
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from train.config import RunConfig
from train.loop import train
from transformer.model import GPT

SHAPES = {
    "nanogpt_cpu": (Shape(n_layers=4, n_heads=4, d_model=128, block=64, batch=12, vocab_size=65), 200),
    "wider": (Shape(n_layers=6, n_heads=6, d_model=384, block=256, batch=4, vocab_size=65), 20),
    "gpt2_small": (Shape(n_layers=12, n_heads=12, d_model=768, block=128, batch=1, vocab_size=50257), 10),
}
"""Model sizes, with the number of updates in a round. nanoGPT's README trains nanogpt_cpu on a CPU."""
TEMPERATURE, TOP_K = 0.8, 200  # those of nanoGPT's sample.py
WITHIN, BEYOND = 200, 400
"""Number of generated tokens."""
PLAIN, PAPER_TRANSFORMER, MODEL_ALONE, TRANSFORMERS = (
    "plain",
    "paper-transformer",
    "its model in the plain loop",
    "transformers",
)


@dataclass(frozen=True)
class Setting:
    """What the programs of a comparison have in common."""

    shape: Shape
    folder: Path
    """`data.bin`: the tokens in 16 bits. `train.txt`: the same as text. `vocabulary`: its characters."""
    updates: int
    """Number of timed updates in a round, after a fifth as many for warm-up."""

    @property
    def warm_up(self) -> int:
        """Updates before the clock starts."""
        return max(1, self.updates // 5)


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__, rounds=5, threads=2)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["nanogpt_cpu", "wider"])
    parser.add_argument("--updates", type=int, help="number of timed updates in a round (default: depends on the size)")
    args = parser.parse_args()
    if args.smoke_test:
        args.rounds, args.shapes, args.updates = 1, args.shapes[:1], 5
    torch.set_num_threads(args.threads)
    result = new_result(threads=args.threads, versions={"transformers": version("transformers")})
    for name in args.shapes:
        shape, updates = SHAPES[name]
        new_tokens = (8, 8) if args.smoke_test else (min(WITHIN, shape.block - 1), BEYOND)
        with temporary_folder() as folder:
            setting = make_setting(shape, folder, args.updates or updates)
            training = compare_training(setting, args.rounds)
            generation = compare_generation(setting, args.rounds, *new_tokens)
        result[name] = {"shape": asdict(shape), "training": training, "generation": generation}
    save("gpt_speed", result, make_tables(result), smoke_test=args.smoke_test)


def make_setting(shape: Shape, folder: Path, updates: int) -> Setting:
    """Write a million random characters; each of the `vocab_size` characters occurs."""
    printable = [chr(code) for code in range(32, 0x20000) if chr(code).isalnum()]
    characters = np.array(["\n", *printable[: shape.vocab_size - 1]])
    drawn = np.random.default_rng(1).integers(0, shape.vocab_size, 1_000_000)
    ids = np.concatenate([np.arange(shape.vocab_size), drawn])
    ids.astype(np.uint16).tofile(folder / "data.bin")
    (folder / "train.txt").write_text("".join(characters[ids]), encoding="utf-8")
    (folder / "valid.txt").write_text("".join(characters[ids[-2 * shape.block :]]), encoding="utf-8")
    CharTokenizer.learn(["".join(characters)], folder / "vocabulary")
    return Setting(shape, folder, updates)


def recipe(setting: Setting, run_dir: Path) -> RunConfig:
    """Return configs/gpt_shakespeare_char.yaml with the sizes of the comparison, and training only."""
    shape, folder = setting.shape, setting.folder
    settings = {
        "data.train": folder / "train.txt",
        "data.valid": folder / "valid.txt",
        "data.cache_dir": folder / "cache",
        "run_dir": run_dir,
        "model.n_layers": shape.n_layers,
        "model.n_heads": shape.n_heads,
        "model.d_model": shape.d_model,
        "model.d_ff": 4 * shape.d_model,
        "model.max_len": shape.block,
        "batches.tokens_per_update": shape.batch * shape.block,
        "schedule.warmup_steps": 1,
        "train.threads": torch.get_num_threads(),
        "train.max_steps": setting.warm_up + setting.updates,
        "train.log_every": setting.warm_up,
        "train.log_with": "none",
        "validation.every": 1_000_000,
        "validation.sample_tokens": 0,
        "checkpoints.every": 1_000_000,
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    return load_settings(RunConfig, ROOT / "configs" / "gpt_shakespeare_char.yaml", overrides)


def make_gpt(setting: Setting) -> GPT:
    """Return paper-transformer's GPT."""
    return GPT(replace(recipe(setting, setting.folder).model, vocab_size=setting.shape.vocab_size))


def make_gpt2(shape: Shape) -> GPT2LMHeadModel:
    """Return GPT-2 of transformers, without dropout, and with the exact GELU, which is faster than its own."""
    sizes = {"n_embd": shape.d_model, "n_layer": shape.n_layers, "n_head": shape.n_heads, "n_positions": shape.block}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    tokens = {"vocab_size": shape.vocab_size, "bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(GPT2Config(**sizes, **tokens, **no_dropout, activation_function="gelu"))


def time_trainer(setting: Setting) -> float:
    """Return tokens per second of paper-transformer's training loop, from its log after the first line."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as run_dir, redirect_stdout(StringIO()):
        train(recipe(setting, Path(run_dir)), Path(run_dir))
        lines = [json.loads(line) for line in (Path(run_dir) / "timing.jsonl").read_text().splitlines()]
    speeds = [line["tgt_tokens_per_second"] for line in lines if "tgt_tokens_per_second" in line]
    return statistics.harmonic_mean(speeds[1:])  # every line covers the same number of tokens


class Logits(nn.Module):
    """A model of transformers that returns only its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Map (B, L) to (B, L, V)."""
        return self.model(tokens_BL, use_cache=False).logits


def time_plain_loop(setting: Setting, make: Callable[[], nn.Module]) -> float:
    """Return tokens per second of the plain loop with a new model."""
    model = make()
    training = PlainTraining(model, model, setting.folder / "data.bin", setting.shape)
    training.run(setting.warm_up)
    return training.run(setting.updates)


def compare_training(setting: Setting, rounds: int) -> dict[str, Any]:
    """Time all programs in turn; each starts from new weights in every round."""
    speeds = take_turns(
        {
            PLAIN: lambda: time_plain_loop(setting, lambda: PlainGPT(setting.shape)),
            PAPER_TRANSFORMER: lambda: time_trainer(setting),
            MODEL_ALONE: lambda: time_plain_loop(setting, lambda: make_gpt(setting)),
            TRANSFORMERS: lambda: time_plain_loop(setting, lambda: Logits(make_gpt2(setting.shape))),
        },
        rounds,
    )
    return {"updates_timed_in_a_round": setting.updates, **compare_speeds(speeds, PLAIN, of_reference=False)}


def compare_generation(setting: Setting, rounds: int, within: int, beyond: int) -> dict[str, Any]:
    """Return tokens per second of all samples together, for each length and number of samples."""
    plain, gpt, gpt2 = PlainGPT(setting.shape).eval(), make_gpt(setting), make_gpt2(setting.shape).eval()
    sizes = {sum(p.numel() for p in model.parameters()) for model in (plain, gpt, gpt2)}
    assert len(sizes) == 1, f"models of {sizes} parameters cannot be compared"
    tokenizer = CharTokenizer(setting.folder / "vocabulary")
    generator = Generator(gpt, tokenizer)
    ids = np.fromfile(setting.folder / "data.bin", dtype=np.uint16)[: setting.shape.block].astype(np.int64)

    def programs(prompt_L: np.ndarray, samples: int) -> dict[str, Callable[[int], object]]:
        prompt_BL = torch.from_numpy(prompt_L).repeat(samples, 1)
        text = tokenizer.decode_text(prompt_L.tolist())
        config = SampleConfig(temperature=TEMPERATURE, top_k=TOP_K, num_samples=samples)
        both: dict[str, Callable[[int], object]] = {
            PLAIN: lambda new: plain.generate(prompt_BL, new, TEMPERATURE, TOP_K),
            PAPER_TRANSFORMER: lambda new: generator.generate(
                [text], replace(config, max_tokens=new), note=lambda _: None
            ),
        }
        if len(prompt_L) == setting.shape.block:
            return both
        return both | {TRANSFORMERS: lambda new: generate_with_cache(gpt2, prompt_BL, new)}

    result = {}
    for samples in (1, 8):
        for place, length, new in (("within", 1, within), ("beyond", setting.shape.block, beyond)):
            turns = {name: partial(generate, new) for name, generate in programs(ids[:length], samples).items()}
            seconds = time_in_turn(turns, rounds)
            speeds = {name: [samples * new / one for one in own] for name, own in seconds.items()}
            result[f"{new} tokens {place} the block, {samples} at once"] = compare_speeds(
                speeds, PLAIN, of_reference=False
            )
    return result


def generate_with_cache(model: Any, prompt_BL: Tensor, new: int) -> None:
    """Sample with transformers."""
    model.generate(
        prompt_BL,
        attention_mask=torch.ones_like(prompt_BL), max_new_tokens=new, use_cache=True,
        do_sample=True, temperature=TEMPERATURE, top_k=TOP_K,
    )  # fmt: skip


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per model size, measurement and program."""
    rows = [
        [size, measurement, program, f"{own['median']:,.0f}", show_spread(own["speed_up"])]
        for size in SHAPES
        if size in result
        for measurement, cell in {"training": result[size]["training"], **result[size].get("generation", {})}.items()
        for program, own in cell.items()
        if isinstance(own, dict)
    ]
    headings = ["model size", "measurement", "program", "tokens/s", "speed-up over the plain GPT (min to max)"]
    return {"gpt_speed": [table(headings, rows, f"{result['threads']} threads; {about_machine(result)}.")]}


if __name__ == "__main__":
    run_command(main)
