"""SentencePiece keeps every text, has fixed special ids, and is trained only on the text that it gets."""

import errno
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentencepiece

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    Tokenizer,
    normalize,
    train_tokenizer,
)
from tests.data_pipeline.tokenizers.texts import HARD_TEXTS, make_random_texts, make_text

WORDS = [
    "the",
    "old",
    "house",
    "stands",
    "on",
    "a",
    "hill",
    "das",
    "alte",
    "Haus",
    "steht",
    "am",
    "Hügel",
    "Fluß",
    "Nacht",
    "garden",
    "kalt",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) for _ in range(count)]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("tokenizer") / "t.model"
    return train_tokenizer(iter(sentences(300)), file, 295, request.param)


ODD = [
    "",
    "a",
    "Das alte Haus.",
    "two  spaces and   three",
    "tab\there",
    "… ½ ﬁ № ²",
    "😀 👩‍👩‍👧 🇩🇪",
    "„Anführung“ ‚einfach‘ «guillemets»",
    "e\u0301 and A\u030a",
    "日本語のテキスト и русский",
    "no\u00a0break \u2028line \x85next \u200b\ufeffinvisible",
    "carriage\rreturn and \x00 \x1b controls",
    "<s> </s> <unk> <pad> <0x41>",
    "▁ and ▂▁▁ and\u2581\ue000\ue001",
    "⁇ \ufffd ?",
    "  \u3000 outer white space \t ",
]


@pytest.mark.parametrize("text", ODD)
def test_tokenizer_round_trips_normalised_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode([text])) == [normalize(text)]


def test_tokenizer_round_trips_random_unicode(tokenizer: Tokenizer) -> None:
    rng = random.Random(7)
    alphabets = [(0x20, 0x7F), (0xA0, 0x250), (0x2500, 0x25A0), (0xE000, 0xE010), (0x1F300, 0x1F600)]
    texts = ["".join(chr(rng.randrange(*rng.choice(alphabets))) for _ in range(12)) for _ in range(300)]
    assert tokenizer.decode(tokenizer.encode(texts)) == [normalize(text) for text in texts]


@pytest.mark.parametrize("text", ODD)
def test_encode_never_returns_unk(tokenizer: Tokenizer, text: str) -> None:
    assert UNK_ID not in tokenizer.encode([text])[0]


def test_encode_ends_with_eos_as_only_special_id(tokenizer: Tokenizer) -> None:
    for ids in tokenizer.encode(ODD):
        assert ids[-1] == EOS_ID
        assert not {PAD_ID, UNK_ID, BOS_ID, EOS_ID} & set(ids[:-1])


def test_special_ids_are_0_to_3(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert (model.pad_id(), model.unk_id(), model.bos_id(), model.eos_id()) == (0, 1, 2, 3)
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)


def test_decode_ignores_pad_bos_and_eos(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["the old house"])[0]
    assert tokenizer.decode([[BOS_ID, *ids, PAD_ID, PAD_ID]]) == ["the old house"]


def test_decode_replaces_invalid_utf8(tokenizer: Tokenizer) -> None:
    first_byte_of_two = tokenizer.encode(["ÿ"])[0][-3]
    assert "\ufffd" in tokenizer.decode([[first_byte_of_two, EOS_ID]])[0]


def test_encode_replaces_lone_surrogate(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(["a \ud83d b"])) == ["a \ufffd b"]


def test_normalize_composes_and_makes_spaces_plain_and_strips() -> None:
    assert normalize("\u3000 e\u0301 … ½\t\u00a0x\u200by\u2009z\ufeff \n") == "é … ½\t x y z"
    assert normalize("\u200d \u00ad\u200e") == "\u200d \u00ad\u200e"  # joiners, soft hyphens and directions stay


def test_normalize_without_unicode_rule_only_strips() -> None:
    text = "e\u0301 ½\t\u00a0x\u200by"
    assert normalize(f" {text}\ud800 \n", unicode=False) == f"{text}\ufffd"
    assert normalize(normalize("e\u0301")) == normalize("e\u0301")


def test_encode_does_not_depend_on_threads(tokenizer: Tokenizer) -> None:
    texts = sentences(200, seed=3)
    assert tokenizer.encode(texts, threads=4) == tokenizer.encode(texts)


