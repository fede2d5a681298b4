"""common/settings_list.py: the list of all settings equals the dataclasses, and the page equals the list."""

import subprocess
import sys
from pathlib import Path

from common.settings import flatten_settings
from common.settings_list import list_settings
from docs.write_settings import PAGE, page
from train.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]


def test_list_settings_equals_settings_of_run_config() -> None:
    assert [setting.name for setting in list_settings(RunConfig)] == list(flatten_settings(RunConfig()))


def test_list_settings_describes_every_setting() -> None:
    for setting in list_settings(RunConfig):
        assert len(setting.meaning) > 10, setting.name
        assert setting.kind, setting.name


def test_list_settings_returns_types_and_defaults_as_typed() -> None:
    found = {setting.name: (setting.kind, setting.default) for setting in list_settings(RunConfig)}
    assert found["model.d_model"] == ("integer", "512")
    assert found["decode.alpha"] == ("number", "0.6")
    assert found["data.valid"] == ("name or list", "null")
    assert found["optimizer.clip_norm"] == ("number or null", "null")
    assert found["optimizer.eps"] == ("number", "1e-09")
    assert found["optimizer.name"] == ("`adam`, `adamw`, `muon`", "adam")
    assert found["train.compile"] == ("true or false", "false")


def test_list_settings_finds_places_of_paper() -> None:
    found = {setting.name: setting.paper for setting in list_settings(RunConfig)}
    assert found["model.positions"] == "section 3.5, Table 3 (E)"
    assert found["schedule.name"] == "Eq. 3"
    assert found["decode.alpha"] == "section 6.1"
    assert found["model.init"] == found["train.threads"] == ""  # section 2.3 is that of another paper


def test_settings_page_equals_dataclasses() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m docs.write_settings"


def test_train_help_lists_all_settings() -> None:
    command = [sys.executable, "train/train.py", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for setting in list_settings(RunConfig):
        assert f"  {setting.name}={setting.default}\n" in text
