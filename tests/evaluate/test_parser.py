"""Every output of a parser is a tree over the given words, whatever the model."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.trees import Tree, bracketed
from evaluate.config import DecodeConfig
from evaluate.parser import Parser, find_tree_tokens, parse_groups, read_sentences
from evaluate.translation import LineTooLong
from evaluate.translator import Translator
from tests import tiny_model
from tests.tiny_parser import make_parser

SENTENCES = [
    ["The", "cat", "sat", "on", "the", "mat", "."],
    ["Hi"],
    ["We", "saw", "-LRB-", "or", "(", "heard", ")", "(NP", "=NN", "\u2581x", "日本", "1/2"],
    ["a"] * 40,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parser(tmp_path_factory.mktemp("parser") / "model")


@pytest.fixture(scope="module")
def parser(folder: Path) -> Parser:
    return Parser.from_pretrained(folder, device="cpu")


def with_beam(parser: Parser, beam: int, constrained: bool = True, **settings: int) -> Parser:
    own = parser.translator
    config = replace(own.config, beam=beam, **settings)  # type: ignore[arg-type]
    return Parser(Translator(own.backend, own.tokenizer, config, "en", "tree", protect=False), constrained)


def check_tree(tree: Tree | None, words: list[str]) -> None:
    assert tree is not None
    assert tree.words == [word.replace("(", "-LRB-").replace(")", "-RRB-") for word in words]
    assert len(tree.children) == 1
    assert all(node.children for node, _ in tree.walk())


@pytest.mark.parametrize("beam", [1, 3, 21])
@pytest.mark.parametrize("numbered", [False, True])
def test_random_models_give_trees(tmp_path: Path, numbered: bool, beam: int) -> None:
    folder = make_parser(tmp_path / "model", seed=beam, numbered=numbered)
    parser = with_beam(Parser.from_pretrained(folder, device="cpu"), beam)
    assert bool(parser.tokens and parser.tokens.numbers) == numbered
    for tree, words in zip(parser.parse(SENTENCES), SENTENCES, strict=True):
        check_tree(tree, words)


def test_trees_do_not_depend_on_other_sentences(parser: Parser) -> None:
    together = parser.parse([*SENTENCES, [], *SENTENCES])
    assert together == [*(tree for words in SENTENCES for tree in parser.parse([words])), None, *together[:4]]


def test_length_of_the_tree_is_limited(parser: Parser) -> None:
    longest = with_beam(parser, 3, max_extra=0)
    (tree,) = longest.parse([SENTENCES[0]])
    check_tree(tree, SENTENCES[0])
    assert tree is not None
    subwords = len(parser.translator.encode(["The cat sat on the mat ."])[0])
    constituents = sum(not node.is_preterminal for node, begins in tree.walk() if begins) - 1  # without the root
    assert len(SENTENCES[0]) + 2 * constituents + 1 <= subwords


def test_output_without_constraint_may_be_no_tree(parser: Parser) -> None:
    free = with_beam(parser, 3, constrained=False)
    assert None in free.parse(SENTENCES)


def test_sentence_whose_tree_cannot_fit_is_refused_after_those_before(tmp_path: Path) -> None:
    parser = Parser.from_pretrained(make_parser(tmp_path / "model", max_len=20), device="cpu")
    groups = parse_groups(parser, [[["a"], ["b"]], [["c"], ["a"] * 18, ["d"]]])
    assert [number for number, _, _ in next(groups)] == [1, 2]
    assert [(number, words) for number, words, _ in next(groups)] == [(3, ["c"])]
    with pytest.raises(
        LineTooLong, match="line 4 has 18 words; its tree needs 21 tokens, but an output has at most 20"
    ):
        next(groups)


def test_what_is_not_one_word_is_refused(parser: Parser) -> None:
    with pytest.raises(InputError, match="'New York' is not one word"):
        parser.parse([["in", "New York"]])


def test_smallest_length_is_refused(parser: Parser) -> None:
    with pytest.raises(InputError, match="min_len is 5; it must be 1 for trees"):
        with_beam(parser, 1, min_length=5).parse([["a"]])


def test_string_is_split_at_white_space(parser: Parser) -> None:
    assert parser(["The cat  sat", ["The", "cat", "sat"]])[0] == parser.parse([["The", "cat", "sat"]])[0]


def test_sentences_are_read_from_lines_text_and_treebanks(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cat\n\nsat  .\n")
    words = [["The", "cat"], [], ["sat", "."]]
    assert list(read_sentences([" ".join(line) for line in words], None)) == [words]
    assert list(read_sentences([], tmp_path / "a.txt")) == [words]
    (found,) = read_sentences([], folder.parent / "test.trees")
    assert [" ".join(words) for words in found] == [
        "The cat sat on the mat .", "We saw a dog -LRB- old -RRB-", "Cats and dogs"
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError):
        read_sentences([], tmp_path / "none.txt")


def test_models_of_the_other_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    translation_model = tiny_model.make_folder(tmp_path / "translation")
    with pytest.raises(InputError, match="contains no parser but a model that translates or continues text"):
        Parser.from_pretrained(translation_model)
    with pytest.raises(InputError, match=r"contains a parser, which cannot translate\. Use transformer\.parse"):
        Translator.from_pretrained(folder)
    translator = Translator.from_pretrained(translation_model, DecodeConfig(), "cpu")
    assert find_tree_tokens(translator.tokenizer) is None  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no tokens of trees, such as"):
        Parser(translator)


def test_trees_are_written_with_brackets(parser: Parser) -> None:
    (tree,) = parser.parse([["Hi"]])
    assert tree is not None
    assert bracketed(tree).startswith("(TOP (")
    assert bracketed(tree).count("(") == bracketed(tree).count(")")
