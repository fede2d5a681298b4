"""Which source file belongs to which target file, if a corpus is two glob patterns: files are paired by their names."""

import glob
import re
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from common.files import COMPRESSED, expand, find_files

FilePair = tuple[Path, Path]
_WILDCARD = re.compile(r"\*\*/|\*+|\?|\[!?\]?[^\]]*\]")
_SHOWN = 5
"""Number of files without a partner that an error message lists."""


def find_file_pairs(source: str, target: str, languages: tuple[str, str]) -> list[FilePair]:
    """Return the source files, sorted, each with its target file.

    Two paths are one pair. Files of patterns are paired by the text at the wildcards, such as `a` in `a.en` and `a.de`
    for `*.en` and `*.de`; if that gives no pairs, by their names without the languages.

    Raises:
        FileNotFoundError: a pattern names no file.
        InputError: a file has no partner.
    """
    sources, targets = find_files(source), find_files(target)
    if len(sources) == len(targets) == 1 and not (_is_pattern(source) and _is_pattern(target)):
        return [(sources[0], targets[0])]
    by_wildcards = _pair(sources, targets, _wildcard_texts(source), _wildcard_texts(target))
    by_language = _pair(sources, targets, _without(languages[0]), _without(languages[1]))
    pairs = max(by_wildcards, by_language, key=len)
    if len(pairs) < max(len(sources), len(targets)):
        raise InputError(_missing_partners(source, target, sources, targets, pairs))
    return pairs


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not expand(name).exists()


def _pair(
    sources: list[Path],
    targets: list[Path],
    source_key: Callable[[Path], object],
    target_key: Callable[[Path], object],
) -> list[FilePair]:
    """Return the pairs of files with the same key; none at all if two files of a language have the same key."""
    found = {source_key(file): file for file in sources}
    partners = {target_key(file): file for file in targets}
    if len(found) < len(sources) or len(partners) < len(targets):
        return []
    return [(file, partners[key]) for key, file in found.items() if key in partners]


def _wildcard_texts(pattern: str) -> Callable[[Path], object]:
    """Return a function that gives the text of a path at each wildcard of the pattern; the path if it does not fit."""
    folder = next((str(parent) for parent in expand(pattern).parents if parent.is_dir()), "")
    rest = _plain(str(expand(pattern)).removeprefix(folder))
    expression, at = "", 0
    for wildcard in _WILDCARD.finditer(rest):
        text = {"**/": "((?:.*/)?)", "**": "(.*)", "*": "([^/]*)"}.get(wildcard[0], "(.)")
        expression += re.escape(rest[at : wildcard.start()]) + text
        at = wildcard.end()
    fits = re.compile(expression + re.escape(rest[at:]), re.DOTALL).fullmatch

    def texts(file: Path) -> object:
        match = fits(_plain(str(file).removeprefix(folder)))
        return tuple(text for text in match.groups() if text) if match else file

    return texts


def _without(language: str) -> Callable[[Path], object]:
    """Return a function that gives the words of a path, with `*` for the language."""
    return lambda file: tuple(
        "*" if word.lower() == language.lower() else word for word in re.split(r"[\W_]+", _plain(str(file)))
    )


def _plain(name: str) -> str:
    """Return a name without the suffix of its compression."""
    return next((name.removesuffix(suffix) for suffix in COMPRESSED if name.endswith(suffix)), name)


def _missing_partners(source: str, target: str, sources: list[Path], targets: list[Path], pairs: list[FilePair]) -> str:
    paired = {file for pair in pairs for file in pair}
    alone = [file for file in (*sources, *targets) if file not in paired]
    names = ", ".join(map(str, alone[:_SHOWN])) + ", …" * (len(alone) > _SHOWN)
    return (
        f"[{source}, {target}] are {len(sources)} source files and {len(targets)} target files, which are paired by "
        f"name. Without a partner: {names}. Rename the files, or write the pairs as [[a.en, a.de], [b.en, b.de]]"
    )
