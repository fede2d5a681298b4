"""The tables of the parsing benchmark."""

from benchmarks.parsing import make_tables
from benchmarks.tables import render
from data_pipeline.trees import delinearise
from evaluate.metrics.parsing_f1 import score_trees
from evaluate.report.parsing_text import parsing_json


def test_tables_have_a_row_for_each_search_and_the_floor() -> None:
    tree = delinearise(["(S", "(NP", "=NN", ")NP", "(VP", "=VBZ", ")VP", ")S"], ["it", "runs"])
    found = parsing_json(score_trees([tree], [tree]))
    row = {"sentences": 1, "beam": 4, "alpha": 0.3, "well_formed": 1, "cpu_seconds": 2.0, "gold_tags": found}
    row["evalb"] = found
    machine = {"gpu": None, "cpu": "CPU", "cores": 2, "versions": {"torch": "2"}}
    result = {
        "updates": 10, "training_minutes": 5.0, "threads": 1, "machine": machine, "right_branching": found,
        "rows": [row | {"constrained": True}, row | {"constrained": False}],
        "validations": [{"step": 10, "valid_loss": 0.5, "valid_ppl": 1.65, "valid_f1": 60.0}],
    }  # fmt: skip
    tables = make_tables(result)
    text = render(tables["parsing"])
    assert "| beam 4 | 1 | 100.0% | 100.0 | 100.0 | 100.0% | 100.0 | 0 | 100.0% | 2 |" in text
    assert "| beam 4, no constraint | 1 |" in text
    assert "| right-branching trees | 1 | 100.0% | 100.0 |" in text
    assert "| NP | 1 | 100.0 | 100.0 | 100.0 |" in render(tables["parsing_by_label"])
    assert "| 1 to 10 | 1 |" in render(tables["parsing_by_length"])
    assert "| 10 | 0.500 | 1.65 | 60.0 |" in render(tables["parsing_curve"])
