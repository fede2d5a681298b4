"""Test sets: from files, from sacreBLEU, and from the settings of a run."""

from pathlib import Path

import pytest
import sacrebleu.utils

from data_pipeline.config import DataConfig
from evaluate.test_sets import (
    Selection,
    TestSet,
    file_languages,
    find_test_set,
    find_test_sets,
    from_config,
    from_files,
    from_sacrebleu,
    model_languages,
    parse_languages,
)
from tests.evaluate.texts import REFERENCES, SOURCES, write_lines
from tests.tiny_model import make_folder


def test_from_config_marks_builtin_corpus_for_pronouns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Haus\thouse\n")
    found = from_config(DataConfig(test=[["grammar"], [str(tmp_path / "a.tsv")]]))
    assert [test_set.has_pronouns for test_set in found] == [True, False]


def test_from_sacrebleu_reads_cached_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").write_text("one\ntwo\n")
    (tmp_path / "ref").write_text("eins\nzwei\n")
    monkeypatch.setattr(sacrebleu.utils, "get_source_file", lambda name, langpair: str(tmp_path / "src"))
    monkeypatch.setattr(sacrebleu.utils, "get_reference_files", lambda name, langpair: [str(tmp_path / "ref")])
    found = from_sacrebleu("wmt14/full", ("en", "de"))
    assert (found.name, found.sources, found.references) == ("wmt14/full en-de", ["one", "two"], [["eins", "zwei"]])


def test_from_sacrebleu_suggests_local_files_if_download_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, langpair: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr(sacrebleu.utils, "get_source_file", offline)
    with pytest.raises(ValueError, match=r"wmt14/full \(en-de\) cannot be downloaded .*--source and --reference"):
        from_sacrebleu("wmt14/full", ("en", "de"))


@pytest.mark.parametrize(
    ("name", "languages", "message"),
    [("wmt99", ("en", "de"), "no test set"), ("wmt14", ("xx", "yy"), "no language pair")],
)
def test_from_sacrebleu_rejects_unknown_names(name: str, languages: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_sacrebleu(name, languages)


def test_model_languages_reads_model_folder(tmp_path: Path) -> None:
    assert model_languages(make_folder(tmp_path)) == ("en", "de")


def test_from_files_rejects_different_numbers_of_lines(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\n")
    with pytest.raises(ValueError, match=r"a\.en has 2 lines and .*a\.de has 1"):
        from_files(tmp_path / "a.en", [tmp_path / "a.de"])


def test_from_files_rejects_missing_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("eins\n")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.en"):
        from_files(tmp_path / "b.en", [tmp_path / "a.de"])
    (tmp_path / "c").touch()
    with pytest.raises(ValueError, match="has no lines"):
        from_files(tmp_path / "c", [tmp_path / "c"])


def test_from_files_reads_languages_from_file_names(tmp_path: Path) -> None:
    source, reference = write_lines(tmp_path / "test.en", SOURCES), write_lines(tmp_path / "test.de", REFERENCES)
    assert from_files(Path(source), [Path(reference)]).languages == ("en", "de")
    assert from_files(None, [Path(reference)]).languages == ("", "de")
    assert from_files(None, [Path(write_lines(tmp_path / "text.txt", REFERENCES))]).languages is None
    assert file_languages(Path("a.en.gz"), Path("a.de.xz")) == ("en", "de")
    assert file_languages(Path("a.EN.txt"), Path("a.no.txt.zst")) == ("en", "no")
    assert file_languages(Path("a.eng_Latn"), Path("a.zh-TW")) == ("en", "zh")
    assert file_languages(None, Path("a.ref")) is None


def test_from_files_rejects_references_in_different_languages(tmp_path: Path) -> None:
    files = [Path(write_lines(tmp_path / name, REFERENCES)) for name in ("a.de", "a.no")]
    with pytest.raises(ValueError, match=r"a\.de and .*a\.no are in different languages.*--langpair"):
        from_files(None, files)
    assert from_files(None, files, ("en", "de")).references == [REFERENCES, REFERENCES]


def test_test_set_rejects_references_without_text() -> None:
    with pytest.raises(ValueError, match="all lines of the reference of x are empty"):
        TestSet("x", None, [["", " "], ["\t", ""]])


def test_find_test_set_fails_if_languages_are_unknown() -> None:
    with pytest.raises(ValueError, match=r"languages of wmt14 are not known\. Give --langpair"):
        find_test_set(Selection(sacrebleu_name="wmt14"), None)


def test_find_test_sets_fails_if_model_has_no_run_and_no_files_are_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config.yaml with data.test. Give --source"):
        find_test_sets(Selection(), make_folder(tmp_path))


@pytest.mark.parametrize("langpair", ["en", "-de", "en-"])
def test_parse_languages_rejects_other_forms(langpair: str) -> None:
    with pytest.raises(ValueError, match="give two languages, such as en-de"):
        parse_languages(langpair)
