"""Measure what costs more than beam search: ensembles, minimum Bayes risk and the noisy channel.

    python -m benchmarks.better_translations --data test.en test.de --model transformer/included/en-de \\
        --reverse transformer/included/de-en --sentences 500
    python -m benchmarks.better_translations --data val.en val.de --model runs/a runs/b runs/c
    python -m benchmarks.better_translations --smoke-test

With one model, its samples and its beam are reranked. With several, which need one vocabulary, each is compared with
their ensembles. All rows translate the same sentences; p is sacreBLEU's paired approximate randomisation of BLEU,
against the best single model with beam search. Writes benchmarks/results/better_translations.json, or --name.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, say, table
from common.command import run_command
from common.files import expand
from common.text_input import check_equal_lines, read_all_lines
from common.versions import package_version
from evaluate.config import EnsembleMean, SampleConfig
from evaluate.metrics.metric_choice import DEFAULT_METRICS
from evaluate.metrics.significance import Baseline, compare
from evaluate.rerank import Choose, Utility, minimum_bayes_risk, noisy_channel
from evaluate.translation import Translation
from evaluate.translator import Translator
from transformer.included_models import included_models

MEANS: tuple[EnsembleMean, ...] = ("log-probabilities", "probabilities")
UTILITIES: tuple[Utility, ...] = ("chrf", "bleu")
TEMPERATURES = (1.0, 0.5)
"""Temperatures of the samples of minimum Bayes risk."""
WEIGHT = 1.0
"""Weight of the reverse model."""
Translate = Callable[[list[str]], list[str]]


def main() -> None:
    """Measure and save."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=2, type=expand, metavar="FILE", help="source and reference")
    parser.add_argument("--model", nargs="+", type=expand, help="one model folder, or several of one vocabulary")
    parser.add_argument("--reverse", type=expand, help="model of the reverse direction")
    parser.add_argument("--sentences", type=int, help="number of sentences, evenly spread (default: all)")
    parser.add_argument("--samples", type=int, default=32, help="samples of each sentence (default: %(default)s)")
    parser.add_argument("--name", default="better_translations", help="name of the result (default: %(default)s)")
    args = parser.parse_args()
    if args.smoke_test:
        smoke_test()
        return
    if not (args.data and args.model):
        parser.error("give --data and --model")
    sources, references = read_data(args.data[0], args.data[1], args.sentences)
    result = measure(sources, references, args.model, args.reverse, args.samples)
    save(args.name, result, make_tables(args.name, result))


def smoke_test() -> None:
    """Measure everything with the included models on a few sentences."""
    included = {"/".join(pair): folder for pair, folder in included_models().items()}
    sources = ["Where is the station?", "I like tea.", "The train is late."]
    references = ["Wo ist der Bahnhof?", "Ich mag Tee.", "Der Zug hat Verspätung."]
    for models in ([included["en/de"]], [included["en/de"]] * 2):
        result = measure(sources, references, models, included["de/en"], 3)
        save("better_translations", result, make_tables("better_translations", result), smoke_test=True)


def read_data(source: Path, reference: Path, sentences: int | None) -> tuple[list[str], list[str]]:
    """Return sources and references, all or a number of them."""
    sources, references = read_all_lines(source), read_all_lines(reference)
    check_equal_lines(source, len(sources), reference, len(references))
    step = max(1, len(sources) // sentences) if sentences else 1
    return sources[::step][:sentences], references[::step][:sentences]


def measure(
    sources: list[str], references: list[str], models: Sequence[Path], reverse: Path | None, samples: int
) -> dict[str, Any]:
    """Return the figures of each way to translate."""
    rows: dict[str, dict[str, Any]] = {}
    texts: dict[str, list[str]] = {}
    for name, translate in ways(models, reverse, samples):
        started = time.perf_counter()
        texts[name] = translate(sources)
        seconds = time.perf_counter() - started
        bleu, chrf = (metric.corpus_score(texts[name], [references]).score for metric in (BLEU(), CHRF()))
        rows[name] = {"bleu": bleu, "chrf": chrf, "seconds": seconds, "p": None}
        say(f"{name}: BLEU {bleu:.1f}, chrF {chrf:.1f}, {seconds:.0f} s")
    single = [name for name in rows if name.startswith("beam search")]
    best = max(single, key=lambda name: rows[name]["bleu"])
    for name in rows.keys() - set(single):
        found = compare([references], Baseline(best, texts[best]), texts[name]).differences[DEFAULT_METRICS.bleu]
        rows[name]["p"] = found.p_randomisation
    signature = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{package_version('sacrebleu')}"
    return new_result(sentences=len(sources), best=best, samples=samples, rows=rows, signature=signature)


def ways(models: Sequence[Path], reverse: Path | None, samples: int) -> Iterator[tuple[str, Translate]]:
    """Yield the ways to translate, by name."""
    if len(models) > 1:
        for folder in models:
            yield f"beam search, {folder.name}", Translator.from_pretrained(folder)
        for mean in MEANS:
            yield f"ensemble of {len(models)}, mean of {mean}", Translator.from_pretrained(models, ensemble_mean=mean)
        return
    translator = Translator.from_pretrained(models[0])
    yield "beam search", translator
    for temperature, utility in product(TEMPERATURES, UTILITIES):
        candidates = partial(sample, translator, samples, temperature)
        name = f"minimum Bayes risk, {utility}, temperature {temperature:g}"
        yield name, partial(reranked, minimum_bayes_risk(utility), candidates)
    if reverse is not None:
        for beam in dict.fromkeys((translator.config.beam, 8)):
            wide = Translator.from_pretrained(models[0], replace(translator.config, beam=beam))
            channel = noisy_channel(Translator.from_pretrained(reverse), WEIGHT, wide)
            yield f"noisy channel, beam {beam}", partial(reranked, channel, partial(wide.translate, n_best=beam))


def sample(translator: Translator, samples: int, temperature: float, lines: list[str]) -> list[list[Translation]]:
    """Return samples of each line."""
    return translator.sample(lines, SampleConfig(num_samples=samples, temperature=temperature, seed=1))


def reranked(choose: Choose, candidates: Callable[[list[str]], list[list[Translation]]], lines: list[str]) -> list[str]:
    """Return the chosen candidate of each line."""
    return [best[0].text for best in choose(lines, candidates(lines))]


def make_tables(name: str, result: dict[str, Any]) -> Tables:
    """Return the table: a row per way to translate."""
    base = result["rows"][result["best"]]
    rows = [
        [
            way,
            f"{row['bleu']:.1f}",
            f"{row['chrf']:.1f}",
            "" if row["p"] is None else f"{row['bleu'] - base['bleu']:+.1f}",
            "" if row["p"] is None else f"{row['p']:.3f}",
            f"{row['seconds'] / base['seconds']:.1f}",
        ]
        for way, row in result["rows"].items()
    ]
    headings = ["way", "BLEU", "chrF2", f"BLEU minus {result['best']}", "p", "time (best single model = 1)"]
    note = f"{result['sentences']:,} sentences; BLEU: `{result['signature']}`; {about_machine(result)}."
    return {name: [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
