"""Which source file belongs to which target file, if a corpus is two glob patterns."""

from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.sources.file_pairs import find_file_pairs


@pytest.mark.parametrize(
    ("source", "target", "pairs"),
    [
        ("*.en", "*.de", "a.en a.de, b.en b.de"),
        ("part-?.en", "part-?.de.gz", "part-1.en part-1.de.gz, part-2.en part-2.de.gz"),
        ("en/*.txt", "de/*.txt", "en/a.txt de/a.txt, en/b.txt de/b.txt"),
        ("*/x.*", "*/y.*", "1/x.a 1/y.a, 2/x.a 2/y.a"),
        ("**/*.en", "**/*.de", "a.en a.de, x/y/a.en x/y/a.de"),
        ("*/*.en", "*/*.de", "en/a.en de/a.de, en/b.en de/b.de"),
        ("news.e*", "news.d*", "news.en news.de"),
        ("t[0-9].en", "t[0-9].de", "t1.en t1.de, t2.en t2.de"),
        ("all.en", "al*.de", "all.en alles.de"),
        ("[x]/*.en", "[x]/*.de", "[x]/a.en [x]/a.de"),
        ("10.en", "9.de", "10.en 9.de"),
        ("*en", "*de", "10.en 10.de, 9.en 9.de"),
    ],
)
def test_find_file_pairs_pairs_files_by_name(
    source: str, target: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [pair.split() for pair in pairs.split(", ")]
    for name in (name for pair in expected for name in pair):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = find_file_pairs(source, target, ("en", "de"))
    assert [[str(file) for file in pair] for pair in found] == expected
    absolute = find_file_pairs(str(tmp_path / source), str(tmp_path / target), ("en", "de"))
    assert absolute == [(tmp_path / one, tmp_path / other) for one, other in found]


@pytest.mark.parametrize(
    ("source", "target", "names", "alone"),
    [
        ("*.en", "*.de", "a.en c.en a.de b.de", "c.en, b.de"),
        ("*.en", "*.de", "a.en b.en a.de", "b.en"),
        ("*.en", "*.de", "a.en b.de", "a.en, b.de"),
        ("s*.txt", "t*.txt", "s.txt t-.txt", "s.txt, t-.txt"),
        ("all.en", "*.de", "all.en a.de b.de", "all.en, a.de, b.de"),
    ],
)
def test_find_file_pairs_rejects_file_without_partner(
    source: str, target: str, names: str, alone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names.split():
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"Without a partner: {alone}\."):
        find_file_pairs(source, target, ("en", "de"))
