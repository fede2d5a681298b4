"""Prepared text contains all of the text, no held-out text in training, and the same ids every time."""

import gzip
import json
from pathlib import Path

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.fingerprint import fingerprint
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.tokenizers import open_tokenizer

LINES = [f"Line {i}: the quick brown fox jumps, {i * i} times!" for i in range(300)]
TEXT = "\n".join(LINES) + "\n"


def write(folder: Path, name: str, content: str) -> str:
    file = folder / name
    file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return str(file)


def config(train: object, **settings: object) -> DataConfig:
    return DataConfig(**({"task": "language_modelling", "train": train, "vocab_type": "characters"} | settings))  # type: ignore[arg-type]


def run(data: DataConfig, folder: Path) -> PreparedData:
    return prepare(data, folder / "cache", quiet=True)


def decode(prepared: PreparedData, part: str) -> str:
    examples = {"train": prepared.train, "valid": prepared.valid}[part]
    return open_tokenizer(prepared.tokenizer_file).decode_text(examples.stores[0].flat.tolist())


def prompt_and_answer(prepared: PreparedData, row: int) -> tuple[str, str]:
    tokenizer, data = open_tokenizer(prepared.tokenizer_file), prepared.train
    ids, mask = data.ids[row].tolist(), data.mask[row].tolist()  # type: ignore[index]
    split = mask.index(1)
    assert set(mask[split:]) == {1}
    return tokenizer.decode_text(ids[:split]), tokenizer.decode_text(ids[split:])


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "poem"])
def test_prepared_text_equals_file_and_its_end_is_held_out(tmp_path: Path, name: str) -> None:
    prepared = run(config(write(tmp_path, name, TEXT)), tmp_path)
    mark = int(len(TEXT) * 0.9)
    assert decode(prepared, "train") == TEXT[:mark]
    assert decode(prepared, "valid") == TEXT[mark:]
    assert "the end of data.train is held out" in prepared.summary()


@pytest.mark.parametrize("vocab_type", ["bpe", "unigram"])
def test_sentencepiece_keeps_all_characters_of_text(tmp_path: Path, vocab_type: str) -> None:
    text = "  two spaces\n\n\tand a tab \n" + TEXT
    prepared = run(config(write(tmp_path, "a.txt", text), vocab_type=vocab_type, vocab_size=350), tmp_path)
    assert decode(prepared, "train") + decode(prepared, "valid") == text
    tokenizer = open_tokenizer(prepared.tokenizer_file)
    assert prepared.valid.ids.flat[-1] == tokenizer.end_id, "a document ends with the end token"


def test_prepare_text_holds_out_no_text_if_valid_is_set(tmp_path: Path) -> None:
    prepared = run(config(write(tmp_path, "a.txt", TEXT), valid=write(tmp_path, "b.txt", "Line 7: fox?\n")), tmp_path)
    assert decode(prepared, "train") == TEXT
    assert decode(prepared, "valid") == "Line 7: fox?\n"
    assert "held out" not in prepared.summary()


def test_prepare_text_joins_files_in_given_or_sorted_order(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, f"{name}.txt", f"{name}{name}\n")
    valid = write(tmp_path, "v.text", "a\n")
    assert decode(run(config(str(tmp_path / "*.txt"), valid=valid), tmp_path), "train") == "aa\nbb\ncc\n"
    listed = config([str(tmp_path / "c.txt"), str(tmp_path / "a.txt")], valid=valid)
    assert decode(run(listed, tmp_path), "train") == "cc\naa\n"


def test_large_file_is_read_in_segments_and_stays_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.sources.running_text.SEGMENT", 100)
    for layout in ("stream", "documents"):
        data = config([write(tmp_path, "a.txt", TEXT)] * 2, valid=write(tmp_path, "b.txt", TEXT), layout=layout)
        prepared = run(data, tmp_path)
        assert decode(prepared, "train") == TEXT + TEXT
        assert prepared.report["train"]["documents"] == 2
        assert (len(prepared.train.ids) == 2) == (layout == "documents")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet", "folder"])
