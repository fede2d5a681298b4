"""Config: the paper by default, one sentence for a mistake, and the same config after saving."""

from pathlib import Path

import pytest

from common.settings import dump_settings, flatten_settings, load_settings
from train.config import RunConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_defaults_are_the_papers_base_model_and_recipe() -> None:
    config = load_settings(RunConfig)
    model, train, decode = config.model, config.train, config.decode
    assert (model.n_layers, model.d_model, model.d_ff, model.n_heads, model.head_size) == (6, 512, 2048, 8, 64)
    assert (model.dropout, model.norm, model.positions, model.activation, model.tying) == (
        *(0.1, "post", "sinusoidal", "relu", "all"),
    )
    assert (train.max_steps, train.warmup_steps, train.tokens_per_update) == (100_000, 4000, 25_000)
    assert (train.adam_beta1, train.adam_beta2, train.adam_eps) == (0.9, 0.98, 1e-9)
    assert (train.label_smoothing, train.average_last, train.lr_scale, train.clip_norm) == (0.1, 5, 1.0, None)
    assert (decode.beam, decode.alpha, decode.max_extra) == (4, 0.6, 50)
    assert (config.data.vocab_size, config.data.vocab_type) == (37_000, "bpe")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_that_comes_with_the_project_loads(path: Path) -> None:
    load_settings(RunConfig, path)
    assert path.read_text().startswith("# "), "a config opens with its command, hardware, time and BLEU"


def test_base_is_the_defaults() -> None:
    base = CONFIGS / "base.yaml"
    assert load_settings(RunConfig, base) == RunConfig()


def test_overrides_come_after_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {d_model: 256, dropout: 0.3}\ntrain: {adam_eps: 1e-8}\n")
    config = load_settings(RunConfig, path, ["model.dropout=0.2", "data.train=[a.en,a.de]", "model.dropout=0.4"])
    assert (config.model.d_model, config.model.dropout, config.train.adam_eps) == (256, 0.4, 1e-8)
    assert config.data.train == ["a.en", "a.de"]


def test_a_saved_config_loads_as_it_was(tmp_path: Path) -> None:
    config = load_settings(RunConfig, None, ["data.train=[[a.en,a.de],[grammar]]", "train.clip_norm=1.0"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_settings(config))
    assert load_settings(RunConfig, path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.nrom=pre", "Did you mean: 'norm'"),
        ("modle.d_model=8", "Did you mean: 'model'"),
        ("model.norm=middle", "expected one of"),
        ("model.d_model=wide", "could not be converted to Integer"),
        ("model.d_model=1.5", "could not be converted to Integer"),
        ("model=3", "model=3"),
        ("d_model", "is not an override"),
        ("train.max_steps=0", "train.max_steps is 0; it must be above 0"),
        ("train.label_smoothing=1", "label_smoothing is 1.0"),
        ("train.average_last=9", "needs as many checkpoints"),
        ("decode.beam=0", "decode.beam is 0"),
    ],
)
def test_a_mistake_is_one_sentence(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_settings(RunConfig, None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {d_model: 8", "is not valid YAML"),
        ("- a\n- b\n", "must hold sections"),
        ("model: {heads: 8}", "Key 'heads' not in 'ModelConfig'"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_settings(RunConfig, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config .*no\.yaml does not exist"):
        load_settings(RunConfig, tmp_path / "no.yaml")


def test_flattening_names_every_setting() -> None:
    flat = flatten_settings(load_settings(RunConfig))
    assert flat["train.adam_beta2"] == 0.98
    assert flat["run_dir"] is None


@pytest.mark.parametrize("way", ["override", "file"])
def test_a_word_that_yaml_takes_for_a_boolean_is_a_word(way: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train:\n  precision: no\n  log_with: none\n")
    config = (
        load_settings(RunConfig, None, ["train.precision=no"])
        if way == "override"
        else load_settings(RunConfig, tmp_path / "c.yaml")
    )
    assert config.train.precision == "no"
