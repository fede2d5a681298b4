"""A treebank is a corpus of sentence pairs: words, and the tokens of their tree."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.fingerprint import fingerprint
from data_pipeline.prepared_data import prepare
from data_pipeline.sources.corpus import load_corpora, read_pairs
from data_pipeline.sources.names import parse_specs
from evaluate.test_sets import from_config
from tests.data_pipeline.sources.corpora import write_text_files

TREES = """
( (S (NP-SBJ-1 (DT The) (NN dog)) (VP (VBZ wants) (S (NP-SBJ-1 (-NONE- *)) (VP (TO to) (VP (VB eat))))) (. .)) )
( (NP (-LRB- -LRB-) (NN Fig) (-RRB- -RRB-)) )
( (S (NP (-NONE- *)) (VP (-NONE- *?*))) )
( (NP (NN \u200a†x) (NNS tests)) )
"""
WORDS = ["a", "bee", "sees"]
PAIRS = (
    ["The dog wants to eat .", "( Fig )", "", "†x tests"],
    [
        "(S (NP =DT =NN )NP (VP =VBZ (S (VP =TO (VP =VB )VP )VP )S )VP =. )S",
        "(NP =-LRB- =NN =-RRB- )NP",
        "",
        "(NP =NN =NNS )NP",
    ],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with gzip.open(tmp_path / "a.trees.gz", "wt", encoding="utf-8") as out:
        out.write(TREES)
    return tmp_path / "a.trees.gz"


@pytest.mark.parametrize("role", ["train", "valid", "test"])
def test_treebank_is_a_corpus_of_words_and_tokens(file: Path, role: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_pairs(str(file), DataConfig(target_lang="tree"), role) == PAIRS
    message = (
        f"note: {file}: trees, without functional tags and indices: 4, traces, which are removed: 3, "
        "trees without words: 1, words with spaces in them, which are removed: 1\n"
    )
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("suffix", ["trees", "mrg.xz", "parse", "ptb.zst"])
def test_names_of_treebanks(suffix: str) -> None:
    (spec,) = parse_specs(f"folder/*.{suffix}")
    assert spec.kind == "treebank"
    assert str(spec) == f"folder/*.{suffix}"


def test_treebank_is_prepared_like_any_corpus(file: Path, tmp_path: Path) -> None:
    more = "".join(f"(S (NP (DT {a}) (NN {n})) (VP (VBZ {v})))\n" for a in WORDS for n in WORDS for v in WORDS)
    (tmp_path / "b.mrg").write_text(more, encoding="utf-8")
    corpora = [[str(file)], [str(tmp_path / "b.mrg")]]
    config = DataConfig(train=corpora, valid=str(file), target_lang="tree", vocab_size=310, max_ratio=None)
    prepared = prepare(config, tmp_path / "cache", quiet=True)
    counts = prepared.report["train"]
    assert (counts["read"], counts["source or target is empty"], counts["kept"]) == (31, 1, 30)
    assert len(prepared.train) == 30
    before = fingerprint(config)
    (tmp_path / "b.mrg").write_text(more + more, encoding="utf-8")
    assert fingerprint(config) != before


def test_test_set_of_a_treebank_is_named_as_the_file(file: Path) -> None:
    (found,) = from_config(DataConfig(train=str(file), test=str(file), target_lang="tree"))
    assert found.name == "a.trees.gz"


def test_treebank_and_target_language_belong_together(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a treebank, but data.target_lang is de. Set data.target_lang=tree"):
        load_corpora(str(file), DataConfig(), "train", tmp_path)
    files = write_text_files(tmp_path)
    with pytest.raises(InputError, match=r"data.target_lang=tree needs a treebank, but .* is none. Give a file"):
        load_corpora(files, DataConfig(target_lang="tree"), "train", tmp_path)
    with pytest.raises(InputError, match=r"means a source file and a target file, but .*trees.gz is neither"):
        parse_specs([files[0], str(file)])
