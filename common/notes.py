"""Notes and warnings that a command prints beside its result."""

import os
import sys
from collections.abc import Callable


def print_note(text: str) -> None:
    """Print a line on standard error, in the first process of a host only."""
    if os.environ.get("LOCAL_RANK", "0") == "0" and sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def keep_notes(kept: list[str], quiet: bool) -> Callable[[str], None]:
    """Return a function that appends a new note to `kept`, and prints it unless `quiet`."""

    def note(text: str) -> None:
        if text not in kept:
            kept.append(text)
            if not quiet:
                print_note(text)

    return note
