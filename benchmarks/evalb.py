"""Compare `evaluate.metrics.parsing_f1` with the program EVALB on trees that are damaged as parsers damage them.

    pip download --no-deps allennlp==0.9.0 && unzip allennlp-0.9.0-py3-none-any.whl 'allennlp/tools/EVALB/*'
    python -m benchmarks.evalb --data craft.test.trees.gz --evalb allennlp/tools/EVALB --pyevalb venv/bin/python

Takes random trees of a treebank that fit EVALB's limits (200 words and brackets, 5,000 bytes). Each gets 0 to 24
changes: a constituent is removed, added or gets another label, a part of it moves to its parent or to its neighbour, a
tag is changed. A few lose their parse or a word. Compiles evalb.c, runs it with COLLINS.prm, and compares every figure
of every sentence and of both summaries. The gold trees have their functional tags and traces. --pyevalb is a Python
that has the package PYEVALB; it gets the gold trees without traces, which it does not remove. Writes
benchmarks/results/evalb.json.
"""

import json
import random
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.files import sha256
from data_pipeline.trees import Tree, bracketed, read_trees, simplify
from evaluate.metrics.parsing_f1 import DELETED, ParsingReport, ParsingScore, TreeScore, score_tree

MOST_BYTES, MOST_NODES, MOST_CHANGES = 4900, 170, 24
"""Largest line of a tree, largest number of words and of constituents with traces, and of changes of a tree."""
CHANGES = ("remove", "label", "add", "to parent", "to neighbour", "tag")
NO_PARSE, LOST_WORD, OTHER_WORD, PUNCTUATION = 0.02, 0.02, 0.02, 0.06
"""Shares of trees without a parse, with a word less, with another word, and with any tag in any place."""
SUMMARY: dict[str, Callable[[ParsingScore], float]] = {
    "Number of sentence": lambda score: score.sentences,
    "Number of Error sentence": lambda score: score.errors,
    "Number of Skip  sentence": lambda score: score.skipped,
    "Number of Valid sentence": lambda score: score.sentences - score.errors - score.skipped,
    "Bracketing Recall": lambda score: score.brackets.recall,
    "Bracketing Precision": lambda score: score.brackets.precision,
    "Bracketing FMeasure": lambda score: score.brackets.f1,
    "Complete match": lambda score: score.complete_match,
    "Average crossing": lambda score: score.crossing,
    "No crossing": lambda score: score.no_crossing,
    "2 or less crossing": lambda score: score.two_crossing,
    "Tagging accuracy": lambda score: score.tagging_accuracy,
}
"""EVALB's lines, and the figure that each shows."""
RUN_PYEVALB = """
import json, sys
from PYEVALB.scorer import Scorer
from PYEVALB.summary import SUMMARY_TABLE, summary
results = Scorer().score_corpus(*(open(file, encoding="utf-8") for file in sys.argv[1:]))
rows = [[found.matched_brackets, found.gold_brackets, found.test_brackets] for found in results]
print(json.dumps({"summary": dict(zip(SUMMARY_TABLE, summary(results))), "rows": rows}))
"""


