"""Train a GRU, an LSTM with attention and the Transformer at equal numbers of parameters, and compare them.

    python -m docs.learn.recurrent

measures tokens per second by sentence length, trains each model with the same updates and three seeds, counts correct
pronouns by the distance of pronoun and noun, and writes runs/results/recurrent.json. A finished part is not repeated,
so a stopped script resumes.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.runner import (
    Tables,
    about_machine,
    command_line,
    new_result,
    ratios,
    save,
    say,
    show_spread,
    spread,
    table,
    time_in_turn,
)
from common.command import run_command
from data_pipeline.config import BatchConfig
from data_pipeline.examples import IGNORE
from data_pipeline.tokenizers.sentence_piece import BOS_ID, PAD_ID, Tokenizer
from docs.exercises.runs import OUT
from docs.learn.pronoun_texts import Text, make_texts
from docs.learn.recurrent_models import GruTranslator, LstmTranslator, fitting, longest_chain
from docs.learn.small_training import (
    bleu,
    finished,
    frequent_words,
    pad,
    set_up,
    tokenizer_of,
    train,
    translate,
    write_pairs,
)
from evaluate.metrics.pronouns import pronoun_agreement
from train.config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from train.loss import linear_cross_entropy
from train.setup import Setup
from transformer.config import ModelConfig
from transformer.model import Transformer, count_parameters

GRU, LSTM, TRANSFORMER = "GRU", "LSTM with attention", "Transformer"
MODELS = (GRU, LSTM, TRANSFORMER)
IN_TRAINING, TESTED = range(4), range(6)
"""Numbers of sentences between noun and pronoun: those of the training texts, and those of the test texts."""
WORDS, VOCABULARY, PER_TEST, EVERY = 250, 800, 60, 50
CONFIG = RunConfig(
    model=ModelConfig(d_model=64, n_layers=2, n_heads=4, d_ff=256, dropout=0.0, max_len=512),
    batches=BatchConfig(tokens_per_update=1000, per_update=1, buckets=12),
    optimizer=OptimizerConfig(clip_norm=1.0),
    schedule=ScheduleConfig(warmup_steps=60, scale=0.3),
    train=TrainConfig(max_steps=300, label_smoothing=0.0),
)
SMALLEST = replace(
    CONFIG,
    model=replace(CONFIG.model, d_model=16, n_layers=1, d_ff=16),
    batches=BatchConfig(tokens_per_update=800, per_update=1, buckets=2),
    train=replace(CONFIG.train, max_steps=2),
)
"""Settings of a smoke test."""
LENGTHS, TOKENS, ROWS = (8, 16, 32, 64, 128), 1024, 32
"""Sentence lengths in tokens; tokens of a batch in training; sentences of a batch in decoding."""


def main() -> None:
    """Do what is missing, and write the result."""
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/recurrent"), help="folder for texts and runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each model (default: 3)")
    parser.add_argument("--only", action="append", choices=MODELS, help="only train this model; repeatable")
    args = parser.parse_args()
    torch.set_num_threads(1)
    small, every = args.smoke_test, 1 if args.smoke_test else EVERY
    config, n_train, n_test = (SMALLEST, 100, 4) if small else (CONFIG, 2000, PER_TEST)
    setup = texts_for(args.runs / "text", config, n_train, 20 if small else 60, None if small else WORDS)
    tests = [test_texts(between, n_test, None if small else WORDS) for between in TESTED]
    makers = make_models(setup)
    rows = []
    for name in args.only or MODELS:
        runs = []
        for seed in range(1, args.seeds + 1):
            say(f"{name}, seed {seed}")
            file = args.runs / f"{name.split()[0]}-{seed}.json"
            runs.append(finished(file, partial(run, makers[name], seed, setup, tests, every)))
        rows.append({"model": name, "parameters": count_parameters(makers[name]()), "runs": runs})
    if args.only:
        return
    say("speed")
    lengths = LENGTHS[:1] if small else LENGTHS
    speed = finished(args.runs / "speed.json", partial(measure_speed, makers, lengths, args.rounds))
    result = new_result(
        settings={"updates": config.train.max_steps, "tokens_per_update": config.batches.tokens_per_update},
        distances=[round(mean(text.distance for text in texts), 1) for texts in tests],
        rows=rows,
        speed=speed,
    )
    save("recurrent", result, make_tables(result), smoke_test=small, folder=args.out)


# Texts and models.


@cache
def known_words(n: int | None) -> set[str] | None:
    """Return the most frequent words of the texts. None: all words are allowed."""
    if n is None:
        return None
    sample = [(text.source, "") for between in IN_TRAINING for text in make_texts(500, between, "words")]
    return frequent_words(sample, n)


def texts_for(folder: Path, config: RunConfig, n_train: int, n_valid: int, words: int | None) -> Setup:
    """Return the setup for texts of all training distances, `n_train` of each. They are generated once."""
    if not (folder / "valid.de").exists():
        known = known_words(words)
        for split, n in (("train", n_train), ("valid", n_valid)):
            texts = [text for between in IN_TRAINING for text in make_texts(n, between, split, known)]
            write_pairs(folder, split, [(text.source, text.reference) for text in texts])
    return set_up(config, folder, VOCABULARY)


def test_texts(between: int, n: int, words: int | None) -> list[Text]:
    """Return test texts of one distance."""
    return make_texts(n, between, "test", known_words(words))


def make_models(setup: Setup) -> dict[str, Callable[[], nn.Module]]:
    """Return functions that make the models. The recurrent ones are as wide as the Transformer's parameters allow."""
    config = setup.config.model
    size = count_parameters(Transformer(config))
    makers: dict[str, Callable[[], nn.Module]] = {}
    for name, kind in ((GRU, GruTranslator), (LSTM, LstmTranslator)):
        make = partial(kind, config.vocab_size, config.d_model)
        makers[name] = partial(make, fitting(make, size))
    return makers | {TRANSFORMER: partial(Transformer, config)}


