"""Save the report of a finished sweep as a result, for the tables and pictures of docs/:

    python -m train.sweep configs/table3_small --seeds 3
    python -m benchmarks.table3 configs/table3_small --seeds 3

The arguments are those of the sweep. Writes benchmarks/results/NAME.json and docs/pictures/NAME.svg, where NAME is that
of the folder.
"""

from pathlib import Path
from typing import Any

from benchmarks.runner import ROOT, command_line, new_result, save, table
from common.command import run_command
from common.files import expand, write_text
from train.experiment_report import PAPER, Row, draw, make_rows, make_table
from train.experiments import plan


def main() -> None:
    """Read the results of the runs and save them."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=expand, help="folder with the YAML files of the sweep")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--runs", type=expand, help="folder of the runs (default: runs/ and the name of the folder)")
    args = parser.parse_args()
    name = args.folder.stem
    experiments = plan(args.folder, args.runs or Path("runs") / name, range(1, args.seeds + 1))
    rows = make_rows(experiments)
    result = make_result(rows, name, args.folder / PAPER)
    save(name, result, result.pop("tables"))
    write_text(ROOT / f"docs/pictures/{name}.svg", draw(rows, rows[0].name))


def make_result(rows: list[Row], name: str, paper: Path) -> dict[str, Any]:
    """Return the figures of all rows and seeds, and the table."""
    headings, *cells = make_table(rows, rows[0].name, paper)
    first = rows[0].results[0]
    note = f"BLEU: `{first['signature']}` on {first['test_set']}."
    figures = {
        row.name: {key: [one[key] for one in row.results] for key in ("perplexity", "bleu", "parameters")}
        | {"p": row.p}
        for row in rows
    }
    return new_result(rows=figures) | {"tables": {name: [table(headings, cells, note)]}}


if __name__ == "__main__":
    run_command(main)
