"""Check that trees survive their token sequences, and measure treebanks and right-branching trees.

    python -m benchmarks.treebank craft.train.trees.gz craft.valid.trees.gz craft.test.trees.gz

Each tree is written as brackets and read again, and simplified, written as tokens and read again with its words: both
must give the same tree. Right-branching trees are the floor for parsers: each word and all words after it are a
constituent; the first is S, the others VP, which gives a higher F1 than NP for the others; punctuation at the end
belongs to S. Tags are the gold tags. Writes benchmarks/results/treebank.json.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from data_pipeline.trees import ROOT, Tree, bracketed, delinearise, linearise, read_trees, simplify
from evaluate.metrics.parsing_f1 import DELETED, score_trees
from evaluate.report.parsing_text import parsing_json


def main() -> None:
    """Measure each treebank and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("treebanks", nargs="+", type=Path, metavar="FILE", help="treebank")
    args = parser.parse_args()
    rows = [measure(file, 20 if args.smoke_test else None) for file in args.treebanks]
    result = new_result(rows=rows)
    save("treebank", result, make_tables(result), smoke_test=args.smoke_test)


def measure(file: Path, most: int | None) -> dict[str, Any]:
    """Return the figures of a treebank, or of its first trees."""
    say(f"reading {file}")
    found, labels, tags = Counter[str](), Counter[str](), Counter[str]()
    gold: list[Tree] = []
    longest: list[str] = []
    with temporary_folder() as folder:
        trees = copy_trees(file, folder / "copy", most)
        for tree, copy in trees:
            simple = simplify(tree)
            found["trees"] += 1
            if simple is None:
                found["without_words"] += 1
                found["traces"] += len(tree.words)
                continue
            tokens, words = linearise(simple), simple.words
            found["identical"] += copy == tree and simplify(copy) == simple == delinearise(tokens, words)
            found["words"] += len(words)
            found["traces"] += len(tree.words) - len(words)
            found["tokens"] += len(tokens)
            longest = max(longest, tokens, key=len)
            tags.update(simple.tags)
            labels.update(node.label for node, begins in simple.walk() if begins and not node.is_preterminal)
            gold.append(simple)
    del labels[ROOT]
    return {
        "file": file.name,
        **found,
        "most_words": max(len(tree.words) for tree in gold),
        "most_tokens": len(longest),
        "labels": dict(labels.most_common()),
        "tags": dict(tags.most_common()),
        "right_branching": parsing_json(score_trees(gold, [right_branching(tree) for tree in gold])),
    }


def copy_trees(file: Path, copy: Path, most: int | None) -> Iterator[tuple[Tree, Tree]]:
    """Write the trees of a treebank to another file. Return an iterator of each tree, and as it is read from there."""
    with copy.open("w", encoding="utf-8") as out:
        out.writelines(f"{bracketed(tree)}\n" for tree in islice(read_trees(file), most))
    return zip(islice(read_trees(file), most), read_trees(copy), strict=True)


def right_branching(tree: Tree) -> Tree:
    """Return a right-branching tree with the words and tags of a tree."""
    rest, end = list(tree.preterminals()), []
    while len(rest) > 1 and rest[-1].label in DELETED:
        end.append(rest.pop())
    last = rest.pop()
    for word in reversed(rest[1:]):
        last = Tree("VP", (word, last))
    return Tree(ROOT, (Tree("S", (*rest[:1], last, *reversed(end))),))


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a table of the treebanks, and one of right-branching trees."""
    for row in result["rows"]:
        if row["identical"] + row.get("without_words", 0) != row["trees"]:
            raise InputError(f"{row['file']}: only {row['identical']} of {row['trees']} trees are identical again")
    headings = ["treebank", "trees", "identical again", "words", "labels", "tags", "most words", "tokens per word"]
    rows = [
        [
            row["file"],
            *(f"{row[name]:,}" for name in ("trees", "identical", "words")),
            len(row["labels"]),
            len(row["tags"]),
            row["most_words"],
            f"{row['tokens'] / row['words']:.2f}",
        ]
        for row in result["rows"]
    ]
    counts = table(headings, rows, f"{about_machine(result)}.")
    headings = ["treebank", "sentences", "precision", "recall", "F1", "complete match", "crossing brackets"]
    floors = [
        [f"{row['file']}, {name}", *show(row["right_branching"][part])]
        for row in result["rows"]
        for name, part in (("all", "all"), ("at most 40 words", "short"))
    ]
    return {"treebank": [counts], "right_branching": [table(headings, floors)]}


def show(score: dict[str, Any]) -> list[str]:
    """Return the figures of a score."""
    shares = [f"{score[name]:.2f}" for name in ("precision", "recall", "f1", "complete_match", "crossing")]
    return [f"{score['sentences']:,}", *shares]


if __name__ == "__main__":
    run_command(main)
