"""Progress on a terminal of any width, in a file, and beside other lines."""

import pytest

from common.notes import print_note
from common.progress_bar import ProgressBar, line_format, shows_live_line
from tests.terminal import terminal_for_messages


def drawn_width(line: str) -> int:
    """Return the width of a line of tqdm's format, with its bar."""
    before, _, rest = line.partition("{bar:")
    width, _, after = rest.partition("}")
    return len(before) + int(width or 0) + len(after)


def test_line_fits_every_terminal() -> None:
    for columns in range(3, 160):
        line = line_format("step", 1234, 5400, "5,120 target tokens/s", "41m12s left", columns)
        assert drawn_width(line) <= columns
        assert "23%" in line
        assert columns < 16 or "41m12s left" in line
        assert columns < 70 or "{bar:" in line


def test_line_shows_everything_if_wide() -> None:
    line = line_format("step", 1234, 5400, "5,120 target tokens/s", "41m12s left", 120)
    assert line == "step 1,234/5,400 |{bar:40}|  23% | 5,120 target tokens/s | 41m12s left"
    assert line_format("tokenizing {x}", 5, None, "3 tokens/s", "", 80) == "tokenizing {{x}} 5 | 3 tokens/s"


@pytest.mark.parametrize("columns", [24, 80])
def test_bar_is_redrawn_on_terminal_and_removed(columns: int) -> None:
    with terminal_for_messages(columns) as terminal:
        with ProgressBar("filtering", 40, "pairs") as bar:
            for _ in range(40):
                bar.update(1)
                bar._live.refresh()  # type: ignore[union-attr]
        text = terminal.text()
    assert "\n" not in text
    assert "100%" in text
    assert "\033" not in text, "neither colours nor other control sequences"
    *drawn, spaces, last = text.split("\r")
    assert all(len(line) < columns for line in drawn)
    assert spaces.strip() == last == ""


def test_note_has_its_own_line_above_bar() -> None:
    with terminal_for_messages() as terminal, ProgressBar("filtering", 40, "pairs") as bar:
        bar.update(1)
        print_note("note: one")
        before, after = terminal.text().split("note: one\r\n")
    assert before.endswith(" \r")
    assert "filtering 1/40" in after


def test_quick_work_shows_no_bar() -> None:
    with terminal_for_messages() as terminal:
        with ProgressBar("translating", 40, "lines", delay=60) as bar:
            bar.update(40)
        print("end", file=terminal.stream)
        assert terminal.text() == "end\r\n"


def test_dumb_terminal_and_file_get_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("common.progress_bar.LINE_EVERY", 0)
    with terminal_for_messages(kind="dumb") as terminal:
        assert not shows_live_line()
        with ProgressBar("filtering", 4000, "pairs") as bar:
            bar.update(1000)
        assert terminal.text().startswith("filtering: 1,000 of 4,000 pairs, 25%, ")
    with ProgressBar("filtering", 4000, "pairs", show=False) as bar:
        bar.update(1000)
    with ProgressBar("tokenizing", None, "tokens") as bar:
        bar.update(1000)
    assert capsys.readouterr().err.startswith("tokenizing: 1,000 tokens, ")