# Quality.


def run(make: Callable[[], nn.Module], seed: int, setup: Setup, tests: list[list[Text]], every: int) -> dict[str, Any]:
    """Train one model. Return its curve and its correct pronouns for each distance."""
    setup = replace(setup, config=replace(setup.config, train=replace(setup.config.train, seed=seed)))
    torch.manual_seed(seed)
    model, tokenizer = make(), tokenizer_of(setup)
    sources, references = setup.prepared.valid_text()
    curve = [
        asdict(point) for point in train(model, setup, every, lambda: _bleu(model, tokenizer, sources, references))
    ]
    model.eval()
    chosen, agreeing = [], []
    for texts in tests:
        chosen.append(choose_pronouns(model, tokenizer, texts) / len(texts))
        translations = translate(model, tokenizer, [text.source for text in texts])  # type: ignore[arg-type]
        correct, counted = pronoun_agreement([text.source for text in texts], translations)
        agreeing.append(correct / counted)
    return {"curve": curve, "chosen": chosen, "agreeing": agreeing}


def _bleu(model: Any, tokenizer: Tokenizer, sources: list[str], references: list[str]) -> float:
    return bleu(translate(model, tokenizer, sources), references)


@torch.no_grad()
def choose_pronouns(model: nn.Module, tokenizer: Tokenizer, texts: list[Text]) -> int:
    """Return for how many texts the correct candidate is more probable than those with the two other pronouns."""
    correct = 0
    for text in texts:
        labels_BL = pad(tokenizer.encode_target(list(text.candidates)))
        src_BM = pad(tokenizer.encode([text.source])).expand(len(labels_BL), -1)
        tgt_BL = torch.cat([torch.full_like(labels_BL[:, :1], BOS_ID), labels_BL[:, :-1]], dim=1)
        logits_BLV = model(src_BM, src_BM != PAD_ID, tgt_BL)
        losses_BL = F.cross_entropy(logits_BLV.transpose(1, 2), labels_BL, ignore_index=PAD_ID, reduction="none")
        correct += int(losses_BL.sum(dim=1).argmin()) == text.gender
    return correct


# Speed.


