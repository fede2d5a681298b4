"""Augmented pairs depend only on seed, epoch and pair, have the rates of the settings, and keep URLs."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.settings import load_settings
from data_pipeline.augmentation import Augmentation, add_typos, drop_stops, title_case, upper_case
from data_pipeline.config import AUGMENTATIONS, DataConfig
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.tokenizers.bpe_dropout import random_numbers
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from tests.conftest import make_pairs, write_parallel
from train.config import RunConfig
from train.setup import make_plan

FIXED = (
    "12.5 3rd https://example.com/a?b=c www.example.org me@example.org {first name} %s <a href='x'> &amp; \u4f60\u597d"
)
Texts = list[tuple[str, str]]


def data_config(folder: Path, **settings: float) -> DataConfig:
    pairs = [*make_pairs(1500), ("ab " * 80 + ".", "cd " * 80 + ".")]
    return DataConfig(
        train=write_parallel(folder, "train", pairs),
        valid=write_parallel(folder, "valid", make_pairs(20, start=9000)),
        vocab_size=340,
        **settings,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("augmented")
    return prepare(data_config(folder), folder / "cache", quiet=True)


def sample(plain: PreparedData, epoch: int = 0, **settings: float) -> Texts:
    """Return the texts of an epoch."""
    pairs = PreparedData.open(plain.folder, DataConfig(**{**vars(plain.config), **settings})).train
    assert pairs.sampler is not None
    stores = pairs.sampler.stores((1, epoch))
    for store, prepared in zip(stores, pairs.stores, strict=True):
        assert store.lengths.max() <= prepared.lengths.max()
    return _texts(plain, stores)


def _texts(plain: PreparedData, stores: tuple) -> Texts:
    tokenizer = Tokenizer(plain.tokenizer_file)
    source, target = (tokenizer.decode([store[i].tolist() for i in range(len(store))]) for store in stores)
    return list(zip(source, target, strict=True))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "die Straße, naïve {name}", "DIE STRASSE, NAÏVE {name}"),
        ("en", "visit x.example.com in it", "VISIT x.example.com IN IT"),
        ("tr", "ırmak iyi", "IRMAK İYİ"),
        ("ru", "мир", "МИР"),
        ("ka", "მშვიდობა 你好 سلام", "მშვიდობა 你好 سلام"),
    ],
)
def test_upper_case_follows_languages(language: str, text: str, expected: str) -> None:
    assert upper_case(text, language) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "en",
            "i don't see the USA's (well-known) 'iron' e\u0301te",
            "I Don't See The USA's (Well-Known) 'Iron' E\u0301te",
        ),
        ("tr", "iyi ırmak", "İyi Irmak"),
        ("zh", "你好 www.example.com", "你好 www.example.com"),
    ],
)
def test_title_case_changes_first_letters(language: str, text: str, expected: str) -> None:
    assert title_case(text, language) == expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("a man .", "ein Mann."), ("a man", "ein Mann")),
        (("really ?!", "什么？"), ("really", "什么")),
        (("a man", "ein Mann."), ("a man", "ein Mann.")),
        (("...", "..."), ("...", "...")),
    ],
)
def test_drop_stops_changes_pairs_with_two_stops(pair: tuple[str, str], expected: tuple[str, str]) -> None:
    assert drop_stops(*pair) == expected


def test_typos_change_only_words_with_case() -> None:
    random = random_numbers(1)
    assert add_typos(FIXED, random) == FIXED
    found = {add_typos(f"word {FIXED}", random) for _ in range(300)}
    assert all(text.endswith(f" {FIXED}") for text in found)
    words = {text[: -len(FIXED) - 1] for text in found}
    assert {"owrd", "ord", "wword", "oord"} <= words  # swapped, dropped, doubled, replaced
    assert all(abs(len(word) - 4) <= 1 for word in words)


def test_sampled_pairs_have_rates_of_settings(plain: PreparedData) -> None:
    before = _texts(plain, plain.train.stores)
    rates = {"augment_upper": 0.3, "augment_title": 0.2, "augment_no_stop": 0.1}
    after = sample(plain, **rates)
    assert sum(t.isupper() for _, t in after) / len(after) == pytest.approx(0.3, abs=0.05)
    assert sum(s.isupper() == t.isupper() for s, t in after) / len(after) > 0.95
    assert sum(t[-1] != "." for _, t in after) / len(after) == pytest.approx(0.1, abs=0.04)
    typos = sample(plain, augment_typos=0.4)
    assert [t for _, t in typos] == [t for _, t in before]
    assert sum(a != b for a, b in zip(typos, before, strict=True)) / len(before) == pytest.approx(0.37, abs=0.07)


def test_rate_1_changes_each_pair_that_does_not_become_too_long(plain: PreparedData) -> None:
    before, after = _texts(plain, plain.train.stores), sample(plain, augment_no_stop=1.0)
    assert after == [(s.rstrip(" ."), t.rstrip(" .")) for s, t in before]
    *upper, longest = sample(plain, augment_upper=1.0)
    assert upper == [(upper_case(source, "en"), upper_case(target, "de")) for source, target in before[:-1]]
    assert longest == before[-1]


def test_changed_pairs_work_with_bpe_dropout(plain: PreparedData) -> None:
    before, after = _texts(plain, plain.train.stores), sample(plain, augment_title=0.5, bpe_dropout=0.1)
    titles = sum(a == (title_case(b[0], "en"), title_case(b[1], "de")) for a, b in zip(after, before, strict=True))
    same = sum(a == b for a, b in zip(after, before, strict=True))
    assert titles > len(before) / 3
    assert titles + same >= len(before)


def test_epochs_differ_and_do_not_depend_on_each_other(plain: PreparedData) -> None:
    rates = {"augment_upper": 0.2, "augment_typos": 0.3}
    first, second = (sample(plain, epoch, **rates) for epoch in (0, 1))
    assert first != second
    assert sample(plain, 1, **rates) == second
    assert sample(plain, 0, **rates) == first


def test_plan_contains_each_augmented_pair_once(plain: PreparedData) -> None:
    config = DataConfig(**{**vars(plain.config), "augment_upper": 0.3})
    plan = make_plan(
        load_settings(RunConfig, None, ["batches.tokens_per_update=9000"]),
        PreparedData.open(plain.folder, config).train,
    )
    n = plan.updates_per_epoch
    indices = [i for k in range(n, 2 * n) for b in plan.update(k).bucket_batches for i in b.indices.tolist() if i >= 0]
    assert sorted(indices) == list(range(len(plain.train)))


def test_rate_0_changes_nothing(plain: PreparedData) -> None:
    assert plain.train.sampler is None
    augmentation = Augmentation(plain.config)
    assert augmentation.change("a man.", "ein Mann.", random_numbers(1)) == ("a man.", "ein Mann.")
    for name in AUGMENTATIONS:
        config = DataConfig(**{**vars(plain.config), name: 0.1})
        assert prepare(config, plain.folder.parent, quiet=True).fingerprint == plain.fingerprint


def test_augmentation_is_equal_in_every_process() -> None:
    code = (
        "from data_pipeline.augmentation import Augmentation; from data_pipeline.config import DataConfig;"
        "from data_pipeline.tokenizers.bpe_dropout import random_numbers;"
        "augmentation = Augmentation(DataConfig(augment_upper=0.3, augment_title=0.3, augment_typos=0.5));"
        "random = random_numbers(1, 'x');"
        "print([augmentation.change('a small house .', 'ein kleines Haus .', random) for _ in range(50)])"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)
    )
    assert first == second != b""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment_upper": 1.5}, r"data\.augment_upper is 1\.5; it must be from 0 to 1"),
        ({"augment_typos": -0.1}, r"data\.augment_typos is -0\.1; it must be from 0 to 1"),
        ({"augment_upper": 0.6, "augment_title": 0.6}, "are more than 1 together"),
        (
            {"augment_typos": 0.1, "task": "language_modelling", "vocab_type": "characters"},
            r"data\.augment_typos is for data\.task=translation",
        ),
    ],
)
def test_data_config_rejects_invalid_augmentation(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**settings)
