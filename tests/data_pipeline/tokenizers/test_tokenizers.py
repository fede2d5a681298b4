"""Running text survives each of its tokenizers; GPT-2's byte pairs are GPT-2's; a file says which tokenizer it is."""

import base64
import json
import random
import sys
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.byte_pair import BYTE_NAMES, END, BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer, train_tokenizer

AWKWARD = [
    "",
    " ",
    "\n",
    "\n\n",
    " a",
    "a ",
    "  a\n  b  \n",
    "\n \n  \n",
    "\ttab\t\n\t",
    "line\r\nline\r\n\rline",
    "old house\n\nold house\n",
    "\u2028\x85\x0b\x0c",
    "▁",
    " ▁ \n▁▁a▁\n▁",
    "😀 👩‍👩‍👧\n 🇩🇪",
    "é ÿ 日本語",
    "<s></s><unk><pad><0x0A> <|endoftext|>",
    "it's 123 they'll   ... !?\n",
    "\x00 \x1b\ufeff\u200b\ufffd",
    "\u0301 starts with an accent\n\u0301",
]
WORDS = ["the", "old", "house", "stands", "on", "a", "hill", "garden", "night", "it's", "12", "…"]


def random_texts(count: int = 300, seed: int = 5) -> list[str]:
    rng = random.Random(seed)
    parts = [*WORDS, *" \n\t\r▁…é😀\u3000\x00\x85", "  ", "\n ", " \n", "\n\n"]
    return ["".join(rng.choices(parts, k=rng.randint(0, 12))) for _ in range(count)]


def running_text(lines: int = 200, seed: int = 1) -> str:
    rng = random.Random(seed)
    return "\n".join(" " * rng.choice([0, 0, 2]) + " ".join(rng.choices(WORDS, k=7)) for _ in range(lines))


def write_gpt2_files(folder: Path, end_first: bool = False) -> tuple[Path, Path]:
    """A vocab.json and a merges.txt of byte pairs learned from a text, in GPT-2's form."""
    words = [[BYTE_NAMES[byte] for byte in f" {word}".encode()] for word in [*WORDS, "  ", "\n\n", "aaaa", "日本"]]
    learned: list[tuple[str, str]] = []
    while pairs := [pair for word in words for pair in pairwise(word)]:
        best = max(sorted(set(pairs)), key=pairs.count)
        learned.append(best)
        words = [merged(word, best) for word in words]
    tokens = [*BYTE_NAMES.values(), *(a + b for a, b in learned)]
    tokens = [END, *tokens] if end_first else [*tokens, END]
    vocab_json, merges_txt = folder / "vocab.json", folder / "merges.txt"
    vocab_json.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    merges_txt.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in learned), encoding="utf-8")
    return vocab_json, merges_txt


def merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


# SentencePiece


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def pieces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    return train_tokenizer(iter(running_text().split("\n")), file, 288, request.param)