def measure_speed(makers: dict[str, Callable[[], nn.Module]], lengths: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Return tokens per second in training and decoding, and the longest chain of operations, for each length.

    The models take turns in every round, so other load on the machine slows all of them.
    """
    torch.manual_seed(0)
    models: dict[str, Any] = {name: make() for name, make in makers.items()}
    found: dict[str, Any] = {"lengths": list(lengths), "training": [], "decoding": [], "chain": []}
    for length in lengths:
        rows = TOKENS // length
        ids = torch.randint(4, 200, (rows, length))
        work = {name: partial(train_once, model, ids) for name, model in models.items()}
        found["training"].append(_speeds(work, rows * length, rounds))
        found["chain"].append({name: longest_chain(loss_of(model, ids)) for name, model in models.items()})
        sources = torch.randint(4, 200, (ROWS, length))
        work = {name: partial(decode, model.eval(), sources) for name, model in models.items()}
        found["decoding"].append(_speeds(work, ROWS * length, rounds))
        for model in models.values():
            model.train()
    return found


def _speeds(work: Mapping[str, Callable[[], object]], tokens: int, rounds: int) -> dict[str, Any]:
    seconds = time_in_turn(work, rounds)
    return {
        name: {
            "tokens_per_second": round(tokens / median(own)),
            "transformer_is_times_as_fast": spread(ratios(own, seconds[TRANSFORMER]), 2),
        }
        for name, own in seconds.items()
    }


def loss_of(model: Any, ids_BL: Tensor) -> Tensor:
    """Return the loss of these ids as source and as target."""
    x_BLD = model(ids_BL, torch.ones_like(ids_BL, dtype=torch.bool), ids_BL, logits=False)
    labels_BL = torch.where(ids_BL == PAD_ID, IGNORE, ids_BL)
    return linear_cross_entropy(x_BLD, model.output, labels_BL, smoothing=0.0)


def train_once(model: Any, ids_BL: Tensor) -> None:
    """Run forward and backward once."""
    loss_of(model, ids_BL).backward()
    model.zero_grad()


@torch.no_grad()
def decode(model: Any, src_BM: Tensor) -> None:
    """Read the sources, and translate greedily for as many steps as a source has tokens."""
    state = model.start(src_BM, torch.ones_like(src_BM, dtype=torch.bool), src_BM.size(1))
    tokens_B = torch.full((len(src_BM),), BOS_ID)
    for _ in range(src_BM.size(1)):
        tokens_B = model.step(tokens_B, state).argmax(dim=-1)


# Tables.


def show(values: list[float], form: str) -> str:
    """Return mean, minimum and maximum of the seeds as text."""
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the tables of the page."""
    rows, speed, machine = result["rows"], result["speed"], about_machine(result)
    settings, names = result["settings"], [row["model"] for row in result["rows"]]
    note = (
        f"{settings['updates']} updates of about {settings['tokens_per_update']:,} source and as many target tokens, "
        f"{len(rows[0]['runs'])} seeds, 1 thread; {machine}."
    )
    tables: Tables = {"recurrent_quality": [table(QUALITY, quality_rows(rows), note)]}
    for kind in ("training", "decoding"):
        cells = [speed_row(length, own) for length, own in zip(speed["lengths"], speed[kind], strict=True)]
        headings = ["tokens per sentence", *(f"{name} (tokens/s)" for name in MODELS), *FASTER]
        what = f"{TOKENS:,} tokens per batch" if kind == "training" else f"{ROWS} sentences per batch, greedy search"
        tables[f"recurrent_{kind}"] = [table(headings, cells, f"{what}, 1 thread; {machine}.")]
    chains = [[length, *own.values()] for length, own in zip(speed["lengths"], speed["chain"], strict=True)]
    tables["recurrent_chain"] = [table(["tokens per sentence", *MODELS], chains)]
    for measure in ("chosen", "agreeing"):
        cells = [
            [
                str(between),
                str(distance),
                *(show([100 * run[measure][between] for run in row["runs"]], ".0f") for row in rows),
            ]
            for between, distance in zip(TESTED, result["distances"], strict=True)
        ]
        tables[f"recurrent_{measure}"] = [table([*DISTANCE, *(f"{name} (%)" for name in names)], cells)]
    return tables


QUALITY = ["model", "parameters", "validation loss (nats per token)", "validation BLEU", "CPU seconds per 100 updates"]
FASTER = [f"Transformer over {name}" for name in (GRU, LSTM)]
DISTANCE = ["sentences between", "words from noun to pronoun"]


def quality_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of each model after its last update."""
    cells = []
    for row in rows:
        last = [run["curve"][-1] for run in row["runs"]]
        seconds = [100 * point["seconds"] / point["step"] for point in last]
        measures = (("valid_loss", ".2f"), ("bleu", ".1f"))
        shown = [show([point[key] for point in last], form) for key, form in measures]
        cells.append([row["model"], f"{row['parameters']:,}", *shown, show(seconds, ".0f")])
    return cells


def speed_row(length: int, own: dict[str, Any]) -> list[str]:
    """Return the cells of a sentence length."""
    faster = [show_spread(own[name]["transformer_is_times_as_fast"]) for name in (GRU, LSTM)]
    return [str(length), *(f"{own[name]['tokens_per_second']:,}" for name in MODELS), *faster]


if __name__ == "__main__":
    run_command(main)
