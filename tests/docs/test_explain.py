"""docs/explain.md shows what `transformer.explain` prints."""

import re

import pytest

from benchmarks.runner import ROOT
from transformer import explain

PAGE = (ROOT / "docs/explain.md").read_text(encoding="utf-8")
SHOWN = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
NUMBER = re.compile(r"-?\d+\.\d+")


def test_page_shows_lines_of_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = re.findall(r'^python -m transformer\.explain "(.+)"$', PAGE, re.MULTILINE)[0]
    monkeypatch.setattr("sys.argv", ["explain", sentence])
    explain.main()
    printed = {NUMBER.sub("", line): line for line in capsys.readouterr().out.splitlines()}
    for line in SHOWN:
        if line != "…":
            figures = [float(number) for number in NUMBER.findall(printed[NUMBER.sub("", line)])]
            assert figures == pytest.approx([float(number) for number in NUMBER.findall(line)], abs=0.02), line
