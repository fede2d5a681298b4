"""The models that the package includes, and the choice among them: on tiny folders, and on the committed ones."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from evaluate.translator import Translator
from tests.tiny_model import make_folder
from transformer import included_models, translate
from transformer.included_models import describe_included_models, find_included_model
from transformer.pretrained import FILES, load_pretrained, save_int8

COMMITTED = included_models.included_models()


@pytest.fixture
def included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny included models from English to German and back, and a folder without a model."""
    folder = tmp_path / "included"
    (folder / "empty").mkdir(parents=True)
    save_int8(make_folder(tmp_path / "model"), folder / "en-de")
    shutil.copytree(folder / "en-de", folder / "de-en")
    about = json.loads((folder / "de-en" / "config.json").read_text())
    (folder / "de-en" / "config.json").write_text(json.dumps(about | {"source_lang": "de", "target_lang": "en"}))
    monkeypatch.setattr(included_models, "FOLDER", folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["translate", "--beam", "2", "--max-extra", "4", *args])
    translate.main()


@pytest.mark.parametrize(
    ("languages", "name"),
    [
        ((None, None), "en-de"),
        (("en", None), "en-de"),
        ((None, "de"), "en-de"),
        (("de", None), "de-en"),
        ((None, "en"), "de-en"),
        (("de", "en"), "de-en"),
    ],
)
def test_languages_choose_included_model(languages: tuple[str | None, str | None], name: str, included: Path) -> None:
    assert find_included_model(*languages) == included / name


@pytest.mark.parametrize(
    ("languages", "wanted"), [(("fr", None), "from fr"), ((None, "fr"), "to fr"), (("de", "fr"), "from de to fr")]
)
def test_missing_direction_is_refused_with_existing_ones(
    languages: tuple[str | None, str | None], wanted: str, included: Path
) -> None:
    message = f"no included model translates {wanted}; there are: de to en, en to de. Give a model folder"
    with pytest.raises(InputError, match=message):
        find_included_model(*languages)


def test_several_directions_are_refused(included: Path) -> None:
    about = json.loads((included / "en-de" / "config.json").read_text())
    shutil.copytree(included / "en-de", included / "en-fr")
    (included / "en-fr" / "config.json").write_text(json.dumps(about | {"target_lang": "fr"}))
    with pytest.raises(InputError, match="several included models fit: en to de, en to fr"):
        find_included_model("en")


def test_without_included_models_translate_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(included_models, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"from en to de; there are: none. Give a model folder \(--model\), train"):
        run(monkeypatch, "A dog.")


def test_translate_uses_included_model_without_model(
    included: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--model", str(included / "de-en"), "Der Hund.")
    expected = capsys.readouterr().out
    run(monkeypatch, "--from", "de", "Der Hund.")
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(("option", "lang"), [("from", "de"), ("to", "fr")])
def test_translate_refuses_language_that_model_does_not_have(
    option: str, lang: str, included: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=f"en-de translates from en to de, not {option} {lang}. Omit --{option}, or"):
        run(monkeypatch, "--model", str(included / "en-de"), f"--{option}", lang, "A dog.")


def test_translate_refuses_damaged_config_json_with_languages(included: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (included / "en-de" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="has format_version None"):
        run(monkeypatch, "--model", str(included / "en-de"), "--from", "en", "A dog.")


def test_translate_accepts_languages_of_model(included: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--model", str(included / "en-de"), "--from", "en", "--to", "de", "A dog.")


def test_model_list_prints_included_models(
    included: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (included / "de-en" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--model", "list")
    assert ended.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    parameters = sum(p.numel() for p in load_pretrained(included / "de-en")[0].parameters())
    assert first.startswith(f"de to en: {parameters:,} parameters, ")
    assert first.endswith(f" MB, licence cc-by-4.0, {included / 'de-en'}")
    assert second.endswith(f"licence: see its README.md, {included / 'en-de'}")


def test_python_interface_loads_included_model(included: Path) -> None:
    assert Translator.from_pretrained().source_lang == "en"
    assert Translator.from_pretrained(source_lang="de", target_lang="en").source_lang == "de"
    with pytest.raises(InputError, match="not to fr"):
        Translator.from_pretrained(included / "en-de", target_lang="fr")


@pytest.mark.skipif(not COMMITTED, reason="this checkout includes no models")
def test_included_models_translate_and_are_small() -> None:
    sentences = {"en": ("Where is the station?", "Bahnhof"), "de": ("Wo ist der Bahnhof?", "station")}
    assert sum(file.stat().st_size for folder in COMMITTED.values() for file in folder.iterdir()) <= 20e6
    assert len(describe_included_models()) == len(COMMITTED)
    for (source, target), folder in COMMITTED.items():
        assert folder.name == f"{source}-{target}"
        assert {file.name for file in folder.iterdir()} == set(FILES)
        text, word = sentences[source]
        assert word in Translator.from_pretrained(source_lang=source, target_lang=target)([text])[0]
