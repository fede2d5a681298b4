"""Measure a parser on a treebank: labelled F1, well-formed outputs with and without the constraint, and the cost.

    python -m benchmarks.parsing --run runs/parsing_craft --treebank data/craft/test.trees --threads 1

Parses the words of each tree greedily, with a beam of 4, and with the paper's beam of 21; the first two also without
the constraint. An output that is no tree is a sentence without a parse, which EVALB's rules skip. EVALB finds
punctuation by the tags of each tree, and skips a sentence if the parser's tags lead to other words. So the first F1 is
that with the gold tags in the parsed trees, in which all well-formed sentences count. Writes
benchmarks/results/parsing_craft.json; with --smoke-test, 20 sentences are parsed and nothing is written.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.run_logs import Clock, differs_from_base, read_lines, read_settings, read_validations
from benchmarks.runner import Tables, about_machine, command_line, new_result, save, say, table, write
from benchmarks.treebank import right_branching
from common.command import run_command
from data_pipeline.trees import Tree, read_trees, simplify
from evaluate.metrics.parsing_f1 import ParsingReport, score_trees
from evaluate.model_folders import read_decode_config
from evaluate.parser import Parser
from evaluate.report.parsing_text import parsing_json

NAME = "parsing_craft"
WAYS = ((1, True), (1, False), (4, True), (4, False), (21, True))
"""Beam, and if the outputs are constrained. 21 is the paper's beam."""
BATCH_TOKENS = 131_072
"""Size of a batch: with the limit of 300 more tokens, the default gives small batches."""
LABELS = 10
"""Labels in the table."""


def main() -> None:
    """Parse the treebank in each way and save the result."""
    parser = command_line(__doc__, threads=1)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--treebank", type=Path, required=True, help="treebank to parse, such as test.trees")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    gold = [tree for tree in map(simplify, read_trees(args.treebank)) if tree is not None]
    gold = gold[:20] if args.smoke_test else gold
    floor = parsing_json(score_trees(gold, list(map(right_branching, gold))))
    result = new_result(
        **about_run(args.run),
        threads=args.threads,
        right_branching={name: floor[name] for name in ("all", "short")},
        rows=[],
    )
    for beam, constrained in WAYS:
        result["rows"].append(measure(args.run, gold, beam, constrained))
        write(NAME, result, make_tables(result), smoke_test=args.smoke_test, folder=None)
    save(NAME, result, make_tables(result), smoke_test=args.smoke_test)


def about_run(run: Path) -> dict[str, Any]:
    """Return settings and cost of the training."""
    settings = read_settings(run)
    return {
        "differs_from_base": differs_from_base(settings),
        "updates": settings["train.max_steps"],
        "training_minutes": round(Clock(read_lines(run / "timing.jsonl")).training_seconds() / 60, 1),
        "validations": read_validations(run),
    }


def measure(run: Path, gold: Sequence[Tree], beam: int, constrained: bool) -> dict[str, Any]:
    """Return the figures of one way to parse."""
    say(f"{len(gold)} sentences, beam {beam}, {'with' if constrained else 'without'} constraint")
    config = replace(read_decode_config(run), beam=beam, batch_tokens=BATCH_TOKENS)
    parser = Parser.from_pretrained(run, config, "cpu", constrained=constrained)
    started, cpu_started = time.perf_counter(), time.process_time()
    parsed = parser.parse([tree.words for tree in gold])
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "sentences": len(gold),
        "beam": beam,
        "alpha": config.alpha,
        "constrained": constrained,
        "well_formed": sum(tree is not None for tree in parsed),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "gold_tags": figures(score_trees(gold, parsed, gold_tags=True)),
        "evalb": figures(score_trees(gold, parsed)),
    }


def figures(report: ParsingReport) -> dict[str, Any]:
    """Return the scores without the list of sentences that do not count."""
    return {name: score for name, score in parsing_json(report).items() if name != "problems"}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the scores of each way, and those of the best one by length and by label."""
    headings = [
        "search", "sentences", "well-formed", "F1, gold tags", "at most 40 words", "complete match",
        "F1 (EVALB)", "skipped by EVALB", "tagging accuracy (EVALB)", "CPU seconds",
    ]  # fmt: skip
    rows = [
        [
            f"beam {row['beam']}{'' if row['constrained'] else ', no constraint'}",
            f"{row['sentences']:,}",
            f"{row['well_formed'] / row['sentences']:.1%}",
            f"{row['gold_tags']['all']['f1']:.1f}",
            f"{row['gold_tags']['short']['f1']:.1f}",
            f"{row['gold_tags']['all']['complete_match']:.1f}%",
            f"{row['evalb']['all']['f1']:.1f}",
            f"{row['evalb']['all']['errors'] + row['evalb']['all']['skipped']:,}",
            f"{row['evalb']['all']['tagging_accuracy']:.1f}%",
            f"{row['cpu_seconds']:.0f}",
        ]
        for row in result["rows"]
    ]
    floor = result["right_branching"]
    rows.append(
        ["right-branching trees", f"{floor['all']['sentences']:,}", "100.0%", f"{floor['all']['f1']:.1f}",
         f"{floor['short']['f1']:.1f}", f"{floor['all']['complete_match']:.1f}%", "", "", "", ""]
    )  # fmt: skip
    training = f"Training: {result['updates']:,} updates, {result['training_minutes']:.0f} minutes."
    note = f"{training} Parsing: {result['threads']} thread, alpha {result['rows'][0]['alpha']:g}."
    best = max((row for row in result["rows"] if row["constrained"]), key=lambda row: row["beam"])
    of_best = f"Beam {best['beam']}, {best['sentences']:,} sentences, gold tags."
    lengths = [
        [name, f"{score['sentences']:,}", *ratios(score), f"{score['complete_match']:.1f}%"]
        for name, score in best["gold_tags"]["by_length"].items()
    ]
    labels = [
        [name, f"{found['gold']:,}", *ratios(found)]
        for name, found in list(best["gold_tags"]["by_label"].items())[:LABELS]
    ]
    ratio_names = ["precision", "recall", "F1"]
    return {
        "parsing": [table(headings, rows, f"{note} {about_machine(result)}.")],
        "parsing_by_length": [table(["words", "sentences", *ratio_names, "complete match"], lengths, of_best)],
        "parsing_by_label": [table(["label", "gold constituents", *ratio_names], labels, of_best)],
        "parsing_curve": [
            table(
                ["update", "validation loss", "perplexity", "F1 of a sample (greedy)"],
                [
                    [f"{line['step']:,}", f"{line['valid_loss']:.3f}", f"{line['valid_ppl']:.2f}",
                     f"{line['valid_f1']:.1f}" if "valid_f1" in line else ""]
                    for line in result["validations"]
                ],
            )
        ],
    }  # fmt: skip


def ratios(found: dict[str, Any]) -> list[str]:
    """Return precision, recall and F1 as text."""
    return [f"{found[name]:.1f}" for name in ("precision", "recall", "f1")]


if __name__ == "__main__":
    run_command(main)
