"""Comparison of runs: groups of seeds, tests on saved translations, what is refused, and the page."""

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from common.errors import InputError
from common.files import write_json
from common.settings import dump_settings, load_settings
from evaluate.evaluation import write_translations
from evaluate.metrics.bleu_tokenizer import open_bleu
from evaluate.metrics.newstest2014 import digest
from evaluate.test_sets import Selection, TestSet
from tests.evaluate.texts import HYPOTHESES, REFERENCES, SOURCES, WORSE, write_lines
from train import compare
from train.comparison.comparison import compare_runs, evaluate_validation
from train.comparison.page import html_comparison
from train.comparison.runs import group_runs, read_runs
from train.comparison.text import comparison_text
from train.config import RunConfig

NOTHING = Selection()


@pytest.fixture
def texts(tmp_path: Path) -> tuple[str, str]:
    return write_lines(tmp_path / "test.en", SOURCES), write_lines(tmp_path / "test.de", REFERENCES)


def make_run(
    folder: Path, texts: tuple[str, str], hypotheses: list[str] | None, *overrides: str, loss: float = 2.0
) -> Path:
    """Write the files of a run that the comparison reads, with an evaluation report if there are hypotheses."""
    folder.mkdir(parents=True)
    files = [f"data.{role}=[{','.join(texts)}]" for role in ("train", "valid", "test")]
    settings = [*files, "train.max_steps=20", "model.n_layers=2", "model.d_model=32", "model.n_heads=2", *overrides]
    config = load_settings(RunConfig, None, settings)
    (folder / "config.yaml").write_text(dump_settings(config), encoding="utf-8")
    write_json(folder / "identity.json", {"data": "x", "plan": 1, "prepared": {"valid.jsonl": "1"}, "files": []})
    metrics = [{"step": s, "loss": loss + 3 / s, "lr": 0.001, "gradient_norm": 0.5} for s in (10, 20)]
    metrics += [{"step": s, "valid_loss": loss + 2 / s, "valid_ppl": 7.0, "valid_bleu": 10.0 + s} for s in (10, 20)]
    timing = [{"step": s, "time": 1.0, "seconds_per_update": 6.0, "tgt_tokens_per_second": 500.0} for s in (10, 20)]
    for name, lines in {"metrics": metrics, "timing": timing}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if hypotheses is not None:
        evaluate(folder, TestSet("test.en", SOURCES, [REFERENCES]), hypotheses)
    return folder


def evaluate(folder: Path, test_set: TestSet, hypotheses: list[str], **changes: str) -> None:
    (folder / "eval").mkdir(exist_ok=True)
    write_translations(folder / "eval", test_set.name, hypotheses)
    bleu = open_bleu("13a")
    report = {
        "test_set": test_set.name,
        "bleu": bleu.corpus_score(hypotheses, test_set.references).score,
        "signature": "nrefs:1|tok:13a",
        "tokenizer": "13a",
        "scores": {"chrf2": {"score": 50.0}},
        "references_sha256": [digest(lines) for lines in test_set.references],
        "hypotheses_sha256": digest(hypotheses),
    }
    write_json(folder / "eval" / f"{test_set.name}.json", report | changes)


def test_runs_that_differ_in_seed_form_group(texts: tuple[str, str], tmp_path: Path) -> None:
    names = {"a-seed1": "", "a-seed2": "train.seed=2", "a-seed3": "train.seed=3", "b": "model.dropout=0.3"}
    folders = [
        make_run(tmp_path / n, texts, None, *filter(None, [o]), loss=i) for i, (n, o) in enumerate(names.items(), 1)
    ]
    groups = group_runs(read_runs(folders))
    assert [(group.label, len(group.runs)) for group in groups] == [("a (3 seeds)", 3), ("b", 1)]
    found = compare_runs(folders, NOTHING)
    row = dict(zip(found.figures[0], found.figures[1], strict=True))
    assert row["validation loss (last)"] == "2.1000 ± 1.0000"
    assert (row["minutes"], row["updates"]) == ("2.0", "20")
    curve = groups[0].curve("valid_loss", by_minutes=True)
    assert curve.points == [(1.0, pytest.approx(2.2)), (2.0, pytest.approx(2.1))]
    assert curve.band == [(1.0, pytest.approx(1.2), pytest.approx(3.2)), (2.0, pytest.approx(1.1), pytest.approx(3.1))]


