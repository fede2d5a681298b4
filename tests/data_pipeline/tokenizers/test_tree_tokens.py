"""Each token of a tree is one subword, and the subwords of the words stay what they are."""

import random
from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.tokenizers.bpe_dropout import random_numbers
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer, train_tokenizer
from data_pipeline.trees import NUMBERS, number_tokens, number_words, remove_numbers

TOKENS = ["(NP", "(NPX", ")NP", ")NPX", "=''", "=,", "=-LRB-", "=``", "=NN", "=NNS", '="', "=,,"]
SENTENCES = ["the old house stands on a hill", "cats ( and dogs ) = animals", "a cat stands on the house"]
ODD = ["(NP", "(NPs sit", "x=NN y", "=NN5 =NN", ")NP(NP", "(NP =NN )NP", "( NP = NN ) NP", '" =" =,, ,,', "=N"]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("trees") / "tokenizer.model"
    return train_tokenizer(iter(SENTENCES * 20), file, 295, request.param, whole_words=TOKENS)


def test_every_token_of_a_tree_is_one_subword(tokenizer: Tokenizer) -> None:
    assert sorted(tokenizer.whole_words) == sorted(TOKENS)
    draw = random.Random(1)
    trees = [draw.choices(TOKENS, k=9) for _ in range(50)]
    encoded = tokenizer.encode([" ".join(tree) for tree in trees])
    assert encoded == [[*map(tokenizer.whole_words.get, tree), EOS_ID] for tree in trees]
    assert tokenizer.decode(encoded) == [" ".join(tree) for tree in trees]


def test_words_that_look_like_tokens_of_trees_keep_their_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(ODD)) == ODD
    assert [tokenizer.decode_text(ids) for ids in tokenizer.encode(ODD)] == ODD


def test_subwords_of_words_follow_the_bytes(tokenizer: Tokenizer) -> None:
    first = tokenizer.first_subword
    assert tokenizer.pieces[first - 1] == "<0xFF>"
    assert first == 4 + len(TOKENS) + 256
    assert set(tokenizer.encode(["the house"])[0]) <= {EOS_ID, *range(first, tokenizer.vocab_size)}


def test_bpe_dropout_does_not_split_tokens_of_trees(tokenizer: Tokenizer) -> None:
    try:
        dropout = tokenizer.bpe_dropout(0.9)
    except InputError:
        pytest.skip("unigram has no BPE-dropout")
    text = "".join(f"\u2581{token}" for token in TOKENS)
    assert dropout.encode(text, random_numbers(1)) == list(map(tokenizer.whole_words.get, TOKENS))
    house = dropout.encode("\u2581house", random_numbers(1))
    assert len(house) > 1
    assert tokenizer.decode([house]) == ["house"]


def write_trees(file: Path, count: int) -> Path:
    words = ["cat", "dog", "house", "hill", "garden"]
    draw = random.Random(0)
    file.write_text(
        "".join(
            f"( (S (NP-SBJ (NNS {draw.choice(words)}{i})) (VP (VBP {draw.choice(words)}))) )\n" for i in range(count)
        )
    )
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("treebank")
    config = DataConfig(
        train=str(write_trees(folder / "train.trees", 200)), target_lang="tree", vocab_size=300, bpe_dropout=0.3
    )
    return prepare(config, folder / "cache", quiet=True)


def test_prepared_trees_have_one_subword_per_token(prepared: PreparedData) -> None:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    assert sorted(tokenizer.whole_words) == sorted(["(S", "(NP", "=NNS", ")NP", "(VP", "=VBP", ")VP", ")S"])
    tokens = ["(S", "(NP", "=NNS", ")NP", "(VP", "=VBP", ")VP", ")S"]
    ids = [*(tokenizer.whole_words[token] for token in tokens), EOS_ID]
    sampler = PreparedData.open(prepared.folder, prepared.config).train.sampler
    assert sampler is not None
    for store in (prepared.train.stores[1], sampler.stores((1, 0))[1]):
        assert all(store[i].tolist() == ids for i in range(len(store)))


def test_prepared_trees_have_numbers_if_they_are_wanted(prepared: PreparedData, tmp_path: Path) -> None:
    settings = {**vars(prepared.config), "number_words": True, "bpe_dropout": 0.0, "vocab_size": 390}
    numbered = prepare(DataConfig(**settings), tmp_path / "cache", quiet=True)
    assert numbered.fingerprint != prepared.fingerprint
    tokenizer = Tokenizer(numbered.tokenizer_file)
    assert set(NUMBERS) <= set(tokenizer.whole_words)
    source, target = (tokenizer.decode([store[0].tolist()])[0] for store in numbered.train.stores)
    words = source.split()
    assert words == ["#0", words[1], "#1", words[3], "#2"]
    assert target == "(S (NP =NNS #1 )NP (VP =VBP #2 )VP )S"
    assert number_words(["a"] * 65)[-3:] == ["#0", "a", "#1"]
    assert remove_numbers(number_tokens(["(S", "=NN", ")S"])) == ["(S", "=NN", ")S"]
    with pytest.raises(InputError, match=r"data\.number_words is for data\.target_lang=tree"):
        DataConfig(number_words=True)


def test_tokenizer_that_splits_tokens_of_trees_is_refused(prepared: PreparedData, tmp_path: Path) -> None:
    train_tokenizer(iter(SENTENCES * 20), tmp_path / "tokenizer.model", 290)
    settings = {**vars(prepared.config), "tokenizer": str(tmp_path)}
    with pytest.raises(InputError, match=r"data\.tokenizer=.* would split \(NP, a token of the trees of data\.train"):
        prepare(DataConfig(**settings), tmp_path / "cache", quiet=True)
    settings["tokenizer"] = str(prepared.tokenizer_file)
    assert prepare(DataConfig(**settings), tmp_path / "cache", quiet=True).train.stores[1][0].tolist()[-1] == EOS_ID


@pytest.mark.parametrize("name", ["augment_upper", "augment_title", "augment_no_stop"])
def test_augmentation_of_trees_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"data\.{name} changes targets, which are trees here"):
        DataConfig(target_lang="tree", **{name: 0.1})  # type: ignore[arg-type]
    DataConfig(target_lang="tree", augment_typos=0.1)
