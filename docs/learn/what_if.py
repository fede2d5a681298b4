"""What if a part of the Transformer were different? Each variant swaps one part of the library's model from outside.

    python -m docs.learn.what_if

trains the paper's model and each variant with the same updates and three seeds, and writes runs/results/what_if.json.
A finished run is not repeated, so a stopped script resumes.
"""

import copy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, say, table
from common.command import run_command
from data_pipeline.builtin.grammar import generate
from data_pipeline.config import BatchConfig
from data_pipeline.tokenizers.sentence_piece import BOS_ID, PAD_ID
from docs.exercises.runs import OUT
from docs.learn.small_training import (
    Recompute,
    bleu,
    easy_pairs,
    finished,
    frequent_words,
    pad,
    read_pairs,
    set_up,
    tokenizer_of,
    train,
    translate,
    words_of,
    write_pairs,
)
from docs.learn.swaps import PAPER, VARIANTS, Scored, Variant, swap
from train.config import RunConfig, ScheduleConfig, TrainConfig
from train.setup import Setup
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig
from transformer.model import Transformer, count_parameters

PIZZA = "The pizza came out of the oven and it tasted good."
"""Sentence whose words the text contains besides the most frequent ones."""
SENTENCE = ("The guest has talked about their sick chef.", "Der Gast hat über ihren kranken Koch gesprochen.")
"""Sentence whose attention the page shows."""
VOCABULARY, TRAIN, VALID, TEST, EVERY = 800, 8000, 200, 200, 25
CONFIG = RunConfig(
    model=ModelConfig(d_model=64, n_layers=2, n_heads=4, d_ff=256, dropout=0.0, max_len=128),
    batches=BatchConfig(tokens_per_update=1000, per_update=1, buckets=8),
    schedule=ScheduleConfig(warmup_steps=60, scale=0.3),
    train=TrainConfig(max_steps=250, label_smoothing=0.0),
)


SCORES = (PAPER, "squared products", "negated products", "no √d_k", "additive attention")
"""Variants whose attention weights are measured."""
PICTURED = SCORES[:3]
ALIKE = (PAPER, "no residual")
"""Variants whose positions are compared before training."""
SHOWN = (PAPER, "no mask", "mask turned round", "no positions", "no residual", "no cross-attention", "no warm-up")
"""Variants whose translations the page shows."""


