"""Completion of the console command in a shell. argcomplete's functions for bash and zsh ask for it."""

import os
import re
from collections.abc import Mapping

from common.arguments import SHELL_ASKS, CommandParser


def completed_command(commands: Mapping[str, str]) -> str | None:
    """Return the command whose arguments a shell wants to complete, None if no shell asks.

    If the shell asks for the name of a command, print those of `commands` with their descriptions, and exit.
    """
    if SHELL_ASKS not in os.environ:
        return None
    written = re.match(r"\s*\S+\s+(\S+)\s", os.environ["COMP_LINE"])
    if written and written[1] in commands:
        os.environ[SHELL_ASKS] = str(int(os.environ[SHELL_ASKS]) + 1)  # number of words up to the command's name
        return written[1]
    parser = CommandParser()
    parser.add_argument("--version", action="store_true")
    parser.add_argument("command").completer = lambda **_: commands  # type: ignore[attr-defined]
    parser.parse_args()
    return None
