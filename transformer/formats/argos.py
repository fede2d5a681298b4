"""A package for Argos Translate and LibreTranslate: a zip file with a CTranslate2 model and a SentencePiece model."""

import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from common.directions import refuse_directions
from common.errors import InputError
from common.files import expand, replace_file
from transformer.formats.ctranslate2 import check_export, write_model
from transformer.pretrained import find_folder, read_about

SUFFIX = ".argosmodel"
PACKAGE_VERSION = "1.0"
ARGOS_VERSION = "1.9"
"""First version of Argos Translate that the package is meant for. Argos Translate shows it and does not check it."""
NAMES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "nb": "Norwegian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
"""Names of languages as Argos Translate shows them. A language that is not listed is shown as its code."""
ARGOS_NOTE = (
    "Argos Translate ranks by log P / n^0.2 with a beam of 4, does not change text to Unicode NFC, and writes a space "
    "instead of each underscore. Its sentence splitter downloads a small model on first use."
)


def export_argos(model: str | Path, output: str | Path, compute_type: str = "float32") -> Path:
    """Write a model folder, or a model of the Hub, as a package of Argos Translate. Return the file.

    Raises:
        InputError: the model folder does not name its languages, or as `export_ctranslate2`.
        FileExistsError: the output exists.
        FileNotFoundError: the model, or the folder to write into, does not exist.
    """
    output = expand(output)
    if output.suffix != SUFFIX:
        raise InputError(f"--output is {output}; the name of a package of Argos Translate ends in {SUFFIX}")
    check_export(output, compute_type)
    folder = find_folder(model)
    source, target = _languages(folder)
    name = f"translate-{source}_{target}-{PACKAGE_VERSION.replace('.', '_')}"
    with TemporaryDirectory() as work, replace_file(output) as temporary:
        package = Path(work) / name
        (package / "model").mkdir(parents=True)
        write_model(folder, package / "model", compute_type)
        shutil.copyfile(folder / "tokenizer.model", package / "sentencepiece.model")
        if (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", package / "README.md")
        (package / "metadata.json").write_text(json.dumps(_metadata(source, target), indent=2), encoding="utf-8")
        _zip(package, temporary)
    return output


def _languages(folder: Path) -> tuple[str, str]:
    about = read_about(folder)
    refuse_directions(folder, about, "a package of Argos Translate, which cannot write the tag of a target language,")
    if "source_lang" not in about:
        raise InputError(
            f"{folder / 'config.json'} does not name the languages of the model, which a package of Argos Translate "
            'needs. Add "source_lang" and "target_lang"'
        )
    return about["source_lang"], about["target_lang"]


def _metadata(source: str, target: str) -> dict[str, str]:
    return {
        "package_version": PACKAGE_VERSION,
        "argos_version": ARGOS_VERSION,
        "from_code": source,
        "from_name": NAMES.get(source, source),
        "to_code": target,
        "to_name": NAMES.get(target, target),
    }


def _zip(package: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            archive.write(path, path.relative_to(package.parent))
