"""The benchmarks of parsing damage trees, and make right-branching trees, with the same words."""

import random

from benchmarks.evalb import CHANGES, as_node, change, choose_trees, damage_all
from benchmarks.treebank import right_branching
from data_pipeline.trees import bracketed, simplify
from tests.trees import parse

TEXT = "( (S (NP-SBJ (DT The) (NN dog)) (VP (VBZ sees) (NP (-NONE- *)) (NP (DT a) (NN cat))) (. .)) )"


def test_each_change_keeps_the_words() -> None:
    tree = simplify(parse(TEXT))
    assert tree is not None
    for kind in CHANGES:
        rng = random.Random(3)
        node = as_node(tree)
        for _ in range(10):
            change(kind, node, rng, ["X"], ["Y"])
        assert node.tree() != tree
        assert node.tree().words == tree.words


def test_damaged_trees_are_simplified_and_repeatable() -> None:
    gold = choose_trees([parse(TEXT)] * 50, 40, random.Random(0))
    one, two = (damage_all(gold, random.Random(1)) for _ in range(2))
    assert one == two
    assert len(one) == 40
    assert all(tree is None or "-NONE-" not in tree.tags for tree in one)
    assert len({bracketed(tree) for tree in one if tree}) > 20


def test_right_branching_tree() -> None:
    tree = simplify(parse(TEXT))
    assert tree is not None
    assert bracketed(right_branching(tree)) == (
        "(TOP (S (DT The) (VP (NN dog) (VP (VBZ sees) (VP (DT a) (NN cat)))) (. .)))"
    )
    assert bracketed(right_branching(parse("(TOP (NP (NN Rain)))"))) == "(TOP (S (NN Rain)))"
