"""The tables of text to batches and of several devices, from the results of benchmarks/data.py and scaling.py."""

from typing import Any


def data(results: dict[str, Any]) -> str:
    """Stages, loader, start and memory; then a billion pairs on paper."""
    result = results["data"]
    blocks = [stages(result["corpora"]), batches(result), start_and_memory(result), billion(result["billion"])]
    return "\n\n".join("\n".join(rows) for rows in blocks)


def stages(corpora: dict[str, Any]) -> list[str]:
    """Thousands of pairs per second of every stage, one column for each corpus."""
    counts = " | ".join(f"{name}, {one['pairs']:,} pairs" for name, one in corpora.items())
    rows = [f"| 1,000 pairs per second on one core | {counts} |", "|---" * (1 + len(corpora)) + "|"]
    names = {
        "read": "read, or make the built-in corpus",
        "filter": "normalise and filter",
        "duplicates": "find duplicates",
        "vocabulary": "learn the vocabulary",
        "tokenise": "tokenise and write",
        "plan": "plan, and the first update",
    }
    for stage, name in names.items():
        cells = (corpus["stages"].get(stage) for corpus in corpora.values())
        rows.append(f"| {name} | " + " | ".join(thousands(cell) for cell in cells) + " |")
    return rows


def thousands(cell: dict[str, Any] | None) -> str:
    """Of a rate; nothing where the stage did not happen."""
    return f"{cell['pairs_per_second'] / 1000:,.1f}" if cell else ""


def batches(result: dict[str, Any]) -> list[str]:
    """The loader beside what eats its batches."""
    gpu = result["gpu_tokens_per_second"]
    rows = [
        f"| target tokens per second | loader, one thread | model learns here | times | times {gpu:,} of a GPU |",
        "|---|---|---|---|---|",
    ]
    for name, corpus in result["corpora"].items():
        made, eaten = corpus["loader"]["tgt_tokens_per_second"], corpus["consumed"]["tgt_tokens_per_second"]
        threads = "given" if corpus["consumed"]["given"] else f"{corpus['consumed']['threads']} thread(s)"
        rows.append(f"| {name} | {made:,} | {eaten:,.0f} ({threads}) | {made / eaten:,.0f} | {made / gpu:.2f} |")
    return rows


def start_and_memory(result: dict[str, Any]) -> list[str]:
    """From the command to the first update, and what benchmarks/prepare.py found."""
    start = ", ".join(f"{seconds:.1f}" for seconds in result["start"]["seconds"])
    rows = ["| | |", "|---|---|", f"| command to first update, {result['start']['pairs']:,} pairs, warm | {start} s |"]
    if found := result["wmt14_size"]:
        made = found["prepare"]
        rows += [
            f"| prepare {found['pairs']:,} pairs, {found['threads']} threads | {made['seconds'] / 60:.1f} min |",
            f"| its peak of private memory; with mapped files | {made['peak_private_gb']:.2f} GB; "
            f"{made['peak_rss_gb_with_mapped_files']:.2f} GB |",
        ]
    return rows


def billion(paper: dict[str, Any]) -> list[str]:
    """Every step of the billion pairs."""
    rows = [
        f"| {paper['pairs']:,} pairs like {paper['like']}'s, on paper | hours, one core | disk GB | memory GB | "
        f"fits {paper['host_gb']} GB | what one would do |",
        "|---|---|---|---|---|---|",
    ]
    for step in paper["steps"]:
        disk, memory = (f"{step[key]:,.0f}" if step[key] is not None else "" for key in ("disk_gb", "memory_gb"))
        name = "one epoch, on one GPU" if step["step"] == "one epoch" else step["step"]
        fits = "yes" if step["fits"] else "**no**"
        rows.append(f"| {name} | {step['hours']:,.1f} | {disk} | {memory} | {fits} | {step['what_one_would_do']} |")
    return [
        *rows,
        "",
        f"A GPU at its best would want {paper['reads_per_second']:,} small reads per second from the disk. Every step "
        "but the vocabulary is taken to grow in proportion; sorts (duplicates, plan) grow a little faster.",
    ]


