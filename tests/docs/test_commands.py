"""Commands in the code blocks of the pages: each one exists, and its own parser accepts the arguments."""

import argparse
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser

from common.settings import load_settings
from paper_transformer.__main__ import COMMANDS
from tests.docs.test_pages import PAGES, known_targets, text_of
from train.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("transformer", "data_pipeline", "evaluate", "train", "serve", "paper_transformer", "benchmarks", "docs")
FENCE = re.compile(r"^ *```(sh|bash|)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
BEGINS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:python|accelerate|make|paper-transformer) ")
"""How a line with a command begins in a code block that names no language; other lines there are output."""
SETTINGS = {"train/train.py", "train/doctor/__main__.py"}
"""Commands that take all settings of a run."""


class ParsedError(Exception):
    """Ends a command when its parser has accepted the arguments."""


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in the code blocks of a page."""
    for language, block in FENCE.findall(text):
        waiting = ""
        for line in block.replace("\\\n", " ").splitlines():
            if not waiting and not language and not BEGINS.match(line):
                continue
            waiting += line
            try:
                commands = split(waiting)
            except ValueError:  # a quotation mark is open: the command has another line
                waiting += "\n"
                continue
            waiting = ""
            yield from commands


def split(line: str) -> list[list[str]]:
    """Return the commands of a line without redirections and variables before them."""
    lexer = shlex.shlex(re.sub(r"\b2(?=>)", "", line), posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if set(word) <= set("<>&") and word != "&&" and word != "&":
            redirected = True
        elif set(word) <= set(";|&"):
            commands.append([])
        elif redirected:
            redirected = False
        elif commands[-1] or not re.match(r"[A-Z_]+=", word):
            commands[-1].append(word)
    return [command for command in commands if command]


def find_command(words: list[str]) -> tuple[str, list[str]] | None:
    """Return the file of a command of this project and its arguments. None: it is a command of somebody else."""
    match words:
        case ["python" | "python3" | ".venv/bin/python", "-m", module, *arguments]:
            return find_module(module, arguments)
        case ["python" | "python3" | ".venv/bin/python", file, *arguments] if file.split("/")[0] in FOLDERS:
            return file, arguments
        case ["accelerate", "launch", *arguments]:
            launched = launch_command_parser().parse_args(arguments)
            if launched.module:
                return find_module(launched.training_script, launched.training_script_args)
            return launched.training_script, launched.training_script_args
        case ["paper-transformer", name, *arguments] if not name.startswith("-"):
            return COMMANDS[name][0], arguments
        case ["make", target, *_]:
            assert target in known_targets(), target
    return None


def find_module(module: str, arguments: list[str]) -> tuple[str, list[str]] | None:
    if module.removeprefix("paper_transformer.").split(".")[0] not in FOLDERS:
        return None
    path = module.removeprefix("paper_transformer.").replace(".", "/")
    return (f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"), arguments


def parse(file: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Return what the parser of a command makes of its arguments. The command does nothing else."""
    if not re.search(r"\bparse_(intermixed_)?args\(|command_line\(", (ROOT / file).read_text(encoding="utf-8")):
        assert not arguments, f"{file} takes no arguments"
        return argparse.Namespace()
    parsed: list[argparse.Namespace] = []

    def stop_after(name: str) -> Any:
        original = getattr(argparse.ArgumentParser, name)

        def call(self: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
            parsed.append(original(self, *args, **options))
            raise ParsedError

        return call

    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [file, *arguments])
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, stop_after(name))
        with pytest.raises(ParsedError):
            importlib.import_module(file.removesuffix(".py").replace("/", ".")).main()
    return parsed[0]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_page_are_accepted(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in commands_of(text_of(page)):
        try:
            found = find_command(words)
            if found is not None and found[0] not in ("docs/learn/run.py", "paper_transformer/__main__.py"):
                file, arguments = found
                assert (ROOT / file).is_file(), file
                namespace = parse(file, [word for word in arguments if word != "…"], monkeypatch)
                if file in SETTINGS:
                    path = namespace.config and ROOT / namespace.config
                    load_settings(RunConfig, path, namespace.overrides)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}\n{capsys.readouterr().err}")


def test_commands_of_finds_commands_in_blocks() -> None:
    text = (
        "```sh\nA=1 make demo  # comment\npython -m train.doctor \\\n    size=auto > out 2>&1 | head -1\n```\n"
        "```\npython evaluate/bleu.py --json - && echo 'a\nb'\noutput\n```\n```python\nmake()\n```\n"
    )
    assert list(commands_of(text)) == [
        ["make", "demo"],
        ["python", "-m", "train.doctor", "size=auto"],
        ["head", "-1"],
        ["python", "evaluate/bleu.py", "--json", "-"],
        ["echo", "a\nb"],
    ]


def test_find_command_returns_file_and_arguments() -> None:
    assert find_command(["python", "-m", "train.doctor", "x=1"]) == ("train/doctor/__main__.py", ["x=1"])
    launched = ["accelerate", "launch", "-q", "--multi_gpu", "--num_processes", "2", "train/train.py", "--config", "c"]
    assert find_command(launched) == ("train/train.py", ["--config", "c"])
    assert find_command(["paper-transformer", "translate", "x"]) == ("transformer/translate.py", ["x"])
    assert find_command(["python", "-m", "venv", ".venv"]) is None


def test_parse_rejects_unknown_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("evaluate/bleu.py", ["--modell", "x"], monkeypatch)
    assert "unrecognized arguments: --modell" in capsys.readouterr().err
