"""The command evaluate/bleu.py: its options, its output, and the errors that it prints."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU

from common.command import run_command
from common.errors import InputError
from common.settings import dump_settings
from data_pipeline.config import DataConfig
from evaluate import bleu, evaluation
from evaluate.config import DecodeConfig
from evaluate.evaluation import file_stems
from evaluate.translator import Translator
from tests.evaluate import texts
from tests.tiny_model import TEXT, make_folder
from train.config import RunConfig

OPTIONS = ["--beam", "2", "--max-extra", "3"]
SOURCES = [TEXT[0], "", "Größe", *TEXT[1:3], "Haus\u2028zwei"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def hypotheses(folder: Path) -> list[str]:
    return Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=3), "cpu")(SOURCES)


@pytest.fixture
def references(hypotheses: list[str]) -> list[str]:
    """Similar to the hypotheses, so that BLEU is neither 0 nor 100, with some words in the wrong case."""
    return [text.upper() + " und mehr" if i % 2 else text + " The End" for i, text in enumerate(hypotheses)]


@pytest.fixture
def files(tmp_path: Path, references: list[str]) -> list[str]:
    (tmp_path / "test.en").write_text("\n".join(SOURCES) + "\n", encoding="utf-8")
    (tmp_path / "test.de.gz").write_bytes(gzip.compress(("\n".join(references) + "\n").encode()))
    return ["--source", str(tmp_path / "test.en"), "--reference", str(tmp_path / "test.de.gz")]


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bleu.py", *args])
    bleu.main()


def test_bleu_report_equals_sacrebleu(
    folder: Path,
    hypotheses: list[str],
    references: list[str],
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(monkeypatch, "--model", str(folder), *OPTIONS, *files, "--output", str(tmp_path / "out"))
    mixed, lower = BLEU(), BLEU(lowercase=True)
    expected, expected_lower = (m.corpus_score(hypotheses, [references]).score for m in (mixed, lower))
    assert expected < expected_lower
    (name,) = file_stems([files[1]])
    written = json.loads((tmp_path / f"out/{name}.json").read_text())
    assert (written["bleu"], written["bleu_lowercase"]) == (expected, expected_lower)
    assert written["signature"] == str(mixed.get_signature())
    assert written["lines"] == len(SOURCES)
    assert written["decode"]["beam"] == 2
    assert (tmp_path / f"out/{name}.hyp").read_text().split("\n") == [*hypotheses, ""]
    out = capsys.readouterr().out
    assert f": BLEU {expected:.2f}\n" in out
    assert re.search(rf"BLEU 13a +{expected:.2f} .*case:mixed.*tok:13a.*version:", out)
    assert re.search(rf"BLEU 13a, lower-cased +{expected_lower:.2f} .*case:lc", out)
    assert "beam 2, alpha 0.6, length penalty ((5 + n) / 6)^alpha" in out
    assert "sentences/s" in out


def test_bleu_evaluates_every_test_corpus_of_run_by_default(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "run")
    (tmp_path / "b.tsv").write_text("Haus\thouse\n")
    data = DataConfig(test=[[files[1], files[3]], [str(tmp_path / "b.tsv")]])
    (folder / "config.yaml").write_text(dump_settings(RunConfig(data=data)))
    run(monkeypatch, "--model", str(folder), *OPTIONS, "--json", str(tmp_path / "figures"))
    out = capsys.readouterr().out
    figures = [json.loads(line) for line in (tmp_path / "figures").read_text(encoding="utf-8").splitlines()]
    assert [one["test_set"] for one in figures] == [Path(files[1]).name, "b.tsv"]
    titles = [line.split(": BLEU")[0] for line in out.splitlines() if ": BLEU" in line and line[0] != " "]
    assert titles == [Path(files[1]).name, "b.tsv"]
    assert len(list((folder / "eval").glob("*.hyp"))) == 2


def test_bleu_rejects_baseline_for_several_test_corpora(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "run")
    (folder / "config.yaml").write_text(dump_settings(RunConfig(data=DataConfig(test=[[files[1], files[3]]] * 2))))
    with pytest.raises(ValueError, match=r"--baseline compares on one test set, but the run's data\.test has 2"):
        run(monkeypatch, "--model", str(folder), "--baseline", "x.json")


def test_bleu_reads_only_needed_sections_of_run_config(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "run")
    settings = "train: {of_another_version: 1}\ndata: {so_is_this: 1}\ndecode: {alpha: 0.0}\n"
    (folder / "config.yaml").write_text(settings)
    run(monkeypatch, "--model", str(folder), *OPTIONS, *files)
    assert "alpha 0.0" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"config\.yaml, line 2: there is no setting 'data\.so_is_this'"):
        run(monkeypatch, "--model", str(folder), *OPTIONS)


def test_bleu_evaluates_test_set_with_long_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "a.en").write_text("house\n")
    same = str(deep / "a.en")
    run(monkeypatch, "--model", str(folder), *OPTIONS, "--source", same, "--reference", same)
    assert "written to" in capsys.readouterr().out


def test_bleu_fails_before_translating_if_output_is_not_writable(
    folder: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "translate_lines", None)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is not a folder"):
        run(monkeypatch, "--model", str(folder), *files, "--output", str(tmp_path / "file"))


def test_bleu_scores_existing_translation_that_serves_as_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = texts.write_lines(tmp_path / "test.de", texts.REFERENCES)
    source = texts.write_lines(tmp_path / "test.en", texts.SOURCES)
    first = texts.write_lines(tmp_path / "first.txt", texts.WORSE)
    second = texts.write_lines(tmp_path / "second.txt", texts.HYPOTHESES)
    common = ["--reference", reference, "--output", str(tmp_path / "out")]
    run(monkeypatch, "--hypotheses", first, *common)
    (baseline,) = (tmp_path / "out").glob("*first*.json")
    run(monkeypatch, "--hypotheses", second, "--source", source, *common, "--baseline", str(baseline))
    (written,) = (tmp_path / "out").glob("*second*.json")
    report = json.loads(written.read_text())
    assert (report["lines"], report["comparison"]["baseline"]) == (6, str(baseline))
    found = report["comparison"]["differences"]["bleu_13a"]
    assert found["score"] == report["bleu"] == report["scores"]["bleu_13a"]["score"]
    assert found["baseline"] == json.loads(baseline.read_text())["bleu"]
    assert "p (bootstrap)" in capsys.readouterr().out
    assert written.with_suffix(".hyp").read_text().splitlines() == texts.HYPOTHESES
    assert written.with_suffix(".worst.txt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text.txt": b"one\n"}, r"text.txt has 1 lines and .*test.de has 6"),
        ({"test.de": b"eins\n"}, r"test.en has 6 lines and .*test.de has 1"),
        ({"text.txt": b""}, r"text.txt has 0 lines"),
        ({"test.de": b"", "test.en": b""}, r"has no lines"),
        ({"text.txt": b"a\n\xff\n"}, r"text.txt, line 2: byte 0xff is not UTF-8"),
    ],
)
def test_bleu_prints_error_and_exits_with_2_for_invalid_files(
    change: dict[str, bytes],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, lines in (("text.txt", texts.WORSE), ("test.en", texts.SOURCES), ("test.de", texts.REFERENCES)):
        texts.write_lines(tmp_path / name, lines)
    for name, content in change.items():
        (tmp_path / name).write_bytes(content)
    options = {"--hypotheses": "text.txt", "--source": "test.en", "--reference": "test.de"}
    arguments = [part for option, name in options.items() for part in (option, str(tmp_path / name))]
    monkeypatch.setattr(sys, "argv", ["bleu.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        run_command(bleu.main)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    "args",
    [
        ["--source", "a"],
        ["--reference", "b"],
        ["--source", "a", "--reference", "b", "--test-set", "wmt14"],
        ["--hypotheses", "a", "--reference", "b"],
    ],
)
def test_bleu_exits_with_2_if_options_do_not_go_together(
    args: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--model", str(folder), *args)
