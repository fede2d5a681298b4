"""What all tokenizers have in common, and `open_tokenizer`, which recognises their files by the content."""

from pathlib import Path

import pytest

from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, train_tokenizer
from tests.data_pipeline.tokenizers.texts import make_text, write_gpt2_files


@pytest.fixture(params=["subwords", "characters", "byte pairs"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> TextTokenizer:
    file = tmp_path / "tokenizer.model"
    if request.param == "subwords":
        return train_tokenizer(iter(make_text().split("\n")), file, 300)
    if request.param == "characters":
        return CharTokenizer.learn([make_text()], file)
    pytest.importorskip("tokenizers")
    return BytePairTokenizer.from_gpt2_folder(tmp_path, write_gpt2_files(tmp_path), file)


def test_open_tokenizer_returns_tokenizer_that_wrote_file(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    opened = open_tokenizer(tmp_path / "tokenizer.model")
    assert type(opened) is type(tokenizer)
    assert opened.encode_text(make_text()) == tokenizer.encode_text(make_text())
    assert (opened.vocab_size, opened.end_id) == (tokenizer.vocab_size, tokenizer.end_id)


def test_encode_text_returns_ids_of_vocabulary(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode_text(make_text())
    assert 0 <= min(ids) <= max(ids) < tokenizer.vocab_size


def test_decode_text_accepts_every_id(tokenizer: TextTokenizer) -> None:
    assert tokenizer.decode_text(list(range(tokenizer.vocab_size)))
    assert tokenizer.decode_text([]) == ""


def test_save_copies_file_of_each_kind(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    tokenizer.save(tmp_path / "copy")
    first, second = tmp_path / "tokenizer.model", tmp_path / "copy" / "tokenizer.model"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("content", ["", "hello", "{", "[]", '{"a": 1}', '{"type": "words"}', "[" * 100_000])
def test_open_tokenizer_rejects_file_of_unknown_kind(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.model").write_text(content)
    known = (
        r"odd\.model is not a tokenizer of a known kind: .* SentencePiece model, .* 'characters', or a tokenizer\.json"
    )
    with pytest.raises(ValueError, match=known):
        open_tokenizer(tmp_path / "odd.model")


def test_open_tokenizer_fails_if_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.model"):
        open_tokenizer(tmp_path / "nowhere.model")


def test_tokenizer_rejects_tokenizer_for_language_modelling(tmp_path: Path) -> None:
    CharTokenizer.learn(["abc"], tmp_path / "c.model")
    with pytest.raises(ValueError, match=r"c\.model is a tokenizer of the type characters\. This needs"):
        Tokenizer(tmp_path / "c.model")


def test_tokenizer_rejects_empty_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.model").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.model is not a SentencePiece model: the file is empty"):
        Tokenizer(tmp_path / "empty.model")
    assert capfd.readouterr() == ("", "")
