"""Byte pairs give GPT-2's ids, survive every text, and are read from every file that contains them."""

import base64
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from data_pipeline.tokenizers import byte_pair, open_tokenizer
from data_pipeline.tokenizers.byte_pair import BYTE_NAMES, END, GPT2_VOCAB_SIZE, BytePairTokenizer
from tests.data_pipeline.tokenizers.texts import (
    HARD_TEXTS,
    apply_merge,
    make_random_texts,
    make_text,
    write_gpt2_files,
)

pytest.importorskip("tokenizers")
TEXTS = [*HARD_TEXTS, *make_random_texts(), make_text()]
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="module", params=[False, True], ids=["end_last", "end_first"])
def gpt2_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    write_gpt2_files(folder, request.param)
    return folder


@pytest.fixture
def tokenizer(gpt2_folder: Path, tmp_path: Path) -> BytePairTokenizer:
    return convert(gpt2_folder, tmp_path / "tokenizer.model")


def convert(folder: Path, out_file: Path) -> BytePairTokenizer:
    return BytePairTokenizer.from_gpt2_folder(folder, vocab_size_of(folder), out_file)


def vocab_size_of(folder: Path) -> int:
    return len(read_vocab(folder))


def read_vocab(folder: Path) -> dict[str, int]:
    vocab: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return vocab


def read_merges(folder: Path) -> list[tuple[str, ...]]:
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split(" ")) for line in lines]


def write_ranks_file(folder: Path, file: Path, **changes: Any) -> None:
    """Write the vocabulary of a GPT-2 folder as earlier versions did: tokens in base64, without merges."""
    bytes_of = {name: byte for byte, name in BYTE_NAMES.items()}
    vocab = read_vocab(folder)
    tokens = [bytes(map(bytes_of.__getitem__, name)) for name in sorted(vocab, key=vocab.__getitem__) if name != END]
    ranks = [base64.b64encode(token).decode() for token in tokens]
    content = {"type": "byte-pairs", "pattern": GPT2_PATTERN, "ranks": ranks, "special": {END: vocab[END]}}
    file.write_text(json.dumps(content | changes))


def write_tokenizer_json(folder: Path, file: Path, **changes: Any) -> None:
    """Write the vocabulary of a GPT-2 folder as the library `tokenizers` does."""
    content = {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": read_vocab(folder), "merges": read_merges(folder)},
    }
    file.write_text(json.dumps(content | changes))


# Text to ids and back


