"""The report card: its figures are sacreBLEU's own, what it flags is wrong, and two systems are compared fairly."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics import CHRF
from sacrebleu.significance import PairedTest

from common.command import run_command
from evaluate import bleu
from evaluate.metrics.corpus_metrics import sacrebleu_measures
from evaluate.metrics.significance import Baseline, compare, read_baseline
from evaluate.report.report import evaluate_corpus
from evaluate.report.scores import Card, make_card
from evaluate.report.suspicious import find_flags
from evaluate.test_sets import Corpus, from_files
from tests.tiny_model import make_folder

SOURCES = [
    "The house is very big.",
    "He said: no!",
    "",
    "A “new” rule — for 3.5% of us.",
    "I see it.",
    "One two three.",
]
REFERENCES = [
    "Das Haus ist sehr groß.",
    "Er sagte: nein!",
    "",
    "Eine „neue“ Regel – für 3,5% von uns.",
    "Ich sehe es.",
    "Eins zwei drei.",
]
HYPOTHESES = [
    "Das Haus ist Sehr groß.",
    "er sagt: nein!",
    "",
    "Die „neue“ Regel für 3,5% von uns.",
    "Es sehe ich",
    "One two three.",
]
WORSE = ["Haus ist gross", "er sagt", "x", "Die Regel für uns.", "Es", "One two three."]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bleu.py", *args])
    bleu.main()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {"test.en": SOURCES, "test.de": REFERENCES, "ours.txt": HYPOTHESES, "theirs.txt": WORSE}
    return {name: write(tmp_path / name, lines) for name, lines in texts.items()}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["-m", "bleu", "chrf", "ter"], ["bleu_13a", "chrf2", "ter"]),
        (["-m", "bleu", "chrf", "-lc", "--chrf-word-order", "2"], ["bleu_13a_lc", None]),
        (["-m", "bleu", "chrf", "-tok", "intl", "--chrf-word-order", "2"], ["bleu_intl", "chrf++"]),
        (["-m", "bleu", "-tok", "intl", "-lc"], ["bleu_intl_lc"]),
    ],
)
def test_figures_intervals_and_signatures_are_those_of_sacrebleus_command_line(
    options: list[str], keys: list[str | None], files: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "sacrebleu", files["test.de"], "-i", files["ours.txt"], "--confidence", "-w", "9"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    theirs = theirs if isinstance(theirs, list) else [theirs]
    measures = sacrebleu_measures([REFERENCES])
    for key, found in zip(keys, theirs, strict=True):
        if key is None:
            continue
        ours = measures[key].figure(HYPOTHESES)
        assert ours.score == pytest.approx(found["score"], abs=1e-8), key
        assert (ours.mean, ours.interval) == pytest.approx(
            (found["confidence_mean"], found["confidence_var"]), abs=1e-8
        )
        assert ours.signature == found["signature"]


def test_the_statistics_that_are_kept_are_of_that_text() -> None:
    measure = sacrebleu_measures([REFERENCES])["ter"]
    first, other = measure.figure(HYPOTHESES), measure.figure(WORSE)
    assert first.score < other.score
    assert measure.figure(HYPOTHESES) == first


def card_of(corpus: Corpus, hypotheses: list[str]) -> Card:
    return make_card(sacrebleu_measures(corpus.references), corpus, hypotheses)


def test_buckets_hold_every_sentence_once_by_words_of_the_source() -> None:
    sources = ["", "a " * 10, "a " * 11, "a " * 50, "a " * 51, "a " * 400]
    card = card_of(Corpus("x", sources, [["eins zwei drei vier"] * 6]), ["eins zwei drei vier"] * 3 + ["eins zwei"] * 3)
    assert [(bucket.words, bucket.sentences) for bucket in card.buckets] == [
        ("1–10", 2),
        ("11–20", 1),
        ("41–50", 1),
        ("51+", 2),
    ]
    assert [bucket.length_ratio for bucket in card.buckets] == [1, 1, 0.5, 0.5]
    assert [round(bucket.bleu_13a) for bucket in card.buckets[:2]] == [100, 100]
    assert card.length_ratio == 18 / 24


def test_the_worst_sentences_come_first_with_their_lines() -> None:
    card = card_of(Corpus("x", SOURCES, [REFERENCES]), HYPOTHESES)
    scores = [sentence.chrf2 for sentence in card.worst]
    assert scores == sorted(scores)
    assert {sentence.line for sentence in card.worst} == set(range(1, 7))
    assert "One two three." in card.worst_text().split("\n\n")[1]
    assert len(card_of(Corpus("x", SOURCES * 9, [REFERENCES * 9]), HYPOTHESES * 9).worst) == 20


def test_without_a_target_language_the_papers_measure_is_left_out() -> None:
    known = Corpus("x", SOURCES, [REFERENCES], languages=("en", "de"))
    assert "bleu_paper" in card_of(known, HYPOTHESES).figures
    assert "bleu_paper" not in card_of(Corpus("x", SOURCES, [REFERENCES]), HYPOTHESES).figures


@pytest.mark.parametrize(
    ("source", "hypothesis", "reference", "flags"),
    [
        ("I go home now.", "Ich gehe jetzt nach Hause.", "Ich gehe jetzt heim.", []),
        ("I go home.", "Ich gehe, ich gehe, ich gehe, heim.", "Ich gehe heim.", ["loop", "too long"]),
        ("No, no, no, no!", "Nein, nein, nein, nein!", "Nein, nein!", []),  # so does the source
        ("A very good one.", "Ein sehr sehr guter.", "Ein sehr guter.", []),  # twice is no loop
        ("Well then.", "Na dann ...“", "Nun gut.", []),  # three dots are one mark
        ("Saxons.", "Sachsachsachsachsachsen.", "Sachsen.", ["loop"]),  # inside a word
        ("It costs 1000000 euros.", "Es kostet 1000000 Euro.", "Es kostet 1000000 Euro.", []),
        ("The dog sees a cat.", "The dog sees a cat.", "Der Hund sieht eine Katze.", ["copied source"]),
        ("The dog sees a cat.", "Der dog sees a Katze.", "Der Hund sieht eine Katze.", ["copied source"]),
        ("Angela Merkel, CDU (2014)", "Angela Merkel, CDU (2014)", "Angela Merkel, CDU (2014)", []),
        ("Hotel Adlon", "Hotel Adlon", "Das Adlon", []),  # too short to tell
        ("One two three four five six.", "Eins.", "Eins zwei drei vier fünf sechs.", ["too short"]),
        ("No.", "Nein.", "Auf keinen Fall.", []),  # a few words are no matter
        ("Yes.", "Ja, das ist ganz gewiss so.", "Ja.", ["too long"]),
        ("Yes.", " ", "Ja.", ["empty"]),
        ("", "", "", []),
    ],
)
def test_flags_are_raised_where_something_is_wrong(
    source: str, hypothesis: str, reference: str, flags: list[str]
) -> None:
    assert find_flags(source, hypothesis, [reference]) == flags


def test_without_a_source_loops_are_those_that_the_references_have_not() -> None:
    assert find_flags(None, "ja ja ja ja", ["ja ja ja ja"]) == []
    assert find_flags(None, "ja ja ja ja", ["ja doch ja eben"]) == ["loop"]
    assert find_flags(None, "", ["ja"]) == ["empty"]


def test_any_reference_of_the_right_length_is_enough() -> None:
    assert find_flags("A b.", "a b c d e f g h", ["a b", "a b c d e f g"]) == []


def test_a_text_is_scored_without_a_model_and_serves_as_baseline(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--reference", files["test.de"], "--output", str(tmp_path / "out")]
    run(monkeypatch, "--hypotheses", files["theirs.txt"], *common)
    (theirs,) = (tmp_path / "out").glob("*theirs*.json")
    run(
        monkeypatch, "--hypotheses", files["ours.txt"], "--source", files["test.en"], *common, "--baseline", str(theirs)
    )
    (ours,) = (tmp_path / "out").glob("*ours*.json")
    report = json.loads(ours.read_text())
    assert (report["lines"], report["comparison"]["baseline"]) == (6, str(theirs))
    found = report["comparison"]["differences"]["bleu_13a"]
    assert found["score"] == report["bleu"] == report["figures"]["bleu_13a"]["score"]
    assert found["baseline"] == json.loads(theirs.read_text())["bleu"]
    out = capsys.readouterr().out
    assert "p (bootstrap)" in out
    assert "n=1000, and paired approximate randomisation, n=10000, seed 12345" in out
    assert "None of these is comparable with the paper's 27.3" in out
    assert "loop, 1 copied source" in out
    assert ours.with_suffix(".hyp").read_text().splitlines() == HYPOTHESES
    assert ours.with_suffix(".worst.txt").is_file()


def test_p_values_are_sacrebleus_own() -> None:
    baseline = read_from(WORSE)
    ours = compare(sacrebleu_measures([REFERENCES]), baseline, HYPOTHESES).differences["chrf2"]
    for test, p in (("bs", ours.p_bootstrap), ("ar", ours.p_randomisation)):
        _, found = PairedTest([("a", WORSE), ("b", HYPOTHESES)], {"c": CHRF()}, [REFERENCES], test)()
        assert found["chrF2"][1].p_value == p
        assert found["chrF2"][1].score == ours.score


def test_a_text_is_no_better_than_itself() -> None:
    found = compare(sacrebleu_measures([REFERENCES]), read_from(HYPOTHESES), list(HYPOTHESES))
    assert {(one.p_bootstrap, one.p_randomisation) for one in found.differences.values()} == {(1.0, 1.0)}


def read_from(lines: list[str]) -> Baseline:
    return Baseline("other.json", lines)


def test_a_baseline_on_other_lines_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    evaluate_corpus(Corpus("mine", None, [REFERENCES]), WORSE).save(tmp_path, "other", "x")
    report = tmp_path / "other.json"
    assert read_baseline(report, [REFERENCES]).hypotheses == WORSE
    with pytest.raises(ValueError, match=r"other\.json is a report on other references \(mine\)"):
        read_baseline(report, [[*REFERENCES[:-1], "anders"]])
    write(report.with_suffix(".hyp"), WORSE[:-1])
    with pytest.raises(ValueError, match=r"other\.hyp has 5 lines and the reference has 6"):
        read_baseline(report, [REFERENCES])
    report.with_suffix(".hyp").unlink()
    with pytest.raises(FileNotFoundError, match=r"other\.hyp: the translations .* must lie beside it"):
        read_baseline(report, [REFERENCES])
    for content in ("{", "[]", "{}", '{"bleu": 1}'):
        report.write_text(content)
        with pytest.raises(ValueError, match="is no report that can be compared with"):
            read_baseline(report, [REFERENCES])
    with pytest.raises(FileNotFoundError, match="no report"):
        read_baseline(tmp_path / "none.json", [REFERENCES])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ours.txt": b"one\n"}, r"ours.txt has 1 lines and .*test.de has 6"),
        ({"test.de": b"eins\n"}, r"test.en has 6 lines and .*test.de has 1"),
        ({"ours.txt": b""}, r"ours.txt has 0 lines"),
        ({"test.de": b"", "test.en": b""}, r"has no line"),
        ({"ours.txt": b"a\n\xff\n"}, r"ours.txt, line 2: byte 0xff is not UTF-8"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    change: dict[str, bytes],
    message: str,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in change.items():
        (tmp_path / name).write_bytes(content)
    options = [
        *("--hypotheses", files["ours.txt"]),
        *("--source", files["test.en"]),
        *("--reference", files["test.de"]),
    ]
    monkeypatch.setattr(sys, "argv", ["bleu.py", *options])
    with pytest.raises(SystemExit, match="2"):
        run_command(bleu.main)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("source", "reference", "options", "warned"),
    [
        ("a.en", "a.de", [], None),
        ("a.en.gz", "a.de.xz", [], None),
        ("a.en", "a.fr", [], "a.en is en-fr and the model translates en-de"),
        ("a.txt", "a.fr", [], "a.txt is ?-fr and the model translates en-de"),
        ("a.txt", "b.txt", [], None),
        ("a.txt", "b.txt", ["--langpair", "cs-en"], "a.txt is cs-en and the model translates en-de"),
    ],
)
def test_languages_other_than_the_models_are_warned_of(
    source: str,
    reference: str,
    options: list[str],
    warned: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("evaluate.test_sets.read_file", lambda file: ["x"])
    folder = make_folder(tmp_path / "model")
    names = ["--source", str(tmp_path / source), "--reference", str(tmp_path / reference)]
    monkeypatch.setattr(sys, "argv", ["bleu.py", "--model", str(folder), *names, *options])
    languages = bleu.model_languages(folder)
    bleu.warn_of_other_languages(bleu.one_corpus(bleu.parse_args(), languages), languages)
    err = capsys.readouterr().err
    assert err == (f"warning: {tmp_path}/{warned}\n" if warned else "")


def test_languages_are_read_from_the_names_of_files(files: dict[str, str]) -> None:
    assert from_files(Path(files["test.en"]), Path(files["test.de"])).languages == ("en", "de")
    assert from_files(None, Path(files["test.de"])).languages == ("", "de")
    assert from_files(None, Path(files["ours.txt"])).languages is None


@pytest.mark.parametrize("langpair", ["en", "-de", "en-"])
def test_a_language_pair_is_two_languages(langpair: str) -> None:
    with pytest.raises(ValueError, match="give two languages, such as en-de"):
        bleu.parse_langpair(langpair)
