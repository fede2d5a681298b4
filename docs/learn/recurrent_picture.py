"""The picture of docs/learn/recurrent.md, from benchmarks/results/recurrent.json.

    python -m docs.learn.recurrent_picture

Needs matplotlib (`pip install -e '.[bench]'`).
"""

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.pictures import COLOURS, import_pyplot
from benchmarks.tables import read_results
from common.command import run_command
from docs.learn.recurrent import IN_TRAINING
from docs.learn.what_if_pictures import save_small

PICTURE = Path(__file__).parent / "pictures" / "recurrent.png"


def main() -> None:
    """Draw the picture."""
    draw(read_results()["recurrent"], PICTURE)


def figures(result: dict[str, Any]) -> Any:
    """Return the figures of the picture."""
    return {key: result[key] for key in ("rows", "distances")}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the validation loss over updates and over seconds, and the correct pronouns over the distance."""
    pyplot = import_pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for row, colour in zip(result["rows"], COLOURS, strict=False):
        for seed, run in enumerate(row["runs"]):
            losses = [point["valid_loss"] for point in run["curve"]]
            for axis, along in zip(axes, ("step", "seconds"), strict=False):
                label = row["model"] if seed == 0 else None
                axis.plot([point[along] for point in run["curve"]], losses, color=colour, label=label)
        shares = list(zip(*(run["chosen"] for run in row["runs"]), strict=True))
        axes[2].plot(result["distances"], [100 * mean(share) for share in shares], "o-", color=colour)
        low, high = ([100 * pick(share) for share in shares] for pick in (min, max))
        axes[2].fill_between(result["distances"], low, high, color=colour, alpha=0.15)
    longest = result["distances"][IN_TRAINING[-1]]
    axes[2].axvline((longest + result["distances"][IN_TRAINING[-1] + 1]) / 2, color="black", linestyle=":")
    axes[2].axhline(100 / 3, color="black", linewidth=0.8, linestyle="--")
    axes[0].set(xlabel="updates", ylabel="validation loss (nats per token)")
    axes[1].set(xlabel="training (CPU seconds)")
    axes[2].set(xlabel='words from noun to "it"', ylabel="correct pronoun preferred (%)", ylim=(0, 103))
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    for axis in axes[:2]:
        axis.set_ylim(bottom=0)
    save_small(figure, path, figures(result))


if __name__ == "__main__":
    run_command(main)
