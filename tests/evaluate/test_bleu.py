"""evaluate/bleu.py: what it translates and where it writes; the report equals sacreBLEU called directly."""

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sacrebleu.utils
from sacrebleu.metrics import BLEU

from common.processes import check_world_size
from common.settings import dump_settings
from data_pipeline.config import DataConfig
from evaluate import bleu
from evaluate import test_sets as corpora
from evaluate.config import DecodeConfig
from evaluate.report.report import Report, Translating, evaluate_corpus, file_stems
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from train.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
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
    """Near the hypotheses, so that BLEU is neither 0 nor 100, with words of which the case is wrong."""
    return [text.upper() + " und mehr" if i % 2 else text + " The End" for i, text in enumerate(hypotheses)]


@pytest.fixture
def files(tmp_path: Path, references: list[str]) -> list[str]:
    (tmp_path / "test.en").write_text("\n".join(SOURCES) + "\n", encoding="utf-8")
    (tmp_path / "test.de.gz").write_bytes(gzip.compress(("\n".join(references) + "\n").encode()))
    return ["--source", str(tmp_path / "test.en"), "--reference", str(tmp_path / "test.de.gz")]


def report(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bleu.py", "--model", str(folder), *OPTIONS, *args])
    bleu.main()


def test_the_report_equals_sacrebleu_called_directly(
    folder: Path,
    hypotheses: list[str],
    references: list[str],
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(monkeypatch, folder, *files, "--output", str(tmp_path / "out"))
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


@pytest.mark.parametrize("launcher", [["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"], []])
def test_one_process_or_two_give_the_same_hypotheses(
    launcher: list[str], folder: Path, hypotheses: list[str], files: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, *launcher, "evaluate/bleu.py", "--model", str(folder), *OPTIONS, *files]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test.en: BLEU") == 1  # one process speaks for all
    (name,) = file_stems([files[1]])
    assert json.loads((tmp_path / f"out/{name}.json").read_text())["processes"] == (2 if launcher else 1)
    assert (tmp_path / f"out/{name}.hyp").read_text().split("\n") == [*hypotheses, ""]


def test_without_a_corpus_the_runs_own_are_reported_one_after_the_other(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_folder(tmp_path / "run")
    (tmp_path / "b.tsv").write_text("Haus\thouse\n")
    data = DataConfig(test=[[files[1], files[3]], [str(tmp_path / "b.tsv")]])
    (run / "config.yaml").write_text(dump_settings(RunConfig(data=data)))
    report(monkeypatch, run)
    out = capsys.readouterr().out
    assert [line.split(": BLEU")[0] for line in out.splitlines() if ": BLEU" in line and line[0] != " "] == [
        Path(files[1]).name,
        "b.tsv",
    ]
    assert len(list((run / "eval").glob("*.hyp"))) == 2


def test_only_the_sections_that_are_needed_of_a_runs_config_are_read(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_folder(tmp_path / "run")
    (run / "config.yaml").write_text("train: {of_another_version: 1}\ndata: {so_is_this: 1}\ndecode: {alpha: 0.0}\n")
    report(monkeypatch, run, *files)
    assert "alpha 0.0" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"config\.yaml at data\.so_is_this"):
        report(monkeypatch, run)


def test_names_of_files_are_short_and_none_is_given_twice() -> None:
    long = "x" * 300
    names = ["a/b.tsv", "a_b.tsv", "a_b.tsv-2", long, long + "y", "ß" * 300, "!!", "[a.en, a.de]"]
    stems = file_stems([*names, long])
    assert stems[:3] == ["a_b.tsv", "a_b.tsv-2", "a_b.tsv-2-2"]
    assert len(set(stems)) == len(stems)
    assert all(0 < len(stem.encode()) <= 102 for stem in stems)
    assert file_stems([long]) == [stems[3]]
    assert stems[-3:-1] == ["corpus", "a.en_a.de"]


def test_a_corpus_with_a_long_name_is_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "a.en").write_text("house\n")
    report(monkeypatch, folder, *["--source", str(deep / "a.en")], *["--reference", str(deep / "a.en")])
    assert "written to" in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_reported_before_translating(
    folder: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bleu, "translate_corpus", None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        report(monkeypatch, folder, *files, "--output", str(tmp_path / "file"))


def test_a_report_that_cannot_be_saved_has_been_printed(
    folder: Path,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(self: Report, *args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Report, "save", full)
    with pytest.raises(OSError, match="No space"):
        report(monkeypatch, folder, *files, "--output", str(tmp_path / "out"))
    assert ": BLEU" in capsys.readouterr().out


def test_processes_that_do_not_see_one_another_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["evaluate/bleu.py"])
    with pytest.raises(ValueError, match=r"WORLD_SIZE is 2, .*--num_processes 2 evaluate/bleu\.py"):
        check_world_size(SimpleNamespace(num_processes=1))
    check_world_size(SimpleNamespace(num_processes=2))


def test_the_built_in_corpus_is_also_judged_by_its_pronouns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Haus\thouse\n")
    found = corpora.from_config(DataConfig(test=[["grammar"], [str(tmp_path / "a.tsv")]]))
    assert [corpus.has_pronouns for corpus in found] == [True, False]


def test_the_share_of_pronouns_is_printed_only_where_there_is_one() -> None:
    lines = ["ein Haus"] * 9
    scored = evaluate_corpus(
        corpora.Corpus("x", None, [lines]), lines, Translating(3.0, 1, "cpu", "float32", DecodeConfig())
    )

    def text(pronouns: tuple[int, int] | None) -> str:
        return replace(scored, pronouns=pronouns).text()

    assert "pronouns that agree: 3 of 4 (75.0%)" in text((3, 4))
    assert "3.0 sentences/s" in text((3, 4))
    assert "pronouns" not in text(None)
    assert "pronouns" not in text((0, 0))


def test_a_test_set_is_read_from_sacrebleus_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").write_text("one\ntwo\n")
    (tmp_path / "ref").write_text("eins\nzwei\n")
    monkeypatch.setattr(sacrebleu.utils, "get_source_file", lambda name, langpair: str(tmp_path / "src"))
    monkeypatch.setattr(sacrebleu.utils, "get_reference_files", lambda name, langpair: [str(tmp_path / "ref")])
    corpus = corpora.from_test_set("wmt14/full", "en-de")
    assert (corpus.name, corpus.sources, corpus.references) == (
        "wmt14/full en-de",
        ["one", "two"],
        [["eins", "zwei"]],
    )


def test_a_test_set_that_cannot_be_downloaded_names_the_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, langpair: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr(sacrebleu.utils, "get_source_file", offline)
    with pytest.raises(ValueError, match=r"wmt14/full \(en-de\) cannot be downloaded .*--source and --reference"):
        corpora.from_test_set("wmt14/full", "en-de")


@pytest.mark.parametrize(
    ("name", "langpair", "message"), [("wmt99", "en-de", "no test set"), ("wmt14", "xx-yy", "no language pair")]
)
def test_an_unknown_test_set_is_named(name: str, langpair: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corpora.from_test_set(name, langpair)


def test_the_language_pair_is_the_models(folder: Path) -> None:
    assert bleu.model_languages(folder) == ("en", "de")


def test_files_of_different_length_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\n")
    with pytest.raises(ValueError, match=r"a\.en has 2 lines and .*a\.de has 1"):
        corpora.from_files(tmp_path / "a.en", tmp_path / "a.de")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.en"):
        corpora.from_files(tmp_path / "b.en", tmp_path / "a.de")
    (tmp_path / "c").touch()
    with pytest.raises(ValueError, match="no line"):
        corpora.from_files(tmp_path / "c", tmp_path / "c")


def test_a_model_without_a_run_needs_to_be_told_what_to_translate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"no config.yaml with data.test: give --source"):
        report(monkeypatch, folder)


@pytest.mark.parametrize(
    "args",
    [
        ["--source", "a"],
        ["--reference", "b"],
        ["--source", "a", "--reference", "b", "--test-set", "wmt14"],
        ["--hypotheses", "a", "--reference", "b"],
    ],
)
def test_options_that_do_not_go_together_are_refused(
    args: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        report(monkeypatch, folder, *args)
