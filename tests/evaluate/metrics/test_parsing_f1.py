"""Brackets of parsed trees are counted as EVALB counts them: examples whose figures were computed by hand."""

import pytest

from common.errors import InputError
from data_pipeline.trees import simplify
from evaluate.metrics.parsing_f1 import Brackets, ParsingReport, score_trees
from evaluate.report.parsing_text import parsing_json, parsing_text
from tests.trees import parse

DOG = "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat))) (. .)))"
DOG_PARSED = "(TOP (S (NP (DT The) (NN dog) (VBZ sees)) (NP (DT a) (JJ cat)) (. .)))"


def score(*pairs: tuple[str, str]) -> ParsingReport:
    """Return the scores of pairs of a gold tree and a parsed tree; "" is a sentence without a parse."""
    return score_trees([parse(gold) for gold, _ in pairs], [parse(other) if other else None for _, other in pairs])


def test_brackets_crossing_and_tags_of_one_tree() -> None:
    found = score((DOG, DOG_PARSED)).all
    # gold: S 0-5, NP 0-2, VP 2-5, NP 3-5; parsed: S 0-5, NP 0-3, NP 3-5, of which NP 0-3 crosses VP 2-5
    assert found.brackets == Brackets(gold=4, parsed=3, matched=2)
    assert found.brackets.precision == pytest.approx(200 / 3)
    assert found.brackets.recall == 50
    assert found.brackets.f1 == pytest.approx(400 / 7)
    assert (found.crossing, found.no_crossing, found.two_crossing, found.complete_match) == (1, 0, 100, 0)
    assert found.tagging_accuracy == 80  # 4 of 5 words: the full stop does not count


def test_sums_are_over_brackets_and_means_over_sentences() -> None:
    report = score((DOG, DOG_PARSED), (DOG, DOG), ("(TOP (NP (NN Rain)))", "(TOP (NP (NN Rain)))"))
    found = report.all
    assert found.brackets == Brackets(gold=9, parsed=8, matched=7)
    assert found.brackets.f1 == pytest.approx(1400 / 17)
    assert found.complete_match == pytest.approx(200 / 3)
    assert found.crossing == pytest.approx(1 / 3)
    assert found.tagging_accuracy == pytest.approx(1000 / 11)
    assert report.by_label() == {"NP": Brackets(5, 5, 4), "S": Brackets(2, 2, 2), "VP": Brackets(2, 1, 1)}


@pytest.mark.parametrize(
    "other",
    [
        "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat)) (. .))))",
        "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat)))) (. .))",
        "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat))) (X (: .))))",
        "( (S (NP-SBJ=2 (DT The) (NN dog)) (VP (VBZ sees) (NP-1 (DT a) (NN cat)) (NP (-NONE- *T*-1))) (. .)) )",
        "(ROOT (S (NP (DT The) (NN dog)) (VP (VBZ sees) (NP (DT a) (NN cat))) (, ,) (. .)))",
    ],
)
def test_punctuation_traces_functional_tags_and_root_do_not_count(other: str) -> None:
    for pair in ((DOG, other), (other, DOG)):
        found = score(pair).all
        assert (found.brackets, found.complete_match, found.errors) == (Brackets(4, 4, 4), 100, 0)


def test_advp_and_prt_are_the_same_label() -> None:
    report = score(("(TOP (VP (VB Go) (PRT (RP on))))", "(TOP (VP (VB Go) (ADVP (RB on))))"))
    assert report.all.brackets == Brackets(2, 2, 2)
    assert report.all.tagging_accuracy == 50
    assert report.by_label()["ADVP"] == Brackets(1, 1, 1)


@pytest.mark.parametrize(("gold", "parsed", "matched"), [(2, 1, 1), (2, 3, 2), (1, 2, 1), (2, 2, 2)])
def test_equal_brackets_match_one_to_one(gold: int, parsed: int, matched: int) -> None:
    one, other = (f"(TOP {'(NP ' * number}(NN Rain){')' * number})" for number in (gold, parsed))
    assert score((one, other)).all.brackets == Brackets(gold, parsed, matched)


def test_brackets_in_the_text_are_words() -> None:
    gold = "(TOP (NP (NN Rain) (PRN (-LRB- -LRB-) (NP (NN snow)) (-RRB- -RRB-))))"
    other = "(TOP (NP (NN Rain) (-LRB- -LRB-) (PRN (NP (NN snow)) (-RRB- -RRB-))))"
    assert score((gold, other)).all.brackets == Brackets(3, 3, 2)


def test_sentences_with_other_words_or_without_a_parse_do_not_count() -> None:
    more = DOG.replace("(. .)", "(NN .)")
    other = DOG.replace("cat", "cow")
    nothing = "(TOP (. The))"
    report = score((DOG, DOG_PARSED), (DOG, more), (DOG, other), (DOG, ""), (DOG, nothing))
    assert (report.all.sentences, report.all.errors, report.all.skipped) == (5, 2, 2)
    assert report.all.brackets == Brackets(4, 3, 2)
    assert parsing_json(report)["problems"] == {
        2: "without punctuation and traces, the gold tree has 5 words, the parsed tree 6",
        3: "the word 'cat' of the gold tree is 'cow' in the parsed tree",
        4: "no parse",
        5: "no parse",
    }
    assert "sentence 3 does not count: the word 'cat'" in parsing_text(report)


def test_lengths_include_punctuation_but_no_traces() -> None:
    def sentence(words: int) -> str:
        return f"(TOP (NP {'(NN a) ' * (words - 1)}(NP (-NONE- *)) (. .)))"

    report = score(*[(sentence(words), sentence(words)) for words in (2, 10, 11, 40, 41, 61)])
    assert report.short.sentences == 4
    groups = {name: found.sentences for name, found in report.by_length().items()}
    assert groups == {"1 to 10": 2, "11 to 20": 1, "31 to 40": 1, "41 to 60": 1, "over 60": 1}


def test_nothing_matches() -> None:
    found = score(("(TOP (NP (NN a)))", "(TOP (VP (NN a)))"), ("(TOP (NP (NN a)))", "")).all
    assert (found.brackets.precision, found.brackets.recall, found.brackets.f1) == (0, 0, 0)


def test_numbers_of_trees_must_be_equal() -> None:
    with pytest.raises(InputError, match="1 gold trees and 0 parsed trees"):
        score_trees([parse(DOG)], [])


def test_simplified_gold_trees_have_the_same_score() -> None:
    gold = parse("( (S (NP-SBJ-1 (PRP We)) (VP (VBP try) (S (NP (-NONE- *-1)) (VP (TO to) (VP (VB eat)))))) )")
    simple = simplify(gold)
    assert simple is not None
    parsed = [parse("(TOP (S (NP (PRP We)) (VP (VBP try) (PP (TO to) (VP (VB eat))))))")]
    assert score_trees([gold], parsed).all == score_trees([simple], parsed).all
