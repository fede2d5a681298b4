"""The tables of how long a recipe takes to a stated BLEU, of two runs' curves, and of the recipes that were tried."""

import statistics
from typing import Any

NAMES = {
    "loss": "training loss",
    "gradient_norm": "norm of the gradient",
    "valid_loss": "validation loss",
    "valid_bleu": "validation BLEU",
}


def time_to_bleu(results: dict[str, Any]) -> str:
    """A row for each recipe and figure: the median of its seeds, and how many of them have reached it."""
    result = results["time_to_bleu"]
    rows = [
        "| recipe | validation BLEU | updates | minutes of updates | minutes by the clock | million target tokens | "
        "seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in result["runs"].items():
        for figure, seeds in run["reached"].items():
            there = [point for point in seeds if point is not None]
            count = f"{len(there)} of {len(seeds)}"
            if len(there) < len(seeds):  # a median of the faster ones would flatter
                rows.append(f"| {name} | {figure} | not reached | | | | {count} |")
                continue
            updates = f"{statistics.median(point['step'] for point in there):,.0f}"
            minutes = " | ".join(spread([point[key] for point in there]) for key in ("minutes", "minutes_by_the_clock"))
            tokens = f"{statistics.median(point['tokens'] for point in there) / 1e6:.2f}"
            rows.append(f"| {name} | {figure} | {updates} | {minutes} | {tokens} | {count} |")
    return "\n".join([*rows, "", *settings(result["runs"])])


def settings(runs: dict[str, Any]) -> list[str]:
    """What differs from the paper's base: in all of them, and in each."""
    changed = {
        name: {f"`{key}={value}`" for key, value in run["differs_from_base"].items()} for name, run in runs.items()
    }
    common = set.intersection(*changed.values()) if len(runs) > 1 else set()
    rows = ["| recipe | differs from the paper's base in |", "|---|---|"]
    if common:
        rows.append(f"| all of them | {', '.join(sorted(common))} |")
    return rows + [f"| {name} | {', '.join(sorted(own - common))} |" for name, own in changed.items()]


def spread(values: list[float]) -> str:
    """The median, and of several seeds the lowest and the highest."""
    middle = f"{statistics.median(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1f} to {max(values):.1f})"


def same_curves(results: dict[str, Any]) -> str:
    """How far the curves of each pair of runs lie apart."""
    pairs = results["same_curves"]["pairs"]
    rows = [
        "| runs | precision | curve | updates compared | equal to the bit | largest difference | of the value "
        "| at update |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        precision = {"no": "fp32"}.get(pair["precision"], pair["precision"])
        whose = " and ".join(pair["runs"])
        for name, curve in pair["curves"].items():
            rows.append(
                f"| {whose} | {precision} | {NAMES[name]} | {curve['compared']:,} | {curve['equal']:,} "
                f"| {curve['largest']:.2g} | {curve['largest_of_the_value']:.2g} | {curve['at_update']:,} |"
            )
    return "\n".join(rows)


def recipes(results: dict[str, Any]) -> str:
    """A row for each recipe, and for each mean of its weights."""
    result = results["recipes"]
    first = next(iter(result["recipes"].values()))["runs"]
    rows = [
        "| recipe | updates | seeds | validation loss | validation BLEU | time, of the first row's |",
        "|---|---|---|---|---|---|",
    ]
    for name, recipe in result["recipes"].items():
        runs = recipe["runs"]
        share = statistics.median(run["minutes"] for run in runs) / statistics.median(run["minutes"] for run in first)
        for key in (key for key in runs[0] if key.endswith("valid_loss")):
            mean = key.removesuffix("valid_loss").strip()
            loss = statistics.mean(run[key] for run in runs)
            scores = [run[f"{mean} valid_bleu".strip()] for run in runs]
            bleu = f"{statistics.mean(scores):.1f}"
            if len(runs) > 1:
                bleu += f" ({min(scores):.1f} to {max(scores):.1f})"
            whose = f"{name}; {mean}" if mean else name
            rows.append(
                f"| {whose} | {runs[0]['updates']:,} | {len(runs)} | {loss:.3f} | {bleu} "
                f"| {'' if mean else f'{share:.2f}'} |"
            )
    return "\n".join(rows)