@pytest.mark.parametrize("text", AWKWARD)
def test_pieces_give_a_text_back_with_all_its_white_space(pieces: Tokenizer, text: str) -> None:
    assert pieces.decode_text(pieces.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_pieces_give_random_texts_back(pieces: Tokenizer) -> None:
    for text in random_texts():
        assert pieces.decode_text(pieces.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_pieces_give_random_code_points_back(pieces: Tokenizer) -> None:
    rng = random.Random(3)
    for _ in range(300):
        codes = [rng.choice([rng.randrange(0x300), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])]
        text = " \n".join(chr(code) for code in codes * 2)
        assert pieces.decode_text(pieces.encode_text(text)) == unicodedata.normalize("NFC", text)


def test_pieces_compose_a_text_and_replace_half_a_surrogate_pair(pieces: Tokenizer) -> None:
    assert pieces.decode_text(pieces.encode_text(" e\u0301\ud83d\n")) == " é\ufffd\n"


def test_an_encoded_text_has_no_special_id(pieces: Tokenizer) -> None:
    for text in AWKWARD:
        assert not {PAD_ID, UNK_ID, BOS_ID, EOS_ID} & set(pieces.encode_text(text))


def test_a_line_of_running_text_has_the_pieces_it_has_as_a_sentence(pieces: Tokenizer) -> None:
    lines = ["the old house stands", "on a hill"]
    newline = pieces.encode_text("\n")
    first, second = (ids[:-1] for ids in pieces.encode(lines))
    assert pieces.encode_text("\n".join(lines)) == [*first, *newline, *second]
    assert len(newline) == 1


def test_every_beginning_of_the_ids_gives_a_beginning_of_the_text(pieces: Tokenizer) -> None:
    text = "\n  the old\n\n é house ▁\n"
    ids = pieces.encode_text(text)
    for end in range(len(ids)):
        assert text.startswith(pieces.decode_text(ids[:end]).rstrip("\ufffd"))


def test_ids_from_the_middle_give_the_rest_of_the_text(pieces: Tokenizer) -> None:
    text = "the old 😀 house\n on a hill"
    ids = pieces.encode_text(text)
    for start in range(len(ids)):
        assert text.endswith(pieces.decode_text(ids[start:]).lstrip("\ufffd"))


def test_special_ids_are_left_out_of_a_text_and_an_unknown_piece_is_marked(pieces: Tokenizer) -> None:
    ids = pieces.encode_text("a hill")
    assert pieces.decode_text([BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID]) == "a hill"
    assert pieces.decode_text([UNK_ID]) == "\ufffd"


def test_a_byte_that_is_no_utf8_becomes_the_replacement_character(pieces: Tokenizer) -> None:
    ids = pieces.encode_text("a\u2585")
    assert pieces.decode_text(ids[:-1]) == "a\ufffd"


def test_pieces_end_a_document_with_eos(pieces: Tokenizer) -> None:
    assert pieces.end_id == EOS_ID


# Characters


@pytest.fixture
def characters(tmp_path: Path) -> CharTokenizer:
    return CharTokenizer.learn(["".join(AWKWARD), *random_texts()], tmp_path / "tokenizer.model")


def test_characters_give_every_text_back(characters: CharTokenizer) -> None:
    for text in [*AWKWARD, *random_texts()]:
        assert characters.decode_text(characters.encode_text(text)) == text


def test_the_vocabulary_is_the_characters_of_the_text_by_code_point(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.learn(["hello\n", "Welt 😀!"], tmp_path / "t")
    assert tokenizer.decode_text(list(range(tokenizer.vocab_size))) == "\n !Wehlot😀"


def test_a_line_end_is_a_character_even_of_a_text_without_one(tmp_path: Path) -> None:
    assert CharTokenizer.learn(["ab"], tmp_path / "t").encode_text("a\nb") == [1, 0, 2]


def test_characters_have_no_token_that_ends_a_document(characters: CharTokenizer) -> None:
    assert characters.end_id is None


def test_an_unknown_character_is_named_with_its_place(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.learn(["abc"], tmp_path / "t")
    with pytest.raises(
        ValueError,
        match=r"'é' \(U\+00E9\) \(in 'ab\\na\\né.*'\), which is not one of the 4 characters .*: take it out or",
    ):
        tokenizer.encode_text("ab\na\né😀")


def test_half_a_surrogate_pair_is_no_character(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'\\ud83d' \(U\+D83D\), half of a surrogate pair"):
        CharTokenizer.learn(["a\ud83d"], tmp_path / "t")
    with pytest.raises(ValueError, match=r"has .*\(U\+D83D\)"):
        CharTokenizer.learn(["a"], tmp_path / "t").encode_text("a\ud83d")


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text_has_no_characters(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no text to learn characters from"):
        CharTokenizer.learn(texts, tmp_path / "t")


def test_a_million_characters_take_no_time(tmp_path: Path) -> None:
    text = running_text(200) * 200
    assert len(text) > 1_000_000
    tokenizer = CharTokenizer.learn([text], tmp_path / "t")
    begin = time.perf_counter()
    assert tokenizer.decode_text(tokenizer.encode_text(text)) == text
    assert time.perf_counter() - begin < 2, "seconds, of which a tenth is usual"


@pytest.mark.parametrize(
    "content", ["", "hello", "[]", "{}", '{"type": "characters"}', '{"type": "characters", "characters": "aa"}']
)
def test_a_damaged_vocabulary_of_characters_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match=r"t\.json is no vocabulary of characters"):
        CharTokenizer(tmp_path / "t.json")


# Byte pairs


@pytest.fixture(scope="module", params=[False, True], ids=["end_last", "end_first"])
def gpt2_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_gpt2_files(tmp_path_factory.mktemp("gpt2"), request.param)


@pytest.fixture
def byte_pairs(gpt2_files: tuple[Path, Path], tmp_path: Path) -> BytePairTokenizer:
    pytest.importorskip("tiktoken")
    return BytePairTokenizer.from_gpt2_files(*gpt2_files, tmp_path / "tokenizer.model")


def test_byte_pairs_give_every_text_back(byte_pairs: BytePairTokenizer) -> None:
    for text in [*AWKWARD, *random_texts()]:
        assert byte_pairs.decode_text(byte_pairs.encode_text(text)) == text


def test_byte_pairs_are_those_of_transformers(byte_pairs: BytePairTokenizer, gpt2_files: tuple[Path, Path]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2TokenizerFast.from_pretrained(gpt2_files[0].parent)
    assert len(theirs) == byte_pairs.vocab_size
    for text in [*AWKWARD, *random_texts(), running_text()]:
        if END not in text:
            assert byte_pairs.encode_text(text) == theirs(text)["input_ids"]


def test_a_text_takes_fewer_tokens_than_bytes(byte_pairs: BytePairTokenizer) -> None:
    assert len(byte_pairs.encode_text(" the old house")) < len(" the old house") / 2


def test_the_name_of_the_end_token_is_text_like_any_other(byte_pairs: BytePairTokenizer) -> None:
    assert byte_pairs.end_id not in byte_pairs.encode_text(END)


def test_the_end_token_ends_a_document_and_is_left_out_of_its_text(
    byte_pairs: BytePairTokenizer, gpt2_files: tuple[Path, Path]
) -> None:
    end = json.loads(gpt2_files[0].read_text())[END]
    assert byte_pairs.end_id == end
    assert byte_pairs.decode_text([*byte_pairs.encode_text("old"), end]) == "old"


def test_bytes_that_are_no_utf8_become_the_replacement_character(byte_pairs: BytePairTokenizer) -> None:
    assert byte_pairs.decode_text(byte_pairs.encode_text("a😀")[:-1]) == "a\ufffd"


def test_half_a_surrogate_pair_in_byte_pairs_becomes_the_replacement_character(byte_pairs: BytePairTokenizer) -> None:
    assert byte_pairs.decode_text(byte_pairs.encode_text("a\ud83d ")) == "a\ufffd "


def test_a_run_of_blanks_that_tiktoken_cannot_take_is_one_sentence(byte_pairs: BytePairTokenizer) -> None:
    with pytest.raises(ValueError, match=r"cannot divide a text of 3000001 characters: .* Shorten the run"):
        byte_pairs.encode_text(" " * 3_000_000 + "a")


def test_a_vocabulary_gives_gpt2s_files_back(
    byte_pairs: BytePairTokenizer, gpt2_files: tuple[Path, Path], tmp_path: Path
) -> None:
    vocab, merges = byte_pairs.vocab_and_merges()
    assert vocab == json.loads(gpt2_files[0].read_text())
    assert merges == gpt2_files[1].read_text().splitlines()[1:]


def test_gpt2_files_without_a_version_line_are_the_same(
    byte_pairs: BytePairTokenizer, gpt2_files: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "merges.txt").write_text("\n".join(byte_pairs.vocab_and_merges()[1]), encoding="utf-8")
    BytePairTokenizer.from_gpt2_files(gpt2_files[0], tmp_path / "merges.txt", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "tokenizer.model").read_bytes()


def test_gpt2s_vocabulary_from_tiktoken_is_the_one_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ours = BytePairTokenizer.from_gpt2_files(*write_gpt2_files(tmp_path), tmp_path / "files")
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: ours._encoding)
    BytePairTokenizer.gpt2(tmp_path / "tiktoken")
    assert (tmp_path / "tiktoken").read_bytes() == (tmp_path / "files").read_bytes()


def test_a_download_that_fails_is_one_sentence_with_two_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiktoken = pytest.importorskip("tiktoken")

    def offline(name: str) -> None:
        raise TimeoutError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(ConnectionError, match=r"\(TimeoutError\): let TIKTOKEN_CACHE_DIR .* vocab\.json and merges"):
        BytePairTokenizer.gpt2(tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_without_tiktoken_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ValueError, match=r'pip install "paper-transformer\[gpt2\]"'):
        BytePairTokenizer.from_gpt2_files(*write_gpt2_files(tmp_path), tmp_path / "t")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    vocab_json, _ = write_gpt2_files(tmp_path)
    (tmp_path / "short.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json and .*short\.txt do not belong together: \d+ tokens, such as"):
        BytePairTokenizer.from_gpt2_files(vocab_json, tmp_path / "short.txt", tmp_path / "t")


def test_merges_in_another_order_than_the_tokens_are_refused(tmp_path: Path) -> None:
    vocab_json, merges_txt = write_gpt2_files(tmp_path)
    lines = merges_txt.read_text(encoding="utf-8").splitlines()
    merges_txt.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    with pytest.raises(ValueError, match="not numbered in the order of the merges"):
        BytePairTokenizer.from_gpt2_files(vocab_json, merges_txt, tmp_path / "t")


def test_tokens_in_another_order_than_they_can_be_merged_in_are_refused(tmp_path: Path) -> None:
    vocab_json, merges_txt = write_gpt2_files(tmp_path)
    vocab = json.loads(vocab_json.read_text())
    vocab_json.write_text(json.dumps({token: (len(vocab) - 1 - i) for token, i in vocab.items()}))
    with pytest.raises(ValueError, match="not numbered in the order of the merges"):
        BytePairTokenizer.from_gpt2_files(vocab_json, merges_txt, tmp_path / "t")


def test_ids_with_a_gap_are_refused(tmp_path: Path) -> None:
    vocab_json, merges_txt = write_gpt2_files(tmp_path)
    vocab = json.loads(vocab_json.read_text())
    vocab_json.write_text(json.dumps(vocab | {END: len(vocab) + 5}))
    with pytest.raises(ValueError, match=r"must be 0 … \d+, each once"):
        BytePairTokenizer.from_gpt2_files(vocab_json, merges_txt, tmp_path / "t")


def test_a_merge_that_is_no_pair_is_named_with_its_line(tmp_path: Path) -> None:
    vocab_json, merges_txt = write_gpt2_files(tmp_path)
    merges_txt.write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(ValueError, match=r"merges\.txt, line 3: 'a b c' should be the two tokens"):
        BytePairTokenizer.from_gpt2_files(vocab_json, merges_txt, tmp_path / "t")


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"a": "b"}'])
def test_a_vocab_json_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    vocab_json, merges_txt = write_gpt2_files(tmp_path)
    vocab_json.write_text(content)
    with pytest.raises(ValueError, match=r"vocab\.json .*should be GPT-2's vocab\.json"):
        BytePairTokenizer.from_gpt2_files(vocab_json, merges_txt, tmp_path / "t")


BYTES = [base64.b64encode(bytes([byte])).decode() for byte in range(256)]
WHOLE = {"type": "byte-pairs", "pattern": ".", "ranks": BYTES, "special": {END: 256}}


@pytest.mark.parametrize(
    "change",
    [
        {"type": "characters"},
        {"ranks": BYTES[1:]},
        {"ranks": [*BYTES, BYTES[0]]},
        {"ranks": [*BYTES[:-1], "?"]},
        {"special": {}},
        {"special": {END: 300}},
        {"special": {END: 256, "<pad>": 256}},
    ],
)
def test_a_damaged_vocabulary_of_byte_pairs_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "t.json").write_text(json.dumps(WHOLE | change))
    with pytest.raises(ValueError, match=r"t\.json is no vocabulary of byte pairs"):
        BytePairTokenizer(tmp_path / "t.json")


# All kinds


@pytest.fixture(params=["pieces", "characters", "byte pairs"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> TextTokenizer:
    file = tmp_path / "tokenizer.model"
    if request.param == "pieces":
        return train_tokenizer(iter(running_text().split("\n")), file, 300)
    if request.param == "characters":
        return CharTokenizer.learn([running_text()], file)
    pytest.importorskip("tiktoken")
    return BytePairTokenizer.from_gpt2_files(*write_gpt2_files(tmp_path), file)


def test_a_file_opens_as_the_tokenizer_that_wrote_it(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    opened = open_tokenizer(tmp_path / "tokenizer.model")
    assert type(opened) is type(tokenizer)
    assert opened.encode_text(running_text()) == tokenizer.encode_text(running_text())
    assert (opened.vocab_size, opened.end_id) == (tokenizer.vocab_size, tokenizer.end_id)


def test_every_id_of_a_text_is_in_the_vocabulary(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode_text(running_text())
    assert 0 <= min(ids) <= max(ids) < tokenizer.vocab_size


def test_every_id_can_be_decoded(tokenizer: TextTokenizer) -> None:
    assert tokenizer.decode_text(list(range(tokenizer.vocab_size)))
    assert tokenizer.decode_text([]) == ""


def test_saving_copies_the_file_of_every_kind_to_the_byte(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    tokenizer.save(tmp_path / "copy")
    first, second = tmp_path / "tokenizer.model", tmp_path / "copy" / "tokenizer.model"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("content", ["", "hello", "{", "[]", '{"a": 1}', '{"type": "words"}'])
def test_a_file_of_no_known_kind_is_named_with_the_known_kinds(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.model").write_text(content)
    known = r"odd\.model is no tokenizer .* SentencePiece models .* 'characters' and 'byte-pairs'"
    with pytest.raises(ValueError, match=known):
        open_tokenizer(tmp_path / "odd.model")


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.model"):
        open_tokenizer(tmp_path / "nowhere.model")


def test_a_tokenizer_of_running_text_is_refused_for_sentence_pairs(tmp_path: Path) -> None:
    CharTokenizer.learn(["abc"], tmp_path / "c.model")
    with pytest.raises(ValueError, match=r"c\.model is a tokenizer of running text \(characters\), not for sentence"):
        Tokenizer(tmp_path / "c.model")


def test_an_empty_file_is_no_sentencepiece_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.model").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.model is not a SentencePiece model: it is empty"):
        Tokenizer(tmp_path / "empty.model")
    assert capfd.readouterr() == ("", "")
