"""Which attention heads connect "it" with its noun, and what happens without them?

    python -m docs.learn.it

trains the demo's model with three seeds, measures their heads on sentences of the built-in corpus whose referent is
known, and writes runs/results/it.json and the picture of docs/learn/it.md. A finished run is not trained again.
"""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sacrebleu import corpus_bleu

from benchmarks.pictures import COLOURS, import_pyplot
from benchmarks.pictures import save as save_picture
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table
from common.arguments import add_overrides
from common.command import run_command
from data_pipeline.builtin.grammar import generate
from data_pipeline.tokenizers.sentence_piece import BOS_ID, PAD_ID
from docs.exercises.runs import OUT, train
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig
from evaluate.explain.explanation import translation_labels
from evaluate.explain.record import attention_maps, record_forward
from evaluate.explain.words import join_weights
from evaluate.metrics.pronouns import find_referent, pronoun_agreement, split_words
from evaluate.translator import Translator
from transformer.model import Transformer

PICTURE = ROOT / "docs" / "learn" / "it.png"
ENCODER, CROSS = "encoder self_attention", "decoder cross_attention"
Head = tuple[str, int, int]
"""Kind of attention, layer and head, from 0."""


@dataclass(frozen=True)
class Case:
    """A sentence with "it", its translation, and the referent."""

    source: str
    reference: str
    it: int
    """Place of "it" among `words_of` the source."""
    noun: int
    """Place of the noun."""
    pronoun: str
    """German pronoun that "it" needs."""


def main() -> None:
    """Train the runs that are missing, measure them, and save the result and the picture."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of models (default: 3)")
    parser.add_argument("--sentences", type=int, default=2000, help="test sentences to search for it (default: 2000)")
    parser.add_argument("--runs", type=Path, default=Path("runs/it"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="picture (default: docs/learn/it.png)")
    add_overrides(parser, "settings of every run")
    args = parser.parse_intermixed_args()
    cases, models = find_cases(args.sentences), []
    for seed in range(1, args.seeds + 1):
        run = args.runs / f"seed-{seed}"
        train(run, "demo", *args.overrides, f"train.seed={seed}")
        translator = Translator.from_pretrained(run, DecodeConfig(beam=1), "cpu", prepack=False)
        models.append({"seed": seed, **measure(translator, cases)})
    result = new_result(overrides=args.overrides, sentences=args.sentences, **baselines(cases), models=models)
    draw(result, args.picture)
    save("it", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def find_cases(sentences: int) -> list[Case]:
    """Return the sentences of the corpus's test split in which "it" has a noun, and the German pronoun occurs once."""
    cases = (make_case(source, target) for source, target in generate("test", sentences, seed=1))
    return [case for case in cases if case is not None and words_of(case.reference).count(case.pronoun) == 1]


def make_case(source: str, target: str) -> Case | None:
    """Return a sentence with its referent; None if "it" has none."""
    referent = find_referent(source)
    if referent is None:
        return None
    words, noun = words_of(source), split_words(source)[referent.noun]
    return Case(source, target, words.index("it"), words.index(noun), referent.form)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, as `explain` joins them: each sign is a word."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def baselines(cases: Sequence[Case]) -> dict[str, Any]:
    """Return what attention without any knowledge of the noun would reach: by chance, and at the best fixed place."""
    lengths = [len(words_of(case.source)) + 1 for case in cases]  # and the end of the sentence
    places = Counter(case.noun for case in cases)
    distances = Counter(case.it - case.noun for case in cases)
    best = max(places.most_common(1)[0][1], distances.most_common(1)[0][1])
    return {
        "cases": len(cases),
        "chance": statistics.mean(1 / length for length in lengths),
        "fixed_place": best / len(cases),
    }


