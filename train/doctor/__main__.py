"""Check data, model, memory and running time before a long run.

    python -m train.doctor --config configs/x.yaml [section.field=value ...]

The doctor reads the same settings as train/train.py and runs in one process. It prints a table and writes nothing but
the prepared data, which training then uses. The exit status is 1 if a check finds an error.
"""

import os
import sys
import textwrap
import time

from common.arguments import settings_parser
from common.command import run_command, write_coloured
from train.config import RunConfig
from train.doctor.findings import LEVELS, Finding, Level

COLOURS: dict[Level, int] = {"ok": 32, "warning": 33, "error": 31}
"""ANSI codes of green, yellow and red."""
WIDTH = 120
INDENT = " " * 25


def main() -> None:
    """Read the command line and print the table."""
    parser = settings_parser(__doc__, RunConfig)
    if parser.prog == "__main__.py":
        parser.prog = f"python -m {__package__}"
    args = parser.parse_intermixed_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.doctor.examine import examine
    from train.size import load_run

    config, _ = load_run(args.config, args.overrides)
    started, levels = time.monotonic(), []
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for finding in examine(config):
        text = format_finding(finding)
        if coloured:
            write_coloured(finding.level, COLOURS[finding.level])
            text = text[len(finding.level) :]
        print(text, flush=True)
        levels.append(finding.level)
    counts = [f"{n} {level}{'s' * (level != 'ok' and n != 1)}" for level in LEVELS for n in (levels.count(level),)]
    print(f"\n{', '.join(counts)} in {time.monotonic() - started:.0f} seconds")
    if "error" in levels:
        sys.exit(1)


def format_finding(finding: Finding) -> str:
    """Return a row of the table: one or more lines of at most `WIDTH` characters."""
    head = f"{finding.level:<7}  {finding.name:<15} "
    lines = textwrap.wrap(finding.message, WIDTH, initial_indent=head, subsequent_indent=INDENT)
    lines += textwrap.wrap(finding.advice, WIDTH, initial_indent=f"{INDENT}-> ", subsequent_indent=f"{INDENT}   ")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
