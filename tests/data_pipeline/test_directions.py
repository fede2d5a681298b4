"""Corpora of several directions: tags, filters within a direction, and how often an epoch has each pair."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.settings import load_section, load_settings
from data_pipeline.config import DataConfig
from data_pipeline.examples import SentencePairs
from data_pipeline.fingerprint import fingerprint
from data_pipeline.micro_batches import PADDING_ROW
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.resampled_plan import Repeats, ResampledPlan
from data_pipeline.sources.filters import LABELS, FilterReason
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer, train_tokenizer
from evaluate.test_sets import from_config
from tests.conftest import make_pairs, write_parallel
from train.config import RunConfig
from train.setup import make_plan

SIZES = (240, 60, 20)
DIRECTIONS = ("en-de", "en-fr", "de-en")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """A corpus for each direction; the second one contains the text of a tag, and a pair of the first one."""
    folder = tmp_path_factory.mktemp("corpora")
    pairs = make_pairs(sum(SIZES))
    own = [pairs[:240], [*pairs[240:298], pairs[0], (">>de<< says >>fr<<", "dit >>de<<")], pairs[300:]]
    return {
        name: write_parallel(folder, name.replace("-", "_"), some) for name, some in zip(DIRECTIONS, own, strict=True)
    }


@pytest.fixture(scope="module")
def prepared(corpora: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    config = DataConfig(train=corpora, vocab_size=340)
    return prepare(config, tmp_path_factory.mktemp("cache"), quiet=True)


def first_tokens(prepared: PreparedData, split: str) -> list[str]:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    pairs = getattr(prepared, split)
    return [tokenizer.pieces[int(pairs.src[i][0])] for i in range(len(pairs))]


def test_settings_name_a_corpus_for_each_direction(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("data:\n  train:\n    en-de: [a.en, a.de]\n    en-fr: b.tsv\n", encoding="utf-8")
    config = load_section(DataConfig, "data", file, ["data.train.en-fr=[[c.en,c.fr],[d.tsv]]"])
    assert config.train == {"en-de": ["a.en", "a.de"], "en-fr": [["c.en", "c.fr"], ["d.tsv"]]}
    config = load_section(DataConfig, "data", None, ["data.train={en-de: a.tsv, de-en: [b.de, b.en]}"])
    assert [(own.languages, own.train) for own in config.by_direction()] == [
        (("en", "de"), "a.tsv"),
        (("de", "en"), ["b.de", "b.en"]),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": {"en": "a.tsv"}}, "'en' is not a direction"),
        ({"train": {"en-zh-Hans": "a.tsv"}}, "one hyphen"),
        ({"train": {"en-de": None}}, "data.train names no corpus for en-de"),
        ({"train": {"en-de": "a.tsv"}, "valid": "b.tsv"}, "data.valid must name a corpus for each direction"),
        ({"train": {"en-de": "a.tsv"}, "valid": {"en-fr": "b.tsv"}}, "data.valid must name a corpus for each"),
        ({"train": "a.tsv", "test": {"en-fr": "b.tsv"}}, "data.test names directions, but data.train does not"),
        ({"train": {"en-de": "a.tsv"}, "target_lang": "fr"}, "Leave out data.source_lang and data.target_lang"),
        ({"train": "a.tsv", "sampling_temperature": 5.0}, "is for several directions"),
        ({"train": {"en-de": "a.tsv"}, "sampling_temperature": 0.5}, "it must be from 1 to 100"),
        ({"train": {"en-tree": "a.trees"}}, "a parser is a model of one direction"),
        ({"train": {"en-de": "a"}, "task": "language_modelling", "vocab_type": "characters"}, "for data.task=transl"),
    ],
)
def test_data_config_rejects_directions_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**settings)


def test_fingerprint_of_one_direction_does_not_depend_on_this_setting(corpora: dict[str, list[str]]) -> None:
    """The recorded value is that of versions without directions."""
    assert fingerprint(DataConfig(train="grammar")) == "b27765b5436a04a3"
    several = DataConfig(train=corpora)
    assert fingerprint(several) == fingerprint(replace(several, sampling_temperature=5.0))
    turned = DataConfig(train=dict(reversed(corpora.items())))
    assert len({fingerprint(several), fingerprint(turned), fingerprint(DataConfig(train=corpora["en-de"]))}) == 3


def test_each_source_begins_with_tag_of_its_target_language(prepared: PreparedData) -> None:
    tags = {"en-de": ">>de<<", "en-fr": ">>fr<<", "de-en": ">>en<<"}
    for split in ("train", "valid"):
        parts = prepared.parts(split)
        assert tuple(parts) == DIRECTIONS
        assert first_tokens(prepared, split) == [tags[name] for name, part in parts.items() for _ in part]


def test_tag_is_not_encoded_from_text_and_not_decoded(prepared: PreparedData) -> None:
    tokenizer = Tokenizer(prepared.tokenizer_file)
    text = ">>de<< says >>fr<<"
    assert not set(tokenizer.tags) & set(tokenizer.encode([text])[0])
    tagged = tokenizer.for_target("fr").encode([text, ""])
    assert tagged == [[tokenizer.tags[1], *tokenizer.encode([text])[0]], [EOS_ID]]
    assert tokenizer.decode(tagged) == [text, ""]
    assert tokenizer.for_target("fr").encode_target([text]) == tokenizer.encode([text])
    with pytest.raises(InputError, match=r"no tag >>es<< .*; its tags: >>de<<, >>fr<<, >>en<<"):
        tokenizer.for_target("es")


def test_filters_compare_pairs_of_one_direction(prepared: PreparedData) -> None:
    found = prepared.report["directions"]
    kept, duplicate, held = (LABELS[r] for r in (FilterReason.KEPT, FilterReason.DUPLICATE, FilterReason.HELD_OUT))
    for size, (name, counts) in zip(SIZES, found.items(), strict=True):
        assert counts["train"]["read"] == size, name
        assert counts["valid"][kept] == size // 20
        assert counts["train"][duplicate] == 0  # pairs[0] is in two directions
        assert counts["train"][kept] == size - counts["train"][held]
    sources, _ = prepared.valid_text()
    assert len(sources) == sum(size // 20 for size in SIZES)


def test_prepared_data_do_not_depend_on_groups(
    prepared: PreparedData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("data_pipeline.prepare_pairs.GROUP", 70)
    again = prepare(prepared.config, tmp_path, quiet=True)
    assert again.checksums == prepared.checksums


def test_directions_need_vocabulary_with_their_tags(corpora: dict[str, list[str]], tmp_path: Path) -> None:
    train_tokenizer(iter(["one two three"] * 9), tmp_path / "tokenizer.model", 280)
    config = DataConfig(train=corpora, tokenizer=str(tmp_path))
    with pytest.raises(InputError, match="the vocabulary has no tag >>de<<"):
        prepare(config, tmp_path / "cache", quiet=True)


def test_test_sets_are_those_of_each_direction(corpora: dict[str, list[str]]) -> None:
    found = from_config(DataConfig(train=corpora, test=corpora))
    assert [(one.name.split()[0], one.languages, len(one.references[0])) for one in found] == [
        (name, tuple(name.split("-")), size) for name, size in zip(DIRECTIONS, SIZES, strict=True)
    ]


def test_sampled_subwords_keep_tags(prepared: PreparedData) -> None:
    config = replace(prepared.config, bpe_dropout=0.3, augment_upper=0.5)
    pairs = PreparedData.open(prepared.folder, config).train
    assert isinstance(pairs, SentencePairs)
    assert pairs.sampler is not None
    drawn, _ = pairs.sampler.stores((1, 4))
    tokenizer = Tokenizer(prepared.tokenizer_file)
    for i in range(len(pairs)):
        assert drawn[i][0] == pairs.src[i][0]
        assert not set(drawn[i][1:].tolist()) & set(tokenizer.tags)
    assert drawn.flat.tolist() != pairs.src.flat.tolist()


@pytest.mark.parametrize(
    ("temperature", "totals"), [(1.0, [1000, 100, 10]), (5.0, [1000, 631, 398]), (100.0, [1000, 977, 955])]
)
def test_repeats_follow_temperature(temperature: float, totals: list[int]) -> None:
    """n^(1/T), so that the largest direction occurs once: 100 / 1000 of the pairs get 10^(-1/5) = 63% at T = 5."""
    assert Repeats(DIRECTIONS, [1000, 100, 10], temperature).totals == totals


def test_repeats_contain_each_pair_a_whole_number_of_times_and_a_random_rest() -> None:
    repeats = Repeats(DIRECTIONS, [1000, 100, 10], 5.0)
    first, second = (repeats.examples(7, epoch) for epoch in (0, 1))
    assert first.tolist() != second.tolist()
    assert first.tolist() == repeats.examples(7, 0).tolist()
    for examples in (first, second):
        counts = np.bincount(examples, minlength=1110)
        assert (counts[:1000] == 1).all()
        assert set(counts[1000:1100]) == {6, 7}
        assert set(counts[1100:]) == {39, 40}
        assert len(examples) == 2029
    recorded = hashlib.sha256(second.astype("<i8").tobytes()).hexdigest()[:16]
    assert recorded == "f7cfcedd17893351", "another order changes the curves: raise PLAN_VERSION"


@pytest.mark.parametrize("changes", [{}, {"bpe_dropout": 0.2}], ids=["prepared", "bpe_dropout"])
def test_plan_with_temperature_is_pure_function_of_step(prepared: PreparedData, changes: dict) -> None:
    data = replace(prepared.config, sampling_temperature=3.0, **changes)
    settings = ["batches.tokens_per_update=1600", "batches.per_update=2"]
    config = replace(load_settings(RunConfig, None, settings), data=data)
    plan, again = (make_plan(config, PreparedData.open(prepared.folder, data).train) for _ in range(2))
    assert isinstance(plan, ResampledPlan)
    sizes = [len(part) for part in prepared.parts("train").values()]
    totals, n = Repeats(DIRECTIONS, sizes, 3.0).totals, plan.updates_per_epoch
    for epoch in (2, 0):
        updates = [plan.update(step) for step in range(epoch * n, (epoch + 1) * n)]
        indices = np.concatenate([batch.indices for update in updates for batch in update.bucket_batches])
        used = np.sort(indices[indices != PADDING_ROW])
        assert used.tolist() == sorted(Repeats(DIRECTIONS, sizes, 3.0).examples(config.train.seed, epoch).tolist())
        assert [len(part) for part in np.split(used, np.searchsorted(used, np.cumsum(sizes)[:-1]))] == totals
        middle, expected = again.update(epoch * n + n // 2), updates[n // 2]  # as a resumed run makes it
        assert repr(middle.micro_batches(2, 2)) == repr(expected.micro_batches(2, 2))
        for world_size in (1, 3):
            batches = expected.micro_batches(2, world_size)
            rows = np.concatenate([batch.indices for batch in batches])
            assert sorted(rows[rows != PADDING_ROW]) == sorted(
                i for batch in expected.bucket_batches for i in batch.indices if i != PADDING_ROW
            )


def test_plan_without_temperature_is_that_of_pairs_as_they_are(prepared: PreparedData) -> None:
    config = replace(load_settings(RunConfig, None, ["batches.tokens_per_update=1600"]), data=prepared.config)
    plan = make_plan(config, prepared.train)
    assert not isinstance(plan, ResampledPlan)
    config = replace(config, data=replace(prepared.config, sampling_temperature=2.0))
    with pytest.raises(InputError, match="for a corpus of one shard"):
        make_plan(replace(config, batches=replace(config.batches, shard=100)), prepared.train)


def test_report_shows_pairs_of_each_direction(prepared: PreparedData) -> None:
    assert "en-fr  57 training and 3 validation pairs" in prepared.summary()
    json.dumps(prepared.report)
