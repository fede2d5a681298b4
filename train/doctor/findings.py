"""A row of the doctor's table, and how a share becomes a verdict."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "fault"]
VERDICTS: tuple[Verdict, ...] = ("ok", "note", "fault")
"""From good to bad."""


@dataclass(frozen=True)
class Finding:
    """A row of the doctor's table."""

    name: str
    """What was checked."""
    verdict: Verdict
    """`ok`; `note`: a person should decide; `fault`: the run would not be what its user believes."""
    message: str
    """What was found."""
    cure: str = ""
    """What to do; "" where nothing is to be done."""


def graded(name: str, share: float, note: float, fault: float, message: str, cure: str) -> Finding:
    """`note` and `fault` where the share is above their limits."""
    verdict: Verdict = "fault" if share > fault else "note" if share > note else "ok"
    return Finding(name, verdict, message, "" if verdict == "ok" else cure)
