"""The evaluation report: scores by length, worst sentences, and the report as JSON and as text."""

from dataclasses import replace

import pytest
from sacrebleu.metrics import CHRF

from evaluate.config import DecodeConfig
from evaluate.metrics.significance import Baseline
from evaluate.report.report import TranslationInfo, make_report
from evaluate.report.report_text import report_text, worst_text
from evaluate.report.scores import length_ratio, score_by_length, worst_sentences
from evaluate.test_sets import TestSet
from tests.evaluate.texts import HYPOTHESES, REFERENCES, SOURCES, WORSE

TEST_SET = TestSet("x", SOURCES, [REFERENCES])


def test_score_by_length_groups_sentences_by_source_words() -> None:
    sources = ["", "a " * 10, "a " * 11, "a " * 50, "a " * 51, "a " * 400]
    test_set = TestSet("x", sources, [["eins zwei drei vier"] * 6])
    hypotheses = ["eins zwei drei vier"] * 3 + ["eins zwei"] * 3
    groups = score_by_length(test_set, hypotheses)
    counts = [(group.words, group.sentences) for group in groups]
    assert counts == [("1–10", 2), ("11–20", 1), ("41–50", 1), ("51+", 2)]
    assert [group.length_ratio for group in groups] == [1, 1, 0.5, 0.5]
    assert [round(group.bleu) for group in groups[:2]] == [100, 100]
    assert length_ratio(test_set, hypotheses) == 18 / 24


def test_score_by_length_of_single_group_equals_corpus_scores() -> None:
    report = make_report(TEST_SET, HYPOTHESES)
    (group,) = report.by_length
    assert (group.bleu, group.chrf2) == (report.scores["bleu_13a"].score, report.scores["chrf2"].score)
    assert group.length_ratio == report.length_ratio


def test_worst_sentences_are_sorted_by_chrf2() -> None:
    worst = worst_sentences(TEST_SET, HYPOTHESES, [[] for _ in HYPOTHESES])
    scores = [sentence.chrf2 for sentence in worst]
    assert scores == sorted(scores)
    assert {sentence.line for sentence in worst} == set(range(1, 7))
    for sentence in worst:
        expected = CHRF().sentence_score(HYPOTHESES[sentence.line - 1], [REFERENCES[sentence.line - 1]]).score
        assert sentence.chrf2 == expected
    many = worst_sentences(TestSet("x", SOURCES * 9, [REFERENCES * 9]), HYPOTHESES * 9, [[]] * 54)
    assert len(many) == 20


def test_worst_text_has_source_output_and_reference() -> None:
    text = worst_text(make_report(TEST_SET, HYPOTHESES))
    assert text.split("\n\n")[1].splitlines()[1:] == [
        "  source     One two three.",
        "  output     One two three.",
        "  reference  Eins zwei drei.",
    ]
    assert "  source" not in worst_text(make_report(TestSet("x", None, [REFERENCES]), HYPOTHESES))


def test_report_lists_suspicious_translations_by_problem() -> None:
    report = make_report(TEST_SET, HYPOTHESES)
    assert {problem: lines for problem, lines in report.suspicious.items() if lines} == {"copied source": [6]}
    assert [sentence.problems for sentence in report.worst if sentence.line == 6] == [["copied source"]]
    assert "suspicious translations: 0 loop, 1 copied source, 0 too short" in report_text(report)


def test_report_json_has_all_fields_except_translations() -> None:
    found = make_report(TEST_SET, HYPOTHESES, baseline=Baseline("other.json", WORSE)).as_json()
    assert found["test_set"] == "x"
    assert found["bleu"] == found["scores"]["bleu_13a"]["score"]
    assert set(found) == {
        "test_set", "lines", "bleu", "signature", "bleu_lowercase", "signature_lowercase", "pronouns_right",
        "pronouns_all", "versions", "references_sha256", "hypotheses_sha256", "scores", "edition", "filtered",
        "comparable", "length_ratio", "by_length", "suspicious", "worst", "comet", "comparison",
        "tokenizer", "empty_lines", "notes",
    }  # fmt: skip


def test_report_text_prints_pronouns_only_if_there_are_some() -> None:
    lines = ["ein Haus"] * 9
    info = TranslationInfo(3.0, 1, "cpu", "float32", DecodeConfig())
    scored = make_report(TestSet("x", None, [lines]), lines, info)

    def text(pronouns: tuple[int, int] | None) -> str:
        return report_text(replace(scored, pronouns=pronouns))

    assert "pronouns that agree: 3 of 4 (75.0%)" in text((3, 4))
    assert "3.0 sentences/s" in text((3, 4))
    assert "pronouns" not in text(None)
    assert "pronouns" not in text((0, 0))


def test_report_text_prints_comparison_with_baseline() -> None:
    text = report_text(make_report(TEST_SET, HYPOTHESES, baseline=Baseline("other.json", WORSE)))
    (ter,) = [line for line in text.splitlines() if line.startswith("  TER") and "nrefs" not in line]
    assert ter.endswith("  –")
    assert "n=1000, and paired approximate randomisation, n=10000, seed 12345" in text
    assert "None of these scores is comparable with the paper's 27.3" in text


@pytest.mark.parametrize("lines", [["eins"], ["eins zwei", ""]])
def test_make_report_scores_test_sets_of_few_lines(lines: list[str]) -> None:
    """sacreBLEU cannot give TER's interval if some resamples have empty references only."""
    report = make_report(TestSet("x", None, [lines]), lines)
    assert report.length_ratio == 1
    assert report.scores["ter"].score == 0
    assert (report.scores["ter"].interval is None) == ("" in lines)
    assert "TER" in report_text(report)
