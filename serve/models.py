"""The loaded models, one for each direction, and the languages that they translate."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from common.errors import InputError
from common.writing_systems import language_code
from evaluate.config import BackendName, DecodeConfig
from evaluate.test_sets import folder_directions
from evaluate.translator import Translator
from serve.errors import ApiError

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "gl": "Galician", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "lt": "Lithuanian", "lv": "Latvian", "mt": "Maltese", "nb": "Norwegian", "nl": "Dutch", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian",
    "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""English names of languages. Another language has its code as its name."""


class Models:
    """Translators by source and target language."""

    def __init__(self, translators: Iterable[Translator]) -> None:
        """Raise InputError if two models have the same direction, or if there is none."""
        self.directions: dict[tuple[str, str], Translator] = {}
        for translator in translators:
            direction = language_code(translator.source_lang), language_code(translator.target_lang)
            if direction in self.directions:
                raise InputError(f"two models translate from {direction[0]} to {direction[1]}. Omit one --model.")
            self.directions[direction] = translator
        if not self.directions:
            raise InputError("there is no model. Give a model folder (--model).")
        self.folders: dict[tuple[str, str], Path] = {}
        """Model folders, as far as they are known."""
        self._variants: dict[tuple[str, str, int], Translator] = {}
        self._readable: dict[tuple[str, str], Translator] = {}
        self.languages = sorted({code for direction in self.directions for code in direction})

    @classmethod
    def load(cls, folders: dict[Path, DecodeConfig], compute_type: str, backend: BackendName) -> "Models":
        """Load the models of these folders, with their decoding settings. Raises as `Translator.from_pretrained`."""
        loaded = [
            (folder, translator)
            for folder, config in folders.items()
            for translator in _load_directions(folder, config, compute_type, backend)
        ]
        models = cls(translator for _, translator in loaded)
        models.folders = dict(zip(models.directions, (folder for folder, _ in loaded), strict=True))
        return models

    def language(self, name: str) -> str:
        """Return the code of a language: `de` for de, DE, de-AT and deu. Raises ApiError if no model has it."""
        code = language_code(name)
        if code not in self.languages:
            raise ApiError(400, f"{name[:40]} is not supported")
        return code

    def find(self, source: str, target: str) -> Translator | None:
        """Return the model of a direction; None if source and target are one language. Raises ApiError."""
        if source != target and (source, target) not in self.directions:
            raise ApiError(
                400,
                f"{describe(target)} is not available as a target language from {describe(source)}",
            )
        return self.directions.get((source, target))

    def with_beam(self, source: str, target: str, beam: int | None) -> Translator | None:
        """Return the model of a direction with another beam. It shares the weights. See `find`."""
        found = self.find(source, target)
        if found is None or beam is None:
            return found
        variant = self._variants.setdefault((source, target, beam), copy.copy(found))
        variant.config = replace(found.config, beam=beam)
        return variant

    def readable(self, source: str, target: str) -> Translator:
        """Return the model of a direction in float32 and not prepacked, for `explain_translation`.

        It is loaded on first use, so only one thread may call this. Raises ApiError.
        """
        if (source, target) not in self._readable:
            folder = self.folders.get((source, target))
            if folder is None:
                raise ApiError(400, f"Nothing explains translations from {describe(source)} to {describe(target)}")
            loaded = self.directions[source, target]
            config = replace(loaded.config, split_sentences=False)
            try:
                self._readable[source, target] = Translator.from_pretrained(
                    folder, config, prepack=False, source_lang=loaded.source_lang, target_lang=loaded.target_lang
                )
            except (InputError, OSError) as error:  # its message has the path of the folder, which is not for clients
                raise ApiError(500, "The model that is explained cannot be loaded") from error
        return self._readable[source, target]

    def targets(self, source: str) -> list[str]:
        """Return the languages to which a language is translated, itself included."""
        return [code for code in self.languages if code == source or (source, code) in self.directions]


def _load_directions(folder: Path, config: DecodeConfig, compute_type: str, backend: BackendName) -> list[Translator]:
    """Return a translator for each direction of a model folder. They share the weights."""
    directions = folder_directions(folder)
    source_lang, target_lang = directions[0] if directions else (None, None)
    first = Translator.from_pretrained(
        folder, config, None, compute_type, backend, source_lang=source_lang, target_lang=target_lang
    )
    return [first, *(first.with_direction(*direction) for direction in directions[1:])]


def describe(code: str) -> str:
    """Return name and code of a language."""
    return f"{NAMES.get(code, code)} ({code})"
