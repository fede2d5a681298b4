"""COMET, with a program that stands for `comet-score`."""

import json
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from evaluate import bleu
from evaluate.metrics.comet import CometScore, comet_score, find_comet

FAKE = f"""#!{sys.executable}
import pathlib, sys
words = sys.argv[1:]
assert words[-1] == "--quiet"
lines = [pathlib.Path(words[words.index(option) + 1]).read_text().splitlines() for option in ("-s", "-t", "-r")]
assert len(lines[0]) == len(lines[1]) == len(lines[2])
(pathlib.Path(__file__).parent / "seen").write_text(repr((words[:2], lines)))
print("downloads", file=sys.stderr)
print("/tmp/t.txt\\tSegment 0\\tscore: 0.1")
print("/tmp/t.txt\\tscore: %.4f" % (sum(a == b for a, b in zip(lines[1], lines[2])) / len(lines[0])))
"""
SOURCES, REFERENCES = ["A dog.", "A\rcat."], ["Ein Hund.", "Eine Katze."]


def write_program(folder: Path, text: str = FAKE) -> Path:
    program = folder / "comet-score"
    program.write_text(text)
    program.chmod(0o755)
    return program


def test_comet_score_reads_score_of_program(tmp_path: Path) -> None:
    command = find_comet(f"'{write_program(tmp_path)}' --model 'Unbabel/wmt22-comet-da' --gpus 0")
    found = comet_score(command, SOURCES, ["Ein Hund.", "Die Katze."], REFERENCES)
    assert found == CometScore(0.5, "comet-score --model Unbabel/wmt22-comet-da --gpus 0")
    words, lines = eval((tmp_path / "seen").read_text())
    assert words == ["--model", "Unbabel/wmt22-comet-da"]
    assert lines == [["A dog.", "A cat."], ["Ein Hund.", "Die Katze."], REFERENCES]


def test_find_comet_asks_for_cpu_without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert find_comet("comet-score") == [str(program), "--gpus", "0"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert find_comet("comet-score") == [str(program)]


@pytest.mark.parametrize("command", ["comet-score", "", "/nowhere/comet-score --gpus 1"])
def test_find_comet_says_how_to_install_it(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"there is no program .* for --comet\. Install COMET .* unbabel-comet, then"):
        find_comet(command)


def test_find_comet_rejects_open_quotation_mark() -> None:
    with pytest.raises(InputError, match="is not a command: No closing quotation"):
        find_comet("comet-score 'a")


@pytest.mark.parametrize(
    ("end", "reason"), [("import sys; sys.exit(3)", "ended with status 3"), ("print('0.5')", "printed no score")]
)
def test_comet_score_fails_if_program_fails(end: str, reason: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, f"#!{sys.executable}\n{end}\n")
    with pytest.raises(InputError, match=f"comet-score {reason}. Its messages are above"):
        comet_score([str(program)], SOURCES, REFERENCES, REFERENCES)


def run_bleu(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, source: bool = True) -> None:
    for name, lines in (("x.en", SOURCES), ("x.de", REFERENCES), ("y.de", REFERENCES)):
        (folder / name).write_text("".join(line.replace("\r", " ") + "\n" for line in lines))
    texts = ["--source", str(folder / "x.en")] if source else []
    texts += ["--hypotheses", str(folder / "y.de"), "--reference", str(folder / "x.de"), "--output", str(folder)]
    monkeypatch.setattr(sys, "argv", ["bleu", *texts, *options])
    bleu.main()


def test_bleu_reports_comet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    run_bleu(tmp_path, monkeypatch, "--comet")
    assert "  COMET 1.0000 (comet-score" in capsys.readouterr().out
    [report] = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert report["comet"]["score"] == 1


def test_bleu_without_comet_has_no_comet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_bleu(tmp_path, monkeypatch)
    assert [json.loads(file.read_text())["comet"] for file in tmp_path.glob("*.json")] == [None]


def test_bleu_with_comet_needs_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--comet compares a translation with its source, too\. Give --source"):
        run_bleu(tmp_path, monkeypatch, "--comet", source=False)