def test_tokenizer_save_copies_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    tokenizer.save(tmp_path / "first")
    Tokenizer(tmp_path / "first" / "tokenizer.model").save(tmp_path / "second")
    first, second = (tmp_path / name / "tokenizer.model" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_train_tokenizer_gives_same_bytes_for_same_text(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        train_tokenizer(iter(sentences(200)), tmp_path / name, 290, kind)  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_train_tokenizer_names_largest_size_if_vocab_size_is_too_large(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 5000, .* at most \d+ subwords") as error:
        train_tokenizer(iter(sentences(50)), tmp_path / "t", 5000, kind)  # type: ignore[arg-type]
    largest = int(str(error.value).split("at most ")[1].split()[0])
    assert train_tokenizer(iter(sentences(50)), tmp_path / "t", largest, kind).vocab_size == largest  # type: ignore[arg-type]


def test_train_tokenizer_names_smallest_size_if_vocab_size_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 100, .* Set data\.vocab_size=2.. or higher"):
        train_tokenizer(iter(sentences(50)), tmp_path / "t", 100)


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_train_tokenizer_rejects_empty_text(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no text to train a tokenizer on"):
        train_tokenizer(iter(texts), tmp_path / "t", 300)


def test_train_tokenizer_reads_only_start_of_very_long_line(tmp_path: Path) -> None:
    line = "word " * 50_000
    tokenizer = train_tokenizer(iter([*sentences(100), line + "qqqqzz " * 9]), tmp_path / "t", 300)
    assert len(tokenizer.encode([line])[0]) > 50_000
    assert len(tokenizer.encode(["qqqqzz"])[0]) > 6, "its end was not seen, so it falls into bytes"


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), ValueError("bad line 7")])
@pytest.mark.parametrize("before", [0, 500])
def test_train_tokenizer_raises_exception_of_texts(tmp_path: Path, failure: BaseException, before: int) -> None:
    def texts() -> Iterator[str]:
        yield from sentences(before)
        raise failure

    with pytest.raises(type(failure)) as error:
        train_tokenizer(texts(), tmp_path / "t", 290)
    assert error.value is failure
    assert not (tmp_path / "t").exists()


def test_train_tokenizer_does_not_print(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train_tokenizer(iter(sentences(50)), tmp_path / "t", 290)
    assert capfd.readouterr() == ("", "")


def test_tokenizer_fails_if_file_is_missing_or_of_other_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.model"):
        Tokenizer(tmp_path / "nowhere.model")
    (tmp_path / "text.model").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.model is not a SentencePiece model"):
        Tokenizer(tmp_path / "text.model")


def test_tokenizer_rejects_model_with_other_special_ids(tmp_path: Path) -> None:
    with (tmp_path / "other.model").open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(100)), model_writer=out, vocab_size=40, minloglevel=2
        )
    with pytest.raises(ValueError, match=r"other\.model was not trained by this project"):
        Tokenizer(tmp_path / "other.model")


# Text for language modelling


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def text_tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("text") / "tokenizer.model"
    return train_tokenizer(iter(make_text().split("\n")), file, 288, request.param)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_encode_text_round_trips_with_white_space(text_tokenizer: Tokenizer, text: str) -> None:
    assert text_tokenizer.decode_text(text_tokenizer.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_encode_text_round_trips_random_text(text_tokenizer: Tokenizer) -> None:
    for text in make_random_texts():
        assert text_tokenizer.decode_text(text_tokenizer.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_encode_text_round_trips_random_code_points(text_tokenizer: Tokenizer) -> None:
    rng = random.Random(3)
    for _ in range(300):
        codes = [rng.choice([rng.randrange(0x300), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])]
        text = " \n".join(chr(code) for code in codes * 2)
        assert text_tokenizer.decode_text(text_tokenizer.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_encode_text_composes_and_replaces_lone_surrogate(text_tokenizer: Tokenizer) -> None:
    assert text_tokenizer.decode_text(text_tokenizer.encode_text(" e\u0301\ud83d\n")) == " é\ufffd\n"


def test_encode_text_returns_no_special_id(text_tokenizer: Tokenizer) -> None:
    for text in HARD_TEXTS:
        assert not {PAD_ID, UNK_ID, BOS_ID, EOS_ID} & set(text_tokenizer.encode_text(text))


def test_encode_text_gives_line_same_ids_as_sentence(text_tokenizer: Tokenizer) -> None:
    lines = ["the old house stands", "on a hill"]
    newline = text_tokenizer.encode_text("\n")
    first, second = (ids[:-1] for ids in text_tokenizer.encode(lines))
    assert text_tokenizer.encode_text("\n".join(lines)) == [*first, *newline, *second]
    assert len(newline) == 1


def test_decode_text_of_first_ids_is_start_of_text(text_tokenizer: Tokenizer) -> None:
    text = "\n  the old\n\n é house ▁\n"
    ids = text_tokenizer.encode_text(text)
    for end in range(len(ids)):
        assert text.startswith(text_tokenizer.decode_text(ids[:end]).rstrip("\ufffd"))


def test_decode_text_of_last_ids_is_end_of_text(text_tokenizer: Tokenizer) -> None:
    text = "the old 😀 house\n on a hill"
    ids = text_tokenizer.encode_text(text)
    for start in range(len(ids)):
        assert text.endswith(text_tokenizer.decode_text(ids[start:]).lstrip("\ufffd"))


def test_decode_text_ignores_special_ids_and_marks_unk(text_tokenizer: Tokenizer) -> None:
    ids = text_tokenizer.encode_text("a hill")
    assert text_tokenizer.decode_text([BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID]) == "a hill"
    assert text_tokenizer.decode_text([UNK_ID]) == "\ufffd"


def test_decode_text_replaces_invalid_utf8(text_tokenizer: Tokenizer) -> None:
    ids = text_tokenizer.encode_text("a\u2585")
    assert text_tokenizer.decode_text(ids[:-1]) == "a\ufffd"


def test_tokenizer_ends_document_with_eos(text_tokenizer: Tokenizer) -> None:
    assert text_tokenizer.end_id == EOS_ID


def test_tokenizer_rejects_truncated_model(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    data = (tmp_path / "tokenizer.model").read_bytes()
    for size in range(1, len(data), 211):
        (tmp_path / "short.model").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"short\.model (is not a SentencePiece model|was not trained by)"):
            Tokenizer(tmp_path / "short.model")


def test_tokenizer_rejects_model_with_invalid_utf8(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """SentencePiece loads such a model and fails only when it decodes the subword."""
    tokenizer.save(tmp_path)
    data = (tmp_path / "tokenizer.model").read_bytes()
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    subword = max(model.id_to_piece(list(range(model.vocab_size()))), key=len).encode()
    assert data.count(subword) == 1
    (tmp_path / "bad.model").write_bytes(data.replace(subword, subword[:-1] + b"\xff"))
    with pytest.raises(InputError, match=r"bad\.model is not a SentencePiece model, or is damaged"):
        Tokenizer(tmp_path / "bad.model")