def main() -> None:
    """Train what is missing, and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/what_if"), help="folder for sentences and runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each variant (default: 3)")
    parser.add_argument("--only", action="append", choices=VARIANTS, help="train this variant; repeatable")
    parser.add_argument("--words", type=int, default=200, help="number of English words in the text (default: 200)")
    args = parser.parse_args()
    config, sizes = (SMALLEST, (200, 20, 20, 500)) if args.smoke_test else (CONFIG, (TRAIN, VALID, TEST, VOCABULARY))
    torch.set_num_threads(1)
    setup, test = sentences(args.runs / "text", config, args.words, *sizes)
    rows = []
    for name in args.only or VARIANTS:
        label, runs = "".join(c if c.isalnum() else "-" for c in name), []
        for seed in range(1, args.seeds + 1):
            say(f"{name}, seed {seed}")
            file = args.runs / f"{label}-{seed}.json"
            runs.append(finished(file, partial(run, name, seed, setup, test)))
        rows.append({"variant": name, "change": VARIANTS[name].change, "runs": runs})
    text = {"words": args.words, "train": sizes[0], "valid": sizes[1], "test": sizes[2]}
    alike = {
        name: [similarity(build(VARIANTS[name], setup, seed)[0], setup) for seed in range(1, args.seeds + 1)]
        for name in ALIKE
    }
    result = new_result(settings=settings_of(setup), text=text, rows=rows, similarity=alike)
    save("what_if", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


SMALLEST = replace(
    CONFIG,
    model=replace(CONFIG.model, d_model=16, n_layers=1, d_ff=16),
    batches=BatchConfig(tokens_per_update=200, per_update=1, buckets=2),
    train=replace(CONFIG.train, max_steps=EVERY),
)
"""Settings of a smoke test."""


def sentences(
    folder: Path, config: RunConfig, words: int, n_train: int, n_valid: int, n_test: int, vocab_size: int
) -> tuple[Setup, list[tuple[str, str]]]:
    """Return the setup and the test pairs. The sentences are generated once."""
    if not (folder / "test.de").exists():
        known = frequent_words(generate("train", 2000, seed=1), words) | set(words_of(PIZZA))
        for split, n in (("train", n_train), ("valid", n_valid), ("test", n_test)):
            write_pairs(folder, split, easy_pairs(split, n, known))
    return set_up(config, folder, vocab_size), read_pairs(folder, "test")


def settings_of(setup: Setup) -> dict[str, Any]:
    """Return the settings that the table names."""
    config = setup.config
    return {
        "model": asdict(config.model),
        "schedule": asdict(config.schedule),
        "updates": config.train.max_steps,
        "tokens_per_update": config.batches.tokens_per_update,
    }


def build(variant: Variant, setup: Setup, seed: int) -> tuple[Transformer, Setup]:
    """Return a model of a variant with its first weights, and its setup."""
    config = setup.config
    config = replace(
        config,
        model=replace(config.model, **variant.model),
        schedule=replace(config.schedule, **variant.schedule),
        train=replace(config.train, seed=seed),
    )
    torch.manual_seed(seed)
    model = Transformer(config.model)
    variant.swap(model)
    return model, replace(setup, config=config)


def run(name: str, seed: int, setup: Setup, test: list[tuple[str, str]]) -> dict[str, Any]:
    """Train one model and return its curve, its BLEU, and what the page shows of it."""
    model, setup = build(VARIANTS[name], setup, seed)
    sources, references = (list(texts) for texts in zip(*test, strict=True))

    def translated(model: Transformer) -> list[str]:
        return translate(Recompute(model.eval()), tokenizer_of(setup), sources)

    found: dict[str, Any] = {"parameters": count_parameters(model), "largest_weight": []}
    if name in SCORES:
        found["largest_weight"].append(largest_weight(model, setup))
    found["curve"] = [asdict(point) for point in train(model, setup, EVERY)]
    if name in SCORES:
        found["largest_weight"].append(largest_weight(model, setup))
    translations = translated(model)
    found["bleu"] = bleu(translations, references)
    found["examples"] = [[*pair, text] for pair, text in zip(test[:4], translations[:4], strict=True)]
    if name in PICTURED and seed == 1:
        found["attention"] = cross_attention(model, setup)
    if name == PAPER:
        found["swapped_later"] = {}
        for other, variant in VARIANTS.items():
            if variant.later:
                swapped = copy.deepcopy(model)
                variant.swap(swapped)
                found["swapped_later"][other] = bleu(translated(swapped), references)
                if other in PICTURED and seed == 1:
                    found[f"attention of {other}"] = cross_attention(swapped, setup)
    return found


def weights_of(model: Transformer, setup: Setup, attention: str, pair: tuple[str, str]) -> tuple[Tensor, list[str]]:
    """Return the attention weights (H, L, M) of one module for a sentence and its translation, and the subwords."""
    model = copy.deepcopy(model).eval()
    swap(model, MultiHeadAttention, Scored)
    tokenizer = tokenizer_of(setup)
    src, tgt = tokenizer.encode([pair[0]]), tokenizer.encode_target([pair[1]])
    src_BM, labels_BL = pad(src), pad(tgt)
    with torch.no_grad():
        model(src_BM, src_BM != PAD_ID, torch.cat([torch.full((1, 1), BOS_ID), labels_BL[:, :-1]], dim=1))
    module = model.get_submodule(attention)
    assert isinstance(module, Scored)
    return module.seen_BHLM[0], [tokenizer.pieces[i] for i in src[0]]


def cross_attention(model: Transformer, setup: Setup) -> dict[str, Any]:
    """Return the cross-attention of the last decoder layer, the mean over heads, for `SENTENCE`."""
    last = len(model.decoder.blocks) - 1
    weights_HLM, columns = weights_of(model, setup, f"decoder.blocks.{last}.cross_attention", SENTENCE)
    tokenizer = tokenizer_of(setup)
    rows = [tokenizer.pieces[i] for i in tokenizer.encode_target([SENTENCE[1]])[0]]
    weights = [[round(weight, 3) for weight in row] for row in weights_HLM.mean(dim=0).tolist()]
    return {"rows": rows, "columns": columns, "weights": weights}


def largest_weight(model: Transformer, setup: Setup) -> float:
    """Return the largest weight of a query in the encoder's first layer: the mean over heads, queries and sentences."""
    sources, targets = setup.prepared.valid_text()
    pairs = list(zip(sources, targets, strict=True))[:20]
    found = [weights_of(model, setup, "encoder.blocks.0.self_attention", pair)[0].amax(dim=-1).mean() for pair in pairs]
    return round(float(torch.stack(found).mean()), 3)


