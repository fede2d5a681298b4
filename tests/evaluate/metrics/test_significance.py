"""Paired tests: p is sacreBLEU's own, and the baseline must be a translation of the same lines."""

import json
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from evaluate.evaluation import publish, write_translations
from evaluate.metrics.significance import Baseline, compare, read_baseline
from evaluate.report.report import make_report
from evaluate.test_sets import TestSet
from tests.evaluate.texts import HYPOTHESES, REFERENCES, WORSE, write_lines


def test_compare_returns_p_of_sacrebleu_paired_test() -> None:
    found = compare([REFERENCES], Baseline("other.json", WORSE), HYPOTHESES).differences
    for key, name, metric in (("bleu_13a", "BLEU", BLEU()), ("chrf2", "chrF2", CHRF())):
        for test, p in (("bs", found[key].p_bootstrap), ("ar", found[key].p_randomisation)):
            _, expected = PairedTest([("a", WORSE), ("b", HYPOTHESES)], {"c": metric}, [REFERENCES], test)()
            assert expected[name][1].p_value == p
            assert (expected[name][0].score, expected[name][1].score) == (found[key].baseline, found[key].score)


def test_compare_tests_ter_by_bootstrap_only() -> None:
    """Each test counts the edits of both texts again, which takes seconds."""
    found = compare([REFERENCES], Baseline("other.json", WORSE), HYPOTHESES)
    assert found.differences["ter"].p_randomisation is None
    assert 0 < found.differences["ter"].p_bootstrap < 1
    assert found.seed == "12345"


def test_compare_returns_p_1_for_equal_texts() -> None:
    found = compare([REFERENCES], Baseline("other.json", HYPOTHESES), list(HYPOTHESES)).differences
    assert {one.p_bootstrap for one in found.values()} == {1.0}
    assert {one.p_randomisation for one in found.values()} == {1.0, None}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Path of a report about WORSE, with its translations beside it."""
    write_translations(tmp_path, "other", WORSE)
    publish(make_report(TestSet("mine", None, [REFERENCES]), WORSE), tmp_path, "other", "x")
    return tmp_path / "other.json"


def test_read_baseline_returns_translations_of_report(report: Path) -> None:
    assert read_baseline(report, [REFERENCES]) == Baseline(str(report), WORSE)


def test_read_baseline_reads_report_of_earlier_version(report: Path) -> None:
    content = json.loads(report.read_text())
    content["corpus"] = content.pop("test_set")
    del content["hypotheses_sha256"]
    report.write_text(json.dumps(content))
    assert read_baseline(report, [REFERENCES]).hypotheses == WORSE
    with pytest.raises(ValueError, match=r"other\.json is a report on other references \(mine\)"):
        read_baseline(report, [["anders"]])


def test_read_baseline_rejects_other_references(report: Path) -> None:
    with pytest.raises(ValueError, match=r"other\.json is a report on other references \(mine\)"):
        read_baseline(report, [[*REFERENCES[:-1], "anders"]])


def test_read_baseline_rejects_translations_of_another_report(report: Path) -> None:
    write_lines(report.with_suffix(".hyp"), WORSE[:-1])
    with pytest.raises(ValueError, match=r"other\.hyp has 5 lines and the reference has 6"):
        read_baseline(report, [REFERENCES])
    write_lines(report.with_suffix(".hyp"), HYPOTHESES)
    with pytest.raises(ValueError, match=r"other\.hyp is not the translation that .*other\.json is about"):
        read_baseline(report, [REFERENCES])
    report.with_suffix(".hyp").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*other\.hyp\. Copy the translations"):
        read_baseline(report, [REFERENCES])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"bleu": 1}'])
def test_read_baseline_rejects_other_json_files(content: str, report: Path) -> None:
    report.write_text(content)
    with pytest.raises(ValueError, match="is not an evaluation report"):
        read_baseline(report, [REFERENCES])


def test_read_baseline_rejects_missing_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no report"):
        read_baseline(tmp_path / "none.json", [REFERENCES])
