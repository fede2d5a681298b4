"""How fast a GPT trains and generates here, beside nanoGPT's way of doing it and the GPT-2 of `transformers`.

    python benchmarks/gpt_speed.py --rounds 5

Training: tokens per second of `train.loop.train`, of a plain GPT in the loop of nanoGPT (benchmarks/plain_gpt.py), and
of `transformers` in that same loop; and of our model there, which tells the model's part from the loop's. Validation
and checkpoints are out of the way of all.

Generation, of 1 sample and of 8 as a batch: `evaluate.generator.Generator`, the plain GPT without a cache as nanoGPT,
and `generate` of `transformers`. Within the block the prompt is one token; beyond it the prompt fills the block, where
`transformers` cannot go on, nanoGPT always sees the last block of tokens, and ours from half a block to a whole one.

All have the same layers and as many parameters and compute on the processor in float32. They take turns in rounds, so
that what else the machine does slows all alike. Writes benchmarks/results/gpt_speed.json. Needs
`pip install transformers`.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine, write_result
from benchmarks.plain_gpt import PlainGPT, PlainTraining, Shape
from common.command import run_command
from common.settings import load_settings
from data_pipeline.tokenizers.characters import CharTokenizer
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from train.config import RunConfig
from train.loop import train
from transformer.model import GPT

try:
    from transformers import GPT2Config, GPT2LMHeadModel
except ImportError:
    sys.exit("error: this compares with transformers, which is not installed: pip install transformers")

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "nanogpt_cpu": (Shape(n_layers=4, n_heads=4, d_model=128, block=64, batch=12, vocab_size=65), 200),
    "wider": (Shape(n_layers=6, n_heads=6, d_model=384, block=256, batch=4, vocab_size=65), 20),
    "gpt2_small": (Shape(n_layers=12, n_heads=12, d_model=768, block=128, batch=1, vocab_size=50257), 10),
}
"""Each with the updates that are timed in a round. nanogpt_cpu is what nanoGPT's README trains on a processor."""
TEMPERATURE, TOP_K = 0.8, 200  # those of nanoGPT's sample.py
WITHIN, BEYOND = 200, 400  # tokens that are generated


@dataclass(frozen=True)
class Setting:
    """What the contestants of a comparison share."""

    shape: Shape
    folder: Path
    """`data.bin`: the tokens in 16 bits. `train.txt`: the same as text. `vocabulary`: its characters."""
    updates: int
    """That are timed in a round; a fifth of them go before, for warming up."""

    @property
    def warm_up(self) -> int:
        """Updates before the clock starts."""
        return max(1, self.updates // 5)


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["nanogpt_cpu", "wider"])
    parser.add_argument("--updates", type=int, help="timed in a round; otherwise each shape has its own number")
    parser.add_argument("--no-generation", dest="generation", action="store_false")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result: dict[str, Any] = {"threads": args.threads, "machine": describe_machine()}
    result["machine"]["versions"]["transformers"] = version("transformers")
    for name in args.shapes:
        shape, updates = SHAPES[name]
        with tempfile.TemporaryDirectory(prefix="gpt-speed-") as folder:
            setting = make_setting(shape, Path(folder), args.updates or updates)
            result[name] = {"shape": asdict(shape), "training": compare_training(setting, args.rounds)}
            if args.generation:
                result[name]["generation"] = compare_generation(setting, args.rounds)
    write_result("gpt_speed", result)


def make_setting(shape: Shape, folder: Path, updates: int) -> Setting:
    """Write a million random characters, of `vocab_size` kinds and all of them there."""
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
    """configs/gpt_shakespeare_char.yaml with the numbers of the shape, and without what is not training."""
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
        "train.threads": torch.get_num_threads(),
        "schedule.warmup_steps": 1,  # so few updates would not leave the config's warm-up, and that is refused
        "train.max_steps": setting.warm_up + setting.updates,
        "train.log_every": setting.warm_up,
        "validation.every": 1_000_000,
        "checkpoints.every": 1_000_000,
        "validation.sample_tokens": 0,
        "train.log_with": "none",
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    return load_settings(RunConfig, ROOT / "configs" / "gpt_shakespeare_char.yaml", overrides)


def our_model(setting: Setting) -> GPT:
    """Our GPT, as the recipe makes it."""
    return GPT(replace(recipe(setting, setting.folder).model, vocab_size=setting.shape.vocab_size))


