"""The metrics log."""

import json
import math
from pathlib import Path

from train.run.metrics_log import MetricsLog, read_log


def test_metrics_log_omits_values_that_json_does_not_have(tmp_path: Path) -> None:
    MetricsLog(tmp_path, 0, "").add_metrics(1, {"loss": math.nan, "gradient_norm": math.inf, "lr": 0.5})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "lr": 0.5}


def test_metrics_log_of_resumed_run_starts_with_lines_of_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, "")
    for step in (1, 2, 3):
        log.add_metrics(step, {"loss": 1.0})
        log.add_timing(step, {"seconds_per_update": 2.0})
    with (tmp_path / "timing.jsonl").open("a") as file:
        file.write('{"step": 1, "ti')  # the run was killed while it wrote this line
    kept = '{"step": 1, "loss": 1.0}\n'
    assert MetricsLog(tmp_path, 1, kept).read_metrics() == kept
    timing = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert [line["step"] for line in timing] == [1]


def test_read_log_leaves_out_lines_that_no_run_writes(tmp_path: Path) -> None:
    log, lines = (
        tmp_path / "metrics.jsonl",
        ['{"step": 1, "loss": 2.5}', "[]", '{"step": 2, "loss": "<b>"}', '{"loss": 1}'],
    )
    log.write_text("\n".join([*lines, '{"step": 3, "loss": NaN}', '{"step": 4, "lo']))
    assert read_log(log) == [{"step": 1, "loss": 2.5}]
    assert read_log(tmp_path / "missing") == []