def test_rows_of_table_or_dataset_are_documents(tmp_path: Path, kind: str) -> None:
    rows = [f"document {i}, which says {i * 7}" for i in range(40)]
    if kind == "jsonl":
        name = write(tmp_path, "a.jsonl", "".join(json.dumps({"id": i, "text": r}) + "\n" for i, r in enumerate(rows)))
    elif kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        lines = [f'{i}{mark}"{r}"' if kind == "csv" else f"{i}{mark}{r}" for i, r in enumerate(rows)]
        name = write(tmp_path, f"a.{kind}", "\n".join([f"id{mark}text", *lines]) + "\n")
    else:
        from datasets import Dataset

        (tmp_path / "set/data").mkdir(parents=True)
        file = tmp_path / ("a.parquet" if kind == "parquet" else "set/data/train-00000-of-00001.parquet")
        Dataset.from_dict({"text": rows, "id": list(range(40))}).to_parquet(str(file))
        name = str(file if kind == "parquet" else tmp_path / "set")
    prepared = run(config(name, layout="documents"), tmp_path)
    assert len(prepared.train.ids) == 36
    assert len(prepared.valid.ids) == 4
    assert decode(prepared, "train") == "".join(row + "\n" for row in rows[:36])


def test_prompt_column_is_not_predicted(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}? ", "text": f"A number, {i}."} for i in range(30)]
    name = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    prepared = run(config(name, prompt_column="question", layout="documents"), tmp_path)
    assert prompt_and_answer(prepared, 3) == ("What is 3? ", "A number, 3.\n")
    answers = sum(len(row["text"]) for row in rows[:27])
    assert prepared.report["train"]["characters"] == answers


@pytest.mark.parametrize("name", ["addition", "calculator"])
def test_built_in_arithmetic_predicts_only_answers(tmp_path: Path, name: str) -> None:
    prepared = run(config(name, layout="documents", problems=50), tmp_path)
    assert len(prepared.train.ids) == 50
    prompt, predicted = prompt_and_answer(prepared, 0)
    assert prompt.endswith("=")
    assert predicted.endswith("\n")
    valid = set(decode(prepared, "valid").split("\n"))
    assert not valid & set(decode(prepared, "train").split("\n")[:-1])


@pytest.mark.parametrize("vocab_type", ["characters", "bpe", "unigram"])
def test_answer_continues_line_of_prompt(tmp_path: Path, vocab_type: str) -> None:
    rows = [{"question": f"{i} plus un", "text": f"happy{i} dog\nand more"} for i in range(30)]
    name = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    settings = {"prompt_column": "question", "layout": "documents", "vocab_type": vocab_type, "vocab_size": 285}
    prepared = run(config(name, **settings), tmp_path)
    tokenizer = open_tokenizer(prepared.tokenizer_file)
    ids, mask = prepared.train.ids[3].tolist(), prepared.train.mask[3].tolist()  # type: ignore[index]
    assert tokenizer.decode_text(ids).rstrip("\n") == "3 plus unhappy3 dog\nand more"
    assert ids[: mask.index(1)] == tokenizer.encode_text("3 plus un"), "encoded like a prompt"


def test_mask_is_written_if_only_validation_text_has_prompts(tmp_path: Path) -> None:
    prepared = run(config(write(tmp_path, "a.txt", "0123456789+=\n"), valid="addition:valid"), tmp_path)
    assert prepared.valid.mask is not None
    assert prepared.report["valid"]["characters"] == prepared.valid.mask.flat.sum()


