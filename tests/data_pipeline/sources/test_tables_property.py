"""Random tables: what is written comes out as it went in, or is refused with the name of the file."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import read_pairs

CONFIG = DataConfig(source_lang="en", target_lang="de")
TRICKY = ["NA", "null", "None", "nan", "007", "1e5", "1.50", "+1", "-", "", " ", "true", '"', '""', "a;b", "a,b", "x|y"]
TRICKY += [
    "2024-01-01",
    "sep=;",
    "en",
    "de",
    "=1+1",
    "\\",
    "字",
    "ß\u0308",
    "\u2028",
    "\x85",
    "\x0b",
    "\U0001f469\u200d\U0001f4bb",
]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\x00\ufeff")
CELLS = st.one_of(st.sampled_from(TRICKY), st.text(CHARACTERS, max_size=12))
HEADERS = st.sampled_from([("en", "de"), ("English", "German"), ("source", "target"), ("Englisch", "Deutsch"), None])
LINE_ENDS = st.sampled_from(["\n", "\r\n"])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
Pairs = list[tuple[str, str]]


def read(name: str, content: bytes) -> Pairs | None:
    """Return the pairs of a file with this content, or None if it is refused with its name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        try:
            return list(zip(*read_pairs(str(file), CONFIG), strict=True))
        except InputError as error:
            if name not in str(error):
                raise
            return None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), HEADERS, st.sampled_from(",;\t|"), LINE_ENDS, ENCODINGS
)
def test_csv_returns_written_cells(
    pairs: Pairs, header: tuple[str, str] | None, delimiter: str, line_end: str, encoding: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end)
    writer.writerows(([header] if header else []) + pairs)
    found = read("x.csv", out.getvalue().encode(encoding))
    assert found is None or found == pairs
    if header == ("en", "de") and delimiter != "|":
        assert found is not None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    HEADERS,
    LINE_ENDS,
    ENCODINGS,
    st.sampled_from(["", ".gz"]),
)
def test_tsv_returns_written_cells(
    pairs: Pairs, header: tuple[str, str] | None, line_end: str, encoding: str, packed: str
) -> None:
    lines = [f"{source}\t{target}" for source, target in ([header] if header else []) + pairs]
    found = read(f"x.tsv{packed}", (line_end.join(lines) + line_end).encode(encoding))
    assert found is None or found == pairs


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.booleans(), LINE_ENDS)
def test_json_lines_return_written_cells(pairs: Pairs, ascii_only: bool, line_end: str) -> None:
    lines = [json.dumps({"de": target, "en": source}, ensure_ascii=ascii_only) for source, target in pairs]
    assert read("x.jsonl", line_end.join(lines).encode()) == pairs


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_folder_returns_cells_of_its_file(pairs: Pairs) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("de", "en"), *((target, source) for source, target in pairs)])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test.csv").write_bytes(out.getvalue().encode())
        assert list(zip(*read_pairs(folder, CONFIG), strict=True)) == pairs