def measure(translator: Translator, cases: Sequence[Case]) -> dict[str, Any]:
    """Return shares and agreement of one model."""
    noun, other = attention_shares(translator, cases)
    place = baselines(cases)["fixed_place"]
    ranked = sorted((head for head in noun if head[0] == ENCODER), key=lambda head: -noun[head])
    carriers = [head for head in ranked if noun[head] > place] or ranked[:1]
    others = [head for head in reversed(ranked) if head not in carriers][: len(carriers)]
    return {
        "heads": [
            {
                "kind": kind, "layer": layer + 1, "head": head + 1, "noun": noun[kind, layer, head],
                "it": other[kind, layer, head], **quality(translator, cases, [(kind, layer, head)]),
            }
            for kind, layer, head in noun
        ],
        "all_on": quality(translator, cases, []),
        "carriers": {"heads": names(carriers), **quality(translator, cases, carriers)},
        "others": {"heads": names(others), **quality(translator, cases, others)},
    }  # fmt: skip


def names(heads: Sequence[Head]) -> list[str]:
    """Return layer and head, from 1."""
    return [f"{layer + 1}.{head + 1}" for _, layer, head in heads]


def attention_shares(translator: Translator, cases: Sequence[Case]) -> tuple[dict[Head, float], dict[Head, float]]:
    """Return for each head the share of cases in which it attends most to the noun, and the share for "it".

    In the encoder "it" attends; in the decoder the word that attends is the German pronoun, which is written next.
    """
    noun: Counter[Head] = Counter()
    it: Counter[Head] = Counter()
    for case in cases:
        for kind, places_LH in strongest(translator, case).items():
            for layer, heads in enumerate(places_LH.tolist()):
                for head, place in enumerate(heads):
                    noun[kind, layer, head] += place == case.noun
                    it[kind, layer, head] += place == case.it
    return {head: n / len(cases) for head, n in noun.items()}, {head: it[head] / len(cases) for head in noun}


def strongest(translator: Translator, case: Case) -> dict[str, torch.Tensor]:
    """Return the place of the source word that each head attends to most, (layers, heads), for both kinds."""
    labels = translation_labels(translator.tokenizer)
    source_ids, target_ids = translator.encode([case.source])[0], translator.encode_target([case.reference])[0]
    src_BM, tgt_BL = torch.tensor([source_ids]), torch.tensor([[BOS_ID, *target_ids[:-1]]])
    maps = attention_maps(record_forward(model_of(translator), src_BM, src_BM != PAD_ID, tgt_BL))
    source, target = labels.subwords(source_ids), labels.subwords(target_ids)
    assert [word.lower() for word in source.words[:-1]] == words_of(case.source)
    pronoun = [word.lower() for word in target.words].index(case.pronoun)
    rows = {ENCODER: (source, case.it), CROSS: (target, pronoun)}
    return {kind: join_weights(maps[kind], own, source)[:, :, row].argmax(-1) for kind, (own, row) in rows.items()}


def model_of(translator: Translator) -> Transformer:
    """Return the model of a translator with the backend torch."""
    assert isinstance(translator.backend, PyTorchBackend)
    return translator.backend.model


def quality(translator: Translator, cases: Sequence[Case], off: Sequence[Head]) -> dict[str, float]:
    """Return the share of pronouns that agree with their noun, and BLEU, without some heads."""
    with heads_off(model_of(translator), off):
        hypotheses = translator([case.source for case in cases])
    correct, total = pronoun_agreement([case.source for case in cases], hypotheses)
    bleu = corpus_bleu(hypotheses, [[case.reference for case in cases]]).score
    return {"agree": correct / total, "bleu": bleu}


