"""Notes and warnings that a command prints beside its result."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext


def print_note(text: str) -> None:
    """Print a line on standard error, in the first process of a host only."""
    if os.environ.get("LOCAL_RANK", "0") == "0" and sys.stderr is not None:
        with above_live_lines():
            print(text, file=sys.stderr, flush=True)


def above_live_lines() -> AbstractContextManager[None]:
    """Return a context that removes progress bars from the terminal, and draws them again at its end."""
    library = sys.modules.get("tqdm")  # if nothing has imported it, there are no bars
    return nullcontext() if library is None else library.tqdm.external_write_mode(file=sys.stderr)


def keep_notes(kept: list[str], quiet: bool) -> Callable[[str], None]:
    """Return a function that appends a new note to `kept`, and prints it unless `quiet`."""

    def note(text: str) -> None:
        if text not in kept:
            kept.append(text)
            if not quiet:
                print_note(text)

    return note
