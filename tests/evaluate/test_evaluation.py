"""Evaluation: translations are saved first and atomically, and do not depend on the number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.processes import check_world_size
from evaluate import evaluation
from evaluate.config import DecodeConfig
from evaluate.evaluation import ReportOptions, evaluate_text, file_stems, publish, warn_of_other_languages
from evaluate.report.report import make_report
from evaluate.test_sets import Selection, TestSet, find_test_set, model_languages
from evaluate.translator import Translator
from tests.evaluate.texts import HYPOTHESES, REFERENCES, WORSE, write_lines
from tests.tiny_model import TEXT, make_folder

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [TEXT[0], "", "Größe", "Ein Hund. Die Katze!", "42", "Haus\u2028zwei", "x " * 60]


@pytest.mark.parametrize("launcher", [["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"], []])
def test_translations_do_not_depend_on_number_of_processes(launcher: list[str], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    expected = Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=3), "cpu")(SOURCES)
    files = [write_lines(tmp_path / "test.en", SOURCES), write_lines(tmp_path / "test.de", SOURCES)]
    command = [sys.executable, *launcher, "evaluate/bleu.py", "--model", str(folder), "--beam", "2", "--max-extra", "3"]
    options = ["--source", files[0], "--reference", files[1], "--output", str(tmp_path / "out")]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test.en: BLEU") == 1  # only the main process prints
    (name,) = file_stems([files[0]])
    report = json.loads((tmp_path / f"out/{name}.json").read_text())
    assert report["processes"] == (2 if launcher else 1)
    assert (report["several_sentences"], report["too_long"], report["copied"]) == (1, [7], 1)
    lines = "lines: 1 with several sentences, translated one by one; 1 too long for the model, translated in parts; 1 "
    assert lines in done.stdout
    assert done.stderr.count("note: line 7 is longer than the model's limit of 40 tokens; split and translated") == 1
    assert (tmp_path / f"out/{name}.hyp").read_text().split("\n") == [*expected, ""]


def test_translations_are_saved_before_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no score")

    monkeypatch.setattr(evaluation, "make_report", fail)
    text, reference = write_lines(tmp_path / "text", HYPOTHESES), write_lines(tmp_path / "test.de", REFERENCES)
    with pytest.raises(RuntimeError, match="no score"):
        evaluate_text(Path(text), Selection(references=(Path(reference),)), ReportOptions(output=tmp_path / "out"))
    (file,) = (tmp_path / "out").iterdir()
    assert file.suffix == ".hyp"
    assert file.read_text().splitlines() == HYPOTHESES


def test_publish_writes_files_if_printing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*args: object, **options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(BrokenPipeError):
        publish(make_report(TestSet("x", None, [REFERENCES]), HYPOTHESES), tmp_path, "x", "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.worst.txt"]


def test_publish_prints_report_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        publish(make_report(TestSet("x", None, [REFERENCES]), HYPOTHESES), tmp_path, "x", "model")
    assert "x: BLEU" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".json", ".worst.txt"])
def test_publish_keeps_old_file_if_writing_fails(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_set, file = TestSet("x", None, [REFERENCES]), tmp_path / f"x{suffix}"
    publish(make_report(test_set, WORSE), tmp_path, "x", "model")
    before = file.read_bytes()
    write = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        if self.name.startswith(f".{file.name}"):
            write(self, data[:9])
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        publish(make_report(test_set, HYPOTHESES), tmp_path, "x", "model")
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.worst.txt"]


def test_check_world_size_rejects_separate_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["evaluate/bleu.py"])
    with pytest.raises(ValueError, match=r"WORLD_SIZE is 2, .*--num_processes 2 evaluate/bleu\.py"):
        check_world_size(SimpleNamespace(num_processes=1))
    check_world_size(SimpleNamespace(num_processes=2))


def test_file_stems_are_short_and_distinct() -> None:
    long = "x" * 300
    names = ["a/b.tsv", "a_b.tsv", "a_b.tsv-2", long, long + "y", "ß" * 300, "!!", "[a.en, a.de]"]
    stems = file_stems([*names, long])
    assert stems[:3] == ["a_b.tsv", "a_b.tsv-2", "a_b.tsv-2-2"]
    assert len(set(stems)) == len(stems)
    assert all(0 < len(stem.encode()) <= 102 for stem in stems)
    assert file_stems([long]) == [stems[3]]
    assert stems[-3:-1] == ["test_set", "a.en_a.de"]


@pytest.mark.parametrize(
    ("source", "reference", "languages", "warning"),
    [
        ("a.en", "a.de", None, None),
        ("a.en.gz", "a.de.xz", None, None),
        ("a.en", "a.fr", None, "a.en is en-fr, but the model translates en-de"),
        ("a.txt", "a.fr", None, "a.txt is ?-fr, but the model translates en-de"),
        ("a.txt", "b.txt", None, None),
        ("a.txt", "b.txt", ("cs", "en"), "a.txt is cs-en, but the model translates en-de"),
    ],
)
def test_evaluation_warns_if_test_set_has_other_languages_than_model(
    source: str,
    reference: str,
    languages: tuple[str, str] | None,
    warning: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("evaluate.test_sets.read_all_lines", lambda file: ["x"])
    of_model = model_languages(make_folder(tmp_path / "model"))
    selection = Selection(tmp_path / source, (tmp_path / reference,), languages=languages)
    warn_of_other_languages(find_test_set(selection, of_model), of_model)
    assert capsys.readouterr().err == (f"warning: {tmp_path}/{warning}\n" if warning else "")
