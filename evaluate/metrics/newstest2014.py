"""The paper's test set: which lines these are, and which figures may stand beside the paper's 27.3 (Table 2)."""

import hashlib
import unicodedata
from typing import Literal

Edition = Literal["all", "filtered"]

NAMES: dict[str, Edition] = {"wmt14/full": "all", "wmt14": "filtered"}
"""sacreBLEU's names of the English-German test set."""
DIGESTS: dict[str, Edition] = {
    "9a3f5b521009ad5be2b465e61e0a8e2eb831af4c26f67999dfc1419e2bab168c": "all",
    "ab41f38c0475c7c1c1327c3bbc87cc739769f503f98ccd58402c600ba98ad127": "filtered",
}
"""`digest` of the German side: known for what it is under any file name, and not for its count of lines."""
LEFT_OUT = "161-167 581-610 629-647 743-784 865-882 969-977 1000-1009 1100-1107 1225-1245 1435-1454 1553-1567 2230-2296"
"""Documents among the 3,003 lines, counted from 0, that the 2,737 lack."""
LINES: dict[Edition, int] = {"all": 3003, "filtered": 2737}


def digest(lines: list[str]) -> str:
    """SHA-256 of a text, whatever its white space and however its accents are written."""
    text = "\n".join("".join(unicodedata.normalize("NFC", line).split()) for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def find_edition(name: str | None, languages: tuple[str, str] | None, references: list[list[str]]) -> Edition | None:
    """Which newstest2014 English-German this is, by sacreBLEU's `name` or by the reference; None for another set."""
    if name is not None:
        return NAMES.get(name) if languages == ("en", "de") else None
    return DIGESTS.get(digest(references[0]))


def filtered_rows() -> list[int]:
    """Which of the 3,003 lines, counted from 0, are the 2,737."""
    ranges = [[int(number) for number in part.split("-")] for part in LEFT_OUT.split()]
    left_out = {row for first, last in ranges for row in range(first, last + 1)}
    return [row for row in range(LINES["all"]) if row not in left_out]


def say_comparable(edition: Edition | None, has_paper_figure: bool) -> str:
    """One sentence: which figure of a report may be compared with the paper's, and which not."""
    if edition is None:
        return (
            "None of these is comparable with the paper's 27.3, which is compound-split BLEU on newstest2014 "
            "English-German."
        )
    if edition == "filtered":
        return (
            "None of these is strictly comparable with the paper's 27.3, which is on all 3,003 lines of newstest2014 "
            "(sacreBLEU's wmt14/full): compound-split BLEU is the same measure on 2,737 of them, and sacreBLEU's "
            "figures read lower."
        )
    if not has_paper_figure:
        return "None of these is comparable with the paper's 27.3, which is compound-split BLEU: give --langpair en-de."
    return (
        "On newstest2014 English-German, all 3,003 lines, only compound-split BLEU is comparable with the paper's 27.3 "
        "(base) and 28.4 (big); sacreBLEU's figures are not, and read lower for one and the same output."
    )