@torch.no_grad()
def similarity(model: Transformer, setup: Setup) -> float:
    """Return the cosine of the encoder's outputs at two positions of a sentence: the mean over pairs and sentences."""
    found = []
    for ids in tokenizer_of(setup).encode(setup.prepared.valid_text()[0][:20]):
        src_BM = pad([ids])
        x_MD = F.normalize(model.eval().encode(src_BM, src_BM != PAD_ID)[0], dim=-1)
        n = len(x_MD)
        found.append(((x_MD @ x_MD.T).sum() - n) / (n * (n - 1)))
    return round(float(torch.stack(found).mean()), 3)


# Tables.


def spread(values: list[float], form: str) -> str:
    """Return mean, minimum and maximum as text."""
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def last_losses(row: dict[str, Any]) -> list[float]:
    """Return the validation loss of each seed after the last update."""
    return [run["curve"][-1]["valid_loss"] for run in row["runs"]]


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the tables of the page."""
    rows = {row["variant"]: row for row in result["rows"]}
    settings, text = result["settings"], result["text"]
    note = (
        f"{settings['updates']} updates of about {settings['tokens_per_update']:,} source and as many target tokens, "
        f"{len(result['rows'][0]['runs'])} seeds; BLEU (sacreBLEU, 13a, greedy search) of {text['test']} test "
        f"sentences; {about_machine(result)}."
    )
    tables: Tables = {
        "what_if": [table(MAIN_HEADINGS, [main_row(row, rows.get(PAPER)) for row in rows.values()], note)]
    }
    measured = [name for name in SCORES if name in rows]
    if measured:
        headings = ["score", "largest weight before training", "largest weight after training"]
        cells = [
            [name, *(spread([run["largest_weight"][i] for run in rows[name]["runs"]], ".2f") for i in (0, 1))]
            for name in measured
        ]
        tables["what_if_weights"] = [table(headings, cells, "Mean over heads, queries and 20 sentences; 3 seeds.")]
    cells = [[name, spread(values, ".2f")] for name, values in result["similarity"].items()]
    tables["what_if_similarity"] = [table(["variant", "cosine of two positions before training"], cells)]
    shown = [name for name in SHOWN if name in rows]
    if shown:
        sources = [[source, reference] for source, reference, _ in rows[shown[0]]["runs"][0]["examples"][:2]]
        cells = [
            ["source", *(source for source, _ in sources)],
            ["reference", *(reference for _, reference in sources)],
        ]
        for name in shown:
            cells.append([name, *(shorten(text) for _, _, text in rows[name]["runs"][0]["examples"][:2])])
        tables["what_if_examples"] = [table(["", "sentence 1", "sentence 2"], cells, "Seed 1.")]
    return tables


def shorten(text: str) -> str:
    """Return at most 60 characters of a translation."""
    return (text if len(text) <= 60 else f"{text[:59]}…") or "(empty)"


MAIN_HEADINGS = [
    "variant",
    "what is different",
    "BLEU: mean (min to max)",
    "validation loss (nats per token)",
    "CPU time of training (s)",
    "BLEU of the paper's weights with the swap",
]


def main_row(row: dict[str, Any], paper: dict[str, Any] | None) -> list[str]:
    """Return the cells of a variant."""
    later = [run["swapped_later"].get(row["variant"]) for run in paper["runs"]] if paper else []
    later = [score for score in later if score is not None]
    return [
        row["variant"],
        row["change"],
        spread([run["bleu"] for run in row["runs"]], ".1f"),
        spread(last_losses(row), ".3f"),
        f"{mean(run['curve'][-1]['seconds'] for run in row['runs']):.0f}",
        spread(later, ".1f") if later else "",
    ]


if __name__ == "__main__":
    run_command(main)
