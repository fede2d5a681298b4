"""New training text by a teacher: what is written, and what remains after a process was killed."""

import gzip
import shlex
import sys
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import pytest

from common.errors import InputError
from common.settings import load_section
from common.text_input import read_all_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import read_pairs
from evaluate.config import DecodeConfig
from evaluate.translation_writer import TranslationWriter
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from train import distill, distillation
from train.distillation import PairFiles, corpus_lines, describe_result, find_side, text_lines

PAIRS = [(f"{word} house {n}.", f"{word} Haus {n}.") for n, word in enumerate(["A", "the", "", "old", "big"])]
PAIRS += [
    ("my house", "mein Haus"),
    ("42", "42"),
    ("Two. Sentences.", "Zwei. Sätze."),
    ("", "nichts"),
    ("a\tb", "c\td"),
]
DECODE = ("--beam", "2", "--max-extra", "2", "--compute-type", "float32")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A pair of compressed files as a value of data.train."""
    for side, name in enumerate(("a.en.gz", "a.de.gz")):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as out:
            out.writelines(f"{pair[side]}\n" for pair in PAIRS)
    return f"[{tmp_path / 'a.en.gz'},{tmp_path / 'a.de.gz'}]"


@cache
def load(folder: Path) -> Translator:
    return Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=2))


def run(monkeypatch: pytest.MonkeyPatch, teacher: Path, out: Path, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["distill", "--teacher", str(teacher), "--out", str(out), *DECODE, *arguments])
    distill.main()


def texts(out: Path, names: tuple[str, str] = ("source.en", "target.de")) -> tuple[list[str], list[str]]:
    sources, targets = (read_all_lines(out / name) for name in names)
    return sources, targets


def test_distill_translates_sources_of_pairs_in_their_order(
    teacher: Path, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, teacher, tmp_path / "out", f"data.train={corpus}")
    sources = [source for source, _ in PAIRS]
    assert texts(tmp_path / "out") == (sources, load(teacher)(sources))
    assert {path.name for path in (tmp_path / "out").iterdir()} - {".lock"} == {
        "source.en", "target.de", "progress.json"
    }  # fmt: skip
    printed = capsys.readouterr().out
    for line, pairs in (("original pairs too", 2 * len(PAIRS)), ("these pairs only", len(PAIRS))):
        [setting] = [s for shown in printed.splitlines() if line in shown for s in shlex.split(shown.split(": ", 1)[1])]
        config = load_section(DataConfig, "data", overrides=[setting])
        assert len(read_pairs(config.train, config)[0]) == pairs
    assert "Set data.valid too" in printed


def test_distill_translates_targets_if_teacher_has_other_direction(
    teacher: Path, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    languages = ("data.source_lang=de", "data.target_lang=en")
    (tmp_path / "b.de").write_text("\n".join(TEXT[3:]) + "\n", encoding="utf-8")
    (tmp_path / "b.en").write_text("\n".join(TEXT[:2]) + "\n", encoding="utf-8")
    run(monkeypatch, teacher, tmp_path / "out", f"data.train=[{tmp_path}/b.de,{tmp_path}/b.en]", *languages)
    expected = load(teacher)(TEXT[:2]), TEXT[:2]
    assert texts(tmp_path / "out", ("source.de", "target.en")) == expected


def test_distill_translates_text_without_pairs(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a1.en").write_text(f"{TEXT[0]}\n")
    (tmp_path / "a2.en").write_text(f"{TEXT[1]}\n{TEXT[2]}")
    run(monkeypatch, teacher, tmp_path / "out", "--text", f"{tmp_path}/a*.en")
    assert texts(tmp_path / "out") == (TEXT[:3], load(teacher)(TEXT[:3]))
    assert "data.train=[ORIGINAL,[" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["a.tsv", "a.jsonl"])
def test_corpus_lines_reads_tables(tmp_path: Path, table: str) -> None:
    row = '{{"en": "{}", "de": "{}"}}\n' if table == "a.jsonl" else "{}\t{}\n"
    rows = [("en", "de")] * (table == "a.tsv") + list(zip(TEXT[:2], TEXT[3:], strict=True))
    (tmp_path / table).write_text("".join(row.format(*pair) for pair in rows), encoding="utf-8")
    config = DataConfig(train=str(tmp_path / table))
    for side, expected in enumerate((TEXT[:2], TEXT[3:])):
        lines, total = corpus_lines(config, side, tmp_path)
        assert (list(lines), total) == (expected, 2)


class Killed(Exception):
    """Ends a run as SIGKILL does: nothing is written afterwards."""


def distill_lines(teacher: Path, out: Path, lines: list[str]) -> None:
    out.mkdir(exist_ok=True)
    output = PairFiles(out, ("en", "de"), distillation.find_origin(load(teacher), teacher))
    distillation.distill(load(teacher), iter(lines), len(lines), output, 0)


def kill_at(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Raise `Killed` instead of call number `call` of a function or method."""
    real, calls = getattr(owner, name), count(1)

    def function(*arguments: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return real(*arguments)

    patch.setattr(owner, name, function)


@pytest.mark.parametrize(
    ("owner", "name", "call", "kept"),
    [
        (TranslationWriter, "write", 3, 6),
        (distillation, "_encode", 11, 3),  # after the sources of the second group, among its targets
        (PairFiles, "_save", 2, 3),  # after both files of the second group
        (PairFiles, "_rename", 1, len(PAIRS)),
    ],
)
def test_distill_resumes_after_kill_without_loss_or_repetition(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, kept: int
) -> None:
    sources = [source for source, _ in PAIRS]
    monkeypatch.setattr(distillation, "LINES", 3)
    distill_lines(teacher, tmp_path / "whole", sources)
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, call)
        with pytest.raises(Killed):
            distill_lines(teacher, tmp_path / "out", sources)
    translated, write = [], TranslationWriter.write

    def record(writer: TranslationWriter, out: TextIO, lines: list[str], first_line: int) -> None:
        translated.append(len(lines))
        write(writer, out, lines, first_line)

    monkeypatch.setattr(TranslationWriter, "write", record)
    distill_lines(teacher, tmp_path / "out", sources)
    for file in ("source.en", "target.de"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert sum(translated) == len(sources) - kept
    assert max(translated, default=0) <= 3


def test_distill_refuses_other_text_teacher_and_files(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    distill_lines(teacher, out, TEXT[:2])
    distill_lines(teacher, out, TEXT[:2])  # complete: nothing happens
    for lines, message in (([TEXT[1]] * 2, "line 1 of the text is not that of"), (TEXT[:1], "line 2"), (TEXT, "more")):
        with pytest.raises(InputError, match=message):
            distill_lines(teacher, out, lines)
    with pytest.raises(InputError, match=r"was begun with decode\.beam=2, not 4\. Give a new folder"):
        PairFiles(out, ("en", "de"), {"decode.beam": 4})
    (out / "progress.json").unlink()
    with pytest.raises(InputError, match=r"has source\.en or target\.de"):
        PairFiles(out, ("en", "de"), {})
    with pytest.raises(InputError, match="the text is empty"):
        distill_lines(teacher, tmp_path / "empty", [])


def test_find_side_refuses_teacher_of_other_languages(teacher: Path) -> None:
    with pytest.raises(InputError, match="the teacher translates from en to de, and the pairs are from fr to en"):
        find_side(load(teacher), DataConfig(source_lang="fr", target_lang="en"))


def test_text_lines_keeps_one_line_per_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\rtwo\u2028three\r\n\n", newline="")
    lines, total = text_lines([tmp_path / "a"])
    output = PairFiles(tmp_path, ("en", "de"), {})
    output.append(list(lines), ["x\ny", ""])
    output.finish()
    assert total == 2
    assert texts(tmp_path) == (["one two\u2028three", ""], ["x y", ""])


def test_describe_result_quotes_paths_with_brackets(tmp_path: Path) -> None:
    output = PairFiles(tmp_path, ("en", "de"), {})
    config = DataConfig(train=[["corpus [2024].tsv"], ["a b.en", "a b.de"]], valid="grammar")
    shown = describe_result(output, config, own_text=False)
    [setting] = shlex.split(next(line for line in shown.splitlines() if "too" in line).split(": ", 1)[1])
    expected = [*config.train, [str(file) for file in output.files]]
    assert load_section(DataConfig, "data", overrides=[setting]).train == expected
    assert "Set data.valid" not in shown
