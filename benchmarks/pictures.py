"""Draw the pictures of docs/ from benchmarks/results/*.json.

    python -m benchmarks.pictures

A picture contains the SHA-256 of the figures that it shows, so that a test can compare it with the results. Needs
matplotlib (`pip install -e '.[bench]'`).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.runner import ROOT
from benchmarks.tables import read_results
from common.command import run_command
from common.errors import InputError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours of Okabe and Ito, which colour-blind people can distinguish; the clearest on white first."""
PARTS = ("forward", "loss", "backward", "optimizer", "rest")


def main() -> None:
    """Draw both pictures."""
    results = read_results()
    draw_time_to_bleu(results["time_to_bleu"], ROOT / "docs" / "time-to-bleu.png")
    draw_update(results["training"], ROOT / "docs" / "training-time.png")


def digest(figures: Any) -> str:
    """Return the SHA-256 of the figures of a picture."""
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


def curves(result: dict[str, Any]) -> Any:
    """Return the figures of `draw_time_to_bleu`."""
    return {"bleu": result["bleu"], "curves": {name: run["curves"] for name, run in result["runs"].items()}}


def shares(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the figures of `draw_update`: the share of each part, by size and precision."""
    found = {}
    for size in ("small", "base", "big"):
        for precision, cell in result.get(size, {}).items():
            if precision in ("no", "bf16"):
                seconds = cell["seconds_of_an_update"]
                name = f"{size}, {'fp32' if precision == 'no' else precision} ({seconds['update']:.2f} s)"
                found[name] = {part: seconds[part] / seconds["update"] for part in PARTS}
    return found


def draw_time_to_bleu(result: dict[str, Any], path: Path) -> None:
    """Draw validation loss and BLEU over minutes and over updates; one line per seed."""
    pyplot = import_pyplot()
    # 1,600 pixels wide; at 800 the letters are still 12 pixels high
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex="col", sharey="row", layout="constrained")
    labels = {"valid_loss": "validation loss (nats per token)", "valid_bleu": "validation BLEU (greedy)"}
    for row, (measure, label) in zip(axes, labels.items(), strict=True):
        for axis, along in zip(row, ("minutes", "step"), strict=True):
            for number, (name, run) in enumerate(result["runs"].items()):
                style = {"color": COLOURS[number % len(COLOURS)], "marker": "os^Dv<>"[number % 7], "markersize": 4}
                for seed, curve in enumerate(run["curves"]):
                    xs, ys = ([point[key] for point in curve] for key in (along, measure))
                    axis.plot(xs, ys, label=name if seed == 0 else None, linewidth=1.5, **style)
            axis.grid(alpha=0.3)
        row[0].set_ylabel(label)
    for axis in axes[1]:
        for stated in result["bleu"]:
            axis.axhline(stated, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlim(left=0)
    axes[1][0].set_xlabel("training (minutes, without validations)")
    axes[1][1].set_xlabel("training (updates)")
    axes[0][1].legend(frameon=False)
    save(figure, path, curves(result))


def draw_update(result: dict[str, Any], path: Path) -> None:
    """Draw the share of each part in an update, one bar per size and precision."""
    pyplot = import_pyplot()
    bars = shares(result)
    figure, axis = pyplot.subplots(figsize=(10, 0.7 * len(bars) + 1.2), layout="constrained")
    left = dict.fromkeys(bars, 0.0)
    for part, colour in zip(PARTS, COLOURS, strict=False):
        widths = [100 * own[part] for own in bars.values()]
        axis.barh(list(bars), widths, left=list(left.values()), color=colour, label=part)
        for name, width in zip(bars, widths, strict=True):
            if width > 4:
                axis.text(left[name] + width / 2, name, f"{width:.1f}%", ha="center", va="center", color="white")
            left[name] += width
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="share of the time of an update (%)")
    axis.legend(ncols=len(PARTS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    save(figure, path, bars)


def import_pyplot() -> Any:
    """Return matplotlib's pyplot with our style. Raises InputError if it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise InputError("matplotlib is not installed: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    return pyplot


def save(figure: Any, path: Path, figures: Any) -> None:
    """Write a picture with the digest of its figures."""
    figure.savefig(path, dpi=160, metadata={"Software": None, "Source": digest(figures)})
    import_pyplot().close(figure)


if __name__ == "__main__":
    run_command(main)