def their_model(shape: Shape) -> GPT2LMHeadModel:
    """GPT-2 of `transformers`, without dropout, and with the GELU of the others, which is faster than its own."""
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.block,
        n_embd=shape.d_model,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def train_ours(setting: Setting) -> float:
    """Tokens per second of our training loop, by the lines of its log after the first."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as run_dir, contextlib.redirect_stdout(io.StringIO()):
        train(recipe(setting, Path(run_dir)), Path(run_dir))
        lines = [json.loads(line) for line in (Path(run_dir) / "timing.jsonl").read_text().splitlines()]
    speeds = [line["tgt_tokens_per_second"] for line in lines if "tgt_tokens_per_second" in line]
    return statistics.harmonic_mean(speeds[1:])  # every line is of as many tokens


def train_plain(setting: Setting) -> float:
    """The plain GPT in the plain loop."""
    model = PlainGPT(setting.shape)
    return in_plain_loop(model, model, setting)


def train_our_model(setting: Setting) -> float:
    """Our model in the plain loop."""
    model = our_model(setting)
    return in_plain_loop(model, model, setting)


def train_theirs(setting: Setting) -> float:
    """The model of `transformers` in the plain loop."""
    model = their_model(setting.shape)
    return in_plain_loop(model, lambda tokens_BL: model(tokens_BL, use_cache=False).logits, setting)


def in_plain_loop(model: nn.Module, logits: Callable[[Tensor], Tensor], setting: Setting) -> float:
    """Tokens per second of the plain loop."""
    training = PlainTraining(model, logits, setting.folder / "data.bin", setting.shape)
    training.run(setting.warm_up)
    return training.run(setting.updates)


TRAINING: dict[str, Callable[[Setting], float]] = {
    "plain": train_plain,
    "ours": train_ours,
    "our model in the plain loop": train_our_model,
    "transformers": train_theirs,
}


def compare_training(setting: Setting, rounds: int) -> dict[str, Any]:
    """Every way of training, in turn; each begins anew in every round."""
    speeds = in_turn({name: partial(contestant, setting) for name, contestant in TRAINING.items()}, rounds)
    return {"updates_timed_in_a_round": setting.updates, **speeds}


def compare_generation(setting: Setting, rounds: int) -> dict[str, Any]:
    """Tokens per second of all samples together; one entry for each length and number of samples."""
    plain, ours, theirs = PlainGPT(setting.shape).eval(), our_model(setting), their_model(setting.shape).eval()
    sizes = {sum(p.numel() for p in model.parameters()) for model in (plain, ours, theirs)}
    assert len(sizes) == 1, f"models of {sizes} parameters cannot be compared"
    tokenizer = CharTokenizer(setting.folder / "vocabulary")
    generator = Generator(ours, tokenizer)
    ids = np.fromfile(setting.folder / "data.bin", dtype=np.uint16)[: setting.shape.block].astype(np.int64)

    def ways(prompt_L: np.ndarray, samples: int) -> dict[str, Callable[[int], object]]:
        prompt_BL = torch.from_numpy(prompt_L).repeat(samples, 1)
        text = tokenizer.decode_text(prompt_L.tolist())
        config = SampleConfig(temperature=TEMPERATURE, top_k=TOP_K, num_samples=samples)
        own = {
            "plain": lambda new: plain.generate(prompt_BL, new, TEMPERATURE, TOP_K),
            "ours": lambda new: generator.generate([text], replace(config, max_tokens=new), note=lambda _: None),
        }
        if len(prompt_L) == setting.shape.block:
            return own
        return own | {"transformers": lambda new: generate_theirs(theirs, prompt_BL, new)}

    result = {}
    within = min(WITHIN, setting.shape.block - 1)
    for samples in (1, 8):
        for place, length, new in (("within", 1, within), ("beyond", setting.shape.block, BEYOND)):
            contestants = ways(ids[:length], samples)
            for generate in contestants.values():
                generate(min(8, new))  # warms up
            timed = {name: partial(time_generation, way, samples, new) for name, way in contestants.items()}
            result[f"{new} tokens {place} the block, {samples} at once"] = in_turn(timed, rounds)
    return result


def generate_theirs(model: Any, prompt_BL: Tensor, new: int) -> None:
    """With its cache, drawing as the others do."""
    model.generate(
        prompt_BL,
        attention_mask=torch.ones_like(prompt_BL),
        max_new_tokens=new,
        do_sample=True,
        temperature=TEMPERATURE,
        top_k=TOP_K,
        use_cache=True,
    )


def time_generation(generate: Callable[[int], object], samples: int, new: int) -> float:
    """Tokens per second."""
    started = time.perf_counter()
    generate(new)
    return samples * new / (time.perf_counter() - started)


def in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Any]:
    """Tokens per second of each in every round; their median; and how many times as fast as the plain one of the
    same round: median, lowest, highest."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            speeds[name].append(measure())
    result = {}
    for name, own in speeds.items():
        ratios = [a / b for a, b in zip(own, speeds["plain"], strict=True)]
        result[name] = {
            "tokens_per_second": [round(speed, 1) for speed in own],
            "median": round(statistics.median(own), 1),
            "times_plain": [round(pick(ratios), 3) for pick in (statistics.median, min, max)],
        }
    return result


if __name__ == "__main__":
    run_command(main)
