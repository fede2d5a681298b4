"""common/settings.py: defaults, files, overrides, renamed settings, and the errors of wrong ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from common.errors import InputError
from common.settings import (
    dump_settings,
    flatten_settings,
    last_overrides,
    load_saved_settings,
    load_section,
    load_settings,
    repeated_override,
)
from data_pipeline.config import DataConfig
from train.config import RunConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_run_config_defaults_equal_base_model_and_recipe_of_paper() -> None:
    config = load_settings(RunConfig)
    model, train, decode = config.model, config.train, config.decode
    assert (model.n_layers, model.d_model, model.d_ff, model.n_heads, model.head_size) == (6, 512, 2048, 8, 64)
    assert (model.dropout, model.norm, model.positions, model.activation, model.tying) == (
        *(0.1, "post", "sinusoidal", "relu", "all"),
    )
    assert (train.max_steps, config.schedule.warmup_steps, config.batches.tokens_per_update) == (100_000, 4000, 25_000)
    adam = config.optimizer
    assert (adam.beta1, adam.beta2, adam.eps, adam.clip_norm) == (0.9, 0.98, 1e-9, None)
    assert (train.label_smoothing, config.checkpoints.average_last, config.schedule.scale) == (0.1, 5, 1.0)
    assert (decode.beam, decode.alpha, decode.max_extra) == (4, 0.6, 50)
    assert (config.data.vocab_size, config.data.vocab_type) == (37_000, "bpe")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_load_settings_reads_every_file_of_configs(path: Path) -> None:
    load_settings(RunConfig, path)
    assert path.read_text().startswith("# "), "a config opens with its command, hardware, time and BLEU"


def test_base_config_equals_defaults() -> None:
    base = CONFIGS / "base.yaml"
    assert load_settings(RunConfig, base) == RunConfig()


def test_load_settings_applies_overrides_in_order_after_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {d_model: 256, dropout: 0.3}\noptimizer: {eps: 1e-8}\n")
    config = load_settings(RunConfig, path, ["model.dropout=0.2", "data.train=[a.en,a.de]", "model.dropout=0.4"])
    assert (config.model.d_model, config.model.dropout, config.optimizer.eps) == (256, 0.4, 1e-8)
    assert config.data.train == ["a.en", "a.de"]


def test_load_settings_returns_what_dump_settings_wrote(tmp_path: Path) -> None:
    config = load_settings(RunConfig, None, ["data.train=[[a.en,a.de],[grammar]]", "optimizer.clip_norm=1.0"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_settings(config))
    assert load_settings(RunConfig, path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.nrom=pre", r"there is no setting 'model\.nrom'. Did you mean model\.norm\?"),
        ("modle.d_model=8", "Did you mean model.d_model?"),
        ("train.dropout=0", "Did you mean model.dropout?"),
        ("model.norm=middle", "model.norm is 'middle'; it must be post or pre$"),
        ("model.d_model=wide", "model.d_model is 'wide'; it must be an integer, such as 512$"),
        ("model.d_model=1.5", "it must be an integer"),
        ("train.max_steps=010x", "it must be an integer"),
        ("data.max_length=long", "it must be an integer or null, such as 256"),
        ("optimizer.eps=small", "optimizer.eps is 'small'; it must be a number, such as 1e-09"),
        ("optimizer.eps=nan", "optimizer.eps is 'nan'; it must be a number"),
        ("train.max_hours=inf", "it must be a number or null"),
        ("train.compile=2", "train.compile is '2'; it must be true or false"),
        ("data.source_lang=null", 'it must be text. In quotes, "null" is the word'),
        ("model=3", "model is a section. Write model.field=value"),
        ("model={d_model: {x: 1}}", "there is no setting 'model.d_model.x'"),
        ("run_dir=", "run_dir= has no value. Write run_dir=null if you mean none"),
        ("run_dir='a\x1b[2J'", r"run_dir contains the character '\\x1b'"),
        ("data.train=[a,b\udce9]", r"data.train contains the character '\\udce9'"),
        ("data.train=" + "[" * 5000, "cannot be read: "),
        ("data.train=" + "[" * 5000 + "]" * 5000, "brackets are nested too deeply"),
        ("a." * 5000 + "a=1", "there is no setting"),
        ("d_model", "is not a setting"),
        ("data.train=[a,", r"Write a list without spaces: \[a,b\]"),
        ("train.max_steps=0", "train.max_steps is 0; it must be above 0"),
        ("train.label_smoothing=1", "label_smoothing is 1.0"),
        ("checkpoints.average_last=9", "checkpoints.keep=5 deletes older checkpoints. Set checkpoints.keep=9 or more"),
        ("decode.beam=0", "decode.beam is 0"),
        ("run_dir=${oc.env:HOME}", "is a reference"),
        ("model.d_ff=${model.d_model}", "is a reference"),
    ],
)
def test_load_settings_rejects_wrong_override(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_settings(RunConfig, None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {d_model: 8", r"c\.yaml, line 1: this is not valid YAML"),
        ("data:\n  train: [corpus [1]/a.en, b.de]", r"line 2: this is not valid YAML .* Put a value in quotes"),
        (
            "train:\n  max_steps: 9\n  seed: 2\n  max_steps: 8",
            r"line 4: train.max_steps is given twice, as 9 \(",
        ),
        ("model: {d_model: 8}\nmodel.d_model: 16", r"line 2: model.d_model is given twice"),
        ("train:\n  max_steps: many", r"config .*c\.yaml, line 2: train.max_steps is 'many'; it must be an integer"),
        ("data:\n  train: *.tsv", "line 2: this is not valid YAML"),
        ("data:\n  train: &a x\n  valid: *a", "line 2: anchors and aliases of YAML are not supported"),
        ("data:\n  train: !x a", "line 2: tags such as !x are not supported"),
        ("data:\n  train:\n  - a: b", "line 3: a list contains `field: value`"),
        ("data: {source_lang: }", 'data.source_lang is null; it must be text. In quotes, "null" is the word'),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("run_dir: ''", "run_dir is empty; it must be text or null"),
        ("- a\n- b\n", "has no sections"),
        ("model: {heads: 8}", "there is no setting 'model.heads'. Did you mean model.n_heads"),
        ("model: {d_model: 64, d_ff: '${model.d_model}'}", "is a reference"),
    ],
)
def test_load_settings_rejects_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_settings(RunConfig, path)


def test_load_settings_names_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config .*no\.yaml does not exist"):
        load_settings(RunConfig, tmp_path / "no.yaml")


def test_flatten_settings_returns_dotted_names() -> None:
    flat = flatten_settings(load_settings(RunConfig))
    assert flat["optimizer.beta2"] == 0.98
    assert flat["run_dir"] is None


@pytest.mark.parametrize("word", ["2024_11_26", "007", "1e3", "on", "no", "0x1F", "1:30", "2024-11-26", "a b", "C:\\x"])
def test_load_settings_keeps_text_as_typed(word: str, tmp_path: Path) -> None:
    overrides = [f"run_dir={word}", f"data.text_column={word}", f"data.train=[{word},[{word},b]]", f"data.test={word}"]
    config = load_settings(RunConfig, None, overrides)
    assert (config.run_dir, config.data.text_column, config.data.test) == (word, word, word)
    assert config.data.train == [word, [word, "b"]]
    (tmp_path / "c.yaml").write_text(f"run_dir: {word}\ndata:\n  text_column: {word}\n  train: [{word}, b]\n")
    config = load_settings(RunConfig, tmp_path / "c.yaml")
    assert (config.run_dir, config.data.text_column, config.data.train) == (word, word, [word, "b"])
    (tmp_path / "saved.yaml").write_text(dump_settings(config))
    assert load_saved_settings(RunConfig, tmp_path / "saved.yaml") == config


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("run_dir=runs/a #b: [c] {d}", "runs/a #b: [c] {d}"),
        ("run_dir='null'", "null"),
        ('run_dir="C:\\new"', "C:\\new"),
        ("run_dir=null", None),
        ("run_dir=???", "???"),
        ("run_dir=*x", "*x"),
    ],
)
def test_load_settings_takes_overrides_of_text_literally(typed: str, value: str | None) -> None:
    assert load_settings(RunConfig, None, [typed]).run_dir == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("[c [2024]/*.en,c [2024]/*.de]", ["c [2024]/*.en", "c [2024]/*.de"]),
        ("[2024]/x.tsv", "[2024]/x.tsv"),
        ("[a]/x[1]", "[a]/x[1]"),
        ("[[a.en, a.de],[b.tsv]]", [["a.en", "a.de"], ["b.tsv"]]),
        ("['a,b.en',\"c d.de\"]", ["a,b.en", "c d.de"]),
        ("[it's.en,it's.de]", ["it's.en", "it's.de"]),
    ],
)
def test_load_settings_reads_lists_of_paths(typed: str, value: object) -> None:
    assert load_settings(RunConfig, None, [f"data.train={typed}"]).data.train == value


def test_load_settings_converts_numbers_and_words() -> None:
    overrides = ["train.max_steps=1_000", "train.seed=010", "train.compile=on", "train.precision=no"]
    config = load_settings(RunConfig, None, [*overrides, "optimizer.eps=1e-8", "train.max_hours=2"]).train
    assert (config.max_steps, config.seed, config.compile, config.precision) == (1000, 10, True, "no")
    assert config.max_hours == 2.0


@pytest.mark.parametrize(
    ("overrides", "repeated"),
    [
        (
            ["train.seed=1", "run_dir=x", "train.seed=1"],
            "train.seed is given twice, as train.seed=1 and",
        ),
        (["model={d_model: 8}", "model.d_model=8"], "model.d_model is given twice"),
    ],
)
def test_repeated_override_names_both_values(overrides: list[str], repeated: str) -> None:
    message = repeated_override(overrides)
    assert message is not None
    assert message.startswith(repeated)
    assert repeated_override(last_overrides(overrides[:1])) is None


def test_last_overrides_keeps_last_value_of_each_setting() -> None:
    assert last_overrides(["a.b=1", "c=2", "a.b=3"]) == ["a.b=3", "c=2"]


@dataclass(frozen=True)
class Section:
    size: int = 1
    name: str = "a"


@dataclass(frozen=True)
class Renaming:
    RENAMED: ClassVar[dict[str, str]] = {"old.width": "new.size", "old.kind=text": "new.name=b", "top": "new.name"}
    old: Section = field(default_factory=Section)
    new: Section = field(default_factory=Section)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("old.width=3", r"old\.width is now new\.size\. Use the new name"),
        ("old.kind=text", "old.kind=text is now new.name=b"),
        ("old.kind=other", "there is no setting 'old.kind'. docs/settings.md lists all settings"),
        ("top=x", "top is now new.name"),
    ],
)
def test_load_settings_rejects_renamed_setting(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(Renaming, None, [override])


def test_load_settings_names_all_renamed_settings_of_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("old: {width: 3, kind: text, size: 2}\n")
    with pytest.raises(InputError, match=r"c\.yaml: old\.width is now new\.size; old\.kind=text is now new\.name=b"):
        load_settings(Renaming, path)


def test_load_saved_settings_rejects_references(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("new: {name: '${oc.env:HOME}'}")
    with pytest.raises(ValueError, match=r"config\.yaml, line 1: new\.name=\$\{oc\.env:HOME\} is a reference"):
        load_saved_settings(Renaming, tmp_path / "config.yaml")


def test_load_saved_settings_translates_old_names(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("old: {width: 3, kind: text, size: 2}\nnew: {}\n")
    assert load_saved_settings(Renaming, path) == Renaming(old=Section(size=2), new=Section(size=3, name="b"))


def test_renamed_settings_of_runs_lead_to_settings() -> None:
    known = flatten_settings(RunConfig())
    for old, new in RunConfig.RENAMED.items():
        assert new.partition("=")[0] in known
        assert old.partition("=")[0] not in known


def test_load_section_ignores_other_sections_of_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model: {no_such_setting: 1}\ndata: {vocab_size: 400}\n")
    assert load_section(DataConfig, "data", file, ["data.seed=3"]) == DataConfig(vocab_size=400, seed=3)
    file.write_text("data: {no_such_setting: 1}\n")
    with pytest.raises(InputError, match=r"there is no setting 'data.no_such_setting'"):
        load_section(DataConfig, "data", file)


def test_load_section_rejects_override_of_other_section_and_old_name() -> None:
    with pytest.raises(InputError, match=r"model.d_model=64: this command only has settings of the section `data`"):
        load_section(DataConfig, "data", overrides=["model.d_model=64"])
    with pytest.raises(InputError, match=r"data.given_column is now data.prompt_column"):
        load_section(DataConfig, "data", overrides=["data.given_column=question"])