def test_each_text_file_of_folder_is_one_document(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        write(tmp_path, name, f"{name}\n\n  two\n" * 5)
    prepared = run(config(str(tmp_path), valid=write(tmp_path, "v.md", "a\n")), tmp_path / "work")
    (tmp_path / "v.md").unlink()
    prepared = run(config(str(tmp_path), valid="addition:valid"), tmp_path / "work")
    assert prepared.report["train"]["documents"] == 2
    assert decode(prepared, "train") == "a.txt\n\n  two\n" * 5 + "b.txt\n\n  two\n" * 5


def test_arithmetic_train_split_is_validated_on_valid_split(tmp_path: Path) -> None:
    prepared = run(config("addition:train", layout="documents", problems=3000, digits=2), tmp_path)
    train, valid = (set(decode(prepared, part).split("\n")[:-1]) for part in ("train", "valid"))
    assert len(valid) > 100
    assert not train & valid


def test_unknown_character_error_names_split_and_context(tmp_path: Path) -> None:
    first = run(config(write(tmp_path, "a.txt", TEXT)), tmp_path)
    data = config(write(tmp_path, "b.txt", "the brown\n" * 50 + "the bröwn fox\n"), tokenizer=str(first.folder))
    with pytest.raises(ValueError, match=r"data\.valid: the text contains 'ö' \(U\+00F6\) \(in .he brown\\nthe br"):
        run(data, tmp_path)


def test_prepare_text_uses_given_tokenizer_unchanged(tmp_path: Path) -> None:
    first = run(config(write(tmp_path, "a.txt", TEXT)), tmp_path)
    other = config(write(tmp_path, "b.txt", "fox fox fox\n" * 9), tokenizer=str(first.folder))
    second = run(other, tmp_path)
    assert second.tokenizer_file.read_bytes() == first.tokenizer_file.read_bytes()
    assert decode(second, "train") + decode(second, "valid") == "fox fox fox\n" * 9


def test_text_fingerprint_changes_with_settings_that_change_ids(tmp_path: Path) -> None:
    name = write(tmp_path, "a.txt", TEXT)
    base = config(name)
    assert fingerprint(base) == fingerprint(config(write(tmp_path, "copy.txt", TEXT), cache_dir="elsewhere"))
    changes = ({"valid_part": 0.2}, {"vocab_type": "bpe"}, {"layout": "documents"}, {"valid": name})
    assert len({fingerprint(base), *(fingerprint(config(name, **change)) for change in changes)}) == 5
    assert fingerprint(DataConfig(train="grammar")) == fingerprint(DataConfig(train="grammar", valid_part=0.5))


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "too short to hold out 10% of it"),
        ("x", {}, "too short to hold out 10% of it"),
        (TEXT, {"vocab_type": "bpe", "vocab_size": 100_000}, "gives at most"),
        (TEXT, {"tokenizer": "nowhere"}, "data.tokenizer=nowhere: there is no file nowhere"),
        (TEXT, {"layout": "documents"}, "too short to hold out 10% of it"),
    ],
)
def test_prepare_text_rejects_unusable_text(
    tmp_path: Path, content: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config(write(tmp_path, "a.txt", content), **settings), tmp_path)


def test_prepare_text_rejects_invalid_utf_8_with_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: byte 0xe4 is not UTF-8"):
        run(config(str(tmp_path / "a.txt")), tmp_path)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("missing.txt", "there is no file missing.txt"),
        ("no/such/place/x", "there is no file or folder"),
        ("grammar", "has sentence pairs"),
        ("addition:unseen", "has the splits train, valid, test"),
        ([["a.en", "a.de"]], "must be a name or a list of names"),
    ],
)
def test_prepare_text_rejects_names_that_are_not_text(tmp_path: Path, train: object, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config(train), tmp_path)


def test_missing_text_column_error_lists_columns(tmp_path: Path) -> None:
    name = write(tmp_path, "a.jsonl", '{"body": "x"}\n' * 30)
    with pytest.raises(ValueError, match=r"no key 'text'; its keys are: 'body' .*Set data\.text_column"):
        run(config(name), tmp_path)


def test_translation_rejects_vocab_type_of_text() -> None:
    with pytest.raises(ValueError, match=r"is for data\.task=language_modelling"):
        DataConfig(vocab_type="characters")
