"""common/arguments.py: an option or a setting that is given twice."""

import pytest

from common.arguments import CommandParser, settings_parser
from train.config import RunConfig


def parser() -> CommandParser:
    made = CommandParser(prog="x")
    made.add_argument("--beam", type=int, default=1)
    made.add_argument("--prompt", action="append")
    made.add_argument("--json", action="store_true")
    made.add_argument("words", nargs="*")
    return made


@pytest.mark.parametrize("line", ["--beam 1 --beam 2", "--beam=1 a --be 2", "--beam 1 --beam 1"])
def test_command_parser_rejects_option_given_twice(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_intermixed_args(line.split())
    assert "is given twice, as 1 and as " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["–beam", "—beam", "—beam=2", "-–beam", "––beam", "-beam"])
def test_command_parser_rejects_long_dash(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args([option, "2"])
    assert f"{option} does not begin with two hyphens (-). Write --beam" in capsys.readouterr().err


def test_command_parser_keeps_sentences_with_dashes() -> None:
    words = ["—Hola, dijo.", "– Ja.", "–", "", "a–b"]
    assert parser().parse_args(["--beam", "2", *words]).words == words


def test_command_parser_rejects_carriage_return(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["--beam", "2\r"])
    assert "'2\\r' ends in a carriage return" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["--beam", ""], ["--beam="]])
def test_command_parser_rejects_empty_value(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(line)
    assert "--beam has no value" in capsys.readouterr().err
    assert parser().parse_args(["--json", ""]).words == [""]


def test_command_parser_keeps_values_of_repeatable_options() -> None:
    args = parser().parse_args(["--prompt", "a", "--prompt", "b", "--json", "--json", "x", "x"])
    assert (args.prompt, args.words, args.beam) == (["a", "b"], ["x", "x"], 1)


def test_command_parser_can_parse_several_command_lines() -> None:
    made = parser()
    assert [made.parse_args(["--beam", beam]).beam for beam in "12"] == [1, 2]


def test_command_parser_rejects_option_of_subcommand_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    made = CommandParser(prog="x")
    made.add_subparsers().add_parser("sub").add_argument("--out")
    with pytest.raises(SystemExit, match="2"):
        made.parse_args(["sub", "--out", "a", "--out", "b"])
    assert "--out is given twice, as a and as b. Keep one of them" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["train.seed=1 --config x.yaml train.seed=2", "--config x.yaml --config x.yaml"])
def test_settings_parser_rejects_repetition(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        settings_parser(None, RunConfig).parse_intermixed_args(line.split())
    assert "is given twice" in capsys.readouterr().err