def test_byte_pairs_round_trip(tokenizer: BytePairTokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.decode_text(tokenizer.encode_text(text)) == text


def test_byte_pair_ids_equal_gpt2_algorithm(tokenizer: BytePairTokenizer, gpt2_folder: Path) -> None:
    """Compares with the algorithm of GPT-2's encoder.py, written out."""
    regex = pytest.importorskip("regex")
    vocab = read_vocab(gpt2_folder)
    ranks = {pair: rank for rank, pair in enumerate(read_merges(gpt2_folder))}
    for text in TEXTS:
        expected = []
        for match in regex.findall(GPT2_PATTERN, text):
            word = [BYTE_NAMES[byte] for byte in match.encode()]
            while found := [pair for pair in pairwise(word) if pair in ranks]:
                word = apply_merge(word, min(found, key=ranks.__getitem__))
            expected += [vocab[token] for token in word]
        assert tokenizer.encode_text(text) == expected


def test_byte_pair_ids_equal_transformers(tokenizer: BytePairTokenizer, gpt2_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.GPT2Tokenizer.from_pretrained(gpt2_folder)
    assert len(other) == tokenizer.vocab_size
    for text in TEXTS:
        if END not in text:
            assert tokenizer.encode_text(text) == other(text)["input_ids"]


def test_byte_pair_ids_equal_transformers_if_merges_are_reordered(gpt2_folder: Path, tmp_path: Path) -> None:
    """The order of the merges and the ids of the tokens are independent."""
    transformers = pytest.importorskip("transformers")
    vocab = read_vocab(gpt2_folder)
    (tmp_path / "vocab.json").write_text(json.dumps({token: len(vocab) - 1 - i for token, i in vocab.items()}))
    lines = (gpt2_folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "merges.txt").write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    tokenizer = convert(tmp_path, tmp_path / "out")
    other = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode_text(make_text()) == other(make_text())["input_ids"]


def test_byte_pair_ids_do_not_depend_on_split_into_parts(
    tokenizer: BytePairTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ["".join(TEXTS), "\n".join(TEXTS), make_text()]:
        whole = tokenizer.encode_text(text)
        monkeypatch.setattr(byte_pair, "PART", 7)
        assert tokenizer.encode_text(text) == whole
        monkeypatch.undo()


def test_byte_pairs_merge_bytes_of_text(tokenizer: BytePairTokenizer) -> None:
    assert len(tokenizer.encode_text(" the old house")) < len(" the old house") / 2


def test_byte_pairs_encode_name_of_end_token_as_text(tokenizer: BytePairTokenizer) -> None:
    assert tokenizer.end_id not in tokenizer.encode_text(END)


def test_byte_pairs_decode_end_token_to_no_text(tokenizer: BytePairTokenizer, gpt2_folder: Path) -> None:
    end_id = read_vocab(gpt2_folder)[END]
    assert tokenizer.end_id == tokenizer.document_start == end_id
    assert tokenizer.decode_text([*tokenizer.encode_text("old"), end_id]) == "old"


def test_byte_pairs_decode_invalid_utf8_to_replacement_character(tokenizer: BytePairTokenizer) -> None:
    assert tokenizer.decode_text(tokenizer.encode_text("a😀")[:-1]) == "a\ufffd"


def test_byte_pairs_replace_lone_surrogate(tokenizer: BytePairTokenizer) -> None:
    assert tokenizer.decode_text(tokenizer.encode_text("a\ud83d ")) == "a\ufffd "


def test_byte_pairs_encode_very_long_run_of_spaces(tokenizer: BytePairTokenizer) -> None:
    text = " " * 1_000_000 + "a"
    assert tokenizer.decode_text(tokenizer.encode_text(text)) == text


# Files


def test_write_gpt2_files_reproduces_gpt2_files(
    tokenizer: BytePairTokenizer, gpt2_folder: Path, tmp_path: Path
) -> None:
    tokenizer.write_gpt2_files(tmp_path)
    assert read_vocab(tmp_path) == read_vocab(gpt2_folder)
    assert (tmp_path / "merges.txt").read_bytes() == (gpt2_folder / "merges.txt").read_bytes()


def test_from_gpt2_folder_reads_merges_without_version_line(
    tokenizer: BytePairTokenizer, gpt2_folder: Path, tmp_path: Path
) -> None:
    tokenizer.write_gpt2_files(tmp_path)
    lines = (tmp_path / "merges.txt").read_text(encoding="utf-8").split("\n")
    (tmp_path / "merges.txt").write_text("\n".join(lines[1:]), encoding="utf-8")
    convert(tmp_path, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "tokenizer.model").read_bytes()


@pytest.mark.parametrize("merges_as_text", [False, True])
def test_from_gpt2_folder_reads_tokenizer_json(gpt2_folder: Path, tmp_path: Path, merges_as_text: bool) -> None:
    merges: list[Any] = [" ".join(merge) if merges_as_text else list(merge) for merge in read_merges(gpt2_folder)]
    model = {"type": "BPE", "vocab": read_vocab(gpt2_folder), "merges": merges}
    write_tokenizer_json(gpt2_folder, tmp_path / "tokenizer.json", model=model)
    tokenizer = BytePairTokenizer.from_gpt2_folder(tmp_path, vocab_size_of(gpt2_folder), tmp_path / "a")
    convert(gpt2_folder, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert tokenizer.vocab_size == vocab_size_of(gpt2_folder)


def test_from_gpt2_folder_reads_tokenizer_json_of_transformers(gpt2_folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.GPT2Tokenizer.from_pretrained(gpt2_folder)
    other.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    BytePairTokenizer.from_gpt2_folder(tmp_path, vocab_size_of(gpt2_folder), tmp_path / "a")
    convert(gpt2_folder, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saved_byte_pairs_load_in_tokenizers_with_same_ids(tokenizer: BytePairTokenizer, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.model"))
    assert other.encode(make_text()).ids == tokenizer.encode_text(make_text())
    assert other.encode(END).ids == [tokenizer.end_id]


def test_byte_pairs_of_earlier_versions_load_with_same_ids(gpt2_folder: Path, tmp_path: Path) -> None:
    write_ranks_file(gpt2_folder, tmp_path / "old")
    old, new = open_tokenizer(tmp_path / "old"), convert(gpt2_folder, tmp_path / "new")
    for text in TEXTS:
        assert old.encode_text(text) == new.encode_text(text)
    assert (old.vocab_size, old.end_id) == (new.vocab_size, new.end_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "characters"},
        {"ranks": ["YQ==", "Yg=="]},
        {"ranks": ["?"]},
        {"ranks": 7},
        {"special": {}},
        {"special": {END: 3000}},
        {"special": {END: 256, "<pad>": 257}},
    ],
)
def test_byte_pairs_of_earlier_versions_reject_damaged_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_gpt2_files(tmp_path)
    write_ranks_file(tmp_path, tmp_path / "t.json", **changes)
    with pytest.raises(ValueError, match=r"t\.json "):
        BytePairTokenizer(tmp_path / "t.json")


def test_byte_pairs_of_earlier_versions_reject_token_that_is_no_merge(tmp_path: Path) -> None:
    write_gpt2_files(tmp_path)
    ranks = [base64.b64encode(token).decode() for token in [*(bytes([byte]) for byte in range(256)), b"abc"]]
    write_ranks_file(tmp_path, tmp_path / "t.json", ranks=ranks, special={END: 257})
    with pytest.raises(ValueError, match=r"t\.json does not contain a byte-pair vocabulary"):
        BytePairTokenizer(tmp_path / "t.json")


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, "does not tokenize text as GPT-2 does: it has a normalizer"),
        ({"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}, "pre_tokenizer.add_prefix_space is True"),
        ({"pre_tokenizer": BYTE_LEVEL | {"use_regex": False}}, "pre_tokenizer.use_regex is False"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer.type is 'Whitespace', not 'ByteLevel'"),
        ({"pre_tokenizer": None}, "does not contain a byte-pair vocabulary"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "model.type is 'WordPiece', not 'BPE'"),
        ({"model": {"type": "BPE", "ignore_merges": True}}, "model.ignore_merges is True"),
        ({"model": {"type": "BPE", "vocab": {}}}, "does not contain a byte-pair vocabulary"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": ["a b c"]}}, "does not contain a byte-pair vocabulary"),
        ({"model": {"type": "BPE", "vocab": {"a": "0"}, "merges": []}}, "must give each token a whole number"),
        ({"model": 7}, "does not contain a byte-pair vocabulary"),
        ({"added_tokens": [{"content": "[PAD]", "id": 300}]}, r"tokens, such as '\[PAD\]', are only in one"),
    ],
)
def test_from_gpt2_folder_rejects_tokenizer_json_of_other_kind(
    gpt2_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_tokenizer_json(gpt2_folder, tmp_path / "tokenizer.json", **changes)
    with pytest.raises(ValueError, match=rf"tokenizer\.json .*{message}"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, 300, tmp_path / "t")


@pytest.mark.parametrize("content", [b"no JSON", b"[" * 100_000, b'{"model": "\xff"}', b"[]"])
def test_from_gpt2_folder_rejects_damaged_tokenizer_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json does not contain a byte-pair vocabulary, or is damaged"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, 300, tmp_path / "t")


def test_from_gpt2_folder_rejects_vocabulary_and_merges_that_do_not_match(tmp_path: Path) -> None:
    write_gpt2_files(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json and .*merges\.txt do not belong together: \d+ tokens, such as"):
        convert(tmp_path, tmp_path / "t")


def test_from_gpt2_folder_rejects_gap_in_ids(tmp_path: Path) -> None:
    size = write_gpt2_files(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps(read_vocab(tmp_path) | {END: size + 5}))
    with pytest.raises(ValueError, match=r"vocab\.json and .* must be 0 to \d+, each exactly once"):
        convert(tmp_path, tmp_path / "t")


def test_from_gpt2_folder_rejects_merge_without_two_tokens(tmp_path: Path) -> None:
    write_gpt2_files(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(ValueError, match=r"merges\.txt, line 3: 'a b c' must be the two tokens"):
        convert(tmp_path, tmp_path / "t")


def test_from_gpt2_folder_rejects_merges_that_are_not_utf8(tmp_path: Path) -> None:
    write_gpt2_files(tmp_path)
    (tmp_path / "merges.txt").write_bytes(b"#version: 0.2\na \xff\n")
    with pytest.raises(ValueError, match=r"merges\.txt, line 2: byte 0xff is not UTF-8"):
        convert(tmp_path, tmp_path / "t")


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b'{"a": "b"}', b"[" * 100_000, b"\xff"])
def test_from_gpt2_folder_rejects_damaged_vocab_json(tmp_path: Path, content: bytes) -> None:
    size = write_gpt2_files(tmp_path)
    (tmp_path / "vocab.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"vocab\.json .*(is damaged|is not GPT-2|must give)"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, size, tmp_path / "t")


def test_from_gpt2_folder_rejects_folder_without_vocabulary(tmp_path: Path) -> None:
    write_gpt2_files(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"Put vocab\.json and merges\.txt, or tokenizer\.json, next to"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, 300, tmp_path / "t")


def test_from_gpt2_folder_rejects_vocabulary_of_other_size(tmp_path: Path) -> None:
    size = write_gpt2_files(tmp_path)
    with pytest.raises(ValueError, match=rf"has {size} tokens but the model has 999"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, 999, tmp_path / "t")


# The Hub


def use_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the Hub's client return the files of a local folder."""

    def download(name: str, file: str) -> str:
        assert name == "openai-community/gpt2"
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def test_gpt2_writes_vocabulary_of_hub(gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, gpt2_folder)
    BytePairTokenizer.gpt2(tmp_path / "a")
    convert(gpt2_folder, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_from_gpt2_folder_downloads_vocabulary_only_for_gpt2_size(
    gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, gpt2_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="but the model has 50257"):  # the Hub's vocabulary was read: it is small
        BytePairTokenizer.from_gpt2_folder(tmp_path / "empty", GPT2_VOCAB_SIZE, tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="has no vocabulary"):
        BytePairTokenizer.from_gpt2_folder(tmp_path / "empty", GPT2_VOCAB_SIZE - 1, tmp_path / "b")


def test_gpt2_without_network_raises_connection_error(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\nfrom data_pipeline.tokenizers.byte_pair import BytePairTokenizer\n"
        "try:\n    BytePairTokenizer.gpt2(Path('t'))\nexcept ConnectionError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.stderr == ""
    assert run.stdout.startswith("GPT-2's vocabulary (openai-community/gpt2) could not be downloaded")
    assert "data.tokenizer" in run.stdout


def test_byte_pairs_without_tokenizers_name_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    size = write_gpt2_files(tmp_path)
    with pytest.raises(ValueError, match=r"need the package tokenizers: pip install tokenizers$"):
        BytePairTokenizer.from_gpt2_folder(tmp_path, size, tmp_path / "t")