def padding(results: dict[str, Any]) -> str:
    """A row for each corpus and size of an update, a column for each number of shapes that was asked for."""
    corpora = results["data"]["corpora"]
    asked = list(dict.fromkeys(row["asked"] for corpus in corpora.values() for row in corpus["padding"]))
    heads = " | ".join(f"shapes {shapes}" for shapes in asked)
    rows = [f"| padding (distinct shapes) | tokens an update | {heads} |", "|---|---" + "|---" * len(asked) + "|"]
    for name, corpus in corpora.items():
        for size in dict.fromkeys(row["tokens_per_update"] for row in corpus["padding"]):
            own = {row["asked"]: row for row in corpus["padding"] if row["tokens_per_update"] == size}
            cells = " | ".join(f"{own[shapes]['padding']:.1%} ({own[shapes]['shapes']})" for shapes in asked)
            rows.append(f"| {name} | {size:,} | {cells} |")
    return "\n".join(rows)


def scaling(results: dict[str, Any]) -> str:
    """One rank and two, here."""
    result = results["scaling"]
    rows = [
        "| model of | parameters | MB summed | s an update: 1 rank | 2 ranks | 2 ranks, no sum | one sum by itself | "
        "efficiency (lowest to highest) | without the sum |",
        "|---" * 9 + "|",
    ]
    for name, one in result["models"].items():
        seconds = " | ".join(f"{value:.3f}" for value in one["median"].values())
        shares = " | ".join(
            f"{one[key][0]:.0%} ({one[key][1]:.0%} to {one[key][2]:.0%})"
            for key in ("efficiency", "efficiency_without_the_sum")
        )
        rows.append(
            f"| {name} | {one['parameters']:,} | {one['bytes_per_update'] / 1e6:.1f} | {seconds} "
            f"| {one['seconds_of_a_sum']:.3f} s | {shares} |"
        )
    machine = result["machine"]
    return "\n".join([*rows, "", f"{machine['processor']}, {machine['cores']} cores, one thread a rank."])


def scaling_model(results: dict[str, Any]) -> str:
    """GPUs on paper; the update that they need; and how evenly the plan shares out its work."""
    paper = results["scaling"]["paper"]
    rows = [
        "| tokens an update | GPUs | between them | bricks x slices | tokens of a GPU | compute ms | sum ms | "
        "of it not hidden | update ms | target tokens/s | efficiency | 2.5 billion target tokens |",
        "|---" * 12 + "|",
    ]
    for row in paper["rows"]:
        spent = row["milliseconds"]
        rows.append(
            f"| {row['tokens_per_update']:,} | {row['gpus']} | {row['network']} | {row['bricks']} x {row['slices']} "
            f"| {row['tokens_of_a_gpu']:,} | {spent['compute']:.1f} | {spent['sum']:.1f} | {spent['exposed']:.1f} "
            f"| {spent['all']:.1f} | {row['tgt_tokens_per_second']:,} | {row['efficiency']:.0%} "
            f"| {row['minutes_of_the_papers_tokens']:,.0f} min |"
        )
    rows += ["", "| GPUs | between them | efficiency wanted | tokens an update |", "|---|---|---|---|"]
    for need in paper["update_needed"]:
        tokens = f"{need['tokens_per_update']:,}" if need["tokens_per_update"] else "more than 2,500,000"
        rows.append(f"| {need['gpus']} | {need['network']} | {need['efficiency']:.0%} | {tokens} |")
    limits = paper["most_gpus_of_the_papers_update"].items()
    most = ", ".join(f"{share} efficiency up to {gpus} GPU(s)" for share, gpus in limits)
    balance = ", ".join(f"{share:.1%} with {gpus}" for gpus, share in results["scaling"]["balance"].items())
    rows += [
        "",
        f"With a port a node, the paper's update of 25,000 tokens keeps {most} (of 1, 2, 4 to 64).",
        f"Work of the mean rank as a share of the fullest one's, measured on the plan: {balance} ranks.",
    ]
    return "\n".join(rows)
