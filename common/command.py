"""What every command line shares: one sentence for bad input, a clean end on Ctrl-C.

`ValueError` and `OSError` are for the user: they carry one sentence that says what was wrong, where, and
what to do. So is a device that has too little memory. Anything else is our bug and keeps its traceback.
`TRANSFORMER_DEBUG=1` shows the traceback always.
"""

import errno
import os
import sys
from collections.abc import Callable


def run_command(main: Callable[[], None]) -> None:
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
    except Exception as error:
        if os.environ.get("TRANSFORMER_DEBUG") or not (isinstance(error, ValueError | OSError) or _no_memory(error)):
            raise
        # Of several processes that fail alike, one speaks as if it were alone; what only another says is kept.
        rank = f"rank {os.environ.get('RANK', '?')}: " if os.environ.get("LOCAL_RANK", "0") != "0" else ""
        print(f"{rank}error: {sentence(error)}", file=sys.stderr)
        sys.exit(2)


def sentence(error: Exception) -> str:
    """One line for a person. An `OSError` from the system says the file and the reason, without errno."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; make room and run the same command again, nothing older was touched"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _no_memory(error):
        return (
            "the device has too little memory: lower decode.batch_tokens (--batch-tokens) to translate, "
            "train.micro_tokens to train, --num-samples or --max-tokens to generate"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _no_memory(error: Exception) -> bool:
    """PyTorch's error, known by name: a command that fails before it needs PyTorch does not wait for its import."""
    return type(error).__name__ == "OutOfMemoryError"
