"""The report of a run, and the samples that it shows."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from common.errors import InputError
from tests import tiny_run
from tests.train import test_gpt_training, test_training
from train import loop
from train.run.metrics_log import read_log, read_samples
from train.run.report import clock, html_report, write_report
from train.run.report_samples import is_map, spread
from train.run.run_files import read_run
from train.run.samples import WORST, worst_translations
from train.tasks import SampleTranslation

BAD = "<script>alert(1)</script>&\"'"


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def translation_run(corpus: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a translator with two validations."""
    folder = tmp_path_factory.mktemp("runs") / BAD.replace("/", "")
    config = test_training.make_config(corpus, folder.parent, "train.max_steps=4", "validation.every=2")
    test_training.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a language model."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(test_gpt_training.TEXT)
    data = [f"data.train={folder / 'text.txt'}", f"data.cache_dir={folder / 'cache'}"]
    test_training.run(test_gpt_training.make_config(data), folder / "run")
    return folder / "run"


class Page(HTMLParser):
    """The elements of a page. Each must be closed in the right order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> Page:
    """Check that a page is well-formed, runs no script and loads nothing."""
    page = Page(text)
    assert "script" not in page.tags
    assert not [value for name, value in page.attributes if name in ("src", "href", "style") or name.startswith("on")]
    assert "default-src 'none'" in text
    return page


def test_train_writes_report_of_translation_run(translation_run: Path) -> None:
    text = (translation_run / "report.html").read_text()
    page = check_page(text)
    for title in ("Loss", "Perplexity", "BLEU", "Learning rate", "Gradient norm", "Target tokens", "Memory"):
        assert f"<figcaption>{title}" in text
    assert page.tags.count("svg") == 11  # seven curves, one legend of two lines, and two maps
    assert "Update 4 of 4: finished" in text
    assert "What was read and kept" in text
    assert "All compared properties" in text


def test_train_writes_report_of_language_model(text_run: Path) -> None:
    text = (text_run / "report.html").read_text()
    check_page(text)
    for part in ("Bits per character", "<h3>Update 12</h3>", "with the highest loss", "transformer.generate"):
        assert part in text
    assert "BLEU" not in re.sub(r"<caption>Facts.*", "", text)


def test_train_records_samples_at_each_validation(translation_run: Path, text_run: Path) -> None:
    for folder, kind in ((translation_run, "translations"), (text_run, "text")):
        lines = read_samples(folder)
        validations = [line["step"] for line in read_log(folder / "metrics.jsonl") if "valid_loss" in line]
        assert [line["step"] for line in lines] == validations
        for line in lines:
            assert line[kind]
            assert line["worst"]
            assert is_map(line["attention"])
            assert all(sum(row) < 1.1 for row in line["attention"]["weights"])
        assert lines[0]["attention"]["rows"] == lines[-1]["attention"]["rows"]


def test_timing_has_memory_and_seconds_of_report(translation_run: Path) -> None:
    lines = read_log(translation_run / "timing.jsonl")
    assert all(line["memory_mib"] > 50 for line in lines if "seconds_per_update" in line)
    assert [line["step"] for line in lines if "report_seconds" in line] == [2, 4]


def test_html_report_escapes_texts(translation_run: Path, tmp_path: Path) -> None:
    """The settings of the run, its samples and its data contain a script."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = (translation_run / "config.yaml").read_text()
    bad = json.dumps(BAD)
    settings = re.sub(r"train:\n  - .*\n  - .*\n", f"train:\n  - {bad}\n  - {bad}\n", settings, count=1)
    (folder / "config.yaml").write_text(settings)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1.5}\n')
    sample = {
        "translations": [[BAD] * 3], "worst": [[1.5, BAD, BAD, BAD]],
        "attention": {"rows": [BAD], "columns": [BAD], "weights": [[1]]},
    }  # fmt: skip
    (folder / "samples.jsonl").write_text(json.dumps({"step": 1, **sample}) + "\n")
    data = {"train": {BAD: 5}, "valid": {}, "notes": [BAD], "dropped": {"train": {BAD: [[BAD, BAD]]}}}
    (folder / "data_report.json").write_text(json.dumps(data))
    (folder / "paper_comparison.md").write_text(f"| {BAD} | differs |\n| --- | --- |\n| {BAD} | yes |\n")
    text = write_report(folder).read_text()
    check_page(text)
    assert text.count("&lt;script&gt;") > 15


