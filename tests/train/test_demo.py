"""The demo."""

from pathlib import Path

import pytest

from common.errors import InputError
from common.settings import dump_settings, load_settings
from train.config import RunConfig
from train.demo import CONFIG, LONGER, NEXT, RUN
from train.run.folder import check_settings
from train.setup import fit_settings


def test_demo_hint_is_command_that_training_accepts(tmp_path: Path) -> None:
    """The learning rate of the demo has decayed after its updates, so training longer needs another run folder."""
    demo, longer = (fit_settings(load_settings(RunConfig, CONFIG, list(hint)), 2000) for hint in ((), LONGER))
    assert " ".join(LONGER) in NEXT
    assert (demo.train.max_steps, longer.train.max_steps) == (800, 2000)
    assert longer.run_dir not in (None, RUN)
    (tmp_path / "checkpoints/regular-00000800").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text(dump_settings(demo), encoding="utf-8")
    (tmp_path / "identity.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"schedule\.decay_steps was 800 and is 2000"):
        check_settings(tmp_path, longer, {"data": None})
