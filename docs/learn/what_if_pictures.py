"""The pictures of docs/learn/what-if.md, from benchmarks/results/what_if.json.

    python -m docs.learn.what_if_pictures

Needs matplotlib (`pip install -e '.[bench]'`).
"""

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.pictures import COLOURS, digest, import_pyplot, save
from benchmarks.tables import read_results
from common.command import run_command
from docs.learn.swaps import PAPER
from docs.learn.what_if import PICTURED

FOLDER = Path(__file__).parent / "pictures"


def main() -> None:
    """Draw both pictures."""
    result = read_results()["what_if"]
    draw_curves(result, FOLDER / "what-if.png")
    draw_attention(result, FOLDER / "what-if-attention.png")


def save_small(figure: Any, path: Path, figures: Any) -> None:
    """Write a picture with the digest of its figures and with 64 colours, which makes the file a third as large."""
    from PIL import Image, PngImagePlugin  # matplotlib needs it

    path.parent.mkdir(exist_ok=True)
    save(figure, path, figures)
    text = PngImagePlugin.PngInfo()
    text.add_text("Source", digest(figures))
    with Image.open(path) as image:
        image.convert("RGB").quantize(64).save(path, pnginfo=text, optimize=True)


def figures_of_curves(result: dict[str, Any]) -> Any:
    """Return the figures of `draw_curves`."""
    return {
        row["variant"]: [
            {"bleu": run["bleu"], "loss": [[point["step"], point["valid_loss"]] for point in run["curve"]]}
            for run in row["runs"]
        ]
        for row in result["rows"]
    }


def draw_curves(result: dict[str, Any], path: Path) -> None:
    """Draw the validation loss of each variant over the paper's, and the BLEU of all."""
    pyplot, figures = import_pyplot(), figures_of_curves(result)
    names = [name for name in figures if name != PAPER]
    figure = pyplot.figure(figsize=(10, 8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2.2, 1))
    axes = left.subplots(5, 3, sharex=True, sharey=True).flatten()
    for axis, name in zip(axes, names, strict=False):
        for other, colour in ((PAPER, "#999999"), (name, COLOURS[1])):
            for run in figures[other]:
                axis.plot(*zip(*run["loss"], strict=True), color=colour, linewidth=1.2)
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
    axes[len(names)].plot([], [], color="#999999", label=PAPER)
    axes[len(names)].plot([], [], color=COLOURS[1], label="variant")
    axes[len(names)].legend(frameon=False, loc="center")
    for axis in axes[len(names) :]:
        axis.axis("off")
    axes[0].set_ylim(bottom=0)
    left.supxlabel("updates", fontsize=11)
    left.supylabel("validation loss (nats per token), 3 seeds", fontsize=11)
    axis = right.subplots()
    for height, name in enumerate(figures):
        scores = [run["bleu"] for run in figures[name]]
        colour = "#999999" if name == PAPER else COLOURS[1]
        axis.plot(scores, [height] * len(scores), "o", color=colour, markersize=5)
        axis.annotate(f"{mean(scores):.0f}", (88, height), va="center", fontsize=10)
    axis.set_yticks(range(len(figures)), figures)
    axis.set(xlim=(-3, 103), xticks=range(0, 81, 20), xlabel="BLEU; mean")
    axis.grid(alpha=0.3)
    axis.invert_yaxis()
    save_small(figure, path, figures)


def figures_of_attention(result: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of `draw_attention`: trained with each score, and the paper's weights with each score."""
    rows = {row["variant"]: row["runs"][0] for row in result["rows"]}
    trained = {f"trained with {name}": rows[name]["attention"] for name in PICTURED if name != PAPER}
    later = {f"paper's weights, then {name}": rows[PAPER][f"attention of {name}"] for name in PICTURED if name != PAPER}
    return {"the paper": rows[PAPER]["attention"], **trained, **later}


def draw_attention(result: dict[str, Any], path: Path) -> None:
    """Draw cross-attention maps of one sentence."""
    pyplot, maps = import_pyplot(), figures_of_attention(result)
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 7.5), layout="constrained")
    first, *others = maps.items()
    trained, later = others[: len(others) // 2], others[len(others) // 2 :]
    axes[1][0].axis("off")
    cells = [(axes[0][0], first), *zip(axes[0][1:], trained, strict=True), *zip(axes[1][1:], later, strict=True)]
    for axis, (name, own) in cells:
        axis.imshow(own["weights"], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        columns, rows = ([piece.replace("\u2581", "_").replace("</s>", "(end)") for piece in own[key]]
                         for key in ("columns", "rows"))  # fmt: skip
        axis.set_xticks(range(len(columns)), columns, rotation=90)
        axis.set_yticks(range(len(rows)), rows)
        axis.tick_params(length=0, labelsize=8)
        axis.set_title(name, fontsize=10)
    save_small(figure, path, maps)


if __name__ == "__main__":
    run_command(main)