@pytest.mark.parametrize(
    "line",
    [
        {"step": 1},
        {"step": 1, "translations": 5, "worst": "x", "attention": [], "text": 3},
        {"step": 1, "translations": [["a", "b"]], "worst": [["a", "b", "c", "d"]], "attention": {"rows": []}},
        {"step": 1, "translations": [["a", "b", None]], "worst": [[1, 2, 3, 4]]},
        {"step": 1, "attention": {"rows": ["a"], "columns": ["b"], "weights": [[2]]}},
        {"step": 1, "attention": {"rows": ["a"], "columns": ["b"], "weights": [["c"]]}},
        {"step": 1, "attention": {"rows": ["a"], "columns": ["b", "c"], "weights": [[1]]}},
    ],
)
def test_report_leaves_out_samples_that_no_run_writes(line: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_run.make_folder(tmp_path / "run")
    (folder / "samples.jsonl").write_text(f"{json.dumps(line)}\n[1]\n{{}}\n{{")
    (folder / "data_report.json").write_text('{"train": 5, "valid": [], "dropped": {"train": 7}, "notes": 3}')
    assert "recorded yet" in write_report(folder).read_text()


def test_report_of_run_of_earlier_version_says_what_is_missing(tmp_path: Path) -> None:
    text = write_report(tiny_run.make_folder(tmp_path / "run")).read_text()
    check_page(text)
    for sentence in (
        "No samples yet",
        "No attention recorded yet",
        "data_report.json is missing",
        "There is no compar",
    ):
        assert sentence in text


def test_failed_report_is_warning_and_training_continues(
    corpus: dict[str, list[str]], translation_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(loop, "make_samples", fail)
    monkeypatch.setattr(loop, "write_report", fail)
    config = test_training.make_config(corpus, translation_run.parent, "train.max_steps=4", "validation.every=2")
    found = test_training.run(config, tmp_path / "run")
    assert found == read_log(translation_run / "metrics.jsonl")
    assert (tmp_path / "run/model.safetensors").read_bytes() == (translation_run / "model.safetensors").read_bytes()
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 3
    assert "report.html was not written (ZeroDivisionError: a bug)" in warnings[0]


def test_read_run_accepts_run_in_progress(translation_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_bytes((translation_run / "config.yaml").read_bytes())
    for log in ("metrics.jsonl", "timing.jsonl", "samples.jsonl"):
        whole = (translation_run / log).read_bytes()
        (folder / log).write_bytes(whole[: len(whole) // 2])
    text = html_report(read_run(folder))
    assert "not finished" in text
    assert "Resume the run" in text


def test_read_run_rejects_folder_without_settings(tmp_path: Path) -> None:
    with pytest.raises((InputError, OSError), match=r"config\.yaml"):
        read_run(tmp_path)


def test_worst_translations_are_those_with_lowest_chrf() -> None:
    good = [SampleTranslation(f"s{n}", "Das ist ein Haus.", "Das ist ein Haus.") for n in range(20)]
    bad = [SampleTranslation("x", "Das ist ein Haus.", ""), SampleTranslation("y", "Das ist ein Haus.", "Das Haus")]
    found = worst_translations([*good, *bad])
    assert len(found) == WORST
    assert [row[1] for row in found[:3]] == ["x", "y", "s0"]
    assert found[0][0] == 0


def test_spread_keeps_first_and_last() -> None:
    assert spread(range(3), 6) == [0, 1, 2]
    assert spread(range(101), 6) == [0, 20, 40, 60, 80, 100]


@pytest.mark.parametrize(("seconds", "text"), [(4.24, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_clock_names_units(seconds: float, text: str) -> None:
    assert clock(seconds) == text
