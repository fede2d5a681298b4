"""The command transformer.parse, end to end, on a tiny parser with random weights."""

import sys
import xml.etree.ElementTree as ElementTree
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.trees import bracketed, read_trees
from evaluate.parser import Parser
from evaluate.tree_picture import indented
from tests import tiny_model
from tests.tiny_parser import make_parser
from transformer import parse, translate

SENTENCES = ["The cat sat .", "( Cats ) & dogs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parser(tmp_path_factory.mktemp("parser") / "model")


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[str]:
    return [bracketed(tree) for tree in Parser.from_pretrained(folder, device="cpu")(SENTENCES) if tree is not None]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], model: Path, *args: str | Path
) -> tuple[str, str]:
    """Run the command in this process. Return what it prints to standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["parse", "--model", str(model), *map(str, args)])
    with open(1, "w", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        parse.main()
    return capfd.readouterr()


def test_every_line_gives_a_line_in_order(folder, lines, monkeypatch, capfd, tmp_path) -> None:  # type: ignore[no-untyped-def]
    expected = f"{lines[0]}\n\n{lines[1]}\n"
    assert run(monkeypatch, capfd, folder, SENTENCES[0], "", SENTENCES[1]) == (expected, "")
    file, out = tmp_path / "in.txt", tmp_path / "out.trees"
    file.write_text(f"{SENTENCES[0]}\n \n{SENTENCES[1]}\n")
    assert run(monkeypatch, capfd, folder, "--input", file, "--output", out) == ("", "")
    assert out.read_text() == expected
    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run(monkeypatch, capfd, folder)[0] == expected


def test_words_of_a_treebank_are_parsed(folder, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    out, _ = run(monkeypatch, capfd, folder, "--input", folder.parent / "test.trees", "--beam", "1", "--alpha", "0")
    (folder.parent / "out.trees").write_text(out)
    words = [" ".join(tree.words) for tree in read_trees(folder.parent / "out.trees")]
    assert words == ["The cat sat on the mat .", "We saw a dog -LRB- old -RRB-", "Cats and dogs"]


def test_terminal_gets_the_tree_as_indented_text_too(folder, lines, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    (tree,) = Parser.from_pretrained(folder, device="cpu")([SENTENCES[0]])
    terminal = Terminal()
    monkeypatch.setattr(parse, "open_output", lambda _: nullcontext(terminal))
    run(monkeypatch, capfd, folder, SENTENCES[0])
    assert tree is not None
    assert terminal.getvalue() == f"{lines[0]}\n{indented(tree)}\n"


def test_svg_has_the_words_of_all_trees(folder, monkeypatch, capfd, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run(monkeypatch, capfd, folder, *SENTENCES, "--svg", tmp_path / "tree.svg")
    root = ElementTree.parse(tmp_path / "tree.svg").getroot()
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "word"]
    assert words == " ".join(SENTENCES).split()


def test_without_constraint_lines_without_tree_are_empty_and_named(folder, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    out, err = run(monkeypatch, capfd, folder, *SENTENCES, "", "--no-constraint")
    assert out == "\n\n\n"
    assert err == "note: without constraint, lines 1, 2 gave no tree; the output is empty\n"


def test_models_of_the_other_kind_are_refused(folder, monkeypatch, capfd, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="contains no parser but a model that translates"):
        run(monkeypatch, capfd, tiny_model.make_folder(tmp_path / "model"), "a")
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), "a"])
    with pytest.raises(InputError, match=r"contains a parser, which cannot translate\. Use transformer\.parse"):
        translate.main()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "--input", "b"], "give either sentences or --input"),
        (["--input", "b", "--svg", "c"], "--svg draws the sentences of the command line"),
        (["a", "--min-length", "3"], "unrecognized arguments: --min-length"),
    ],
)
def test_options_that_exclude_each_other_are_refused(folder, monkeypatch, capfd, args, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        run(monkeypatch, capfd, folder, *args)
    assert message in capfd.readouterr().err
