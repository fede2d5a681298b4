"""Metrics that are omitted because of the script or the size of a text."""

import pytest
from sacrebleu.metrics import BLEU

from evaluate.metrics import limits, metric_choice
from evaluate.metrics.corpus_metrics import all_scores, bleu_score, score_text
from evaluate.metrics.limits import ShowProgress, check_comparable
from evaluate.metrics.metric_choice import MetricChoice, choose_metrics
from tests.evaluate.texts import HYPOTHESES, REFERENCES, WORSE


def test_choose_metrics_keeps_all_metrics_of_ordinary_text() -> None:
    assert choose_metrics("13a", HYPOTHESES, [REFERENCES]) == MetricChoice()


def test_choose_metrics_omits_ter_of_long_line() -> None:
    choice = choose_metrics("13a", ["x", "x " * 501], [["x", "x"]])
    assert choice.omitted == {"ter"}
    assert choice.notes == ("TER is omitted: line 2 of the translation has 501 words; at most 500",)
    assert "ter" not in all_scores(["x"], [["x"]], None, choice)
    assert choose_metrics("zh", ["天"], [["天" * 501]]).notes[0].startswith("TER is omitted: line 1 of the reference")
    assert (
        choose_metrics("13a", ["x"], [["x"], ["x " * 501]]).notes[0].startswith("TER is omitted: line 1 of reference 2")
    )
    assert choose_metrics("13a", ["x"], [["x"]], ["x " * 501]).omitted == {"ter"}


def test_choose_metrics_depends_on_script() -> None:
    assert choose_metrics("zh", ["天气"], [["天气"]]).asian
    thai = choose_metrics("char", ["อากาศ"], [["อากาศ"]])
    assert (thai.asian, thai.omitted) == (False, {"ter", "bleu_paper"})
    assert not choose_metrics("ko-mecab", ["날씨"], [["날씨"]]).omitted


def test_choose_metrics_omits_intervals_and_chrf_of_very_large_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_choice, "LINES", 5)
    assert choose_metrics("13a", HYPOTHESES, [REFERENCES]) == MetricChoice(
        intervals=False, notes=("confidence intervals are omitted: 6 lines; at most 5",)
    )
    monkeypatch.setattr(metric_choice, "CHARACTERS", 90)
    choice = choose_metrics("13a", HYPOTHESES, [REFERENCES])
    assert (choice.omitted, choice.intervals, choice.lengths) == ({"chrf2", "chrf++"}, False, False)


def test_choose_metrics_rejects_line_that_no_metric_can_score() -> None:
    with pytest.raises(ValueError, match="line 2 of the reference has 200,001 characters"):
        choose_metrics("13a", ["a", "a"], [["a", "a" * 200_001]])


def test_check_comparable_rejects_too_many_lines() -> None:
    check_comparable([["a"] * 10_000])
    with pytest.raises(ValueError, match="--baseline compares at most 10,000 lines"):
        check_comparable([["a"] * 10_001])


def test_show_progress_keeps_lines() -> None:
    lines = ShowProgress(REFERENCES)
    assert (list(lines), lines[0], len(lines)) == (REFERENCES, REFERENCES[0], 6)


def test_show_progress_prints_lines_if_metric_is_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("common.progress_bar.LINE_EVERY", 0)
    assert list(ShowProgress(REFERENCES)) == REFERENCES
    assert "scoring: 6 of 6 lines, 100%, " in capsys.readouterr().err


@pytest.mark.parametrize("hypotheses", [HYPOTHESES, WORSE, REFERENCES, ["y"] * 6])
def test_bleu_score_in_blocks_equals_corpus_score(hypotheses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    references = [REFERENCES, WORSE]
    expected = BLEU().corpus_score(hypotheses, references)
    monkeypatch.setattr(limits, "CHARACTERS", 60)
    assert len(list(limits.blocks(hypotheses, references))) > 2
    found = bleu_score(BLEU(), hypotheses, references)
    assert (found.score, found.ratio) == (expected.score, expected.ratio)
    score = score_text("BLEU", BLEU(), hypotheses, references, interval=False)
    assert (score.score, score.interval) == (expected.score, None)
    assert "nrefs:2|case" in score.signature