def main() -> None:
    """Damage trees, score them with each program, and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="treebank")
    parser.add_argument("--evalb", type=Path, required=True, help="folder with evalb.c and COLLINS.prm")
    parser.add_argument("--pyevalb", help="Python that has the package PYEVALB")
    parser.add_argument("--trees", type=int, default=500, help="number of trees (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random changes (default: 0)")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    gold = choose_trees(read_trees(args.data), 20 if args.smoke_test else args.trees, rng)
    parsed = damage_all(gold, rng)
    report = ParsingReport(tuple(map(score_tree, gold, parsed)))
    with temporary_folder() as folder:
        with_traces, without_traces, other = (folder / name for name in ("gold", "simple", "parsed"))
        write_trees(with_traces, gold)
        write_trees(without_traces, map(simplify, gold))
        write_trees(other, parsed)
        rows, summaries = run_evalb(args.evalb, folder, [with_traces, other])
        pyevalb = run_pyevalb(args.pyevalb, [without_traces, other]) if args.pyevalb else None
    scores = {"all": report.all, "short": report.short}
    result = new_result(
        trees=len(gold),
        seed=args.seed,
        evalb_sha256=sha256(args.evalb / "evalb.c"),
        equal_sentences=sum(map(is_equal, rows, report.trees)),
        equal_summaries=all(shown(scores[name]) == summaries[name] for name in scores),
        evalb=summaries,
        parsing_f1={name: shown(score) for name, score in scores.items()},
        pyevalb=pyevalb and pyevalb["summary"],
        pyevalb_equal_sentences=pyevalb and sum(a[5:8] == b for a, b in zip(rows, pyevalb["rows"], strict=True)),
    )
    save("evalb", result, make_tables(result), smoke_test=args.smoke_test)


def choose_trees(trees: Iterable[Tree], number: int, rng: random.Random) -> list[Tree]:
    """Return random trees that EVALB reads, with functional tags and traces, and with the root TOP."""
    rooted = [Tree("TOP", tree.children) for tree in trees if simplify(tree) is not None and not tree.is_preterminal]
    fit = [tree for tree in rooted if fits(tree)]
    return rng.sample(fit, min(number, len(fit)))


def fits(tree: Tree) -> bool:
    """Return True if EVALB reads the tree, also with added constituents."""
    constituents = sum(begins for _, begins in tree.walk()) - len(tree.words)
    return len(bracketed(tree).encode()) < MOST_BYTES and max(constituents, len(tree.words)) < MOST_NODES


def write_trees(file: Path, trees: Iterable[Tree | None]) -> None:
    """Write a line for each tree; an empty one for None."""
    file.write_text("".join(bracketed(tree) + "\n" if tree else "\n" for tree in trees), encoding="utf-8")


@dataclass
class Node:
    """A constituent that can be changed."""

    label: str
    children: "list[Node | Tree]"

    def constituents(self) -> "list[Node]":
        """Return the node and all constituents below it."""
        below = [child.constituents() for child in self.children if isinstance(child, Node)]
        return [self, *(node for nodes in below for node in nodes)]

    def tree(self) -> Tree:
        """Return the node as a tree."""
        return Tree(self.label, tuple(child.tree() if isinstance(child, Node) else child for child in self.children))


def damage_all(gold: Sequence[Tree], rng: random.Random) -> list[Tree | None]:
    """Return a damaged copy of each tree, without functional tags and traces; None for a few."""
    simple = [tree for tree in map(simplify, gold) if tree is not None]
    nodes = [node for tree in simple for node, begins in tree.walk() if begins]
    labels = [node.label for node in nodes if not node.is_preterminal and node.label != "TOP"]
    tags = [node.label for node in nodes if node.is_preterminal]
    return [damage(tree, rng, labels, tags) for tree in simple]


def damage(tree: Tree, rng: random.Random, labels: Sequence[str], tags: Sequence[str]) -> Tree | None:
    """Return a damaged tree. New labels and tags are drawn from `labels` and `tags`."""
    if rng.random() < NO_PARSE:
        return None
    root = as_node(tree)
    for _ in range(rng.randint(0, MOST_CHANGES)):
        change(rng.choice(CHANGES), root, rng, labels, tags)
    if rng.random() < PUNCTUATION:
        change("any tag", root, rng, labels, tags)
    if rng.random() < OTHER_WORD:
        node, at = rng.choice(places(root))
        node.children[at] = Tree(node.children[at].label, ("word",))
    if rng.random() < LOST_WORD:
        node, at = rng.choice(places(root))
        del node.children[at]
    return simplify(root.tree())


def as_node(tree: Tree) -> Node:
    """Return a tree that can be changed."""
    children = [child for child in tree.children if isinstance(child, Tree)]
    return Node(tree.label, [child if child.is_preterminal else as_node(child) for child in children])


def places(root: Node) -> list[tuple[Node, int]]:
    """Return the constituent of each word, and its place there."""
    return [
        (node, at) for node in root.constituents() for at, child in enumerate(node.children) if isinstance(child, Tree)
    ]


def change(kind: str, root: Node, rng: random.Random, labels: Sequence[str], tags: Sequence[str]) -> None:
    """Make one change, if the tree has a place for it. Punctuation keeps its tag unless `kind` is "any tag"."""
    if kind.endswith("tag"):
        change_tag(root, rng, tags, any_tag=kind == "any tag")
        return
    parent = rng.choice(root.constituents())
    inner = [at for at, child in enumerate(parent.children) if isinstance(child, Node)]
    at = rng.choice(inner) if inner and kind != "add" else rng.randrange(len(parent.children))
    child = parent.children[at]
    following = parent.children[at + 1] if at + 1 < len(parent.children) else None
    if kind == "add":
        end = rng.randint(at + 1, len(parent.children))
        parent.children[at:end] = [Node(rng.choice(labels), parent.children[at:end])]
    elif not isinstance(child, Node):
        return
    elif kind == "label":
        child.label = rng.choice(labels)
    elif kind == "remove":
        parent.children[at : at + 1] = child.children
    elif len(child.children) > 1 and kind == "to parent":
        parent.children.insert(at + 1, child.children.pop())
    elif len(child.children) > 1 and isinstance(following, Node):
        following.children.insert(0, child.children.pop())


def change_tag(root: Node, rng: random.Random, tags: Sequence[str], any_tag: bool) -> None:
    """Give a word another tag."""
    node, at = rng.choice(places(root))
    old, tag = node.children[at], rng.choice(tags)
    assert isinstance(old, Tree)
    if any_tag or not {old.label, tag} & DELETED:
        node.children[at] = Tree(tag, old.children)


def run_evalb(source: Path, folder: Path, files: Sequence[Path]) -> tuple[list[list[float]], dict[str, dict[str, str]]]:
    """Compile and run EVALB. Return the figures of each sentence, and those of both summaries."""
    subprocess.run(["cc", "-O2", "-w", "-o", folder / "evalb", source / "evalb.c"], check=True)
    command = [str(folder / "evalb"), "-p", str(source / "COLLINS.prm"), "-e", "100000", *map(str, files)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    _, sentences, rest = re.split(r"\n={20,}\n", found)
    rows = [[float(figure) for figure in line.split()] for line in sentences.splitlines()]
    parts = rest.split("\n-- ")[1:]
    lines = [dict(re.findall(r"^(.+?)\s+=\s+(\S+)$", part, flags=re.MULTILINE)) for part in parts]
    return rows, dict(zip(("all", "short"), lines, strict=True))


def is_equal(row: Sequence[float], score: TreeScore) -> bool:
    """Return True if EVALB's figures of a sentence are those of `parsing_f1`."""
    _, length, status, _, _, matched, gold, parsed, crossing, words, tags, _ = row
    if score.problem:
        return (length, status) == (score.length, 2 if score.skipped else 1)
    brackets = score.matched.total(), score.gold.total(), score.parsed.total()
    ours = (score.length, 0, *brackets, score.crossing, score.words, score.correct_tags)
    return ours == (length, status, matched, gold, parsed, crossing, words, tags)


