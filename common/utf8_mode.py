"""UTF-8 for everything that Python reads before a command starts: arguments, environment and names of files."""

import os
import sys


def ensure_utf8() -> None:
    """Start this command again in Python's UTF-8 mode if its locale has another encoding. Else return.

    With such a locale, Python has read `ß` in an argument as other characters, and cannot open a file with `字` in its
    name. Only a new start can change this. The process keeps its number and its open files.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return  # the second condition: `python -X utf8=0` would start again and again
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
