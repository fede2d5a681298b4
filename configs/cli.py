"""What every command line shares: one sentence for bad input, a clean end on Ctrl-C.

`ValueError` and `OSError` are for the user: they carry one sentence that says what was wrong, where, and
what to do. Anything else is our bug and keeps its traceback. `TRANSFORMER_DEBUG=1` shows the traceback always.
"""

import errno
import os
import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn its failures into an exit status: 2 bad input, 130 Ctrl-C, 141 broken pipe."""
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `... | head`: the reader has left, and nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, OSError) as error:
        if os.environ.get("TRANSFORMER_DEBUG"):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(2)


def sentence(error: Exception) -> str:
    """One line for a person. An `OSError` from the system says the file and the reason, without errno."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; make room and run the same command again, nothing older was touched"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
