"""The command evaluate.parsing scores files of trees."""

import json
import re
import sys
from pathlib import Path

import pytest

from common.command import run_command
from evaluate import parsing
from tests.tiny_parser import make_parser

GOLD = """
( (S (NP-SBJ (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat))) (. .)) )
( (S (NP-SBJ (PRP It)) (VP (VBZ barks)) (. .)) )
( (NP (NN Rain)) )
"""
PARSED = """(TOP (S (NP (DT The) (NN dog) (VBZ sees)) (NP (DT a) (JJ cat)) (. .)))
(TOP (S (NP (PRP It)) (VP (VBZ barks) (NN .))))
(())
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "gold.mrg").write_text(GOLD, encoding="utf-8")
    (tmp_path / "parsed").write_text(PARSED, encoding="utf-8")
    return [str(tmp_path / "gold.mrg"), str(tmp_path / "parsed")]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["parsing", *arguments])
    run_command(parsing.main)


def test_table_shows_all_and_short_sentences_lengths_and_labels(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, *files)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["F1", "%", "57.14", "57.14"] in lines
    assert ["1", "to", "10", "3", "66.67", "50.00", "57.14", "0.00"] in lines
    assert ["NP", "2", "2", "50.00", "50.00", "50.00"] in lines
    problems = [" ".join(line) for line in lines if line[:1] == ["sentence"]]
    assert problems == [
        "sentence 2 does not count: without punctuation and traces, the gold tree has 2 words, the parsed tree 3",
        "sentence 3 does not count: no parse",
    ]


def test_with_gold_tags_every_parse_counts(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, *files, "--gold-tags", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == {"3": "no parse"}
    assert (found["all"]["gold"], found["all"]["parsed"], found["all"]["matched"]) == (7, 6, 5)
    assert found["all"]["tagging_accuracy"] == 100


@pytest.mark.parametrize(
    ("parsed", "message"),
    [
        ("(TOP (NN a))\n", "has 3 trees and .*parsed has 1 lines"),
        ("(TOP (NN a))\n(TOP (NN a)\n\n", "parsed, line 2: the tree does not end in this line"),
        ("(TOP (NN a))\n(TOP (NN a)) (TOP (NN b))\n\n", "parsed, line 2: the line has 2 trees"),
        ("a\n", "parsed, line 1: 'a' is in no bracket"),
    ],
)
def test_damaged_files_are_one_sentence(
    files: list[str], parsed: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text(parsed, encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *files)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_model_parses_the_words_of_the_treebank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_parser(tmp_path / "model")
    run(monkeypatch, str(tmp_path / "test.trees"), "--model", str(model), "--json", "--gold-tags", "--beam", "1")
    found = json.loads(capsys.readouterr().out)
    assert found["all"]["sentences"] == 3
    assert found["problems"] == {}


def test_trees_without_words_are_not_scored(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[0]).write_text(GOLD.replace("(NN Rain)", "(-NONE- *)"), encoding="utf-8")
    run(monkeypatch, *files)
    assert capsys.readouterr().err == f"note: {files[0]}: trees without words, which are not scored: 1\n"
    Path(files[0]).write_text("( (NP (-NONE- *)) )", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *files)
    assert "gold.mrg has no trees with words. Give a treebank" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["parsed", "--model", "folder"]])
def test_trees_come_from_a_file_or_a_model(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "gold.trees", *arguments)
