"""The tables of the documentation are made from the files that the measurements wrote."""

import json
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.quality import training_seconds
from benchmarks.tables import RESULTS, ROOT, fill


def test_the_tables_of_the_documentation_are_those_of_the_results() -> None:
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    for document in tables.DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        assert fill(text, results) == text, f"run python benchmarks/tables.py: {document} is not what the results say"


def test_no_result_names_a_place_on_the_machine_that_made_it() -> None:
    for path in RESULTS.glob("*.json"):
        assert "/tmp" not in path.read_text()
        assert str(Path.home()) not in path.read_text()


def test_a_table_that_nothing_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no table 'guess'"):
        fill("<!-- table guess -->\n<!-- end -->", {})


def test_the_time_of_training_is_that_of_its_updates() -> None:
    timing = [{"step": 10, "seconds_per_update": 2.0}, {"step": 10}, {"step": 15, "seconds_per_update": 1.0}]
    assert training_seconds(timing) == 25
