"""Confidence: fit, file, notes about lines in the target language and about lost characters."""

import io
import json
import math
from pathlib import Path

import pytest

from common.errors import InputError
from evaluate import calibrate
from evaluate.calibration import fit_logistic, rank_correlation, reliability
from evaluate.confidence import FIELD, Calibration, common_words, count_levels, read_calibration
from evaluate.config import DecodeConfig
from evaluate.translation_writer import TranslationWriter
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder

CONFIG = DecodeConfig(beam=1, max_extra=4)
ENGLISH, GERMAN = TEXT[:3], TEXT[3:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder that `evaluate.calibrate` has calibrated."""
    folder = make_folder(tmp_path_factory.mktemp("model"))
    files = [folder / "valid.en", folder / "valid.de"]
    for file, lines in zip(files, (ENGLISH * 14, [*GERMAN, GERMAN[0]] * 14), strict=True):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["x", f"--model={folder}", f"--source={files[0]}", f"--reference={files[1]}"])
        calibrate.main()
    return folder


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--sentences=-5"], "--sentences is -5; a calibration needs at least 40"),
        (["--text", "{folder}/valid.en", "{folder}/empty"], "empty is empty"),
    ],
)
def test_calibrate_refuses_too_little_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], error: str
) -> None:
    (folder / "empty").write_text("\n\n")
    words = [f"--model={folder}", f"--source={folder}/valid.en", f"--reference={folder}/valid.de"]
    monkeypatch.setattr("sys.argv", ["x", *words, *(option.format(folder=folder) for option in options)])
    with pytest.raises(InputError, match=error):
        calibrate.main()


def test_fit_logistic_finds_weights() -> None:
    rows = [(1.0, x / 10, math.sin(x)) for x in range(-20, 20)]
    values = [1 / (1 + math.exp(-(0.5 + 2 * b - c))) for _, b, c in rows]
    assert fit_logistic(rows, values) == pytest.approx([0.5, 2, -1], abs=0.02)


def test_rank_correlation_and_reliability() -> None:
    assert rank_correlation([1.0, 2.0, 3.0], [0.1, 0.5, 9.0]) == pytest.approx(1)
    assert rank_correlation([1.0, 1.0, 2.0], [3.0, 2.0, 1.0]) == pytest.approx(-math.sqrt(3) / 2)
    assert reliability([0.11, 0.19, 1.0], [0.2, 0.4, 0.7]) == [(0.1, 2, 0.15, pytest.approx(0.3)), (0.9, 1, 1.0, 0.7)]


def test_confidence_grows_with_log_probability_and_frequency() -> None:
    levels = count_levels([[0] * 100, [1]], 3)
    assert levels[0] > levels[1] > levels[2]
    calibration = Calibration(1.0, 2.0, 0.1, levels, levels)
    assert calibration.confidence([0], [0, 1], -1.0) > calibration.confidence([0], [0, 1], -2.0)
    assert calibration.confidence([0], [0, 1], -1.0) > calibration.confidence([2], [0, 1], -1.0)
    assert 0 <= calibration.confidence([0], [0], -1e9) <= calibration.confidence([0], [0], 1e9) <= 1


def test_json_has_confidence_and_language(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    translator = Translator.from_pretrained(folder, CONFIG, "cpu")
    out = io.StringIO()
    writer = TranslationWriter(translator, translator.segmenter(), as_json=True)
    writer.write(out, [ENGLISH[2], GERMAN[0], "", "42", f"{ENGLISH[0]} {ENGLISH[1]}"])
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["target_language"] for line in objects] == [False, True, False, False, False]
    found = [line["translations"][0].get("confidence") for line in objects]
    assert found[2:4] == [None, None]
    alone = [t[0].confidence or 0 for t in translator.translate(ENGLISH[:2])]
    assert found[4] == pytest.approx(min(alone), abs=2e-3)
    assert all(0 <= value <= 1 for value in (found[0], found[1], *alone))
    writer.print_notes()
    assert "note: line 2 is probably in the language of the translation already (de)\n" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="line 1 is probably in the language of the translation"):
        translator([GERMAN[0]])


def test_common_words_have_no_names_numbers_or_code() -> None:
    assert common_words('Angela Merkel sagte "ja", und die SPD 7 x=1 https://a.de') == "sagte ja und die"


def test_lost_characters_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    translator = Translator.from_pretrained(folder, CONFIG, "cpu")
    assert translator.lost_characters("The 😀 cat 東 東", "Die 😀") == ["東"]
    assert translator.lost_characters("The cat", "") == []
    out = io.StringIO()
    writer = TranslationWriter(translator, translator.segmenter(), as_json=True)
    writer.write(out, ["A dog.", "A 東 cat."], first_line=5)
    assert [json.loads(line).get("lost_characters") for line in out.getvalue().splitlines()] == [None, ["東"]]
    writer.print_notes()
    assert "note: line 6 has characters that the vocabulary contains as bytes only" in capsys.readouterr().err


def test_damaged_calibration_is_rejected(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "config.json").read_text())
    good = about[FIELD]
    size = len(good["source_levels"])
    assert read_calibration(folder, size) == Calibration(**good)
    bad = [7, good | {"bias": "x"}, good | {"bias": math.inf}, good | {"target_levels": "a"}, {"bias": 1}]
    for saved in [*bad, good | {"source_levels": 7}]:
        (tmp_path / "config.json").write_text(json.dumps(about | {FIELD: saved}))
        with pytest.raises(InputError, match=r"config.json: calibration is damaged or belongs to another model"):
            read_calibration(tmp_path, size)
    del about[FIELD]
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert read_calibration(tmp_path, size) is None
