"""The paper's measure: Moses' tokens, compounds split, multi-bleu's count, worked out by hand."""

import math

import pytest

from evaluate.metrics.corpus_metrics import paper_score
from evaluate.metrics.newstest2014 import comparable_with_paper, digest, filtered_rows, find_edition
from evaluate.metrics.paper_bleu import multi_bleu, prepare, split_compounds

AT = "##AT##-##AT##"
HYPOTHESES = ["Der Science-Fiction-Film ist gut.", "Das Haus ist klein."]
REFERENCES = ["Der Science-Fiction-Film war gut.", "Das kleine Haus ist schön, sagt er."]


def test_paper_score_equals_example_computed_by_hand() -> None:
    # hypothesis 1: Der Science AT Fiction AT Film ist gut .      9 tokens; reference 1 has "war" for "ist": 9
    #   1-grams 8 of 9 (all but "ist"); 2-grams 6 of 8 (not "Film ist", "ist gut");
    #   3-grams 4 of 7 (those up to "AT Film"); 4-grams 3 of 6
    # hypothesis 2: Das Haus ist klein .                          5 tokens
    # reference 2:  Das kleine Haus ist schön , sagt er .         9 tokens
    #   1-grams 4 of 5 (not "klein"); 2-grams 1 of 4 ("Haus ist"); 3-grams 0 of 3; 4-grams 0 of 2
    # together: 12/14, 7/12, 4/10, 3/8; 14 tokens for 18, so the brevity penalty is exp(1 - 18/14)
    by_hand = 100 * math.exp(1 - 18 / 14) * (12 / 14 * 7 / 12 * 4 / 10 * 3 / 8) ** (1 / 4)
    found = paper_score(HYPOTHESES, [REFERENCES], "de")
    assert found.score == pytest.approx(by_hand, abs=1e-9)
    assert f"{found.score:.2f}" == "39.33"


def test_multi_bleu_counts_equal_example_computed_by_hand() -> None:
    found = multi_bleu().corpus_score(prepare(HYPOTHESES, "de"), [prepare(REFERENCES, "de")])
    assert (found.counts, found.totals) == ([12, 7, 4, 3], [14, 12, 10, 8])
    assert (found.sys_len, found.ref_len) == (14, 18)


def test_paper_score_does_not_smooth_zero_counts() -> None:
    # 1-grams 4 of 4, 2-grams 1 of 3 ("a b"), no longer one: BLEU is 0
    assert paper_score(["b d a b"], [["a b d e a b"]], "de").score == pytest.approx(0)
    assert paper_score(["a b c d e"], [["a b c d e"]], "de").score == pytest.approx(100)


def test_paper_score_signature_names_tokenizer() -> None:
    signature = paper_score(HYPOTHESES, [REFERENCES], "de").signature
    assert "case:mixed|eff:no|tok:moses-de+compounds|sacremoses:" in signature
    assert "smooth:none" in signature


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Science-Fiction", f"Science {AT} Fiction"),
        ("ab-cd-ef", f"ab {AT} cd {AT} ef"),
        ("a-b-c", f"a {AT} b-c"),  # b belongs to the first match, so none begins at it
        ("a-ö-c", f"a {AT} ö {AT} c"),  # Perl reads bytes, and ö is two
        ("5-4-Sieg", f"5 {AT} 4-Sieg"),
        ("a--b", f"a {AT} -b"),
        ("- a- -b a - b", "- a- -b a - b"),
        ("a\u2013b", "a\u2013b"),  # a dash is no hyphen
    ],
)
def test_split_compounds_equals_perl(text: str, split: str) -> None:
    assert split_compounds(text) == split


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Er sagt: „Gut“, mehr.", "Er sagt : „ Gut &quot; , mehr ."),
        ("Müller & Söhne [3,5 %]", "Müller &amp; Söhne &#91; 3,5 % &#93;"),
        ("z.B. am 3. Mai um 9.30 Uhr …", "z.B. am 3. Mai um 9.30 Uhr ..."),
        ("  Tab\there  ", "Tab here"),
        ("", ""),
    ],
)
def test_prepare_normalises_tokenizes_and_escapes_like_script(text: str, tokens: str) -> None:
    assert prepare([text], "de") == [tokens]


def test_prepare_splits_apostrophes_by_language() -> None:
    assert prepare(["l'art"], "fr") == ["l&apos; art"]
    assert prepare(["it's"], "en") == ["it &apos;s"]


def test_filtered_rows_returns_2737_lines() -> None:
    rows = filtered_rows()
    assert len(rows) == len(set(rows)) == 2737
    assert rows == sorted(rows)
    assert (rows[0], rows[-1]) == (0, 3002)


def test_digest_does_not_depend_on_white_space_and_unicode_form() -> None:
    assert digest(["Größe  a", "b"]) == digest(["Gro\u0308ße\u00a0a ", "b"])
    assert digest(["a", "b"]) != digest(["ab", ""])


@pytest.mark.parametrize(
    ("name", "languages", "edition"),
    [
        ("wmt14/full", ("en", "de"), "all"),
        ("wmt14", ("en", "de"), "filtered"),
        ("wmt14/full", ("de", "en"), None),
        ("wmt14/full", ("en", "fr"), None),
        ("wmt13", ("en", "de"), None),
    ],
)
def test_find_edition_accepts_sacrebleu_names(name: str, languages: tuple[str, str], edition: str | None) -> None:
    assert find_edition(name, languages, [["x"]]) == edition


@pytest.mark.parametrize("lines", [3003, 2737])
def test_find_edition_does_not_depend_on_number_of_lines(lines: int) -> None:
    assert find_edition(None, ("en", "de"), [["x"] * lines]) is None


def test_comparable_with_paper_accepts_only_compound_split_bleu_on_all() -> None:
    assert "only compound-split BLEU is comparable with the paper's 27.3" in comparable_with_paper("all", True)
    assert all(
        comparable_with_paper(*case).startswith("None of these scores is")
        for case in (("all", False), ("filtered", True), (None, True))
    )