@contextmanager
def heads_off(model: Transformer, heads: Sequence[Head]) -> Iterator[None]:
    """Set the columns of W^O that read these heads to 0: their output no longer reaches the model."""
    saved = []
    with torch.no_grad():
        for kind, layer, head in heads:
            stack, sublayer = kind.split()
            weight = model.get_parameter(f"{stack}.blocks.{layer}.{sublayer}.out.weight")
            columns = weight[:, head * model.config.value_size : (head + 1) * model.config.value_size]
            saved.append((columns, columns.clone()))
            columns.zero_()
        try:
            yield
        finally:
            for columns, before in saved:
                columns.copy_(before)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the shares of each head, the agreement without each head, and without the heads that carry "it"."""
    note = f"{result['cases']} sentences per model; {about_machine(result)}; command: {result['command']}"
    by_noun, by_off = [], []
    for kind, title in ((ENCODER, "encoder, “it”"), (CROSS, "decoder, pronoun")):
        for model in result["models"]:
            heads = [head for head in model["heads"] if head["kind"] == kind]
            by_noun.append([title, model["seed"], *(percent(head["noun"]) for head in heads)])
            by_off.append(
                [title, model["seed"], percent(model["all_on"]["agree"]), *(percent(head["agree"]) for head in heads)]
            )
    columns = [f"head {head['layer']}.{head['head']}" for head in heads]
    groups = [
        [
            model["seed"], *(f"{percent(own['agree'])}, {own['bleu']:.1f}" for own in (model["all_on"],)),
            *(
                f"{percent(own['agree'])}, {own['bleu']:.1f} ({', '.join(own['heads'])})"
                for own in (model["carriers"], model["others"])
            ),
        ]
        for model in result["models"]
    ]  # fmt: skip
    chance = [[result["cases"], percent(result["chance"]), percent(result["fixed_place"])]]
    return {
        "it_chance": [table(["sentences", "by chance", "best fixed place"], chance)],
        "it_noun": [table(["attention", "seed", *columns], by_noun, note)],
        "it_off": [
            table(["attention", "seed", "all heads", *(f"without {name[5:]}" for name in columns)], by_off, note)
        ],
        "it_groups": [table(["seed", "all heads", "without the heads that carry it", "without others"], groups, note)],
    }


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{100 * share:.1f}%"


def figures(result: dict[str, Any]) -> Any:
    """Return the figures of the picture."""
    models = [
        {"seed": model["seed"], "heads": [[head[key] for key in ("kind", "noun", "agree")] for head in model["heads"]]}
        for model in result["models"]
    ]
    return {"chance": result["chance"], "fixed_place": result["fixed_place"], "models": models}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the share of each head: encoder to the left, decoder to the right, a bar per seed."""
    pyplot = import_pyplot()
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6), sharex="col", sharey="row", layout="constrained")
    titles = {ENCODER: "encoder: from “it”", CROSS: "decoder: from the German pronoun"}
    for column, (kind, title) in enumerate(titles.items()):
        for n, model in enumerate(result["models"]):
            heads = [head for head in model["heads"] if head["kind"] == kind]
            xs = [i + 0.25 * (n - 1) for i in range(len(heads))]
            for axis, key in ((axes[0][column], "noun"), (axes[1][column], "agree")):
                heights = [100 * head[key] for head in heads]
                axis.bar(xs, heights, width=0.22, color=COLOURS[n], label=f"seed {model['seed']}")
            axes[1][column].axhline(100 * model["all_on"]["agree"], color=COLOURS[n], linewidth=0.8)
        axes[0][column].axhline(100 * result["fixed_place"], color="black", linestyle="--", label="best fixed place")
        axes[0][column].axhline(100 * result["chance"], color="black", linestyle=":", label="chance")
        axes[0][column].set(title=title, ylim=(0, 100))
        axes[1][column].set_xticks(range(len(heads)), [f"{head['layer']}.{head['head']}" for head in heads])
        axes[1][column].set(xlabel="layer.head", ylim=(0, 100))
    axes[0][0].set_ylabel("attends most to the noun (%)")
    axes[1][0].set_ylabel("pronouns that agree\nwithout this head (%)")
    axes[0][1].legend(frameon=False, fontsize=9)
    save_picture(figure, path, figures(result))


if __name__ == "__main__":
    run_command(main)
