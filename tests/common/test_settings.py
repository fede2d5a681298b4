"""common/settings.py: defaults, files, overrides, renamed settings, and the errors of wrong ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from common.errors import InputError
from common.settings import dump_settings, flatten_settings, load_saved_settings, load_section, load_settings
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
        ("model.nrom=pre", "there is no setting 'nrom'. Did you mean: 'norm'"),
        ("modle.d_model=8", "Did you mean: 'model'"),
        ("model.norm=middle", "expected one of"),
        ("model.d_model=wide", "could not be converted to Integer"),
        ("model.d_model=1.5", "could not be converted to Integer"),
        ("model=3", "model=3"),
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
        ("model: {d_model: 8", "is not valid YAML"),
        ("- a\n- b\n", "has no sections"),
        ("model: {heads: 8}", "there is no setting 'heads'. Did you mean one of: 'n_heads'"),
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


@pytest.mark.parametrize("way", ["override", "file"])
def test_load_settings_keeps_words_that_yaml_reads_as_booleans(way: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train:\n  precision: no\n  log_with: none\n")
    config = (
        load_settings(RunConfig, None, ["train.precision=no"])
        if way == "override"
        else load_settings(RunConfig, tmp_path / "c.yaml")
    )
    assert config.train.precision == "no"


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
        ("old.kind=other", "there is no setting 'kind'. docs/settings.md lists all settings"),
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
    with pytest.raises(ValueError, match=r"config\.yaml: new\.name=\$\{oc\.env:HOME\} is a reference"):
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
    with pytest.raises(InputError, match=r"there is no setting 'no_such_setting'"):
        load_section(DataConfig, "data", file)


def test_load_section_rejects_override_of_other_section_and_old_name() -> None:
    with pytest.raises(InputError, match=r"model.d_model=64: this command only has settings of the section `data`"):
        load_section(DataConfig, "data", overrides=["model.d_model=64"])
    with pytest.raises(InputError, match=r"data.given_column is now data.prompt_column"):
        load_section(DataConfig, "data", overrides=["data.given_column=question"])
