"""The corpus of `train.suggest` and `train.finetune`, which name it without settings, and its languages."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from common.errors import InputError
from common.files import expand, find_files
from common.input_bytes import check_rereadable
from common.text_input import read_lines
from data_pipeline.sources.languages import find_language, guess, profile
from evaluate.test_sets import Languages, file_languages
from train.size_rules import Settings

SAMPLE = 1000
"""Number of lines whose language is looked for."""
SETTINGS = ("data.source_lang", "data.target_lang")


def corpus_settings(corpus: Sequence[str]) -> Settings:
    """Return the setting of a corpus: two files, or one name that `data.train` accepts; {} for no names."""
    if not corpus:
        return {}
    return {"data.train": list(corpus) if len(corpus) == 2 else corpus[0]}


def corpus_override(corpus: Any) -> str:
    """Return the setting `data.train=…` of a corpus as users type it."""
    return f"data.train={_write(corpus)}"


def find_languages(corpus: Sequence[str]) -> tuple[Languages | None, str]:
    """Return source and target language of two files, or None if they are not certain, and a clause that says why.

    Raises FileNotFoundError if a file is missing.
    """
    if len(corpus) != 2:
        return None, "not looked for in a table or a dataset"
    if (named := _languages_of_names(corpus)) is not None:
        return named, "by the names of the files"
    codes = []
    for name in corpus:
        file = find_files(name)[0]
        check_rereadable(file)
        language = guess(profile(islice(read_lines(file), SAMPLE)))
        codes.append("" if language is None else language.code)
    if not all(codes) or codes[0] == codes[1]:
        return None, "not recognised"
    return (codes[0], codes[1]), "by their words"


def check_languages(corpus: Sequence[str], languages: Languages, model: str) -> None:
    """Raise InputError if the names of two files end in other languages than those of a model."""
    named = _languages_of_names(corpus) if len(corpus) == 2 else None
    if named is None or named == languages:
        return
    what = f"{corpus[0]} and {corpus[1]} are {named[0]} and {named[1]} by their names, and {model} translates from"
    do = (
        "Give the files in the other order" if named[::-1] == languages else "Give files, or a model (--from), that fit"
    )
    raise InputError(f"{what} {languages[0]} to {languages[1]}. {do}")


def describe_languages(languages: Languages) -> str:
    """Return two languages in words, such as `English (en) to German (de)`."""
    return " to ".join(f"{found.name} ({code})" if (found := find_language(code)) else code for code in languages)


def _languages_of_names(corpus: Sequence[str]) -> Languages | None:
    found = file_languages(*(expand(name) for name in corpus))
    return found if found and all(found) else None


def _write(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_write, value))}]"
    return f'"{value}"' if set(value) & set(",[]") else str(value)
