"""The tables of docs/performance.md on training, from the results of benchmarks/training.py."""

from collections.abc import Iterator
from typing import Any

PRECISIONS = {"no": "fp32", "bf16": "bf16"}


def training(results: dict[str, Any]) -> str:
    """Tokens per second of every program, how many times as fast ours is, MFU, memory, recompiles."""
    result = results["training"]
    rows = [
        "| size | precision | program | source + target tokens/s | target tokens/s | ours is times as fast (lowest to "
        "highest) | MFU | peak MB | recompiles |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size, precision, cell in cells(result):
        for program, own in ((name, own) for name, own in cell.items() if "median" in own):
            middle, low, high = own["ours_is_times_as_fast"]
            times = "" if program == "ours" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
            rows.append(
                f"| {size} | {precision} | {program} | {own['median']:,.0f} | {own['target_tokens_per_second']:,.0f} "
                f"| {times} | {own['mfu']:.0%} | {own['peak_mb']:,} | {own['recompiles']} |"
            )
    rows += ["", *about(result)]
    return "\n".join(rows)


def about(result: dict[str, Any]) -> list[str]:
    """A line for each size, and one for the machine's products."""
    lines = []
    for size in sizes(result):
        model, batches = result[size]["model"], result[size]["batches"]
        lines += [
            f"{size}: d_model {model['d_model']}, {model['n_layers']}+{model['n_layers']} layers, "
            f"{model['vocab_size']:,} pieces; updates of {batches['tokens_per_update']:,} tokens a side, "
            f"{batches['shapes_of_the_plan']} shapes, {batches['padding_of_an_epoch']:.1%} padding; sentences as "
            f"long as those {result['lengths']}.",
            "",
        ]
    best = {(size, precision): max(cell["limits"].values()) for size, precision, cell in cells(result)}
    shown = ", ".join(f"{rate:,.0f} ({size}, {precision})" for (size, precision), rate in best.items())
    return [*lines, f"The best matrix product of the same run, in GFLOP/s: {shown}; {result['threads']} threads."]


def training_split(results: dict[str, Any]) -> str:
    """Where the time of our update goes."""
    names = ("forward", "loss", "backward", "optimizer", "rest")
    rows = [
        "| size | precision | seconds of an update | " + " | ".join(names) + " | beside it: making its batches |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for size, precision, cell in cells(results["training"]):
        own = cell["seconds_of_our_update"]
        shares = " | ".join(f"{own[name] / own['update']:.1%}" for name in (*names, "data"))
        rows.append(f"| {size} | {precision} | {own['update']:.3f} | {shares} |")
    return "\n".join(rows)


def training_operations(results: dict[str, Any]) -> str:
    """The operations that take most of the time of our update themselves."""
    rows = ["| size | precision | operations and their share of the time |", "|---|---|---|"]
    for size, precision, cell in cells(results["training"]):
        if "our_operations" in cell:
            shown = ", ".join(f"`{name}` {share:.1%}" for name, share in cell["our_operations"].items())
            rows.append(f"| {size} | {precision} | {shown} |")
    return "\n".join(rows)


def loss(results: dict[str, Any]) -> str:
    """Ours beside PyTorch's function."""
    result = results["loss"]
    head = "| vocabulary | type | ours, ms | PyTorch, ms | times as fast (lowest to highest) |"
    rows = [head, "|---|---|---|---|---|"]
    for own in result["losses"]:
        middle, low, high = own["times_as_fast"]
        rows.append(
            f"| {own['vocabulary']:,} | {own['dtype']} | {own['ours_ms']:.1f} | {own['pytorch_ms']:.1f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join([*rows, "", f"{result['tokens']} tokens, {result['threads']} threads."])


def sizes(result: dict[str, Any]) -> list[str]:
    """That were measured."""
    return [name for name in ("small", "base", "big") if name in result]


def cells(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(size, name of the precision, what was measured)."""
    for size in sizes(result):
        for precision, name in PRECISIONS.items():
            if precision in result[size]:
                yield size, name, result[size][precision]
