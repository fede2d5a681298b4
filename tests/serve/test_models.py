"""Directions, languages, and which of them a text is in."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InputError
from evaluate.translator import Translator
from serve.detection import detect
from serve.errors import ApiError
from serve.models import Models
from tests.serve.small_service import ENGLISH, GERMAN, make_models


@pytest.fixture(scope="module")
def models(folder: Path) -> Models:
    return make_models(folder)


def with_languages(translator: Translator, source: str, target: str, calibrated: bool = True) -> Translator:
    calibration = translator.calibration if calibrated else None
    return Translator(translator.backend, translator.tokenizer, translator.config, source, target, calibration)


def test_language_is_found_with_region_and_in_capitals(models: Models) -> None:
    assert [models.language(name) for name in ("de", "DE", "de-AT", "deu")] == ["de"] * 4
    with pytest.raises(ApiError, match="fr is not supported"):
        models.language("fr")


def test_two_models_of_one_direction_are_refused(models: Models) -> None:
    translator = models.directions["en", "de"]
    with pytest.raises(InputError, match=r"two models translate from en to de\. Omit one --model"):
        Models([translator, with_languages(translator, "eng", "de-AT")])
    with pytest.raises(InputError, match="there is no model"):
        Models([])


def test_targets_are_those_of_the_models_and_the_language_itself(models: Models) -> None:
    translator = models.directions["en", "de"]
    more = Models([translator, with_languages(translator, "de", "fr")])
    assert [more.targets(code) for code in ("de", "en", "fr")] == [["de", "fr"], ["de", "en"], ["fr"]]
    assert more.find("en", "en") is None
    with pytest.raises(ApiError, match=r"French \(fr\) is not available as a target language from English \(en\)"):
        more.find("en", "fr")


def test_language_of_text_is_detected(models: Models) -> None:
    for text, code in ((ENGLISH, "en"), (GERMAN, "de"), (f"{GERMAN}\n{GERMAN}", "de")):
        (best, confidence), (_, other) = detect(models, text)
        assert best == code
        assert confidence > 90
        assert confidence + other == pytest.approx(100, abs=0.1)


def test_languages_of_text_without_a_letter_are_equally_likely(models: Models) -> None:
    assert {confidence for _, confidence in detect(models, "")} == {50.0}


def test_languages_are_compared_over_several_models(models: Models) -> None:
    translator = models.directions["en", "de"]
    assert translator.calibration is not None
    calibration = replace(translator.calibration, target_levels="a" * translator.tokenizer.vocab_size)
    french = with_languages(translator, "en", "fr")
    french.calibration = calibration
    found = detect(Models([translator, french]), GERMAN)
    assert [code for code, _ in found] == ["de", "en", "fr"]


def test_no_language_is_detected_without_a_calibration(models: Models) -> None:
    assert detect(Models([with_languages(models.directions["en", "de"], "en", "de", calibrated=False)]), GERMAN) == []


def test_model_that_cannot_be_loaded_again_is_refused_without_its_path(models: Models, tmp_path: Path) -> None:
    translator = models.directions["en", "de"]
    more = Models([translator])
    more.folders["en", "de"] = tmp_path / "gone"
    with pytest.raises(ApiError, match="cannot be loaded") as caught:
        more.readable("en", "de")
    assert caught.value.status == 500
    assert "gone" not in str(caught.value)