def test_run_with_other_data_or_length_is_no_seed_of_group(texts: tuple[str, str], tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", texts, None), make_run(tmp_path / "b", texts, None, "train.max_steps=30")]
    folders.append(make_run(tmp_path / "c", texts, None))
    write_json(tmp_path / "c/identity.json", {"data": "y", "plan": 1, "prepared": {"valid.jsonl": "2"}, "files": []})
    assert [group.label for group in group_runs(read_runs(folders))] == ["a", "b", "c"]
    notes = "\n".join(compare_runs(folders, NOTHING).notes)
    assert "b has done 20 of 30 updates." in notes
    assert "The validation data differ" in notes


def test_saved_translations_are_tested(texts: tuple[str, str], tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", texts, WORSE), make_run(tmp_path / "b", texts, HYPOTHESES, "model.dropout=0.3")
    (found,) = compare_runs([a, b], NOTHING).test_sets
    assert [one.metric for one in found.differences] == ["BLEU 13a", "chrF2", "TER, lower-cased"]
    assert all(0 < one.p <= 1 for one in found.differences)
    assert found.differences[0].change > 0
    best = found.examples[0]
    assert (best.source, best.reference) == (SOURCES[best.line - 1], REFERENCES[best.line - 1])
    assert best.translations == [WORSE[best.line - 1], HYPOTHESES[best.line - 1]]


def test_seeds_are_tested_together(texts: tuple[str, str], tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a1", texts, WORSE), make_run(tmp_path / "a2", texts, WORSE, "train.seed=2")
    c = make_run(tmp_path / "c", texts, HYPOTHESES, "model.dropout=0.3")
    (found,) = compare_runs([a, b, c], NOTHING).test_sets
    (difference,) = found.differences
    assert (difference.metric, difference.group) == ("mean BLEU 13a", "c")
    assert found.rows[1][:2] == ["a (2 seeds)", f"{difference.baseline:.2f}"]


def test_other_test_set_or_signature_is_not_tested(texts: tuple[str, str], tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", texts, WORSE), make_run(tmp_path / "b", texts, None, "model.dropout=0.3")
    evaluate(b, TestSet("other", None, [[line + " x" for line in REFERENCES]]), HYPOTHESES)
    found = compare_runs([a, b], NOTHING)
    assert found.test_sets == []
    assert "no evaluation report on a common test set" in found.notes[-1]
    assert "test.en" in found.notes[-2]
    evaluate(b, TestSet("test.en", SOURCES, [REFERENCES]), HYPOTHESES, signature="nrefs:1|tok:none")
    (one,) = compare_runs([a, b], NOTHING).test_sets
    assert one.differences == []
    assert "The BLEU scores have different signatures" in one.notes[0]


def test_references_that_are_not_known_are_asked_for(texts: tuple[str, str], tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", texts, WORSE), make_run(tmp_path / "b", texts, HYPOTHESES, "model.dropout=0.3")
    moved = [Path(text).rename(tmp_path / f"moved{Path(text).suffix}") for text in texts]
    found = compare_runs([a, b], NOTHING)
    assert "Give them with --source and --reference" in found.test_sets[0].notes[0]
    assert any("the test set of data.test cannot be read" in note for note in found.notes)
    assert compare_runs([a, b], Selection(moved[0], (moved[1],))).test_sets[0].differences


def test_changed_translations_are_not_tested(texts: tuple[str, str], tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", texts, WORSE), make_run(tmp_path / "b", texts, HYPOTHESES, "model.dropout=0.3")
    write_translations(b / "eval", "test.en", WORSE)
    assert "b: test.en.hyp is not the translation that test.en.json is about." in compare_runs([a, b], NOTHING).notes
    (a / "eval/test.en.hyp").unlink()
    assert "a: test.en.hyp is missing, so test.en.json cannot be tested." in compare_runs([a, b], NOTHING).notes


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["a"], "give at least two run folders"),
        (["a", "a"], "given twice"),
        (["a", "none"], "is not a run folder: it has no config.yaml"),
        (["a", "gpt"], r"runs of different tasks cannot be compared: a \(translation\) and gpt \(language_modelling\)"),
    ],
)
def test_folders_that_cannot_be_compared(
    folders: list[str], message: str, texts: tuple[str, str], tmp_path: Path
) -> None:
    make_run(tmp_path / "a", texts, None)
    make_run(tmp_path / "gpt", texts, None, "data.task=language_modelling", "model.architecture=gpt", "data.test=null")
    with pytest.raises((InputError, FileNotFoundError), match=message):
        compare_runs([tmp_path / folder for folder in folders], NOTHING)


def test_validation_needs_model(texts: tuple[str, str], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", texts, None)
    (run,) = [run for run in read_runs([folder, make_run(tmp_path / "b", texts, None)]) if run.name == "a"]
    with pytest.raises(InputError, match="has no model yet"):
        evaluate_validation(run)


class Text(HTMLParser):
    """Collects the text of a page and checks that every element ends."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "line", "circle", "path", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "path", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_command_writes_page_and_prints_table(
    texts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = [line.replace("Haus", "<script>alert(1)</script>") for line in WORSE]
    runs = [
        make_run(tmp_path / "a", texts, hostile),
        make_run(tmp_path / "<b>", texts, HYPOTHESES, "model.dropout=0.3"),
    ]
    page = tmp_path / "out.html"
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, runs), "--html", str(page)])
    compare.main()
    printed = capsys.readouterr().out
    assert re.search(r"^<b> +[\d,]+ +20 ", printed, re.M)
    assert "BLEU 13a compared with a, p = " in printed
    assert printed.endswith(f"written to {page}\n")
    html = page.read_text(encoding="utf-8")
    found = Text(html)
    assert found.open == []
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    for text in ("<script>alert(1)</script>", "Curves", "by minutes of training", "model.dropout", "Test set test.en"):
        assert text in found.text
    assert html.count("<svg role") == 12, "six curves, by update and by minutes"


def test_page_of_runs_without_logs(texts: tuple[str, str], tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, texts, None) for name in "ab"]
    for folder in folders:
        (folder / "metrics.jsonl").unlink()
        (folder / "timing.jsonl").unlink()
    found = compare_runs(folders, NOTHING)
    assert "Nothing has been logged yet." in html_comparison(found)
    assert "All settings are equal, except the seed." in html_comparison(replace(found, notes=[]))
    assert comparison_text(found).startswith("run")
