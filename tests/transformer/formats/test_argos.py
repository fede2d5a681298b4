"""A package of Argos Translate has the files that Argos Translate opens, and they translate as the model does."""

import json
import sys
import zipfile
from pathlib import Path

import pytest
import sentencepiece

from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from transformer import export
from transformer.formats.argos import export_argos

ctranslate2 = pytest.importorskip("ctranslate2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("argos") / "model")


def test_export_argos_writes_package_that_translates_like_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.argosmodel"
    monkeypatch.setattr(sys, "argv", ["export", "--to", "argos", "--model", str(folder), "--output", str(output)])
    export.main()
    assert " MB, float32.\nnote: Argos Translate ranks by" in capsys.readouterr().out
    with zipfile.ZipFile(output) as archive:
        archive.extractall(tmp_path)
    [package] = tmp_path.glob("translate-*")
    assert package.name == "translate-en_de-1_0"
    metadata = json.loads((package / "metadata.json").read_text())
    assert [metadata[name] for name in ("from_code", "from_name", "to_code", "to_name")] == [
        "en", "English", "de", "German",
    ]  # fmt: skip
    # what Argos Translate does with a sentence, but greedy
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(package / "sentencepiece.model"))
    runtime = ctranslate2.Translator(str(package / "model"), intra_threads=1)
    results = runtime.translate_batch(tokenizer.encode(TEXT, out_type=str), beam_size=1, max_decoding_length=9)
    found = [tokenizer.decode_pieces(result.hypotheses[0]) for result in results]
    assert found == Translator.from_pretrained(folder, DecodeConfig(beam=1, max_length=9), "cpu")(TEXT)


def test_export_argos_rejects_other_names_and_existing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.argosmodel"):
        export_argos(folder, tmp_path / "x.zip")
    (tmp_path / "x.argosmodel").touch()
    with pytest.raises(FileExistsError, match="already exists"):
        export_argos(folder, tmp_path / "x.argosmodel")


def test_export_argos_needs_languages(folder: Path, tmp_path: Path) -> None:
    copied = make_folder(tmp_path / "model")
    about = json.loads((copied / "config.json").read_text())
    del about["source_lang"], about["target_lang"]
    (copied / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="does not name the languages"):
        export_argos(copied, tmp_path / "x.argosmodel")
    assert not (tmp_path / "x.argosmodel").exists()