def shown(score: ParsingScore) -> dict[str, str]:
    """Return a score as EVALB prints it."""
    values = {name: figure(score) for name, figure in SUMMARY.items()}
    return {name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in values.items()}


def run_pyevalb(python: str, files: Sequence[Path]) -> dict[str, Any]:
    """Return the summary of PYEVALB, and matched, gold and parsed brackets of each sentence."""
    command = [python, "-c", RUN_PYEVALB, *map(str, files)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    return dict(json.loads(found.splitlines()[-1]))


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a table of EVALB's figures beside those of `parsing_f1` and PYEVALB."""
    headings = ["figure", "EVALB", "parsing_f1", "EVALB, at most 40 words", "parsing_f1, at most 40 words", "PYEVALB"]
    other = result["pyevalb"] or {}
    rows = [
        [
            " ".join(name.split()),
            *(result[program][part][name] for part in ("all", "short") for program in ("evalb", "parsing_f1")),
            f"{other[name]:.2f}" if name in other else "–",
        ]
        for name in SUMMARY
    ]
    note = (
        f"{result['trees']} damaged trees, of which all figures of {result['equal_sentences']} are equal for EVALB and "
        f"`parsing_f1`. PYEVALB counts other brackets than EVALB in "
        f"{result['trees'] - (result['pyevalb_equal_sentences'] or 0)} sentences. {about_machine(result)}."
    )
    return {"evalb": [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
