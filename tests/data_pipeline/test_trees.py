"""Trees are read from bracketed files, simplified, and written as tokens from which the same trees are read."""

import gzip
from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.trees import (
    Tree,
    bracketed,
    delinearise,
    escape_word,
    linearise,
    read_trees,
    simplify,
    with_tags,
    word_text,
)

DOG = (
    "( (S (NP-SBJ-1 (DT The) (NN dog)) "
    "(VP (VBZ wants) (S (NP-SBJ (-NONE- *PRO*-1)) (VP (TO to) (VP (VB eat))))) (. .)) )"
)
DOG_TOKENS = "(S (NP =DT =NN )NP (VP =VBZ (S (VP =TO (VP =VB )VP )VP )S )VP =. )S"
TREES = [
    DOG,
    "(TOP (S (NP (PRP It)) (VP (VBZ sleeps)) (-LRB- -LRB-) (ADVP (RB here)) (-RRB- -RRB-)))",
    "(ROOT (NP=2 (NP (NN a\u200ab)) (: :) (NML (CD 5))))",
    "(S1 (X (SYM x)))",
    "( (NP (NN One)) (. .) (NP (NN two)) )",
    "(S (NP (NNP Anna)) (VP (VBD ran)))",
    "(NN word)",
    "( (FRAG (= =) (:-X :) (NP|X (PRP$ my))) )",
]


def write(folder: Path, text: str) -> Path:
    (folder / "a.mrg").write_text(text, encoding="utf-8")
    return folder / "a.mrg"


def read(folder: Path, text: str) -> list[Tree]:
    return list(read_trees(write(folder, text)))


@pytest.mark.parametrize("text", TREES)
def test_tokens_give_the_simplified_tree_again(tmp_path: Path, text: str) -> None:
    (tree,) = read(tmp_path, text)
    simple = simplify(tree)
    assert simple is not None
    assert simple.label == "TOP"
    assert delinearise(linearise(simple), simple.words) == simple
    assert [simple] == read(tmp_path, bracketed(simple))
    assert [tree] == read(tmp_path, bracketed(tree))
    assert simplify(simple) == simple


def test_functional_tags_indices_traces_and_root_are_removed(tmp_path: Path) -> None:
    (tree,) = read(tmp_path, DOG)
    simple = simplify(tree)
    assert simple is not None
    assert linearise(simple) == DOG_TOKENS.split()
    assert simple.words == ["The", "dog", "wants", "to", "eat", "."]
    assert simple.tags == ["DT", "NN", "VBZ", "TO", "VB", "."]
    assert bracketed(simple) == (
        "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ wants) (S (VP (TO to) (VP (VB eat))))) (. .)))"
    )
    assert repr(tree.children[0])[:12] == "(S (NP-SBJ-1"


def test_tree_without_words_is_none(tmp_path: Path) -> None:
    (tree,) = read(tmp_path, "( (S (NP-SBJ (-NONE- *)) (VP (-NONE- *?*))) )")
    assert simplify(tree) is None


def test_trees_may_take_several_lines_with_comments_between(tmp_path: Path) -> None:
    text = "\n*x* Notice\r\n%% one\n( (S\n    (NP (NN a)\n)\n  (VP (VB b)) ))(TOP (NP (NN c)))\n# two\n\n(NN d)"
    trees = read(tmp_path, text)
    assert [tree.words for tree in trees] == [["a", "b"], ["c"], ["d"]]
    with gzip.open(tmp_path / "b.trees.gz", "wt", encoding="utf-8") as out:
        out.write(text)
    assert list(read_trees(tmp_path / "b.trees.gz")) == trees
    assert read(tmp_path, "") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S (NN a)\n(S (NN b))", "a.mrg: 1 closing bracket is missing in the tree that begins in line 1"),
        ("(NN a)\n(S (NN b)))", "line 2: a closing bracket too many"),
        ("( (S (NN a))\n( (S (NN b)) )", "line 2: a node has no label. Is a closing .* begins in line 1"),
        ("( (S (NN a) (NP)) )", r"line 1: the node \(NP\) is empty"),
        ("()", r"line 1: the node \(\) is empty"),
        ("(S (NP the (NN dog)))", r"line 1: the word 'the' has no tag of its own. Write it as \(TAG the\)"),
        ("(S (NP (NN dog) barks))", "line 1: the word 'barks' has no tag"),
        ("(S two words)", "line 1: the word 'two' has no tag"),
        ("A plain text.", "line 1: 'A' is in no bracket. Give a file with bracketed trees"),
    ],
)
def test_damaged_file_is_reported_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("(S =NN =VB", r"the tree ends before \)S"),
        ("(S =NN =VB )NP", r"token 4 of the tree is '\)NP', but \(S is open"),
        ("(S =NN =VB )S )S", r"token 5 of the tree is '\)S', after the end"),
        ("(S =NN )S (S =VB )S", r"token 4 of the tree is '\(S', after the end"),
        ("=NN =VB", "token 1 of the tree is '=NN', but no constituent is open"),
        ("(S =NN )S", "tags for 1 of 2 words"),
        ("(S =NN =NN =NN )S", "token 4 of the tree is '=NN', but there are only 2 words"),
        ("(S (NP )NP =NN =VB )S", r"token 3 of the tree is '\)NP', which ends a constituent without words"),
        ("(S =NN VB )S", "token 3 of the tree is 'VB', not such as"),
        ("( =NN =VB )", r"token 1 of the tree is '\('"),
        ("", "the tree is empty"),
    ],
)
def test_tokens_that_are_no_tree_are_refused(tokens: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        delinearise(tokens.split(), ["dogs", "bark"])


def test_root_is_a_token_only_if_it_is_not_one_constituent() -> None:
    tokens = ["(TOP", "(S", "=NN", ")S", "=.", ")TOP"]
    tree = delinearise(tokens, ["dogs", "."])
    assert bracketed(tree) == "(TOP (S (NN dogs)) (. .))"
    assert linearise(tree) == tokens


def test_words_are_text_for_the_model_and_escaped_in_files() -> None:
    words = ["-LRB-", "a-RRB-", r"1\/2", "-LCB-", "[", "``", "x\u200a†\u00a0", "\u00a0"]
    assert [word_text(word) for word in words] == ["(", "a)", "1/2", "{", "[", "``", "x†", "_"]
    assert escape_word("(a)") == escape_word("-LRB-a)") == "-LRB-a-RRB-"
    for text in ("", "two words", "a\n"):
        with pytest.raises(InputError, match="is not one word"):
            escape_word(text)


def test_trees_may_be_nested_to_any_depth(tmp_path: Path) -> None:
    depth = 20_000
    (tree,) = read(tmp_path, "(X " * depth + "(NN a)" + ")" * depth)
    simple = simplify(tree)
    assert simple is not None
    assert len(linearise(simple)) == 2 * depth + 1
    assert delinearise(linearise(simple), ["a"]) == simple
    assert hash(simple) == hash(simplify(tree))
    with pytest.raises(InputError, match=f"{depth} closing brackets are missing"):
        read(tmp_path, "(X " * depth)


def test_other_tags(tmp_path: Path) -> None:
    (tree,) = read(tmp_path, "(TOP (S (NP (NN a)) (. .)))")
    assert bracketed(with_tags(tree, ["DT", ":"])) == "(TOP (S (NP (DT a)) (: .)))"
    with pytest.raises(InputError, match="1 tags for 2 words"):
        with_tags(tree, ["DT"])
