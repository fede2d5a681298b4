"""A row of the doctor's table."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")
"""From best to worst."""


@dataclass(frozen=True)
class Finding:
    """Result of one check: a row of the doctor's table."""

    name: str
    """What was checked."""
    level: Level
    """`ok`; `warning`: unusual, check whether it is intended; `error`: training would not do what the user expects."""
    message: str
    """What was found."""
    advice: str = ""
    """What to do; "" if nothing is to be done."""


def grade(name: str, share: float, warning: float, error: float, message: str, advice: str) -> Finding:
    """Return an error or a warning if `share` is above that limit, otherwise `ok` without advice."""
    level: Level = "error" if share > error else "warning" if share > warning else "ok"
    return Finding(name, level, message, "" if level == "ok" else advice)
