"""The tables of docs/reliability.md and docs/doctor.md, from the results of their scripts."""

from typing import Any


def faults(results: dict[str, Any]) -> str:
    """The kill campaign."""
    rows = [
        "| ranks | runs | starts | kills | of them inside a save | files, lines or TensorBoard values that differ |",
        "|---|---|---|---|---|---|",
    ]
    for ranks, one in results["faults"]["ranks"].items():
        counts = f"{one['runs']} | {one['starts']} | {one['kills']} | {one['inside_a_save']}"
        rows.append(f"| {ranks} | {counts} | **{len(one['differences'])}** |")
    return "\n".join(rows)


def damage(results: dict[str, Any]) -> str:
    """Every file of a checkpoint and every kind of damage; then what went through the command."""
    result = results["damage"]
    kinds = list(dict.fromkeys(row["damage"] for row in result["detection"]))
    files = list(dict.fromkeys(row["file"] for row in result["detection"]))
    cells = {(row["file"], row["damage"]): f"{row['trials'] - row['wrong']} of {row['trials']}"
             for row in result["detection"]}  # fmt: skip
    rows = ["| found, named and passed over | " + " | ".join(kinds) + " |", "|---|" + "---|" * len(kinds)]
    rows += [f"| `{file}` | " + " | ".join(cells[file, kind] for kind in kinds) + " |" for file in files]
    rows += ["", "| through the command | status | end |", "|---|---|---|"]
    for case in result["commands"]:
        end = "as undisturbed" if not case["differences"] else "differs"
        end = "refused in one sentence" if case["status"] and not case["name"].startswith("full disk") else end
        rows.append(f"| {case['name']} | {case['status']} | {'**wrong**' if case['wrong'] else end} |")
    return "\n".join(rows)


def devices(results: dict[str, Any]) -> str:
    """1, 2 and 4 ranks with three cuts each, beside one rank."""
    result = results["ranks"]
    shown = {"float64": "float64, dropout 0", "fp32": "fp32, dropout 0", "fp32_with_dropout": "fp32, dropout 0.1"}
    steps = list(result["fp32"][0]["loss_until"])
    head = "| | ranks | slices a batch | " + " | ".join(f"loss, until update {step}" for step in steps)
    rows = [head + " | last weights |", "|---" * (4 + len(steps)) + "|"]
    for key, name in shown.items():
        for row in result[key]:
            losses = " | ".join(f"{row['loss_until'][s]:.0e}" if s in row["loss_until"] else "" for s in steps)
            rows.append(f"| {name} | {row['ranks']} | {row['slices']} | {losses} | {row['weights']:.0e} |")
    return "\n".join(rows)


def dead_rank(results: dict[str, Any]) -> str:
    """What the launcher does when one of two ranks dies."""
    rows = ["| what happens | seconds until the launcher returns | status | processes left | it says |",
            "|---|---|---|---|---|"]  # fmt: skip
    for row in results["ranks"]["dead_rank"]:
        said = "; ".join(line for line in row["message"] if line)
        rows.append(f"| {row['fault']} | {row['seconds']:.1f} | {row['status']} | {row['processes_left']} | {said} |")
    return "\n".join(rows)


def safety_cost(results: dict[str, Any]) -> str:
    """Ratios of updates and shares of saves."""
    result = results["safety_cost"]
    update = result["update"]
    spread = f"{update['ratio_median']:.3f} ({update['ratio_low']:.3f} to {update['ratio_high']:.3f})"
    rows = [
        f"An update of the demo with its checks takes {spread} times as long as a bare one: median and range of "
        f"{update['rounds']} pairs of {update['block']} updates, {result['threads']} threads.",
        "",
        "| a save of | MB | seconds: median (range) | copy | write | flush | hash | every | share of training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, save in result.items():
        if key.startswith("save_"):
            median, low, high = save["seconds"]
            parts = " | ".join(f"{save['seconds_by_part'][part]:.2f}" for part in ("copy", "write", "fsync", "hash"))
            rows.append(
                f"| {key.removeprefix('save_')} | {save['bytes'] / 1e6:,.0f} | {median:.2f} ({low:.2f} to {high:.2f}) "
                f"| {parts} | {save['checkpoint_every']:,} updates | {save['share_of_training']:.2%} |"
            )
    return "\n".join(rows)


def doctor(results: dict[str, Any]) -> str:
    """Faults that were planted, and the checks that found them."""
    rows = ["| planted | found by | it says |", "|---|---|---|"]
    for case in results["doctor"]["cases"]:
        if case["fault"] == "none":
            continue
        said = case["said"].get(case["expected"], "**not found**").partition(": ")[2]
        rows.append(f"| {case['fault']} | {case['expected']} | {said} |")
    return "\n".join(rows)
