"""Look before a long run: `python -m train.doctor --config configs/x.yaml [section.field=value ...]`.

Takes what `train/train.py` takes, and checks data, vocabulary, model, memory and time. Prints a table and ends with
status 1 where it finds a fault. It writes nothing but the prepared data, which training then finds ready.
"""

import argparse
import os
import sys
import textwrap
import time
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from common.command import run_command
from common.settings import load_settings
from train.config import RunConfig
from train.doctor.examine import examine
from train.doctor.findings import VERDICTS, Finding, Verdict

COLOURS: dict[Verdict, int] = {"ok": 32, "note": 33, "fault": 31}
"""Green, yellow, red."""
WIDTH = 120


def main() -> None:
    """Read the command line, print the table, and end with 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML that lists what differs from the paper's base")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="change single settings")
    args = parser.parse_intermixed_args()
    config = load_settings(RunConfig, args.config, args.overrides)
    started, findings = time.monotonic(), []
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for finding in examine(config):
        print(row(finding, coloured), flush=True)
        findings.append(finding)
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in VERDICTS}
    summary = f"{counts['ok']} ok, {_several(counts['note'], 'note')}, {_several(counts['fault'], 'fault')}"
    print(f"\n{summary}, in {time.monotonic() - started:.0f} seconds")
    if counts["fault"]:
        sys.exit(1)


def row(finding: Finding, coloured: bool) -> str:
    """The lines of a finding in the table."""
    indent = " " * 23
    head = f"{finding.verdict:<6} {finding.name:<15} "
    lines = textwrap.wrap(finding.message, WIDTH, initial_indent=head, subsequent_indent=indent)
    lines += textwrap.wrap(finding.cure, WIDTH, initial_indent=f"{indent}-> ", subsequent_indent=indent + "   ")
    text = "\n".join(lines)
    if not coloured:
        return text
    return f"\033[{COLOURS[finding.verdict]}m{finding.verdict}\033[0m{text[len(finding.verdict) :]}"


def _several(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


if __name__ == "__main__":
    run_command(main)
