"""The tables of docs/decoding.md and docs/export.md, from the results of their scripts."""

from typing import Any


def decoding(results: dict[str, Any]) -> str:
    """One table a size: tokens per second of every program, and how many times as fast ours is."""
    result = results["decoding"]
    parts = []
    for size in (name for name in ("small", "base") if name in result):
        cells = {key: cell for key, cell in result[size].items() if ", beam " in key}
        about = result[size]["model"]
        trained = "trained" if result[size]["trained"] else "random weights"
        parts += [
            f"d_model {about['d_model']}, {about['n_layers']}+{about['n_layers']} layers, "
            f"{about['vocab_size']:,} pieces, {trained}:",
            "",
            *speeds(cells),
            "",
        ]
    return "\n".join(parts[:-1])


def speeds(cells: dict[str, Any]) -> list[str]:
    """A row for each program in each cell."""
    rows = [
        "| outputs | program | tokens/s | ours is times as fast (lowest to highest) | share of the limit | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for key, cell in cells.items():
        for program, own in ((name, own) for name, own in cell.items() if "median" in own):
            middle, low, high = own["ours_is_times_as_fast"]
            times = "" if program == "ours" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
            share = f"{own['share_of_the_limit']:.0%}" if "share_of_the_limit" in own else ""
            rows.append(f"| {key} | {program} | {own['median']:,.0f} | {times} | {share} | {own['peak_mb']:,} |")
    return rows


def limits(results: dict[str, Any]) -> str:
    """What a step needs, and what the machine does."""
    result = results["decoding"]
    can = result["limits"]
    rows = ["| size | outputs | MFLOP a step | MB a step | at most tokens/s |", "|---|---|---|---|---|"]
    for size in (name for name in ("small", "base") if name in result):
        for key, cell in result[size].items():
            if isinstance(cell, dict) and "limit" in cell:
                own = cell["limit"]
                rows.append(
                    f"| {size} | {key} | {own['mflop_per_step']:,.0f} | {own['mb_per_step']:,.0f} "
                    f"| {own['tokens_per_second']:,.0f} |"
                )
    rows += [
        "",
        f"Measured in the same run: {can['matmul_gflop_per_second']:,.0f} GFLOP/s of matrix products, "
        f"{can['copy_gb_per_second']:.0f} GB/s of copying; {result['threads']} threads.",
    ]
    return "\n".join(rows)


def operations(results: dict[str, Any]) -> str:
    """Where the time of our search goes, of the largest forced cell of each size."""
    result = results["decoding"]
    rows = ["| size | outputs | operations and their share of the time |", "|---|---|---|"]
    for size in (name for name in ("small", "base") if name in result):
        for key, cell in result[size].items():
            if isinstance(cell, dict) and "our_operations" in cell and key.startswith("forced, beam 4"):
                shares = list(cell["our_operations"].items())[:8]
                rows.append(f"| {size} | {key} | " + ", ".join(f"`{n}` {share:.0%}" for n, share in shares) + " |")
    return "\n".join(rows)


def parity(results: dict[str, Any]) -> str:
    """How often both runtimes say the same."""
    result = results["parity"]
    beam = result["beam"]
    rows = [
        f"| computed in | search | same best output | same {beam} best | score differs by at most | a tie "
        "| ours found the better | CTranslate2 did |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("float32", "int8"):
        for search, own in result[kind].items():
            differing, largest = own["differing"], own["largest_difference_of_score"]
            nbest = own.get(f"same_{beam}_best", "")
            rows.append(
                f"| {kind} | {search} | {own['same_best']} of {result['sentences']} "
                f"| {'' if search == 'greedy' else nbest} | {largest:.0e} | {differing['ties']} "
                f"| {differing['ours_scores_better']} | {differing['ctranslate2_scores_better']} |"
            )
    return "\n".join(rows)


def products(results: dict[str, Any]) -> str:
    """Packed and plain products, by type."""
    result = results["products"]
    rows = sorted({own["rows"] for own in result["products"]})
    head = ["| type | matrix | " + " | ".join(f"{n} rows" if n > 1 else "1 row" for n in rows) + " |"]
    head.append("|---|---|" + "---|" * len(rows))
    cells = {(own["dtype"], own["in"], own["out"], own["rows"]): own for own in result["products"]}
    for dtype, inner, outer in dict.fromkeys(key[:3] for key in cells):
        own = [cells[dtype, inner, outer, n] for n in rows]
        shown = " | ".join(f"{c['plain']:,.0f} to {c['packed']:,.0f} µs, {c['times_as_fast']:.1f}x" for c in own)
        head.append(f"| {dtype} | {inner} x {outer:,} | {shown} |")
    return "\n".join([*head, "", f"{result['threads']} threads."])
