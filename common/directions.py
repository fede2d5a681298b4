"""Directions of translation, such as `en-de`: those of a corpus or of a model folder, and which one a user chooses.

Most models have one direction: `config.json` has `source_lang` and `target_lang`. A model of several directions has
`directions` instead, such as `["en-de", "en-fr"]`, and begins each source with a tag of the target language.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.settings import check_language

Languages = tuple[str, str]
"""Source and target language."""


def model_directions(about: dict[str, Any]) -> list[Languages]:
    """Return the directions in a `config.json`; [] if it names no languages."""
    if "directions" in about:
        return [parse_direction(name) for name in about["directions"]]
    return [(about["source_lang"], about["target_lang"])] if "source_lang" in about else []


def has_tags(about: dict[str, Any]) -> bool:
    """Return True if the model of a `config.json` reads a tag of the target language before each source."""
    return "directions" in about


def language_tag(language: str) -> str:
    """Return the token that begins a source which a model of several directions translates to this language.

    The form is that of OPUS-MT, which transformers' MarianTokenizer reads. Johnson et al. (2017) write `<2de>`.
    """
    return f">>{language}<<"


def choose_direction(
    model: str | Path, directions: Sequence[Languages], source_lang: str | None = None, target_lang: str | None = None
) -> Languages:
    """Return the only direction with these languages; None is any language.

    Raises InputError with the directions if there is none, or if there are several.
    """
    found = match_directions(model, directions, source_lang, target_lang)
    if len(found) > 1:
        by_target = len({target for _, target in found}) == len(found)
        options = "--to (target_lang)" if by_target else "--from and --to (source_lang and target_lang)"
        raise InputError(f"{model} translates from {describe(found)}. Choose one with {options}.")
    return found[0]


def match_directions(
    model: str | Path, directions: Sequence[Languages], source_lang: str | None, target_lang: str | None
) -> list[Languages]:
    """Return the directions with these languages. Raises InputError if there is none."""
    found = [(s, t) for s, t in directions if source_lang in (None, s) and target_lang in (None, t)]
    if not found:
        wanted = {"from": source_lang, "to": target_lang}
        given = [f"{word} {language}" for word, language in wanted.items() if language is not None]
        options = " and ".join(f"--{word}" for word, language in wanted.items() if language is not None)
        change = f"Give another {options}" if len(directions) > 1 else f"Omit {options}"
        raise InputError(
            f"{model} translates from {describe(directions)}, not {' '.join(given)}. {change}, or give another --model."
        )
    return found


def refuse_directions(model: str | Path, about: dict[str, Any], what: str) -> None:
    """Raise InputError if a `config.json` is that of a model of several directions; `what` needs one."""
    if has_tags(about):
        found = describe(model_directions(about), "and")
        raise InputError(f"{model} translates from {found}; {what} is for a model of one direction")


def describe(directions: Sequence[Languages], word: str = "or") -> str:
    """Return directions in words, such as "en to de or en to fr"."""
    return f" {word} ".join(f"{source} to {target}" for source, target in directions)


def parse_direction(name: str) -> Languages:
    """Return the languages of a direction such as `en-de`. Raises InputError if the name is something else."""
    source, *others = str(name).split("-")
    if len(others) != 1 or source == others[0]:
        raise InputError(
            f"{name!r:.60} is not a direction. Write two languages with one hyphen, such as en-de or en-zh_Hans"
        )
    for language in (source, others[0]):
        check_language(f"a language of the direction {name!r:.60}", language)
    return source, others[0]


def check_directions(where: str, value: object) -> None:
    """Raise InputError, which begins with `where`, unless the value is a list of different directions."""
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise InputError(f"{where} is not a list of different directions, such as en-de")
    try:
        for name in value:
            parse_direction(name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
